/**
 * Commands: how appends become the frame of one Raft entry, and what their conditions look like.
 *
 * What arrives in one turn is one entry: the records of all its appends, one after the other, are
 * the frame's body; an append that has a condition gets a block in the preamble. An entry without
 * conditions has no preamble, and its body goes to the commit log as it is.
 *
 *     Condition block, big-endian
 *      0  u16  bytes of the block, this field included
 *      2  u16  flags: bit 0 expected offset, bit 1 producer; others are 0
 *      4  u32  ordinal of the append's first record in the entry
 *      8  u32  record count
 *     12  u32  position of its records in the body
 *     16  u32  bytes of its records
 *     20  u64  if bit 0: the offset that its first record must get
 *      …  u64  if bit 1: the producer's sequence
 *      …  utf8 if bit 1: the producer's id, to the end of the block
 *
 * Invariant: blocks are in the order of their records and do not overlap.
 */
import { assert } from "../common/assert.js";
import {
  allocateFrame,
  controlFrame,
  frameHeaderBytes,
  frameKinds,
  framePreambleBytesMax,
  sealFrame,
} from "../storage/frame.js";
import type { Producer } from "./producers.js";

const placeBytes = 20;
const numberBytes = 8;
const hasExpectedOffset = 1;
const hasProducer = 2;
/** Most bytes of conditions that one entry can hold. */
export const conditionBytesMax = framePreambleBytesMax;
/** Longest id of a producer, in bytes. */
export const producerIdBytesMax = 128;

/** Records to append as one. A void append has none, and a producer (machine/producers.ts). */
export interface Append {
  /** Encoded and checked. */
  readonly records: Buffer;
  readonly count: number;
  readonly expectedOffset?: number | undefined;
  readonly producer?: Producer | undefined;
}

/** Bytes of an append's condition; 0 if it has none. */
export function conditionBytesOf({ expectedOffset, producer }: Append): number {
  if (expectedOffset === undefined && producer === undefined) return 0;
  const producerBytes = producer === undefined ? 0 : numberBytes + Buffer.byteLength(producer.id);
  return placeBytes + (expectedOffset === undefined ? 0 : numberBytes) + producerBytes;
}

/** A condition as the state machine reads it. */
export interface Condition {
  readonly firstRecord: number;
  readonly count: number;
  readonly position: number;
  readonly bytes: number;
  readonly expectedOffset: number | undefined;
  readonly producer: Producer | undefined;
}

/** What every node of a cluster must agree on; the founder's first command. */
export interface Settings {
  readonly clusterId: string;
  readonly segmentBytes: number;
}

/** The frame of one entry; its index and term are stamped when the core has numbered it. */
export function encodeAppends(appends: readonly Append[], timestampMs: number): Buffer {
  let bodyBytes = 0;
  let preambleBytes = 0;
  for (const append of appends) {
    bodyBytes += append.records.length;
    preambleBytes += conditionBytesOf(append);
  }
  const frame = allocateFrame(preambleBytes, bodyBytes);
  const bodyPosition = frameHeaderBytes + preambleBytes;
  let conditionAt = frameHeaderBytes;
  let position = 0;
  let count = 0;
  for (const append of appends) {
    append.records.copy(frame, bodyPosition + position);
    conditionAt = writeCondition(frame, conditionAt, append, { firstRecord: count, position });
    position += append.records.length;
    count += append.count;
  }
  const place = { key: 0, term: 0, fileId: 0, barrier: 0 };
  const kind = frameKinds.records;
  sealFrame(frame, { kind, preambleBytes, bodyBytes, ...place, timestampMs, count });
  return frame;
}

/** @returns Where the next condition goes. */
function writeCondition(
  target: Buffer,
  at: number,
  append: Append,
  place: { readonly firstRecord: number; readonly position: number },
): number {
  const bytes = conditionBytesOf(append);
  if (bytes === 0) return at;
  const { expectedOffset, producer, records, count } = append;
  const flags =
    (expectedOffset === undefined ? 0 : hasExpectedOffset) |
    (producer === undefined ? 0 : hasProducer);
  target.writeUInt16BE(bytes, at);
  target.writeUInt16BE(flags, at + 2);
  target.writeUInt32BE(place.firstRecord, at + 4);
  target.writeUInt32BE(count, at + 8);
  target.writeUInt32BE(place.position, at + 12);
  target.writeUInt32BE(records.length, at + 16);
  let next = at + placeBytes;
  if (expectedOffset !== undefined) {
    next = target.writeBigUInt64BE(BigInt(expectedOffset), next);
  }
  if (producer !== undefined) {
    next = target.writeBigUInt64BE(BigInt(producer.sequence), next);
    next += target.write(producer.id, next);
  }
  assert(next === at + bytes, "a condition is as long as computed");
  return next;
}

/**
 * @throws InvariantError if the preamble is not one: it has passed its checksum, so we wrote it.
 */
export function decodeConditions(preamble: Buffer): Condition[] {
  const conditions: Condition[] = [];
  for (let at = 0; at < preamble.length;) {
    assert(preamble.length - at >= placeBytes, "a preamble holds whole conditions");
    const bytes = preamble.readUInt16BE(at);
    const end = at + bytes;
    assert(bytes >= placeBytes && end <= preamble.length, "a condition has a known length");
    conditions.push(decodeCondition(preamble.subarray(at, end)));
    at = end;
  }
  return conditions;
}

function decodeCondition(block: Buffer): Condition {
  const flags = block.readUInt16BE(2);
  const isKnown = flags > 0 && (flags & ~(hasExpectedOffset | hasProducer)) === 0;
  assert(isKnown, "a condition is of a known kind");
  let at = placeBytes;
  const number = (): number => {
    assert(block.length - at >= numberBytes, "a condition has a known length");
    at += numberBytes;
    return Number(block.readBigUInt64BE(at - numberBytes));
  };
  const expectedOffset = (flags & hasExpectedOffset) === 0 ? undefined : number();
  const sequence = (flags & hasProducer) === 0 ? undefined : number();
  const id = block.subarray(at).toString();
  assert((sequence === undefined) === (id === ""), "a condition has a known length");
  return {
    firstRecord: block.readUInt32BE(4),
    count: block.readUInt32BE(8),
    position: block.readUInt32BE(12),
    bytes: block.readUInt32BE(16),
    expectedOffset,
    producer: sequence === undefined ? undefined : { id, sequence },
  };
}

/** The frame of the founder's settings. */
export function encodeSettings(settings: Settings, timestampMs: number): Buffer {
  const body = Buffer.from(JSON.stringify(settings));
  return controlFrame(frameKinds.settings, { key: 0, term: 0, timestampMs }, body);
}

/** @throws InvariantError */
export function decodeSettings(body: Buffer): Settings {
  const value = JSON.parse(body.toString()) as Partial<Settings>;
  const { clusterId, segmentBytes } = value;
  assert(typeof clusterId === "string" && clusterId !== "", "settings name the cluster");
  assert(Number.isSafeInteger(segmentBytes), "settings name the segment size");
  return { clusterId, segmentBytes: segmentBytes ?? 0 };
}
