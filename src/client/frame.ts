/**
 * What one call of `produce` hands in (an entry), and what is sent as one append (a frame).
 *
 * A frame never changes once it has its sequence: sent again it is the same append, which is what
 * makes sending it again safe.
 */
import { ProglogError } from "../common/errors.js";
import type { Outcome } from "../common/errors.js";
import type { RecordContent } from "../common/record.js";
import { encodeRecords } from "../common/record.js";
import type { ProduceBatchRequest } from "../gen/log/v1/log.js";

/** Where an append went. */
export interface BatchReceipt {
  /** Offset of the first record; the others follow it without a gap. */
  readonly offset: number;
  readonly count: number;
  /** When the leader took it, milliseconds since 1970. */
  readonly timestampMs: number;
  /**
   * Only of a producer with an id: true if its sequence was in the log before this answer, also by
   * an earlier try of this very call. The other fields then tell of what is there.
   */
  readonly duplicate: boolean;
}

/** On how many members' disks an append is to be before it is answered. */
export type WriteConcern = "majority" | "all" | number;

/** On what terms a call of produce is to be done. */
export interface EntryTerms {
  readonly expectedOffset: number | undefined;
  readonly w: WriteConcern | undefined;
  /** Only of a producer with an id. */
  readonly sequence: number | undefined;
  readonly sinceMs: number;
  readonly deadlineMs: number;
  /** Goes as an append of its own. */
  readonly isAlone: boolean;
}

/** One call of produce. A class, because there are many of them: its fields are set one by one. */
export class Entry {
  readonly contents: readonly RecordContent[];
  /** Bytes once encoded. */
  readonly bytes: number;
  readonly expectedOffset: number | undefined;
  readonly w: WriteConcern | undefined;
  readonly sequence: number | undefined;
  readonly sinceMs: number;
  readonly deadlineMs: number;
  isAlone: boolean;
  /** Encoded, once there was room for it. */
  records: Buffer | undefined = undefined;
  frame: Frame | undefined = undefined;
  isSettled = false;
  readonly promise: Promise<BatchReceipt>;
  resolve: (receipt: BatchReceipt) => void = () => undefined;
  reject: (error: unknown) => void = () => undefined;
  /** Stops listening to the caller's signal. */
  unlisten: (() => void) | undefined = undefined;

  constructor(contents: readonly RecordContent[], bytes: number, terms: EntryTerms) {
    this.contents = contents;
    this.bytes = bytes;
    this.expectedOffset = terms.expectedOffset;
    this.w = terms.w;
    this.sequence = terms.sequence;
    this.sinceMs = terms.sinceMs;
    this.deadlineMs = terms.deadlineMs;
    this.isAlone = terms.isAlone;
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

/** Ends an entry, unless it has ended. */
export type Settle = (entry: Entry, result: BatchReceipt | ProglogError) => void;

/** One append. */
export interface Frame {
  readonly entries: readonly Entry[];
  readonly records: Buffer;
  readonly count: number;
  /** Place among the appends of its producer; newest when its sequence was given. */
  ordinal: number;
  sequence: number;
  /** True while it is sent on the stream that is open, without an answer. */
  isSent: boolean;
  tries: number;
  /** True if a try of it ended without saying what became of it. */
  mayBeApplied: boolean;
}

/** Puts entries into one append. */
export function frameOf(
  entries: readonly Entry[],
  place: { readonly ordinal: number; readonly sequence: number },
): Frame {
  const encoded = entries.map((entry) => entry.records ?? encodeRecords(entry.contents));
  const [only] = encoded;
  const records = encoded.length === 1 && only !== undefined ? only : Buffer.concat(encoded);
  const count = entries.reduce((sum, entry) => sum + entry.contents.length, 0);
  const frame: Frame = {
    ...{ entries, records, count, ...place },
    ...{ isSent: false, tries: 0, mayBeApplied: false },
  };
  let at = 0;
  for (const entry of entries) {
    entry.records = records.subarray(at, at + entry.bytes);
    entry.frame = frame;
    at += entry.bytes;
  }
  return frame;
}

/** A frame's message. */
export function requestOf(
  frame: Frame,
  { id, producerId, timeoutMs }: { id: number; producerId: string; timeoutMs: number },
): ProduceBatchRequest {
  const { records, count, sequence, entries } = frame;
  const { expectedOffset, w } = entries[0] ?? {};
  return {
    id: BigInt(id),
    ...{ records, count, timeoutMs, producerId },
    sequence: BigInt(sequence),
    expectedOffset: expectedOffset === undefined ? undefined : BigInt(expectedOffset),
    ...(typeof w === "number" ? { copies: w } : {}),
    ...(w === "all" ? { allCopies: true } : {}),
  };
}

/** Hands each entry its part of what was appended. */
export function settleApplied(frame: Frame, receipt: BatchReceipt, settle: Settle): void {
  const { timestampMs, duplicate } = receipt;
  let { offset } = receipt;
  for (const entry of frame.entries) {
    // A repeat is told of the original, which need not be like what was sent now.
    const count = frame.entries.length === 1 ? receipt.count : entry.contents.length;
    settle(entry, { offset, count, timestampMs, duplicate });
    offset += count;
  }
}

/** What is known of an entry that is given up now. */
export function outcomeOf({ frame }: Entry): Outcome {
  const isOpen = frame !== undefined && (frame.isSent || frame.mayBeApplied);
  return isOpen ? "unknown" : "not_applied";
}

/**
 * The error of an entry that is given up before it has an answer.
 *
 * @param last The last reason for which it was not answered.
 */
export function givenUp(
  entry: Entry,
  why: string,
  { last, cause }: { last?: ProglogError | undefined; cause?: unknown } = {},
): ProglogError {
  const outcome = outcomeOf(entry);
  const detail = last === undefined ? why : `${why} The last reason: ${last.message}`;
  // Whoever named the sequence can send it again; one of the client's own is lost with it.
  const retryable = outcome === "not_applied" || entry.sequence !== undefined;
  const options = { outcome, retryable, cause: cause ?? last };
  if (outcome === "unknown") return new ProglogError("outcome-unknown", detail, options);
  const isTelling = last !== undefined && last.outcome === "not_applied";
  const fields = isTelling ? last.fields : {};
  return new ProglogError(isTelling ? last.code : "unavailable", detail, { ...options, fields });
}

/**
 * The error that a node answered, with what is known of earlier tries: a refusal of this one says
 * nothing of those, unless the state machine itself has spoken.
 */
export function refusalOf(frame: Frame, error: ProglogError): ProglogError {
  if (!frame.mayBeApplied || error.outcome !== "not_applied") return error;
  const expected = frame.entries[0]?.expectedOffset ?? -1;
  const { code, fields } = error;
  const isPast = code === "expected-offset-mismatch" && Number(fields["actualOffset"]) > expected;
  if (isPast || code === "sequence-too-old") return error;
  return new ProglogError(code, error.message, { outcome: "unknown", fields, cause: error });
}
