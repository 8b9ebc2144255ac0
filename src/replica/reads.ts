/**
 * Reads that wait: first for the leader's word on how far the log is committed (ReadIndex, thesis
 * §6.4), then for this node to have applied that far.
 *
 * Reads that come in one turn share one question. Each ends: confirmed, or rejected by the core
 * (no leader, or it changed), or by its caller's signal.
 */
import type { Random } from "../common/random.js";
import { ProglogError } from "../common/errors.js";

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

interface Confirmed {
  readonly index: number;
  readonly waiting: readonly Waiting[];
}

/** Reads waiting at one time: a caller may have given up, but its place is taken until the end. */
const waitingCountMax = 16_384;

export class Reads {
  #count = 0;
  #nextId: number;
  #gathered: Waiting[] = [];
  readonly #asked = new Map<number, Waiting[]>();
  /** Confirmed at an index that is not applied yet, in the order of the questions. */
  #confirmed: Confirmed[] = [];

  constructor(random: Random) {
    // Ids of an earlier life of this node must not come back (effects.ts, `read`).
    this.#nextId = Math.floor(random.next() * 2 ** 31) * 2 ** 20 + 1;
  }

  /**
   * Waits until this node holds all that was acknowledged before now.
   *
   * @param first Called if this is the first of a turn: the caller then arranges `take`.
   * @throws ProglogError cannot-confirm
   */
  async wait(first: () => void): Promise<void> {
    if (this.#count >= waitingCountMax) throw cannotConfirm();
    this.#count += 1;
    try {
      await this.#waitForWord(first);
    } finally {
      this.#count -= 1;
    }
  }

  async #waitForWord(first: () => void): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#gathered.push({ resolve, reject });
      if (this.#gathered.length === 1) first();
    });
  }

  /** The question for all that has gathered; undefined if nothing has. */
  take(): number | undefined {
    if (this.#gathered.length === 0) return undefined;
    const readId = this.#nextId;
    this.#nextId += 1;
    this.#asked.set(readId, this.#gathered);
    this.#gathered = [];
    return readId;
  }

  /** The leader confirmed; answers at once if this node has applied so far. */
  ready(readId: number, index: number, appliedIndex: number): void {
    const waiting = this.#asked.get(readId);
    if (waiting === undefined) return;
    this.#asked.delete(readId);
    this.#confirmed.push({ index, waiting });
    this.applied(appliedIndex);
  }

  rejected(readId: number): void {
    const waiting = this.#asked.get(readId);
    this.#asked.delete(readId);
    for (const { reject } of waiting ?? []) reject(cannotConfirm());
  }

  applied(appliedIndex: number): void {
    if (this.#confirmed.length === 0) return;
    const left: Confirmed[] = [];
    for (const read of this.#confirmed) {
      if (read.index > appliedIndex) left.push(read);
      else for (const { resolve } of read.waiting) resolve();
    }
    this.#confirmed = left;
  }

  close(): void {
    const groups = [
      this.#gathered,
      ...this.#asked.values(),
      ...this.#confirmed.map((read) => read.waiting),
    ];
    this.#gathered = [];
    this.#asked.clear();
    this.#confirmed = [];
    for (const waiting of groups) for (const { reject } of waiting) reject(cannotConfirm());
  }
}

/** There is nobody to ask, or no answer came. */
export function cannotConfirm(): ProglogError {
  return new ProglogError(
    "cannot-confirm",
    "The log's end cannot be confirmed without a leader; retry, or ask with consistency=local.",
    { retryAfterMs: 1000 },
  );
}
