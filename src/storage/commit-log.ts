/**
 * The commit log: committed records by offset, in segments, only ever appended to.
 *
 * Appends are taken at once and written behind; `sync`, called for a checkpoint, makes them
 * durable. What a crash takes from here the Raft log still holds: a start cuts this log back to
 * its checkpoint and the state machine plays the rest again. So nothing here is ever cut at the
 * tail but at a start, and readers never see an uncommitted byte.
 *
 * Invariants: offsets are dense; a frame never spans segments; where segments end depends only on
 * the frames and the cluster's segment size, so they are alike on every node.
 * A full disk delays the writing (`isFull`); any other fault is final (`onFailed`).
 */
import { crc32 } from "node:zlib";

import { assert, present } from "../common/assert.js";
import type { Clock, Timer } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { RecordBatch } from "../common/record.js";
import { recordPosition } from "../common/record.js";
import { DamageError } from "./damage.js";
import type { Disk, DiskFile } from "./disk.js";
import { DiskError, syncFile } from "./disk.js";
import type { FrameHeader } from "./frame.js";
import { frameBody, frameBytes, frameHeaderBytes, frameKinds, sealHeader } from "./frame.js";
import type { LocatedFrame, SegmentRef } from "./segment.js";
import { Segment, indexName, storeName } from "./segment.js";
import { SparseIndex } from "./sparse-index.js";
import { TailCache } from "./tail-cache.js";

export interface CommitLogOptions {
  readonly directory: string;
  readonly tailCacheBytes: number;
  /** Most bytes per write call. */
  readonly writeBytesMax: number;
  /** Less than this waits a little for more: one write for many small appends. */
  readonly writeBytesMin: number;
  /** How long it waits. */
  readonly writeDelayMs: number;
  /** Synced in the background whenever so much is not: a checkpoint then waits for little. */
  readonly syncBytes: number;
  /** Written behind; beyond it `isBehind` asks the state machine to wait. */
  readonly unwrittenBytesMax: number;
  /** How long to wait before a full disk is tried again. */
  readonly fullRetryMs: number;
  /** Stores kept open for reading. */
  readonly openFilesMax: number;
}

export const commitLogDefaults: CommitLogOptions = Object.freeze({
  directory: "log",
  tailCacheBytes: 64 * 1024 * 1024,
  writeBytesMax: 1024 * 1024,
  writeBytesMin: 256 * 1024,
  writeDelayMs: 10,
  syncBytes: 1024 * 1024,
  unwrittenBytesMax: 32 * 1024 * 1024,
  fullRetryMs: 500,
  openFilesMax: 32,
});

/** Records to append: what the state machine took from an entry. */
export interface CommitLogAppend {
  readonly count: number;
  readonly term: number;
  readonly timestampMs: number;
  readonly records: Buffer;
  /** CRC-32 of `records`. */
  readonly recordsCrc: number;
}

interface QueuedWrite {
  readonly segment: Segment;
  readonly position: number;
  readonly buffers: readonly Buffer[];
  readonly bytes: number;
  readonly cached: ReturnType<TailCache["add"]>;
}

/** Where the log stands: what a checkpoint keeps. */
export interface CommitLogState {
  /** Oldest first; the last one is active, up to the bytes it names. */
  readonly segments: readonly SegmentRef[];
  readonly endOffset: number;
}

export const emptyCommitLog: CommitLogState = { segments: [], endOffset: 0 };

interface SyncWaiter {
  /** Everything below this offset is to be durable. */
  readonly offset: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Writes a copy of a segment into the draft, from its start, and says where its frames are. */
export type SegmentWriter = (draft: DiskFile, signal: AbortSignal) => Promise<SparseIndex>;

/** Told of damage in a sealed segment. */
export type SegmentDamageListener = (baseOffset: number, damage: DamageError) => void;

const padding = Buffer.alloc(8);

export class CommitLog {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #options: CommitLogOptions;
  readonly #onFailed: (error: Error) => void;
  readonly #tail: TailCache;
  #segments: Segment[] = [];
  #endOffset = 0;
  /** Offset after the last record that has reached its file. */
  #writtenOffset = 0;
  #queue: QueuedWrite[] = [];
  #unwrittenBytes = 0;
  #isWriting = false;
  #isClosed = false;
  #closed: Promise<void> | undefined;
  #isFull = false;
  #hasFailed = false;
  /** Segments with written bytes that are not synced. */
  readonly #unsynced = new Set<Segment>();
  #unsyncedBytes = 0;
  /** A store or an index was created since the directory was synced. */
  #isDirectoryNew = false;
  #syncWaiters: SyncWaiter[] = [];
  readonly #openOrder: Segment[] = [];
  #onDamage: SegmentDamageListener = () => undefined;
  /** The replacement of a segment that is under way, and how it is called off. */
  #replacing: { readonly stop: AbortController; readonly done: Promise<unknown> } | undefined;
  #isInstalling = false;

