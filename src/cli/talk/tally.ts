/**
 * What became of the records that `produce` handed in, by their numbers: which are in the log,
 * which are not, and which nobody knows of.
 *
 * Numbers that fail come close together, so they are kept as ranges. Invariant: each record is
 * counted once, as acknowledged, unknown or not applied.
 */
import { ProglogError } from "../../common/errors.js";

/** Ranges that a message names; more are counted only. */
const shownMax = 5;
/** Ranges that are kept: no more records than this are ever under way. */
const keptMax = 65_536;

/** Numbers as ranges, in the order in which they are added. */
class Ranges {
  count = 0;
  readonly #ranges: { readonly first: number; last: number }[] = [];

  add(number: number): void {
    this.count += 1;
    const newest = this.#ranges.at(-1);
    if (newest?.last === number - 1) newest.last = number;
    else if (this.#ranges.length < keptMax) this.#ranges.push({ first: number, last: number });
  }

  text(): string {
    const shown = this.#ranges
      .slice(0, shownMax)
      .map(({ first, last }) =>
        first === last ? String(first) : `${String(first)}-${String(last)}`,
      );
    return this.#ranges.length > shownMax ? `${shown.join(", ")}, …` : shown.join(", ");
  }
}

function plural(what: string, count: number): string {
  return count === 1 ? what : `${what}s`;
}

/** The first record that was not acknowledged. */
export interface Failure {
  readonly number: number;
  readonly error: unknown;
}

export class Tally {
  readonly #unknown = new Ranges();
  readonly #notApplied = new Ranges();
  #acknowledged = 0;
  #least = Infinity;
  #most = -1;
  #failure: Failure | undefined;

  /** A record is in the log. */
  acknowledge(offset: number): void {
    this.#acknowledged += 1;
    this.#least = Math.min(this.#least, offset);
    this.#most = Math.max(this.#most, offset);
  }

  /** A record was not acknowledged. */
  fail(number: number, error: unknown): void {
    const isUnknown = !(error instanceof ProglogError) || error.outcome === "unknown";
    (isUnknown ? this.#unknown : this.#notApplied).add(number);
    this.#failure ??= { number, error };
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** True if nobody knows of a record whether it is in the log. */
  get hasUnknown(): boolean {
    return this.#unknown.count > 0;
  }

  /** What is in the log, as a sentence without its end. */
  acknowledgedText(): string {
    const count = this.#acknowledged;
    if (count === 0) return "nothing was acknowledged";
    const were = count === 1 ? "1 record is in the log" : `${String(count)} records are in the log`;
    if (this.#least === this.#most) return `${were}, at offset ${String(this.#least)}`;
    return `${were}, at offsets ${String(this.#least)} to ${String(this.#most)}`;
  }

  /** What is not, or may not be, in the log; empty if all is. */
  failedTexts(what: string): string[] {
    const texts: string[] = [];
    if (this.#unknown.count > 0) {
      const { count } = this.#unknown;
      const range = `${plural(what, count)} ${this.#unknown.text()}`;
      texts.push(`of ${String(count)} it is not known (${range})`);
    }
    if (this.#notApplied.count > 0) {
      const { count } = this.#notApplied;
      const range = `${plural(what, count)} ${this.#notApplied.text()}`;
      texts.push(`${String(count)} ${count === 1 ? "is" : "are"} not in it (${range})`);
    }
    return texts;
  }
}
