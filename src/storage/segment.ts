/**
 * A segment of the commit log: a store (frames of records, one after the other) and its index.
 *
 * Only the last segment of a log, the active one, grows; the others are sealed and never change.
 * Frames hold nothing that differs from node to node, so sealed segments are the same bytes on
 * every node and can be compared by checksum and copied as they are.
 */
import { assert } from "../common/assert.js";
import { DamageError } from "./damage.js";
import type { Disk, DiskFile } from "./disk.js";
import { DiskError, readWholeFile, replaceFile } from "./disk.js";
import type { FrameHeader } from "./frame.js";
import {
  frameBytesOf,
  frameHeaderBytes,
  frameKinds,
  isBodyValid,
  isOfNewerVersion,
  readHeader,
} from "./frame.js";
import { SparseIndex } from "./sparse-index.js";

/** What a checkpoint and a snapshot say of a segment. */
export interface SegmentRef {
  readonly baseOffset: number;
  /** Offset after its last record. */
  readonly endOffset: number;
  readonly bytes: number;
  /** CRC-32 of its bytes. */
  readonly checksum: number;
}

/** A frame found in a segment. */
export interface LocatedFrame {
  readonly header: FrameHeader;
  readonly position: number;
  /** The whole frame. */
  readonly bytes: Buffer;
}

/** How much is read from the disk at once. */
const readBytes = 256 * 1024;

/** `00000000000000000042.log` for base offset 42. */
export function storeName(baseOffset: number): string {
  return `${String(baseOffset).padStart(20, "0")}.log`;
}

export function indexName(baseOffset: number): string {
  return `${String(baseOffset).padStart(20, "0")}.index`;
}

/** The base offset in a store's name; undefined if it is not one. */
export function baseOffsetOf(name: string): number | undefined {
  const match = /^(\d{20})\.log$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}

export class Segment {
  readonly baseOffset: number;
  endOffset: number;
  /** Bytes handed to the segment, written or not. */
  bytes = 0;
  /** Bytes that have reached the file. */
  writtenBytes = 0;
  /** CRC-32 of `bytes`. */
  checksum = 0;
  isSealed = false;
  /** Bytes that are durable. */
  syncedBytes = 0;
  /** Sealed, wholly in its file, and its index too: neither is written to any more. */
  isSettled = false;
  #isRetired = false;
  #readerCount = 0;
  readonly #disk: Disk;
  readonly #directory: string;
  #index: SparseIndex | undefined;
  #file: DiskFile | undefined;
  #opening: Promise<DiskFile> | undefined;

  constructor(disk: Disk, directory: string, baseOffset: number, index?: SparseIndex) {
    this.#disk = disk;
    this.#directory = directory;
    this.baseOffset = baseOffset;
    this.endOffset = baseOffset;
    this.#index = index;
  }

  get path(): string {
    return `${this.#directory}/${storeName(this.baseOffset)}`;
  }

  get ref(): SegmentRef {
    const { baseOffset, endOffset, bytes, checksum } = this;
    return { baseOffset, endOffset, bytes, checksum };
  }

  /** The open store, if it is open. */
  get openFile(): DiskFile | undefined {
    return this.#file;
  }

  /** Notes a frame at the end of an active segment. */
  noteFrame(offset: number, position: number): void {
    this.#index?.add(offset - this.baseOffset, position);
  }

  async create(): Promise<DiskFile> {
    const names = await this.#disk.list(this.#directory);
    if (names.includes(storeName(this.baseOffset))) await this.#disk.remove(this.path);
    this.#file = await this.#disk.create(this.path);
    return this.#file;
  }

  async file(): Promise<DiskFile> {
    if (this.#file !== undefined) return this.#file;
    this.#opening ??= this.#open();
    return this.#opening;
  }

  async #open(): Promise<DiskFile> {
    try {
      const file = await this.#disk.open(this.path);
      this.#file = file;
      return file;
    } catch (error) {
      if (!(error instanceof DiskError) || error.fault !== "not-found") throw error;
      throw new DamageError(this.path, 0, "the file is missing", error);
    } finally {
      this.#opening = undefined;
    }
  }

  /** True while frames are read from it: its file must stay open. */
  get isBeingRead(): boolean {
    return this.#readerCount > 0 || this.#opening !== undefined;
  }

  /** Gives the file of a sealed segment back at once; nobody reads it, and it opens again. */
  release(): void {
    assert(this.isSealed && !this.isBeingRead, "only an idle sealed segment is released");
    const file = this.#file;
    this.#file = undefined;
    this.#index = undefined;
    void file?.close();
  }

  /** Another file has its name now: the old one is closed when its last reader is done. */
  retire(): void {
    this.#isRetired = true;
    this.#closeIfRetired();
  }

  #closeIfRetired(): void {
    if (this.#isRetired && !this.isBeingRead) this.release();
  }

  /** True if it is settled, and durable. */
  get isAtRest(): boolean {
    return this.isSettled && this.syncedBytes === this.bytes;
  }

  async close(): Promise<void> {
    if (this.isSealed) this.#index = undefined;
    await this.#opening?.catch(() => undefined);
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  /** Writes the index beside a sealed store. Losing it costs a scan. */
  async saveIndex(): Promise<void> {
    await this.saveIndexAs(await this.#usableIndex());
  }

  async saveIndexAs(index: SparseIndex): Promise<void> {
    const path = `${this.#directory}/${indexName(this.baseOffset)}`;
    await replaceFile(this.#disk, path, index.encode(this));
    // From now on it can be had back from its file.
    this.#index = undefined;
  }

  /** The index: from memory, from its file, or made anew from the frames. */
  async #usableIndex(): Promise<SparseIndex> {
    this.#index ??= (await this.#loadIndex()) ?? (await this.#rebuildIndex());
    return this.#index;
  }

  async #loadIndex(): Promise<SparseIndex | undefined> {
    const names = await this.#disk.list(this.#directory);
    if (!names.includes(indexName(this.baseOffset))) return undefined;
    const bytes = await readWholeFile(
      this.#disk,
      `${this.#directory}/${indexName(this.baseOffset)}`,
    );
    return SparseIndex.decode(bytes, this);
  }

  async #rebuildIndex(): Promise<SparseIndex> {
    const index = new SparseIndex();
    for await (const { header, position } of this.frames(0)) {
      index.add(header.key - this.baseOffset, position);
    }
    return index;
  }

