/**
 * Where each entry of the Raft log lies: by index, the file, the position and the length.
 *
 * Kept in plain arrays, rebuilt from the files at every start.
 * Invariant: the indexes are dense from `firstIndex` to `lastIndex`.
 */
import { assert, present } from "../common/assert.js";

export interface EntryPlace {
  /** Of the file. */
  readonly sequence: number;
  readonly position: number;
  readonly bytes: number;
  readonly term: number;
}

export class EntryPlaces {
  #places: (EntryPlace | undefined)[] = [];
  #head = 0;
  #firstIndex = 1;

  get firstIndex(): number {
    return this.#firstIndex;
  }

  /** firstIndex - 1 if there is none. */
  get lastIndex(): number {
    return this.#firstIndex + this.#places.length - this.#head - 1;
  }

  get isEmpty(): boolean {
    return this.#places.length === this.#head;
  }

  at(index: number): EntryPlace | undefined {
    if (index < this.#firstIndex) return undefined;
    return this.#places[this.#head + index - this.#firstIndex];
  }

  /** Notes an entry; one that is held already, and all after it, give way. */
  set(index: number, place: EntryPlace): void {
    if (this.isEmpty) this.#firstIndex = index;
    assert(index >= this.#firstIndex && index <= this.lastIndex + 1, "entries follow each other");
    this.truncateSuffix(index);
    this.#places.push(place);
  }

  truncateSuffix(from: number): void {
    if (from > this.lastIndex) return;
    this.#places.length = this.#head + Math.max(0, from - this.#firstIndex);
    if (this.isEmpty) this.#clear();
  }

  truncatePrefix(upTo: number): void {
    const count = Math.min(upTo, this.lastIndex) - this.#firstIndex + 1;
    if (count <= 0) return;
    this.#places.fill(undefined, this.#head, this.#head + count);
    this.#head += count;
    this.#firstIndex += count;
    if (this.#head > 1024 && this.#head * 2 > this.#places.length) {
      this.#places = this.#places.slice(this.#head);
      this.#head = 0;
    }
  }

  #clear(): void {
    this.#places = [];
    this.#head = 0;
  }

  /** The stretches of equal terms, oldest first. */
  termRuns(): { readonly index: number; readonly term: number }[] {
    const runs: { index: number; term: number }[] = [];
    for (let index = this.#firstIndex; index <= this.lastIndex; index += 1) {
      const { term } = present(this.at(index), "places are dense");
      if (runs.at(-1)?.term !== term) runs.push({ index, term });
    }
    return runs;
  }
}
