/**
 * Raft messages ⇄ the wire: `raft.v1.ExchangeRequest`, by hand.
 *
 * The bytes are those of the protobuf message and any protobuf codec reads them; what is gained
 * is that entries are copied once on the way out and never on the way in (a generated codec
 * copies them five times), and that malformed input is refused where a generated decoder shrugs:
 * a field of the wrong type, two messages in one, a number that is not exact.
 *
 * Who sent a message and to whom is not in it: both come from the stream's handshake.
 * Invariants: decodeMessage(encodeMessage(m)) equals m; decodeMessage either returns what was
 * sent or throws, whatever the bytes.
 *
 *     ExchangeRequest: 1 group (0), 2 term, and one of the members in `memberFields`.
 *     All fields of a member are varints, numbered from 1 in the order of `valuesOf`; only an
 *     append request has one more, its entries' frames (5, bytes).
 */
import { assert, assertNever, assertSafe } from "../common/assert.js";
import { ProglogError } from "../common/errors.js";
import type { AppendRequest, Entry, Message, NodeId } from "../raft/message.js";
import { decodeEntries, encodeEntries } from "../replica/entry-frame.js";

/** The two ends of a stream, as its handshake proved them. */
export interface Ends {
  readonly from: NodeId;
  readonly to: NodeId;
}

type MessageType = Message["type"];

const wireVarint = 0;
const wireFixed64 = 1;
const wireBytes = 2;
const wireFixed32 = 5;

const groupField = 1;
const termField = 2;
const framesField = 5;
const fieldNumberMax = 2 ** 29 - 1;
const noFrames = Buffer.alloc(0);

/** Field number of each member of the oneof. */
const memberFields: Readonly<Record<MessageType, number>> = {
  voteRequest: 3,
  voteResponse: 4,
  appendRequest: 5,
  appendResponse: 6,
  snapshotOffer: 7,
  snapshotResponse: 8,
  readIndexRequest: 9,
  readIndexResponse: 10,
  timeoutNow: 11,
};
const memberTypes = new Map(
  Object.entries(memberFields).map(([type, field]) => [field, type as MessageType]),
);

/** How many varint fields each member has. */
const varintCounts: Readonly<Record<MessageType, number>> = {
  voteRequest: 4,
  voteResponse: 2,
  appendRequest: 4,
  appendResponse: 5,
  snapshotOffer: 3,
  snapshotResponse: 3,
  readIndexRequest: 1,
  readIndexResponse: 3,
  timeoutNow: 0,
};

/** A message as the wire's bytes, of exactly their size. */
export function encodeMessage(message: Message): Buffer {
  const values = valuesOf(message);
  const frames = message.type === "appendRequest" ? encodeEntries(message.entries) : [];
  const framesBytes = frames.reduce((sum, frame) => sum + frame.length, 0);
  let memberBytes = framesBytes === 0 ? 0 : 1 + varintBytes(framesBytes) + framesBytes;
  for (const value of values) memberBytes += fieldBytes(value);

  const bytes = fieldBytes(message.term) + 1 + varintBytes(memberBytes) + memberBytes;
  const target = Buffer.allocUnsafe(bytes);
  let position = writeField(target, 0, termField, message.term);
  target[position++] = (memberFields[message.type] << 3) | wireBytes;
  position = writeVarint(target, position, memberBytes);
  for (const [index, value] of values.entries()) {
    position = writeField(target, position, index + 1, value);
  }
  if (framesBytes > 0) {
    target[position++] = (framesField << 3) | wireBytes;
    position = writeVarint(target, position, framesBytes);
    for (const frame of frames) position += frame.copy(target, position);
  }
  assert(position === bytes, "an encoded message is as long as computed");
  return target;
}

/**
 * Encodes messages, and one append for all peers only once.
 *
 * A leader sends the same entries to each follower in the same turn, and who it is for is not on
 * the wire: encoding them again would cost a copy of every record for every follower.
 */
export class MessageEncoder {
  #last: { readonly request: AppendRequest; readonly wire: Buffer } | undefined;

  encode(message: Message): Buffer {
    if (message.type !== "appendRequest" || message.entries.length === 0) {
      return encodeMessage(message);
    }
    if (this.#last !== undefined && isSameAppend(this.#last.request, message)) {
      return this.#last.wire;
    }
    const wire = encodeMessage(message);
    this.#last = { request: message, wire };
    return wire;
  }
}

