/**
 * The state machine: turns entries of the Raft log, in order, into records of the commit log.
 *
 * It is the only place that knows both index and offset. All it does follows from the entries
 * alone, never from a clock or from chance, so that every node comes to the same bytes.
 * Invariants: appliedIndex rises by one; offsets are given in the order of the entries, without a
 * gap; timestamps never run backwards; an entry it does not know stops the node.
 */
import { crc32 } from "node:zlib";

import { InvariantError, assert } from "../common/assert.js";
import type { Checkpoint } from "../storage/checkpoint.js";
import type { CommitLog } from "../storage/commit-log.js";
import type { FrameHeader } from "../storage/frame.js";
import { frameBody, frameKinds, framePreamble, readHeader } from "../storage/frame.js";
import type { Condition } from "./command.js";
import { decodeConditions, decodeSettings } from "./command.js";
import type { Producer, Remembered, Settlement } from "./producers.js";
import { Producers } from "./producers.js";

/** What the machine is given of a Raft entry. */
export type Input =
  | { readonly index: number; readonly term: number; readonly kind: "noop" }
  | {
      readonly index: number;
      readonly term: number;
      readonly kind: "configuration";
      /** JSON text of the configuration. */
      readonly configuration: string;
    }
  | {
      readonly index: number;
      readonly term: number;
      readonly kind: "command";
      /** The entry's frame. */
      readonly frame: Buffer;
    };

/** An append that added nothing when its turn came. */
export interface Dropped {
  readonly firstRecord: number;
  readonly count: number;
  readonly why:
    | {
        readonly type: "mismatch";
        /** The offset that its first record would have got. */
        readonly actualOffset: number;
      }
    /** It is in the log already. */
    | { readonly type: "duplicate"; readonly original: Remembered }
    /** Its sequence was made void, because somebody was told that it is not in the log. */
    | { readonly type: "void" }
    /** Its producer has gone on, and what became of it is no longer remembered. */
    | { readonly type: "too-old" };
}

/** What became of the records of an entry. */
export interface Applied {
  /** Offset of the first record that was kept. */
  readonly offset: number;
  readonly timestampMs: number;
  readonly dropped: readonly Dropped[];
}

const nothingApplied: Applied = { offset: 0, timestampMs: 0, dropped: [] };

export class StateMachine {
  readonly #commitLog: CommitLog;
  #appliedIndex: number;
  #appliedTerm: number;
  #configurationIndex: number;
  #configuration: string;
  #timestampMs: number;
  #segmentBytes: number;
  #clusterId: string;
  readonly #producers: Producers;

  constructor(commitLog: CommitLog, checkpoint: Checkpoint) {
    this.#commitLog = commitLog;
    this.#appliedIndex = checkpoint.appliedIndex;
    this.#appliedTerm = checkpoint.appliedTerm;
    this.#configurationIndex = checkpoint.configurationIndex;
    this.#configuration = checkpoint.configuration;
    this.#timestampMs = checkpoint.timestampMs;
    this.#segmentBytes = checkpoint.segmentBytes;
    this.#clusterId = checkpoint.clusterId;
    this.#producers = new Producers(checkpoint.producers);
    assert(commitLog.endOffset === checkpoint.endOffset, "the commit log stands at the checkpoint");
  }

  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  /** What became of an append with a producer, as of the entries that are applied. */
  settlementOf(producer: Producer): Settlement {
    return this.#producers.settlementOf(producer);
  }

  /** The cluster's id as the log itself says; empty before it does. */
  get clusterId(): string {
    return this.#clusterId;
  }

  /** The state as a checkpoint would keep it. */
  capture(): Checkpoint {
    const { segments, endOffset } = this.#commitLog.state();
    return {
      appliedIndex: this.#appliedIndex,
      appliedTerm: this.#appliedTerm,
      configurationIndex: this.#configurationIndex,
      configuration: this.#configuration,
      endOffset,
      timestampMs: this.#timestampMs,
      segmentBytes: this.#segmentBytes,
      clusterId: this.#clusterId,
      producers: this.#producers.states(),
      segments,
    };
  }

