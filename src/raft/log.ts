/**
 * The core's view of the Raft log: every term, and the newest entries.
 *
 * Terms are kept as runs (index of the first entry of each term), so that a log of millions of
 * entries takes a few dozen bytes; the entries themselves stay in memory from `cachedFrom` on, and
 * older ones are read back by the host. What lies at or below `snapshotIndex` is gone.
 *
 * Invariants: snapshotIndex <= cachedFrom - 1 <= lastIndex; terms never fall along the log;
 * a committed entry is never cut (the caller asserts it: it knows commitIndex).
 */
import { assert, present } from "../common/assert.js";
import type { Entry } from "./message.js";

/** A stretch of entries of one term: from `index` up to the next run. */
export interface TermRun {
  readonly index: number;
  readonly term: number;
}

/** What a host found on disk. */
export interface LogImage {
  readonly snapshotIndex: number;
  readonly snapshotTerm: number;
  readonly lastIndex: number;
  readonly termRuns: readonly TermRun[];
}

export const emptyLogImage: LogImage = {
  snapshotIndex: 0,
  snapshotTerm: 0,
  lastIndex: 0,
  termRuns: [],
};

export class RaftLog {
  #snapshotIndex: number;
  #snapshotTerm: number;
  #lastIndex: number;
  readonly #runs: TermRun[];
  /** Entries cachedFrom..lastIndex, behind `#head` slots that are already given back. */
  #cache: (Entry | undefined)[] = [];
  #head = 0;
  #cachedFrom: number;
  #cacheBytes = 0;

  constructor(image: LogImage) {
    assert(image.lastIndex >= image.snapshotIndex, "a log does not end before its snapshot");
    this.#snapshotIndex = image.snapshotIndex;
    this.#snapshotTerm = image.snapshotTerm;
    this.#lastIndex = image.lastIndex;
    this.#runs = [...image.termRuns];
    this.#cachedFrom = image.lastIndex + 1;
    const first = this.#runs[0];
    assert(
      (first?.index ?? image.lastIndex + 1) === image.snapshotIndex + 1,
      "the terms of a log start right after its snapshot",
    );
  }

  get snapshotIndex(): number {
    return this.#snapshotIndex;
  }

  get snapshotTerm(): number {
    return this.#snapshotTerm;
  }

  get lastIndex(): number {
    return this.#lastIndex;
  }

  get lastTerm(): number {
    return this.#runs.at(-1)?.term ?? this.#snapshotTerm;
  }

  /** Bytes of the entries in memory. */
  get cacheBytes(): number {
    return this.#cacheBytes;
  }

  /** First index that is in memory; lastIndex + 1 if none is. */
  get cachedFrom(): number {
    return this.#cachedFrom;
  }