  /**
   * Opens the log as it was at a checkpoint: what came later is cut off, to be played again.
   *
   * @throws DamageError if what the checkpoint names is missing or damaged where it must be whole.
   */
  static async open(
    disk: Disk,
    clock: Clock,
    state: CommitLogState,
    options: CommitLogOptions,
    onFailed: (error: Error) => void,
  ): Promise<CommitLog> {
    const log = new CommitLog(disk, clock, options, onFailed);
    await disk.makeDirectory(options.directory);
    await disk.syncDirectory("");
    await log.#restore(state);
    return log;
  }

  private constructor(
    disk: Disk,
    clock: Clock,
    options: CommitLogOptions,
    onFailed: (error: Error) => void,
  ) {
    this.#disk = disk;
    this.#clock = clock;
    this.#options = options;
    this.#onFailed = onFailed;
    this.#tail = new TailCache(options.tailCacheBytes);
  }

  /** First offset that is held. */
  get startOffset(): number {
    return this.#segments[0]?.baseOffset ?? this.#endOffset;
  }

  /** Offset after the last record: the high watermark. */
  get endOffset(): number {
    return this.#endOffset;
  }

  /** True if writing lags so far behind that nothing more should be applied now. */
  get isBehind(): boolean {
    return this.#unwrittenBytes > this.#options.unwrittenBytesMax;
  }

  /** True while the disk has no room. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** What a checkpoint taken now would name. */
  state(): CommitLogState {
    return { segments: this.#segments.map((segment) => segment.ref), endOffset: this.#endOffset };
  }

  /**
   * Looks at everything before it changes anything: what the checkpoint names must be there; then
   * what came after it is cut off.
   */
  async #restore(state: CommitLogState): Promise<void> {
    const { directory } = this.#options;
    const names = await this.#disk.list(directory);
    const known = new Set(state.segments.flatMap((ref) => filesOf(ref.baseOffset)));
    const endOffset = state.segments.at(-1)?.endOffset ?? 0;
    assert(endOffset === state.endOffset, "a log ends where its last segment ends");
    const segments: Segment[] = [];
    for (const [ordinal, ref] of state.segments.entries()) {
      const isActive = ordinal === state.segments.length - 1;
      const segment = await this.#restoreSegment(ref, isActive, names);
      assert(
        segment.baseOffset === (segments.at(-1)?.endOffset ?? segment.baseOffset),
        "segments follow each other without a gap",
      );
      segments.push(segment);
    }
    for (const name of names) {
      if (!known.has(name)) await this.#disk.remove(`${directory}/${name}`);
    }
    const active = await segments.at(-1)?.file();
    await active?.truncate(segments.at(-1)?.bytes ?? 0);
    if (active !== undefined) await syncFile(active);
    await this.#disk.syncDirectory(directory);
    this.#segments = segments;
    this.#endOffset = state.endOffset;
    this.#writtenOffset = state.endOffset;
  }

  async #restoreSegment(
    ref: SegmentRef,
    isActive: boolean,
    names: readonly string[],
  ): Promise<Segment> {
    const { directory } = this.#options;
    const segment = new Segment(this.#disk, directory, ref.baseOffset);
    if (!names.includes(storeName(ref.baseOffset))) {
      throw new DamageError(segment.path, 0, "the file is missing");
    }
    const bytes = await (await segment.file()).size();
    await segment.close();
    if (bytes < ref.bytes) {
      throw new DamageError(segment.path, bytes, "the file is shorter than its checkpoint says");
    }
    if (isActive) return this.#readThrough(ref);
    // A sealed segment is taken at its word; each read checks the frames it touches.
    return this.#sealed(segment, ref);
  }

  /** A sealed segment as it lies on the disk, durable. */
  #sealed(segment: Segment, ref: SegmentRef): Segment {
    segment.endOffset = ref.endOffset;
    segment.bytes = ref.bytes;
    segment.writtenBytes = ref.bytes;
    segment.syncedBytes = ref.bytes;
    segment.checksum = ref.checksum;
    segment.isSealed = true;
    segment.isSettled = true;
    return segment;
  }

