/**
 * Decides how far commitIndex may move.
 *
 * A leader counts replicas only for entries of its own term; older ones commit with them
 * (Raft §5.4.2; figure 8 shows what is lost otherwise). It counts itself only up to what its own
 * disk holds (thesis §10.2.1), and not at all once it is no voter any more (thesis §4.2.2).
 * Invariant: commitIndex never falls, and rises only to an index that a quorum has matched, or
 * that a leader vouched for.
 */
import { assert, present } from "../common/assert.js";
import { quorumValue } from "./quorum.js";
import type { RaftState } from "./state.js";

/**
 * Leader: commits what a quorum holds.
 *
 * @returns True if commitIndex rose.
 */
export function maybeCommit(state: RaftState): boolean {
  const index = quorumValue(state.configuration.voters, (id) =>
    id === state.id ? state.durableIndex : (state.progress.get(id)?.matchIndex ?? 0),
  );
  if (index <= state.commitIndex || state.log.termAt(index) !== state.term) return false;
  // Only what this leader proposed was counted in; older entries may not even be in memory.
  const first = Math.max(state.commitIndex + 1, state.termStartIndex);
  for (let committed = first; committed <= index; committed += 1) {
    const entry = present(state.log.entry(committed), "an uncommitted entry is in memory");
    state.uncommittedBytes -= entry.data.length;
  }
  assert(state.uncommittedBytes >= 0, "no more is committed than was proposed");
  advanceCommit(state, index);
  return true;
}

/** Follower: commits what the leader vouches for, up to what is verified to equal its log. */
export function commitTo(state: RaftState, index: number): void {
  if (index > state.commitIndex) advanceCommit(state, index);
}

function advanceCommit(state: RaftState, index: number): void {
  assert(index <= state.log.lastIndex, "only held entries are committed");
  state.commitIndex = index;
  state.emit({ type: "apply", to: index });
  // Configurations before the last committed one can no longer be returned to.
  while ((state.configurations[1]?.index ?? index + 1) <= index) state.configurations.shift();
}

/** True if an entry of the leader's own term is committed: reads and changes may go on. */
export function hasCommittedInTerm(state: RaftState): boolean {
  return state.role === "leader" && state.commitIndex >= state.termStartIndex;
}
