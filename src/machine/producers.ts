/**
 * Producers: which appends of theirs are in the log already, so that a retry adds nothing.
 *
 * A producer numbers its appends with rising sequences; of each the newest few are remembered with
 * where they went. What is forgotten, and when, follows from the log alone (thesis §6.3): from how
 * many others have appended since, and from the timestamps in the entries, never from a clock. So
 * every node forgets the same at the same entry.
 *
 * Invariants: producers stand in the order of their newest appends; sequences of a producer rise;
 * both bounds below hold. They are part of what an entry means: changing them is a new format.
 */
import { assert } from "../common/assert.js";
import type { ProducerRow } from "../storage/checkpoint.js";

/** Who appends, and the number of the append: repeated, it is the same append. */
export interface Producer {
  readonly id: string;
  /** From 0 to 2^53-1; rises with each append, gaps are allowed. */
  readonly sequence: number;
}

/**
 * An append of a producer that is in the log. A void one has a count of 0: it takes a sequence and
 * adds no record, so that what comes late under that sequence adds nothing either.
 */
export type Remembered = ProducerRow["appends"][number];

/** The newest appends of one producer, oldest first. Never changed in place. */
export type ProducerState = ProducerRow;

/** Producers that are remembered: the one whose last append is oldest goes first. */
export const producerCountMax = 8192;
/** Appends that are remembered of one producer. */
export const appendCountMax = 5;
/** A producer that has appended nothing for so long is forgotten. */
export const producerAgeMsMax = 24 * 60 * 60 * 1000;

/** What an append with this producer and sequence is. */
export type Verdict = "new" | "too-old" | Remembered;

/**
 * What became of an append: where it is; that it never will be anywhere; that nothing is decided
 * yet; or that it was too long ago to be known.
 */
export type Settlement = Remembered | "never" | "open" | "forgotten";

export class Producers {
  /** In the order of their newest appends. */
  readonly #states = new Map<string, ProducerState>();

  constructor(states: readonly ProducerState[]) {
    let last = -1;
    for (const state of states) {
      const newest = state.appends.at(-1);
      assert(newest !== undefined, "a producer that is remembered has appended");
      assert(newest.offset >= last, "producers stand in the order of their newest appends");
      last = newest.offset;
      this.#states.set(state.id, state);
    }
  }

  /** How many are remembered. */
  get count(): number {
    return this.#states.size;
  }

  /** All, in the order of their newest appends. */
  states(): readonly ProducerState[] {
    return [...this.#states.values()];
  }

  /** What became of an append, as far as it is remembered. */
  find({ id, sequence }: Producer): Verdict {
    const state = this.#states.get(id);
    const newest = state?.appends.at(-1);
    if (state === undefined || newest === undefined || sequence > newest.sequence) return "new";
    return state.appends.find((append) => append.sequence === sequence) ?? "too-old";
  }

  /**
   * What became of an append. Sequences rise: one that is passed over is never applied. Whether one
   * from before the oldest that is remembered was, is not known any more.
   */
  settlementOf(producer: Producer): Settlement {
    const verdict = this.find(producer);
    if (verdict === "new") return "open";
    if (verdict !== "too-old") return verdict.count === 0 ? "never" : verdict;
    const oldest = this.#states.get(producer.id)?.appends[0];
    return producer.sequence > (oldest?.sequence ?? 0) ? "never" : "forgotten";
  }

  /** Notes an append that is in the log now; a void one has a count of 0. */
  note(id: string, append: Remembered): void {
    const known = this.#states.get(id)?.appends ?? [];
    assert((known.at(-1)?.sequence ?? -1) < append.sequence, "sequences of a producer rise");
    this.#states.delete(id);
    this.#states.set(id, { id, appends: [...known.slice(1 - appendCountMax), append] });
    this.#forget(append.timestampMs);
  }

  #forget(nowMs: number): void {
    for (const [id, { appends }] of this.#states) {
      const isOld = (appends.at(-1)?.timestampMs ?? 0) < nowMs - producerAgeMsMax;
      if (!isOld && this.#states.size <= producerCountMax) return;
      this.#states.delete(id);
    }
  }
}
