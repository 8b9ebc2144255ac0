/**
 * The Raft log on disk: entries and the hard state, in files that are written once around and
 * used again.
 *
 * All that a node promises to its peers is here, in one ordered sequence of frames; `append` calls
 * back when what it was given is durable. One write and one sync are in flight at a time, and what
 * arrives meanwhile shares the next (group commit). The files' blocks exist before they are
 * needed: syncing an overwrite needs no journal commit (docs/performance.md).
 *
 * It is a journal: an entry with an index that is held already voids that index and all above, so
 * nothing is ever changed in place. A file whose entries are all covered by a checkpoint becomes
 * the next new file; frames of its earlier life carry the old sequence and are not valid in it.
 *
 * A failed write or sync is final: `onFailed` is called, nothing is acknowledged any more
 * (ADR-0004). A full disk only delays: it can show only while a new file is prepared.
 */
import { assert, present } from "../common/assert.js";
import type { Clock } from "../common/clock.js";
import { DamageError } from "./damage.js";
import type { Disk, DiskFile } from "./disk.js";
import { DiskError, syncFile, writeAll } from "./disk.js";
import type { EntryPlace, EntryPlaces } from "./entry-places.js";
import {
  controlFrame,
  frameBytesOf,
  frameKinds,
  isBodyValid,
  readHeader,
  stampPlace,
} from "./frame.js";
import type { FoundLog, StoredHardState } from "./raft-log-recovery.js";
import { findRaftLog } from "./raft-log-recovery.js";
import { encodeRaftFileHeader, raftFileHeaderBytes, raftFileName } from "./raft-file.js";

export interface RaftLogOptions {
  readonly directory: string;
  /** Size of a file; a frame larger than this gets a file of its own size. */
  readonly fileBytes: number;
  /** Most bytes written before a sync. */
  readonly groupBytesMax: number;
  /** How long to wait before a full disk is tried again. */
  readonly fullRetryMs: number;
}

export const raftLogDefaults: RaftLogOptions = Object.freeze({
  directory: "raft",
  fileBytes: 16 * 1024 * 1024,
  groupBytesMax: 2 * 1024 * 1024,
  fullRetryMs: 500,
});

/** What one append makes durable, in this order. */
export interface RaftLogAppend {
  readonly hardState?: StoredHardState;
  /** Entries from this index on are void. */
  readonly truncateFrom?: number;
  /** Sealed frames with their index and term; their place is stamped here. */
  readonly frames: readonly {
    readonly index: number;
    readonly term: number;
    readonly frame: Buffer;
  }[];
}

interface LogFile {
  readonly sequence: number;
  readonly path: string;
  readonly file: DiskFile;
  readonly bytes: number;
  /** Highest entry index written to it, 0 if none. */
  lastIndex: number;
}

interface QueuedFrame {
  readonly frame: Buffer;
  /** Set for entries; 0 for control frames. */
  readonly index: number;
  readonly term: number;
  /** Set for a cut: the first index that is void. */
  readonly truncateFrom?: number;
  readonly hardState?: StoredHardState;
  /** Called when the frame, and so its whole append, is durable. */
  readonly done: (() => void) | undefined;
}

/** What the log held when it was opened. */
export type OpenedRaftLog = Pick<FoundLog, "hardState" | "configurations" | "tornBytes"> & {
  readonly log: RaftLog;
};

export class RaftLog {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #options: RaftLogOptions;
  readonly #onFailed: (error: Error) => void;
  readonly #places: EntryPlaces;
  readonly #files: LogFile[] = [];
  #next: LogFile | undefined;
  #preparing: Promise<void> | undefined;
  #position: number;
  #durablePosition: number;
  /** The latest that a frame was written for. */
  #hardState: StoredHardState;
  #queue: QueuedFrame[] = [];
  #isWriting = false;
  #hasFailed = false;
  #isClosed = false;
  /** Entries up to here are covered by a checkpoint. */
  #coveredIndex = 0;
  #whenIdle: (() => void)[] = [];

  /**
   * Opens the log, or starts an empty one.
   *
   * @throws DamageError if something durable is damaged: nothing was changed then.
   */
  static async open(
    disk: Disk,
    clock: Clock,
    options: RaftLogOptions,
    onFailed: (error: Error) => void,
  ): Promise<OpenedRaftLog> {
    await disk.makeDirectory(options.directory);
    await disk.syncDirectory("");
    const found = await findRaftLog(disk, options.directory);
    for (const { path } of found.unused) await disk.remove(path);
    const log = new RaftLog(disk, clock, options, onFailed, found);
    await log.#openFiles(found);
    const { hardState, configurations, tornBytes } = found;
    return { log, hardState, configurations, tornBytes };
  }

