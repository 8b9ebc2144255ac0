/**
 * Turns of the streams of one gateway: a few go on in each turn of the event loop, the others wait.
 *
 * A stream whose reader keeps up never waits for I/O: hundreds of them would otherwise do all their
 * work between two heartbeats, and the cluster would hold an election.
 */
import type { Clock } from "../common/clock.js";

/** Streams that go on in one turn; each then formats some 32 KiB at the most. */
const streamsPerTurn = 4;

export class StreamTurns {
  readonly #clock: Clock;
  readonly #waiting: (() => void)[] = [];
  #isScheduled = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when it is this stream's turn. Bounded by the number of open streams. */
  async take(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#isScheduled || this.#waiting.length === 0) return;
    this.#isScheduled = true;
    this.#clock.defer(() => {
      this.#isScheduled = false;
      for (const go of this.#waiting.splice(0, streamsPerTurn)) go();
      this.#schedule();
    });
  }
}
