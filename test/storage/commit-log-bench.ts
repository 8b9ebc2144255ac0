/**
 * A commit log under test: short ways to fill it and to read it back.
 */
import { crc32 } from "node:zlib";

import { decodeBatch, encodeRecords } from "../../src/common/record.js";
import type { RecordBatch } from "../../src/common/record.js";
import { CommitLog, emptyCommitLog } from "../../src/storage/commit-log.js";
import type { CommitLogOptions, CommitLogState } from "../../src/storage/commit-log.js";
import type { Disk } from "../../src/storage/disk.js";
import { manualClock } from "./simulated.js";
import type { ManualClock } from "./simulated.js";

/** Enough for several pairs in an index. */
export const segmentBytes = 16 * 1024;

const valueBytes = 180;

export const smallLog: CommitLogOptions = {
  directory: "log",
  tailCacheBytes: 2048,
  writeBytesMax: 4096,
  writeBytesMin: 0,
  writeDelayMs: 10,
  unwrittenBytesMax: 8192,
  syncBytes: 64 * 1024,
  fullRetryMs: 500,
  openFilesMax: 4,
};

/** No memory of what was written: every read that can goes to the disk. */
export const uncached: Partial<CommitLogOptions> = { tailCacheBytes: 0 };

export interface OpenCommitLog {
  readonly log: CommitLog;
  readonly failures: Error[];
  readonly clock: ManualClock;
}

export async function openCommitLog(
  disk: Disk,
  state: CommitLogState = emptyCommitLog,
  options: Partial<CommitLogOptions> = {},
): Promise<OpenCommitLog> {
  const failures: Error[] = [];
  const clock = manualClock();
  const log = await CommitLog.open(disk, clock, state, { ...smallLog, ...options }, (error) => {
    failures.push(error);
  });
  return { log, failures, clock };
}

/** Appends records that say their offset, as one batch. */
export function add(log: CommitLog, count: number, timestampMs = 1000): number {
  const values = Array.from({ length: count }, (_, at) => {
    return { value: Buffer.from(valueOf(log.endOffset + at)) };
  });
  const records = encodeRecords(values);
  const append = { count, term: 1, timestampMs, records, recordsCrc: crc32(records) };
  return log.append(append, segmentBytes);
}

export function valueOf(offset: number): string {
  return `record ${String(offset)} `.padEnd(valueBytes, ".");
}

/** The values of a batch, with their offsets checked against it. */
export function valuesOf(batches: readonly RecordBatch[]): string[] {
  return batches.flatMap((batch) =>
    [...decodeBatch(batch)].map((record) => {
      const text = record.value.toString();
      if (!text.startsWith(`record ${String(record.offset)} `)) {
        throw new Error(`offset ${String(record.offset)} holds "${text}"`);
      }
      return text;
    }),
  );
}

/** Reads from an offset to the end in parts; every record says the offset it was given. */
export async function readAll(log: CommitLog, from: number, bytesMax = 1000): Promise<number> {
  let offset = from;
  while (offset < log.endOffset) {
    const batches = await log.read(offset, bytesMax);
    if (batches[0]?.offset !== offset) throw new Error(`no batch starts at ${String(offset)}`);
    offset += valuesOf(batches).length;
  }
  return offset;
}
