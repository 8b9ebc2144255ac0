/**
 * `proglog backup FILE`: copies the log of a running cluster into one file.
 *
 * What it copies is what was committed when it began: the end is confirmed with the leader first,
 * and everything before that end never changes, so the cluster goes on meanwhile. It holds a few
 * mebibytes in memory, whatever the length of the log.
 */
import { UsageError, integer } from "../../agent/option-table.js";
import type { Clock } from "../../common/clock.js";
import { ProglogError } from "../../common/errors.js";
import type { Random } from "../../common/random.js";
import { BackupWriter } from "../../storage/backup-file.js";
import type { BackupSummary } from "../../storage/backup-file.js";
import { BackupProgress, roundBytes } from "./backup-progress.js";
import { fileOf, keepBackup, placeOf, telling } from "./backup-place.js";
import { LogSource } from "./log-source.js";

export interface BackupOptions {
  readonly file: string;
  /** rpc addresses of some nodes. */
  readonly servers: readonly string[];
  /** False: only these are dialled. */
  readonly discovery?: boolean | undefined;
  /** How long a node is given to answer. */
  readonly timeoutMs?: number | undefined;
  /** undefined: where the log starts. */
  readonly from?: number | undefined;
  readonly json?: boolean | undefined;
}

/** What the two commands need of the process around them. */
export interface BackupSurroundings {
  readonly clock: Clock;
  readonly random: Random;
  /** Prints a line on standard output. */
  readonly print: (line: string) => void;
  /** Writes a line over the last one on standard error; undefined if that is no terminal. */
  readonly showProgress?: ((line: string) => void) | undefined;
  /** Aborts when the command is to stop: what it had begun is then removed. */
  readonly signal: AbortSignal;
}

/** Reads the command's own flags as yargs split them. @throws UsageError */
export function backupOptions(
  split: Readonly<Record<string, unknown>>,
  servers: readonly string[],
): BackupOptions {
  const given = split["from"];
  const row = integer({ group: "Running", doc: "", defaultText: "" }, "count", {
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
  });
  const from = given === undefined ? undefined : row.parse(given);
  if (given !== undefined && from === undefined) {
    throw new UsageError(`--from can't be ${JSON.stringify(given)}; it takes an offset.`);
  }
  return { file: fileOf(split), servers, from, json: split["json"] === true };
}

/**
 * Runs the command.
 *
 * @throws UsageError; ProglogError what the cluster or the disk can't do; the signal's reason.
 */
export async function backup(
  options: BackupOptions,
  surroundings: BackupSurroundings,
): Promise<BackupSummary> {
  const { clock, random, signal, print, showProgress } = surroundings;
  const place = placeOf(options.file);
  const { servers, discovery, timeoutMs } = options;
  const source = new LogSource({ servers, discovery, timeoutMs, clock, random, signal });
  const progress = new BackupProgress(clock, showProgress);
  try {
    const clusterId = await source.clusterId();
    const range = rangeOf(await source.bounds(), options.from);
    const origin = { clusterId, startOffset: range.startOffset, takenMs: clock.wallNow() };
    const summary = await telling(options.file, async () =>
      keepBackup(place, async (file) => {
        const writer = new BackupWriter(file, random, origin);
        const all = range.endOffset - range.startOffset;
        for await (const batch of source.batches(range.startOffset, range.endOffset)) {
          await writer.add(batch);
          progress.at("Copying the log", writer.endOffset - range.startOffset, all);
        }
        return writer.finish();
      }),
    );
    print(options.json === true ? jsonOf(options.file, summary) : textOf(options.file, summary));
    return summary;
  } finally {
    progress.end();
    await source.close();
  }
}

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
}

/** @throws ProglogError if there is nothing in the range. */
function rangeOf({ startOffset, endOffset }: Range, from: number | undefined): Range {
  const start = from ?? startOffset;
  if (start < startOffset) {
    const detail = `The log starts at offset ${String(startOffset)}; --from is ${String(start)}.`;
    throw new ProglogError("offset-trimmed", detail, { fields: { startOffset } });
  }
  if (start >= endOffset && start > 0) {
    const detail = `There is nothing to copy: the next record gets offset ${String(endOffset)}.`;
    throw new ProglogError("offset-out-of-range", detail, { fields: { endOffset } });
  }
  return { startOffset: start, endOffset };
}

function jsonOf(file: string, summary: BackupSummary): string {
  const { takenMs, ...rest } = summary;
  return JSON.stringify({ file, ...rest, takenAt: new Date(takenMs).toISOString() });
}

function textOf(file: string, summary: BackupSummary): string {
  const { count, startOffset, endOffset, bytes, clusterId } = summary;
  const which =
    count === 0
      ? "no records, the log is empty"
      : `${String(count)} records, offsets ${String(startOffset)} to ${String(endOffset - 1)}`;
  return `${file}: ${which}, ${roundBytes(bytes)}, of cluster ${clusterId}`;
}
