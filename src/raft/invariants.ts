/**
 * What always holds, checked after every step in production: each check is O(1) or O(members).
 *
 * A node that breaks one stops: its state can no longer be trusted (LogCabin's habit; rules I5,
 * I8, I9 of docs/testing.md are checked here within one node, across nodes by the simulator).
 */
import { assert } from "../common/assert.js";
import type { NodeId } from "./message.js";
import type { RaftState, Role } from "./state.js";

/** What the next step is compared with. */
export interface Watermark {
  readonly term: number;
  readonly vote: NodeId | null;
  readonly role: Role;
  readonly commitIndex: number;
  readonly lastIndex: number;
}

export function watermarkOf(state: RaftState): Watermark {
  const { term, vote, role, commitIndex } = state;
  return { term, vote, role, commitIndex, lastIndex: state.log.lastIndex };
}

/** Checks the state alone. @throws InvariantError */
export function checkState(state: RaftState): void {
  const { log } = state;
  assert(log.snapshotIndex <= state.appliedIndex, "snapshotIndex <= appliedIndex");
  assert(state.appliedIndex <= state.commitIndex, "appliedIndex <= commitIndex");
  assert(state.commitIndex <= log.lastIndex, "commitIndex <= lastIndex");
  assert(state.durableIndex <= log.lastIndex, "durableIndex <= lastIndex");
  assert(log.lastTerm <= state.term, "the last entry's term <= the current term");
  assert(state.configurationIndex <= log.lastIndex, "the configuration in force is in the log");
  if (state.role === "leader") {
    assert(state.vote === state.id, "a leader voted for itself");
    assert(state.leaderId === state.id, "a leader knows that it leads");
  } else {
    assert(state.progress.size === 0, "only a leader follows its followers");
    assert(state.leaderId !== state.id, "only a leader takes itself for the leader");
  }
  for (const progress of state.progress.values()) {
    assert(progress.matchIndex < progress.nextIndex, "matchIndex < nextIndex");
    assert(progress.matchIndex <= log.lastIndex, "matchIndex <= lastIndex");
  }
}

/** Checks what a step may not have done. @throws InvariantError */
export function checkTransition(before: Watermark, state: RaftState): void {
  assert(state.term >= before.term, "the term never falls");
  if (state.term === before.term && before.vote !== null) {
    assert(state.vote === before.vote, "a vote is not changed within its term");
  }
  assert(state.commitIndex >= before.commitIndex, "commitIndex never falls");
  if (before.role === "leader" && state.role === "leader") {
    assert(state.term === before.term, "a leader leads one term");
    assert(state.log.lastIndex >= before.lastIndex, "a leader's log only grows");
  }
}
