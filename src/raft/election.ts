/**
 * Elections (Raft §5.2, §5.4.1), with pre-vote (thesis §9.6), leader stickiness (thesis §4.2.3)
 * and check-quorum (thesis §6.2).
 *
 * A poll changes nothing on either side. A vote is durable before it is sent, and a candidate's
 * own vote counts once it is durable. Replies count only within the term that asked, once a node,
 * and only from voters of the candidate's own configuration.
 */
import { assert } from "../common/assert.js";
import { initializeProgress, broadcastAppend } from "./replication.js";
import type { NodeId, VoteRequest, VoteResponse } from "./message.js";
import { hasQuorum } from "./quorum.js";
import { becomeFollower, rejectForwardedReads } from "./roles.js";
import type { RaftState } from "./state.js";
import { isIn } from "./state.js";

/** True if a leader was heard within the least election timeout: then nobody else is helped up. */
export function isLeaderFresh(state: RaftState): boolean {
  if (state.role === "leader") return true;
  return (
    state.leaderId !== null && state.tickCount - state.electionTick < state.options.electionTicks
  );
}

/**
 * True if this node votes in its configuration, or in one before it that may still be in force: a
 * node that its newest configuration leaves out is needed until that is committed, because the
 * others may not have it (thesis §4.2.2).
 */
function mayCampaign(state: RaftState): boolean {
  return state.configurations.some(({ configuration }) => isIn(configuration.voters, state.id));
}

/** Counts a tick for a node that does not lead: campaigns, or gives up on a silent leader. */
export function tickElection(state: RaftState): void {
  const silentTicks = state.tickCount - state.electionTick;
  // The only voter has nobody to wait for, but its own vote has to reach the disk.
  const { voters } = state.configuration;
  const isAlone = state.role === "follower" && state.isVoter && voters.length === 1;
  if (silentTicks < state.electionTimeoutTicks && !isAlone) return;
  if (mayCampaign(state)) {
    if (!isDiskStalled(state)) campaign(state, false);
    else becomeFollower(state, state.term, null);
    return;
  }
  // A learner or a removed node never campaigns, but must not point clients at a dead leader.
  if (state.leaderId !== null) becomeFollower(state, state.term, null);
  else state.resetElectionTimer();
}

/**
 * True if something waits for the disk and nothing has become durable for an election timeout
 * (rule R-E9). A disk that is behind but works is not stalled: resigning would not make it faster.
 */
export function isDiskStalled(state: RaftState): boolean {
  const oldest = state.pendingPersists[0];
  if (oldest === undefined) return false;
  const sinceTick = Math.max(oldest.tick, state.persistedTick);
  return state.tickCount - sinceTick > state.options.electionTicks;
}

/** A leader that a quorum has not answered, or whose disk hangs, steps down (rules R-E8, R-E9). */
export function checkQuorum(state: RaftState): void {
  const { electionTicks } = state.options;
  const isHeard = (id: NodeId): boolean =>
    id === state.id ||
    state.tickCount - (state.progress.get(id)?.heardTick ?? -Infinity) <= electionTicks;
  if (isDiskStalled(state) || !hasQuorum(state.configuration.voters, isHeard)) {
    becomeFollower(state, state.term, null);
  }
}

/** Starts a campaign: a poll first, unless the leader itself handed over (thesis §3.10). */
export function campaign(state: RaftState, isTransfer: boolean): void {
  assert(mayCampaign(state), "only a voter campaigns");
  assert(state.role !== "leader", "a leader does not campaign");
  rejectForwardedReads(state);
  state.leaderId = null;
  state.transferCampaign = isTransfer;
  state.votes.clear();
  state.resetElectionTimer();
  if (isTransfer) {
    becomeCandidate(state);
    return;
  }
  state.role = "preCandidate";
  state.votes.set(state.id, true);
  if (!maybeWin(state)) requestVotes(state, true);
}

function becomeCandidate(state: RaftState): void {
  state.role = "candidate";
  state.setHardState(state.term + 1, state.id);
  state.votes.clear();
  state.ownVoteToken = state.stepToken;
  state.resetElectionTimer();
  requestVotes(state, false);
}

