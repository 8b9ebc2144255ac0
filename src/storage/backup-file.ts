/**
 * The backup file: a stretch of the commit log in one file that says by itself whether it is whole.
 *
 *     Header, 112 bytes, big-endian
 *      0  8 bytes  magic: PLBACK01, the last two digits being the version
 *      8  u64      salt: random, below 2^48, never 0; the file id of all frames in the file
 *     16  u64      start offset: of the first record
 *     24  u64      when the backup was begun, milliseconds since 1970
 *     32  u32      bytes of the cluster's id
 *     36  72 bytes id of the cluster that it was taken from, ASCII, zeros after it
 *    108  u32      CRC-32 of bytes 0..108
 *    112  frames of kind records; the key is the first offset, term and barrier are 0
 *
 *     Trailer, 48 bytes, at the very end
 *      0  8 bytes  magic: PLBACKED
 *      8  u64      salt, as in the header
 *     16  u64      end offset: the one after the last record
 *     24  u64      count of records
 *     32  u64      position of the trailer
 *     40  u32      CRC-32 of all bytes before the trailer
 *     44  u32      CRC-32 of bytes 0..44 of the trailer
 *
 * Invariants: a file is given out as whole only if every bit of it is covered by a checksum that
 * matches or known to be zero; offsets are dense; timestamps never run backwards; memory is one
 * chunk, whatever the length of the log.
 */
import { crc32 } from "node:zlib";

import { assert } from "../common/assert.js";
import { ProglogError } from "../common/errors.js";
import type { RecordBatch } from "../common/record.js";
import { countRecords } from "../common/record.js";
import type { Random } from "../common/random.js";
import { randomInteger } from "../common/random.js";
import { DamageError } from "./damage.js";
import type { DiskFile } from "./disk.js";
import { syncFile } from "./disk.js";
import type { FrameHeader } from "./frame.js";
import {
  frameBody,
  frameBytes,
  frameBytesOf,
  frameHeaderBytes,
  frameKinds,
  isBodyValid,
  isOfNewerVersion,
  readHeader,
  sealHeader,
} from "./frame.js";

export const backupHeaderBytes = 112;
export const backupTrailerBytes = 48;

const magic = Buffer.from("PLBACK01", "latin1");
/** What every version of the magic starts with. */
const magicNameBytes = 6;
const trailerMagic = Buffer.from("PLBACKED", "latin1");
const clusterIdPosition = 36;
const clusterIdBytesMax = 72;
const headerCrcPosition = 108;
const trailerCrcPosition = 44;
const saltMax = 2 ** 48;
/** How much is read, and gathered to be written, at once. */
const chunkBytes = 1024 * 1024;
const padding = Buffer.alloc(8);

/** What the head of a backup says. */
export interface BackupOrigin {
  readonly clusterId: string;
  /** Of the first record. */
  readonly startOffset: number;
  /** When it was begun, milliseconds since 1970. */
  readonly takenMs: number;
}

/** A whole backup. */
export interface BackupSummary extends BackupOrigin {
  /** Offset after the last record. */
  readonly endOffset: number;
  readonly count: number;
  /** Size of the file. */
  readonly bytes: number;
}

/** A frame of a backup that was checked. */
export interface BackupFrame {
  readonly header: FrameHeader;
  /** The whole frame. */
  readonly frame: Buffer;
}

function writeU64(target: Buffer, value: number, position: number): void {
  target.writeBigUInt64BE(BigInt(value), position);
}

/** A number that is not safe comes out as one that nothing equals. */
function readU64(source: Buffer, position: number): number {
  const value = source.readBigUInt64BE(position);
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.NaN : Number(value);
}

/** The head of a backup. */
export function encodeBackupHeader(origin: BackupOrigin, salt: number): Buffer {
  const { clusterId, startOffset, takenMs } = origin;
  assert(/^[\x21-\x7e]{1,72}$/.test(clusterId), "a cluster's id is short and plain");
  const header = Buffer.alloc(backupHeaderBytes);
  magic.copy(header);
  writeU64(header, salt, 8);
  writeU64(header, startOffset, 16);
  writeU64(header, takenMs, 24);
  header.writeUInt32BE(clusterId.length, 32);
  header.write(clusterId, clusterIdPosition, "latin1");
  header.writeUInt32BE(crc32(header.subarray(0, headerCrcPosition)), headerCrcPosition);
  return header;
}

interface Trailer {
  readonly salt: number;
  readonly endOffset: number;
  readonly count: number;
  readonly position: number;
  /** CRC-32 of all that comes before. */
  readonly checksum: number;
}

/** The end of a backup. */
export function encodeBackupTrailer(trailer: Trailer): Buffer {
  const bytes = Buffer.alloc(backupTrailerBytes);
  trailerMagic.copy(bytes);
  writeU64(bytes, trailer.salt, 8);
  writeU64(bytes, trailer.endOffset, 16);
  writeU64(bytes, trailer.count, 24);
  writeU64(bytes, trailer.position, 32);
  bytes.writeUInt32BE(trailer.checksum, 40);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, trailerCrcPosition)), trailerCrcPosition);
  return bytes;
}

