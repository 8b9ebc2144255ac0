/**
 * What drives a node as fast as it answers: the counting that all loads share.
 *
 * A load keeps a fixed number of records in flight: a new one is issued when one is acknowledged.
 * Counting starts after the warm-up; a record counts when its acknowledgement arrives.
 */
import { performance } from "node:perf_hooks";

import { Samples } from "./samples.js";

export interface Load {
  /** Begins to send. Each acknowledgement goes to the meter. */
  start(meter: Meter): Promise<void>;
  /** Stops issuing, waits for what is in flight, closes its connections. */
  end(): Promise<void>;
}

export class Meter {
  readonly #limit: number;
  readonly #over: () => void;
  #samples = new Samples();
  #total = 0;
  #failure: Error | undefined;

  /** @param over Called once `limit` records in all have been acknowledged, or at a failure. */
  constructor(limit = Infinity, over: () => void = () => undefined) {
    this.#limit = limit;
    this.#over = over;
  }

  get samples(): Samples {
    return this.#samples;
  }

  get total(): number {
    return this.#total;
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Forgets the warm-up. */
  reset(): void {
    this.#samples = new Samples();
  }

  acknowledged(issuedMs: number, count: number): void {
    this.#samples.add(performance.now() - issuedMs, count);
    const before = this.#total;
    this.#total += count;
    if (before < this.#limit && this.#total >= this.#limit) this.#over();
  }

  failed(error: Error): void {
    this.#failure ??= error;
    this.#over();
  }
}
