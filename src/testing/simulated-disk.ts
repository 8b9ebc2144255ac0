/**
 * The disk port in memory, for the simulator and for tests: it can lose, tear and damage data,
 * fail, stall and fill up, and be cut off at any call.
 *
 * Everything that happens follows from the Random, the scheduler and the faults handed in, so one
 * seed replays a run. It must never be kinder than the contract of storage/disk.ts allows, and it
 * asserts the caller's half of that contract: write, sync and truncate of a file never overlap,
 * and buffers do not change until the callback.
 *
 * A call takes effect when it completes. A crash lets calls in flight take effect or not, by
 * chance; then the disk is dead: what was called before, or is called after, never answers (but
 * `close` and `release`, so that what is left of a dead node can be put away).
 */
import { assert, assertSafe, present } from "../common/assert.js";
import type { Clock } from "../common/clock.js";
import { randomInteger } from "../common/random.js";
import type { Random } from "../common/random.js";
import { DiskError } from "../storage/disk.js";
import type { Disk, DiskCallback, DiskFault, DiskFile, DiskLock } from "../storage/disk.js";
import { assertDirectoryPath, assertFilePath, parentOf } from "../storage/disk-path.js";
import {
  SimulatedDirectory,
  SimulatedFileSystem,
  SimulatedInode,
} from "./simulated-file-system.js";
import type { CrashMode, SimulatedNode } from "./simulated-file-system.js";

export type { CrashMode } from "./simulated-file-system.js";

/** Runs something later, never before it returns; 0 is the earliest later time. */
export type Schedule = (delayMs: number, run: () => void) => void;

/** A schedule on a clock. */
export function scheduleOn(clock: Clock): Schedule {
  return (delayMs, run) => {
    if (delayMs === 0) clock.defer(run);
    else clock.setTimer(delayMs, run);
  };
}

export type DiskOperation =
  | "open"
  | "create"
  | "list"
  | "makeDirectory"
  | "rename"
  | "remove"
  | "removeTree"
  | "syncDirectory"
  | "freeBytes"
  | "lock"
  | "write"
  | "sync"
  | "read"
  | "size"
  | "truncate";

/** A call that is about to start. */
export interface DiskCall {
  /** Number of the call on this disk, from 0: what a crash after every single call counts by. */
  readonly ordinal: number;
  readonly operation: DiskOperation;
  readonly path: string;
  /** Of a write or a read. */
  readonly position?: number;
  /** Of a write, a read or a truncate. */
  readonly bytes?: number;
}

/** How a call shall go wrong. */
export interface DiskTrouble {
  readonly fault?: DiskFault;
  /** Stalls the call. */
  readonly delayMs?: number;
  /** The call hangs until the crash. */
  readonly hangs?: boolean;
  /** After a failed sync: whether readers go on seeing what was not synced. By chance if unset. */
  readonly unsynced?: "kept" | "lost";
  /** A write that reports success and did nothing. */
  readonly isDropped?: boolean;
  /** A write that reports success and went to this position. */
  readonly misdirectedTo?: number;
}

export type DiskVerdict = "ok" | DiskFault | DiskTrouble;

export interface SimulatedDiskOptions {
  readonly random: Random;
  readonly schedule: Schedule;
  /** Longest a call takes when nothing is wrong; each takes a random part of it. 0 by default. */
  readonly latencyMsMax?: number;
  /** What all files together may hold. Unbounded by default; `capacityBytes` changes it later. */
  readonly capacityBytes?: number;
  /** Asked at each call; `onCall` of the disk changes it later. */
  readonly onCall?: (call: DiskCall) => DiskVerdict;
}

type Outcome<T> = { readonly error: DiskError } | { readonly error?: undefined; readonly value: T };

type CallDescription = Omit<DiskCall, "ordinal">;

/** What a file needs of its disk. */
interface CallHost {
  readonly isDead: boolean;
  readonly fileSystem: SimulatedFileSystem;
  readonly random: Random;
  /** Bytes that the files may still grow by. */
  roomBytes(): number;
  later(run: () => void): void;
  start<T>(
    call: CallDescription,
    perform: (trouble: DiskTrouble) => Outcome<T>,
    finish: (outcome: Outcome<T>) => void,
  ): void;
  /** `start` as a promise, for calls on which a fault has no effect but the error. */
  run<T>(call: CallDescription, perform: () => T): Promise<T>;
}

