/**
 * The kinds of lies that a history can hold, and the list of those found.
 *
 * One lie often has thousands of consequences, so a few of each kind are kept and the rest are
 * counted: no kind crowds out another.
 */
import type { AppendAttempt, ReadOperation } from "./history.js";

export type ViolationKind =
  /** The history itself is no history: a fault of the harness. */
  | "malformed"
  /** Offsets of a node's log are not 0, 1, 2, … */
  | "gap"
  /** Two nodes hold different values at one offset. */
  | "divergence"
  /** A node that must be level holds less than another. */
  | "behind"
  /** An acknowledged value is not where it was acknowledged. */
  | "lost"
  /** A value is in the log more than once. */
  | "duplicate"
  /** A rejected write is in the log. */
  | "rejected-applied"
  /** The log holds what nobody sent. */
  | "stranger"
  /** A batch is there in part, or with something in between. */
  | "torn-batch"
  /** A conditional append took effect at another offset. */
  | "condition"
  /** Attempts of one logical write were given different offsets. */
  | "unequal-answers"
  /** A producer's writes are not in the order of their sequences. */
  | "producer-order"
  /** The order of the log contradicts the order in time. */
  | "real-time"
  /** A linearizable read missed what was known to be there before it began. */
  | "stale-read"
  /** A read gave a value, an offset or an end that the log never had. */
  | "wrong-read";

export interface Violation {
  readonly kind: ViolationKind;
  /** A sentence that names the operations. */
  readonly message: string;
}

const keptOfKind = 5;

export class Violations {
  readonly #list: Violation[] = [];
  readonly #counts = new Map<ViolationKind, number>();

  add(kind: ViolationKind, message: string): void {
    const count = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, count);
    if (count <= keptOfKind) this.#list.push({ kind, message });
  }

  /** Those kept, and a line for each kind of which there were more. */
  list(): Violation[] {
    const more = [...this.#counts]
      .filter(([, count]) => count > keptOfKind)
      .map(([kind, count]) => ({ kind, message: `and ${count - keptOfKind} more of this kind` }));
    return [...this.#list, ...more];
  }
}

export function quote(value: string | undefined): string {
  return value === undefined ? "nothing" : JSON.stringify(value.slice(0, 60));
}

/** An attempt in words: who, which, what, when. */
export function nameOf(append: AppendAttempt): string {
  const { client, attempt, values, invokedAt, returnedAt, producer } = append;
  const what = values.length === 1 ? quote(values[0]) : `${quote(values[0])} … (${values.length})`;
  const by = producer === undefined ? "" : ` as ${producer.id}/${producer.sequence}`;
  return `append ${client}#${attempt} of ${what}${by} [${spanOf(invokedAt, returnedAt)}]`;
}

/** A read in words. */
export function nameOfRead(read: ReadOperation): string {
  const { client, node, from, consistency, invokedAt, returnedAt } = read;
  return `${consistency} read ${client} of ${from} on ${node} [${spanOf(invokedAt, returnedAt)}]`;
}

function spanOf(invokedAt: number, returnedAt: number): string {
  const end = returnedAt === Infinity ? "never" : rounded(returnedAt);
  return `${rounded(invokedAt)} to ${end}`;
}

function rounded(time: number): string {
  return String(Math.round(time * 1000) / 1000);
}