function isSameAppend(one: AppendRequest, other: AppendRequest): boolean {
  return (
    one.term === other.term &&
    one.prevIndex === other.prevIndex &&
    one.prevTerm === other.prevTerm &&
    one.commitIndex === other.commitIndex &&
    one.round === other.round &&
    one.entries.length === other.entries.length &&
    one.entries.every((entry, ordinal) => entry === other.entries[ordinal])
  );
}

/** The varint fields of a message, from field 1; a boolean is 0 or 1. */
function valuesOf(message: Message): number[] {
  const flag = Number;
  switch (message.type) {
    case "voteRequest": {
      const { lastIndex, lastTerm, preVote, transfer } = message;
      return [lastIndex, lastTerm, flag(preVote), flag(transfer)];
    }
    case "voteResponse":
      return [flag(message.granted), flag(message.preVote)];
    case "appendRequest":
      return [message.prevIndex, message.prevTerm, message.commitIndex, message.round];
    case "appendResponse": {
      const { rejected, index, conflictTerm, conflictIndex, round } = message;
      return [flag(rejected), index, conflictTerm, conflictIndex, round];
    }
    case "snapshotOffer":
      return [message.index, message.snapshotTerm, message.round];
    case "snapshotResponse":
      return [flag(message.rejected), message.index, message.round];
    case "readIndexRequest":
      return [message.readId];
    case "readIndexResponse":
      return [message.readId, message.index, flag(message.rejected)];
    case "timeoutNow":
      return [];
    default:
      return assertNever(message, "message");
  }
}

/**
 * The message in the wire's bytes. The data of its entries are views of `wire`, which belongs to
 * the message from then on.
 *
 * @throws ProglogError `invalid-request` that says what is wrong with the bytes.
 */
export function decodeMessage(wire: Buffer, ends: Ends): Message {
  const cursor: Cursor = { buffer: wire, position: 0, end: wire.length };
  let term = 0;
  let member:
    { readonly type: MessageType; readonly start: number; readonly end: number } | undefined;
  while (cursor.position < cursor.end) {
    const { field, wireType } = readTag(cursor);
    const type = memberTypes.get(field);
    if (field === groupField) {
      expectWireType(field, wireType, wireVarint);
      if (readVarint(cursor) !== 0) throw refusal("it is for a Raft group that is not here");
    } else if (field === termField) {
      expectWireType(field, wireType, wireVarint);
      term = readVarint(cursor);
    } else if (type !== undefined) {
      expectWireType(field, wireType, wireBytes);
      if (member !== undefined) throw refusal("it holds two messages");
      const end = readLength(cursor);
      member = { type, start: cursor.position, end };
      cursor.position = end;
    } else {
      skipField(cursor, wireType);
    }
  }
  if (member === undefined) throw refusal("it holds no message of a known kind");
  const inner: Cursor = { buffer: wire, position: member.start, end: member.end };
  return readMember(inner, member.type, { ...ends, term });
}

function readMember(cursor: Cursor, type: MessageType, head: Ends & { term: number }): Message {
  const varintCount = varintCounts[type];
  const values = new Array<number>(varintCount).fill(0);
  let frames: Buffer = noFrames;
  while (cursor.position < cursor.end) {
    const { field, wireType } = readTag(cursor);
    if (field <= varintCount) {
      expectWireType(field, wireType, wireVarint);
      values[field - 1] = readVarint(cursor);
    } else if (type === "appendRequest" && field === framesField) {
      expectWireType(field, wireType, wireBytes);
      const end = readLength(cursor);
      frames = cursor.buffer.subarray(cursor.position, end);
      cursor.position = end;
    } else {
      skipField(cursor, wireType);
    }
  }
  return messageOf(type, values, frames, head);
}

/** Puts a message together from its fields: valuesOf, turned round. */
function messageOf(
  type: MessageType,
  values: readonly number[],
  frames: Buffer,
  head: Ends & { readonly term: number },
): Message {
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = values;
  switch (type) {
    case "voteRequest":
      return { ...head, type, lastIndex: a, lastTerm: b, preVote: c !== 0, transfer: d !== 0 };
    case "voteResponse":
      return { ...head, type, granted: a !== 0, preVote: b !== 0 };
    case "appendRequest": {
      const place = { prevIndex: a, prevTerm: b, term: head.term };
      const entries = checkedEntries(frames, place);
      return { ...head, type, prevIndex: a, prevTerm: b, entries, commitIndex: c, round: d };
    }
    case "appendResponse": {
      const conflict = { conflictTerm: c, conflictIndex: d };
      return { ...head, type, rejected: a !== 0, index: b, ...conflict, round: e };
    }
    case "snapshotOffer":
      return { ...head, type, index: a, snapshotTerm: b, round: c };
    case "snapshotResponse":
      return { ...head, type, rejected: a !== 0, index: b, round: c };
    case "readIndexRequest":
      return { ...head, type, readId: a };
    case "readIndexResponse":
      return { ...head, type, readId: a, index: b, rejected: c !== 0 };
    case "timeoutNow":
      return { ...head, type };
    default:
      return assertNever(type, "message type");
  }
}