class SimulatedFile implements DiskFile {
  readonly path: string;
  readonly #host: CallHost;
  readonly #inode: SimulatedInode;
  #inFlightCount = 0;
  #changing: "write" | "sync" | "truncate" | undefined;
  #isClosed = false;
  #whenIdle: (() => void)[] = [];
  #syncError: DiskError | undefined;

  constructor(host: CallHost, path: string, inode: SimulatedInode) {
    this.#host = host;
    this.path = path;
    this.#inode = inode;
  }

  write(position: number, buffers: readonly Buffer[], done: DiskCallback): void {
    assertSafe(position, "a position to write at");
    if (this.#isRefused("write", done)) return;
    this.#enter("write");
    const bytes = Buffer.concat(buffers);
    this.#host.start<undefined>(
      { operation: "write", path: this.path, position, bytes: bytes.length },
      (trouble) => this.#performWrite(position, bytes, trouble),
      ({ error }) => {
        assert(bytes.equals(Buffer.concat(buffers)), "buffers do not change until the callback");
        this.#leave("write");
        done(error);
      },
    );
  }

  sync(done: DiskCallback): void {
    if (this.#isRefused("sync", done)) return;
    this.#enter("sync");
    const sequence = this.#host.fileSystem.sequence;
    this.#host.start<undefined>(
      { operation: "sync", path: this.path },
      (trouble) => this.#performSync(sequence, trouble),
      ({ error }) => {
        this.#syncError = error;
        this.#leave("sync");
        done(error);
      },
    );
  }