  /**
   * Reads the frames from the one that holds an offset on.
   *
   * @throws DamageError at the first frame that is not what was written.
   */
  async *framesFrom(offset: number): AsyncGenerator<LocatedFrame, void, undefined> {
    const index = await this.#usableIndex();
    for await (const frame of this.frames(index.floor(offset - this.baseOffset))) {
      if (frame.header.key + frame.header.count > offset) yield frame;
    }
  }

  /** Position of the last indexed frame whose timestamp is before the time. */
  async positionBefore(timestampMs: number): Promise<number> {
    return this.#reading(async (file) => this.#positionBefore(file, timestampMs));
  }

  /** Bytes as they lie in the store. @throws DamageError if it is shorter than what was written. */
  async readRaw(position: number, bytes: number): Promise<Buffer> {
    return this.#reading(async (file) => {
      const data = await this.#read(file, position, bytes);
      if (data.length < bytes) throw this.#tooShort(position + data.length);
      return data;
    });
  }

  async #reading<T>(read: (file: DiskFile) => Promise<T>): Promise<T> {
    this.#readerCount += 1;
    try {
      return await read(await this.file());
    } finally {
      this.#readerCount -= 1;
      this.#closeIfRetired();
    }
  }

  #tooShort(bytes: number): DamageError {
    return new DamageError(this.path, bytes, "the file is shorter than what was written");
  }

  /** Bytes that the disk can't give back are as good as wrong ones. */
  async #read(file: DiskFile, position: number, bytes: number): Promise<Buffer> {
    try {
      return await file.read(position, bytes);
    } catch (error) {
      // A file that was closed meanwhile is no fault of the disk.
      const isFault = error instanceof DiskError && error.fault === "io" && this.#file === file;
      if (!isFault) throw error;
      throw new DamageError(this.path, position, "the disk can't read it", error);
    }
  }

  async #positionBefore(file: DiskFile, timestampMs: number): Promise<number> {
    const index = await this.#usableIndex();
    let low = 0;
    let high = index.countBelow(this.writtenBytes);
    while (low < high) {
      const middle = (low + high) >> 1;
      const position = index.positionAt(middle);
      const header = readHeader(await this.#read(file, position, frameHeaderBytes + 0xffff), 0);
      if (header === undefined) throw new DamageError(this.path, position, "a frame is damaged");
      if (header.timestampMs < timestampMs) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : index.positionAt(low - 1);
  }

  /** Reads the frames from a position on, which must be a frame's start, up to what is written. */
  async *frames(from: number): AsyncGenerator<LocatedFrame, void, undefined> {
    this.#readerCount += 1;
    try {
      yield* this.#frames(await this.file(), from);
    } finally {
      this.#readerCount -= 1;
      this.#closeIfRetired();
    }
  }

  async *#frames(file: DiskFile, from: number): AsyncGenerator<LocatedFrame, void, undefined> {
    let chunk: Buffer = Buffer.alloc(0);
    let chunkPosition = from;
    let position = from;
    while (position < this.writtenBytes) {
      const at = position - chunkPosition;
      const located = locate(chunk, at, position);
      if (located !== undefined && this.#isOurs(located.header, chunk, at)) {
        yield located;
        position += located.bytes.length;
        continue;
      }
      const wanted = this.#wanted(chunk, at);
      if (
        located !== undefined ||
        chunk.length - at >= Math.min(wanted, this.writtenBytes - position)
      ) {
        const isNewer = isOfNewerVersion(chunk, at);
        const what = isNewer ? "was written by a newer version of proglog" : "is damaged";
        throw new DamageError(this.path, position, `a frame ${what}`);
      }
      // Taken once: the segment may grow while this reads.
      const readable = Math.min(wanted, this.writtenBytes - position);
      chunk = await this.#read(file, position, readable);
      chunkPosition = position;
      if (chunk.length < readable) throw this.#tooShort(position + chunk.length);
    }
  }

  /** Bytes to read for the frame at a place: its own length if its header is there. */
  #wanted(chunk: Buffer, at: number): number {
    const header = readHeader(chunk, at);
    return header === undefined ? readBytes : Math.max(readBytes, frameBytesOf(header));
  }

  #isOurs(header: FrameHeader, chunk: Buffer, at: number): boolean {
    return (
      header.key >= this.baseOffset &&
      isFrameOf(this.baseOffset, header) &&
      isBodyValid(chunk, at, header)
    );
  }
}

/** True if the header is one of records, of the segment with this base offset. */
export function isFrameOf(baseOffset: number, header: FrameHeader): boolean {
  return header.fileId === baseOffset && header.kind === frameKinds.records;
}

/** The frame at a place of a chunk, if the whole of it is there. */
function locate(chunk: Buffer, at: number, position: number): LocatedFrame | undefined {
  const header = readHeader(chunk, at);
  if (header === undefined) return undefined;
  const end = at + frameBytesOf(header);
  if (end > chunk.length) return undefined;
  return { header, position, bytes: chunk.subarray(at, end) };
}
