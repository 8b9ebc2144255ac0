/**
 * Replication (Raft §5.3): the leader's appends and heartbeats, and a follower's answers.
 *
 * The follower's log is changed only at the first entry whose term conflicts: a late, doubled or
 * shorter append never removes what a newer one added. A response names only what is durable when
 * it leaves.
 */
import { assert, present } from "../common/assert.js";
import { commitTo } from "./commit.js";
import type { AppendRequest, AppendResponse, Entry, NodeId } from "./message.js";
import { Progress } from "./progress.js";
import { becomeFollower } from "./roles.js";
import { offerSnapshot } from "./snapshot.js";
import type { RaftState } from "./state.js";

/** Forgets all earlier views and starts probing every other member at the end of the log. */
export function initializeProgress(state: RaftState): void {
  state.progress.clear();
  state.uncommittedBytes = 0;
  followConfiguration(state);
}

/** Makes the leader's views match the members: new ones start as probes, removed ones go. */
export function followConfiguration(state: RaftState): void {
  const { voters, learners } = state.configuration;
  const members = new Set([...voters, ...learners].map((member) => member.id));
  for (const id of state.progress.keys()) if (!members.has(id)) state.progress.delete(id);
  for (const id of members) {
    if (id === state.id || state.progress.has(id)) continue;
    const { inflight } = state.options;
    state.progress.set(id, new Progress(state.log.lastIndex + 1, state.tickCount, inflight));
  }
}

/** Sends every member what it lacks. */
export function broadcastAppend(state: RaftState): void {
  for (const id of state.progress.keys()) maybeAppend(state, id);
}

/** Sends a member as many appends as its window allows; a probe sends one, even an empty one. */
export function maybeAppend(state: RaftState, to: NodeId): void {
  const progress = present(state.progress.get(to), "a member has a progress");
  while (!progress.isPaused) {
    const prevIndex = progress.nextIndex - 1;
    const prevTerm = state.log.termAt(prevIndex);
    if (prevTerm === undefined) {
      offerSnapshot(state, to, progress);
      return;
    }
    const entries = state.log.entriesFrom(progress.nextIndex, state.options.appendBytesMax);
    if (entries === undefined) {
      progress.loading = true;
      const { appendBytesMax } = state.options;
      state.emit({ type: "load", peer: to, from: progress.nextIndex, bytesMax: appendBytesMax });
      return;
    }
    if (entries.length === 0 && progress.state !== "probe") return;
    sendAppend(state, to, progress, { prevIndex, prevTerm, entries });
    if (entries.length === 0) progress.probeSent = true;
  }
}

function sendAppend(
  state: RaftState,
  to: NodeId,
  progress: Progress,
  part: { readonly prevIndex: number; readonly prevTerm: number; readonly entries: Entry[] },
): void {
  const last = part.entries.at(-1);
  if (last !== undefined) {
    let bytes = 0;
    for (const entry of part.entries) bytes += entry.data.length;
    progress.sent(last.index, bytes, state.tickCount);
  }
  progress.sentTick = state.tickCount;
  progress.sentCommit = state.commitIndex;
  const { id: from, term, commitIndex, readRound: round } = state;
  state.send({ type: "appendRequest", from, to, term, ...part, commitIndex, round });
}

/** Takes in entries that the host read back for a slow peer. */
export function handleLoaded(state: RaftState, peer: NodeId, entries: readonly Entry[]): void {
  const progress = state.progress.get(peer);
  if (state.role !== "leader" || progress?.loading !== true) return;
  progress.loading = false;
  const prevIndex = progress.nextIndex - 1;
  const prevTerm = state.log.termAt(prevIndex);
  const isCurrent =
    !progress.isPaused &&
    prevTerm !== undefined &&
    entries.length > 0 &&
    entries[0]?.index === progress.nextIndex &&
    entries.every((entry) => state.log.termAt(entry.index) === entry.term);
  if (isCurrent) sendAppend(state, peer, progress, { prevIndex, prevTerm, entries: [...entries] });
  // If they could not be read, or are no longer wanted, the next heartbeat's answer tries again.
  if (isCurrent || prevTerm === undefined) maybeAppend(state, peer);
  else progress.probeSent = progress.state === "probe";
}

