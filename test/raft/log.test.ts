/** The log keeps terms as runs and entries in a cache; a list of entries says what it must do. */
import * as fc from "fast-check";
import { expect, test } from "vitest";

import type { Entry } from "../../src/raft/index.js";
import { emptyLogImage } from "../../src/raft/index.js";
import { RaftLog } from "../../src/raft/log.js";

/** The simplest log that could be right. */
class NaiveLog {
  snapshot = { index: 0, term: 0 };
  entries: Entry[] = [];
  /** Entries below this index are no longer in memory. */
  cachedFrom = 1;

  get lastIndex(): number {
    return this.snapshot.index + this.entries.length;
  }

  at(index: number): Entry | undefined {
    return this.entries[index - this.snapshot.index - 1];
  }

  termAt(index: number): number | undefined {
    return index === this.snapshot.index ? this.snapshot.term : this.at(index)?.term;
  }

  get lastTerm(): number {
    return this.termAt(this.lastIndex) ?? 0;
  }
}

type Operation =
  | { readonly type: "append"; readonly termStep: number; readonly sizes: readonly number[] }
  | { readonly type: "truncateSuffix" | "truncatePrefix"; readonly share: number }
  | { readonly type: "evict"; readonly share: number; readonly bytesMax: number }
  | { readonly type: "reset"; readonly ahead: number; readonly termStep: number };

const share = fc.double({ min: 0, max: 1, noNaN: true });
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant("append" as const),
      termStep: fc.nat(2),
      sizes: fc.array(fc.nat(20), { minLength: 1, maxLength: 6 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constantFrom("truncateSuffix" as const, "truncatePrefix" as const),
      share,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant("evict" as const), share, bytesMax: fc.nat(60) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant("reset" as const),
      ahead: fc.integer({ min: 1, max: 5 }),
      termStep: fc.nat(2),
    }),
  },
);

/** An index of the log, from just after the snapshot to the last. */
function pick(model: NaiveLog, part: number): number {
  return model.snapshot.index + 1 + Math.floor(part * model.entries.length);
}

function carryOut(log: RaftLog, model: NaiveLog, step: Operation): void {
  switch (step.type) {
    case "append": {
      const term = Math.max(1, model.lastTerm + step.termStep);
      const entries = step.sizes.map((size, at): Entry => {
        const index = model.lastIndex + at + 1;
        return { index, term, kind: "command", data: Buffer.alloc(size) };
      });
      log.append(entries);
      model.entries.push(...entries);
      return;
    }
    case "truncateSuffix": {
      const from = pick(model, step.share);
      log.truncateSuffix(from);
      model.entries.length = Math.min(model.entries.length, from - model.snapshot.index - 1);
      model.cachedFrom = Math.min(model.cachedFrom, from);
      return;
    }
    case "truncatePrefix": {
      const upTo = Math.min(pick(model, step.share), model.lastIndex);
      log.truncatePrefix(upTo);
      const term = model.termAt(upTo) ?? 0;
      model.entries.splice(0, upTo - model.snapshot.index);
      model.snapshot = { index: upTo, term };
      model.cachedFrom = Math.max(model.cachedFrom, upTo + 1);
      return;
    }
    case "evict": {
      const upTo = Math.min(pick(model, step.share), model.lastIndex);
      log.evict(upTo, step.bytesMax);
      while (model.cachedFrom <= upTo && cachedBytes(model) > step.bytesMax) model.cachedFrom += 1;
      return;
    }
    case "reset": {
      const index = model.lastIndex + step.ahead;
      const term = model.lastTerm + step.termStep;
      log.reset(index, term);
      model.snapshot = { index, term };
      model.entries = [];
      model.cachedFrom = index + 1;
    }
  }
}

function cachedBytes(model: NaiveLog): number {
  return model.entries
    .filter(({ index }) => index >= model.cachedFrom)
    .reduce((sum, { data }) => sum + data.length, 0);
}

function compare(log: RaftLog, model: NaiveLog): void {
  expect(log.snapshotIndex).toBe(model.snapshot.index);
  expect(log.snapshotTerm).toBe(model.snapshot.term);
  expect(log.lastIndex).toBe(model.lastIndex);
  expect(log.lastTerm).toBe(model.lastTerm);
  expect(log.cacheBytes).toBe(cachedBytes(model));
  for (let index = model.snapshot.index - 1; index <= model.lastIndex + 1; index += 1) {
    expect(log.termAt(index)).toBe(model.termAt(index));
    const held = index >= model.cachedFrom ? model.at(index) : undefined;
    expect(log.entry(index)).toBe(held);
    const term = model.at(index)?.term;
    if (term === undefined) continue;
    const first = model.entries.find((entry) => entry.term === term);
    expect(log.firstIndexOfTermAt(index)).toBe(first?.index);
  }
  for (let term = 0; term <= model.lastTerm + 1; term += 1) {
    const last = model.entries.findLast((entry) => entry.term <= term);
    expect(log.lastIndexUpToTerm(term)).toBe(last?.index ?? model.snapshot.index);
  }
}

test("does what a list of entries does", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 40 }), (steps) => {
      const log = new RaftLog(emptyLogImage);
      const model = new NaiveLog();
      for (const step of steps) {
        carryOut(log, model, step);
        compare(log, model);
      }
    }),
    { numRuns: 500, seed: 1 },
  );
});

test("gives entries up to the bound, and at least one", () => {
  const log = new RaftLog(emptyLogImage);
  const entries = [10, 10, 10].map((size, at): Entry => {
    return { index: at + 1, term: 1, kind: "command", data: Buffer.alloc(size) };
  });
  log.append(entries);
  expect(log.entriesFrom(1, 20)).toEqual(entries.slice(0, 2));
  expect(log.entriesFrom(2, 1)).toEqual(entries.slice(1, 2));
  expect(log.entriesFrom(4, 20)).toEqual([]);
});

test("has no entries in memory after a start, and says so", () => {
  const log = new RaftLog({
    ...{ snapshotIndex: 3, snapshotTerm: 1, lastIndex: 9 },
    termRuns: [
      { index: 4, term: 1 },
      { index: 7, term: 3 },
    ],
  });
  expect([3, 4, 6, 7, 9].map((index) => log.termAt(index))).toEqual([1, 1, 1, 3, 3]);
  expect(log.entriesFrom(5, 100)).toBeUndefined();
});

test("refuses a gap, a falling term and a cut below the snapshot", () => {
  const log = new RaftLog({ snapshotIndex: 3, snapshotTerm: 2, lastIndex: 3, termRuns: [] });
  const entry = (index: number, term: number): Entry => {
    return { index, term, kind: "noop", data: Buffer.alloc(0) };
  };
  expect(() => log.append([entry(5, 2)])).toThrow("follows the last");
  expect(() => log.append([entry(4, 1)])).toThrow("terms never fall");
  expect(() => log.truncateSuffix(3)).toThrow("never cut");
});
