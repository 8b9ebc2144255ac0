/**
 * The transitions between roles that every section may need: becoming a follower, above all.
 *
 * What a leader had promised (reads, a transfer) ends when it steps down; what it appended may
 * still commit, and is the host's to follow up.
 */
import type { NodeId } from "./message.js";
import type { RaftState } from "./state.js";

/**
 * Becomes (or stays) a follower of a term.
 *
 * The vote of the same term is kept: losing it would allow a second one (rule R-E2).
 */
export function becomeFollower(state: RaftState, term: number, leaderId: NodeId | null): void {
  const isReplaced = term > state.term;
  if (isReplaced) state.setHardState(term, null);
  if (state.role === "leader") endLeadership(state, isReplaced);
  state.role = "follower";
  state.leaderId = leaderId;
  state.votes.clear();
  state.transferCampaign = false;
  rejectForwardedReads(state);
  state.resetElectionTimer();
}

function endLeadership(state: RaftState, isReplaced: boolean): void {
  for (const read of [...state.pendingReads, ...state.waitingReads]) {
    if (read.from === null) state.emit({ type: "readRejected", readId: read.readId });
  }
  state.pendingReads.length = 0;
  state.waitingReads.length = 0;
  state.progress.clear();
  state.uncommittedBytes = 0;
  state.termStartIndex = 0;
  const { transfer } = state;
  if (transfer === null) return;
  state.transfer = null;
  const hasWorked = transfer.asked && isReplaced;
  if (hasWorked) state.emit({ type: "transferred", id: transfer.id });
  else state.emit({ type: "rejected", id: transfer.id, reason: "leadership-lost" });
}

/** A leader's answer to reads of an ended term no longer means anything (rule R-Q3). */
export function rejectForwardedReads(state: RaftState): void {
  for (const readId of state.forwardedReads.keys()) state.emit({ type: "readRejected", readId });
  state.forwardedReads.clear();
}
