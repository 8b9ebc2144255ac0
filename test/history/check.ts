/**
 * Judges what a log promised against what it holds, for simulated and real histories alike.
 *
 * Offsets are the linearization, so no search is needed (docs/checker.md says why this is sound):
 * - offsets are dense from 0, and every node holds the same value at each;
 * - an acknowledged value is at its offset and nowhere else, one of unknown fate is there once or
 *   not at all, a rejected one and one that nobody sent is not there;
 * - a batch lies together, all or none; a conditional append lies where it had to;
 * - attempts of one producer and sequence left one record and were answered alike, and a
 *   producer's records lie in the order of their sequences;
 * - what was read is what the log holds, and nothing contradicts the order in time (order.ts).
 * Pure. Cost: O(n log n) in the number of operations and records.
 */
import type { FinalLog, History, ReadOperation } from "./history.js";
import { checkOrder } from "./order.js";
import { nameOf, nameOfRead, quote, Violations } from "./violations.js";
import type { Violation } from "./violations.js";
import { logicalWrites } from "./writes.js";
import type { LogicalWrite, Writes } from "./writes.js";

/** Every way in which the history breaks a promise, a few of each kind; empty if it keeps all. */
export function check(history: History): Violation[] {
  const violations = new Violations();
  const log = checkLogs(history.logs, violations);
  const writes = logicalWrites(history.appends, violations);
  const offsets = checkRecords(log, writes, violations);
  const places = new Map<LogicalWrite, number>();
  for (const write of writes.all) {
    const place = checkWrite(write, { log, offsets, violations });
    if (place !== undefined) places.set(write, place);
  }
  checkProducers(places, violations);
  for (const read of history.reads) checkRead(read, log, violations);
  checkOrder(history, places, violations);
  return violations.list();
}

/** Checks density and equality; returns the values of the longest log. */
function checkLogs(logs: readonly FinalLog[], violations: Violations): readonly string[] {
  let longest: FinalLog | undefined;
  for (const log of logs) {
    const gap = log.records.findIndex((record, at) => record.offset !== at);
    if (gap >= 0) {
      const offset = log.records[gap]?.offset ?? gap;
      violations.add("gap", `${log.node} gives offset ${offset} where ${gap} must be`);
    }
    if (longest === undefined || log.records.length > longest.records.length) longest = log;
  }
  if (longest === undefined) {
    violations.add("malformed", "no node's log was read");
    return [];
  }
  const held = longest.records.map((record) => record.value);
  for (const log of logs) checkEqual(log, { node: longest.node, held }, violations);
  return held;
}

function checkEqual(
  { node, records, mayLag }: FinalLog,
  longest: { readonly node: string; readonly held: readonly string[] },
  violations: Violations,
): void {
  const { held } = longest;
  const differs = records.findIndex((record, at) => record.value !== held[at]);
  if (differs >= 0) {
    const [here, there] = [quote(records[differs]?.value), quote(held[differs])];
    violations.add(
      "divergence",
      `offset ${differs} is ${here} on ${node}, ${there} on ${longest.node}`,
    );
  }
  if (mayLag !== true && records.length < held.length) {
    violations.add(
      "behind",
      `${node} holds ${records.length} records, ${longest.node} ${held.length}`,
    );
  }
}

/** Checks that each record was sent, not rejected, and is there once; returns where values lie. */
function checkRecords(
  log: readonly string[],
  { byValue }: Writes,
  violations: Violations,
): ReadonlyMap<string, number> {
  const offsets = new Map<string, number>();
  for (const [offset, value] of log.entries()) {
    const write = byValue.get(value);
    const name = write === undefined ? quote(value) : nameOf(write.first);
    const before = offsets.get(value);
    if (before !== undefined) {
      violations.add("duplicate", `${name} is there twice, at ${before} and ${offset}`);
      continue;
    }
    offsets.set(value, offset);
    if (write === undefined) {
      violations.add("stranger", `nobody sent ${name}, which is held at ${offset}`);
    } else if (write.fate === "rejected") {
      violations.add("rejected-applied", `${name} was rejected, and is held at ${offset}`);
    }
  }
  return offsets;
}