  /** Term of the entry; undefined below the snapshot's index and above the last. */
  termAt(index: number): number | undefined {
    if (index === this.#snapshotIndex) return this.#snapshotTerm;
    if (index < this.#snapshotIndex || index > this.#lastIndex) return undefined;
    return this.#runs[this.#runOf(index)]?.term;
  }

  /** Position in `#runs` of the run that holds a held index. */
  #runOf(index: number): number {
    let low = 0;
    let high = this.#runs.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (present(this.#runs[middle], "middle is a run").index <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** First held index whose term is that of the held entry at `index`: how far to back up. */
  firstIndexOfTermAt(index: number): number {
    assert(index > this.#snapshotIndex && index <= this.#lastIndex, "the entry is held");
    return present(this.#runs[this.#runOf(index)], "a held entry has a run").index;
  }

  /** Last held index with a term at or below `term`, the snapshot's own index at the least. */
  lastIndexUpToTerm(term: number): number {
    for (let run = this.#runs.length - 1; run >= 0; run -= 1) {
      if (present(this.#runs[run], "run is in range").term <= term) {
        return (this.#runs[run + 1]?.index ?? this.#lastIndex + 1) - 1;
      }
    }
    return this.#snapshotIndex;
  }

  /** True if this log is at least as up-to-date as one that ends so (Raft §5.4.1). */
  isUpToDate(lastIndex: number, lastTerm: number): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.#lastIndex);
  }

  /** The entry, if it is in memory. */
  entry(index: number): Entry | undefined {
    if (index < this.#cachedFrom || index > this.#lastIndex) return undefined;
    return this.#cache[this.#head + index - this.#cachedFrom];
  }

  /**
   * Entries from an index on, as many as fit; at least one if there is one.
   *
   * @returns undefined if they are no longer in memory.
   */
  entriesFrom(from: number, bytesMax: number): Entry[] | undefined {
    assert(from > this.#snapshotIndex, "what the snapshot covers is not asked for");
    if (from > this.#lastIndex) return [];
    if (from < this.#cachedFrom) return undefined;
    const entries: Entry[] = [];
    let bytes = 0;
    for (let index = from; index <= this.#lastIndex; index += 1) {
      const entry = present(this.entry(index), "what is cached is in memory");
      bytes += entry.data.length;
      if (entries.length > 0 && bytes > bytesMax) break;
      entries.push(entry);
    }
    return entries;
  }

  /** Appends entries that follow the last one. */
  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      assert(entry.index === this.#lastIndex + 1, "an entry follows the last one");
      assert(entry.term >= this.lastTerm, "terms never fall along the log");
      if (this.#runs.length === 0 || entry.term !== this.lastTerm) {
        this.#runs.push({ index: entry.index, term: entry.term });
      }
      this.#lastIndex = entry.index;
      this.#cache.push(entry);
      this.#cacheBytes += entry.data.length;
    }
  }

  /** Cuts a conflict: entries from this index on are void. */
  truncateSuffix(from: number): void {
    assert(from > this.#snapshotIndex, "what the snapshot covers is never cut");
    if (from > this.#lastIndex) return;
    for (let index = this.#lastIndex; index >= Math.max(from, this.#cachedFrom); index -= 1) {
      this.#cacheBytes -= present(this.#cache.pop(), "what is cached is in memory").data.length;
    }
    this.#lastIndex = from - 1;
    this.#cachedFrom = Math.min(this.#cachedFrom, from);
    while ((this.#runs.at(-1)?.index ?? 0) >= from) this.#runs.pop();
  }

  /** Forgets the entries up to an index that a checkpoint covers. */
  truncatePrefix(upTo: number): void {
    if (upTo <= this.#snapshotIndex) return;
    assert(upTo <= this.#lastIndex, "only held entries are dropped as a prefix");
    this.#snapshotTerm = present(this.termAt(upTo), "a held entry has a term");
    this.#dropCached(upTo);
    this.#snapshotIndex = upTo;
    while (this.#runs.length > 1 && present(this.#runs[1], "two runs").index <= upTo + 1) {
      this.#runs.shift();
    }
    const first = this.#runs[0];
    if (upTo === this.#lastIndex) this.#runs.length = 0;
    else if (first !== undefined && first.index <= upTo) {
      this.#runs[0] = { index: upTo + 1, term: first.term };
    }
  }

  /** Starts anew after a snapshot that this log does not lead up to. */
  reset(snapshotIndex: number, snapshotTerm: number): void {
    this.#snapshotIndex = snapshotIndex;
    this.#snapshotTerm = snapshotTerm;
    this.#lastIndex = snapshotIndex;
    this.#runs.length = 0;
    this.#cache = [];
    this.#head = 0;
    this.#cachedFrom = snapshotIndex + 1;
    this.#cacheBytes = 0;
  }

  /** Gives back memory: drops the oldest entries, never one above `upTo`, down to `bytesMax`. */
  evict(upTo: number, bytesMax: number): void {
    while (this.#cacheBytes > bytesMax && this.#cachedFrom <= upTo) {
      this.#dropCached(this.#cachedFrom);
    }
  }

  #dropCached(upTo: number): void {
    while (this.#cachedFrom <= upTo && this.#cachedFrom <= this.#lastIndex) {
      const entry = present(this.#cache[this.#head], "what is cached is in memory");
      this.#cacheBytes -= entry.data.length;
      this.#cache[this.#head] = undefined;
      this.#head += 1;
      this.#cachedFrom += 1;
    }
    if (this.#head > 64 && this.#head * 2 > this.#cache.length) {
      this.#cache = this.#cache.slice(this.#head);
      this.#head = 0;
    }
  }
}
