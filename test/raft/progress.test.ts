/** The leader's view of a follower: what it knows only grows, and what is in flight is bounded. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { Progress } from "../../src/raft/progress.js";

const limits = { countMax: 3, bytesMax: 100 };

function replicating(): Progress {
  const progress = new Progress(1, 0, limits);
  progress.becomeReplicate();
  return progress;
}

describe("a new follower", () => {
  test("is probed, and known to match nothing", () => {
    const progress = new Progress(8, 0, limits);
    expect(progress).toMatchObject({ state: "probe", matchIndex: 0, nextIndex: 8 });
  });

  test("is sent one message at a time", () => {
    const progress = new Progress(8, 0, limits);
    expect(progress.isPaused).toBe(false);
    progress.sent(9, 10, 0);
    expect(progress.isPaused).toBe(true);
    expect(progress.nextIndex).toBe(8);
  });
});

describe("a follower that is replicated to", () => {
  test("is paused when the window is full by count", () => {
    const progress = replicating();
    for (const index of [1, 2, 3]) progress.sent(index, 1, 0);
    expect(progress).toMatchObject({ isPaused: true, inflightCount: 3, nextIndex: 4 });
    progress.acknowledge(1, 0);
    expect(progress.isPaused).toBe(false);
  });

  test("is paused when the window is full by bytes, one message over at the most", () => {
    const progress = replicating();
    progress.sent(1, 99, 0);
    expect(progress.isPaused).toBe(false);
    progress.sent(2, 500, 0);
    expect(progress).toMatchObject({ isPaused: true, inflightBytes: 599 });
  });

  test("frees all that one answer covers", () => {
    const progress = replicating();
    for (const index of [1, 2, 3]) progress.sent(index, 10, 0);
    progress.acknowledge(2, 0);
    expect(progress).toMatchObject({ matchIndex: 2, inflightCount: 1, inflightBytes: 10 });
  });

  test("is paused while its entries are read back", () => {
    const progress = replicating();
    progress.loading = true;
    expect(progress.isPaused).toBe(true);
  });
});

test("a follower that was offered a snapshot is left alone", () => {
  const progress = new Progress(8, 0, limits);
  progress.becomeSnapshot(5, 0);
  expect(progress.isPaused).toBe(true);
});

test("matchIndex never falls and stays below nextIndex, whatever comes", () => {
  const step = fc.oneof(
    fc.record({ type: fc.constant("acknowledge" as const), index: fc.nat(30) }),
    fc.record({ type: fc.constant("sent" as const), index: fc.nat(5) }),
    fc.record({ type: fc.constant("probe" as const), index: fc.nat(30) }),
    fc.record({ type: fc.constant("replicate" as const), index: fc.constant(0) }),
    fc.record({ type: fc.constant("snapshot" as const), index: fc.nat(30) }),
  );
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const progress = new Progress(5, 0, limits);
      let known = 0;
      for (const { type, index } of steps) {
        if (type === "acknowledge") progress.acknowledge(index, 0);
        else if (type === "probe") progress.becomeProbe(index);
        else if (type === "replicate") progress.becomeReplicate();
        else if (type === "snapshot") progress.becomeSnapshot(index, 0);
        else if (!progress.isPaused) progress.sent(progress.nextIndex + index, 10, 0);
        expect(progress.matchIndex).toBeGreaterThanOrEqual(known);
        expect(progress.matchIndex).toBeLessThan(progress.nextIndex);
        expect(progress.inflightCount).toBeLessThanOrEqual(limits.countMax);
        known = progress.matchIndex;
      }
    }),
  );
});
