/**
 * Every option of a node, in one table: its name, kind, unit, range, default and one line of doc.
 *
 * Flags, environment names, file keys, the help text and docs/options.md all come from this table
 * or are checked against it: nothing else may know an option's default or range. Values that pass
 * here are whole: nobody below checks them again.
 */
import { logLevels } from "../observability/logger.js";
import type { LogLevel } from "../observability/logger.js";
import {
  UsageError,
  address,
  addresses,
  bytes,
  bytesPerSecond,
  choice,
  formatBytes,
  formatBytesWord,
  gibibyte,
  integer,
  kibibyte,
  mebibyte,
  text,
  yesOrNo,
} from "./option-table.js";
import type { OptionRow, RowText } from "./option-table.js";

/** What a node does with a write when it does not lead. */
export type FollowerWrites = "redirect" | "forward";

/** The options of a node, all decided. */
export interface NodeOptions {
  readonly nodeName: string;
  readonly dataDir: string;
  /** Port 0 is any free port. */
  readonly httpAddr: string;
  /** Port 0 is any free port. */
  readonly rpcAddr: string;
  /** undefined: the bound address, or the host's own if all are bound. */
  readonly advertiseHttpAddr: string | undefined;
  /** undefined: the bound address, or the host's own if all are bound. */
  readonly advertiseRpcAddr: string | undefined;
  readonly join: readonly string[];
  readonly bootstrap: boolean;
  readonly voters: number;
  readonly followerWrites: FollowerWrites;
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly requestTimeoutMs: number;
  readonly maxRecordBytes: number;
  readonly segmentBytes: number;
  readonly raftLogFileBytes: number;
  readonly raftLogKeepBytes: number;
  readonly checkpointBytes: number;
  readonly tailCacheBytes: number;
  readonly pendingBytesMax: number;
  readonly diskFreeBytesMin: number;
  /** 0: no scrub. */
  readonly scrubBytesPerSecond: number;
  readonly scrubRestMs: number;
  readonly repairBytesPerSecond: number;
  readonly httpConnectionsMax: number;
  readonly streamsMax: number;
  readonly logLevel: LogLevel;
  readonly shutdownTimeoutMs: number;
}

/** The options of a node, and the file that some of them came from. */
export interface OptionValues extends NodeOptions {
  readonly config: string | undefined;
}

export type OptionKey = keyof OptionValues;

/** Which numbers and words stand where nothing is given; the rest is decided by `defaultValue`. */
const fixedDefaults = {
  dataDir: "./proglog-data",
  httpAddr: "127.0.0.1:5000",
  rpcAddr: "127.0.0.1:8400",
  advertiseHttpAddr: undefined,
  advertiseRpcAddr: undefined,
  join: [] as readonly string[],
  config: undefined,
  voters: 5,
  followerWrites: "redirect",
  electionTimeoutMs: 600,
  heartbeatMs: 60,
  requestTimeoutMs: 10_000,
  maxRecordBytes: mebibyte,
  segmentBytes: 64 * mebibyte,
  raftLogFileBytes: 16 * mebibyte,
  raftLogKeepBytes: 64 * mebibyte,
  checkpointBytes: 32 * mebibyte,
  tailCacheBytes: 64 * mebibyte,
  pendingBytesMax: 64 * mebibyte,
  diskFreeBytesMin: 64 * mebibyte,
  scrubBytesPerSecond: 4 * mebibyte,
  scrubRestMs: 600_000,
  repairBytesPerSecond: 32 * mebibyte,
  httpConnectionsMax: 4096,
  streamsMax: 1024,
  logLevel: "info",
  shutdownTimeoutMs: 10_000,
} as const satisfies Omit<OptionValues, "nodeName" | "bootstrap">;

type Group = RowText["group"];

function row(group: Group, doc: string, defaultText: string): RowText {
  return { group, doc, defaultText };
}

/** A row whose default is one of the fixed numbers. */
function sized(group: Group, key: keyof typeof fixedDefaults, doc: string): RowText {
  const value = fixedDefaults[key];
  const isBytes = typeof value === "number" && key.toLowerCase().includes("bytes");
  return row(group, doc, isBytes ? formatBytes(value) : String(value));
}

const naming = "Identity and addresses";
const cluster = "Cluster";
const limits = "Log and limits";
const running = "Running";

const boundAddress = "the bound address; the host's own if all are bound";
const anyPath = /^[^\0]{1,4096}$/;

