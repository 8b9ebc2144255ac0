/**
 * Linearizable reads (thesis §6.4): a leader answers with its commitIndex once a quorum has
 * answered a round of heartbeats that began after the read arrived.
 *
 * A round's number is never used twice within a term and comes back in the answers, so that no
 * late or doubled answer confirms a newer read (rule R-Q2). Reads that arrive during a round share
 * the next one. A follower asks its leader.
 */
import type { NodeId, ReadIndexRequest, ReadIndexResponse } from "./message.js";
import { hasCommittedInTerm } from "./commit.js";
import { quorumValue } from "./quorum.js";
import { broadcastHeartbeat } from "./replication.js";
import type { RaftState } from "./state.js";

/** Takes a read of this node's own. */
export function handleRead(state: RaftState, readId: number): void {
  if (state.role === "leader") {
    addRead(state, readId, null);
    return;
  }
  if (state.leaderId === null || state.forwardedReads.size >= state.options.readCountMax) {
    state.emit({ type: "readRejected", readId });
    return;
  }
  state.forwardedReads.set(readId, state.tickCount);
  const { id: from, term, leaderId: to } = state;
  state.send({ type: "readIndexRequest", from, to, term, readId });
}

/** Leader: takes a follower's read; a node that does not lead says so. */
export function handleReadIndexRequest(state: RaftState, request: ReadIndexRequest): void {
  if (state.role === "leader") addRead(state, request.readId, request.from);
  else answer(state, { from: request.from, readId: request.readId }, 0, true);
}

/** Follower: the leader has confirmed, or refused. */
export function handleReadIndexResponse(state: RaftState, response: ReadIndexResponse): void {
  if (!state.forwardedReads.delete(response.readId)) return;
  const { readId, index } = response;
  if (response.rejected) state.emit({ type: "readRejected", readId });
  else state.emit({ type: "readReady", readId, index });
}

/** Follower: gives up on reads whose question or answer was lost. */
export function tickForwardedReads(state: RaftState): void {
  for (const [readId, tick] of state.forwardedReads) {
    if (state.tickCount - tick < state.options.electionTicks) break;
    state.forwardedReads.delete(readId);
    state.emit({ type: "readRejected", readId });
  }
}

function addRead(state: RaftState, readId: number, from: NodeId | null): void {
  if (state.waitingReads.length + state.pendingReads.length >= state.options.readCountMax) {
    if (from === null) state.emit({ type: "readRejected", readId });
    else answer(state, { from, readId }, 0, true);
    return;
  }
  state.waitingReads.push({ readId, from });
  maybeStartRound(state);
}

/** Starts a round for the waiting reads, unless one is under way or the term is not ready. */
export function maybeStartRound(state: RaftState): void {
  if (state.role !== "leader" || state.waitingReads.length === 0) return;
  if (!hasCommittedInTerm(state) || state.readRound > state.confirmedRound) return;
  state.readRound += 1;
  for (const read of state.waitingReads) {
    state.pendingReads.push({ ...read, index: state.commitIndex, round: state.readRound });
  }
  state.waitingReads.length = 0;
  broadcastHeartbeat(state);
  maybeConfirmRound(state);
}

/** Answers the reads of every round that a quorum has answered. */
export function maybeConfirmRound(state: RaftState): void {
  if (state.role !== "leader") return;
  const confirmed = quorumValue(state.configuration.voters, (id) =>
    id === state.id ? state.readRound : (state.progress.get(id)?.round ?? 0),
  );
  if (confirmed <= state.confirmedRound) return;
  state.confirmedRound = confirmed;
  while ((state.pendingReads[0]?.round ?? Infinity) <= confirmed) {
    const read = state.pendingReads.shift();
    if (read === undefined) break;
    if (read.from === null) {
      state.emit({ type: "readReady", readId: read.readId, index: read.index });
    } else answer(state, { from: read.from, readId: read.readId }, read.index, false);
  }
  maybeStartRound(state);
}

function answer(
  state: RaftState,
  read: { readonly from: NodeId; readonly readId: number },
  index: number,
  rejected: boolean,
): void {
  const { id: from, term } = state;
  const { from: to, readId } = read;
  state.send({ type: "readIndexResponse", from, to, term, readId, index, rejected });
}
