/**
 * Commands: how appends become the frame of one Raft entry, and what their conditions look like.
 *
 * What arrives in one turn is one entry: the records of all its appends, one after the other, are
 * the frame's body; an append that has a condition gets a block in the preamble. An entry without
 * conditions has no preamble, and its body goes to the commit log as it is.
 *
 *     Condition block, big-endian
 *      0  u16  bytes of the block, this field included
 *      2  u16  flags: bit 0 expected offset; others are 0
 *      4  u32  ordinal of the append's first record in the entry
 *      8  u32  record count
 *     12  u32  position of its records in the body
 *     16  u32  bytes of its records
 *     20  u64  if bit 0: the offset that its first record must get
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

const conditionBytes = 28;
const hasExpectedOffset = 1;
/** Most conditions that one entry can hold. */
export const conditionCountMax = Math.floor(framePreambleBytesMax / conditionBytes);

/** Records to append as one. */
export interface Append {
  /** Encoded and checked. */
  readonly records: Buffer;
  readonly count: number;
  readonly expectedOffset?: number | undefined;
}

/** A condition as the state machine reads it. */
export interface Condition {
  readonly firstRecord: number;
  readonly count: number;
  readonly position: number;
  readonly bytes: number;
  readonly expectedOffset: number;
}

/** What every node of a cluster must agree on; the founder's first command. */
export interface Settings {
  readonly clusterId: string;
  readonly segmentBytes: number;
}

/** The frame of one entry; its index and term are stamped when the core has numbered it. */
export function encodeAppends(appends: readonly Append[], timestampMs: number): Buffer {
  let bodyBytes = 0;
  let conditionCount = 0;
  for (const append of appends) {
    bodyBytes += append.records.length;
    if (append.expectedOffset !== undefined) conditionCount += 1;
  }
  const preambleBytes = conditionCount * conditionBytes;
  const frame = allocateFrame(preambleBytes, bodyBytes);
  const bodyPosition = frameHeaderBytes + preambleBytes;
  let conditionAt = frameHeaderBytes;
  let position = 0;
  let count = 0;
  for (const append of appends) {
    append.records.copy(frame, bodyPosition + position);
    if (append.expectedOffset !== undefined) {
      const place = {
        firstRecord: count,
        count: append.count,
        position,
        bytes: append.records.length,
      };
      writeCondition(frame, conditionAt, { ...place, expectedOffset: append.expectedOffset });
      conditionAt += conditionBytes;
    }
    position += append.records.length;
    count += append.count;
  }
  const place = { key: 0, term: 0, fileId: 0, barrier: 0 };
  const kind = frameKinds.records;
  sealFrame(frame, { kind, preambleBytes, bodyBytes, ...place, timestampMs, count });
  return frame;
}

function writeCondition(target: Buffer, at: number, condition: Condition): void {
  target.writeUInt16BE(conditionBytes, at);
  target.writeUInt16BE(hasExpectedOffset, at + 2);
  target.writeUInt32BE(condition.firstRecord, at + 4);
  target.writeUInt32BE(condition.count, at + 8);
  target.writeUInt32BE(condition.position, at + 12);
  target.writeUInt32BE(condition.bytes, at + 16);
  target.writeBigUInt64BE(BigInt(condition.expectedOffset), at + 20);
}

/**
 * @throws InvariantError if the preamble is not one: it has passed its checksum, so we wrote it.
 */
export function decodeConditions(preamble: Buffer): Condition[] {
  const conditions: Condition[] = [];
  for (let at = 0; at < preamble.length; at += conditionBytes) {
    assert(preamble.length - at >= conditionBytes, "a preamble holds whole conditions");
    assert(preamble.readUInt16BE(at) === conditionBytes, "a condition has a known length");
    assert(preamble.readUInt16BE(at + 2) === hasExpectedOffset, "a condition is of a known kind");
    conditions.push({
      firstRecord: preamble.readUInt32BE(at + 4),
      count: preamble.readUInt32BE(at + 8),
      position: preamble.readUInt32BE(at + 12),
      bytes: preamble.readUInt32BE(at + 16),
      expectedOffset: Number(preamble.readBigUInt64BE(at + 20)),
    });
  }
  return conditions;
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