/** What the peer needs is damaged on this node's disk: its applied state serves instead. */
export function handleLoadFailed(state: RaftState, peer: NodeId): void {
  const progress = state.progress.get(peer);
  if (state.role !== "leader" || progress?.loading !== true) return;
  progress.loading = false;
  if (state.appliedIndex >= progress.nextIndex) {
    offerSnapshot(state, peer, progress, state.appliedIndex);
  } else progress.probeSent = progress.state === "probe";
}

/**
 * A heartbeat: an append without entries, at what the follower is known to match, so that it
 * can neither be refused nor commit too much (rules R-R6, R-C3).
 */
export function sendHeartbeat(state: RaftState, to: NodeId): void {
  const progress = present(state.progress.get(to), "a member has a progress");
  const known = state.log.termAt(progress.matchIndex);
  const part =
    known === undefined
      ? { prevIndex: 0, prevTerm: 0, entries: [] }
      : { prevIndex: progress.matchIndex, prevTerm: known, entries: [] };
  sendAppend(state, to, progress, part);
}

/** Heartbeats for the members that were sent nothing of late; offers are repeated. */
export function tickHeartbeat(state: RaftState): void {
  const { heartbeatTicks, electionTicks } = state.options;
  for (const [id, progress] of state.progress) {
    reviveStream(state, id, progress);
    if (state.tickCount - progress.sentTick < heartbeatTicks) continue;
    sendHeartbeat(state, id);
    const isOfferOld = state.tickCount - progress.offeredTick >= electionTicks;
    if (progress.state === "snapshot" && isOfferOld) {
      offerSnapshot(state, id, progress, progress.offeredIndex);
    }
  }
}

/**
 * A lost append, or its lost answer, shows only by silence: heartbeats are sent at what is known
 * to match and are always accepted. So what stays unanswered for too long is sent again.
 */
function reviveStream(state: RaftState, id: NodeId, progress: Progress): void {
  const isWaiting = progress.state === "replicate" && progress.inflightCount > 0;
  if (!isWaiting || state.tickCount - progress.ackTick < state.options.electionTicks) return;
  progress.becomeProbe(progress.matchIndex + 1);
  maybeAppend(state, id);
}

/** Starts a read round: a heartbeat to everybody, now (thesis §6.4). */
export function broadcastHeartbeat(state: RaftState): void {
  for (const id of state.progress.keys()) sendHeartbeat(state, id);
}

/** Follower: takes in an append or a heartbeat of the current term's leader. */
export function handleAppendRequest(state: RaftState, request: AppendRequest): void {
  assert(request.term === state.term, "an append is handled in its own term");
  assert(state.role !== "leader", "a term has one leader");
  if (state.role !== "follower" || state.leaderId !== request.from) {
    becomeFollower(state, request.term, request.from);
  }
  state.resetElectionTimer();
  const { prevIndex, prevTerm } = request;
  // What a snapshot covers is committed, so it is the same here and there (rule R-R1).
  const isCovered = prevIndex < state.log.snapshotIndex;
  if (!isCovered && state.log.termAt(prevIndex) !== prevTerm) {
    rejectAppend(state, request);
    return;
  }
  appendNew(state, request.entries);
  const verified = prevIndex + request.entries.length;
  commitTo(state, Math.min(request.commitIndex, verified, state.log.lastIndex));
  respond(state, request, { rejected: false, index: verified, conflictTerm: 0, conflictIndex: 0 });
}

/** Skips what is held already, cuts at the first conflict, appends the rest. */
function appendNew(state: RaftState, entries: readonly Entry[]): void {
  let skip = 0;
  for (const entry of entries) {
    const held = state.log.termAt(entry.index);
    const isHeld = entry.index <= state.log.snapshotIndex || held === entry.term;
    if (!isHeld) {
      if (held !== undefined) state.truncateSuffix(entry.index);
      break;
    }
    skip += 1;
  }
  state.appendEntries(skip === 0 ? entries : entries.slice(skip));
}

