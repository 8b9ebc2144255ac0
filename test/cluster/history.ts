/**
 * Judges what a cluster promised against what it holds.
 *
 * Offsets are the linearization, so no search is needed. What must hold:
 * - offsets are dense from 0, and every node holds the same value at each;
 * - an acknowledged value is at its offset and nowhere else; one of unknown fate is there once or
 *   not at all; a rejected one, and one that nobody wrote, is not there;
 * - offsets respect real time: what was acknowledged before another write began lies before it;
 * - a read's end of the log covers all that was acknowledged before the read began, and nothing
 *   whose write began after the read had ended; a value read at an offset is the one held there.
 * Cost: O(n log n) in the number of operations and records.
 */

/** A write as the client saw it. Values are unique. Times are of one monotonic clock. */
export type WriteOperation = {
  readonly value: string;
  readonly startMs: number;
} & (
  | { readonly kind: "acknowledged"; readonly offset: number; readonly endMs: number }
  | { readonly kind: "rejected" }
  | { readonly kind: "unknown" }
);

/** A linearizable read as the client saw it: of an end of the log, or of a record. */
export type ReadOperation = { readonly startMs: number; readonly endMs: number } & (
  | { readonly kind: "end"; readonly endOffset: number }
  | { readonly kind: "record"; readonly offset: number; readonly value: string }
);

export interface HeldRecord {
  readonly offset: number;
  readonly value: string;
}

export interface History {
  readonly writes: readonly WriteOperation[];
  readonly reads?: readonly ReadOperation[];
  /** What each node holds in the end, in the order in which it gave it. */
  readonly logs: ReadonlyMap<string, readonly HeldRecord[]>;
}

/** Most faults reported: one lie often has thousands of consequences. */
const faultsMax = 20;

/** Every way in which the history breaks a promise; empty if it keeps all. */
export function faultsOf(history: History): string[] {
  const faults: string[] = [];
  const log = checkLogs(history.logs, faults);
  const writes = new Map<string, WriteOperation>();
  for (const write of history.writes) {
    if (writes.has(write.value)) faults.push(`the test wrote ${quote(write.value)} twice`);
    writes.set(write.value, write);
  }
  checkPlaces(history.writes, { log, writes, faults });
  checkRealTime(log, writes, faults);
  checkReads(history, { log, writes, faults });
  return faults.slice(0, faultsMax);
}

/** Checks density and equality; returns the log of the first node. */
function checkLogs(logs: History["logs"], faults: string[]): readonly string[] {
  let reference: { node: string; values: string[] } | undefined;
  for (const [node, records] of logs) {
    for (const [at, record] of records.entries()) {
      if (record.offset !== at) {
        faults.push(`${node} gives offset ${record.offset} where ${at} must be`);
        break;
      }
    }
    const values = records.map((record) => record.value);
    if (reference === undefined) {
      reference = { node, values };
      continue;
    }
    if (values.length !== reference.values.length) {
      faults.push(
        `${node} holds ${values.length} records, ${reference.node} ${reference.values.length}`,
      );
    }
    const differs = values.findIndex((value, at) => {
      const other = reference?.values[at];
      return other !== undefined && other !== value;
    });
    if (differs >= 0) {
      const [here, there] = [values[differs], reference.values[differs]];
      faults.push(
        `offset ${differs} is ${quote(here)} on ${node}, ${quote(there)} on ${reference.node}`,
      );
    }
  }
  if (reference === undefined) faults.push("no node's log was read");
  return reference?.values ?? [];
}

interface Checked {
  readonly log: readonly string[];
  readonly writes: ReadonlyMap<string, WriteOperation>;
  readonly faults: string[];
}

function checkPlaces(all: readonly WriteOperation[], { log, writes, faults }: Checked): void {
  const places = new Map<string, number>();
  for (const [offset, value] of log.entries()) {
    const before = places.get(value);
    if (before !== undefined) {
      faults.push(`${quote(value)} is there twice, at ${before} and ${offset}`);
    }
    places.set(value, offset);
    const write = writes.get(value);
    if (write === undefined) faults.push(`nobody wrote ${quote(value)}, held at ${offset}`);
    else if (write.kind === "rejected") {
      faults.push(`${quote(value)} was rejected, and is held at ${offset}`);
    }
  }
  const offsets = new Map<number, string>();
  for (const write of all) {
    if (write.kind !== "acknowledged") continue;
    const { offset, value } = write;
    const other = offsets.get(offset);
    if (other !== undefined) {
      faults.push(`offset ${offset} was acknowledged for ${quote(other)} and ${quote(value)}`);
    }
    offsets.set(offset, value);
    if (log[offset] !== value) {
      faults.push(`${quote(value)} was acknowledged at ${offset}; there is ${quote(log[offset])}`);
    }
  }
}

/**
 * From the last offset down: if a record further on was acknowledged before this one's write
 * began, the order of the log contradicts the order in time.
 */
function checkRealTime(
  log: readonly string[],
  writes: ReadonlyMap<string, WriteOperation>,
  faults: string[],
): void {
  let earliestEndMs = Infinity;
  let earliest = "";
  for (let offset = log.length - 1; offset >= 0; offset -= 1) {
    const write = writes.get(log[offset] ?? "");
    if (write === undefined) continue;
    if (earliestEndMs < write.startMs) {
      faults.push(
        `${quote(earliest)} was acknowledged before ${quote(write.value)} was begun, ` +
          `which lies before it at ${offset}`,
      );
    }
    if (write.kind === "acknowledged" && write.endMs < earliestEndMs) {
      earliestEndMs = write.endMs;
      earliest = write.value;
    }
  }
}

function checkReads(history: History, { log, writes, faults }: Checked): void {
  const reads = [...(history.reads ?? [])].sort((a, b) => a.startMs - b.startMs);
  const acknowledged = history.writes
    .filter((write) => write.kind === "acknowledged")
    .sort((a, b) => a.endMs - b.endMs);
  let at = 0;
  let leastEndOffset = 0;
  for (const read of reads) {
    if (read.kind === "record") {
      if (log[read.offset] !== read.value) {
        faults.push(
          `${quote(read.value)} was read at ${read.offset}; there is ${quote(log[read.offset])}`,
        );
      }
      continue;
    }
    for (; at < acknowledged.length; at += 1) {
      const write = acknowledged[at];
      if (write === undefined || write.endMs >= read.startMs) break;
      leastEndOffset = Math.max(leastEndOffset, write.offset + 1);
    }
    if (read.endOffset < leastEndOffset) {
      faults.push(
        `a read saw the end at ${read.endOffset} after offset ${leastEndOffset - 1} ` +
          "had been acknowledged",
      );
    }
    const newest = read.endOffset === 0 ? undefined : writes.get(log[read.endOffset - 1] ?? "");
    if (read.endOffset > log.length) {
      faults.push(`a read saw the end at ${read.endOffset}; the log ends at ${log.length}`);
    } else if (newest !== undefined && newest.startMs > read.endMs) {
      faults.push(`a read saw ${quote(newest.value)} before its write was begun`);
    }
  }
}

function quote(value: string | undefined): string {
  return value === undefined ? "nothing" : JSON.stringify(value.slice(0, 60));
}