  /** The active segment is read through, up to the checkpoint. */
  async #readThrough(ref: SegmentRef): Promise<Segment> {
    const { directory } = this.#options;
    const segment = new Segment(this.#disk, directory, ref.baseOffset, new SparseIndex());
    segment.writtenBytes = ref.bytes;
    for await (const { header, position, bytes } of segment.frames(0)) {
      segment.noteFrame(header.key, position);
      segment.checksum = crc32(bytes, segment.checksum);
      segment.endOffset = header.key + header.count;
    }
    segment.bytes = ref.bytes;
    segment.syncedBytes = ref.bytes;
    if (segment.checksum !== ref.checksum || segment.endOffset !== ref.endOffset) {
      throw new DamageError(segment.path, 0, "the segment is not the one its checkpoint names");
    }
    return segment;
  }

  /**
   * Appends records; readers see them at once, the disk soon after.
   *
   * @param segmentBytes The cluster's segment size: a frame that would pass it starts a new one.
   * @returns Offset of the first record.
   */
  append(append: CommitLogAppend, segmentBytes: number): number {
    const { count, term, timestampMs, records } = append;
    assert(count > 0, "an append holds records");
    assert(!this.#isClosed, "a closed log takes no appends");
    const offset = this.#endOffset;
    const bytes = frameBytes(0, records.length);
    const segment = this.#segmentFor(bytes, segmentBytes);
    const header = Buffer.allocUnsafeSlow(frameHeaderBytes);
    sealHeader(
      header,
      {
        kind: frameKinds.records,
        preambleBytes: 0,
        bodyBytes: records.length,
        key: offset,
        term,
        fileId: segment.baseOffset,
        barrier: 0,
        timestampMs,
        count,
      },
      append.recordsCrc,
    );
    const pad = bytes - frameHeaderBytes - records.length;
    const buffers = pad === 0 ? [header, records] : [header, records, padding.subarray(0, pad)];
    const position = segment.bytes;
    for (const buffer of buffers) segment.checksum = crc32(buffer, segment.checksum);
    segment.noteFrame(offset, position);
    segment.bytes += bytes;
    segment.endOffset = offset + count;
    this.#endOffset = offset + count;
    const cached = this.#tail.add({ offset, count, timestampMs, records });
    this.#queue.push({ segment, position, buffers, bytes, cached });
    this.#unwrittenBytes += bytes;
    this.#pump();
    return offset;
  }

  #segmentFor(bytes: number, segmentBytes: number): Segment {
    const active = this.#segments.at(-1);
    const fits =
      active !== undefined && (active.bytes === 0 || active.bytes + bytes <= segmentBytes);
    if (fits) return active;
    if (active !== undefined) active.isSealed = true;
    const { directory } = this.#options;
    const segment = new Segment(this.#disk, directory, this.#endOffset, new SparseIndex());
    this.#segments.push(segment);
    return segment;
  }

  /** One write or one sync at a time. */
  #pump(): void {
    if (this.#isWriting || this.#hasFailed) return;
    // A sync comes as soon as what it is for is written: a steady stream must not put it off.
    const isAskedFor = (this.#syncWaiters[0]?.offset ?? Infinity) <= this.#writtenOffset;
    if (isAskedFor || this.#unsyncedBytes >= this.#options.syncBytes) {
      this.#syncAll();
      return;
    }
    const first = this.#queue[0];
    if (first === undefined || this.#mayWait()) return;
    this.#isWriting = true;
    const file = first.segment.openFile;
    if (file === undefined) this.#startSegment(first.segment);
    else this.#writeGroup(first.segment, file);
  }

  /**
   * Readers have it from memory and the Raft log holds it: writing can wait for more, as long as
   * nobody wants it durable.
   */
  #mayWait(): boolean {
    const isUrgent = this.#syncWaiters.length > 0 || this.#isClosed;
    if (isUrgent || this.#isDue || this.#unwrittenBytes >= this.#options.writeBytesMin)
      return false;
    this.#delay ??= this.#clock.setTimer(this.#options.writeDelayMs, () => {
      this.#delay = undefined;
      this.#isDue = true;
      this.#pump();
    });
    return true;
  }

  #delay: Timer | undefined;
  #isDue = false;

  #writeGroup(segment: Segment, file: DiskFile): void {
    const group: QueuedWrite[] = [];
    let bytes = 0;
    for (const write of this.#queue) {
      const isOver = bytes > 0 && bytes + write.bytes > this.#options.writeBytesMax;
      if (write.segment !== segment || isOver) break;
      group.push(write);
      bytes += write.bytes;
    }
    this.#isDue = false;
    const buffers = group.flatMap((write) => write.buffers);
    const isSmall = bytes / buffers.length < 4096;
    const parts = isSmall && buffers.length > 4 ? [Buffer.concat(buffers, bytes)] : buffers;
    file.write(segment.writtenBytes, parts, (error) => {
      this.#isWriting = false;
      if (error !== undefined) {
        this.#onWriteError(error);
        return;
      }
      this.#isFull = false;
      this.#queue = this.#queue.slice(group.length);
      this.#unwrittenBytes -= bytes;
      segment.writtenBytes += bytes;
      this.#unsyncedBytes += bytes;
      this.#unsynced.add(segment);
      for (const { cached } of group) {
        this.#tail.written(cached);
        this.#writtenOffset = cached.batch.offset + cached.batch.count;
      }
      this.#pump();
    });
  }

