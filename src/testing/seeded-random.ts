/**
 * The random port from a seed: the same seed gives the same choices, in every process.
 *
 * The generator is sfc32 (Chris Doty-Humphrey, PractRand), seeded through a hash (splitmix32) so
 * that neighbouring seeds have nothing in common. Not for secrets.
 */
import type { Random } from "../common/random.js";
import { randomInteger } from "../common/random.js";

export class SeededRandom implements Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** @param stream Different streams of one seed are independent of each other. */
  constructor(seed: number, stream = "") {
    let state = 0x811c9dc5;
    for (const character of `${String(seed)}/${stream}`) {
      state = Math.imul(state ^ character.charCodeAt(0), 0x01000193) >>> 0;
    }
    const mix = (): number => {
      state = (state + 0x9e3779b9) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      return (mixed ^ (mixed >>> 15)) >>> 0;
    };
    this.#a = mix();
    this.#b = mix();
    this.#c = mix();
    for (let round = 0; round < 12; round += 1) this.#word();
  }

  #word(): number {
    const result = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + result;
    this.#c |= 0;
    return result >>> 0;
  }

  next(): number {
    return this.#word() / 2 ** 32;
  }

  uuid(): string {
    const hex = (): string => Math.floor(this.next() * 16).toString(16);
    const variant = "89ab"[Math.floor(this.next() * 4)] ?? "8";
    return `xxxxxxxx-xxxx-4xxx-${variant}xxx-xxxxxxxxxxxx`.replace(/x/g, hex);
  }

  /** True with a probability from 0 to 1. */
  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** An integer from `min` to `max`, both included. */
  integer(min: number, max: number): number {
    return min + randomInteger(this, max - min + 1);
  }

  /** A number from `min` up to `max`. */
  between(min: number, max: number): number {
    return min + this.next() * (max - min);
  }

  /** An exponentially distributed number with this mean. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.next());
  }

  /** One of the items. @throws if there is none. */
  pick<T>(items: readonly T[]): T {
    const item = items[randomInteger(this, items.length)];
    if (item === undefined) throw new Error("there is nothing to pick from");
    return item;
  }

  /** The items in a random order. */
  shuffled<T>(items: readonly T[]): T[] {
    const rest = [...items];
    const result: T[] = [];
    while (rest.length > 0) result.push(...rest.splice(randomInteger(this, rest.length), 1));
    return result;
  }
}
