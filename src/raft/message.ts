/**
 * What nodes of one Raft group say to each other, and what the log is made of.
 *
 * Messages may be lost, doubled, delayed and reordered; each carries the sender's term. Plain
 * data: how it looks on the wire is the transport's business.
 */

/** A node's identity: a UUID, never reused. */
export type NodeId = string;

/** A member as the configuration records it; the addresses are hints, refreshed by handshakes. */
export interface Member {
  readonly id: NodeId;
  readonly name: string;
  readonly rpcAddr: string;
  readonly httpAddr: string;
}

/** Who votes and who only receives. No id is in both lists. */
export interface Configuration {
  readonly voters: readonly Member[];
  readonly learners: readonly Member[];
}

/**
 * - `noop`: a new leader's first entry.
 * - `configuration`: the cluster's members from here on (thesis §4.1).
 * - `command`: for the state machine.
 */
export type EntryKind = "noop" | "configuration" | "command";

/** One slot of the Raft log. The core reads all but `data`, which it only carries. */
export interface Entry {
  /** Position in the log, from 1. */
  readonly index: number;
  readonly term: number;
  readonly kind: EntryKind;
  /** Present if and only if `kind` is `configuration`. */
  readonly configuration?: Configuration;
  /** For the host: opaque here. */
  readonly data: Buffer;
}

/** Term and vote: one record, durable before anything that rests on it is sent (Raft §5.2). */
export interface HardState {
  readonly term: number;
  readonly vote: NodeId | null;
}

interface Addressed {
  readonly from: NodeId;
  readonly to: NodeId;
  /** The sender's term; for a pre-vote request, and its grant, the term asked for. */
  readonly term: number;
}

/** Raft §5.2, §5.4.1; with `preVote` a poll that changes nothing (thesis §9.6). */
export interface VoteRequest extends Addressed {
  readonly type: "voteRequest";
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly preVote: boolean;
  /** From the target of a leadership transfer: stickiness does not apply (thesis §4.2.3). */
  readonly transfer: boolean;
}

export interface VoteResponse extends Addressed {
  readonly type: "voteResponse";
  readonly granted: boolean;
  readonly preVote: boolean;
}

/** Raft §5.3. Without entries it is a heartbeat or a probe. */
export interface AppendRequest extends Addressed {
  readonly type: "appendRequest";
  readonly prevIndex: number;
  readonly prevTerm: number;
  readonly entries: readonly Entry[];
  readonly commitIndex: number;
  /** The leader's latest read round; the response repeats it (thesis §6.4). */
  readonly round: number;
}

export interface AppendResponse extends Addressed {
  readonly type: "appendResponse";
  readonly rejected: boolean;
  /**
   * Accepted: highest index durable here and equal to the leader's. Rejected: the prevIndex
   * refused.
   */
  readonly index: number;
  /** Rejected: term of the entry that conflicts; 0 if the log ends before prevIndex. */
  readonly conflictTerm: number;
  /** Rejected: first index of that term here, or the index after this log's last. */
  readonly conflictIndex: number;
  readonly round: number;
}

/** The entries the follower needs are gone; it should fetch a snapshot (Raft §7). */
export interface SnapshotOffer extends Addressed {
  readonly type: "snapshotOffer";
  readonly index: number;
  readonly snapshotTerm: number;
  readonly round: number;
}

export interface SnapshotResponse extends Addressed {
  readonly type: "snapshotResponse";
  readonly rejected: boolean;
  /** Last index the follower is known to share with the leader, durable here. */
  readonly index: number;
  readonly round: number;
}

/** A follower asks for a read index (thesis §6.4). */
export interface ReadIndexRequest extends Addressed {
  readonly type: "readIndexRequest";
  /** Chosen by the sender; never used twice by one node, also not after a restart. */
  readonly readId: number;
}

export interface ReadIndexResponse extends Addressed {
  readonly type: "readIndexResponse";
  readonly readId: number;
  readonly index: number;
  readonly rejected: boolean;
}

/** The leader asks the target of a transfer to campaign at once (thesis §3.10). */
export interface TimeoutNow extends Addressed {
  readonly type: "timeoutNow";
}

export type Message =
  | VoteRequest
  | VoteResponse
  | AppendRequest
  | AppendResponse
  | SnapshotOffer
  | SnapshotResponse
  | ReadIndexRequest
  | ReadIndexResponse
  | TimeoutNow;
