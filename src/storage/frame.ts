/**
 * The frame: the one form in which both logs, and the wire between peers, hold data.
 *
 * A frame is a header, an optional preamble (conditions that the state machine reads) and a body
 * (encoded records, or a control entry's data), padded with zeros to a multiple of 8 bytes. The
 * header has its own checksum and holds the body's, so that a node can number a batch anew
 * without touching, or even reading, the records in it.
 *
 *     Header, 64 bytes, big-endian
 *      0  u32  CRC-32 of bytes 4..64 and of the preamble
 *      4  u8   version: 1
 *      5  u8   kind (frameKinds)
 *      6  u16  preamble bytes
 *      8  u32  body bytes
 *     12  u32  CRC-32 of the body
 *     16  u64  key: Raft index (Raft log), offset of the first record (commit log)
 *     24  u64  term of the entry
 *     32  u64  file id: salt of the Raft log file, or base offset of the segment, that holds it
 *     40  u64  barrier: position in that file known durable when the frame was written;
 *              0 in the commit log, whose durable end stands in the checkpoint
 *     48  u64  timestamp, milliseconds since 1970
 *     56  u32  record count
 *     60  u32  0
 *     64  preamble, body, zeros up to a multiple of 8
 *
 * A frame at a position is valid if and only if
 *  1. the header lies inside the file, and its version is 1;
 *  2. its checksum matches, over header and preamble;
 *  3. its file id is that of the file: what a recycled file held before, or a block written to
 *     the wrong file, is never taken for data;
 *  4. the whole frame lies inside the file, the body's checksum matches, and the padding is zero.
 *
 * CRC-32 (IEEE) is Node's own; why not CRC-32C: ADR-0003.
 */
import { crc32 } from "node:zlib";

import { assert, assertSafe } from "../common/assert.js";

export const frameHeaderBytes = 64;
/** Frames start at multiples of this. */
export const frameAlignmentBytes = 8;
/** Largest body: bounds what a damaged or hostile length can make a reader allocate. */
export const frameBodyBytesMax = 64 * 1024 * 1024;
export const framePreambleBytesMax = 0xffff;

const frameVersion = 1;
const two32 = 2 ** 32;

/** What a frame holds. The numbers are on disk and on the wire. */
export const frameKinds = {
  /** Entry: a new leader's first. */
  noop: 1,
  /** Entry: the members of the cluster. */
  configuration: 2,
  /** Entry: records to append to the commit log. */
  records: 3,
  /** Entry: settings of the cluster that every node must share. */
  settings: 4,
  /** Raft log only: term and vote. */
  hardState: 16,
  /** Raft log only: entries from the key on are void. */
  truncate: 17,
  /** Raft log only: nothing but its barrier, written at a clean stop. */
  barrier: 18,
} as const;

export type FrameKind = (typeof frameKinds)[keyof typeof frameKinds];

const knownKinds = new Set<number>(Object.values(frameKinds));

export interface FrameHeader {
  readonly kind: FrameKind;
  readonly preambleBytes: number;
  readonly bodyBytes: number;
  readonly bodyCrc: number;
  readonly key: number;
  readonly term: number;
  readonly fileId: number;
  readonly barrier: number;
  readonly timestampMs: number;
  readonly count: number;
}

/** Bytes of the whole frame, padding included. */
export function frameBytes(preambleBytes: number, bodyBytes: number): number {
  const bytes = frameHeaderBytes + preambleBytes + bodyBytes;
  return bytes + ((frameAlignmentBytes - (bytes % frameAlignmentBytes)) % frameAlignmentBytes);
}

/**
 * A new frame with room for a preamble and a body, its padding zeroed, its header not yet
 * written.
 */
export function allocateFrame(preambleBytes: number, bodyBytes: number): Buffer {
  assert(preambleBytes <= framePreambleBytesMax, "a preamble has at most 65 535 bytes");
  assert(bodyBytes <= frameBodyBytesMax, "a body has at most frameBodyBytesMax bytes");
  const frame = Buffer.allocUnsafeSlow(frameBytes(preambleBytes, bodyBytes));
  frame.fill(0, frameHeaderBytes + preambleBytes + bodyBytes);
  return frame;
}

function writeU64(target: Buffer, value: number, position: number): void {
  assertSafe(value, "a 64-bit field of a frame");
  target.writeUInt32BE(Math.floor(value / two32), position);
  target.writeUInt32BE(value % two32, position + 4);
}

function readU64(source: Buffer, position: number): number {
  return source.readUInt32BE(position) * two32 + source.readUInt32BE(position + 4);
}

function headerCrc(buffer: Buffer, position: number, preambleBytes: number): number {
  return crc32(buffer.subarray(position + 4, position + frameHeaderBytes + preambleBytes));
}

/**
 * Writes the header of a frame whose preamble and body are in place.
 *
 * @param bodyCrc CRC-32 of the body if the caller has it already.
 */
export function sealFrame(
  frame: Buffer,
  header: Omit<FrameHeader, "bodyCrc">,
  bodyCrc?: number,
): void {
  const bodyPosition = frameHeaderBytes + header.preambleBytes;
  assert(
    frame.length === frameBytes(header.preambleBytes, header.bodyBytes),
    "a frame is as long as its header says",
  );
  const body = frame.subarray(bodyPosition, bodyPosition + header.bodyBytes);
  sealHeader(frame, header, bodyCrc ?? crc32(body));
}