interface Held {
  readonly log: readonly string[];
  readonly offsets: ReadonlyMap<string, number>;
  readonly violations: Violations;
}

/** Checks one logical write; returns the offset of its first value that is held. */
function checkWrite(write: LogicalWrite, { log, offsets, violations }: Held): number | undefined {
  const { values, expectedOffset } = write.first;
  let answered: number | undefined;
  for (const attempt of write.attempts) {
    if (attempt.outcome.type !== "ok") continue;
    const { offset } = attempt.outcome;
    const name = nameOf(attempt);
    if (answered !== undefined && answered !== offset) {
      violations.add(
        "unequal-answers",
        `${name} was answered with ${offset}, an earlier attempt with ${answered}`,
      );
    }
    answered ??= offset;
    const missing = values.findIndex((value, at) => log[offset + at] !== value);
    if (missing >= 0) {
      const there = quote(log[offset + missing]);
      const what = `${name} was acknowledged at ${offset}`;
      violations.add("lost", `${what}; at ${offset + missing} there is ${there}`);
    }
  }
  const held = values.map((value) => offsets.get(value));
  const place = held.find((offset) => offset !== undefined);
  if (place === undefined) return undefined;
  if (held.some((offset, at) => offset !== place + at)) {
    const where = held.map((offset) => offset ?? "nowhere").join(", ");
    violations.add("torn-batch", `values of ${nameOf(write.first)} are held at ${where}`);
  }
  if (expectedOffset !== undefined && place !== expectedOffset) {
    const name = nameOf(write.first);
    violations.add("condition", `${name} was for ${expectedOffset} only, and is held at ${place}`);
  }
  return place;
}

/** Checks that a producer's records lie in the order of their sequences. */
function checkProducers(places: ReadonlyMap<LogicalWrite, number>, violations: Violations): void {
  const byProducer = new Map<string, { write: LogicalWrite; sequence: number; place: number }[]>();
  for (const [write, place] of places) {
    const { producer } = write.first;
    if (producer === undefined) continue;
    const list = byProducer.get(producer.id) ?? [];
    list.push({ write, sequence: producer.sequence, place });
    byProducer.set(producer.id, list);
  }
  for (const list of byProducer.values()) {
    list.sort((a, b) => a.sequence - b.sequence);
    for (const [at, { write, place }] of list.entries()) {
      const before = list[at - 1];
      if (before === undefined || before.place < place) continue;
      const names = `${nameOf(write.first)} is held at ${place}, ${nameOf(before.write.first)}`;
      violations.add("producer-order", `${names} only after it, at ${before.place}`);
    }
  }
}

/** Checks what a read said against the log; when it said so is for order.ts. */
function checkRead(read: ReadOperation, log: readonly string[], violations: Violations): void {
  const { result, from } = read;
  const name = nameOfRead(read);
  if (read.returnedAt < read.invokedAt) {
    violations.add("malformed", `${name} ends before it begins`);
  }
  if (result.type === "miss") {
    if (result.endOffset > from) {
      violations.add("wrong-read", `${name} missed below the end ${result.endOffset} that it gave`);
    }
    if (result.endOffset > log.length) {
      const ends = `the log ends at ${log.length}`;
      violations.add("wrong-read", `${name} saw the end at ${result.endOffset}; ${ends}`);
    }
    return;
  }
  if (result.offset !== from || result.values.length === 0) {
    violations.add("wrong-read", `${name} was answered from ${result.offset}`);
  }
  const differs = result.values.findIndex((value, at) => log[result.offset + at] !== value);
  if (differs >= 0) {
    const offset = result.offset + differs;
    const [read, held] = [quote(result.values[differs]), quote(log[offset])];
    violations.add("wrong-read", `${name} gave ${read} at ${offset}; there is ${held}`);
  }
}
