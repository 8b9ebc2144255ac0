/**
 * The checker itself: it passes true histories, also odd ones, and names each kind of lie.
 * A checker that cannot fail proves nothing about the clusters it judges.
 */
import { property, assert as assertProperty, integer } from "fast-check";
import { describe, expect, test } from "vitest";

import { check } from "./check.js";
import { HistoryRecorder, historyFrom, textOf } from "./history.js";
import type {
  AppendAttempt,
  AppendOutcome,
  FinalLog,
  History,
  ReadOperation,
  ReadResult,
} from "./history.js";
import { lies } from "./lies.js";
import { RandomHistory } from "./random-history.js";
import { Chance } from "./random.js";
import type { Violation, ViolationKind } from "./violations.js";

function held(...values: readonly string[]): FinalLog["records"] {
  return values.map((value, offset) => ({ offset, value }));
}

function onAll(...values: readonly string[]): FinalLog[] {
  return ["n1", "n2", "n3"].map((node) => ({ node, records: held(...values) }));
}

let attemptCount = 0;

/** An attempt that takes from `invokedAt` to `invokedAt` + 5. */
function attempt(
  what: string | readonly string[],
  invokedAt: number,
  outcome: AppendOutcome,
  more: Partial<AppendAttempt> = {},
): AppendAttempt {
  const values = typeof what === "string" ? [what] : what;
  const returnedAt = outcome.type === "unknown" ? Infinity : invokedAt + 5;
  return {
    client: "c",
    attempt: (attemptCount += 1),
    values,
    invokedAt,
    returnedAt,
    outcome,
    ...more,
  };
}

function ok(what: string | readonly string[], invokedAt: number, offset: number): AppendAttempt {
  return attempt(what, invokedAt, { type: "ok", offset });
}

/** A linearizable read by r on n1 at the time given; a miss asks for the end it is given. */
function read(
  span: readonly [number, number],
  result: ReadResult,
  more: Partial<ReadOperation> = {},
): ReadOperation {
  const [invokedAt, returnedAt] = span;
  const from = result.type === "hit" ? result.offset : result.endOffset;
  const base = { client: "r", node: "n1", consistency: "linearizable" } as const;
  return { ...base, invokedAt, returnedAt, from, result, ...more };
}

function hit(offset: number, ...values: readonly string[]): ReadResult {
  return { type: "hit", offset, values };
}

function miss(endOffset: number): ReadResult {
  return { type: "miss", endOffset };
}

/** a, b and c, one after the other: [0, 5], [10, 15], [20, 25]. */
const three = [ok("a", 0, 0), ok("b", 10, 1), ok("c", 20, 2)];

function judge(history: Partial<History>): Violation[] {
  return check({ appends: three, reads: [], logs: onAll("a", "b", "c"), ...history });
}

function expectLie(history: Partial<History>, kind: ViolationKind, message: RegExp): void {
  const found = judge(history);
  expect(found.map((violation) => violation.kind)).toContain(kind);
  const messages = found.filter((violation) => violation.kind === kind);
  expect(messages.map((violation) => violation.message).join("\n")).toMatch(message);
}