/**
 * The entries in frames, proved whole and in their places: a log with a hole, or with a term that
 * falls or lies above the sender's, is never Raft's.
 */
function checkedEntries(
  frames: Buffer,
  place: { readonly prevIndex: number; readonly prevTerm: number; readonly term: number },
): Entry[] {
  const entries = decodeEntries(frames);
  if (entries === undefined) throw refusal("the frame of an entry is damaged");
  let index = place.prevIndex;
  let term = place.prevTerm;
  for (const entry of entries) {
    if (entry.index !== index + 1) throw refusal("its entries do not follow one another");
    if (entry.term < term || entry.term > place.term) {
      throw refusal("the term of an entry falls, or lies above the sender's");
    }
    ({ index, term } = entry);
  }
  return entries;
}

interface Cursor {
  readonly buffer: Buffer;
  position: number;
  readonly end: number;
}

function refusal(reason: string): ProglogError {
  return new ProglogError("invalid-request", `A Raft message is malformed: ${reason}.`);
}

function expectWireType(field: number, actual: number, expected: number): void {
  if (actual !== expected) throw refusal(`field ${String(field)} has the wrong wire type`);
}

function readTag(cursor: Cursor): { readonly field: number; readonly wireType: number } {
  const tag = readVarint(cursor);
  const field = Math.floor(tag / 8);
  if (field < 1 || field > fieldNumberMax) throw refusal("a field number is out of range");
  return { field, wireType: tag % 8 };
}

/** Reads a varint that must be exact as a number. */
function readVarint(cursor: Cursor): number {
  let value = 0;
  let factor = 1;
  for (let count = 0; count < 10; count++) {
    if (cursor.position >= cursor.end) throw refusal("it ends within a number");
    const byte = cursor.buffer[cursor.position++] ?? 0;
    value += (byte & 0x7f) * factor;
    if (!Number.isSafeInteger(value)) throw refusal("a number is above 2^53-1");
    if (byte < 0x80) return value;
    factor *= 128;
  }
  throw refusal("a number takes more than ten bytes");
}

/** Reads a length, and returns the position at which what has that length ends. */
function readLength(cursor: Cursor): number {
  const end = readVarint(cursor) + cursor.position;
  if (end > cursor.end) throw refusal("it ends within a field");
  return end;
}

/** Passes over a field that this version does not know. */
function skipField(cursor: Cursor, wireType: number): void {
  switch (wireType) {
    case wireVarint:
      skipVarint(cursor);
      return;
    case wireFixed64:
      cursor.position += 8;
      break;
    case wireBytes:
      cursor.position = readLength(cursor);
      return;
    case wireFixed32:
      cursor.position += 4;
      break;
    default:
      throw refusal("a field has an unknown wire type");
  }
  if (cursor.position > cursor.end) throw refusal("it ends within a field");
}

/** Passes over a varint of any size: an unknown field may hold what is no exact number. */
function skipVarint(cursor: Cursor): void {
  for (let count = 0; count < 10; count++) {
    if (cursor.position >= cursor.end) throw refusal("it ends within a number");
    if ((cursor.buffer[cursor.position++] ?? 0) < 0x80) return;
  }
  throw refusal("a number takes more than ten bytes");
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

/** Bytes of a varint field with a number below 16; 0 is protobuf's default and not written. */
function fieldBytes(value: number): number {
  assertSafe(value, "a number in a Raft message");
  return value === 0 ? 0 : 1 + varintBytes(value);
}

function writeField(target: Buffer, position: number, field: number, value: number): number {
  if (value === 0) return position;
  target[position] = (field << 3) | wireVarint;
  return writeVarint(target, position + 1, value);
}

/** @returns The position after it. */
function writeVarint(target: Buffer, position: number, value: number): number {
  let next = position;
  let rest = value;
  while (rest >= 128) {
    target[next++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  target[next++] = rest;
  return next;
}
