/**
 * The disk port on Node's own file system: the one file in src that reads and writes real files.
 *
 * It must never report a write or a sync that the kernel has not confirmed, never leave the root
 * directory, and never use a file descriptor after it was given back: a descriptor's number is
 * used again at once, so a late write would land in another file. `close` therefore waits for the
 * calls in flight.
 *
 * Hot calls (write, sync, read) use Node's callbacks; a FileHandle's promises cost half as much
 * again (docs/performance.md). All else uses promises. Files have mode 0600, directories 0700; a
 * root that exists keeps its mode, because on a mounted volume it is not ours to change. Symbolic
 * links are not followed in a path's last name.
 *
 * The lock is the kernel's own: an empty LevelDB database in `lock/`, kept open. LevelDB holds an
 * fcntl lock on its LOCK file, which ends with the process however it dies, so there are no stale
 * locks to guess about (process ids repeat, most of all in containers), and which keeps out other
 * containers on the same kernel. Two things about fcntl locks must be guarded here: they do not
 * exclude the process that holds them, and closing any descriptor of the file drops them. So a
 * second lock of this process is refused from a table, before LevelDB opens the file. The table
 * knows the root by its real path. Limit: on a network file system the lock is worth what that
 * file system's fcntl locks are worth.
 */
import fs from "node:fs";
import { mkdir, open, readdir, realpath, rename, rm, statfs, unlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";

import { Level } from "level";

import { assert, assertSafe } from "../common/assert.js";
import { DiskError } from "./disk.js";
import type { Disk, DiskCallback, DiskFault, DiskFile, DiskLock } from "./disk.js";
import { assertDirectoryPath, assertFilePath } from "./disk-path.js";

const fileMode = 0o600;
const directoryMode = 0o700;
/** The kernel's limit of buffers in one writev. */
const writevBuffersMax = 1024;
/** One call's bytes: Node takes a signed 32-bit length. */
const callBytesMax = 2 ** 30;
/** The directory of the lock's database. */
const lockDirectory = "lock";
/** Its files, but for LOCK, which carries the lock and must never be replaced. */
const lockDatabaseNames = /^(CURRENT|LOG|LOG\.old|MANIFEST-\d+|\d+\.(log|ldb|sst|dbtmp))$/;

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR } = fs.constants;

/** Real paths of the roots that this process has locked: see the head of this file. */
const lockedRoots = new Set<string>();

const faults: Readonly<Record<string, DiskFault>> = {
  ENOSPC: "full",
  EDQUOT: "full",
  ENOENT: "not-found",
  EEXIST: "exists",
  EACCES: "denied",
  EPERM: "denied",
  EROFS: "denied",
  ELOOP: "denied",
};

function codeOf(error: unknown): string {
  if (typeof error !== "object" || error === null || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}

function diskError(operation: string, path: string, cause: unknown): DiskError {
  if (cause instanceof DiskError) return cause;
  return new DiskError(faults[codeOf(cause)] ?? "io", operation, path, cause);
}

/** Runs a cold call; what it throws becomes a DiskError. */
async function attempt<T>(operation: string, path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw diskError(operation, path, error);
  }
}

/**
 * What is left of the buffers after a write of `bytes`: how a short write is continued.
 *
 * The buffers are views of the old ones; none of them is empty if none was.
 */
export function unwritten(buffers: readonly Buffer[], bytes: number): readonly Buffer[] {
  let left = bytes;
  for (const [ordinal, buffer] of buffers.entries()) {
    if (left < buffer.length) {
      return left === 0
        ? buffers.slice(ordinal)
        : [buffer.subarray(left), ...buffers.slice(ordinal + 1)];
    }
    left -= buffer.length;
  }
  assert(left === 0, "a write is never longer than what was handed to it");
  return [];
}

/** Writes all the buffers, in as many calls as it takes. */
function writeBuffers(
  descriptor: number,
  position: number,
  buffers: readonly Buffer[],
  done: (error: Error | null) => void,
): void {
  const continueAfter = (error: Error | null, bytes: number): void => {
    if (error !== null) {
      done(error);
    } else if (bytes === 0) {
      // Without this a device that takes nothing and says nothing would hold us for ever.
      done(new Error("the write made no progress"));
    } else {
      const rest = unwritten(buffers, bytes);
      if (rest.length === 0) done(null);
      else writeBuffers(descriptor, position + bytes, rest, done);
    }
  };
  const first = buffers[0];
  if (first === undefined) {
    process.nextTick(done, null);
  } else if (buffers.length === 1 || first.length > callBytesMax) {
    const bytes = Math.min(first.length, callBytesMax);
    fs.write(descriptor, first, 0, bytes, position, continueAfter);
  } else {
    fs.writev(descriptor, buffers.slice(0, writevBuffersMax), position, continueAfter);
  }
}