function requestVotes(state: RaftState, preVote: boolean): void {
  for (const voter of state.configuration.voters) {
    if (voter.id === state.id) continue;
    state.send(
      {
        type: "voteRequest",
        from: state.id,
        to: voter.id,
        term: preVote ? state.term + 1 : state.term,
        lastIndex: state.log.lastIndex,
        lastTerm: state.log.lastTerm,
        preVote,
        transfer: state.transferCampaign,
      },
      preVote ? 0 : state.ownVoteToken,
    );
  }
}

/** Goes on if a quorum has granted: from poll to campaign, from campaign to leading. */
function maybeWin(state: RaftState): boolean {
  const { voters } = state.configuration;
  if (!hasQuorum(voters, (id) => state.votes.get(id) === true)) return false;
  if (state.role === "preCandidate") becomeCandidate(state);
  else becomeLeader(state);
  return true;
}

function becomeLeader(state: RaftState): void {
  assert(state.role === "candidate", "a leader was a candidate");
  assert(state.vote === state.id, "a leader voted for itself");
  state.role = "leader";
  state.leaderId = state.id;
  state.readRound = 0;
  state.confirmedRound = 0;
  initializeProgress(state);
  // A leader knows what is committed only once an entry of its own term is (Raft §5.4.2, §8).
  state.termStartIndex = state.log.lastIndex + 1;
  state.appendEntries([
    { index: state.termStartIndex, term: state.term, kind: "noop", data: Buffer.alloc(0) },
  ]);
  broadcastAppend(state);
}

/** Counts the candidate's own vote once it is durable. */
export function noteOwnVoteDurable(state: RaftState): void {
  if (state.role !== "candidate" || state.ownVoteToken > state.durableToken) return;
  if (state.votes.has(state.id)) return;
  state.votes.set(state.id, true);
  maybeWin(state);
}

/** Answers a vote request or a poll (Raft §5.2, §5.4.1). The term was looked at before. */
export function handleVoteRequest(state: RaftState, request: VoteRequest): void {
  const isCurrent = state.log.isUpToDate(request.lastIndex, request.lastTerm);
  if (request.preVote) {
    const granted = request.term > state.term && isCurrent && !isLeaderFresh(state);
    respond(state, request, granted, granted ? request.term : state.term, 0);
    return;
  }
  assert(request.term === state.term, "a vote is asked for in the current term");
  const isFree = state.vote === request.from || (state.vote === null && state.leaderId === null);
  const granted = isFree && isCurrent;
  if (granted) {
    state.setHardState(state.term, request.from);
    state.resetElectionTimer();
  }
  respond(state, request, granted, state.term, state.hardStateToken);
}

function respond(
  state: RaftState,
  request: VoteRequest,
  granted: boolean,
  term: number,
  after: number,
): void {
  const { preVote } = request;
  state.send(
    { type: "voteResponse", from: state.id, to: request.from, term, granted, preVote },
    after,
  );
}

/**
 * Counts an answer to this node's campaign or poll. A refusal within the term mostly means that the
 * vote is split: with voters down, no quorum may ever refuse, and a whole timeout would be waited
 * out. The candidate tries again sooner; the poll that comes first keeps a new leader in peace.
 */
export function handleVoteResponse(state: RaftState, response: VoteResponse): void {
  const askedTerm = response.preVote ? state.term + 1 : state.term;
  const isAwaited = state.role === (response.preVote ? "preCandidate" : "candidate");
  if (!isAwaited || (response.granted && response.term !== askedTerm)) return;
  if (state.votes.has(response.from)) return;
  state.votes.set(response.from, response.granted);
  if (response.granted) {
    maybeWin(state);
    return;
  }
  const { voters } = state.configuration;
  const isLost = hasQuorum(voters, (id) => state.votes.get(id) === false);
  if (isLost) becomeFollower(state, state.term, null);
  else if (!response.preVote) state.shortenElectionTimer();
}
