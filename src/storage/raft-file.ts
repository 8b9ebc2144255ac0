/**
 * One file of the Raft log: how it is named, headed, scanned and judged after a crash.
 *
 *     0     8 bytes  "PLRAFT" and two digits of format version: "PLRAFT01"
 *     8     u64      sequence of the file
 *    16     u32      CRC-32 of bytes 0..16
 *    4096   frames, one after the other; what follows the last is zeros or of an older sequence
 *
 * The first frame is always a hard state; its key is the position at which the file before ended.
 *
 * Torn or damaged? Each frame names the position that was durable when it was written. Where the
 * chain of valid frames ends, at position p:
 *  - if a later frame of this file is valid and its barrier lies beyond p, or a later file is in
 *    use and says that this one ended beyond p, then p was durable: damage;
 *  - else p is the end of what was ever promised: a torn tail, to be zeroed.
 * What remains: damage in the very last synced write is taken for a torn tail, unless the node
 * stopped cleanly, which leaves a frame whose barrier covers it (docs/formats.md).
 */
import { crc32 } from "node:zlib";

import { DamageError } from "./damage.js";
import type { FrameHeader } from "./frame.js";
import {
  frameAlignmentBytes,
  frameBytesOf,
  frameHeaderBytes,
  isBodyValid,
  readHeader,
} from "./frame.js";

export const raftFileHeaderBytes = 4096;
const magic = "PLRAFT01";

/** `00000000000000000007.raft` for 7. */
export function raftFileName(sequence: number): string {
  return `${String(sequence).padStart(20, "0")}.raft`;
}

/** The sequence in a file's name; undefined if it is not a Raft log file's. */
export function sequenceOf(name: string): number | undefined {
  const match = /^(\d{20})\.raft$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}

export function encodeRaftFileHeader(sequence: number): Buffer {
  const header = Buffer.alloc(raftFileHeaderBytes);
  header.write(magic, 0, "latin1");
  header.writeBigUInt64BE(BigInt(sequence), 8);
  header.writeUInt32BE(crc32(header.subarray(0, 16)), 16);
  return header;
}

/** True if the bytes start with the header of this sequence. */
export function isRaftFileHeader(bytes: Buffer, sequence: number): boolean {
  const wanted = encodeRaftFileHeader(sequence);
  return bytes.length >= 20 && bytes.subarray(0, 20).equals(wanted.subarray(0, 20));
}

export interface ScannedFrame {
  readonly header: FrameHeader;
  readonly position: number;
}

export interface ScannedFile {
  readonly frames: readonly ScannedFrame[];
  /** Where the chain of valid frames ends. */
  readonly end: number;
  /** Highest barrier named by a valid frame of this file beyond `end`; 0 if there is none. */
  readonly barrierBeyond: number;
  /** True if a frame of this file lies beyond the end: it must be zeroed before new ones come. */
  readonly hasRemains: boolean;
}

/** Walks the chain of valid frames, then searches what lies beyond it for signs of damage. */
export function scanRaftFile(bytes: Buffer, sequence: number): ScannedFile {
  const frames: ScannedFrame[] = [];
  let end = raftFileHeaderBytes;
  for (;;) {
    const header = readHeader(bytes, end);
    if (header?.fileId !== sequence || !isBodyValid(bytes, end, header)) break;
    frames.push({ header, position: end });
    end += frameBytesOf(header);
  }
  let barrierBeyond = 0;
  let hasRemains = false;
  for (let at = end; at + frameHeaderBytes <= bytes.length; at += frameAlignmentBytes) {
    // The version byte first: most of what lies here is zeros.
    if (bytes[at + 4] !== 1) continue;
    const header = readHeader(bytes, at);
    if (header?.fileId !== sequence) continue;
    hasRemains = true;
    barrierBeyond = Math.max(barrierBeyond, header.barrier);
  }
  return { frames, end, barrierBeyond, hasRemains };
}

/** @throws DamageError if the end of the chain lies before what was durable. */
export function checkEnd(path: string, scanned: ScannedFile, durableEnd: number): void {
  const durable = Math.max(scanned.barrierBeyond, durableEnd);
  if (durable <= scanned.end) return;
  throw new DamageError(
    path,
    scanned.end,
    `a frame that was durable (up to ${String(durable)}) is damaged`,
  );
}