  private constructor(
    disk: Disk,
    clock: Clock,
    options: RaftLogOptions,
    onFailed: (error: Error) => void,
    found: FoundLog,
  ) {
    this.#disk = disk;
    this.#clock = clock;
    this.#options = options;
    this.#onFailed = onFailed;
    this.#places = found.places;
    this.#hardState = found.hardState;
    this.#position = found.files.at(-1)?.end ?? 0;
    this.#durablePosition = this.#position;
  }

  /** Index and place of what is held. */
  get places(): EntryPlaces {
    return this.#places;
  }

  /** Bytes of all files. */
  get bytes(): number {
    return this.#files.reduce((sum, file) => sum + file.bytes, this.#next?.bytes ?? 0);
  }

  async #openFiles(found: FoundLog): Promise<void> {
    for (const { sequence, path, bytes, lastIndex } of found.files) {
      const file = await this.#disk.open(path);
      this.#files.push({ sequence, path, file, bytes, lastIndex });
    }
    const active = this.#files.at(-1);
    if (active === undefined) {
      await this.#prepareNext(1);
      this.#activateNext();
    } else {
      // What a crash left beyond the end must never be chained to what is written next.
      if (found.tornBytes > 0) await zero(active.file, this.#position, active.bytes);
      // What was read may not have been durable yet: before anything rests on it, it is.
      await syncFile(active.file);
      this.#startPreparing();
    }
  }

