/** Checkpoints: when one is taken, and that each part is durable before the next relies on it. */
import { beforeEach, expect, test } from "vitest";

import { Checkpointer } from "../../src/replica/checkpointer.js";
import type { Checkpoint } from "../../src/storage/checkpoint.js";
import { emptyCheckpoint } from "../../src/storage/checkpoint.js";
import type { CommitLog } from "../../src/storage/commit-log.js";
import type { RaftLog } from "../../src/storage/raft-log.js";
import { settled } from "../storage/simulated.js";

/** What was done, in order. */
let steps: string[];
let appliedIndex: number;
/** Set to hold the step with this name until it is called. */
let held: Map<string, () => void>;
let faults: Set<string>;
let checkpointer: Checkpointer;

async function step(name: string, holds: string): Promise<void> {
  steps.push(name);
  if (faults.has(holds)) throw new Error(`no ${holds}`);
  if (!held.has(holds)) return;
  await new Promise<void>((resolve) => held.set(holds, resolve));
}

beforeEach(() => {
  steps = [];
  appliedIndex = 0;
  held = new Map();
  faults = new Set();
  checkpointer = new Checkpointer({
    commitLog: { sync: () => step("sync", "sync") } as unknown as CommitLog,
    raftLog: {
      indexBehind: () => 1000,
      truncatePrefix: (index: number) => steps.push(`truncate ${String(index)}`),
    } as unknown as RaftLog,
    checkpoints: {
      load: async () => undefined,
      save: (checkpoint: Checkpoint) => step(`save ${String(checkpoint.appliedIndex)}`, "save"),
      close: async () => undefined,
    },
    options: { checkpointBytes: 100, keepBytes: 0 },
    logger: { debug: () => undefined, error: (_fields, event) => steps.push(event) },
    capture: () => ({ ...emptyCheckpoint, appliedIndex }),
    whenDurable: (index) => step(`durable ${String(index)}`, "durable"),
    compact: (index) => steps.push(`compact ${String(index)}`),
  });
});

const whole = (index: number): string[] => [
  "sync",
  `durable ${String(index)}`,
  `save ${String(index)}`,
  `compact ${String(index)}`,
  `truncate ${String(index)}`,
];

test("R-S3: records durable, own Raft log durable, checkpoint saved, then the Raft log lets go", async () => {
  appliedIndex = 7;
  checkpointer.applied(100);
  await settled();
  expect(steps).toEqual(whole(7));
});

test("it waits for enough bytes, and counts anew after each", async () => {
  appliedIndex = 7;
  checkpointer.applied(99);
  await settled();
  expect(steps).toEqual([]);
  checkpointer.applied(1);
  await settled();
  expect(steps).toHaveLength(5);
  checkpointer.applied(99);
  await settled();
  expect(steps).toHaveLength(5);
});

test("what is applied while one is taken is left to the next, and none is lost (R-S6)", async () => {
  held.set("save", () => undefined);
  appliedIndex = 7;
  checkpointer.applied(100);
  await settled();
  appliedIndex = 9;
  checkpointer.applied(100);
  await settled();
  expect(steps).toEqual(whole(7).slice(0, 3));
  held.get("save")?.();
  held.clear();
  await settled();
  checkpointer.applied(1);
  await settled();
  expect(steps).toEqual([...whole(7), ...whole(9)]);
});

test.each(["sync", "durable", "save"])("if there is no %s the Raft log keeps all", async (what) => {
  faults.add(what);
  appliedIndex = 7;
  checkpointer.applied(100);
  await settled();
  expect(steps.at(-1)).toBe("checkpoint-failed");
  expect(steps.some((name) => name.startsWith("truncate"))).toBe(false);
  faults.clear();
  checkpointer.applied(100);
  await settled();
  expect(steps.slice(-5)).toEqual(whole(7));
});

test("a peer gets the newest one, and a new one only if that is too old", async () => {
  appliedIndex = 7;
  expect(await checkpointer.atLeast(5)).toMatchObject({ appliedIndex: 7 });
  appliedIndex = 9;
  expect(await checkpointer.atLeast(7)).toMatchObject({ appliedIndex: 7 });
  expect(await checkpointer.atLeast(8)).toMatchObject({ appliedIndex: 9 });
});

test("two peers that ask at once share one: a pause then waits for all that runs", async () => {
  held.set("save", () => undefined);
  appliedIndex = 7;
  checkpointer.applied(100);
  const both = [checkpointer.atLeast(9), checkpointer.atLeast(9)];
  await settled();
  appliedIndex = 9;
  held.get("save")?.();
  await settled();
  let isPaused = false;
  const paused = checkpointer.pause().then(() => {
    isPaused = true;
  });
  await settled();
  expect(isPaused).toBe(false);
  expect(steps.filter((name) => name === "save 9")).toHaveLength(1);
  held.get("save")?.();
  held.clear();
  await paused;
  for (const one of both) expect(await one).toMatchObject({ appliedIndex: 9 });
});

test("while it is paused none is taken, not even for a peer", async () => {
  await checkpointer.pause();
  appliedIndex = 7;
  checkpointer.applied(1000);
  expect(await checkpointer.atLeast(1)).toBeUndefined();
  expect(steps).toEqual([]);
  checkpointer.resume();
  expect(await checkpointer.atLeast(1)).toMatchObject({ appliedIndex: 7 });
});

test("the last one is taken at a stop, but not in the midst of taking a snapshot", async () => {
  appliedIndex = 7;
  await checkpointer.finish();
  expect(steps).toEqual(whole(7));
});

test("a stop in the midst of taking a snapshot saves nothing: what stands is half of two states", async () => {
  appliedIndex = 7;
  await checkpointer.pause();
  await checkpointer.finish();
  expect(steps).toEqual([]);
});

test("a last checkpoint that fails does not keep the node from stopping", async () => {
  faults.add("save");
  appliedIndex = 7;
  await checkpointer.finish();
  expect(steps.at(-1)).toBe("checkpoint-failed");
});
