/**
 * Counts what is held at once, so that many modest clients together stay within a bound too.
 *
 * Invariant: what was taken is given back exactly once; the sum never exceeds the limit.
 */
import { assert } from "../common/assert.js";

/** A number of things or bytes of which only so many may be held. */
export class Budget {
  readonly #max: number;
  #held = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get held(): number {
    return this.#held;
  }

  /** Takes `amount` if it fits. */
  take(amount: number): boolean {
    if (this.#held + amount > this.#max) return false;
    this.#held += amount;
    return true;
  }

  giveBack(amount: number): void {
    this.#held -= amount;
    assert(this.#held >= 0, "no more is given back than was taken");
  }
}
