/**
 * Leadership transfer (thesis §3.10): the leader stops taking proposals, brings the target up to
 * its own last entry and asks it to campaign at once. If nothing comes of it within an election
 * timeout, the leader goes on as before.
 */
import type { NodeId, TimeoutNow } from "./message.js";
import { campaign } from "./election.js";
import { maybeAppend } from "./replication.js";
import type { RaftState } from "./state.js";
import { isIn } from "./state.js";

/** Leader: starts handing over. A newer wish takes the place of an older one. */
export function handleTransfer(state: RaftState, id: number, wanted: NodeId | undefined): void {
  if (state.role !== "leader") {
    state.emit({ type: "rejected", id, reason: "not-leader" });
    return;
  }
  const target = wanted ?? furthestVoter(state);
  if (target === undefined) {
    state.emit({ type: "rejected", id, reason: "not-voter" });
    return;
  }
  if (target === state.id) {
    state.emit({ type: "rejected", id, reason: "is-leader" });
    return;
  }
  if (!isIn(state.configuration.voters, target)) {
    const isLearner = isIn(state.configuration.learners, target);
    state.emit({ type: "rejected", id, reason: isLearner ? "not-voter" : "unknown-member" });
    return;
  }
  if (state.transfer !== null) {
    state.emit({ type: "rejected", id: state.transfer.id, reason: "superseded" });
  }
  // The same wish again changes nothing but whom to tell: its time runs on (rule R-T2).
  const same = state.transfer?.target === target ? state.transfer : undefined;
  const startTick = same?.startTick ?? state.tickCount;
  state.transfer = { id, target, startTick, asked: same?.asked ?? false };
  maybeAppend(state, target);
  maybeFinishTransfer(state);
}

/** The voter, other than this node, whose log reaches furthest; a silent one only if all are. */
export function furthestVoter(state: RaftState): NodeId | undefined {
  const { electionTicks } = state.options;
  let best: NodeId | undefined;
  let bestRank = -1;
  for (const { id } of state.configuration.voters) {
    const progress = state.progress.get(id);
    if (id === state.id || progress === undefined) continue;
    const isHeard = state.tickCount - progress.heardTick <= electionTicks;
    const rank = progress.matchIndex + (isHeard ? state.log.lastIndex + 1 : 0);
    if (rank <= bestRank) continue;
    best = id;
    bestRank = rank;
  }
  return best;
}

/** Asks the target to campaign once it holds everything. */
export function maybeFinishTransfer(state: RaftState): void {
  const { transfer } = state;
  if (transfer === null || transfer.asked || state.role !== "leader") return;
  const progress = state.progress.get(transfer.target);
  if (progress?.matchIndex !== state.log.lastIndex) return;
  transfer.asked = true;
  sendTimeoutNow(state, transfer.target);
}

export function sendTimeoutNow(state: RaftState, to: NodeId): void {
  state.send({ type: "timeoutNow", from: state.id, to, term: state.term });
}

/** Gives up a transfer that took an election timeout, or whose target is gone. */
export function tickTransfer(state: RaftState): void {
  const { transfer } = state;
  if (transfer === null) return;
  const isLate = state.tickCount - transfer.startTick >= state.options.electionTicks;
  if (!isLate && isIn(state.configuration.voters, transfer.target)) return;
  state.transfer = null;
  state.emit({ type: "rejected", id: transfer.id, reason: "transfer-aborted" });
}

/** Target: campaigns without a poll, if it is a voter that follows the sender. */
export function handleTimeoutNow(state: RaftState, message: TimeoutNow): void {
  if (!state.isVoter || state.role !== "follower" || state.leaderId !== message.from) return;
  campaign(state, true);
}
