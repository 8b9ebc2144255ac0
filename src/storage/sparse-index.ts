/**
 * The index of a segment: where to start looking for an offset.
 *
 * One pair (offset relative to the segment's base, byte position) for the first frame and then for
 * one frame in every `indexSpacingBytes`. It is derived: missing, short, stale or garbled, it is
 * made anew from the segment's frames, which alone are the truth.
 *
 *     Index file, big-endian
 *      0  4 bytes  "PLIX"          4  u32  format version: 1
 *      8  u64      base offset    16  u64  bytes of the segment that it covers
 *     24  u32      CRC-32 of the segment's bytes
 *     28  u32      pair count     32  u32  CRC-32 of bytes 0..32 and of the pairs
 *     36  pairs:   u32 relative offset, u32 position
 */
import { crc32 } from "node:zlib";

import { assert } from "../common/assert.js";

export const indexSpacingBytes = 4096;
const headerBytes = 36;
const magic = 0x504c4958;
const version = 1;

/** What an index file is bound to. */
export interface IndexedSegment {
  readonly baseOffset: number;
  readonly bytes: number;
  readonly checksum: number;
}

export class SparseIndex {
  #offsets = new Uint32Array(64);
  #positions = new Uint32Array(64);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Notes a frame, if the last one noted is far enough behind. */
  add(relativeOffset: number, position: number): void {
    const last = this.#count - 1;
    if (last >= 0 && position - (this.#positions[last] ?? 0) < indexSpacingBytes) return;
    assert(position < 2 ** 32, "a segment is shorter than 4 GiB");
    assert(last < 0 || relativeOffset > (this.#offsets[last] ?? 0), "offsets rise");
    if (this.#count === this.#offsets.length) this.#grow();
    this.#offsets[this.#count] = relativeOffset;
    this.#positions[this.#count] = position;
    this.#count += 1;
  }

  #grow(): void {
    const offsets = new Uint32Array(this.#offsets.length * 2);
    const positions = new Uint32Array(this.#positions.length * 2);
    offsets.set(this.#offsets);
    positions.set(this.#positions);
    this.#offsets = offsets;
    this.#positions = positions;
  }

  /** Position of the last noted frame at or before the offset; 0 if none is. */
  floor(relativeOffset: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#offsets[middle] ?? 0) <= relativeOffset) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : (this.#positions[low - 1] ?? 0);
  }

  /** How many pairs point below a position. */
  countBelow(position: number): number {
    let count = this.#count;
    while (count > 0 && (this.#positions[count - 1] ?? 0) >= position) count -= 1;
    return count;
  }

  /** Position of pair `ordinal`. */
  positionAt(ordinal: number): number {
    assert(ordinal >= 0 && ordinal < this.#count, "the pair is there");
    return this.#positions[ordinal] ?? 0;
  }

  encode(segment: IndexedSegment): Buffer {
    const bytes = Buffer.alloc(headerBytes + this.#count * 8);
    bytes.writeUInt32BE(magic, 0);
    bytes.writeUInt32BE(version, 4);
    bytes.writeBigUInt64BE(BigInt(segment.baseOffset), 8);
    bytes.writeBigUInt64BE(BigInt(segment.bytes), 16);
    bytes.writeUInt32BE(segment.checksum, 24);
    bytes.writeUInt32BE(this.#count, 28);
    for (let pair = 0; pair < this.#count; pair += 1) {
      bytes.writeUInt32BE(this.#offsets[pair] ?? 0, headerBytes + pair * 8);
      bytes.writeUInt32BE(this.#positions[pair] ?? 0, headerBytes + pair * 8 + 4);
    }
    bytes.writeUInt32BE(checksumOf(bytes), 32);
    return bytes;
  }

  /** @returns undefined if the bytes are not the index of this very segment. */
  static decode(bytes: Buffer, segment: IndexedSegment): SparseIndex | undefined {
    if (bytes.length < headerBytes || bytes.readUInt32BE(0) !== magic) return undefined;
    if (bytes.readUInt32BE(4) !== version) return undefined;
    const count = bytes.readUInt32BE(28);
    const isOurs =
      bytes.length === headerBytes + count * 8 &&
      bytes.readBigUInt64BE(8) === BigInt(segment.baseOffset) &&
      bytes.readBigUInt64BE(16) === BigInt(segment.bytes) &&
      bytes.readUInt32BE(24) === segment.checksum &&
      bytes.readUInt32BE(32) === checksumOf(bytes);
    if (!isOurs) return undefined;
    const index = new SparseIndex();
    for (let pair = 0; pair < count; pair += 1) {
      const at = headerBytes + pair * 8;
      if (index.#count === index.#offsets.length) index.#grow();
      index.#offsets[pair] = bytes.readUInt32BE(at);
      index.#positions[pair] = bytes.readUInt32BE(at + 4);
      index.#count += 1;
    }
    return index;
  }
}

function checksumOf(bytes: Buffer): number {
  return crc32(bytes.subarray(headerBytes), crc32(bytes.subarray(0, 32)));
}
