/** A refusal brings one campaign forward, not all: votes from slow disks must have time to come. */
import { expect, test } from "vitest";

import { Raft, raftDefaults } from "../../src/raft/index.js";
import { emptyLogImage } from "../../src/raft/log.js";
import { configurationOf } from "./network.js";

function candidateOf(voters: readonly string[]) {
  const raft = new Raft(
    {
      id: "1",
      hardState: { term: 0, vote: null },
      log: emptyLogImage,
      configurations: [{ index: 0, configuration: configurationOf(voters, []) }],
      appliedIndex: 0,
    },
    { ...raftDefaults, electionTicks: 10 },
    { next: () => 0, uuid: () => "" },
  );
  const tick = (count: number): void => {
    for (let nth = 0; nth < count; nth += 1) raft.step({ type: "tick" });
  };
  const answer = (from: string, preVote: boolean, granted: boolean, term: number): void => {
    const message = { type: "voteResponse", from, to: "1", term, granted, preVote } as const;
    raft.step({ type: "receive", message });
  };
  /** The poll is won; of the votes only a refusal comes: the others wait for their disks. */
  const campaign = (term: number): void => {
    expect(raft.role).toBe("preCandidate");
    for (const from of ["2", "3"]) answer(from, true, true, term);
    expect([raft.role, raft.term]).toEqual(["candidate", term]);
    raft.step({ type: "persisted", token: term });
    answer("5", false, false, term);
  };
  return { raft, tick, answer, campaign };
}

test("after a campaign that was brought forward the next has its whole time", () => {
  const { raft, tick, answer, campaign } = candidateOf(["1", "2", "3", "4", "5"]);
  tick(10);
  campaign(1);
  tick(3);
  campaign(2);
  tick(9);
  expect([raft.role, raft.term]).toEqual(["candidate", 2]);
  for (const from of ["2", "3"]) answer(from, false, true, 2);
  expect(raft.role).toBe("leader");
});
