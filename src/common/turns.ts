/**
 * Shares each turn of the event loop between streams: so much work in one turn, the rest waits.
 *
 * A stream whose reader keeps up never waits for I/O. Hundreds of them that wake at one record, or
 * are behind by many, would otherwise do all their work between two heartbeats, and the cluster
 * would hold an election. One stream alone never notices a bound that hundreds share.
 *
 * Invariants: who waits goes on in the order of asking; there is always a turn to come while
 * somebody waits; in one turn no piece of work is begun once the bound is reached.
 */
import type { Clock } from "./clock.js";

/** Work of one turn; a unit is about 10 µs. */
const workPerTurnMax = 1000;

interface Waiting {
  readonly work: number;
  readonly go: () => void;
}

export class Turns {
  readonly #clock: Clock;
  #waiting: Waiting[] = [];
  #spent = 0;
  #isScheduled = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Asks to do some work; bounded by the number of open streams.
   *
   * @param work Roughly what it takes, in units of 10 µs.
   * @returns What to wait for first; undefined if there is room in this turn.
   */
  take(work: number): Promise<void> | undefined {
    this.#schedule();
    if (this.#waiting.length === 0 && this.#spent < workPerTurnMax) {
      this.#spent += work;
      return undefined;
    }
    return new Promise<void>((go) => {
      this.#waiting.push({ work, go });
    });
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#clock.defer(() => {
      this.#isScheduled = false;
      this.#begin();
    });
  }

  /** A new turn: as many go on as have room. */
  #begin(): void {
    this.#spent = 0;
    let count = 0;
    for (const { work, go } of this.#waiting) {
      if (this.#spent >= workPerTurnMax) break;
      this.#spent += work;
      count += 1;
      go();
    }
    this.#waiting = this.#waiting.slice(count);
    if (count > 0) this.#schedule();
  }
}