  /** Nothing was promised for these bytes yet: on a full disk the same write is tried again. */
  #onWriteError(error: Error): void {
    if (!(error instanceof DiskError) || error.fault !== "full") {
      this.#fail(error);
      return;
    }
    this.#isFull = true;
    this.#isWriting = true;
    for (const { reject } of this.#syncWaiters) reject(error);
    this.#syncWaiters = [];
    this.#clock.setTimer(this.#options.fullRetryMs, () => {
      this.#isWriting = false;
      if (!this.#isClosed) this.#pump();
    });
  }

  /** Creates the store of a new segment, and finishes the one before it. */
  #startSegment(segment: Segment): void {
    const ordinal = this.#segments.indexOf(segment);
    const sealed = this.#segments[ordinal - 1];
    const start = async (): Promise<void> => {
      await segment.create();
      this.#isDirectoryNew = true;
      if (sealed !== undefined) {
        await sealed.saveIndex();
        sealed.isSettled = true;
        this.#noteOpen(sealed);
      }
    };
    start().then(
      () => {
        this.#isWriting = false;
        this.#pump();
      },
      (error: unknown) => {
        this.#isWriting = false;
        this.#onWriteError(error as Error);
      },
    );
  }

  /** Makes durable everything appended so far. */
  async sync(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      if (this.#hasFailed) {
        reject(new Error("the commit log has failed"));
        return;
      }
      this.#syncWaiters.push({ offset: this.#endOffset, resolve, reject });
      this.#pump();
    });
  }

  #syncAll(): void {
    this.#isWriting = true;
    const isMet = (waiter: SyncWaiter): boolean => waiter.offset <= this.#writtenOffset;
    const waiters = this.#syncWaiters.filter(isMet);
    this.#syncWaiters = this.#syncWaiters.filter((waiter) => !isMet(waiter));
    const segments = [...this.#unsynced];
    this.#unsynced.clear();
    this.#unsyncedBytes = 0;
    const isDirectoryNew = this.#isDirectoryNew;
    this.#isDirectoryNew = false;
    const syncs = async (): Promise<void> => {
      for (const segment of segments) {
        const { writtenBytes } = segment;
        await syncFile(await segment.file());
        segment.syncedBytes = writtenBytes;
      }
      if (!isDirectoryNew) return;
      await this.#disk.syncDirectory(this.#options.directory);
    };
    syncs().then(
      () => {
        this.#isWriting = false;
        for (const { resolve } of waiters) resolve();
        this.#pump();
      },
      (error: unknown) => {
        for (const { reject } of waiters) reject(error as Error);
        this.#fail(error as Error);
      },
    );
  }

  #fail(error: Error): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    for (const { reject } of this.#syncWaiters) reject(error);
    this.#syncWaiters = [];
    this.#onFailed(error);
  }

  /**
   * Reads batches from an offset on; the first one starts exactly there.
   *
   * @param bytesMax Stop after so many bytes; at least one batch is returned.
   * @returns Nothing if the offset is at or past the end.
   * @throws DamageError if what lies there is damaged; the offset is at or after `startOffset`.
   */
  async read(offset: number, bytesMax: number): Promise<RecordBatch[]> {
    if (offset >= this.#endOffset) return [];
    assert(offset >= this.startOffset, "what was trimmed is not asked for");
    const cached = this.#tail.read(offset, bytesMax);
    if (cached !== undefined) return trimStart(cached, offset);
    const segment = this.#segmentOf(offset);
    this.#noteOpen(segment);
    return this.#watched(segment, async () => this.#readFrom(segment, offset, bytesMax));
  }

  async #readFrom(segment: Segment, offset: number, bytesMax: number): Promise<RecordBatch[]> {
    const batches: RecordBatch[] = [];
    let bytes = 0;
    let expected = offset;
    for await (const frame of segment.framesFrom(offset)) {
      const batch = batchOf(frame);
      if (batches.length > 0 && bytes + batch.records.length > bytesMax) break;
      // The first may start before what is asked for; the others follow without gap or repeat.
      if (batches.length > 0 ? batch.offset !== expected : batch.offset > expected) {
        throw new DamageError(
          segment.path,
          frame.position,
          `offset ${String(expected)} is missing`,
        );
      }
      batches.push(batch);
      bytes += batch.records.length;
      expected = batch.offset + batch.count;
      if (bytes >= bytesMax) break;
    }
    if (batches.length === 0) {
      throw new DamageError(segment.path, segment.bytes, `offset ${String(offset)} is missing`);
    }
    return trimStart(batches, offset);
  }

  /** Calls back for each read, of whatever kind, that finds damage in a sealed segment. */
  onDamage(listener: SegmentDamageListener): void {
    this.#onDamage = listener;
  }

  async #watched<T>(segment: Segment, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      if (error instanceof DamageError) this.#noteDamage(segment, error);
      throw error;
    }
  }

  /** A reader may still have had the file of a segment that has been replaced. */
  #noteDamage(segment: Segment, damage: DamageError): void {
    const isHeld = segment.isSealed && this.#segments.includes(segment);
    if (isHeld && !this.#isClosed) this.#onDamage(segment.baseOffset, damage);
  }

  #segmentOf(offset: number): Segment {
    let low = 0;
    let high = this.#segments.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (present(this.#segments[middle], "middle is a segment").baseOffset <= offset) low = middle;
      else high = middle - 1;
    }
    return present(this.#segments[low], "an offset that is held lies in a segment");
  }

  /** Bounds the open files: the sealed store used longest ago is closed. */
  #noteOpen(segment: Segment): void {
    const at = this.#openOrder.indexOf(segment);
    if (at >= 0) this.#openOrder.splice(at, 1);
    this.#openOrder.push(segment);
    if (this.#openOrder.length <= this.#options.openFilesMax) return;
    const oldest = this.#openOrder.find(
      (open) => open.isSealed && !open.isBeingRead && !this.#unsynced.has(open),
    );
    if (oldest === undefined || oldest === segment) return;
    this.#openOrder.splice(this.#openOrder.indexOf(oldest), 1);
    oldest.release();
  }

  /** First offset whose record is not older than a time; the end if there is none. */
  async offsetAt(timestampMs: number): Promise<number> {
    for (let ordinal = this.#segments.length - 1; ordinal >= 0; ordinal -= 1) {
      const segment = present(this.#segments[ordinal], "the segment is there");
      const [first] = await this.read(segment.baseOffset, 1);
      if (first === undefined || first.timestampMs >= timestampMs) continue;
      return this.#watched(segment, async () => this.#offsetIn(segment, timestampMs));
    }
    return this.startOffset;
  }

  /** The same within a segment that starts before the time: its file first, then memory. */
  async #offsetIn(segment: Segment, timestampMs: number): Promise<number> {
    let offset = segment.baseOffset;
    if (segment.writtenBytes > 0) {
      for await (const { header } of segment.frames(await segment.positionBefore(timestampMs))) {
        if (header.timestampMs >= timestampMs) return header.key;
        offset = header.key + header.count;
      }
    }
    while (offset < this.#endOffset) {
      for (const batch of await this.read(offset, this.#options.writeBytesMax)) {
        if (batch.timestampMs >= timestampMs) return batch.offset;
        offset = batch.offset + batch.count;
      }
    }
    return this.#endOffset;
  }

  /** Bytes of a segment as they lie in its store: for a peer that lacks them. */
  async readRaw(baseOffset: number, position: number, bytes: number): Promise<Buffer> {
    const segment = this.#segmentAt(baseOffset);
    if (segment === undefined || position + bytes > segment.writtenBytes) {
      throw new ProglogError("unavailable", "The segment is not held so far.");
    }
    this.#noteOpen(segment);
    return this.#watched(segment, async () => segment.readRaw(position, bytes));
  }

  #segmentAt(baseOffset: number): Segment | undefined {
    return this.#segments.find((segment) => segment.baseOffset === baseOffset);
  }

  /** Segments that are sealed and wholly in their files, oldest first. */
  sealedSegments(): readonly SegmentRef[] {
    return this.#segments.filter((segment) => segment.isSettled).map((segment) => segment.ref);
  }

  /** One of them. */
  sealedSegment(baseOffset: number): SegmentRef | undefined {
    const segment = this.#segmentAt(baseOffset);
    return segment?.isSettled === true ? segment.ref : undefined;
  }

  /** Reads a sealed segment through. Damage is told to the listener, too. */
  async findDamage(baseOffset: number): Promise<DamageError | undefined> {
    const segment = this.#segmentAt(baseOffset);
    if (segment?.isSettled !== true) return undefined;
    try {
      await this.#watched(segment, async () => readThrough(segment));
    } catch (error) {
      if (error instanceof DamageError) return error;
      throw error;
    }
    return undefined;
  }

  /**
   * Puts another copy in the place of a sealed segment: readers that have the old file open go on
   * with it, all others get the new one. Cut off anywhere, it leaves the one or the other.
   *
   * @param ref What the copy is; the writer has made sure that it is.
   * @param write Its signal aborts when the log is closed, or is about to take a snapshot.
   * @throws What the writer throws, DiskError; ProglogError if it can't be done now.
   */
  async replaceSegment(ref: SegmentRef, write: SegmentWriter): Promise<void> {
    // What is not durable yet is made so first: its sync must not come to a file that is gone.
    if (this.#segmentAt(ref.baseOffset)?.isAtRest !== true) await this.sync();
    assert(this.#replacing === undefined, "one segment is replaced at a time");
    const segment = this.#segmentAt(ref.baseOffset);
    const canReplace = !this.#isClosed && !this.#hasFailed && !this.#isInstalling;
    if (segment?.isAtRest !== true || !canReplace) {
      throw new ProglogError("unavailable", "The segment can't be replaced now.");
    }
    const stop = new AbortController();
    const replacing = this.#replace(segment, ref, { write, signal: stop.signal });
    const done = replacing.catch(() => undefined);
    this.#replacing = { stop, done };
    try {
      await replacing;
    } finally {
      this.#replacing = undefined;
    }
  }

  async #replace(
    segment: Segment,
    ref: SegmentRef,
    { write, signal }: { readonly write: SegmentWriter; readonly signal: AbortSignal },
  ): Promise<void> {
    const { directory } = this.#options;
    const draft = `${segment.path}.repair`;
    const index = await this.#writeDraft(draft, write, signal);
    await this.#disk.rename(draft, segment.path);
    const replacement = this.#sealed(new Segment(this.#disk, directory, ref.baseOffset), ref);
    this.#segments[this.#segments.indexOf(segment)] = replacement;
    const open = this.#openOrder.indexOf(segment);
    if (open >= 0) this.#openOrder.splice(open, 1);
    segment.retire();
    try {
      await this.#disk.syncDirectory(directory);
      await replacement.saveIndexAs(index);
    } catch (error) {
      // A full disk has no room for an index: it is made when it is needed. Of a sync that fails
      // nobody knows what else of the directory it was to make durable (ADR-0004).
      if (error instanceof DiskError && error.fault === "full") return;
      this.#fail(error as Error);
      throw error;
    }
  }

  async #writeDraft(
    draft: string,
    write: SegmentWriter,
    signal: AbortSignal,
  ): Promise<SparseIndex> {
    const { directory } = this.#options;
    const names = await this.#disk.list(directory);
    if (names.some((name) => `${directory}/${name}` === draft)) await this.#disk.remove(draft);
    const file = await this.#disk.create(draft);
    try {
      const index = await write(file, signal);
      await syncFile(file);
      signal.throwIfAborted();
      await file.close();
      return index;
    } catch (error) {
      await file.close();
      await this.#disk.remove(draft);
      throw error;
    }
  }

  /** Calls off the replacement that is under way; what it did is done, or undone. */
  async #stopReplacing(): Promise<void> {
    this.#replacing?.stop.abort(new ProglogError("unavailable", "The log is busy, or closing."));
    await this.#replacing?.done;
  }

  /**
   * Takes the segments of a snapshot, which lie durable in a directory beside this one, in the
   * place of its own. Cut off anywhere, it leaves what the older checkpoint names: a segment that
   * is replaced starts with the bytes that it had.
   */
  async install(
    state: CommitLogState,
    incoming: string,
    fetched: ReadonlySet<number>,
  ): Promise<void> {
    this.#isInstalling = true;
    try {
      await this.#stopReplacing();
      await this.#install(state, incoming, fetched);
    } finally {
      this.#isInstalling = false;
    }
  }

  async #install(
    state: CommitLogState,
    incoming: string,
    fetched: ReadonlySet<number>,
  ): Promise<void> {
    await this.sync();
    // Readers go on meanwhile: the old segments open their files again by name, and what is put in
    // the place of one starts with the same bytes.
    const old = this.#segments;
    for (const segment of old) await segment.close();
    const { directory } = this.#options;
    for (const { baseOffset } of state.segments) {
      const name = storeName(baseOffset);
      if (fetched.has(baseOffset))
        await this.#disk.rename(`${incoming}/${name}`, `${directory}/${name}`);
    }
    await this.#disk.syncDirectory(directory);
    await this.#restore(state);
    this.#openOrder.length = 0;
    this.#tail.clear();
    for (const segment of old) await segment.close();
  }

  /** Writes what is left, if the disk takes it, and closes: the Raft log still holds the rest. */
  async close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    if (!this.#hasFailed && !this.#isFull) await this.sync().catch(() => undefined);
    this.#isClosed = true;
    this.#delay?.cancel();
    await this.#stopReplacing();
    for (const segment of this.#segments) await segment.close();
    this.#tail.clear();
  }
}