  /** Appends, and calls back when all of it is durable. Never called back after a failure. */
  append(append: RaftLogAppend, done: () => void): void {
    assert(!this.#isClosed, "a closed log takes no appends");
    const frames: Omit<QueuedFrame, "done">[] = [];
    const { truncateFrom, hardState } = append;
    if (hardState !== undefined) {
      frames.push({ frame: hardStateFrame(hardState, 0), index: 0, term: 0, hardState });
    }
    if (truncateFrom !== undefined) {
      const fields = { key: truncateFrom, term: 0 };
      const frame = controlFrame(frameKinds.truncate, fields, Buffer.alloc(0));
      frames.push({ frame, index: 0, term: 0, truncateFrom });
    }
    for (const { frame, index, term } of append.frames) frames.push({ frame, index, term });
    assert(frames.length > 0, "an append holds something");
    frames.forEach((queued, ordinal) => {
      this.#queue.push({ ...queued, done: ordinal === frames.length - 1 ? done : undefined });
    });
    this.#pump();
  }

  /** Writes and syncs one group, then the next. */
  #pump(): void {
    if (this.#isWriting || this.#hasFailed) return;
    if (this.#queue.length === 0) {
      const idle = this.#whenIdle;
      this.#whenIdle = [];
      for (const resolve of idle) resolve();
      return;
    }
    const active = this.#files.at(-1);
    const first = present(this.#queue[0], "the queue is not empty");
    if (active === undefined || this.#position + first.frame.length > active.bytes) {
      this.#roll(first.frame.length);
      return;
    }
    this.#writeGroup(active);
  }

  #writeGroup(active: LogFile): void {
    const start = this.#position;
    const group: QueuedFrame[] = [];
    let bytes = 0;
    for (const queued of this.#queue) {
      const end = start + bytes + queued.frame.length;
      if (end > active.bytes || (bytes > 0 && bytes >= this.#options.groupBytesMax)) break;
      stampPlace(queued.frame, active.sequence, this.#durablePosition);
      this.#noteWritten(queued, active, start + bytes);
      group.push(queued);
      bytes += queued.frame.length;
    }
    this.#queue = this.#queue.slice(group.length);
    this.#position = start + bytes;
    this.#isWriting = true;
    active.file.write(start, gather(group, bytes), (writeError) => {
      if (writeError !== undefined) {
        this.#fail(writeError);
        return;
      }
      active.file.sync((syncError) => {
        if (syncError === undefined) this.#written(group, start + bytes);
        else this.#fail(syncError);
      });
    });
  }

  #written(group: readonly QueuedFrame[], end: number): void {
    this.#durablePosition = end;
    this.#isWriting = false;
    for (const queued of group) queued.done?.();
    this.#pump();
  }

  #noteWritten(queued: QueuedFrame, active: LogFile, position: number): void {
    const { index, term, frame, truncateFrom, hardState } = queued;
    if (truncateFrom !== undefined) this.#places.truncateSuffix(truncateFrom);
    if (hardState !== undefined) this.#hardState = hardState;
    if (index === 0) return;
    this.#places.set(index, { fileId: active.sequence, position, bytes: frame.length, term });
    active.lastIndex = Math.max(active.lastIndex, index);
  }

  #fail(error: Error): void {
    this.#hasFailed = true;
    this.#queue = [];
    this.#onFailed(error);
  }

  /** Goes on in the next file, once it is prepared. */
  #roll(firstFrameBytes: number): void {
    const next = this.#next;
    const needed =
      raftFileHeaderBytes + hardStateFrame(this.#hardState, 0).length + firstFrameBytes;
    if (next !== undefined && next.bytes >= needed) {
      this.#activateNext();
      this.#pump();
      return;
    }
    this.#isWriting = true;
    const prepared = this.#preparing ?? this.#prepareNext(this.#nextSequence(), needed);
    prepared
      .then(async () => {
        // A file of the usual size is too small for a frame of unusual size.
        if ((this.#next?.bytes ?? 0) < needed) await this.#replaceNext(needed);
        this.#isWriting = false;
        if (!this.#isClosed) this.#pump();
      })
      .catch((error: unknown) => {
        this.#fail(error as Error);
      });
  }

  #nextSequence(): number {
    return (this.#files.at(-1)?.sequence ?? 0) + 1;
  }

  #activateNext(): void {
    const next = present(this.#next, "the next file is prepared");
    this.#next = undefined;
    // Each file starts with the hard state, so that dropping those before it forgets no vote.
    const frame = hardStateFrame(this.#hardState, this.#position);
    this.#files.push(next);
    this.#position = raftFileHeaderBytes;
    this.#durablePosition = raftFileHeaderBytes;
    this.#queue.unshift({ frame, index: 0, term: 0, done: undefined });
    this.#startPreparing();
  }

  #startPreparing(): void {
    if (this.#preparing !== undefined || this.#next !== undefined) return;
    const preparing = this.#prepareNext(this.#nextSequence());
    this.#preparing = preparing;
    preparing.catch((error: unknown) => {
      this.#fail(error as Error);
    });
  }

  /** Makes the next file ready to be overwritten: a covered one if there is one, else a new one. */
  async #prepareNext(sequence: number, bytesMin = 0): Promise<void> {
    const path = `${this.#options.directory}/${raftFileName(sequence)}`;
    for (;;) {
      try {
        this.#next = await this.#prepareFile(sequence, path, bytesMin);
        this.#preparing = undefined;
        return;
      } catch (error) {
        if (!(error instanceof DiskError) || error.fault !== "full") throw error;
      }
      if (this.#isClosed) return;
      await new Promise<void>((resolve) => {
        this.#clock.setTimer(this.#options.fullRetryMs, resolve);
      });
    }
  }

  async #prepareFile(sequence: number, path: string, bytesMin: number): Promise<LogFile> {
    const covered = this.#takeCovered(bytesMin);
    const bytes = covered?.bytes ?? Math.max(this.#options.fileBytes, bytesMin);
    if (covered !== undefined) {
      await covered.file.close();
      await this.#disk.rename(covered.path, path);
    }
    const file =
      covered === undefined ? await this.#createOrOpen(path) : await this.#disk.open(path);
    if (covered === undefined) await zero(file, 0, bytes);
    await writeAll(file, 0, encodeRaftFileHeader(sequence));
    await syncFile(file);
    await this.#disk.syncDirectory(this.#options.directory);
    return { sequence, path, file, bytes, lastIndex: 0 };
  }

  async #createOrOpen(path: string): Promise<DiskFile> {
    try {
      return await this.#disk.create(path);
    } catch (error) {
      // An attempt that a full disk ended.
      if (error instanceof DiskError && error.fault === "exists") return this.#disk.open(path);
      throw error;
    }
  }

  async #replaceNext(bytesMin: number): Promise<void> {
    const small = present(this.#next, "the next file is prepared");
    this.#next = undefined;
    await small.file.close();
    await this.#disk.remove(small.path);
    await this.#prepareNext(small.sequence, bytesMin);
  }

  /** The oldest file, if a checkpoint covers all its entries and a younger one is in use. */
  #takeCovered(bytesMin: number): LogFile | undefined {
    const oldest = this.#files[0];
    if (oldest === undefined || this.#files.length < 2) return undefined;
    if (oldest.lastIndex > this.#coveredIndex || oldest.bytes < bytesMin) return undefined;
    this.#files.shift();
    this.#forgetFile(oldest);
    return oldest;
  }

  /** An entry that lies in a file that is given up is no longer held. */
  #forgetFile(file: LogFile): void {
    let last = 0;
    for (let index = this.#places.firstIndex; index <= file.lastIndex; index += 1) {
      if (this.#places.at(index)?.fileId === file.sequence) last = index;
    }
    this.#places.truncatePrefix(last);
  }

  /** Says that the entries up to an index are not needed any more: their files may be reused. */
  truncatePrefix(index: number): void {
    this.#coveredIndex = Math.max(this.#coveredIndex, index);
  }

  /** The highest index that may be given up while at least `bytes` of newer files stay; or 0. */
  indexBehind(bytes: number): number {
    let kept = 0;
    for (let ordinal = this.#files.length - 1; ordinal > 0; ordinal -= 1) {
      kept += this.#files[ordinal]?.bytes ?? 0;
      if (kept >= bytes) return this.#files[ordinal - 1]?.lastIndex ?? 0;
    }
    return 0;
  }

  /**
   * Reads entries from an index on: whole frames, as many as fit in `bytesMax`, at least one.
   *
   * @returns Fewer, or none, if they are not held any more.
   * @throws DamageError if a frame is not what was written.
   */
  async read(from: number, bytesMax: number): Promise<Buffer[]> {
    const frames: Buffer[] = [];
    let bytes = 0;
    let index = from;
    while (index <= this.#places.lastIndex) {
      const run = this.#contiguous(index, bytesMax - bytes, frames.length === 0);
      if (run === undefined) break;
      const part = await this.#readRun(index, run);
      frames.push(...part);
      index += part.length;
      bytes += run.bytes;
    }
    return frames;
  }

  /** The stretch of entries from an index on that lie one after the other in one file. */
  #contiguous(
    index: number,
    bytesMax: number,
    isFirst: boolean,
  ): { readonly file: LogFile; readonly position: number; readonly bytes: number } | undefined {
    const first = this.#places.at(index);
    if (first === undefined || (!isFirst && first.bytes > bytesMax)) return undefined;
    const file = this.#files.find((candidate) => candidate.sequence === first.fileId);
    if (file === undefined) return undefined;
    let { bytes } = first;
    for (let next = index + 1; ; next += 1) {
      const place: EntryPlace | undefined = this.#places.at(next);
      if (place?.fileId !== first.fileId || place.position !== first.position + bytes) break;
      if (bytes + place.bytes > bytesMax) break;
      bytes += place.bytes;
    }
    return { file, position: first.position, bytes };
  }

  async #readRun(
    from: number,
    run: { readonly file: LogFile; readonly position: number; readonly bytes: number },
  ): Promise<Buffer[]> {
    const bytes = await run.file.file.read(run.position, run.bytes);
    const frames: Buffer[] = [];
    let at = 0;
    while (at < run.bytes) {
      const header = readHeader(bytes, at);
      const isWanted = header?.fileId === run.file.sequence && header.key === from + frames.length;
      if (!isWanted || !isBodyValid(bytes, at, header)) {
        const what = `entry ${String(from + frames.length)} is damaged`;
        throw new DamageError(run.file.path, run.position + at, what);
      }
      frames.push(bytes.subarray(at, at + frameBytesOf(header)));
      at += frameBytesOf(header);
    }
    return frames;
  }

  /** Waits for what was appended, seals the end with a barrier, closes the files. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    if (!this.#hasFailed && this.#files.length > 0) {
      await this.#idle();
      const active = present(this.#files.at(-1), "a file is active");
      const frame = controlFrame(frameKinds.barrier, { key: 0, term: 0 }, Buffer.alloc(0));
      if (this.#position + frame.length <= active.bytes && this.#position > raftFileHeaderBytes) {
        stampPlace(frame, active.sequence, this.#durablePosition);
        await writeAll(active.file, this.#position, frame);
        await syncFile(active.file);
      }
    }
    this.#isClosed = true;
    await this.#preparing?.catch(() => undefined);
    for (const { file } of this.#files) await file.close();
    await this.#next?.file.close();
  }

  async #idle(): Promise<void> {
    if (!this.#isWriting && this.#queue.length === 0) return;
    await new Promise<void>((resolve) => {
      this.#whenIdle.push(resolve);
    });
  }
}

/** Many small frames go in one buffer: one copy costs less than one more vector. */
function gather(group: readonly QueuedFrame[], bytes: number): Buffer[] {
  const frames = group.map((queued) => queued.frame);
  if (frames.length > 4 && bytes / frames.length < 4096) return [Buffer.concat(frames, bytes)];
  return frames;
}

function hardStateFrame(hardState: StoredHardState, previousEnd: number): Buffer {
  const fields = { key: previousEnd, term: hardState.term };
  return controlFrame(frameKinds.hardState, fields, Buffer.from(hardState.vote));
}

async function zero(file: DiskFile, from: number, to: number): Promise<void> {
  const zeros = Buffer.alloc(1024 * 1024);
  for (let at = from; at < to; at += zeros.length) {
    await writeAll(file, at, zeros.subarray(0, Math.min(zeros.length, to - at)));
  }
  await syncFile(file);
}
