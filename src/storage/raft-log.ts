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
 * nothing is ever changed in place. A file whose entries are all given up becomes the next new
 * file; what is left in it of its earlier life is not valid in its new one (raft-file.ts).
 *
 * A failed write or sync is final: `onFailed` is called, nothing is acknowledged any more
 * (ADR-0004). A full disk only delays: it can show only while a new file is prepared.
 */
import { assert, present } from "../common/assert.js";
import type { Clock } from "../common/clock.js";
import type { Random } from "../common/random.js";
import { DamageError } from "./damage.js";
import type { Disk } from "./disk.js";
import { syncFile, writeAll } from "./disk.js";
import type { EntryPlaces } from "./entry-places.js";
import {
  controlFrame,
  frameBytesOf,
  frameKinds,
  isBodyValid,
  readHeader,
  stampPlace,
} from "./frame.js";
import type { LogFile } from "./raft-file-pool.js";
import { RaftFilePool, zero } from "./raft-file-pool.js";
import type { FoundLog, StoredHardState } from "./raft-log-recovery.js";
import { findRaftLog } from "./raft-log-recovery.js";
import { raftFileHeaderBytes } from "./raft-file.js";

export interface RaftLogOptions {
  readonly directory: string;
  /** Size of a file; a frame larger than this gets a file of its own size. */
  readonly fileBytes: number;
  /** Most bytes written before a sync. */
  readonly groupBytesMax: number;
  /** How long to wait before a full disk is tried again. */
  readonly fullRetryMs: number;
  /** True if this directory held a log before: then an empty one is damage, not a first start. */
  readonly mustExist: boolean;
}

export const raftLogDefaults: RaftLogOptions = Object.freeze({
  directory: "raft",
  fileBytes: 16 * 1024 * 1024,
  groupBytesMax: 2 * 1024 * 1024,
  fullRetryMs: 500,
  mustExist: false,
});

