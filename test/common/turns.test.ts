/** Turns: what many streams do between two turns of the event loop is bounded, and in order. */
import { expect, test } from "vitest";

import { systemClock } from "../../src/common/system.js";
import { Turns } from "../../src/common/turns.js";

async function nextTurn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

test("a stream alone goes on without waiting, up to the work of a turn", async () => {
  const turns = new Turns(systemClock);
  for (let at = 0; at < 1000; at += 1) expect(turns.take(1)).toBeUndefined();
  const waits = turns.take(1);
  expect(waits).toBeInstanceOf(Promise);
  await waits;
  expect(turns.take(1)).toBeUndefined();
});

test("many streams do no more in a turn than one may, in the order of asking", async () => {
  const turns = new Turns(systemClock);
  const done: number[] = [];
  const stream = async (at: number): Promise<void> => {
    for (let step = 0; step < 10; step += 1) {
      await turns.take(50);
      done.push(at);
    }
  };
  const streams = Array.from({ length: 100 }, async (_, at) => stream(at));
  let most = 0;
  let before = 0;
  while (done.length < 1000) {
    await nextTurn();
    most = Math.max(most, done.length - before);
    before = done.length;
  }
  await Promise.all(streams);
  // Two turns may lie between two looks.
  expect(most).toBeLessThanOrEqual(40);
  // Each has had a first turn before any has had the last.
  expect(new Set(done.slice(0, 600)).size).toBe(100);
});

test("work that is larger than a turn has one of its own", async () => {
  const turns = new Turns(systemClock);
  expect(turns.take(5000)).toBeUndefined();
  const order: string[] = [];
  const both = Promise.all([
    turns.take(5000)?.then(() => order.push("first")),
    turns.take(1)?.then(() => order.push("second")),
  ]);
  await nextTurn();
  expect(order).toEqual(["first"]);
  await both;
  expect(order).toEqual(["first", "second"]);
});
