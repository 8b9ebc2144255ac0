/**
 * The newest batches of the commit log, in memory: tails are read without touching the disk.
 *
 * What has not reached the file yet is always here, whatever the bound: until it is written there
 * is no other place to read it from.
 */
import type { RecordBatch } from "../common/record.js";

interface Cached {
  readonly batch: RecordBatch;
  isWritten: boolean;
}

export class TailCache {
  readonly #bytesMax: number;
  #entries: (Cached | undefined)[] = [];
  #head = 0;
  #bytes = 0;

  /** @param bytesMax Memory for batches that have been written. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** First offset that is here; undefined if nothing is. */
  get startOffset(): number | undefined {
    return this.#entries[this.#head]?.batch.offset;
  }

  /** @returns A handle for `written`. */
  add(batch: RecordBatch): Cached {
    const cached = { batch, isWritten: false };
    this.#entries.push(cached);
    this.#bytes += batch.records.length;
    return cached;
  }

  /** Notes that a batch has reached the file, and gives back memory. */
  written(cached: Cached): void {
    cached.isWritten = true;
    while (this.#bytes > this.#bytesMax) {
      const oldest = this.#entries[this.#head];
      if (oldest?.isWritten !== true) break;
      this.#bytes -= oldest.batch.records.length;
      this.#entries[this.#head] = undefined;
      this.#head += 1;
    }
    if (this.#head > 256 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
  }

  /**
   * Batches from the one that holds the offset on, up to `bytesMax`, at least one; or undefined.
   */
  read(offset: number, bytesMax: number): RecordBatch[] | undefined {
    const start = this.startOffset;
    if (start === undefined || offset < start) return undefined;
    let low = this.#head;
    let high = this.#entries.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#entries[middle]?.batch.offset ?? Infinity) <= offset) low = middle;
      else high = middle - 1;
    }
    const batches: RecordBatch[] = [];
    let bytes = 0;
    for (let at = low; at < this.#entries.length; at += 1) {
      const batch = this.#entries[at]?.batch;
      if (batch === undefined) break;
      bytes += batch.records.length;
      if (batches.length > 0 && bytes > bytesMax) break;
      batches.push(batch);
    }
    return batches;
  }

  clear(): void {
    this.#entries = [];
    this.#head = 0;
    this.#bytes = 0;
  }
}
