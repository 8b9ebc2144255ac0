/**
 * Reads the data directory of a stopped node and checks every checksum in it, without changing it.
 *
 * It says what each file holds and lists what is wrong by file and position. A torn tail, a
 * missing index or segments that no checkpoint names are no faults: a start deals with them.
 *
 * It must never write into the directory. LevelDB writes when it is opened, so the checkpoint is
 * copied to the system's temporary directory and opened there. The lock is a LevelDB database too:
 * whether a running node holds it can't be found out without writing, so it is not asked. On the
 * directory of a running node, what is found is of no moment in particular: stop it first.
 */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";

import type { Checkpoint } from "./checkpoint.js";
import { commitLogDefaults } from "./commit-log.js";
import { DamageError } from "./damage.js";
import type { Disk } from "./disk.js";
import { DiskError, readWholeFile, writeAll } from "./disk.js";
import { frameBody, frameKinds } from "./frame.js";
import { readIdentity } from "./identity.js";
import type { Identity } from "./identity.js";
import { LevelCheckpointStore } from "./level-checkpoint.js";
import { NodeDisk } from "./node-disk.js";
import type { ScannedFile } from "./raft-file.js";
import { readRaftFileHeader, scanRaftFile, sequenceOf } from "./raft-file.js";
import { raftLogDefaults } from "./raft-log.js";
import type { FoundLog } from "./raft-log-recovery.js";
import { findRaftLog } from "./raft-log-recovery.js";
import type { SegmentRef } from "./segment.js";
import { Segment, baseOffsetOf, indexName, storeName } from "./segment.js";
import { SparseIndex } from "./sparse-index.js";

const checkpointDirectory = "checkpoint";
const raftDirectory = raftLogDefaults.directory;
const logDirectory = commitLogDefaults.directory;

/** Something that a start would refuse, or a read would trip over. */
export interface Fault {
  /** Relative to the data directory. */
  readonly file: string;
  /** Byte position in the file. */
  readonly position: number;
  readonly what: string;
}

export interface Inspection {
  /** For people: what is there, one thing a line. */
  readonly lines: string[];
  readonly faults: Fault[];
}

/**
 * Inspects a data directory.
 *
 * @param directory Of a node that is stopped.
 * @throws DiskError if a file can't be read at all.
 */
export async function inspectDirectory(directory: string): Promise<Inspection> {
  const disk = new NodeDisk(directory);
  const report = new Report();
  const names = await disk.list("");
  if (names.length === 0) {
    report.say("The directory is empty, or there is none.");
    return report;
  }
  const identity = await report.attempt(() => readIdentity(disk));
  sayIdentity(report, identity);
  const checkpoint = await inspectCheckpoint(disk, report);
  const raft = await inspectRaftLog(disk, report);
  checkFit(report, { identity, checkpoint, raft });
  await inspectCommitLog(disk, report, checkpoint);
  if (names.includes("incoming")) {
    const count = (await disk.list("incoming")).length;
    report.say(`incoming: ${String(count)} files of a snapshot that was being fetched`);
  }
  return report;
}

class Report implements Inspection {
  readonly lines: string[] = [];
  readonly faults: Fault[] = [];

  say(line: string): void {
    this.lines.push(line);
  }

  /** Notes a fault; one that two checks find at the same place is noted once. */
  fault(file: string, position: number, what: string): void {
    const isKnown = this.faults.some((known) => known.file === file && known.position === position);
    if (!isKnown) this.faults.push({ file, position, what });
  }

  /** What the check comes to, or undefined if it finds damage, which is noted. */
  async attempt<T>(check: () => T | Promise<T>): Promise<T | undefined> {
    try {
      return await check();
    } catch (error) {
      if (!(error instanceof DamageError)) throw error;
      this.fault(error.file, error.position, error.what);
      return undefined;
    }
  }
}

function sayIdentity(report: Report, identity: Identity | undefined): void {
  if (identity === undefined) {
    report.say("identity: none");
    return;
  }
  const cluster = identity.clusterId ?? "none yet";
  report.say(`identity: node ${identity.nodeId}, cluster ${cluster}`);
}

async function inspectCheckpoint(disk: Disk, report: Report): Promise<Checkpoint | undefined> {
  const names = (await disk.list(checkpointDirectory)).filter((name) => name !== "LOCK");
  if (names.length === 0) {
    report.say("checkpoint: none");
    return undefined;
  }
  if (!names.includes("CURRENT")) {
    report.fault(`${checkpointDirectory}/CURRENT`, 0, "the file is missing");
    return undefined;
  }
  const loaded = await loadCopy(disk, names);
  if (loaded instanceof Error) {
    report.fault(checkpointDirectory, 0, loaded.message);
    return undefined;
  }
  if (loaded === undefined) {
    report.say("checkpoint: empty");
    return undefined;
  }
  const { appliedIndex, appliedTerm, endOffset, segments, clusterId, segmentBytes } = loaded;
  report.say(
    `checkpoint: applied up to index ${String(appliedIndex)} of term ${String(appliedTerm)}, ` +
      `end offset ${String(endOffset)}, ${String(segments.length)} segments, ` +
      `segment size ${String(segmentBytes)}, cluster ${clusterId === "" ? "none yet" : clusterId}`,
  );
  if (loaded.configurationIndex > 0) {
    const { configurationIndex, configuration } = loaded;
    report.say(
      `checkpoint: configuration of index ${String(configurationIndex)}: ${configuration}`,
    );
  }
  return loaded;
}

