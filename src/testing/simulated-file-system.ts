/**
 * What a simulated disk holds: files and directories, each with what is durable, what a reader
 * sees now, and the changes between the two, in order.
 *
 * It knows nothing of time, calls or faults (simulated-disk.ts does); a change here happens at
 * once. It must never let a power cut touch a byte that a sync has covered and no later change
 * has: sectors are power-safe, so a torn sector harms only the bytes that were being written.
 *
 * After a power cut (docs/testing.md lists the faults)
 *  - each 512-byte sector of each unsynced write is kept, lost or torn for itself, and so is the
 *    growth of the file: a later write may survive an earlier one;
 *  - each unsynced creation, rename and removal of a name is kept or undone for itself; a rename
 *    is one step as long as neither of its directories was synced.
 *
 * Invariant: the current state is the durable one with all pending changes applied in order, but
 * for bytes that a failed sync stranded in the cache.
 */
import { assert, assertSafe } from "../common/assert.js";
import { randomInteger } from "../common/random.js";
import type { Random } from "../common/random.js";

const pageBytes = 4096;
/** What a power cut keeps or loses as a whole. */
export const sectorBytes = 512;

/**
 * What is left after a crash.
 *
 * - `kill`: the process dies and the machine does not; all that was written is there, and what
 *   was not durable still is not.
 * - `lose-unsynced`: a power cut that loses every unsynced change.
 * - `keep-some`: a power cut that keeps any of the unsynced sectors, sizes and names.
 * - `tear`: as `keep-some`, and a sector may also be half new, zeros, or noise.
 */
export type CrashMode = "kill" | "lose-unsynced" | "keep-some" | "tear";

/**
 * Bytes with holes that read as zeros. Pages are never changed in place, so that a copy of an
 * image costs only its table of pages.
 */
export class SparseImage {
  #pages: Map<number, Buffer>;
  #size: number;

  constructor(source?: SparseImage) {
    this.#pages = new Map(source === undefined ? [] : source.#pages);
    this.#size = source === undefined ? 0 : source.#size;
  }

  get size(): number {
    return this.#size;
  }

