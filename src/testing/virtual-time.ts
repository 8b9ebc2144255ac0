/**
 * Moves the time of a simulation while a program waits for something of it, and only then.
 *
 * Each event of the simulation has a turn of the real event loop to itself, so that whatever the
 * program does on account of it, short of real I/O, is done before the next event. Nothing here
 * sleeps, and while nobody waits nothing is scheduled: a simulation that is left alone holds no
 * timer and keeps no program alive.
 *
 * Invariant: what a program awaits here ends: as it would have, or with an error once nothing that
 * is still to happen can end it.
 */
import { sleep } from "../common/clock.js";
import { SimulatedProcess } from "./simulated-process.js";
import { Simulation } from "./simulation.js";
import type { AfterMicrotasks } from "./simulation.js";

/** For how long time moves for loops that follow the log while nothing else is awaited. */
const followMsMax = 600_000;

/** What somebody waits for: a loop that follows the log may well wait for ever. */
export type WaitKind = "operation" | "follow";

interface Wait {
  readonly kind: WaitKind;
  readonly fail: (error: Error) => void;
}

export class VirtualTime {
  readonly simulation: Simulation;
  /** The clock of the program under test, which is no node's. */
  readonly clock: SimulatedProcess;
  readonly #afterMicrotasks: AfterMicrotasks;
  readonly #describe: (what: string, cause?: unknown) => Error;
  readonly #waits = new Set<Wait>();
  #operationCount = 0;
  /** When an operation was awaited last. */
  #operationMs = 0;
  #running: Promise<void> | undefined;
  #ended: Error | undefined;

  /** @param describe Makes the errors, so that they name the run. */
  constructor(
    afterMicrotasks: AfterMicrotasks,
    describe: (what: string, cause?: unknown) => Error,
  ) {
    this.#afterMicrotasks = afterMicrotasks;
    this.simulation = new Simulation(afterMicrotasks);
    this.clock = new SimulatedProcess(this.simulation);
    this.#describe = describe;
  }

  /** Virtual milliseconds since the start. */
  get nowMs(): number {
    return this.simulation.nowMs;
  }

  /** Moves time until the promise is settled, and returns what it is. */
  async wait<T>(work: Promise<T>, kind: WaitKind = "operation"): Promise<T> {
    let fail: (error: Error) => void = () => undefined;
    const failed = new Promise<never>((_resolve, reject) => {
      fail = reject;
    });
    const wait: Wait = { kind, fail };
    this.#add(wait);
    try {
      return await Promise.race([work, failed]);
    } finally {
      this.#remove(wait);
      // Whoever gave up on the work hears nothing of it any more.
      work.catch(() => undefined);
    }
  }

  /** Lets so much virtual time pass. */
  async advance(ms: number): Promise<void> {
    await this.wait(sleep(this.clock, ms));
  }

  /** Ends all waits, and moves no more; resolves when nothing of it is scheduled any more. */
  async end(error: Error): Promise<void> {
    this.#ended ??= error;
    // What was just ended for a reason of its own is heard of first.
    await this.#running;
    this.#failAll(this.#ended, ["operation", "follow"]);
  }

  #add(wait: Wait): void {
    this.#waits.add(wait);
    if (wait.kind === "operation") {
      this.#operationCount += 1;
      this.#operationMs = this.nowMs;
    }
    const ended = this.#ended;
    // What is refused for a reason of its own says so first.
    if (ended !== undefined) this.#afterMicrotasks(() => wait.fail(ended));
    else this.#running ??= this.#run();
  }

  #remove(wait: Wait): void {
    if (!this.#waits.delete(wait) || wait.kind !== "operation") return;
    this.#operationCount -= 1;
    this.#operationMs = this.nowMs;
  }

  get #isStill(): boolean {
    if (this.#ended !== undefined || this.#waits.size === 0) return true;
    return this.#operationCount === 0 && this.nowMs - this.#operationMs > followMsMax;
  }

  async #run(): Promise<void> {
    let isStill = false;
    try {
      do {
        await this.simulation.run(() => (isStill = this.#isStill));
        // Somebody may have begun to wait since it stood still.
      } while (isStill && !this.#isStill);
      this.#running = undefined;
      this.#release(isStill);
    } catch (error) {
      this.#running = undefined;
      void this.end(this.#describe("The simulation broke, which is a fault of proglog", error));
    }
  }

  /** Time stands still: whoever waits all the same would wait for ever. */
  #release(isStill: boolean): void {
    if (this.#ended !== undefined || this.#waits.size === 0) return;
    if (isStill) {
      const seconds = String(followMsMax / 1000);
      const what = `For ${seconds} s nothing was awaited but loops that follow the log`;
      this.#failAll(this.#describe(what), ["follow"]);
    } else {
      const what = "What is awaited can't come: nothing is left to happen";
      this.#failAll(this.#describe(what), ["operation", "follow"]);
    }
  }

  #failAll(error: Error, kinds: readonly WaitKind[]): void {
    for (const wait of [...this.#waits]) if (kinds.includes(wait.kind)) wait.fail(error);
  }
}