export interface RaftLogPorts {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
}

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
  readonly #options: RaftLogOptions;
  readonly #pool: RaftFilePool;
  readonly #onFailed: (error: Error) => void;
  readonly #places: EntryPlaces;
  readonly #files: LogFile[] = [];
  #next: LogFile | undefined;
  #preparing: Promise<void> | undefined;
  #trimming: Promise<void> = Promise.resolve();
  #position: number;
  #durablePosition: number;
  /** The latest that a frame was written for. */
  #hardState: StoredHardState;
  #queue: QueuedFrame[] = [];
  #isWriting = false;
  #hasFailed = false;
  #isClosing = false;
  #closed: Promise<void> | undefined;
  /** Entries up to here are given up. */
  #coveredIndex = 0;
  #whenIdle: (() => void)[] = [];

  /**
   * Opens the log, or starts an empty one.
   *
   * @throws DamageError if something durable is missing or damaged: nothing was changed then.
   */
  static async open(
    ports: RaftLogPorts,
    options: RaftLogOptions,
    onFailed: (error: Error) => void,
  ): Promise<OpenedRaftLog> {
    const { disk } = ports;
    await disk.makeDirectory(options.directory);
    await disk.syncDirectory("");
    const found = await findRaftLog(disk, options.directory);
    if (options.mustExist && found.files.length === 0 && found.unused.length === 0) {
      throw new DamageError(options.directory, 0, "the files of the Raft log are missing");
    }
    const log = new RaftLog(ports, options, onFailed, found);
    await log.#openFiles(found);
    const { hardState, configurations, tornBytes } = found;
    return { log, hardState, configurations, tornBytes };
  }

  private constructor(
    { disk, clock, random }: RaftLogPorts,
    options: RaftLogOptions,
    onFailed: (error: Error) => void,
    found: FoundLog,
  ) {
    this.#disk = disk;
    this.#options = options;
    this.#pool = new RaftFilePool(disk, clock, random, options);
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

  /** True while nothing can be appended because the disk has no room for the next file. */
  get isFull(): boolean {
    return this.#pool.isFull;
  }

  async #openFiles(found: FoundLog): Promise<void> {
    await this.#pool.clean();
    for (const { path, end: _end, ...rest } of found.files) {
      const file = await this.#disk.open(path);
      assert((await file.size()) === rest.bytes, "a file that was read has not changed");
      this.#files.push({ ...rest, path, file });
    }
    // They may hold the torn first write of their lives. The newest goes first: no gap may show.
    for (const { path } of [...found.unused].reverse()) {
      await this.#disk.remove(path);
      await this.#disk.syncDirectory(this.#options.directory);
    }
    const active = this.#files.at(-1);
    if (active === undefined) {
      await this.#prepareNext(found.unused[0]?.sequence ?? 1, 0);
      this.#activateNext();
      this.#pump();
      return;
    }
    // What a crash left beyond the end must never be chained to what is written next.
    if (found.tornBytes > 0) await zero(active.file, this.#position, active.bytes);
    // What was read may lie in the page cache alone, even after a sync that failed and left it
    // marked as written: before anything rests on it, it is written again (ATC'20; ADR-0004).
    const last = await active.file.read(found.barrier, this.#position - found.barrier);
    if (last.length > 0) await writeAll(active.file, found.barrier, last);
    await syncFile(active.file);
    this.#startPreparing();
  }

  /** Appends, and calls back when all of it is durable. Never called back after a failure. */
  append(append: RaftLogAppend, done: () => void): void {
    assert(!this.#isClosing, "a closed log takes no appends");
    if (this.#hasFailed) return;
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
    const first = this.#queue[0];
    if (first === undefined) {
      this.#wakeIdle();
      return;
    }
    const active = this.#files.at(-1);
    if (active === undefined || this.#position + first.frame.length > active.bytes) {
      this.#roll(first.frame.length);
      return;
    }
    this.#writeGroup(active);
  }

  #wakeIdle(): void {
    const idle = this.#whenIdle;
    this.#whenIdle = [];
    for (const resolve of idle) resolve();
  }

  #writeGroup(active: LogFile): void {
    const start = this.#position;
    const group: QueuedFrame[] = [];
    let bytes = 0;
    for (const queued of this.#queue) {
      const end = start + bytes + queued.frame.length;
      if (end > active.bytes || (bytes > 0 && bytes >= this.#options.groupBytesMax)) break;
      stampPlace(queued.frame, active.salt, this.#durablePosition);
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
    const { sequence } = active;
    this.#places.set(index, { sequence, position, bytes: frame.length, term });
    active.lastIndex = Math.max(active.lastIndex, index);
  }

  #fail(error: Error): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#queue = [];
    this.#wakeIdle();
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
    const isReady = this.#next !== undefined;
    const prepared =
      this.#preparing ??
      (isReady ? Promise.resolve() : this.#prepareNext(this.#nextSequence(), needed));
    prepared
      .then(async () => {
        // A file of the usual size is too small for a frame of unusual size.
        if (this.#next !== undefined && this.#next.bytes < needed) await this.#replaceNext(needed);
        this.#isWriting = false;
        if (this.#isClosing && this.#next === undefined) this.#wakeIdle();
        else this.#pump();
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
    const preparing = this.#prepareNext(this.#nextSequence(), 0);
    this.#preparing = preparing;
    preparing.catch((error: unknown) => {
      this.#fail(error as Error);
    });
  }

  async #prepareNext(sequence: number, bytesMin: number): Promise<void> {
    // One file goes at a time, oldest first: two at once could leave a gap behind a crash.
    const trimmed = this.#trimming;
    const preparing = trimmed.then(async () =>
      this.#pool.prepare(sequence, bytesMin, () => this.#takeCovered(bytesMin)),
    );
    this.#trimming = preparing.then(() => undefined);
    this.#trimming.catch(() => undefined);
    this.#next = await preparing;
    this.#preparing = undefined;
  }

  async #replaceNext(bytesMin: number): Promise<void> {
    const small = present(this.#next, "the next file is prepared");
    this.#next = undefined;
    await this.#pool.remove(small);
    await this.#prepareNext(small.sequence, bytesMin);
  }

  /** The oldest file, if all its entries are given up and a younger one is in use. */
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
      if (this.#places.at(index)?.sequence === file.sequence) last = index;
    }
    this.#places.truncatePrefix(last);
  }

  /** Says that the entries up to an index are not needed any more: their files may be reused. */
  truncatePrefix(index: number): void {
    this.#coveredIndex = Math.max(this.#coveredIndex, index);
    this.#trimming = this.#trimming.then(async () => this.#trim());
    this.#trimming.catch((error: unknown) => {
      this.#fail(error as Error);
    });
  }

  /** Keeps one covered file to be reused and removes the others: a peak does not stay for ever. */
  async #trim(): Promise<void> {
    for (;;) {
      const second = this.#files[1];
      const isSpare = second !== undefined && second.lastIndex <= this.#coveredIndex;
      if (!isSpare || this.#files.length < 3 || this.#isClosing || this.#hasFailed) return;
      const file = this.#takeCovered(0);
      if (file === undefined) return;
      await this.#pool.remove(file);
    }
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
   * Reads durable entries from an index on: whole frames, as many as fit, at least one.
   *
   * @returns Fewer, or none, if they are not held any more, or not durable yet.
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
    const file = this.#files.find((candidate) => candidate.sequence === first.sequence);
    if (file === undefined) return undefined;
    const end = file === this.#files.at(-1) ? this.#durablePosition : file.bytes;
    if (first.position + first.bytes > end) return undefined;
    let { bytes } = first;
    for (let next = index + 1; ; next += 1) {
      const place = this.#places.at(next);
      const follows =
        place?.sequence === first.sequence && place.position === first.position + bytes;
      if (!follows || bytes + place.bytes > bytesMax) break;
      if (place.position + place.bytes > end) break;
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
      const isWanted = header?.fileId === run.file.salt && header.key === from + frames.length;
      if (!isWanted || !isBodyValid(bytes, at, header)) {
        const what = `entry ${String(from + frames.length)} is damaged`;
        throw new DamageError(run.file.path, run.position + at, what);
      }
      frames.push(bytes.subarray(at, at + frameBytesOf(header)));
      at += frameBytesOf(header);
    }
    return frames;
  }

  /**
   * Waits for what was appended, seals the end with a barrier, closes the files. On a full disk,
   * what waits for room is dropped: it was never acknowledged.
   */
  async close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#isClosing = true;
    if (this.#pool.isFull) this.#queue = [];
    this.#pool.close();
    await this.#idle();
    await this.#preparing?.catch(() => undefined);
    await this.#trimming.catch(() => undefined);
    if (!this.#hasFailed) await this.#seal();
    for (const { file } of this.#files) await file.close();
    await this.#next?.file.close();
  }

  /** A frame whose barrier covers the last write: damage there is no torn tail (raft-file.ts). */
  async #seal(): Promise<void> {
    const active = this.#files.at(-1);
    const frame = controlFrame(frameKinds.barrier, { key: 0, term: 0 }, Buffer.alloc(0));
    if (active === undefined || this.#position === raftFileHeaderBytes) return;
    if (this.#position + frame.length > active.bytes) return;
    stampPlace(frame, active.salt, this.#durablePosition);
    await writeAll(active.file, this.#position, frame);
    await syncFile(active.file);
  }

  async #idle(): Promise<void> {
    if (this.#hasFailed || (!this.#isWriting && this.#queue.length === 0)) return;
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
