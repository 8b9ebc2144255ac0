/**
 * Virtual time: events in one queue, run one at a time in the order of their times.
 *
 * An event is over when all promises that it settled have been followed up; only then does the
 * next one run, so a run depends on nothing but what was scheduled. Events of equal time run in the
 * order in which they were scheduled. Nothing here knows of nodes; an event may belong to a
 * process, which can be paused or gone when its time comes (simulated-process.ts).
 */
import { assert } from "../common/assert.js";

/** To whom an event belongs. */
export interface EventOwner {
  /** Its events are dropped. */
  readonly isGone: boolean;
  /** Its events are handed to `withhold` instead of being run. */
  readonly isPaused: boolean;
  withhold(event: SimulatedEvent): void;
}

export interface SimulatedEvent {
  atMs: number;
  readonly sequence: number;
  readonly run: () => void;
  readonly owner: EventOwner | undefined;
  isCancelled: boolean;
}

/** How a run is driven: calls back when all microtasks are done (`setImmediate`). */
export type AfterMicrotasks = (run: () => void) => void;

export class Simulation {
  readonly #afterMicrotasks: AfterMicrotasks;
  readonly #heap: SimulatedEvent[] = [];
  #nowMs = 0;
  #sequence = 0;
  #stepCount = 0;
  #lastOwner: EventOwner | undefined;

  constructor(afterMicrotasks: AfterMicrotasks) {
    this.#afterMicrotasks = afterMicrotasks;
  }

  /** Virtual milliseconds since the start. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Events run so far. */
  get stepCount(): number {
    return this.#stepCount;
  }

  /** To whom the event belonged that ran last. */
  get lastOwner(): EventOwner | undefined {
    return this.#lastOwner;
  }

  /** Runs something after a delay; 0 is after all that is due now. */
  schedule(delayMs: number, run: () => void, owner?: EventOwner): SimulatedEvent {
    assert(delayMs >= 0, "nothing is scheduled in the past");
    const event = {
      atMs: this.#nowMs + delayMs,
      sequence: this.#sequence,
      run,
      owner,
      isCancelled: false,
    };
    this.#sequence += 1;
    this.#push(event);
    return event;
  }

  /** Schedules an event that was withheld to run now, after all that is due. */
  release(event: SimulatedEvent): void {
    if (event.isCancelled) return;
    this.schedule(
      0,
      () => {
        if (!event.isCancelled) event.run();
      },
      event.owner,
    );
  }

  /**
   * Runs events until `isOver` says so after one, or until there is none.
   *
   * @param isOver Asked after each event, once all it set off is done; what it throws ends the run.
   */
  async run(isOver: () => boolean): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const turn = (): void => {
        try {
          if (isOver() || !this.#runNext()) resolve();
          else this.#afterMicrotasks(turn);
        } catch (error) {
          reject(error);
        }
      };
      this.#afterMicrotasks(turn);
    });
  }

  /** @returns False if there was none. */
  #runNext(): boolean {
    for (;;) {
      const event = this.#pop();
      if (event === undefined) return false;
      if (event.isCancelled || event.owner?.isGone === true) continue;
      assert(event.atMs >= this.#nowMs, "time never runs backwards");
      this.#nowMs = event.atMs;
      if (event.owner?.isPaused === true) {
        event.owner.withhold(event);
        continue;
      }
      this.#stepCount += 1;
      this.#lastOwner = event.owner;
      event.run();
      return true;
    }
  }

  #push(event: SimulatedEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !isBefore(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): SimulatedEvent | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      const left = heap[child];
      const right = heap[child + 1];
      if (left === undefined) break;
      let least = left;
      if (right !== undefined && isBefore(right, left)) {
        child += 1;
        least = right;
      }
      if (!isBefore(least, last)) break;
      heap[at] = least;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(one: SimulatedEvent, other: SimulatedEvent): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.sequence < other.sequence);
}