/** @throws DamageError unless every frame, and all of them together, are what was written. */
async function readThrough(segment: Segment): Promise<void> {
  let checksum = 0;
  let expected = segment.baseOffset;
  for await (const { header, position, bytes } of segment.frames(0)) {
    if (header.key !== expected) {
      throw new DamageError(segment.path, position, `offset ${String(expected)} is missing`);
    }
    expected += header.count;
    checksum = crc32(bytes, checksum);
  }
  if (checksum === segment.checksum && expected === segment.endOffset) return;
  throw new DamageError(segment.path, 0, "the segment is not what was written");
}

function filesOf(baseOffset: number): string[] {
  return [storeName(baseOffset), indexName(baseOffset)];
}

function batchOf({ header, bytes }: LocatedFrame): RecordBatch {
  const { key: offset, count, timestampMs } = header satisfies FrameHeader;
  return { offset, count, timestampMs, records: frameBody(bytes, 0, header) };
}

/** Drops the records before the offset from the first batch. */
function trimStart(batches: RecordBatch[], offset: number): RecordBatch[] {
  const first = batches[0];
  if (first === undefined || first.offset === offset) return batches;
  const skip = offset - first.offset;
  const records = first.records.subarray(recordPosition(first.records, skip));
  const trimmed = { ...first, offset, count: first.count - skip, records };
  return [trimmed, ...batches.slice(1)];
}
