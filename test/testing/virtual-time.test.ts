/**
 * Virtual time by itself: it moves while somebody waits, gives back what was awaited, and what can
 * never come ends with an error instead of a hang.
 */
import { describe, expect, test } from "vitest";

import { VirtualTime } from "../../src/testing/virtual-time.js";

function virtualTime(): VirtualTime {
  return new VirtualTime(setImmediate, (what, cause) => new Error(what, { cause }));
}

describe("waiting", () => {
  test("gives what the promise gives, and its error", async () => {
    const time = virtualTime();
    expect(await time.wait(Promise.resolve(7))).toBe(7);
    await expect(time.wait(Promise.reject(new Error("its own")))).rejects.toThrow("its own");
    expect(time.nowMs).toBe(0);
  });

  test("moves time for all who wait, in the order of their times", async () => {
    const time = virtualTime();
    const order: number[] = [];
    await Promise.all(
      [30, 10, 20].map(async (ms) => {
        await time.advance(ms);
        order.push(ms, time.nowMs);
      }),
    );
    expect(order).toEqual([10, 10, 20, 20, 30, 30]);
  });

  test("runs the code behind a wait before the next event, also if that is due at once", async () => {
    const time = virtualTime();
    const order: string[] = [];
    time.simulation.schedule(5, () => order.push("another"));
    const first = time.advance(4).then(() => {
      order.push("behind the wait");
      time.simulation.schedule(0, () => order.push("what it began"));
    });
    await Promise.all([first, time.advance(6)]);
    expect(order).toEqual(["behind the wait", "what it began", "another"]);
  });

  test("for what can't come is an error, as nothing is left to happen", async () => {
    const time = virtualTime();
    const never = new Promise<void>(() => undefined);
    await expect(time.wait(never)).rejects.toThrow("nothing is left to happen");
    // It can be used again.
    await time.advance(1);
    expect(time.nowMs).toBe(1);
  });

  test("ends with an error that has its cause, for good, once an event has thrown", async () => {
    const time = virtualTime();
    const broken = new Error("a bug");
    time.simulation.schedule(1, () => {
      throw broken;
    });
    const error = await time.advance(5).catch((thrown: unknown) => thrown as Error);
    expect(error).toHaveProperty("cause", broken);
    await expect(time.advance(1)).rejects.toBe(error);
  });
});

test("a loop that follows does not end while other things are awaited", async () => {
  const time = virtualTime();
  const never = new Promise<void>(() => undefined);
  const tick = (): void => {
    time.simulation.schedule(1000, tick);
  };
  tick();
  const following = time.wait(never, "follow").catch((error: unknown) => error);
  for (let minute = 0; minute < 30; minute += 1) await time.advance(60_000);
  const untilEndMs = time.nowMs;
  expect(await following).toHaveProperty("message", expect.stringContaining("loops that follow"));
  expect(time.nowMs - untilEndMs).toBeGreaterThanOrEqual(600_000);
});
