/**
 * The checkpoint port: the state machine's state at an index, kept as one atomic step.
 *
 * A checkpoint says where the commit log is durable and from which entry on the Raft log is to be
 * played again. Losing the newest one is harmless as long as the Raft log reaches back to the one
 * before; a start checks that it does.
 */
import type { SegmentRef } from "./segment.js";

/** What is remembered of a producer (machine/producers.ts). */
export interface ProducerRow {
  readonly id: string;
  /** Oldest first. */
  readonly appends: readonly {
    readonly sequence: number;
    readonly offset: number;
    readonly count: number;
    readonly timestampMs: number;
  }[];
}

export interface Checkpoint {
  /** Last entry that the state holds. */
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  /** Configuration in force at that entry: index and JSON text; index 0 if there was none. */
  readonly configurationIndex: number;
  readonly configuration: string;
  /** Offset after the last record. */
  readonly endOffset: number;
  /** Timestamp of the last record, or 0: they never run backwards. */
  readonly timestampMs: number;
  /** The cluster's segment size; 0 before it is settled. */
  readonly segmentBytes: number;
  /** The cluster that this state belongs to; empty before it is settled. */
  readonly clusterId: string;
  /** In the order of their newest appends; never changed in place. */
  readonly producers: readonly ProducerRow[];
  /** Oldest first; the last is active, up to the bytes it names. */
  readonly segments: readonly SegmentRef[];
}

export const emptyCheckpoint: Checkpoint = Object.freeze({
  appliedIndex: 0,
  appliedTerm: 0,
  configurationIndex: 0,
  configuration: "",
  endOffset: 0,
  timestampMs: 0,
  segmentBytes: 0,
  clusterId: "",
  producers: [],
  segments: [],
});

export interface CheckpointStore {
  /** @throws DamageError if there is one and it can't be read. */
  load(): Promise<Checkpoint | undefined>;
  /** Durable when it resolves; after a crash the old one or this one is there, whole. */
  save(checkpoint: Checkpoint): Promise<void>;
  close(): Promise<void>;
}
