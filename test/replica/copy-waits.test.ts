/** Waits for copies end once, in time, and only as what the leader knows allows. */
import { expect, test } from "vitest";

import { systemClock } from "../../src/common/system.js";
import type { CopiesHeld, CopyCount } from "../../src/replica/copy-waits.js";
import { CopyWaits } from "../../src/replica/copy-waits.js";

const later = Number.MAX_SAFE_INTEGER;

function world(countMax = 10) {
  const disks: Record<string, number> = { a: 5, b: 3, c: 0 };
  const leader = { isLeading: true, now: 0 };
  const clock = { ...systemClock, now: () => leader.now };
  const waits = new CopyWaits(clock, countMax, () =>
    leader.isLeading
      ? { memberIds: Object.keys(disks), durableIndex: (id) => disks[id] ?? 0 }
      : undefined,
  );
  const ended: [string, CopiesHeld][] = [];
  const add = (name: string, index: number, copies: CopyCount, deadline = later): void => {
    waits.add(index, copies, deadline, (held) => ended.push([name, held]));
  };
  return { disks, leader, waits, ended, add };
}

test("a wait ends when so many disks have the entry, and no earlier", () => {
  const { disks, waits, ended, add } = world();
  add("two of 3", 3, 2);
  expect(ended).toEqual([["two of 3", { isMet: true, acks: 2 }]]);
  add("three of 3", 3, 3);
  add("all of 4", 4, "all");
  disks["c"] = 3;
  waits.wake();
  expect(ended.slice(1)).toEqual([["three of 3", { isMet: true, acks: 3 }]]);
  disks["b"] = 9;
  disks["c"] = 9;
  waits.wake();
  waits.wake();
  expect(ended.slice(2)).toEqual([["all of 4", { isMet: true, acks: 3 }]]);
  expect(waits.isEmpty).toBe(true);
});

test("all means the members there are when it is looked at", () => {
  const { disks, waits, ended, add } = world();
  add("all", 5, "all");
  disks["b"] = 5;
  disks["c"] = 5;
  disks["d"] = 4;
  waits.wake();
  expect(ended).toEqual([]);
  delete disks["d"];
  waits.wake();
  expect(ended).toEqual([["all", { isMet: true, acks: 3 }]]);
});

test("a wait that is not met ends at its deadline, and says how many disks have it", () => {
  const { leader, waits, ended, add } = world();
  add("soon", 4, 3, 10);
  add("later", 4, 3, 20);
  leader.now = 10;
  waits.expire();
  expect(ended).toEqual([["soon", { isMet: false, acks: 1 }]]);
  leader.now = 20;
  waits.expire();
  expect(ended.slice(1)).toEqual([["later", { isMet: false, acks: 1 }]]);
});

test("a node that does not lead any more ends all waits, for it cannot tell", () => {
  const { leader, waits, ended, add } = world();
  add("one", 4, 3);
  leader.isLeading = false;
  waits.wake();
  add("two", 4, 3);
  expect(ended.map(([name, { isMet }]) => [name, isMet])).toEqual([
    ["one", false],
    ["two", false],
  ]);
});

test("no more than so many wait", () => {
  const { waits, ended, add } = world(1);
  add("one", 9, 3);
  expect(waits.isFull).toBe(true);
  add("two", 9, 3);
  expect(ended).toEqual([["two", { isMet: false, acks: 0 }]]);
});
