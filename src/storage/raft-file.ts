/**
 * One file of the Raft log: how it is named, headed, scanned and judged after a crash.
 *
 *     0     8 bytes  "PLRAFT" and two digits of format version: "PLRAFT01"
 *     8     u64      sequence of the file, as in its name
 *    16     u64      size of the file
 *    24     u64      salt: drawn anew each time the file is taken into use, below 2^48
 *    32     u32      CRC-32 of bytes 0..32
 *    4096   frames, one after the other; what follows the last is zeros or of an earlier life
 *
 * The salt is the file id of all its frames. It is never shown to a client, so that neither what a
 * recycled file held before, nor records made to look like frames, can be taken for frames.
 * The first frame is always a hard state; its key is the position at which the file before ended.
 *
 * Torn or damaged? Each frame names the position that was durable when it was written. Where the
 * chain of valid frames ends, at position p:
 *  - if a later frame of this file is valid and its barrier lies beyond p, or a later file is in
 *    use and says that this one ended elsewhere than at p: damage;
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
  isOfNewerVersion,
  readFileId,
  readHeader,
} from "./frame.js";

export const raftFileHeaderBytes = 4096;
const magic = "PLRAFT01";
const zeros = Buffer.alloc(4096);

/** `00000000000000000007.raft` for 7. */
export function raftFileName(sequence: number): string {
  return `${String(sequence).padStart(20, "0")}.raft`;
}

/** The sequence in a file's name; undefined if it is not a Raft log file's. */
export function sequenceOf(name: string): number | undefined {
  const match = /^(\d{20})\.raft$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}

/** Where a file is made ready; a crash leaves it under this name, to be thrown away. */
export const draftName = "next.tmp";

export interface RaftFileHeader {
  readonly sequence: number;
  readonly bytes: number;
  readonly salt: number;
}

export function encodeRaftFileHeader({ sequence, bytes, salt }: RaftFileHeader): Buffer {
  const header = Buffer.alloc(raftFileHeaderBytes);
  header.write(magic, 0, "latin1");
  header.writeBigUInt64BE(BigInt(sequence), 8);
  header.writeBigUInt64BE(BigInt(bytes), 16);
  header.writeBigUInt64BE(BigInt(salt), 24);
  header.writeUInt32BE(crc32(header.subarray(0, 32)), 32);
  return header;
}

/**
 * Reads the header of the file with this sequence.
 *
 * A file gets its name only once its header is durable, so whatever is wrong with it is damage.
 *
 * @throws DamageError
 */
export function readRaftFileHeader(path: string, bytes: Buffer, sequence: number): RaftFileHeader {
  const isWhole =
    bytes.length >= raftFileHeaderBytes &&
    bytes.toString("latin1", 0, 8) === magic &&
    bytes.readUInt32BE(32) === crc32(bytes.subarray(0, 32));
  if (!isWhole) throw new DamageError(path, 0, "the file's header is damaged");
  const header = {
    sequence: Number(bytes.readBigUInt64BE(8)),
    bytes: Number(bytes.readBigUInt64BE(16)),
    salt: Number(bytes.readBigUInt64BE(24)),
  };
  if (header.sequence !== sequence) {
    throw new DamageError(
      path,
      8,
      `the file is ${raftFileName(header.sequence)} under another name`,
    );
  }
  if (header.bytes !== bytes.length) {
    const sizes = `${String(bytes.length)} bytes, not ${String(header.bytes)}`;
    throw new DamageError(path, bytes.length, `the file has ${sizes}`);
  }
  return header;
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

/**
 * Walks the chain of valid frames, then searches what lies beyond it for signs of damage.
 *
 * @throws DamageError at a whole frame of a kind that this version does not know.
 */
export function scanRaftFile(path: string, bytes: Buffer, salt: number): ScannedFile {
  const frames: ScannedFrame[] = [];
  let end = raftFileHeaderBytes;
  for (;;) {
    const header = readFrame(bytes, end, salt);
    if (header === undefined || !isBodyValid(bytes, end, header)) break;
    frames.push({ header, position: end });
    end += frameBytesOf(header);
  }
  if (isOfNewerVersion(bytes, end) && readFileId(bytes, end) === salt) {
    throw new DamageError(path, end, "a frame was written by a newer version of proglog");
  }
  let barrierBeyond = 0;
  let hasRemains = false;
  let at = end;
  while (at + frameHeaderBytes <= bytes.length) {
    // Most of what lies here is zeros, and no frame starts within a block of them.
    if (at % zeros.length === 0 && isZeroBlock(bytes, at)) {
      at += zeros.length;
      continue;
    }
    const header = readFrame(bytes, at, salt);
    if (header !== undefined) {
      hasRemains = true;
      barrierBeyond = Math.max(barrierBeyond, header.barrier);
    }
    at += frameAlignmentBytes;
  }
  return { frames, end, barrierBeyond, hasRemains };
}

/**
 * True if the block is all zeros: no frame starts in it, because a frame's fifth byte, its version,
 * is never zero and frames start at multiples of 8.
 */
function isZeroBlock(bytes: Buffer, at: number): boolean {
  return bytes.subarray(at, at + zeros.length).equals(zeros);
}

/** The header of a frame of this file. The salt is looked at first: a checksum costs more. */
function readFrame(bytes: Buffer, at: number, salt: number): FrameHeader | undefined {
  if (at + frameHeaderBytes > bytes.length || readFileId(bytes, at) !== salt) return undefined;
  return readHeader(bytes, at);
}

/**
 * Checks that the chain ends where it must.
 *
 * @param nextKey What the next file says of this one's end; undefined for the active file.
 * @throws DamageError
 */
export function checkEnd(path: string, scanned: ScannedFile, nextKey: number | undefined): void {
  const durableEnd = nextKey ?? Math.max(scanned.barrierBeyond, 0);
  const isRight = nextKey === undefined ? durableEnd <= scanned.end : nextKey === scanned.end;
  if (isRight && scanned.barrierBeyond <= scanned.end) return;
  const what = `a frame that was durable (the file reached to ${String(durableEnd)}) is damaged`;
  throw new DamageError(path, scanned.end, what);
}