/** Every option, in the order of the documents. */
export const optionTable: { readonly [K in OptionKey]: OptionRow<NonNullable<OptionValues[K]>> } = {
  nodeName: text(
    row(
      naming,
      "Label shown to people; the node's identity is in its directory.",
      "the host's name",
    ),
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
    "1 to 63 of A-Z a-z 0-9 . _ -, a letter or digit first",
  ),
  dataDir: text(
    sized(naming, "dataDir", "Directory of all that the node keeps; one process at a time."),
    anyPath,
    "a path",
  ),
  httpAddr: address(
    sized(naming, "httpAddr", "Where the REST gateway listens; port 0 is any free port."),
    0,
  ),
  rpcAddr: address(
    sized(naming, "rpcAddr", "Where gRPC listens, for clients and peers; port 0 is any free port."),
    0,
  ),
  advertiseHttpAddr: address(row(naming, "HTTP address that others are told.", boundAddress), 1),
  advertiseRpcAddr: address(row(naming, "gRPC address that others are told.", boundAddress), 1),
  join: addresses(
    row(cluster, "gRPC addresses of any members; a DNS name may stand for many.", "none"),
    64,
  ),
  bootstrap: yesOrNo(
    row(
      cluster,
      "Form a new cluster, if the directory is empty.",
      "true if nothing is to be joined",
    ),
  ),
  voters: integer(
    sized(cluster, "voters", "Members that vote; further ones serve reads only."),
    "count",
    { min: 1, max: 9, isOdd: true },
  ),
  followerWrites: choice(
    sized(cluster, "followerWrites", "Answer to a write on a node that does not lead."),
    ["redirect", "forward"],
  ),
  electionTimeoutMs: integer(
    sized(
      cluster,
      "electionTimeoutMs",
      "Silence of a leader before an election; 10 heartbeats do.",
    ),
    "milliseconds",
    { min: 100, max: 60_000 },
  ),
  heartbeatMs: integer(
    sized(cluster, "heartbeatMs", "Time between a leader's signs of life; a 10th of a timeout."),
    "milliseconds",
    { min: 10, max: 12_000 },
  ),
  maxRecordBytes: bytes(sized(limits, "maxRecordBytes", "Largest record."), {
    min: kibibyte,
    max: 16 * mebibyte,
  }),
  segmentBytes: bytes(
    sized(limits, "segmentBytes", "Segment of the commit log; counts when a cluster is formed."),
    { min: mebibyte, max: gibibyte },
  ),
  raftLogFileBytes: bytes(sized(limits, "raftLogFileBytes", "One file of the Raft log."), {
    min: mebibyte,
    max: 256 * mebibyte,
  }),
  raftLogKeepBytes: bytes(
    sized(limits, "raftLogKeepBytes", "Raft log kept below a checkpoint, for slow followers."),
    { min: 0, max: 64 * gibibyte },
  ),
  checkpointBytes: bytes(
    sized(limits, "checkpointBytes", "Bytes applied from one checkpoint to the next."),
    { min: mebibyte, max: 16 * gibibyte },
  ),
  tailCacheBytes: bytes(sized(limits, "tailCacheBytes", "Newest records kept in memory."), {
    min: 0,
    max: 4 * gibibyte,
  }),
  pendingBytesMax: bytes(
    sized(limits, "pendingBytesMax", "Appends in flight before writes are told `overloaded`."),
    { min: mebibyte, max: 4 * gibibyte },
  ),
  diskFreeBytesMin: bytes(
    sized(limits, "diskFreeBytesMin", "Free space below which writes are told `disk-full`."),
    { min: 0, max: 1024 * gibibyte },
  ),
  scrubBytesPerSecond: bytesPerSecond(
    sized(limits, "scrubBytesPerSecond", "Sealed segments checked in a second; 0 for no scrub."),
    { min: 0, max: gibibyte },
  ),
  scrubRestMs: integer(
    sized(limits, "scrubRestMs", "Rest after all sealed segments were checked."),
    "milliseconds",
    { min: 0, max: 604_800_000 },
  ),
  repairBytesPerSecond: bytesPerSecond(
    sized(limits, "repairBytesPerSecond", "Rate at which a damaged segment is made anew."),
    { min: mebibyte, max: gibibyte },
  ),
  httpConnectionsMax: integer(
    sized(limits, "httpConnectionsMax", "HTTP connections at once."),
    "count",
    { min: 1, max: 65_536 },
  ),
  streamsMax: integer(
    sized(limits, "streamsMax", "Streams that follow the log at once, of HTTP and of gRPC each."),
    "count",
    { min: 1, max: 65_536 },
  ),
  requestTimeoutMs: integer(
    sized(limits, "requestTimeoutMs", "Wait for a commit, if the request does not say."),
    "milliseconds",
    { min: 100, max: 600_000 },
  ),
  config: {
    ...text(row(running, "Options file, JSON or YAML.", "none"), anyPath, "a path"),
    isNotInFile: true,
  },
  logLevel: choice(sized(running, "logLevel", "Least severe events that are logged."), logLevels),
  shutdownTimeoutMs: integer(
    sized(running, "shutdownTimeoutMs", "Time to hand over and drain before a stop is forced."),
    "milliseconds",
    { min: 100, max: 600_000 },
  ),
};

