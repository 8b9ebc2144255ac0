/**
 * Randomness that a seed decides, so that a run can be told to choose the same again.
 */

/** Numbers in [0, 1) that a seed decides (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Chooses among things; each use moves it on. */
export class Chance {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = randomOf(seed);
  }

  /** True with a probability. */
  is(probability: number): boolean {
    return this.#random() < probability;
  }

  between(low: number, high: number): number {
    return low + this.#random() * (high - low);
  }

  /** An integer from 0 to below the bound. */
  below(bound: number): number {
    return Math.floor(this.#random() * bound);
  }

  /** @throws Error if there is nothing to choose from. */
  of<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("there is none to choose");
    return item;
  }

  /** The same things in another order. */
  shuffled<T>(items: readonly T[]): T[] {
    const rest = [...items];
    const taken: T[] = [];
    while (rest.length > 0) taken.push(...rest.splice(this.below(rest.length), 1));
    return taken;
  }
}