  async read(position: number, bytes: number): Promise<Buffer> {
    assertSafe(position, "a position to read from");
    assertSafe(bytes, "a count of bytes to read");
    return await this.#run({ operation: "read", path: this.path, position, bytes }, () =>
      this.#inode.current.read(position, bytes),
    );
  }

  async size(): Promise<number> {
    const call = { operation: "size", path: this.path } as const;
    return await this.#run(call, () => this.#inode.current.size);
  }

  async truncate(bytes: number): Promise<void> {
    assertSafe(bytes, "a size to cut the file to");
    if (this.#syncError !== undefined) throw this.#syncError;
    const isStarted = !this.#isClosed && !this.#host.isDead;
    if (isStarted) this.#enter("truncate");
    try {
      await this.#run({ operation: "truncate", path: this.path, bytes }, () => {
        if (bytes - this.#inode.current.size > this.#host.roomBytes()) {
          throw new DiskError("full", "truncate", this.path);
        }
        this.#inode.change(this.#host.fileSystem.nextSequence(), { kind: "resize", bytes });
      });
    } finally {
      if (isStarted) this.#leave("truncate");
    }
  }

  /** Waits for the calls in flight. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#inFlightCount === 0 || this.#host.isDead) return;
    await new Promise<void>((idle) => {
      // A turn later, so that the callers of those calls have heard of them.
      this.#whenIdle.push(() => {
        this.#host.later(idle);
      });
    });
  }

  #performWrite(position: number, bytes: Buffer, trouble: DiskTrouble): Outcome<undefined> {
    if (trouble.isDropped === true) return { value: undefined };
    const at = trouble.misdirectedTo ?? position;
    const growth = Math.max(0, at + bytes.length - this.#inode.current.size);
    const lack = growth === 0 ? 0 : Math.max(0, growth - this.#host.roomBytes());
    const fault = trouble.fault ?? (lack > 0 ? "full" : undefined);
    let part = bytes;
    if (fault !== undefined) {
      // Like a real one, a write that fails may have written some of it.
      const fitting = Math.max(0, bytes.length - lack);
      part = bytes.subarray(0, randomInteger(this.#host.random, fitting + 1));
    }
    if (part.length > 0) {
      const change = { kind: "write", position: at, bytes: part } as const;
      this.#inode.change(this.#host.fileSystem.nextSequence(), change);
    }
    if (fault === undefined) return { value: undefined };
    return { error: new DiskError(fault, "write", this.path) };
  }

  #performSync(sequence: number, trouble: DiskTrouble): Outcome<undefined> {
    if (trouble.fault === undefined) {
      this.#inode.sync(sequence);
      return { value: undefined };
    }
    const chance = this.#host.random.next() < 0.5 ? "kept" : "lost";
    this.#inode.failSync(sequence, trouble.unsynced ?? chance);
    // As on the real disk, even a full one is `io` here: the call must not be tried again.
    const cause = new Error(`simulated fault: ${trouble.fault}`);
    return { error: new DiskError("io", "sync", this.path, cause) };
  }

  /** True if the call is not to be started; `done` hears why, unless the disk is dead. */
  #isRefused(operation: string, done: DiskCallback): boolean {
    if (this.#host.isDead) return true;
    const refusal = this.#isClosed ? this.#closedError(operation) : this.#syncError;
    if (refusal === undefined) return false;
    this.#host.later(() => {
      done(refusal);
    });
    return true;
  }

  #closedError(operation: string): DiskError {
    return new DiskError("io", operation, this.path, new Error("the file is closed"));
  }

  #enter(operation: "write" | "sync" | "truncate"): void {
    assert(this.#changing === undefined, "write, sync and truncate of a file never overlap");
    this.#changing = operation;
    this.#inFlightCount += 1;
  }

  #leave(operation: "write" | "sync" | "truncate" | undefined): void {
    if (operation !== undefined) {
      assert(this.#changing === operation, "a change of a file ends once");
      this.#changing = undefined;
    }
    this.#inFlightCount -= 1;
    if (this.#inFlightCount > 0) return;
    for (const idle of this.#whenIdle.splice(0)) idle();
  }

  async #run<T>(call: CallDescription, perform: () => T): Promise<T> {
    if (this.#isClosed && !this.#host.isDead) throw this.#closedError(call.operation);
    this.#inFlightCount += 1;
    try {
      return await this.#host.run(call, perform);
    } finally {
      this.#leave(undefined);
    }
  }
}

/** A disk in memory. `crash` ends it and gives the one that comes back. */
export class SimulatedDisk implements Disk, CallHost {
  readonly random: Random;
  /** What all files together may hold. */
  capacityBytes: number;
  /** Asked at each call how it shall go. */
  onCall: ((call: DiskCall) => DiskVerdict) | undefined;

  readonly #options: SimulatedDiskOptions;
  readonly #fileSystem: SimulatedFileSystem;
  /** Calls that have not taken effect; a Set keeps their order. */
  readonly #inFlight = new Set<() => void>();
  #callCount = 0;
  #isDead = false;
  #isLocked = false;

  /** @param fileSystem What the disk holds; empty by default. */
  constructor(options: SimulatedDiskOptions, fileSystem = new SimulatedFileSystem()) {
    this.#options = options;
    this.random = options.random;
    this.capacityBytes = options.capacityBytes ?? Number.MAX_SAFE_INTEGER;
    this.onCall = options.onCall;
    this.#fileSystem = fileSystem;
  }

  /** True once it has crashed. */
  get isDead(): boolean {
    return this.#isDead;
  }

  /** What the disk holds, for its open files. */
  get fileSystem(): SimulatedFileSystem {
    return this.#fileSystem;
  }

  /** Calls started so far. */
  get callCount(): number {
    return this.#callCount;
  }

  /** Calls started and not answered. */
  get inFlightCount(): number {
    return this.#inFlight.size;
  }

  /** Bytes that the files may still grow by. */
  roomBytes(): number {
    if (this.capacityBytes === Number.MAX_SAFE_INTEGER) return this.capacityBytes;
    return Math.max(0, this.capacityBytes - this.#fileSystem.usedBytes());
  }

  async open(path: string): Promise<DiskFile> {
    assertFilePath(path);
    return await this.run({ operation: "open", path }, () => {
      const node = this.#existing("open", path);
      if (node instanceof SimulatedInode) return new SimulatedFile(this, path, node);
      throw new DiskError("io", "open", path, new Error("it is a directory"));
    });
  }

  async create(path: string): Promise<DiskFile> {
    assertFilePath(path);
    return await this.run({ operation: "create", path }, () => {
      const parent = this.#parent("create", path);
      if (this.#fileSystem.find(path) !== undefined) throw new DiskError("exists", "create", path);
      const inode = new SimulatedInode();
      const sequence = this.#fileSystem.nextSequence();
      parent.change({ name: nameOf(path), node: inode, sequence });
      return new SimulatedFile(this, path, inode);
    });
  }

  async list(directory: string): Promise<string[]> {
    assertDirectoryPath(directory);
    return await this.run({ operation: "list", path: directory }, () => {
      const node = this.#fileSystem.find(directory);
      if (node === undefined) return [];
      if (node instanceof SimulatedDirectory) return [...node.current.keys()].sort();
      throw new DiskError("io", "list", directory, new Error("it is a file"));
    });
  }

  async makeDirectory(directory: string): Promise<void> {
    assertDirectoryPath(directory);
    await this.run({ operation: "makeDirectory", path: directory }, () => {
      let parent = this.#fileSystem.root;
      for (const name of directory === "" ? [] : directory.split("/")) {
        const known = parent.current.get(name);
        const child = known ?? new SimulatedDirectory();
        if (!(child instanceof SimulatedDirectory)) {
          throw new DiskError("exists", "makeDirectory", directory);
        }
        if (known === undefined) {
          parent.change({ name, node: child, sequence: this.#fileSystem.nextSequence() });
        }
        parent = child;
      }
    });
  }

  async rename(from: string, to: string): Promise<void> {
    assertFilePath(from);
    assertFilePath(to);
    await this.run({ operation: "rename", path: from }, () => {
      this.#performRename(from, to);
    });
  }

  async remove(path: string): Promise<void> {
    assertFilePath(path);
    await this.run({ operation: "remove", path }, () => {
      if (this.#existing("remove", path) instanceof SimulatedDirectory) {
        throw new DiskError("io", "remove", path, new Error("it is a directory"));
      }
      this.#unlink(path);
    });
  }

  async removeTree(directory: string): Promise<void> {
    assertFilePath(directory);
    await this.run({ operation: "removeTree", path: directory }, () => {
      if (this.#fileSystem.find(directory) !== undefined) this.#unlinkTree(directory);
    });
  }

  async syncDirectory(directory: string): Promise<void> {
    assertDirectoryPath(directory);
    const sequence = this.#fileSystem.sequence;
    await this.run({ operation: "syncDirectory", path: directory }, () => {
      const node = this.#existing("syncDirectory", directory);
      if (node instanceof SimulatedInode) throw new DiskError("io", "syncDirectory", directory);
      node.sync(sequence);
    });
  }

  async freeBytes(): Promise<number> {
    return await this.run({ operation: "freeBytes", path: "" }, () => this.roomBytes());
  }

  async lock(): Promise<DiskLock> {
    return await this.run({ operation: "lock", path: "" }, () => {
      if (this.#isLocked) throw new DiskError("locked", "lock", "");
      this.#isLocked = true;
      let isHeld = true;
      return {
        release: (): Promise<void> => {
          if (isHeld) this.#isLocked = false;
          isHeld = false;
          return Promise.resolve();
        },
      };
    });
  }

  /**
   * Ends this disk as a crash would, and gives the disk as it comes back: unlocked, with the same
   * capacity and faults, its calls counted from 0.
   */
  crash(mode: CrashMode = "keep-some"): SimulatedDisk {
    assert(!this.#isDead, "a disk crashes once");
    this.#isDead = true;
    for (const perform of this.#inFlight) {
      if (mode !== "lose-unsynced" && this.random.next() < 0.5) perform();
    }
    this.#inFlight.clear();
    return this.#successor(mode);
  }

  /** The disk as it would come back from a crash now; this one lives on. */
  fork(mode: CrashMode = "lose-unsynced"): SimulatedDisk {
    return this.#successor(mode);
  }

  /** What a reader finds in the file now; undefined if there is none. */
  snapshotBytes(path: string): Buffer | undefined {
    const node = this.#fileSystem.find(path);
    if (!(node instanceof SimulatedInode)) return undefined;
    return node.current.read(0, node.current.size);
  }

  /** What is sure to be in the file after any crash; undefined if its name is not durable. */
  durableBytes(path: string): Buffer | undefined {
    const node = this.#fileSystem.findDurable(path);
    if (!(node instanceof SimulatedInode)) return undefined;
    return node.durable.read(0, node.durable.size);
  }

  /** Flips one bit of the file, on the disk and for its readers. Writes out the file first. */
  corrupt(path: string, position: number, bit: number): void {
    assert(bit >= 0 && bit < 8, "a byte has bits 0 to 7");
    const inode = this.#fileAt(path);
    const byte = present(inode.current.read(position, 1)[0], "the position is in the file");
    this.#overwrite(inode, position, Buffer.from([byte ^ (1 << bit)]));
  }

  /** Zeros the file from a position up to another. Writes out the file first. */
  zero(path: string, from: number, to: number): void {
    const inode = this.#fileAt(path);
    assert(from <= to && to <= inode.current.size, "the positions are in the file");
    this.#overwrite(inode, from, Buffer.alloc(to - from));
  }

  /** Cuts the file behind the node's back. Writes out the file first. */
  truncateFile(path: string, bytes: number): void {
    const inode = this.#fileAt(path);
    inode.current.resize(bytes);
    inode.settle();
  }

  /** Runs something after this call, unless the disk has crashed by then. */
  later(run: () => void): void {
    this.#schedule(0, () => {
      if (!this.#isDead) run();
    });
  }

  /** Starts a call: counts it, asks for its trouble, and lets it take effect when it completes. */
  start<T>(
    call: CallDescription,
    perform: (trouble: DiskTrouble) => Outcome<T>,
    finish: (outcome: Outcome<T>) => void,
  ): void {
    if (this.#isDead) return;
    const ordinal = this.#callCount;
    this.#callCount += 1;
    const verdict = this.onCall?.({ ...call, ordinal }) ?? "ok";
    const trouble = typeof verdict === "string" ? troubleOf(verdict) : verdict;
    const effect = (): Outcome<T> => perform(trouble);
    this.#inFlight.add(effect);
    if (trouble.hangs === true) return;
    const latencyMs = this.random.next() * (this.#options.latencyMsMax ?? 0);
    this.#schedule(trouble.delayMs ?? latencyMs, () => {
      if (this.#isDead) return;
      this.#inFlight.delete(effect);
      finish(effect());
    });
  }

  /** `start` as a promise, for calls on which a fault has no effect but the error. */
  async run<T>(call: CallDescription, perform: () => T): Promise<T> {
    return await new Promise<T>((resolve, reject) => {
      this.start<T>(
        call,
        ({ fault }) => {
          if (fault !== undefined)
            return { error: new DiskError(fault, call.operation, call.path) };
          try {
            return { value: perform() };
          } catch (error) {
            if (error instanceof DiskError) return { error };
            throw error;
          }
        },
        (outcome) => {
          if (outcome.error === undefined) resolve(outcome.value);
          else reject(outcome.error);
        },
      );
    });
  }

  #schedule(delayMs: number, run: () => void): void {
    let hasReturned = false;
    this.#options.schedule(delayMs, () => {
      assert(hasReturned, "a schedule never runs before it returns");
      run();
    });
    hasReturned = true;
  }

  #successor(mode: CrashMode): SimulatedDisk {
    const { onCall, capacityBytes } = this;
    const options = { ...this.#options, capacityBytes };
    const fileSystem = this.#fileSystem.afterCrash(mode, this.random);
    const disk = new SimulatedDisk(options, fileSystem);
    disk.onCall = onCall;
    return disk;
  }

  #existing(operation: DiskOperation, path: string): SimulatedNode {
    const node = this.#fileSystem.find(path);
    if (node === undefined) throw new DiskError("not-found", operation, path);
    return node;
  }

  #parent(operation: DiskOperation, path: string): SimulatedDirectory {
    const node = this.#fileSystem.find(parentOf(path));
    if (node === undefined) throw new DiskError("not-found", operation, path);
    if (node instanceof SimulatedDirectory) return node;
    throw new DiskError("io", operation, path, new Error("what holds it is a file"));
  }

  #performRename(from: string, to: string): void {
    const node = this.#existing("rename", from);
    const target = this.#parent("rename", to);
    const replaced = this.#fileSystem.find(to);
    if (replaced === node) return;
    const isMisfit =
      to.startsWith(`${from}/`) ||
      (replaced instanceof SimulatedDirectory &&
        (replaced.current.size > 0 || node instanceof SimulatedInode)) ||
      (replaced instanceof SimulatedInode && node instanceof SimulatedDirectory);
    if (isMisfit) throw new DiskError("io", "rename", from);
    const sequence = this.#fileSystem.nextSequence();
    this.#parent("rename", from).change({ name: nameOf(from), node: undefined, sequence });
    target.change({ name: nameOf(to), node, sequence });
  }

  #unlink(path: string): void {
    const sequence = this.#fileSystem.nextSequence();
    this.#parent("remove", path).change({ name: nameOf(path), node: undefined, sequence });
  }

  /** Name by name, as the real one: a crash may bring back any of them whose parent comes back. */
  #unlinkTree(path: string): void {
    const node = this.#existing("removeTree", path);
    if (node instanceof SimulatedDirectory) {
      for (const name of [...node.current.keys()]) this.#unlinkTree(`${path}/${name}`);
    }
    this.#unlink(path);
  }

  #fileAt(path: string): SimulatedInode {
    const node = this.#fileSystem.find(path);
    assert(node instanceof SimulatedInode, "there is a file to damage at the path");
    return node;
  }

  #overwrite(inode: SimulatedInode, position: number, bytes: Buffer): void {
    inode.current.write(position, bytes);
    inode.settle();
  }
}

function troubleOf(verdict: "ok" | DiskFault): DiskTrouble {
  return verdict === "ok" ? {} : { fault: verdict };
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