/** Every option's key, in the order of the documents. */
export const optionKeys = Object.keys(optionTable) as readonly OptionKey[];

/** `electionTimeoutMs` → `election-timeout-ms`, as typed after two dashes. */
export function flagOf(key: OptionKey): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `electionTimeoutMs` → `PROGLOG_ELECTION_TIMEOUT_MS`. */
export function environmentNameOf(key: OptionKey): string {
  return `PROGLOG_${flagOf(key).replaceAll("-", "_").toUpperCase()}`;
}

/** True if the text is the key of an option. */
export function isOptionKey(key: string): key is OptionKey {
  return Object.hasOwn(optionTable, key);
}

/**
 * Reads one option's value.
 *
 * @param name What the person wrote it under: a flag, an environment name, a file's key.
 * @throws UsageError that names it, the value and what would do.
 */
export function parseOption<K extends OptionKey>(
  key: K,
  given: unknown,
  name: string,
): NonNullable<OptionValues[K]> {
  const { parse, type, range } = optionTable[key];
  const value = parse(given);
  if (value !== undefined) return value;
  const shown = given === undefined ? "nothing" : JSON.stringify(given).slice(0, 200);
  const wanted = range === "" ? type : `${type} (${range})`;
  throw new UsageError(`${name} can't be ${shown}; it takes ${wanted}.`);
}

/**
 * Adds the defaults to what was given, and checks how the values go together.
 *
 * @param hostname Where a node's name comes from if none is given.
 * @throws UsageError that names the options.
 */
export function completeOptions(given: Partial<OptionValues>, hostname: string): OptionValues {
  const values: OptionValues = {
    ...fixedDefaults,
    nodeName: nameFromHost(hostname),
    bootstrap: (given.join ?? []).length === 0,
    ...given,
  };
  checkRelations(values);
  return values;
}

/**
 * The options of a node that a program starts: what it gives, checked, and defaults for the rest.
 *
 * @throws UsageError that names the option, the value and what would do.
 */
export function nodeOptions(given: Partial<NodeOptions>, hostname: string): NodeOptions {
  const checked: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(given)) {
    if (!isOptionKey(key) || key === "config") throw new UsageError(`There is no option ${key}.`);
    if (value !== undefined) checked[key] = parseOption(key, value, key);
  }
  return completeOptions(checked, hostname);
}

/** A host's name made fit for a node's. */
function nameFromHost(hostname: string): string {
  const fit = hostname.replace(/[^A-Za-z0-9._-]/g, "-").replace(/^[^A-Za-z0-9]+/, "");
  return fit === "" ? "node" : fit.slice(0, 63);
}

function checkRelations(values: OptionValues): void {
  const { electionTimeoutMs, heartbeatMs, maxRecordBytes } = values;
  if (electionTimeoutMs < 5 * heartbeatMs) {
    throw new UsageError(
      `--election-timeout-ms (${String(electionTimeoutMs)}) must be at least 5 times ` +
        `--heartbeat-ms (${String(heartbeatMs)}); 10 times is right.`,
    );
  }
  if (values.httpAddr === values.rpcAddr && !values.httpAddr.endsWith(":0")) {
    throw new UsageError(`--http-addr and --rpc-addr can't both be ${values.httpAddr}.`);
  }
  const roomy = ["segmentBytes", "pendingBytesMax", "raftLogFileBytes"] as const;
  for (const key of roomy) {
    // A file of the Raft log has frames and a head of its own around the record.
    const least = key === "raftLogFileBytes" ? 2 * maxRecordBytes : maxRecordBytes;
    if (values[key] >= least) continue;
    throw new UsageError(
      `--${flagOf(key)} (${formatBytesWord(values[key])}) must be at least ` +
        `${formatBytesWord(least)} while --max-record-bytes is ${formatBytesWord(maxRecordBytes)}.`,
    );
  }
}