  /** Applies the next entry. @throws InvariantError if it is not the next, or not known. */
  apply(input: Input): Applied {
    assert(input.index === this.#appliedIndex + 1, "entries are applied in order");
    assert(input.term >= this.#appliedTerm, "terms never fall along the log");
    const applied = this.#applyKind(input);
    this.#appliedIndex = input.index;
    this.#appliedTerm = input.term;
    return applied;
  }

  #applyKind(input: Input): Applied {
    switch (input.kind) {
      case "noop":
        return nothingApplied;
      case "configuration":
        this.#configurationIndex = input.index;
        this.#configuration = input.configuration;
        return nothingApplied;
      case "command":
        return this.#applyCommand(input.frame, input.term);
    }
  }

  #applyCommand(frame: Buffer, term: number): Applied {
    const header = readHeader(frame, 0);
    assert(header !== undefined, "a committed command is whole");
    switch (header.kind) {
      case frameKinds.records:
        return this.#applyRecords(frame, header, term);
      case frameKinds.settings: {
        // The founder's are the first, and the only ones.
        assert(this.#clusterId === "", "a cluster is settled once");
        const settings = decodeSettings(frameBody(frame, 0, header));
        this.#clusterId = settings.clusterId;
        this.#segmentBytes = settings.segmentBytes;
        return nothingApplied;
      }
      default:
        throw new InvariantError(`a command of kind ${String(header.kind)} is known`);
    }
  }

  #applyRecords(frame: Buffer, header: FrameHeader, term: number): Applied {
    assert(this.#segmentBytes > 0, "the settings come before the first record");
    this.#timestampMs = Math.max(this.#timestampMs, header.timestampMs);
    const timestampMs = this.#timestampMs;
    const body = frameBody(frame, 0, header);
    const offset = this.#commitLog.endOffset;
    const dropped =
      header.preambleBytes === 0
        ? []
        : this.#unmet(decodeConditions(framePreamble(frame, 0, header)), offset);
    if (dropped.length === 0 && header.count > 0) {
      const records = { count: header.count, term, timestampMs, records: body };
      this.#commitLog.append({ ...records, recordsCrc: header.bodyCrc }, this.#segmentBytes);
      return { offset, timestampMs, dropped };
    }
    const count = dropped.reduce((left, drop) => left - drop.count, header.count);
    if (count > 0) {
      const records = withoutRanges(body, dropped);
      const recordsCrc = crc32(records);
      this.#commitLog.append({ count, term, timestampMs, records, recordsCrc }, this.#segmentBytes);
    }
    return { offset, timestampMs, dropped };
  }

  /** The appends that add nothing; those of producers that do are noted. */
  #unmet(conditions: readonly Condition[], offset: number): (Condition & Dropped)[] {
    const unmet: (Condition & Dropped)[] = [];
    let droppedCount = 0;
    for (const condition of conditions) {
      const actualOffset = offset + condition.firstRecord - droppedCount;
      const why = this.#judge(condition, actualOffset);
      if (why === undefined) continue;
      unmet.push({ ...condition, why });
      droppedCount += condition.count;
    }
    return unmet;
  }

  /** Why an append adds nothing; undefined if it gets this offset. */
  #judge(condition: Condition, offset: number): Dropped["why"] | undefined {
    const { producer, expectedOffset, count } = condition;
    // A retry is answered like the first time, also if its condition would not hold any more.
    const verdict = producer === undefined ? "new" : this.#producers.find(producer);
    if (verdict === "too-old") return { type: "too-old" };
    if (verdict !== "new") {
      const isVoid = verdict.count === 0 && count > 0;
      return isVoid ? { type: "void" } : { type: "duplicate", original: verdict };
    }
    if (expectedOffset !== undefined && expectedOffset !== offset) {
      return { type: "mismatch", actualOffset: offset };
    }
    if (producer !== undefined) {
      const { id, sequence } = producer;
      this.#producers.note(id, { sequence, offset, count, timestampMs: this.#timestampMs });
    }
    return undefined;
  }
}

/** The body without the records of some appends. */
function withoutRanges(
  body: Buffer,
  ranges: readonly Pick<Condition, "position" | "bytes">[],
): Buffer {
  const kept: Buffer[] = [];
  let from = 0;
  for (const { position, bytes } of ranges) {
    kept.push(body.subarray(from, position));
    from = position + bytes;
  }
  kept.push(body.subarray(from));
  return Buffer.concat(kept);
}
