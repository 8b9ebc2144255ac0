/** Majorities: any two share a voter, also across one change of the configuration (thesis §4.1). */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { hasQuorum, quorumCount } from "../../src/raft/index.js";
import { quorumValue } from "../../src/raft/quorum.js";
import { member } from "./network.js";

const ids = ["1", "2", "3", "4", "5", "6", "7"];

function subsets(of: readonly string[]): string[][] {
  return Array.from({ length: 2 ** of.length }, (_, bits) =>
    of.filter((_id, at) => ((bits >> at) & 1) === 1),
  );
}

/** All sets of nodes that are a quorum of these voters. */
function quorums(voters: readonly string[]): string[][] {
  const members = voters.map(member);
  return subsets(voters).filter((some) => hasQuorum(members, (id) => some.includes(id)));
}

function allShare(left: readonly string[][], right: readonly string[][]): boolean {
  return left.every((a) => right.every((b) => a.some((id) => b.includes(id))));
}

describe("a quorum", () => {
  test.each([
    [1, 1],
    [2, 2],
    [3, 2],
    [4, 3],
    [5, 3],
    [7, 4],
  ])("of %i voters has %i", (voters, count) => {
    expect(quorumCount(voters)).toBe(count);
  });

  test("does not exist without voters", () => {
    expect(hasQuorum([], () => true)).toBe(false);
    expect(quorumValue([], () => 9)).toBe(0);
  });

  test.each([1, 2, 3, 4, 5, 6])("of %i voters shares one with every other", (count) => {
    const some = quorums(ids.slice(0, count));
    expect(allShare(some, some)).toBe(true);
  });

  test.each([1, 2, 3, 4, 5, 6])(
    "of %i voters shares one with every quorum after one is added or removed",
    (count) => {
      const before = quorums(ids.slice(0, count));
      const after = quorums(ids.slice(0, count + 1));
      expect(allShare(before, after)).toBe(true);
    },
  );

  test("may miss every quorum of a configuration two changes away", () => {
    expect(allShare(quorums(["1", "2"]), quorums(["1", "2", "3", "4"]))).toBe(true);
    expect(allShare(quorums(["1", "2", "3"]), quorums(["3", "4", "5"]))).toBe(false);
  });
});

test("the value of a quorum is the highest that enough voters have reached", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9), { minLength: 1, maxLength: 7 }), (values) => {
      const voters = values.map((_, at) => member(String(at)));
      const value = quorumValue(voters, (id) => values[Number(id)] ?? 0);
      const reached = (at: number): number => values.filter((one) => one >= at).length;
      expect(reached(value)).toBeGreaterThanOrEqual(quorumCount(values.length));
      expect(reached(value + 1)).toBeLessThan(quorumCount(values.length));
    }),
  );
});