/** Copies made by this process, so that two inspections at once do not share one. */
let copyCount = 0;

/** Loads the checkpoint from a copy of its database; an Error says why it can't be read. */
async function loadCopy(
  disk: Disk,
  names: readonly string[],
): Promise<Checkpoint | Error | undefined> {
  const scratch = new NodeDisk(tmpdir());
  copyCount += 1;
  const copy = `proglog-inspect-${String(process.pid)}-${String(copyCount)}`;
  // A process that had the same id may have been killed here.
  await scratch.removeTree(copy);
  await scratch.makeDirectory(copy);
  try {
    for (const name of names) {
      const bytes = await readWholeFile(disk, `${checkpointDirectory}/${name}`);
      const file = await scratch.create(`${copy}/${name}`);
      await writeAll(file, 0, bytes);
      await file.close();
    }
    return await loadFrom(join(tmpdir(), copy));
  } finally {
    await scratch.removeTree(copy);
  }
}

async function loadFrom(path: string): Promise<Checkpoint | Error | undefined> {
  let store: LevelCheckpointStore;
  try {
    store = await LevelCheckpointStore.open(path);
  } catch (error) {
    const cause = error instanceof Error ? (error.cause ?? error) : error;
    return new Error(`the database can't be opened: ${reasonOf(cause).replaceAll(path, "")}`);
  }
  try {
    return await store.load();
  } catch (error) {
    if (error instanceof DamageError) return new Error(error.what);
    throw error;
  } finally {
    await store.close();
  }
}

function reasonOf(cause: unknown): string {
  if (cause instanceof DamageError) return cause.what;
  return cause instanceof Error ? cause.message : String(cause);
}

/** Each file for itself, then all of them as a start would read them. */
async function inspectRaftLog(disk: Disk, report: Report): Promise<FoundLog | undefined> {
  const names = await disk.list(raftDirectory);
  for (const name of names) {
    const sequence = sequenceOf(name);
    const path = `${raftDirectory}/${name}`;
    if (sequence === undefined) report.say(`${path}: not a file of the log in use`);
    else await inspectRaftFile(disk, report, path, sequence);
  }
  const found = await report.attempt(() => findRaftLog(disk, raftDirectory));
  if (found === undefined) return undefined;
  const { places, hardState, tornBytes, configurations } = found;
  const { term, vote } = hardState;
  const held = places.isEmpty
    ? "no entries"
    : `entries ${String(places.firstIndex)} to ${String(places.lastIndex)}`;
  const voted = vote === "" ? "no vote" : `vote for ${vote}`;
  report.say(`Raft log: ${held}, term ${String(term)}, ${voted}`);
  for (const { index, body } of configurations) {
    report.say(`Raft log: configuration at index ${String(index)}: ${body.toString()}`);
  }
  if (tornBytes > 0) {
    report.say("Raft log: a torn tail, left by a crash; the next start zeroes it");
  }
  return found;
}

async function inspectRaftFile(
  disk: Disk,
  report: Report,
  path: string,
  sequence: number,
): Promise<void> {
  const bytes = await readWholeFile(disk, path);
  const scanned = await report.attempt(() => {
    const { salt } = readRaftFileHeader(path, bytes, sequence);
    return scanRaftFile(path, bytes, salt);
  });
  if (scanned === undefined) {
    report.say(`${path}: ${String(bytes.length)} bytes, damaged`);
    return;
  }
  const remains = scanned.hasRemains ? ", frames beyond the end" : "";
  report.say(
    `${path}: ${String(bytes.length)} bytes, ${summaryOf(scanned, bytes)}, ` +
      `ends at ${String(scanned.end)}${remains}`,
  );
}

const kindNames = new Map<number, string>(
  Object.entries(frameKinds).map(([name, kind]) => [kind, name]),
);

/** Counts by kind, the range of entries, the range of terms, and the last vote. */
function summaryOf({ frames }: ScannedFile, bytes: Buffer): string {
  if (frames.length === 0) return "no frames";
  const counts = new Map<string, number>();
  let indexMin = Infinity;
  let indexMax = 0;
  let termMin = Infinity;
  let termMax = 0;
  let vote = "";
  for (const { header, position } of frames) {
    const kind = kindNames.get(header.kind) ?? "";
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    if (header.kind === frameKinds.hardState) {
      vote = frameBody(bytes, position, header).toString();
      termMin = Math.min(termMin, header.term);
      termMax = Math.max(termMax, header.term);
    } else if (header.kind < frameKinds.hardState) {
      indexMin = Math.min(indexMin, header.key);
      indexMax = Math.max(indexMax, header.key);
    }
  }
  const kinds = [...counts].map(([kind, count]) => `${String(count)} ${kind}`).join(", ");
  const entries = indexMax === 0 ? "" : `, entries ${String(indexMin)} to ${String(indexMax)}`;
  const voted = vote === "" ? "no vote" : `vote for ${vote}`;
  const span = `${String(termMin)} to ${String(termMax)}`;
  const terms = `hard states of terms ${span}, ${voted} at the end`;
  return `${String(frames.length)} frames (${kinds})${entries}, ${terms}`;
}