/** Fills the target from the file, in as many calls as it takes, up to the end of the file. */
function readInto(
  descriptor: number,
  target: Buffer,
  from: { readonly filled: number; readonly position: number },
  done: (error: Error | null, filled: number) => void,
): void {
  const { filled, position } = from;
  const bytes = Math.min(target.length - filled, callBytesMax);
  if (bytes === 0) {
    process.nextTick(done, null, filled);
    return;
  }
  fs.read(descriptor, target, filled, bytes, position, (error, bytesRead) => {
    if (error !== null) {
      done(error, filled);
    } else if (bytesRead === 0 || bytesRead === target.length - filled) {
      done(null, filled + bytesRead);
    } else {
      const next = { filled: filled + bytesRead, position: position + bytesRead };
      readInto(descriptor, target, next, done);
    }
  });
}

/** Reads at one time, over all files: the pool's other threads are the log's. */
const readsInFlightMax = 2;

/**
 * Lets only so many reads into libuv's pool at once. It has four threads for everything: reads of a
 * cold disk would take them all, and the sync that an acknowledgement waits for would queue behind.
 */
class ReadTurns {
  #inFlightCount = 0;
  readonly #waiting: (() => void)[] = [];

  /** Calls `run` when it is its turn, with how to end the turn. */
  take(run: (release: () => void) => void): void {
    const start = (): void => {
      this.#inFlightCount += 1;
      run(() => {
        this.#inFlightCount -= 1;
        this.#waiting.shift()?.();
      });
    };
    if (this.#inFlightCount < readsInFlightMax) start();
    else this.#waiting.push(start);
  }
}

/** Largest write done without the thread pool. */
const inlineBytesMax = 64 * 1024;

function bytesOf(buffers: readonly Buffer[]): number {
  return buffers.reduce((bytes, buffer) => bytes + buffer.length, 0);
}

/** An open file. Invariant: the descriptor is open as long as any call is in flight. */
class NodeDiskFile implements DiskFile {
  readonly path: string;
  readonly #descriptor: number;
  readonly #turns: ReadTurns;
  /** The file has at least this size. */
  #bytesKnown = 0;
  #inFlightCount = 0;
  #closing: Promise<void> | undefined;
  #whenIdle: (() => void) | undefined;
  /** The sync that failed. None is tried after it: the kernel may call lost pages clean. */
  #syncError: DiskError | undefined;

  constructor(path: string, descriptor: number, turns: ReadTurns) {
    this.#turns = turns;
    this.path = path;
    this.#descriptor = descriptor;
  }