describe("a true history", () => {
  test("has no violations", () => {
    expect(judge({})).toEqual([]);
  });

  test("may be empty", () => {
    expect(judge({ appends: [], logs: onAll() })).toEqual([]);
  });

  test("may order concurrent appends either way", () => {
    expect(judge({ appends: [ok("a", 0, 1), ok("b", 4, 0)], logs: onAll("b", "a") })).toEqual([]);
  });

  test("may order appends either way of which one ends as the other begins", () => {
    expect(judge({ appends: [ok("a", 0, 1), ok("b", 5, 0)], logs: onAll("b", "a") })).toEqual([]);
  });

  test("may hold a write of unknown fate in any place after what was acknowledged, or not at all", () => {
    const unknown = ["x", "y", "z"].map((value, at) => attempt(value, at, { type: "unknown" }));
    const appends = [...three, ...unknown, attempt("r", 9, { type: "rejected" })];
    expect(judge({ appends, logs: onAll("a", "b", "c", "y") })).toEqual([]);
    expect(judge({ appends, logs: onAll("a", "b", "c", "x", "z", "y") })).toEqual([]);
  });

  test("may apply a write long after its client had given up, also after reads that missed it", () => {
    const appends = [...three, attempt("x", 1, { type: "unknown" }, { returnedAt: 3 })];
    const reads = [read([30, 31], miss(3)), read([40, 41], hit(3, "x")), read([42, 43], miss(4))];
    expect(judge({ appends, reads, logs: onAll("a", "b", "c", "x") })).toEqual([]);
  });

  test("may read an end between what was acknowledged and what was begun", () => {
    const reads = [
      read([16, 17], miss(2)),
      read([16, 21], miss(3)),
      read([11, 14], miss(1)),
      read([30, 31], hit(1, "b", "c")),
    ];
    expect(judge({ reads })).toEqual([]);
  });

  test("may miss locally what is known elsewhere", () => {
    expect(judge({ reads: [read([90, 91], miss(1), { consistency: "local" })] })).toEqual([]);
  });

  test("may hold a batch together, and answer a retry as the first attempt", () => {
    const producer = { id: "p", sequence: 4 };
    const appends = [
      attempt(["a", "b"], 0, { type: "unknown" }, { producer }),
      attempt(["a", "b"], 10, { type: "rejected" }, { producer }),
      attempt(["a", "b"], 20, { type: "ok", offset: 0 }, { producer }),
      attempt(["a", "b"], 30, { type: "ok", offset: 0 }, { producer }),
      attempt("c", 40, { type: "ok", offset: 2 }, { producer: { id: "p", sequence: 9 } }),
    ];
    expect(judge({ appends })).toEqual([]);
  });

  test("may hold a retried write before what was acknowledged between its attempts", () => {
    const producer = { id: "p", sequence: 1 };
    const appends = [
      attempt("a", 0, { type: "unknown" }, { producer }),
      ok("b", 10, 1),
      attempt("a", 20, { type: "ok", offset: 0 }, { producer }),
    ];
    expect(judge({ appends, logs: onAll("a", "b") })).toEqual([]);
  });

  test("may have a node that lags, if that is said", () => {
    const logs: FinalLog[] = [...onAll("a", "b", "c"), { node: "n4", records: [], mayLag: true }];
    expect(judge({ logs })).toEqual([]);
  });

  test("of 100 000 appends and as many reads is judged within seconds", () => {
    const values = Array.from({ length: 100_000 }, (_, at) => `value-${at}`);
    const records = values.map((value, offset) => ({ offset, value }));
    const appends = values.map((value, at) => ok(value, at * 10, at));
    const reads = values.map((_, at) => read([at * 10 + 6, at * 10 + 7], miss(at + 1)));
    expect(judge({ appends, reads, logs: [{ node: "n1", records }] })).toEqual([]);
  });

  test("is the same after it was written down and read again", () => {
    const recorder = new HistoryRecorder();
    const attemptId = recorder.beginAppend({ client: "c", values: ["a"], invokedAt: 1 });
    recorder.beginAppend({ client: "c", values: ["b"], invokedAt: 2 });
    recorder.endAppend(attemptId, { returnedAt: 3, outcome: { type: "ok", offset: 0 } });
    recorder.read(read([4, 5], miss(1)));
    const history = recorder.history(onAll("a"));
    expect(history.appends[1]).toMatchObject({
      returnedAt: Infinity,
      outcome: { type: "unknown" },
    });
    expect(historyFrom(textOf(history))).toEqual(history);
    expect(judge(history)).toEqual([]);
  });
});

