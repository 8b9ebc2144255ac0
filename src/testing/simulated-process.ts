/**
 * A process in virtual time: the clock of what runs in it, which may run fast or slow, be paused,
 * or end. What it has scheduled is withheld while it is paused and never runs once it has ended.
 */
import type { Clock, Timer } from "../common/clock.js";
import type { EventOwner, SimulatedEvent, Simulation } from "./simulation.js";

/** Wall time at the start of every simulation: the same in every run. */
const epochMs = Date.UTC(2026, 0, 1);

export class SimulatedProcess implements Clock, EventOwner {
  readonly #simulation: Simulation;
  #rate: number;
  #anchorMs: number;
  #localMs: number;
  #wallStepMs: number;
  #isGone = false;
  #isPaused = false;
  #withheld: SimulatedEvent[] = [];
  readonly #atEnd = new Set<() => void>();

  constructor(simulation: Simulation, rate = 1, wallStepMs = 0) {
    this.#simulation = simulation;
    this.#rate = rate;
    this.#anchorMs = simulation.nowMs;
    // Monotonic clocks of two machines have nothing to do with each other.
    this.#localMs = 1000 * (1 + rate);
    this.#wallStepMs = wallStepMs;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  now(): number {
    return this.#localMs + (this.#simulation.nowMs - this.#anchorMs) * this.#rate;
  }

  wallNow(): number {
    return Math.floor(epochMs + this.#simulation.nowMs + this.#wallStepMs);
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    const event = this.#simulation.schedule(Math.max(0, delayMs) / this.#rate, fire, this);
    return {
      cancel: () => {
        event.isCancelled = true;
      },
    };
  }

  defer(run: () => void): void {
    this.#simulation.schedule(0, run, this);
  }

  /** The wall clock jumps; the monotonic one goes on. */
  stepWall(byMs: number): void {
    this.#wallStepMs += byMs;
  }

  /** The monotonic clock runs faster or slower from now on; timers that run are not changed. */
  setRate(rate: number): void {
    this.#localMs = this.now();
    this.#anchorMs = this.#simulation.nowMs;
    this.#rate = rate;
  }

  pause(): void {
    this.#isPaused = true;
  }

  /** All that came due in the meantime runs now, in its order. */
  resume(): void {
    this.#isPaused = false;
    for (const event of this.#withheld.splice(0)) this.#simulation.release(event);
  }

  withhold(event: SimulatedEvent): void {
    this.#withheld.push(event);
  }

  /** Called when the process ends, in whatever way. @returns How to take that back. */
  onEnd(run: () => void): () => void {
    this.#atEnd.add(run);
    return () => this.#atEnd.delete(run);
  }

  end(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#withheld = [];
    for (const run of this.#atEnd) run();
    this.#atEnd.clear();
  }
}
