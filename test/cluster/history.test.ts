/**
 * The checker itself: it passes a true history and names each kind of lie.
 * A checker that cannot fail proves nothing about the clusters it judges.
 */
import { describe, expect, test } from "vitest";

import { faultsOf } from "./history.js";
import type { HeldRecord, History, ReadOperation, WriteOperation } from "./history.js";

function held(...values: readonly string[]): HeldRecord[] {
  return values.map((value, offset) => ({ offset, value }));
}

function onAll(...values: readonly string[]): Map<string, HeldRecord[]> {
  return new Map(["n1", "n2", "n3"].map((node) => [node, held(...values)]));
}

function acknowledged(value: string, offset: number, startMs: number): WriteOperation {
  return { kind: "acknowledged", value, offset, startMs, endMs: startMs + 5 };
}

const threeWrites = [acknowledged("a", 0, 0), acknowledged("b", 1, 10), acknowledged("c", 2, 20)];

function expectLie(history: History, fault: RegExp): void {
  expect(faultsOf(history).join("\n")).toMatch(fault);
}

describe("a true history", () => {
  test("has no faults", () => {
    expect(faultsOf({ writes: threeWrites, logs: onAll("a", "b", "c") })).toEqual([]);
  });

  test("may be empty", () => {
    expect(faultsOf({ writes: [], logs: onAll() })).toEqual([]);
  });

  test("may order concurrent writes either way", () => {
    const writes = [acknowledged("a", 1, 0), acknowledged("b", 0, 4)];
    expect(faultsOf({ writes, logs: onAll("b", "a") })).toEqual([]);
  });

  test("may hold a write of unknown fate once or not at all", () => {
    const writes: WriteOperation[] = [
      ...threeWrites,
      { kind: "unknown", value: "x", startMs: 1 },
      { kind: "unknown", value: "y", startMs: 1 },
      { kind: "rejected", value: "z", startMs: 1 },
    ];
    expect(faultsOf({ writes, logs: onAll("a", "b", "c", "x") })).toEqual([]);
  });

  test("may read an end between what was acknowledged and what was begun", () => {
    const reads: ReadOperation[] = [
      { kind: "end", startMs: 16, endMs: 17, endOffset: 2 },
      { kind: "end", startMs: 16, endMs: 21, endOffset: 3 },
      { kind: "record", startMs: 30, endMs: 31, offset: 1, value: "b" },
    ];
    expect(faultsOf({ writes: threeWrites, reads, logs: onAll("a", "b", "c") })).toEqual([]);
  });

  test("of 200 000 writes is judged within seconds", () => {
    const values = Array.from({ length: 200_000 }, (_, at) => `value-${at}`);
    const writes = values.map((value, at) => acknowledged(value, at, at * 10));
    const logs = new Map([["n1", values.map((value, offset) => ({ offset, value }))]]);
    expect(faultsOf({ writes, logs })).toEqual([]);
  });
});

describe("the checker finds", () => {
  test("an acknowledged record that is lost", () => {
    expectLie({ writes: threeWrites, logs: onAll("a", "b") }, /"c" was acknowledged at 2.*nothing/);
  });

  test("an acknowledged record that was changed", () => {
    expectLie({ writes: threeWrites, logs: onAll("a", "B", "c") }, /"b" was acknowledged at 1/);
  });

  test("an acknowledged record at another offset", () => {
    const writes = [acknowledged("a", 1, 0), acknowledged("b", 0, 1)];
    expectLie({ writes, logs: onAll("a", "b") }, /"a" was acknowledged at 1; there is "b"/);
  });

  test("one offset acknowledged for two records", () => {
    const writes = [acknowledged("a", 0, 0), acknowledged("b", 0, 1)];
    expectLie({ writes, logs: onAll("a") }, /offset 0 was acknowledged for "a" and "b"/);
  });

  test("a record that is there twice", () => {
    expectLie({ writes: threeWrites, logs: onAll("a", "b", "c", "a") }, /"a" is there twice/);
  });

  test("a write of unknown fate that is there twice", () => {
    const writes: WriteOperation[] = [{ kind: "unknown", value: "x", startMs: 0 }];
    expectLie({ writes, logs: onAll("x", "x") }, /"x" is there twice, at 0 and 1/);
  });

  test("a rejected write that is there", () => {
    const writes: WriteOperation[] = [{ kind: "rejected", value: "x", startMs: 0 }];
    expectLie({ writes, logs: onAll("x") }, /"x" was rejected, and is held at 0/);
  });

  test("a record that nobody wrote", () => {
    expectLie({ writes: threeWrites, logs: onAll("a", "b", "c", "d") }, /nobody wrote "d"/);
  });

  test("a gap in the offsets", () => {
    const logs = new Map([["n1", [...held("a", "b"), { offset: 3, value: "c" }]]]);
    expectLie({ writes: threeWrites, logs }, /n1 gives offset 3 where 2 must be/);
  });

  test("a log that does not start at 0", () => {
    const logs = new Map([["n1", [{ offset: 1, value: "a" }]]]);
    expectLie({ writes: [acknowledged("a", 0, 0)], logs }, /n1 gives offset 1 where 0 must be/);
  });

  test("a node that holds less", () => {
    const logs = onAll("a", "b", "c").set("n2", held("a", "b"));
    expectLie({ writes: threeWrites, logs }, /n2 holds 2 records, n1 3/);
  });

  test("a node that holds another value", () => {
    const logs = onAll("a", "b", "c").set("n3", held("a", "x", "c"));
    expectLie({ writes: threeWrites, logs }, /offset 1 is "x" on n3, "b" on n1/);
  });

  test("an order that contradicts real time", () => {
    const writes = [acknowledged("a", 1, 0), acknowledged("b", 0, 10)];
    expectLie({ writes, logs: onAll("b", "a") }, /"a" was acknowledged before "b" was begun/);
  });

  test("a write of unknown fate that lies before what was acknowledged before it began", () => {
    const writes: WriteOperation[] = [
      acknowledged("a", 1, 0),
      { kind: "unknown", value: "x", startMs: 10 },
    ];
    expectLie({ writes, logs: onAll("x", "a") }, /"a" was acknowledged before "x" was begun/);
  });

  test("a stale read", () => {
    const reads: ReadOperation[] = [{ kind: "end", startMs: 16, endMs: 17, endOffset: 1 }];
    expectLie(
      { writes: threeWrites, reads, logs: onAll("a", "b", "c") },
      /saw the end at 1 after offset 1 had been acknowledged/,
    );
  });

  test("a read from the future", () => {
    const reads: ReadOperation[] = [{ kind: "end", startMs: 16, endMs: 17, endOffset: 3 }];
    expectLie(
      { writes: threeWrites, reads, logs: onAll("a", "b", "c") },
      /a read saw "c" before its write was begun/,
    );
  });

  test("a read of an end that was taken back", () => {
    const reads: ReadOperation[] = [{ kind: "end", startMs: 30, endMs: 31, endOffset: 4 }];
    expectLie(
      { writes: threeWrites, reads, logs: onAll("a", "b", "c") },
      /a read saw the end at 4; the log ends at 3/,
    );
  });

  test("a record read with another value", () => {
    const reads: ReadOperation[] = [
      { kind: "record", startMs: 30, endMs: 31, offset: 1, value: "x" },
    ];
    expectLie(
      { writes: threeWrites, reads, logs: onAll("a", "b", "c") },
      /"x" was read at 1; there is "b"/,
    );
  });

  test("a log that no node gave", () => {
    expectLie({ writes: [], logs: new Map() }, /no node's log was read/);
  });
});
