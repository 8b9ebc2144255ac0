/**
 * Membership changes, one server at a time (thesis §4): a configuration is in force from the
 * moment it is in the log, and undone if it is cut from it.
 *
 * A change is refused while another is not yet committed, and before the leader has committed an
 * entry of its own term: without the second rule two configurations that share no majority could
 * both commit (the erratum to thesis §4.1).
 * Invariant: two configurations that follow each other differ in at most one voter.
 */
import { assert, assertNever } from "../common/assert.js";
import { hasCommittedInTerm, maybeCommit } from "./commit.js";
import type { ConfigurationChange, Refusal } from "./effects.js";
import type { Configuration, Member, NodeId } from "./message.js";
import { hasQuorum } from "./quorum.js";
import { broadcastAppend, followConfiguration } from "./replication.js";
import { maybeConfirmRound } from "./read-index.js";
import { becomeFollower } from "./roles.js";
import type { RaftState } from "./state.js";
import { isIn } from "./state.js";
import { furthestVoter, sendTimeoutNow } from "./transfer.js";

/** Leader: appends the changed configuration, or says why not. */
export function handleChange(state: RaftState, id: number, change: ConfigurationChange): void {
  const next = checkChange(state, change);
  if (typeof next === "string") {
    state.emit({ type: "rejected", id, reason: next });
    return;
  }
  const index = state.log.lastIndex + 1;
  const { term } = state;
  state.appendEntries([
    { index, term, kind: "configuration", configuration: next, data: Buffer.alloc(0) },
  ]);
  state.emit({ type: "accepted", id, index, term });
  followConfiguration(state);
  broadcastAppend(state);
  // A smaller quorum may be met already.
  maybeCommit(state);
  // So may the quorum of a read round: a leader left alone gets no more answers.
  maybeConfirmRound(state);
}

function checkChange(state: RaftState, change: ConfigurationChange): Configuration | Refusal {
  if (state.role !== "leader") return "not-leader";
  if (state.transfer !== null) return "transferring";
  if (!hasCommittedInTerm(state)) return "no-commit-in-term";
  if (state.configurationIndex > state.commitIndex) return "change-pending";
  const next = changed(state, state.configuration, change);
  if (typeof next === "string") return next;
  if (next.voters.length === 0) return "no-voter-left";
  const isLive = (id: NodeId): boolean => id === state.id || isHeard(state, id);
  if (!hasQuorum(next.voters, isLive)) return "no-live-quorum";
  return next;
}

function isHeard(state: RaftState, id: NodeId): boolean {
  const heardTick = state.progress.get(id)?.heardTick ?? -Infinity;
  return state.tickCount - heardTick <= state.options.electionTicks;
}

/** The configuration after the change; a refusal if it makes no sense. */
function changed(
  state: RaftState,
  { voters, learners }: Configuration,
  change: ConfigurationChange,
): Configuration | Refusal {
  switch (change.type) {
    case "addLearner": {
      if (isIn([...voters, ...learners], change.member.id)) return "already-member";
      if (isAddressTaken([...voters, ...learners], change.member)) return "address-taken";
      return { voters, learners: [...learners, change.member] };
    }
    case "promote": {
      const member = learners.find((learner) => learner.id === change.id);
      if (member === undefined)
        return isIn(voters, change.id) ? "already-member" : "unknown-member";
      if (isLagging(state, change.id)) return "lagging";
      return { voters: [...voters, member], learners: without(learners, change.id) };
    }
    case "demote": {
      const member = voters.find((voter) => voter.id === change.id);
      if (member === undefined) return isIn(learners, change.id) ? "not-voter" : "unknown-member";
      return { voters: without(voters, change.id), learners: [...learners, member] };
    }
    case "remove": {
      if (!isIn([...voters, ...learners], change.id)) return "unknown-member";
      return { voters: without(voters, change.id), learners: without(learners, change.id) };
    }
    case "update": {
      const { member } = change;
      if (!isIn([...voters, ...learners], member.id)) return "unknown-member";
      // An address is a hint. Who is recorded there too has moved away and says so in its turn:
      // two nodes that have changed places would otherwise each wait for the other.
      const update = (old: Member): Member => (old.id === member.id ? member : old);
      return { voters: voters.map(update), learners: learners.map(update) };
    }
    default:
      return assertNever(change, "the configuration change");
  }
}

/** A new member where another one is: one of them could never be reached (rule R-M7). */
function isAddressTaken(members: readonly Member[], member: Member): boolean {
  return members.some((other) => other.id !== member.id && other.rpcAddr === member.rpcAddr);
}

function without(members: readonly Member[], id: NodeId): Member[] {
  return members.filter((member) => member.id !== id);
}

/** True if the learner is not caught up, or not there (thesis §4.2.1). */
function isLagging(state: RaftState, id: NodeId): boolean {
  const progress = state.progress.get(id);
  if (progress?.state !== "replicate" || !isHeard(state, id)) return true;
  return progress.matchIndex + state.options.promotionLagMax < state.log.lastIndex;
}

/** A leader that a committed configuration leaves out steps down (thesis §4.2.2). */
export function maybeLeaveOffice(state: RaftState): void {
  if (state.role !== "leader" || state.isVoter) return;
  if (state.configurationIndex > state.commitIndex) return;
  const successor = furthestVoter(state);
  assert(successor !== undefined, "a configuration has a voter");
  sendTimeoutNow(state, successor);
  becomeFollower(state, state.term, null);
}
