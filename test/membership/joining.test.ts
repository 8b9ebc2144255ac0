/** Joining: every address is asked until one says yes, or one says never. */
import { expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import type { JoinParts } from "../../src/membership/joining.js";
import { join } from "../../src/membership/joining.js";
import { manualClock, randomFrom, settled } from "../storage/simulated.js";

const self = { id: "me", name: "me", rpcAddr: "me:1", httpAddr: "me:2" };

function partsOf(
  ask: JoinParts["ask"],
  fields: Partial<JoinParts> = {},
): { parts: JoinParts; clock: ReturnType<typeof manualClock>; stop: AbortController } {
  const clock = manualClock();
  const stop = new AbortController();
  const parts: JoinParts = {
    clock,
    random: randomFrom(1),
    self,
    clusterId: null,
    addresses: () => ["a:1", "b:1"],
    resolve: async (address) => [address],
    ask,
    logger: { info: () => undefined, warn: () => undefined },
    signal: stop.signal,
    ...fields,
  };
  return { parts, clock, stop };
}

const receipt = { clusterId: "c1", members: [] };

test("the next address is asked when one refuses, and all again after a pause", async () => {
  const asked: string[] = [];
  const { parts, clock } = partsOf(async (address) => {
    asked.push(address);
    if (asked.length < 4) throw new ProglogError("no-leader", "Not now.");
    return receipt;
  });
  const joined = join(parts);
  await settled();
  expect(asked).toEqual(["a:1", "b:1"]);
  clock.advance(5000);
  expect(await joined).toMatchObject({ clusterId: "c1" });
  expect(asked).toEqual(["a:1", "b:1", "a:1", "b:1"]);
});

test("a name that stands for many nodes is looked up anew for each round; itself is left out", async () => {
  const asked: string[] = [];
  let round = 0;
  const { parts, clock } = partsOf(
    async (address) => {
      asked.push(address);
      if (address === "new:1") return receipt;
      throw new ProglogError("unavailable", "Nobody is there.");
    },
    {
      addresses: () => ["nodes:1", "nodes:1"],
      resolve: async () => {
        round += 1;
        return round <= 2 ? ["me:1", "old:1"] : ["me:1", "new:1"];
      },
    },
  );
  const joined = join(parts);
  await settled();
  clock.advance(5000);
  expect(await joined).toMatchObject({ clusterId: "c1" });
  expect(asked).toEqual(["old:1", "new:1"]);
});

test("a node of another cluster ends it: clusters never merge", async () => {
  const { parts, clock } = partsOf(async () => {
    throw new ProglogError("wrong-cluster", "c1 is not c2.");
  });
  await expect(join(parts)).rejects.toMatchObject({ code: "wrong-cluster" });
  expect(clock.pendingCount).toBe(0);
});

test("a stop ends it, also in the midst of a pause, and leaves no timer", async () => {
  const { parts, clock, stop } = partsOf(async () => {
    throw new ProglogError("unavailable", "Nobody is there.");
  });
  const joined = join(parts);
  joined.catch(() => undefined);
  await settled();
  expect(clock.pendingCount).toBe(1);
  stop.abort(new Error("stopping"));
  await expect(joined).rejects.toThrow("stopping");
  expect(clock.pendingCount).toBe(0);
});

test("it tells who it is and what it belongs to", async () => {
  let told: unknown;
  const { parts } = partsOf(
    async (_address, request) => {
      told = request;
      return receipt;
    },
    { clusterId: "c1" },
  );
  await join(parts);
  expect(told).toEqual({ clusterId: "c1", member: self });
});
