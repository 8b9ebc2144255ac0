/**
 * Entries that are not in a frame yet: those that have room in the buffer, and those that wait.
 *
 * Invariants: entries keep the order of their calls; the bytes of what was admitted and is not
 * released are at most `bytesMax`, and at most `waitingMax` entries wait for room.
 */
import { ProglogError } from "../common/errors.js";
import { encodeRecords } from "../common/record.js";
import type { Entry } from "./frame.js";

/** Entries that wait for room. */
const waitingMax = 65_536;

export interface BacklogLimits {
  readonly bufferedBytesMax: number;
  readonly whenFull: "wait" | "reject";
}

export class Backlog {
  readonly #limits: BacklogLimits;
  /** Encoded, in order. */
  #queue = new Set<Entry>();
  readonly #waiting = new Set<Entry>();
  readonly #onRoom = new Set<() => void>();
  #bytes = 0;

  constructor(limits: BacklogLimits) {
    this.#limits = limits;
  }

  get isEmpty(): boolean {
    return this.#queue.size === 0;
  }

  /** True if a new entry would have to wait. */
  get isFull(): boolean {
    return this.#waiting.size > 0 || this.#bytes >= this.#limits.bufferedBytesMax;
  }

  /** @throws ProglogError `record-too-large`, `overloaded`. */
  add(entry: Entry): void {
    const { bufferedBytesMax, whenFull } = this.#limits;
    if (entry.bytes > bufferedBytesMax) {
      const detail = `The append has ${String(entry.bytes)} bytes, more than the buffer holds.`;
      throw new ProglogError("record-too-large", detail, {
        fields: { bytesMax: bufferedBytesMax },
      });
    }
    const hasRoom = this.#waiting.size === 0 && this.#bytes + entry.bytes <= bufferedBytesMax;
    if (hasRoom) {
      this.#admit(entry);
      return;
    }
    if (whenFull === "reject" || this.#waiting.size >= waitingMax) {
      const detail = "The client's buffer is full: records come faster than they are acknowledged.";
      throw new ProglogError("overloaded", detail);
    }
    this.#waiting.add(entry);
  }

  #admit(entry: Entry): void {
    entry.records = encodeRecords(entry.contents);
    this.#bytes += entry.bytes;
    this.#queue.add(entry);
  }

  /** Removes an entry that is settled before it is in a frame. */
  remove(entry: Entry): void {
    if (this.#waiting.delete(entry)) return;
    if (this.#queue.delete(entry)) this.release(entry.bytes);
  }

  /** Makes room: what was admitted has its answer. */
  release(bytes: number): void {
    this.#bytes -= bytes;
    for (const entry of this.#waiting) {
      if (this.#bytes + entry.bytes > this.#limits.bufferedBytesMax) break;
      this.#waiting.delete(entry);
      this.#admit(entry);
    }
    if (!this.isFull) this.close();
  }

  /** Wakes whoever waits for room. */
  close(): void {
    const waiting = [...this.#onRoom];
    this.#onRoom.clear();
    for (const wake of waiting) wake();
  }

  /** Calls once, when there is room; returns how to give up waiting. */
  onRoom(wake: () => void): () => void {
    this.#onRoom.add(wake);
    return () => this.#onRoom.delete(wake);
  }

  /** The first entry in line. */
  get first(): Entry | undefined {
    for (const entry of this.#queue) return entry;
    return undefined;
  }

  /** True if the entries in line fill a frame, or the first goes alone. */
  fills(limits: { readonly batchBytesMax: number; readonly batchRecordsMax: number }): boolean {
    let [bytes, records] = [0, 0];
    for (const entry of this.#queue) {
      bytes += entry.bytes;
      records += entry.contents.length;
      const isFull = bytes >= limits.batchBytesMax || records >= limits.batchRecordsMax;
      if (entry.isAlone || isFull) return true;
    }
    return false;
  }

  /** Takes the entries of the next frame out of the line; their bytes stay counted. */
  take(limits: { readonly batchBytesMax: number; readonly batchRecordsMax: number }): Entry[] {
    const taken: Entry[] = [];
    let [bytes, records] = [0, 0];
    for (const entry of this.#queue) {
      bytes += entry.bytes;
      records += entry.contents.length;
      const isOver = bytes > limits.batchBytesMax || records > limits.batchRecordsMax;
      if (taken.length > 0 && (entry.isAlone || isOver)) break;
      taken.push(entry);
      this.#queue.delete(entry);
      if (entry.isAlone) break;
    }
    return taken;
  }

  /** Puts entries that were taken back, before all others. */
  putBack(entries: readonly Entry[]): void {
    this.#queue = new Set([...entries, ...this.#queue]);
  }
}
