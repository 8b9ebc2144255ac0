/** Appends on their way: each is answered exactly once, and never told what may not be true. */
import { beforeEach, expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { encodeRecords } from "../../src/common/record.js";
import type { Append } from "../../src/machine/command.js";
import {
  conditionBytesMax,
  conditionBytesOf,
  decodeConditions,
} from "../../src/machine/command.js";
import type { Appended } from "../../src/replica/proposals.js";
import { Proposals, refusalError } from "../../src/replica/proposals.js";
import { framePreamble, readHeader } from "../../src/storage/frame.js";
import type { ManualClock } from "../storage/simulated.js";
import { manualClock } from "../storage/simulated.js";

let clock: ManualClock;
let proposals: Proposals;
/** All answers, in the order in which they came. */
let answers: { readonly name: string; readonly result: Appended | ProglogError }[];

beforeEach(() => {
  clock = manualClock();
  proposals = new Proposals(clock, { pendingBytesMax: 64 * 1024, entryBytesMax: 2000 });
  answers = [];
});

function appendOf(text: string, fields: Partial<Append> = {}): Append {
  return { records: encodeRecords([{ value: Buffer.from(text) }]), count: 1, ...fields };
}

function add(name: string, timeoutMs = 1000, fields: Partial<Append> = {}): boolean {
  return proposals.add(appendOf(name, fields), timeoutMs, (result) => {
    answers.push({ name, result });
  });
}

/** Takes what waits as one entry and gives it a place. */
function place(index: number, term: number): void {
  for (const { id } of proposals.take()) expect(proposals.accepted(id, index, term)).toBe(true);
}

function codes(): string[] {
  return answers.map(({ name, result }) => {
    if (result instanceof ProglogError) return `${name} ${result.code} ${String(result.outcome)}`;
    return `${name} ${String(result.offset)}`;
  });
}

const nothingDropped = { offset: 10, timestampMs: 7, dropped: [] };

test("what arrives together is one entry, answered in order with consecutive offsets", () => {
  expect(add("a")).toBe(true);
  expect(add("b")).toBe(false);
  const [proposal, ...others] = proposals.take();
  expect(others).toEqual([]);
  expect(readHeader(proposal?.data ?? Buffer.alloc(0), 0)).toMatchObject({ count: 2 });
  proposals.accepted(proposal?.id ?? 0, 5, 1);
  proposals.applied(5, 1, nothingDropped);
  expect(codes()).toEqual(["a 10", "b 11"]);
  expect(proposals.isEmpty).toBe(true);
  expect(proposals.pendingBytes).toBe(0);
});

test("an append of many records moves those behind it by as many offsets", () => {
  const many = encodeRecords(["x", "y", "z"].map((text) => ({ value: Buffer.from(text) })));
  add("first", 1000, { records: many, count: 3 });
  add("second");
  place(1, 1);
  proposals.applied(1, 1, nothingDropped);
  expect(codes()).toEqual(["first 10", "second 13"]);
  expect(answers[0]?.result).toMatchObject({ count: 3, timestampMs: 7 });
});

test("a dropped append is told the offset it would have got; the others close the gap", () => {
  add("a");
  add("b", 1000, { expectedOffset: 99 });
  add("c");
  place(1, 1);
  const why = { type: "mismatch", actualOffset: 11 } as const;
  const dropped = [{ firstRecord: 1, count: 1, why }];
  proposals.applied(1, 1, { ...nothingDropped, dropped });
  expect(codes()).toEqual(["a 10", "b expected-offset-mismatch not_applied", "c 11"]);
  expect(answers[1]?.result).toMatchObject({ fields: { actualOffset: 11 } });
});

test("an append above the entry's bytes goes alone, and the others are not held up by it", () => {
  add("a");
  add("b".repeat(5000));
  add("c");
  const taken = proposals.take();
  const counts = taken.map(({ data }) => readHeader(data, 0)?.count);
  expect(counts).toEqual([1, 1, 1]);
  taken.forEach(({ id }, ordinal) => proposals.accepted(id, ordinal + 1, 1));
  taken.forEach((_taken, ordinal) => {
    proposals.applied(ordinal + 1, 1, { ...nothingDropped, offset: ordinal });
  });
  expect(answers.map(({ name }) => name[0])).toEqual(["a", "b", "c"]);
});

test("an entry holds no more conditions than its preamble has room for", () => {
  const large = new Proposals(clock, { pendingBytesMax: 2 ** 30, entryBytesMax: 2 ** 30 });
  const append = appendOf("x", { expectedOffset: 0 });
  const countMax = Math.floor(conditionBytesMax / conditionBytesOf(append));
  for (let at = 0; at <= countMax; at += 1) {
    large.add(appendOf("x", { expectedOffset: at }), 1000, () => undefined);
  }
  const counts = large.take().map(({ data }) => {
    const header = readHeader(data, 0);
    return header === undefined ? -1 : decodeConditions(framePreamble(data, 0, header)).length;
  });
  expect(counts).toEqual([countMax, 1]);
});

test("a refusal of the core is not applied", () => {
  add("a");
  const [proposal] = proposals.take();
  expect(proposals.rejected(proposal?.id ?? 0, "not-leader")).toBe(true);
  expect(codes()).toEqual(["a no-leader not_applied"]);
  expect(proposals.pendingBytes).toBe(0);
});

test("an id that is none of its own is left to others", () => {
  expect(proposals.accepted(-1, 1, 1)).toBe(false);
  expect(proposals.rejected(-1, "not-leader")).toBe(false);
});

test("another term's entry applied at the index proves that the append is not applied", () => {
  add("a");
  place(5, 1);
  proposals.applied(5, 2, nothingDropped);
  expect(codes()).toEqual(["a no-leader not_applied"]);
});

test("an append that the next leader commits is answered as applied", () => {
  add("a");
  place(5, 1);
  proposals.leadershipLost(100);
  clock.advance(50);
  proposals.expire();
  proposals.applied(5, 1, nothingDropped);
  expect(codes()).toEqual(["a 10"]);
});

// A five-node schedule ends with the cut entry committed: this node alone can't know it is gone.
test("an append whose index was cut and used again here is of unknown outcome", () => {
  add("a");
  place(6, 1);
  add("b");
  place(6, 3);
  proposals.applied(6, 3, nothingDropped);
  expect(codes()).toEqual(["a outcome-unknown unknown", "b 10"]);
});

test("after leadership is lost the outcome is unknown once the grace is over", () => {
  add("a", 10_000);
  place(5, 1);
  proposals.leadershipLost(100);
  clock.advance(99);
  proposals.expire();
  expect(codes()).toEqual([]);
  clock.advance(1);
  proposals.expire();
  expect(codes()).toEqual(["a outcome-unknown unknown"]);
});

test("a lost leadership never makes an append wait longer than it asked for", () => {
  add("a", 50);
  place(5, 1);
  proposals.leadershipLost(10_000);
  clock.advance(50);
  proposals.expire();
  expect(codes()).toEqual(["a outcome-unknown unknown"]);
});

test("an append that runs out of time before it has a place is not applied, nor proposed", () => {
  add("a", 10);
  add("b", 1000);
  clock.advance(10);
  proposals.expire();
  expect(codes()).toEqual(["a overloaded not_applied"]);
  const [proposal, ...others] = proposals.take();
  expect(others).toEqual([]);
  expect(readHeader(proposal?.data ?? Buffer.alloc(0), 0)?.count).toBe(1);
});

test("an append that runs out of time in the log is of unknown outcome, and answered once", () => {
  add("a", 10);
  add("b", 1000);
  place(5, 1);
  clock.advance(10);
  proposals.expire();
  clock.advance(10);
  proposals.expire();
  proposals.applied(5, 1, nothingDropped);
  expect(codes()).toEqual(["a outcome-unknown unknown", "b 11"]);
});

test("expiry goes on with those that come after the ones that expired", () => {
  for (const ms of [30, 10, 20]) add(String(ms), ms);
  place(5, 1);
  for (const name of ["10", "20", "30"]) {
    clock.advance(10);
    proposals.expire();
    expect(answers.at(-1)?.name).toBe(name);
  }
});

test("what a snapshot overtakes is unknown; what lies above it is still awaited", () => {
  add("a");
  place(5, 1);
  add("b");
  place(6, 1);
  proposals.overtaken(5);
  expect(codes()).toEqual(["a outcome-unknown unknown"]);
  proposals.applied(6, 1, nothingDropped);
  expect(codes()).toEqual(["a outcome-unknown unknown", "b 10"]);
});

test("a stop answers what waits as not applied, and what may be in a log as unknown", () => {
  add("placed");
  place(5, 1);
  add("proposed");
  proposals.take();
  add("waiting");
  proposals.close();
  proposals.close();
  expect(codes().sort()).toEqual([
    "placed outcome-unknown unknown",
    "proposed outcome-unknown unknown",
    "waiting unavailable not_applied",
  ]);
  expect(proposals.isEmpty).toBe(true);
  expect(proposals.pendingBytes).toBe(0);
});

test("beyond its bytes it refuses at once, and takes again when some are answered", () => {
  const half = "x".repeat(40 * 1024);
  add(half);
  expect(add(half)).toBe(false);
  expect(answers[0]?.result).toMatchObject({ code: "overloaded", outcome: "not_applied" });
  place(1, 1);
  proposals.applied(1, 1, nothingDropped);
  expect(add(half)).toBe(true);
});

test("a single append above the bound is taken when nothing else waits", () => {
  expect(add("x".repeat(100 * 1024))).toBe(true);
});

test("many tiny appends are bounded too: each costs memory beside its bytes", () => {
  let taken = 0;
  while (taken < 64 * 1024 && answers.length === 0) {
    add("");
    taken += 1;
  }
  expect(answers[0]?.result).toMatchObject({ code: "overloaded" });
  expect(taken).toBeLessThan(2000);
});

test("every refusal of the core has an error, and none claims that something was applied", () => {
  const reasons = [
    ...["not-leader", "transferring", "overloaded", "change-pending", "no-commit-in-term"],
    ...["already-member", "address-taken", "unknown-member", "not-voter", "no-voter-left"],
    ...["no-live-quorum", "lagging", "is-leader", "transfer-aborted", "superseded"],
    "leadership-lost",
  ] as const satisfies readonly Parameters<typeof refusalError>[0][];
  for (const reason of reasons) {
    const error = refusalError(reason);
    expect(error.outcome, reason).not.toBe("applied");
    expect(error.message.length, reason).toBeGreaterThan(10);
  }
});

test("a void append is an entry of its own, and no other is taken for it", () => {
  const nothing = { records: Buffer.alloc(0), count: 0 };
  add("a");
  add("void", 1000, { ...nothing, producer: { id: "p/a", sequence: 1 } });
  add("b", 1000, { expectedOffset: 3 });
  const taken = proposals.take();
  expect(taken.map(({ data }) => readHeader(data, 0)?.count)).toEqual([1, 0, 1]);
  for (const [at, { id }] of taken.entries()) proposals.accepted(id, at + 1, 1);
  proposals.applied(1, 1, nothingDropped);
  proposals.applied(2, 1, { ...nothingDropped, offset: 11 });
  const why = { type: "mismatch", actualOffset: 11 } as const;
  proposals.applied(3, 1, { ...nothingDropped, dropped: [{ firstRecord: 0, count: 1, why }] });
  expect(codes()).toEqual(["a 10", "void 11", "b expected-offset-mismatch not_applied"]);
});