/** What a start asks of the parts together. */
function checkFit(
  report: Report,
  found: {
    readonly identity: Identity | undefined;
    readonly checkpoint: Checkpoint | undefined;
    readonly raft: FoundLog | undefined;
  },
): void {
  const { identity, checkpoint, raft } = found;
  if (raft === undefined) return;
  const isBare = raft.files.length === 0 && raft.unused.length === 0;
  if (identity?.hasLog === true && isBare) {
    report.fault(raftDirectory, 0, "the files of the Raft log are missing");
  }
  if (identity?.hasCheckpoint === true && checkpoint === undefined) {
    report.fault("checkpoint", 0, "the checkpoint is missing");
  }
  if (checkpoint === undefined) return;
  const { appliedIndex, appliedTerm } = checkpoint;
  if (raft.hardState.term < appliedTerm) {
    report.fault(raftDirectory, 0, "the Raft log's term is below the checkpoint's");
  }
  if (!raft.places.isEmpty && raft.places.firstIndex > appliedIndex + 1) {
    const missing = `${String(appliedIndex + 1)} to ${String(raft.places.firstIndex - 1)}`;
    report.fault(raftDirectory, 0, `entries ${missing} are in no log and in no checkpoint`);
  }
}

async function inspectCommitLog(
  disk: Disk,
  report: Report,
  checkpoint: Checkpoint | undefined,
): Promise<void> {
  const names = await disk.list(logDirectory);
  const named = new Set<number>();
  let expected = checkpoint?.segments[0]?.baseOffset ?? 0;
  for (const ref of checkpoint?.segments ?? []) {
    named.add(ref.baseOffset);
    const path = `${logDirectory}/${storeName(ref.baseOffset)}`;
    if (ref.baseOffset !== expected) {
      report.fault(path, 0, `offset ${String(expected)} should be its first`);
    }
    expected = ref.endOffset;
    if (names.includes(storeName(ref.baseOffset))) await inspectSegment(disk, report, path, ref);
    else report.fault(path, 0, "the file is missing");
  }
  for (const name of names) {
    const baseOffset = baseOffsetOf(name);
    if (baseOffset === undefined || named.has(baseOffset)) continue;
    report.say(`${logDirectory}/${name}: named by no checkpoint; written anew from the Raft log`);
  }
}

async function inspectSegment(
  disk: Disk,
  report: Report,
  path: string,
  ref: SegmentRef,
): Promise<void> {
  const segment = new Segment(disk, logDirectory, ref.baseOffset);
  segment.writtenBytes = ref.bytes;
  try {
    const size = await (await segment.file()).size();
    if (size < ref.bytes) report.fault(path, size, "the file is shorter than its checkpoint says");
    const summary = await report.attempt(() => readThrough(segment, path, ref));
    const after =
      size > ref.bytes ? `, ${String(size - ref.bytes)} bytes after the checkpoint` : "";
    const held = summary ?? "damaged";
    report.say(`${path}: ${String(ref.bytes)} bytes, ${held}${after}${await indexNote(disk, ref)}`);
  } finally {
    await segment.close();
  }
}

/** @throws DamageError */
async function readThrough(segment: Segment, path: string, ref: SegmentRef): Promise<string> {
  let checksum = 0;
  let frameCount = 0;
  let offset = ref.baseOffset;
  for await (const { header, position, bytes } of segment.frames(0)) {
    if (header.key !== offset) {
      throw new DamageError(path, position, `offset ${String(offset)} is missing`);
    }
    checksum = crc32(bytes, checksum);
    frameCount += 1;
    offset = header.key + header.count;
  }
  if (offset !== ref.endOffset || checksum !== ref.checksum) {
    throw new DamageError(path, 0, "the segment is not the one its checkpoint names");
  }
  return `${String(frameCount)} frames, offsets ${String(ref.baseOffset)} to ${String(offset - 1)}`;
}

/** An index is derived: what is wrong with it is said, and is no fault. */
async function indexNote(disk: Disk, ref: SegmentRef): Promise<string> {
  try {
    const bytes = await readWholeFile(disk, `${logDirectory}/${indexName(ref.baseOffset)}`);
    const isUsable = SparseIndex.decode(bytes, ref) !== undefined;
    return isUsable ? ", index" : ", index unusable (made anew when needed)";
  } catch (error) {
    if (error instanceof DiskError && error.fault === "not-found") return "";
    throw error;
  }
}
