/**
 * Makes files of the Raft log ready before they are needed: the next one, from a file that is no
 * longer needed or from a new one, its blocks all written and its header durable.
 *
 * A file is made ready under a draft's name and gets its own only when it is: what a crash leaves
 * half-made is never taken for a file of the log. A full disk delays it; the wait is told
 * (`isFull`), and another try made every `fullRetryMs`.
 */
import { assert } from "../common/assert.js";
import type { Clock } from "../common/clock.js";
import type { Random } from "../common/random.js";
import { randomInteger } from "../common/random.js";
import type { Disk, DiskFile } from "./disk.js";
import { DiskError, syncFile, writeAll } from "./disk.js";
import { draftName, encodeRaftFileHeader, raftFileName } from "./raft-file.js";

/** A file of the log, open. */
export interface LogFile {
  readonly sequence: number;
  readonly path: string;
  readonly file: DiskFile;
  readonly bytes: number;
  readonly salt: number;
  /** Highest entry index written to it, 0 if none. */
  lastIndex: number;
}

export interface PoolOptions {
  readonly directory: string;
  readonly fileBytes: number;
  readonly fullRetryMs: number;
}

const saltMax = 2 ** 48;

export class RaftFilePool {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #options: PoolOptions;
  #isFull = false;
  #isClosed = false;
  #giveUp: () => void = () => undefined;

  constructor(disk: Disk, clock: Clock, random: Random, options: PoolOptions) {
    this.#disk = disk;
    this.#clock = clock;
    this.#random = random;
    this.#options = options;
  }

  /** True while a file can't be made ready because the disk has no room. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Waits for room no more; what is being made ready with room is finished. */
  close(): void {
    this.#isClosed = true;
    this.#giveUp();
  }

  /** Throws away what a crash left half-made. */
  async clean(): Promise<void> {
    const { directory } = this.#options;
    const names = await this.#disk.list(directory);
    if (names.includes(draftName)) await this.#disk.remove(this.#draft);
    await this.#disk.syncDirectory(directory);
  }

  get #draft(): string {
    return `${this.#options.directory}/${draftName}`;
  }

  /**
   * Makes the file with this sequence ready.
   *
   * @param takeCovered A file that is no longer needed, if there is one.
   * @returns undefined if the pool was closed while it waited for room.
   */
  async prepare(
    sequence: number,
    bytesMin: number,
    takeCovered: () => LogFile | undefined,
  ): Promise<LogFile | undefined> {
    let bytes: number | undefined;
    for (;;) {
      // Asked at each try: a checkpoint that comes while the disk is full helps.
      bytes ??= await this.#draftCovered(takeCovered());
      try {
        const isReused = bytes !== undefined;
        const bytesNew = Math.max(this.#options.fileBytes, bytesMin);
        const file = await this.#make(sequence, bytes ?? bytesNew, isReused);
        this.#isFull = false;
        return file;
      } catch (error) {
        if (!(error instanceof DiskError) || error.fault !== "full") throw error;
      }
      this.#isFull = true;
      if (this.#isClosed) return undefined;
      await new Promise<void>((resolve) => {
        this.#giveUp = resolve;
        this.#clock.setTimer(this.#options.fullRetryMs, resolve);
      });
      if (this.#isClosed) return undefined;
    }
  }

  /** Makes a draft of a file that is no longer needed. @returns Its size. */
  async #draftCovered(covered: LogFile | undefined): Promise<number | undefined> {
    if (covered === undefined) return undefined;
    await covered.file.close();
    await this.#disk.rename(covered.path, this.#draft);
    // Before its old header goes, its old name must be gone for good.
    await this.#disk.syncDirectory(this.#options.directory);
    return covered.bytes;
  }

  async #make(sequence: number, bytes: number, isReused: boolean): Promise<LogFile> {
    const { directory } = this.#options;
    const path = `${directory}/${raftFileName(sequence)}`;
    const salt = 1 + randomInteger(this.#random, saltMax - 1);
    const file = await this.#openDraft();
    try {
      if (!isReused) await zero(file, 0, bytes);
      await writeAll(file, 0, encodeRaftFileHeader({ sequence, bytes, salt }));
      await syncFile(file);
    } finally {
      await file.close();
    }
    await this.#disk.rename(this.#draft, path);
    await this.#disk.syncDirectory(directory);
    const opened = await this.#disk.open(path);
    assert((await opened.size()) === bytes, "a file made ready has its size");
    return { sequence, path, file: opened, bytes, salt, lastIndex: 0 };
  }

  async #openDraft(): Promise<DiskFile> {
    const names = await this.#disk.list(this.#options.directory);
    return names.includes(draftName)
      ? this.#disk.open(this.#draft)
      : this.#disk.create(this.#draft);
  }

  /** Removes a file of the log: its name is gone for good before the next one goes. */
  async remove(file: LogFile): Promise<void> {
    await file.file.close();
    await this.#disk.remove(file.path);
    await this.#disk.syncDirectory(this.#options.directory);
  }
}

/** Fills a range with zeros and syncs it. */
export async function zero(file: DiskFile, from: number, to: number): Promise<void> {
  const zeros = Buffer.alloc(1024 * 1024);
  for (let at = from; at < to; at += zeros.length) {
    await writeAll(file, at, zeros.subarray(0, Math.min(zeros.length, to - at)));
    // A piece at a time: one large sync would hold up the log's own for tens of milliseconds.
    await syncFile(file);
  }
}
