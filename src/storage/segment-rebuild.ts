/**
 * Makes a whole copy of a segment out of several that may each be damaged, frame by frame.
 *
 * A sealed segment is the same bytes on every node, so a frame that is valid and in its place in
 * any copy is the frame: what is sound at home is copied, and only the rest comes from elsewhere.
 * The copy is finished only if the whole of it has the checksum that the segment must have; it is
 * never put together by guess, and nothing but the draft is written.
 */
import { crc32 } from "node:zlib";

import { DamageError } from "./damage.js";
import type { DiskFile } from "./disk.js";
import { writeAll } from "./disk.js";
import { frameBytesOf, frameHeaderBytes, isBodyValid, readHeader } from "./frame.js";
import type { SegmentRef } from "./segment.js";
import { isFrameOf, storeName } from "./segment.js";
import { SparseIndex } from "./sparse-index.js";

/** A copy of the segment that may be damaged. */
export interface SegmentCopy {
  /** Who has it: for the log. */
  readonly name: string;
  /** Read at once. */
  readonly readBytes: number;
  /**
   * Bytes at a position.
   *
   * @returns Fewer, or none, if the copy has no more or they can't be read. What it throws keeps
   *   it from being asked again.
   */
  read(position: number, bytes: number): Promise<Buffer>;
}

export interface RebuildParts {
  /** What the segment must be. */
  readonly ref: SegmentRef;
  readonly draft: DiskFile;
  /** The first that has a frame whole is the one that it is taken from. */
  readonly copies: readonly SegmentCopy[];
  /** Awaited after so many bytes: bounds the rate. */
  readonly pace: (bytes: number) => Promise<void>;
  readonly signal: AbortSignal;
}

export interface Rebuilt {
  readonly index: SparseIndex;
  /** Bytes of frames taken from each copy, by its name. */
  readonly bytesOf: ReadonlyMap<string, number>;
}

/** Every frame was found, and all together they are not what the segment must be. */
export class SegmentDiffersError extends Error {
  override readonly name = "SegmentDiffersError";
}

/** Bytes written at once. */
const writeBytes = 256 * 1024;

interface FoundFrame {
  readonly bytes: Buffer;
  readonly count: number;
  readonly from: string;
}

/**
 * Writes the segment into the draft. The caller syncs it.
 *
 * @throws DamageError if no copy has one of the frames; SegmentDiffersError; DiskError.
 */
export async function rebuildSegment(parts: RebuildParts): Promise<Rebuilt> {
  const { ref, draft, pace, signal } = parts;
  const windows = parts.copies.map((copy) => new Window(copy, ref));
  const index = new SparseIndex();
  const bytesOf = new Map<string, number>();
  let [position, offset, checksum] = [0, ref.baseOffset, 0];
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  const flush = async (): Promise<void> => {
    signal.throwIfAborted();
    if (pendingBytes === 0) return;
    await writeAll(draft, position - pendingBytes, Buffer.concat(pending, pendingBytes));
    await pace(pendingBytes);
    pending = [];
    pendingBytes = 0;
  };
  while (position < ref.bytes) {
    const frame = await findFrame(windows, ref, { position, offset });
    index.add(offset - ref.baseOffset, position);
    checksum = crc32(frame.bytes, checksum);
    bytesOf.set(frame.from, (bytesOf.get(frame.from) ?? 0) + frame.bytes.length);
    pending.push(frame.bytes);
    pendingBytes += frame.bytes.length;
    position += frame.bytes.length;
    offset += frame.count;
    if (pendingBytes >= writeBytes) await flush();
  }
  await flush();
  if (checksum !== ref.checksum || offset !== ref.endOffset) {
    const what = "all its frames are whole, and are not the ones that were written";
    throw new SegmentDiffersError(`${storeName(ref.baseOffset)}: ${what}`);
  }
  return { index, bytesOf };
}

interface Place {
  readonly position: number;
  readonly offset: number;
}

async function findFrame(
  windows: readonly Window[],
  ref: SegmentRef,
  place: Place,
): Promise<FoundFrame> {
  for (const window of windows) {
    const frame = await window.frame(place);
    if (frame !== undefined) return frame;
  }
  const faults = windows.flatMap(({ name, fault }) =>
    fault === undefined ? [] : [`${name}: ${fault}`],
  );
  const why = faults.length === 0 ? "" : `; not asked in the end: ${faults.join(", ")}`;
  const what = `no copy of offset ${String(place.offset)} that could be read is whole${why}`;
  throw new DamageError(storeName(ref.baseOffset), place.position, what);
}

/** A stretch of a copy in memory: frames are small, and reading each by itself is slow. */
class Window {
  /** Why the copy is not asked any more. */
  fault: string | undefined;
  readonly #copy: SegmentCopy;
  readonly #ref: SegmentRef;
  #position = 0;
  #bytes: Buffer = Buffer.alloc(0);
  /** Below it nothing could be read. */
  #emptyTo = 0;

  constructor(copy: SegmentCopy, ref: SegmentRef) {
    this.#copy = copy;
    this.#ref = ref;
  }

  get name(): string {
    return this.#copy.name;
  }

  /** The frame at a place, if it is whole here and the one that belongs there. */
  async frame({ position, offset }: Place): Promise<FoundFrame | undefined> {
    const { baseOffset, bytes, endOffset } = this.#ref;
    const header = readHeader(await this.#read(position, frameHeaderBytes), 0);
    if (header === undefined || !isFrameOf(baseOffset, header)) return undefined;
    const { key, count } = header;
    const length = frameBytesOf(header);
    const fits = position + length <= bytes && offset + count <= endOffset;
    if (key !== offset || count === 0 || !fits) return undefined;
    const frame = await this.#read(position, length);
    if (!isBodyValid(frame, 0, header)) return undefined;
    return { bytes: frame, count, from: this.name };
  }

  /** Bytes at a position, fewer if there are no more. */
  async #read(position: number, bytes: number): Promise<Buffer> {
    const at = position - this.#position;
    const isThere = at >= 0 && at + bytes <= this.#bytes.length;
    if (!isThere && this.fault === undefined && position >= this.#emptyTo) {
      await this.#fill(position, Math.max(bytes, this.#copy.readBytes));
    }
    const from = position - this.#position;
    if (from < 0 || from > this.#bytes.length) return Buffer.alloc(0);
    return this.#bytes.subarray(from, from + bytes);
  }

  async #fill(position: number, bytes: number): Promise<void> {
    const wanted = Math.min(bytes, this.#ref.bytes - position);
    this.#position = position;
    try {
      this.#bytes = wanted <= 0 ? Buffer.alloc(0) : await this.#copy.read(position, wanted);
    } catch (error) {
      this.fault = (error as Error).message;
      this.#bytes = Buffer.alloc(0);
    }
    if (this.#bytes.length === 0) this.#emptyTo = position + wanted;
  }
}
