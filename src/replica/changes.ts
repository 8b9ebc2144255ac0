/**
 * Requests to the core that are not appends: changes of the members, and transfers.
 *
 * Each is answered once. A change that is in the log is answered by what is applied at its index;
 * if that can't be seen (a snapshot took its place, the node stops, leadership is gone for too
 * long), its outcome is unknown: it may still be committed.
 */
import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import { refusalError } from "./proposals.js";

type Answer = (result: "done" | ProglogError) => void;

interface Placed {
  readonly id: number;
  readonly term: number;
  deadline: number;
}

/** How long a change that is in the log may take to be committed. */
const patienceMs = 10_000;

export class Changes {
  readonly #clock: Clock;
  readonly #answers = new Map<number, Answer>();
  /** In the log, by index. */
  readonly #placed = new Map<number, Placed>();
  #lastId = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @returns An id that is never one of an append: they count up, these count down. */
  add(answer: Answer): number {
    this.#lastId -= 1;
    this.#answers.set(this.#lastId, answer);
    return this.#lastId;
  }

  finish(id: number, result: "done" | ProglogError): void {
    const answer = this.#answers.get(id);
    this.#answers.delete(id);
    answer?.(result);
  }

  /** The core gave the change a place in the log. */
  accepted(id: number, index: number, term: number): void {
    const before = this.#placed.get(index);
    if (before !== undefined) this.finish(before.id, unknownChange());
    this.#placed.set(index, { id, term, deadline: this.#clock.now() + patienceMs });
  }

  /** An entry was applied: if it is the change, it is in force; if not, it never will be. */
  applied(index: number, term: number): void {
    const placed = this.#placed.get(index);
    if (placed === undefined) return;
    this.#placed.delete(index);
    this.finish(placed.id, placed.term === term ? "done" : refusalError("leadership-lost"));
  }

  /** Everything up to the index came by snapshot. */
  overtaken(index: number): void {
    for (const [placed, { id }] of this.#placed) {
      if (placed > index) continue;
      this.#placed.delete(placed);
      this.finish(id, unknownChange());
    }
  }

  /** What is in the log may still be committed by the next leader: that is awaited for a little. */
  leadershipLost(graceMs: number): void {
    const deadline = this.#clock.now() + graceMs;
    for (const placed of this.#placed.values()) {
      placed.deadline = Math.min(placed.deadline, deadline);
    }
  }

  expire(): void {
    const now = this.#clock.now();
    for (const [index, { id, deadline }] of this.#placed) {
      if (deadline > now) continue;
      this.#placed.delete(index);
      this.finish(id, unknownChange());
    }
  }

  /** Ends everything: the node stops. */
  close(): void {
    for (const { id } of this.#placed.values()) this.finish(id, unknownChange());
    this.#placed.clear();
    for (const id of [...this.#answers.keys()]) this.finish(id, refusalError("leadership-lost"));
  }
}

function unknownChange(): ProglogError {
  const detail = "The change is in the log but was not seen to be committed; look at the members.";
  return new ProglogError("outcome-unknown", detail);
}