/** Writes a header apart from its body; a preamble must follow it already. */
export function sealHeader(
  target: Buffer,
  header: Omit<FrameHeader, "bodyCrc">,
  bodyCrc: number,
): void {
  target[4] = frameVersion;
  target[5] = header.kind;
  target.writeUInt16BE(header.preambleBytes, 6);
  target.writeUInt32BE(header.bodyBytes, 8);
  target.writeUInt32BE(bodyCrc, 12);
  writeU64(target, header.key, 16);
  writeU64(target, header.term, 24);
  writeU64(target, header.fileId, 32);
  writeU64(target, header.barrier, 40);
  writeU64(target, header.timestampMs, 48);
  target.writeUInt32BE(header.count, 56);
  target.writeUInt32BE(0, 60);
  target.writeUInt32BE(headerCrc(target, 0, header.preambleBytes), 0);
}

/** Gives a sealed frame the number and term of its slot in the Raft log. */
export function stampSlot(frame: Buffer, key: number, term: number): void {
  writeU64(frame, key, 16);
  writeU64(frame, term, 24);
  frame.writeUInt32BE(headerCrc(frame, 0, frame.readUInt16BE(6)), 0);
}

/** Binds a sealed frame to the file, and the durable position, that it is written with. */
export function stampPlace(frame: Buffer, fileId: number, barrier: number): void {
  writeU64(frame, fileId, 32);
  writeU64(frame, barrier, 40);
  frame.writeUInt32BE(headerCrc(frame, 0, frame.readUInt16BE(6)), 0);
}

/** Bytes of the frame that starts with this header, padding included. */
export function frameBytesOf(header: FrameHeader): number {
  return frameBytes(header.preambleBytes, header.bodyBytes);
}

/**
 * Reads the header at a position.
 *
 * @returns undefined if there is no valid header: rules 1 and 2 above. The caller checks the file
 *   id and the body.
 */
export function readHeader(buffer: Buffer, position: number): FrameHeader | undefined {
  if (position + frameHeaderBytes > buffer.length || buffer[position + 4] !== frameVersion) {
    return undefined;
  }
  const kind = buffer[position + 5] ?? 0;
  const preambleBytes = buffer.readUInt16BE(position + 6);
  const bodyBytes = buffer.readUInt32BE(position + 8);
  if (!knownKinds.has(kind) || bodyBytes > frameBodyBytesMax) return undefined;
  if (position + frameHeaderBytes + preambleBytes > buffer.length) return undefined;
  if (headerCrc(buffer, position, preambleBytes) !== buffer.readUInt32BE(position))
    return undefined;
  return {
    kind: kind as FrameKind,
    preambleBytes,
    bodyBytes,
    bodyCrc: buffer.readUInt32BE(position + 12),
    key: readU64(buffer, position + 16),
    term: readU64(buffer, position + 24),
    fileId: readU64(buffer, position + 32),
    barrier: readU64(buffer, position + 40),
    timestampMs: readU64(buffer, position + 48),
    count: buffer.readUInt32BE(position + 56),
  };
}

/** The file id of what may be a frame, before anything of it is checked. */
export function readFileId(buffer: Buffer, position: number): number {
  return readU64(buffer, position + 32);
}

/** True if a whole header is there, by its checksum, of a version or kind not known here. */
export function isOfNewerVersion(buffer: Buffer, position: number): boolean {
  if (position + frameHeaderBytes > buffer.length) return false;
  const isKnown =
    buffer[position + 4] === frameVersion && knownKinds.has(buffer[position + 5] ?? 0);
  const preambleBytes = buffer.readUInt16BE(position + 6);
  if (isKnown || position + frameHeaderBytes + preambleBytes > buffer.length) return false;
  return headerCrc(buffer, position, preambleBytes) === buffer.readUInt32BE(position);
}

/** True if the buffer holds the whole frame, its body matches, its padding is zero: rule 4. */
export function isBodyValid(buffer: Buffer, position: number, header: FrameHeader): boolean {
  const end = position + frameBytesOf(header);
  if (end > buffer.length) return false;
  const bodyEnd = position + frameHeaderBytes + header.preambleBytes + header.bodyBytes;
  for (let at = bodyEnd; at < end; at += 1) if (buffer[at] !== 0) return false;
  return crc32(frameBody(buffer, position, header)) === header.bodyCrc;
}

/** The preamble, as a view. */
export function framePreamble(buffer: Buffer, position: number, header: FrameHeader): Buffer {
  const start = position + frameHeaderBytes;
  return buffer.subarray(start, start + header.preambleBytes);
}

/** The body, as a view. */
export function frameBody(buffer: Buffer, position: number, header: FrameHeader): Buffer {
  const start = position + frameHeaderBytes + header.preambleBytes;
  return buffer.subarray(start, start + header.bodyBytes);
}

/** A sealed control frame with a small body. */
export function controlFrame(
  kind: FrameKind,
  fields: { readonly key: number; readonly term: number; readonly timestampMs?: number },
  body: Buffer,
): Buffer {
  const frame = allocateFrame(0, body.length);
  body.copy(frame, frameHeaderBytes);
  sealFrame(frame, {
    kind,
    preambleBytes: 0,
    bodyBytes: body.length,
    key: fields.key,
    term: fields.term,
    fileId: 0,
    barrier: 0,
    timestampMs: fields.timestampMs ?? 0,
    count: 0,
  });
  return frame;
}