/** Writes a backup from its start to its end, in one pass. */
export class BackupWriter {
  readonly #file: DiskFile;
  readonly #origin: BackupOrigin;
  readonly #salt: number;
  #endOffset: number;
  #timestampMs = 0;
  /** Where the next buffer will lie, and where those that were gathered start. */
  #position = 0;
  #writtenPosition = 0;
  #checksum = 0;
  #gathered: Buffer[] = [];

  /** @param file Empty. */
  constructor(file: DiskFile, random: Random, origin: BackupOrigin) {
    this.#file = file;
    this.#origin = origin;
    this.#endOffset = origin.startOffset;
    this.#salt = 1 + randomInteger(random, saltMax - 1);
    this.#put(encodeBackupHeader(origin, this.#salt));
  }

  /** Offset after the last record that was added. */
  get endOffset(): number {
    return this.#endOffset;
  }

  /** Bytes so far. */
  get bytes(): number {
    return this.#position;
  }

  /** Adds the records that follow; waits for the disk now and then. @throws DiskError */
  async add(batch: RecordBatch): Promise<void> {
    const { offset, count, timestampMs, records } = batch;
    assert(offset === this.#endOffset, "records of a backup follow each other without a gap");
    assert(count > 0 && timestampMs >= this.#timestampMs, "time never runs backwards along a log");
    const header = Buffer.allocUnsafe(frameHeaderBytes);
    const fields = {
      ...{ kind: frameKinds.records, preambleBytes: 0, bodyBytes: records.length },
      ...{ key: offset, term: 0, fileId: this.#salt, barrier: 0, timestampMs, count },
    };
    sealHeader(header, fields, crc32(records));
    this.#put(header);
    this.#put(records);
    this.#put(padding.subarray(0, frameBytes(0, records.length) - header.length - records.length));
    this.#endOffset = offset + count;
    this.#timestampMs = timestampMs;
    if (this.#position - this.#writtenPosition >= chunkBytes) await this.#write();
  }

  /** Ends the file; what it says is durable when this resolves. @throws DiskError */
  async finish(): Promise<BackupSummary> {
    const count = this.#endOffset - this.#origin.startOffset;
    const end = { endOffset: this.#endOffset, count };
    const place = { salt: this.#salt, position: this.#position, checksum: this.#checksum };
    this.#put(encodeBackupTrailer({ ...end, ...place }));
    await this.#write();
    await syncFile(this.#file);
    return { ...this.#origin, ...end, bytes: this.#position };
  }

  #put(bytes: Buffer): void {
    this.#checksum = crc32(bytes, this.#checksum);
    this.#gathered.push(bytes);
    this.#position += bytes.length;
  }

  async #write(): Promise<void> {
    const gathered = this.#gathered;
    const bytes = this.#position - this.#writtenPosition;
    // Many small buffers go as one: one copy costs less than a vector of thousands.
    const buffers = bytes / gathered.length < 4096 ? [Buffer.concat(gathered, bytes)] : gathered;
    await new Promise<void>((resolve, reject) => {
      this.#file.write(this.#writtenPosition, buffers, (error) => {
        if (error === undefined) resolve();
        else reject(error);
      });
    });
    this.#gathered = [];
    this.#writtenPosition = this.#position;
  }
}

/** Reads a backup, and takes nothing in it on trust. */
export class BackupReader {
  readonly origin: BackupOrigin;
  readonly #file: DiskFile;
  readonly #salt: number;
  readonly #trailer: Trailer;

  /**
   * Reads head and end.
   *
   * @throws DamageError if it is no backup, is cut short, or either is damaged.
   */
  static async open(file: DiskFile): Promise<BackupReader> {
    const bytes = await file.size();
    const header = await file.read(0, backupHeaderBytes);
    checkMagic(file.path, header);
    if (bytes < backupHeaderBytes + backupTrailerBytes) throw cutShort(file.path, bytes);
    const salt = readU64(header, 8);
    const origin = decodeOrigin(header);
    if (origin === undefined) throw new DamageError(file.path, 0, "the head is damaged");
    const position = bytes - backupTrailerBytes;
    const trailer = decodeTrailer(await file.read(position, backupTrailerBytes));
    const isOurs = trailer?.salt === salt && trailer.position === position;
    if (trailer === undefined || !isOurs) throw cutShort(file.path, bytes);
    return new BackupReader(file, origin, salt, trailer);
  }

  private constructor(file: DiskFile, origin: BackupOrigin, salt: number, trailer: Trailer) {
    this.#file = file;
    this.origin = origin;
    this.#salt = salt;
    this.#trailer = trailer;
  }

  /** What the file says of itself; it is so if `frames` comes to its end. */
  get summary(): BackupSummary {
    const { endOffset, count, position } = this.#trailer;
    return { ...this.origin, endOffset, count, bytes: position + backupTrailerBytes };
  }

  /**
   * Reads all frames in order, each once it was checked. Only when it ends is the file known to be
   * whole: what was given before may be sound and the rest not.
   *
   * @throws DamageError at the first byte that is not what was written.
   */
  async *frames(): AsyncGenerator<BackupFrame, void, undefined> {
    const { path } = this.#file;
    const end = this.#trailer.position;
    let position = backupHeaderBytes;
    let offset = this.origin.startOffset;
    let timestampMs = 0;
    let checksum = crc32(await this.#file.read(0, backupHeaderBytes));
    let chunk: Buffer = Buffer.alloc(0);
    let at = 0;
    while (position < end) {
      const header = readHeader(chunk, at);
      const wanted = header === undefined ? frameHeaderBytes : frameBytesOf(header);
      if (chunk.length - at < Math.min(wanted, end - position)) {
        chunk = await this.#read(position, Math.min(end - position, Math.max(chunkBytes, wanted)));
        at = 0;
        continue;
      }
      if (header === undefined || !this.#isOurs(header, chunk, at)) {
        const what = isOfNewerVersion(chunk, at) ? "was written by a newer version" : "is damaged";
        throw new DamageError(path, position, `a frame ${what}`);
      }
      const frame = chunk.subarray(at, at + wanted);
      if (header.key !== offset || header.timestampMs < timestampMs) {
        throw new DamageError(path, position, `offset ${String(offset)} should follow`);
      }
      checkRecords(path, position, { header, frame });
      checksum = crc32(frame, checksum);
      offset += header.count;
      timestampMs = header.timestampMs;
      position += wanted;
      at += wanted;
      yield { header, frame };
    }
    this.#checkEnd(offset, checksum);
  }

  async #read(position: number, bytes: number): Promise<Buffer> {
    const found = await this.#file.read(position, bytes);
    if (found.length < bytes) throw cutShort(this.#file.path, position + found.length);
    return found;
  }

  #isOurs(header: FrameHeader, chunk: Buffer, at: number): boolean {
    return (
      header.kind === frameKinds.records &&
      header.fileId === this.#salt &&
      header.preambleBytes === 0 &&
      header.count > 0 &&
      isBodyValid(chunk, at, header)
    );
  }

  #checkEnd(offset: number, checksum: number): void {
    const { endOffset, count, position } = this.#trailer;
    const isWhole = offset === endOffset && count === endOffset - this.origin.startOffset;
    if (isWhole && checksum === this.#trailer.checksum) return;
    throw new DamageError(this.#file.path, position, "the records are not those that were saved");
  }
}

/** Lengths that do not fit would be served as other records than were saved. */
function checkRecords(path: string, position: number, { header, frame }: BackupFrame): void {
  try {
    const count = countRecords(frameBody(frame, 0, header), Number.MAX_SAFE_INTEGER);
    if (count === header.count) return;
  } catch (error) {
    if (!(error instanceof ProglogError)) throw error;
  }
  throw new DamageError(path, position, "the records of a frame are not encoded as records");
}

function checkMagic(path: string, header: Buffer): void {
  const found = header.subarray(0, magic.length);
  if (found.equals(magic)) return;
  const name = magic.subarray(0, magicNameBytes);
  const isBackup = found.subarray(0, magicNameBytes).equals(name);
  const isOtherVersion = isBackup && /^\d\d$/.test(found.toString("latin1", magicNameBytes));
  const what = isOtherVersion ? "it was written by a newer version of proglog" : "it is no backup";
  throw new DamageError(path, 0, what);
}

function decodeOrigin(header: Buffer): BackupOrigin | undefined {
  const crc = crc32(header.subarray(0, headerCrcPosition));
  if (crc !== header.readUInt32BE(headerCrcPosition)) return undefined;
  const startOffset = readU64(header, 16);
  const takenMs = readU64(header, 24);
  const clusterIdBytes = header.readUInt32BE(32);
  const isSafe = Number.isSafeInteger(startOffset) && Number.isSafeInteger(takenMs);
  if (!isSafe || clusterIdBytes > clusterIdBytesMax) return undefined;
  const clusterId = header.toString(
    "latin1",
    clusterIdPosition,
    clusterIdPosition + clusterIdBytes,
  );
  return { clusterId, startOffset, takenMs };
}

function decodeTrailer(bytes: Buffer): Trailer | undefined {
  if (bytes.length < backupTrailerBytes) return undefined;
  if (!bytes.subarray(0, trailerMagic.length).equals(trailerMagic)) return undefined;
  const crc = crc32(bytes.subarray(0, trailerCrcPosition));
  if (crc !== bytes.readUInt32BE(trailerCrcPosition)) return undefined;
  return {
    salt: readU64(bytes, 8),
    endOffset: readU64(bytes, 16),
    count: readU64(bytes, 24),
    position: readU64(bytes, 32),
    checksum: bytes.readUInt32BE(40),
  };
}

function cutShort(path: string, position: number): DamageError {
  return new DamageError(path, position, "the end is missing or damaged: the file was cut short");
}
