/**
 * Snapshots in the core (Raft §7): offered when the entries a follower needs are gone.
 *
 * The snapshot itself does not pass through here: the follower's host fetches it, from any member,
 * and reports it durable. Taking it never loses a committed entry: one at or below commitIndex is
 * ignored; a suffix that goes on from it is kept; any other is void, and with it its
 * configurations.
 */
import { present } from "../common/assert.js";
import type { Configuration, NodeId, SnapshotOffer, SnapshotResponse } from "./message.js";
import type { Progress } from "./progress.js";
import { becomeFollower } from "./roles.js";
import type { RaftState } from "./state.js";

/**
 * Leader: tells a member to fetch a snapshot that reaches at least the log's start.
 *
 * @param indexMin A held and applied entry that it must reach as well.
 */
export function offerSnapshot(
  state: RaftState,
  to: NodeId,
  progress: Progress,
  indexMin = 0,
): void {
  const index = Math.max(state.log.snapshotIndex, indexMin);
  progress.becomeSnapshot(index, state.tickCount);
  state.send({
    type: "snapshotOffer",
    from: state.id,
    to,
    term: state.term,
    index,
    snapshotTerm: present(state.log.termAt(index), "an offered entry has a term"),
    round: state.readRound,
  });
}

/** Follower: fetches what is offered, unless it is held already. */
export function handleSnapshotOffer(state: RaftState, offer: SnapshotOffer): void {
  if (state.role !== "follower" || state.leaderId !== offer.from) {
    becomeFollower(state, offer.term, offer.from);
  }
  state.resetElectionTimer();
  if (offer.index <= state.commitIndex) {
    respond(state, offer.from, state.commitIndex, offer.round);
    return;
  }
  if (state.fetchingSnapshot >= offer.index) return;
  state.fetchingSnapshot = offer.index;
  state.emit({ type: "fetchSnapshot", from: offer.from, index: offer.index });
}

function respond(state: RaftState, to: NodeId, index: number, round: number): void {
  const { id: from, term } = state;
  state.send(
    { type: "snapshotResponse", from, to, term, rejected: false, index, round },
    Math.max(state.hardStateToken, state.tokenFor(index)),
  );
}

/** Follower: takes a snapshot that lies durable on this node. */
export function handleSnapshotFetched(
  state: RaftState,
  snapshot: {
    readonly index: number;
    readonly term: number;
    readonly configuration: Configuration;
  },
): void {
  state.fetchingSnapshot = 0;
  if (snapshot.index <= state.commitIndex) return;
  // It may come from a member that is in a newer term already.
  if (snapshot.term > state.term) becomeFollower(state, snapshot.term, null);
  state.installSnapshot(snapshot.index, snapshot.term, snapshot.configuration);
  if (state.leaderId === null || state.leaderId === state.id) return;
  const { id: from, term, leaderId: to, commitIndex: index } = state;
  state.send(
    { type: "snapshotResponse", from, to, term, rejected: false, index, round: 0 },
    state.stepToken,
  );
}

/** Leader: the member holds everything up to the index; appends go on from there. */
export function handleSnapshotResponse(state: RaftState, response: SnapshotResponse): boolean {
  const progress = state.progress.get(response.from);
  if (state.role !== "leader" || progress === undefined) return false;
  progress.heardTick = state.tickCount;
  progress.round = Math.max(progress.round, response.round);
  if (response.rejected || response.index > state.log.lastIndex) return false;
  const hasGrown = progress.acknowledge(response.index, state.tickCount);
  if (progress.state === "snapshot") progress.becomeProbe(progress.matchIndex + 1);
  return hasGrown;
}
