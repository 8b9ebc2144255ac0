/**
 * The disk port: everything proglog keeps goes through it, so that a simulator can own the disk.
 *
 * What a write means: bytes handed to `write` may be kept, lost, or torn at any sector by a power
 * cut until a `sync` that started after the write's completion has succeeded; a new, renamed or
 * removed name may come back as it was until `syncDirectory` has succeeded. A failed `sync` is
 * final for the file: what was unsynced is of unknown fate, and the caller must stop (ADR-0004).
 *
 * Hot calls take callbacks: a promise costs more than the call (docs/performance.md). Callbacks
 * never run before the call returns. Completion is in no set order between different calls.
 */
import type { ErrorCode } from "../common/errors.js";

/** Why a disk call failed. `full` is the only one after which the same call may be tried again. */
export type DiskFault = "full" | "not-found" | "exists" | "locked" | "denied" | "io";

/** A failed disk call; the message names the operation and the file, for the log of the node. */
export class DiskError extends Error {
  override readonly name = "DiskError";
  readonly fault: DiskFault;
  readonly path: string;

  constructor(fault: DiskFault, operation: string, path: string, cause?: unknown) {
    super(`${operation} ${path}: ${fault}`, { cause });
    this.fault = fault;
    this.path = path;
  }

  /** The code under which clients see it. */
  get code(): ErrorCode {
    return this.fault === "full" ? "disk-full" : "internal";
  }
}

/** Calls back once: with an error, or with undefined when the call has succeeded. */
export type DiskCallback = (error: DiskError | undefined) => void;

/**
 * An open file. Several reads may run at once; the caller never overlaps write, sync and
 * truncate.
 */
export interface DiskFile {
  readonly path: string;
  /**
   * Writes all buffers, one after the other, at the position; grows the file if need be. A short
   * write is continued, never reported. The buffers must not change until the callback.
   */
  write(position: number, buffers: readonly Buffer[], done: DiskCallback): void;
  /** Makes every completed write durable, and the file's size (fdatasync). */
  sync(done: DiskCallback): void;
  /** Reads up to `bytes`; the buffer is shorter only at the end of the file. */
  read(position: number, bytes: number): Promise<Buffer>;
  /** Size in bytes. */
  size(): Promise<number>;
  /** Cuts the file to the size, or extends it with zeros. Not durable before `sync`. */
  truncate(bytes: number): Promise<void>;
  close(): Promise<void>;
}

/** Released by `release`, or by the end of the process. */
export interface DiskLock {
  release(): Promise<void>;
}

/** A directory tree of which this is the root. Paths are relative, with `/`, never `..`. */
export interface Disk {
  /** Opens for reading and writing. @throws DiskError not-found */
  open(path: string): Promise<DiskFile>;
  /** Creates an empty file. @throws DiskError exists */
  create(path: string): Promise<DiskFile>;
  /** Names in the directory, sorted; empty if it does not exist. */
  list(directory: string): Promise<string[]>;
  /**
   * Creates the directory and its parents; fine if it exists. Not durable before syncDirectory
   * of the parent.
   */
  makeDirectory(directory: string): Promise<void>;
  /** Replaces `to` if it exists. Both in the same directory tree. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file. @throws DiskError not-found */
  remove(path: string): Promise<void>;
  /** Removes a directory and all in it; fine if it does not exist. */
  removeTree(directory: string): Promise<void>;
  /** Makes the names in the directory durable: creations, renames, removals. `""` is the root. */
  syncDirectory(directory: string): Promise<void>;
  /** Bytes that can still be written. */
  freeBytes(): Promise<number>;
  /** Keeps every other process out of this root. @throws DiskError locked */
  lock(): Promise<DiskLock>;
}

/** `write` as a promise, for the cold paths. */
export async function writeAll(file: DiskFile, position: number, bytes: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    file.write(position, [bytes], settle(resolve, reject));
  });
}

/** `sync` as a promise, for the cold paths. */
export async function syncFile(file: DiskFile): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    file.sync(settle(resolve, reject));
  });
}

function settle(resolve: () => void, reject: (error: DiskError) => void): DiskCallback {
  return (error) => {
    if (error === undefined) resolve();
    else reject(error);
  };
}

/**
 * Replaces a small file as one step: after a crash it holds the old bytes or the new, never a
 * mixture and never nothing.
 */
export async function replaceFile(disk: Disk, path: string, bytes: Buffer): Promise<void> {
  const slash = path.lastIndexOf("/");
  const directory = slash < 0 ? "" : path.slice(0, slash);
  const draft = `${path}.tmp`;
  if ((await disk.list(directory)).includes(draft.slice(slash + 1))) await disk.remove(draft);
  const file = await disk.create(draft);
  try {
    await writeAll(file, 0, bytes);
    await syncFile(file);
  } finally {
    await file.close();
  }
  await disk.rename(draft, path);
  await disk.syncDirectory(directory);
}

/** The whole file. @throws DiskError not-found */
export async function readWholeFile(disk: Disk, path: string): Promise<Buffer> {
  const file = await disk.open(path);
  try {
    return await file.read(0, await file.size());
  } finally {
    await file.close();
  }
}