  write(position: number, buffers: readonly Buffer[], done: DiskCallback): void {
    assertSafe(position, "a position to write at");
    const refusal = this.#refusal("write") ?? this.#syncError;
    if (refusal !== undefined) {
      process.nextTick(done, refusal);
      return;
    }
    this.#inFlightCount += 1;
    const queue = buffers.filter((buffer) => buffer.length > 0);
    const finish = (error: Error | null): void => {
      this.#leave();
      done(error === null ? undefined : diskError("write", this.path, error));
    };
    const rest = this.#writeInline(position, queue);
    if (rest instanceof Error) process.nextTick(finish, rest);
    else if (rest.length === 0) process.nextTick(finish, null);
    else writeBuffers(this.#descriptor, position + bytesOf(queue) - bytesOf(rest), rest, finish);
  }

  /**
   * Small writes go to the page cache at once: that takes microseconds, and the way through the
   * pool and back takes many times that. What is durable is decided by `sync`, which never blocks.
   * Only where the file does not grow: growing may wait for the file system's journal, and the
   * whole node with it.
   *
   * @returns What is still to be written.
   */
  #writeInline(position: number, queue: readonly Buffer[]): readonly Buffer[] | Error {
    const bytes = bytesOf(queue);
    if (bytes === 0 || bytes > inlineBytesMax || queue.length > writevBuffersMax) return queue;
    if (position + bytes > this.#bytesKnown) return queue;
    try {
      return unwritten(queue, fs.writevSync(this.#descriptor, queue, position));
    } catch (error) {
      return error as Error;
    }
  }

  sync(done: DiskCallback): void {
    const refusal = this.#refusal("sync") ?? this.#syncError;
    if (refusal !== undefined) {
      process.nextTick(done, refusal);
      return;
    }
    this.#inFlightCount += 1;
    fs.fdatasync(this.#descriptor, (error) => {
      // Even ENOSPC is `io` here: `full` would tell the caller to try again.
      if (error !== null) this.#syncError = new DiskError("io", "sync", this.path, error);
      this.#leave();
      done(this.#syncError);
    });
  }

  async read(position: number, bytes: number): Promise<Buffer> {
    assertSafe(position, "a position to read from");
    assertSafe(bytes, "a count of bytes to read");
    return await this.#run<Buffer>("read", (resolveRead, reject) => {
      const target = Buffer.allocUnsafe(bytes);
      this.#turns.take((release) => {
        readInto(this.#descriptor, target, { filled: 0, position }, (error, filled) => {
          release();
          if (error !== null) reject(error);
          else resolveRead(filled === bytes ? target : target.subarray(0, filled));
        });
      });
    });
  }

  async size(): Promise<number> {
    return await this.#run<number>("size", (resolveSize, reject) => {
      fs.fstat(this.#descriptor, (error, stats) => {
        if (error !== null) {
          reject(error);
          return;
        }
        this.#bytesKnown = stats.size;
        resolveSize(stats.size);
      });
    });
  }

  async truncate(bytes: number): Promise<void> {
    assertSafe(bytes, "a size to cut the file to");
    if (this.#syncError !== undefined) throw this.#syncError;
    await this.#run<undefined>("truncate", (resolveCut, reject) => {
      this.#bytesKnown = Math.min(this.#bytesKnown, bytes);
      fs.ftruncate(this.#descriptor, bytes, (error) => {
        if (error !== null) reject(error);
        else resolveCut(undefined);
      });
    });
  }

  /** Waits for the calls in flight, then gives the descriptor back. */
  async close(): Promise<void> {
    this.#closing ??= this.#closeOnce();
    await this.#closing;
  }

  async #closeOnce(): Promise<void> {
    if (this.#inFlightCount > 0) {
      await new Promise<void>((idle) => {
        this.#whenIdle = idle;
      });
    }
    await new Promise<void>((resolveClose, reject) => {
      fs.close(this.#descriptor, (error) => {
        if (error == null) resolveClose();
        else reject(diskError("close", this.path, error));
      });
    });
  }

  #refusal(operation: string): DiskError | undefined {
    if (this.#closing === undefined) return undefined;
    return new DiskError("io", operation, this.path, new Error("the file is closed"));
  }

  #leave(): void {
    this.#inFlightCount -= 1;
    assert(this.#inFlightCount >= 0, "a call on a file ends once");
    if (this.#inFlightCount === 0) this.#whenIdle?.();
  }

  /** One call with a promise, counted as in flight until it settles. */
  async #run<T>(
    operation: string,
    start: (resolveCall: (value: T) => void, reject: (error: Error) => void) => void,
  ): Promise<T> {
    const refusal = this.#refusal(operation);
    if (refusal !== undefined) throw refusal;
    this.#inFlightCount += 1;
    try {
      return await new Promise<T>(start);
    } catch (error) {
      throw diskError(operation, this.path, error);
    } finally {
      this.#leave();
    }
  }
}

/** The kernel lock of a root, held until `release`. */
class NodeDiskLock implements DiskLock {
  readonly #root: string;
  readonly #database: Level;
  #releasing: Promise<void> | undefined;

  constructor(root: string, database: Level) {
    this.#root = root;
    this.#database = database;
  }

  async release(): Promise<void> {
    this.#releasing ??= this.#releaseOnce();
    await this.#releasing;
  }

  async #releaseOnce(): Promise<void> {
    await attempt("unlock", this.#root, async () => {
      await this.#database.close();
    });
    lockedRoots.delete(this.#root);
  }
}

/** The directory tree under a real directory. */
export class NodeDisk implements Disk {
  /** Absolute. Made by `lock` or `makeDirectory("")`, not by the constructor. */
  readonly rootDirectory: string;
  readonly #turns = new ReadTurns();

  constructor(rootDirectory: string) {
    this.rootDirectory = resolve(rootDirectory);
  }

  async open(path: string): Promise<DiskFile> {
    assertFilePath(path);
    return await this.#openFile("open", path, O_RDWR | O_NOFOLLOW);
  }

  async create(path: string): Promise<DiskFile> {
    assertFilePath(path);
    return await this.#openFile("create", path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
  }