/** Refuses, and says where to try next: one step back per term, not per entry (rule R-R5). */
function rejectAppend(state: RaftState, request: AppendRequest): void {
  const conflictTerm = state.log.termAt(request.prevIndex) ?? 0;
  const conflictIndex =
    conflictTerm === 0 || request.prevIndex === state.log.snapshotIndex
      ? state.log.lastIndex + 1
      : state.log.firstIndexOfTermAt(request.prevIndex);
  respond(state, request, {
    rejected: true,
    index: request.prevIndex,
    conflictTerm,
    conflictIndex,
  });
}

function respond(
  state: RaftState,
  request: AppendRequest,
  result: Pick<AppendResponse, "rejected" | "index" | "conflictTerm" | "conflictIndex">,
): void {
  const durable = result.rejected ? 0 : state.tokenFor(result.index);
  const after = Math.max(state.hardStateToken, durable);
  const { id: from, term } = state;
  const { round } = request;
  state.send({ type: "appendResponse", from, to: request.from, term, round, ...result }, after);
}

/** An append of an older term: its sender must learn the newer one, or it would never step down. */
export function answerStaleLeader(state: RaftState, to: NodeId): void {
  const { id: from, term } = state;
  state.send(
    {
      type: "appendResponse",
      from,
      to,
      term,
      rejected: true,
      index: 0,
      conflictTerm: 0,
      conflictIndex: 0,
      round: 0,
    },
    state.hardStateToken,
  );
}

/**
 * Leader: takes in an answer.
 *
 * @returns True if the member's matchIndex grew.
 */
export function handleAppendResponse(state: RaftState, response: AppendResponse): boolean {
  const progress = state.progress.get(response.from);
  if (state.role !== "leader" || progress === undefined) return false;
  progress.heardTick = state.tickCount;
  progress.round = Math.max(progress.round, response.round);
  if (response.rejected) {
    handleRejection(state, progress, response);
    maybeAppend(state, response.from);
    return false;
  }
  assert(response.index <= state.log.lastIndex, "no follower holds more than its leader has sent");
  const hasGrown = progress.acknowledge(response.index, state.tickCount);
  progress.probeSent = false;
  const meets = progress.matchIndex >= state.log.snapshotIndex && progress.matchIndex > 0;
  const isFound = hasGrown || progress.matchIndex === progress.nextIndex - 1;
  // Whatever lets appends go on ends the other states, also an older snapshot (rule R-S5).
  if (progress.state !== "replicate" && meets && isFound) progress.becomeReplicate();
  maybeAppend(state, response.from);
  maybeNotifyCommit(state, response.from, progress);
  return hasGrown;
}

function handleRejection(state: RaftState, progress: Progress, response: AppendResponse): void {
  const { index: refused, conflictTerm, conflictIndex } = response;
  const isStale =
    refused <= progress.matchIndex ||
    progress.state === "snapshot" ||
    (progress.state === "probe" && refused !== progress.nextIndex - 1);
  if (isStale) return;
  // Where this log has the conflicting term too, the logs may agree up to its end here;
  // where it has not, nothing of that term can stay.
  const lastOfTerm = state.log.lastIndexUpToTerm(conflictTerm);
  const hasTerm = conflictTerm > 0 && state.log.termAt(lastOfTerm) === conflictTerm;
  const next = hasTerm ? lastOfTerm + 1 : conflictIndex;
  progress.becomeProbe(Math.max(1, Math.min(refused, next)));
}

/** Tells an idle follower of a new commit at once; a busy one hears with its next append. */
export function maybeNotifyCommit(state: RaftState, to: NodeId, progress: Progress): void {
  if (progress.state !== "replicate" || progress.inflightCount > 0 || progress.loading) return;
  if (progress.sentCommit >= state.commitIndex) return;
  sendHeartbeat(state, to);
}

/** After a commit: all that are idle. */
export function notifyCommit(state: RaftState): void {
  for (const [id, progress] of state.progress) maybeNotifyCommit(state, id, progress);
}

/** What was in flight to the peer is lost: find out anew where the logs meet. */
export function handleUnreachable(state: RaftState, peer: NodeId): void {
  const progress = state.progress.get(peer);
  if (state.role !== "leader" || progress === undefined) return;
  if (progress.state === "replicate") progress.becomeProbe(progress.matchIndex + 1);
}
