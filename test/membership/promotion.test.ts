/** Who is made a voter: an odd number, never more than asked for. */
import { expect, test } from "vitest";

import { nextToPromote } from "../../src/membership/promotion.js";
import type { Configuration, Member } from "../../src/raft/index.js";

function configuration(voters: number): Configuration {
  const members = Array.from({ length: voters }, (_, at): Member => {
    const id = `v${String(at)}`;
    return { id, name: id, rpcAddr: id, httpAddr: id };
  });
  return { voters: members, learners: [] };
}

test.each([
  [1, 0, 5, false, "nobody waits"],
  [1, 1, 5, false, "two voters survive no more than one"],
  [1, 2, 5, true, "two more make three"],
  [2, 1, 5, true, "an even number is made odd"],
  [3, 1, 5, false, "four survive no more than three"],
  [3, 2, 5, true, "two more make five"],
  [4, 1, 5, true, "an even number is made odd"],
  [5, 2, 5, false, "there are enough"],
  [3, 2, 3, false, "there are enough"],
  [3, 2, 4, false, "an even limit is not filled"],
  [6, 2, 5, false, "too many are not made more"],
])("%i voters, %i caught up, at most %i: %s (%s)", (voters, waiting, votersMax, isMade) => {
  const caughtUp = Array.from({ length: waiting }, (_, at) => `l${String(at)}`);
  const next = nextToPromote(configuration(voters), caughtUp, votersMax);
  expect(next).toBe(isMade ? "l0" : undefined);
});
