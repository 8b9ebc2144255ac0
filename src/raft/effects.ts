/**
 * What goes into the core and what comes out of it: the whole contract with its host.
 *
 * The host feeds events one at a time to `Raft.step` and carries out the effects of each step in
 * order before the next step's:
 *
 * 1. `persist` effects form one queue: their writes reach the disk in order of their tokens, and
 *    `persisted(token)` is fed back when all up to that token are durable. Several may share one
 *    sync.
 * 2. A `send` leaves only when the token it names in `after` is durable; 0 means at once. So a
 *    leader's appends leave before its own sync, while votes and acknowledgements wait for theirs
 *    (Raft §5.2, §5.3; thesis §10.2.1).
 * 3. `apply` may run ahead of this node's own disk: what a quorum holds is committed. A checkpoint
 *    may not: its index never exceeds what is durable here.
 * 4. A failed persist is final: the host feeds `ioFailed` and sends nothing more.
 */
import type { Configuration, Entry, HardState, Member, Message, NodeId } from "./message.js";

/** Why the core refused what it was asked. */
export type Refusal =
  | "not-leader"
  | "transferring"
  | "overloaded"
  | "change-pending"
  | "no-commit-in-term"
  | "already-member"
  | "address-taken"
  | "unknown-member"
  | "not-voter"
  | "no-voter-left"
  | "no-live-quorum"
  | "lagging"
  | "is-leader"
  | "transfer-aborted"
  | "superseded"
  | "leadership-lost";

/** One change of the configuration (thesis §4.1: one server at a time). */
export type ConfigurationChange =
  | { readonly type: "addLearner"; readonly member: Member }
  | { readonly type: "promote"; readonly id: NodeId }
  | { readonly type: "demote"; readonly id: NodeId }
  | { readonly type: "remove"; readonly id: NodeId }
  | { readonly type: "update"; readonly member: Member };

/** A command to append; `id` is the host's, for the answer. */
export interface Proposal {
  readonly id: number;
  readonly data: Buffer;
}

export type Event =
  | { readonly type: "tick" }
  | { readonly type: "receive"; readonly message: Message }
  | { readonly type: "propose"; readonly proposals: readonly Proposal[] }
  | {
      readonly type: "changeConfiguration";
      readonly id: number;
      readonly change: ConfigurationChange;
    }
  /**
   * `readId` is never used twice by one node, also not after a restart: a late answer to an
   * earlier life would confirm a read that it never saw (rule R-Q2).
   */
  | { readonly type: "read"; readonly readId: number }
  /** `target` undefined: the voter that is furthest. */
  | { readonly type: "transfer"; readonly id: number; readonly target?: NodeId }
  /** All persist effects up to this token are durable. */
  | { readonly type: "persisted"; readonly token: number }
  /** The state machine holds everything up to this index. */
  | { readonly type: "applied"; readonly index: number }
  /** Answer to `load`; empty if the entries are not there, or not durable yet. */
  | { readonly type: "loaded"; readonly peer: NodeId; readonly entries: readonly Entry[] }
  /** Answer to `load`: the entries are damaged here, and will not be had by trying again. */
  | { readonly type: "loadFailed"; readonly peer: NodeId }
  /** What was in flight to the peer is lost. */
  | { readonly type: "unreachable"; readonly peer: NodeId }
  /** Answer to `fetchSnapshot`: it lies durable on this node, ready to be taken. */
  | {
      readonly type: "snapshotFetched";
      readonly index: number;
      readonly term: number;
      readonly configuration: Configuration;
    }
  | { readonly type: "snapshotFailed" }
  /** Entries up to this index are covered by a checkpoint and may be forgotten. */
  | { readonly type: "compact"; readonly index: number }
  | { readonly type: "ioFailed" };

/** What a persist must make durable, in this order: hard state, snapshot, cut, entries. */
export interface Persist {
  readonly type: "persist";
  readonly token: number;
  readonly hardState?: HardState;
  /** Entries from this index on are void. */
  readonly truncateFrom?: number;
  readonly entries: readonly Entry[];
  /** The fetched snapshot takes the place of the log up to its index. */
  readonly snapshot?: {
    readonly index: number;
    readonly term: number;
    readonly keepsSuffix: boolean;
  };
}

export type Effect =
  | Persist
  | { readonly type: "send"; readonly message: Message; readonly after: number }
  /** Entries for a slow peer that are no longer in memory: read them and feed `loaded`. */
  | {
      readonly type: "load";
      readonly peer: NodeId;
      readonly from: number;
      readonly bytesMax: number;
    }
  /** Everything up to this index is committed: apply it in order. */
  | { readonly type: "apply"; readonly to: number }
  | { readonly type: "readReady"; readonly readId: number; readonly index: number }
  | { readonly type: "readRejected"; readonly readId: number }
  | {
      readonly type: "accepted";
      readonly id: number;
      readonly index: number;
      readonly term: number;
    }
  | { readonly type: "rejected"; readonly id: number; readonly reason: Refusal }
  /** The transfer that `id` asked for went through: another node leads. */
  | { readonly type: "transferred"; readonly id: number }
  | { readonly type: "fetchSnapshot"; readonly from: NodeId; readonly index: number }
  /** The effective configuration is now this one. */
  | { readonly type: "configured"; readonly configuration: Configuration; readonly index: number }
  /** Role, term or leader is no longer what it was. */
  | { readonly type: "stateChanged" };