  async list(directory: string): Promise<string[]> {
    assertDirectoryPath(directory);
    return await attempt("list", directory, async () => {
      try {
        return (await readdir(this.#absolute(directory))).sort();
      } catch (error) {
        if (codeOf(error) === "ENOENT") return [];
        throw error;
      }
    });
  }

  async makeDirectory(directory: string): Promise<void> {
    assertDirectoryPath(directory);
    await this.#makeRoot();
    if (directory === "") return;
    await attempt("make directory", directory, async () => {
      await mkdir(this.#absolute(directory), { recursive: true, mode: directoryMode });
    });
  }

  async rename(from: string, to: string): Promise<void> {
    assertFilePath(from);
    assertFilePath(to);
    await attempt("rename", from, async () => {
      await rename(this.#absolute(from), this.#absolute(to));
    });
  }

  async remove(path: string): Promise<void> {
    assertFilePath(path);
    await attempt("remove", path, async () => {
      await unlink(this.#absolute(path));
    });
  }

  async removeTree(directory: string): Promise<void> {
    // The root itself is never removed: it holds the lock.
    assertFilePath(directory);
    await attempt("remove tree", directory, async () => {
      await rm(this.#absolute(directory), { recursive: true, force: true });
    });
  }

  async syncDirectory(directory: string): Promise<void> {
    assertDirectoryPath(directory);
    await attempt("sync directory", directory, async () => {
      await syncDirectoryAt(this.#absolute(directory));
    });
  }

  async freeBytes(): Promise<number> {
    return await attempt("free bytes", this.rootDirectory, async () => {
      const { bavail, bsize } = await statfs(this.rootDirectory);
      return bavail * bsize;
    });
  }

  /** Makes the root if it is not there; its name is then durable too. */
  async lock(): Promise<DiskLock> {
    await this.#makeRoot();
    const root = await attempt("lock", this.rootDirectory, () => realpath(this.rootDirectory));
    if (lockedRoots.has(root)) {
      throw new DiskError("locked", "lock", root, new Error("this process holds the lock"));
    }
    lockedRoots.add(root);
    try {
      return new NodeDiskLock(root, await openLockDatabase(root));
    } catch (error) {
      lockedRoots.delete(root);
      throw error;
    }
  }

  #absolute(path: string): string {
    return join(this.rootDirectory, path);
  }

  async #openFile(operation: string, path: string, flags: number): Promise<DiskFile> {
    const descriptor = await new Promise<number>((resolveOpen, reject) => {
      fs.open(this.#absolute(path), flags, fileMode, (error, opened) => {
        if (error === null) resolveOpen(opened);
        else reject(diskError(operation, path, error));
      });
    });
    return new NodeDiskFile(path, descriptor, this.#turns);
  }

  async #makeRoot(): Promise<void> {
    await attempt("make directory", this.rootDirectory, async () => {
      const options = { recursive: true, mode: directoryMode };
      const topmost = await mkdir(this.rootDirectory, options);
      if (topmost === undefined) return;
      // Each directory that is new has its name in the one above it.
      let directory = this.rootDirectory;
      do {
        directory = dirname(directory);
        await syncDirectoryAt(directory);
      } while (directory.length >= topmost.length);
    });
  }
}

async function syncDirectoryAt(absolute: string): Promise<void> {
  const handle = await open(absolute, O_RDONLY | O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Opens the database whose open state is the lock.
 *
 * LevelDB takes the lock before it looks at anything else. So if it finds its own files damaged
 * (a power cut may do that, and there is nothing in them) nobody held the lock, and all but the
 * lock's file can go: another process that took the lock in between has it on that very file.
 */
async function openLockDatabase(root: string): Promise<Level> {
  const directory = join(root, lockDirectory);
  await attempt("lock", root, async () => {
    await mkdir(directory, { recursive: true, mode: directoryMode });
  });
  try {
    return await openOnce(directory);
  } catch (error) {
    const found = levelError("lock", root, error);
    if (found.fault !== "io") throw found;
  }
  await attempt("lock", root, async () => {
    for (const name of await readdir(directory)) {
      if (lockDatabaseNames.test(name)) await rm(join(directory, name), { force: true });
    }
  });
  try {
    return await openOnce(directory);
  } catch (error) {
    throw levelError("lock", root, error);
  }
}

async function openOnce(directory: string): Promise<Level> {
  const options = { cacheSize: 0, writeBufferSize: 64 * 1024, compression: false };
  const database = new Level(directory, options);
  await database.open();
  return database;
}

/** LevelDB gives a code for a held lock, and only the system's words for all else. */
export function levelError(operation: string, path: string, error: unknown): DiskError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  if (codeOf(cause) === "LEVEL_LOCKED") return new DiskError("locked", operation, path, cause);
  const words = cause instanceof Error ? cause.message : "";
  if (/No space left|quota exceeded/i.test(words))
    return new DiskError("full", operation, path, cause);
  if (/Permission denied|Read-only/i.test(words)) {
    return new DiskError("denied", operation, path, cause);
  }
  return new DiskError("io", operation, path, cause);
}