  /** Shorter than asked for only at the end of the image. */
  read(position: number, bytes: number): Buffer {
    const target = Buffer.alloc(Math.max(0, Math.min(bytes, this.#size - position)));
    for (let at = 0; at < target.length;) {
      const within = (position + at) % pageBytes;
      const count = Math.min(pageBytes - within, target.length - at);
      const page = this.#pages.get(Math.floor((position + at) / pageBytes));
      page?.copy(target, at, within, within + count);
      at += count;
    }
    return target;
  }

  write(position: number, bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      const ordinal = Math.floor((position + at) / pageBytes);
      const within = (position + at) % pageBytes;
      const count = Math.min(pageBytes - within, bytes.length - at);
      const page = Buffer.alloc(pageBytes);
      this.#pages.get(ordinal)?.copy(page);
      bytes.copy(page, within, at, at + count);
      this.#pages.set(ordinal, page);
      at += count;
    }
    if (bytes.length > 0) this.#size = Math.max(this.#size, position + bytes.length);
  }

  /** Cuts, or extends with zeros. */
  resize(bytes: number): void {
    if (bytes < this.#size) {
      const last = Math.floor(bytes / pageBytes);
      for (const ordinal of this.#pages.keys()) if (ordinal > last) this.#pages.delete(ordinal);
      const page = this.#pages.get(last);
      if (page !== undefined) {
        this.#pages.set(last, Buffer.from(page).fill(0, bytes - last * pageBytes));
      }
    }
    this.#size = bytes;
  }
}

type FileChange =
  | { readonly kind: "write"; readonly position: number; readonly bytes: Buffer }
  | { readonly kind: "resize"; readonly bytes: number };

interface PendingFileChange {
  readonly sequence: number;
  readonly change: FileChange;
  /** A failed sync has marked it clean: no later sync will write it. */
  stranded: boolean;
}

function applyChange(image: SparseImage, change: FileChange): void {
  if (change.kind === "write") image.write(change.position, change.bytes);
  else image.resize(change.bytes);
}

/** What is left of a pending write where a newer change covers a part of it. */
function uncovered(item: PendingFileChange, by: FileChange): PendingFileChange[] {
  const { change } = item;
  if (change.kind !== "write" || by.kind !== "write") return [item];
  const { position, bytes } = change;
  const head = bytes.subarray(0, Math.max(0, by.position - position));
  const from = Math.min(bytes.length, Math.max(0, by.position + by.bytes.length - position));
  const tail = bytes.subarray(from);
  if (head.length === bytes.length || tail.length === bytes.length) return [item];
  return [
    { ...item, change: { ...change, bytes: head } },
    { ...item, change: { ...change, position: position + from, bytes: tail } },
  ].filter((part) => part.change.bytes.length > 0);
}

/** A file without its names. */
export class SimulatedInode {
  durable = new SparseImage();
  current = new SparseImage();
  pending: PendingFileChange[] = [];

  /** Applies the change to what readers see. */
  change(sequence: number, change: FileChange): void {
    applyChange(this.current, change);
    this.pending.push({ sequence, change, stranded: false });
  }

  /** Makes the changes up to the sequence durable. */
  sync(sequence: number): void {
    const left: PendingFileChange[] = [];
    let stranded: PendingFileChange[] = [];
    for (const item of this.pending) {
      if (item.stranded) stranded.push(item);
      else if (item.sequence > sequence) left.push(item);
      else {
        applyChange(this.durable, item.change);
        // What is durable now is in the place of what an earlier sync failed to write there.
        stranded = stranded.flatMap((older) => uncovered(older, item.change));
      }
    }
    this.pending = [...stranded, ...left].sort((one, other) => one.sequence - other.sequence);
  }

  /**
   * A sync has failed: the changes that it was to cover never become durable by a later one.
   * Readers go on seeing them (`kept`, as on ext4) or see the old bytes again (`lost`, as on
   * btrfs).
   */
  failSync(sequence: number, aftermath: "kept" | "lost"): void {
    if (aftermath === "kept") {
      for (const item of this.pending) if (item.sequence <= sequence) item.stranded = true;
      return;
    }
    this.pending = this.pending.filter((item) => item.sequence > sequence);
    this.current = new SparseImage(this.durable);
    for (const item of this.pending) applyChange(this.current, item.change);
  }

  /** Makes all that readers see durable, as the system may do at any time. */
  settle(): void {
    this.durable = new SparseImage(this.current);
    this.pending = [];
  }

  /** The file after the crash. */
  afterCrash(mode: CrashMode, random: Random): SimulatedInode {
    const survivor = new SimulatedInode();
    survivor.durable = new SparseImage(this.durable);
    if (mode === "kill") {
      survivor.current = new SparseImage(this.current);
      survivor.pending = this.pending.map((item) => ({ ...item }));
      return survivor;
    }
    if (mode !== "lose-unsynced") {
      for (const { change } of this.pending) survive(survivor.durable, change, mode, random);
    }
    survivor.current = new SparseImage(survivor.durable);
    return survivor;
  }
}

/** Applies as much of the change as the power cut let through. */
function survive(
  image: SparseImage,
  change: FileChange,
  mode: "keep-some" | "tear",
  random: Random,
): void {
  if (change.kind === "resize") {
    if (random.next() < 0.5) image.resize(change.bytes);
    return;
  }
  const { position, bytes } = change;
  const end = position + bytes.length;
  if (end > image.size) image.resize(survivingSize(image.size, end, random));
  // A third of the writes survives whole and a third not at all, so that frames of many sectors
  // do not nearly always end up damaged.
  const bias = random.next();
  const limit = Math.min(end, image.size);
  for (let from = position; from < limit;) {
    const to = Math.min(limit, (Math.floor(from / sectorBytes) + 1) * sectorBytes);
    const fresh = bytes.subarray(from - position, to - position);
    const kept = bias < 0.33 || (bias < 0.67 && random.next() < 0.5);
    if (mode === "tear" && random.next() < 0.1) tear(image, from, fresh, random);
    else if (kept) image.write(from, fresh);
    from = to;
  }
}

/** A file that was growing has its old size, the new one, or one between. */
function survivingSize(oldSize: number, newSize: number, random: Random): number {
  const fate = random.next();
  if (fate < 0.3) return oldSize;
  if (fate < 0.8) return newSize;
  return oldSize + randomInteger(random, newSize - oldSize);
}

function tear(image: SparseImage, position: number, fresh: Buffer, random: Random): void {
  const fate = randomInteger(random, 3);
  if (fate === 0) {
    image.write(position, fresh.subarray(0, randomInteger(random, fresh.length)));
  } else if (fate === 1) {
    image.write(position, Buffer.alloc(fresh.length));
  } else {
    const noise = Buffer.from(Array.from(fresh, () => randomInteger(random, 256)));
    image.write(position, noise);
  }
}

export type SimulatedNode = SimulatedInode | SimulatedDirectory;

/** A name that now stands for the node, or for nothing. */
interface NameChange {
  readonly name: string;
  readonly node: SimulatedNode | undefined;
  /** Changes of one sequence are one step: the two halves of a rename. */
  readonly sequence: number;
}

function applyNameChange(names: Map<string, SimulatedNode>, change: NameChange): void {
  if (change.node === undefined) names.delete(change.name);
  else names.set(change.name, change.node);
}

/** The names in a directory. */
export class SimulatedDirectory {
  durable = new Map<string, SimulatedNode>();
  current = new Map<string, SimulatedNode>();
  pending: NameChange[] = [];

  change(change: NameChange): void {
    applyNameChange(this.current, change);
    this.pending.push(change);
  }

  /** Makes the changes up to the sequence durable. */
  sync(sequence: number): void {
    this.pending = this.pending.filter((change) => {
      if (change.sequence > sequence) return true;
      applyNameChange(this.durable, change);
      return false;
    });
  }
}

/** One crash: the fate of every change, and what has come of each node so far. */
class Aftermath {
  readonly #mode: CrashMode;
  readonly #random: Random;
  readonly #survivors = new Map<SimulatedNode, SimulatedNode>();
  readonly #fates = new Map<number, boolean>();

  constructor(mode: CrashMode, random: Random) {
    this.#mode = mode;
    this.#random = random;
  }

  directory(before: SimulatedDirectory): SimulatedDirectory {
    const after = this.#survivor(before);
    assert(after instanceof SimulatedDirectory, "a directory stays a directory");
    return after;
  }

  #survivor(before: SimulatedNode): SimulatedNode {
    const known = this.#survivors.get(before);
    if (known !== undefined) return known;
    if (before instanceof SimulatedInode) {
      const file = before.afterCrash(this.#mode, this.#random);
      this.#survivors.set(before, file);
      return file;
    }
    const after = new SimulatedDirectory();
    this.#survivors.set(before, after);
    if (this.#mode === "kill") {
      after.durable = this.#names(before.durable);
      after.current = this.#names(before.current);
      after.pending = before.pending.map((change) => {
        return change.node === undefined
          ? change
          : { ...change, node: this.#survivor(change.node) };
      });
    } else {
      const names = new Map(before.durable);
      for (const change of before.pending) {
        if (this.#isKept(change.sequence)) applyNameChange(names, change);
      }
      after.durable = this.#names(names);
      after.current = new Map(after.durable);
    }
    return after;
  }

  #names(names: ReadonlyMap<string, SimulatedNode>): Map<string, SimulatedNode> {
    return new Map(Array.from(names, ([name, node]) => [name, this.#survivor(node)]));
  }

  #isKept(sequence: number): boolean {
    if (this.#mode === "lose-unsynced") return false;
    const known = this.#fates.get(sequence);
    if (known !== undefined) return known;
    const kept = this.#random.next() < 0.5;
    this.#fates.set(sequence, kept);
    return kept;
  }
}

/** The whole tree. */
export class SimulatedFileSystem {
  readonly root: SimulatedDirectory;
  #sequence: number;

  constructor(root = new SimulatedDirectory(), sequence = 0) {
    assertSafe(sequence, "the sequence of a change");
    this.root = root;
    this.#sequence = sequence;
  }

  /** The sequence of the newest change: a sync that starts now covers it and those before it. */
  get sequence(): number {
    return this.#sequence;
  }

  nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  /** What readers find at the path; `""` is the root. */
  find(path: string): SimulatedNode | undefined {
    return walk(path, this.root, (directory) => directory.current);
  }

  /** What is sure to be found at the path after any crash. */
  findDurable(path: string): SimulatedNode | undefined {
    return walk(path, this.root, (directory) => directory.durable);
  }

  /** Bytes of all files that have a name now. */
  usedBytes(): number {
    let bytes = 0;
    const seen = new Set<SimulatedNode>([this.root]);
    // A Set visits what is added while it is walked.
    for (const node of seen) {
      if (node instanceof SimulatedInode) bytes += node.current.size;
      else for (const child of node.current.values()) seen.add(child);
    }
    return bytes;
  }

  /** The tree after a crash now. This one stays as it is. */
  afterCrash(mode: CrashMode, random: Random): SimulatedFileSystem {
    return new SimulatedFileSystem(
      new Aftermath(mode, random).directory(this.root),
      this.#sequence,
    );
  }
}

function walk(
  path: string,
  root: SimulatedDirectory,
  namesOf: (directory: SimulatedDirectory) => ReadonlyMap<string, SimulatedNode>,
): SimulatedNode | undefined {
  let node: SimulatedNode | undefined = root;
  for (const name of path === "" ? [] : path.split("/")) {
    if (!(node instanceof SimulatedDirectory)) return undefined;
    node = namesOf(node).get(name);
  }
  return node;
}