describe("the checker finds", () => {
  test("an acknowledged record that is lost", () => {
    expectLie({ logs: onAll("a", "b") }, "lost", /"c".* was acknowledged at 2; at 2 .* nothing/);
  });

  test("an acknowledged record that was changed", () => {
    expectLie({ logs: onAll("a", "B", "c") }, "lost", /"b".* at 1; at 1 there is "B"/);
  });

  test("one offset acknowledged for two records", () => {
    const appends = [ok("a", 0, 0), ok("b", 1, 0)];
    expectLie({ appends, logs: onAll("a") }, "lost", /"b".* at 0 there is "a"/);
  });

  test("a record that is there twice", () => {
    expectLie({ logs: onAll("a", "b", "c", "a") }, "duplicate", /"a".* twice, at 0 and 3/);
  });

  test("a write of unknown fate that is there twice", () => {
    const appends = [attempt("x", 0, { type: "unknown" })];
    expectLie({ appends, logs: onAll("x", "x") }, "duplicate", /"x".* twice, at 0 and 1/);
  });

  test("a rejected write that is there", () => {
    const appends = [...three, attempt("x", 0, { type: "rejected" })];
    expectLie({ appends, logs: onAll("a", "b", "c", "x") }, "rejected-applied", /"x".* held at 3/);
  });

  test("a record that nobody sent", () => {
    expectLie({ logs: onAll("a", "b", "c", "d") }, "stranger", /nobody sent "d".* at 3/);
  });

  test("a gap in the offsets", () => {
    const records = [...held("a", "b"), { offset: 3, value: "c" }];
    expectLie({ logs: [{ node: "n1", records }] }, "gap", /n1 gives offset 3 where 2 must be/);
  });

  test("a log that does not start at 0", () => {
    const logs = [{ node: "n1", records: [{ offset: 1, value: "a" }] }];
    expectLie({ logs }, "gap", /n1 gives offset 1 where 0 must be/);
  });

  test("a node that holds less", () => {
    const logs = [...onAll("a", "b", "c"), { node: "n4", records: held("a", "b") }];
    expectLie({ logs }, "behind", /n4 holds 2 records, n1 3/);
  });

  test("a node that holds another value, also if it lags", () => {
    const logs = [...onAll("a", "b", "c"), { node: "n4", records: held("a", "x"), mayLag: true }];
    expectLie({ logs }, "divergence", /offset 1 is "x" on n4, "b" on n1/);
  });

  test("an order that contradicts real time", () => {
    const appends = [ok("a", 0, 1), ok("b", 10, 0)];
    expectLie(
      { appends, logs: onAll("b", "a") },
      "real-time",
      /"a".* acknowledged up to offset 1 before .*"b".* began, which lies at 0/,
    );
  });

  test("a write of unknown fate before what was acknowledged before it began", () => {
    const appends = [ok("a", 0, 1), attempt("x", 10, { type: "unknown" })];
    expectLie({ appends, logs: onAll("x", "a") }, "real-time", /"x".* began, which lies at 0/);
  });

  test("a record that was read before it was sent", () => {
    const reads = [read([12, 13], hit(2, "c"))];
    expectLie({ reads }, "real-time", /read r of 2 .* had seen .* offset 2 before .*"c".* began/);
  });

  test("an end that was read before its last record was sent, locally too", () => {
    const reads = [read([16, 17], miss(3), { consistency: "local" })];
    expectLie({ reads }, "real-time", /local read r .* offset 2 before .*"c".* began/);
  });

  test("a miss of what had been acknowledged", () => {
    const reads = [read([16, 17], miss(1))];
    expectLie({ reads }, "stale-read", /end at 1 after append .*"b".* up to offset 1/);
  });

  test("a miss of a record that another read had given", () => {
    const appends = [attempt("x", 0, { type: "unknown" })];
    const reads = [read([5, 6], hit(0, "x")), read([7, 8], miss(0))];
    expectLie({ appends, reads, logs: onAll("x") }, "stale-read", /at 0 after .* reach offset 0/);
  });

  test("an end lower than one read before", () => {
    const appends = [attempt("x", 0, { type: "unknown" })];
    const reads = [read([5, 6], miss(1)), read([7, 8], miss(0))];
    expectLie({ appends, reads, logs: onAll("x") }, "stale-read", /at 0 after .* reach offset 0/);
  });

  test("a read of an end that was taken back", () => {
    const reads = [read([30, 31], miss(4))];
    expectLie({ reads }, "wrong-read", /saw the end at 4; the log ends at 3/);
  });

  test("a record read with another value", () => {
    const reads = [read([30, 31], hit(0, "a", "x"))];
    expectLie({ reads }, "wrong-read", /gave "x" at 1; there is "b"/);
  });

  test("an answer to another question", () => {
    const reads = [read([30, 31], hit(1, "b"), { from: 0 })];
    expectLie({ reads }, "wrong-read", /of 0 .* was answered from 1/);
  });

  test("a miss below the end that it gives", () => {
    expectLie({ reads: [read([30, 31], miss(3), { from: 2 })] }, "wrong-read", /below the end 3/);
  });

  test("a batch that is there in part", () => {
    const appends = [attempt(["a", "b"], 0, { type: "unknown" })];
    expectLie({ appends, logs: onAll("a") }, "torn-batch", /held at 0, nowhere/);
  });

  test("a batch with another record in between, or in another order", () => {
    const appends = [attempt(["a", "b"], 0, { type: "unknown" }), ok("c", 0, 1)];
    expectLie({ appends, logs: onAll("a", "c", "b") }, "torn-batch", /held at 0, 2/);
    expectLie({ appends, logs: onAll("b", "c", "a") }, "torn-batch", /held at 2, 0/);
  });

  test("a conditional append at another offset", () => {
    const appends = [...three, attempt("x", 0, { type: "unknown" }, { expectedOffset: 1 })];
    expectLie({ appends, logs: onAll("a", "b", "c", "x") }, "condition", /for 1 only.* held at 3/);
  });

  test("a retry that was answered with another offset", () => {
    const producer = { id: "p", sequence: 1 };
    const appends = [
      attempt("a", 0, { type: "ok", offset: 0 }, { producer }),
      attempt("a", 10, { type: "ok", offset: 1 }, { producer }),
    ];
    expectLie({ appends, logs: onAll("a") }, "unequal-answers", /p\/1.* with 1, .* with 0/);
  });

  test("a retry that was applied again", () => {
    const producer = { id: "p", sequence: 1 };
    const appends = [0, 10].map((at) => attempt("a", at, { type: "unknown" }, { producer }));
    expectLie({ appends, logs: onAll("a", "a") }, "duplicate", /p\/1.* twice, at 0 and 1/);
  });

  test("a producer's records in another order than their sequences", () => {
    const appends = [2, 1].map((sequence) =>
      attempt(`${sequence}`, sequence, { type: "unknown" }, { producer: { id: "p", sequence } }),
    );
    expectLie({ appends, logs: onAll("2", "1") }, "producer-order", /p\/2.* at 0, .*p\/1.* at 1/);
  });

  test("histories that are none", () => {
    expectLie({ logs: [] }, "malformed", /no node's log was read/);
    expectLie({ appends: [...three, ok("a", 30, 0)] }, "malformed", /"a" was sent as two writes/);
    const early = attempt("x", 9, { type: "unknown" }, { returnedAt: 8 });
    expectLie({ appends: [...three, early] }, "malformed", /ends before it begins/);
    expectLie({ reads: [read([9, 8], miss(1))] }, "malformed", /ends before it begins/);
    const producer = { id: "p", sequence: 1 };
    const appends = ["x", "y"].map((value, at) =>
      attempt(value, at, { type: "unknown" }, { producer }),
    );
    expectLie({ appends, logs: onAll() }, "malformed", /says other than/);
  });

  test("many consequences of one lie, of which it names a few", () => {
    const values = Array.from({ length: 1_000 }, (_, at) => `${at}`);
    const found = judge({
      appends: values.map((value, at) => ok(value, at * 10, at)),
      logs: onAll(),
    });
    expect(found).toHaveLength(6);
    expect(found.at(-1)?.message).toBe("and 995 more of this kind");
  });
});

describe("random histories", () => {
  const runs = { numRuns: 300 };

  test("pass as long as they are true", () => {
    assertProperty(
      property(integer(), (seed) => {
        expect(check(new RandomHistory(seed).make())).toEqual([]);
      }),
      runs,
    );
  });

  test.each(lies)("are rejected once $name", ({ kind, tell }) => {
    let told = 0;
    assertProperty(
      property(integer(), (seed) => {
        const chance = new Chance(seed);
        const pick = <T>(items: readonly T[]): T | undefined =>
          items.length === 0 ? undefined : chance.of(items);
        const history = tell(new RandomHistory(seed).make(), pick);
        if (history === undefined) return;
        told += 1;
        expect(check(history).map((violation) => violation.kind)).toContain(kind);
      }),
      runs,
    );
    // Not every history has what a lie needs: half of what the rarest comes to on average.
    expect(told).toBeGreaterThan(runs.numRuns / 20);
  });
});
