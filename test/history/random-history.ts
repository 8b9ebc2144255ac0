/**
 * Makes random histories that are true: a pretended log takes each operation at one moment
 * between its start and its end, in the order of those moments.
 *
 * Attempts may take effect long after their client gave up, be answered or not, be retried as the
 * same logical write, be conditional or batches. One seed decides all.
 */
import type { AppendAttempt, AppendOutcome, FinalLog, History, ReadOperation } from "./history.js";
import { randomOf } from "./random.js";

/** Something that happens at one moment. */
interface Moment {
  readonly at: number;
  readonly happen: () => void;
}

export class RandomHistory {
  readonly #random: () => number;
  readonly #moments: Moment[] = [];
  readonly #log: string[] = [];
  readonly #appends: AppendAttempt[] = [];
  readonly #reads: ReadOperation[] = [];
  readonly #applied = new Map<string, number>();
  #valueCount = 0;

  constructor(seed: number) {
    this.#random = randomOf(seed);
  }

  /** `clientCount` clients with `operationCount` operations each, on three nodes. */
  make(clientCount = 6, operationCount = 12): History {
    for (let at = 0; at < clientCount; at += 1) this.#client(`c${at}`, operationCount);
    this.#moments.sort((a, b) => a.at - b.at);
    for (const moment of this.#moments) moment.happen();
    const records = this.#log.map((value, offset) => ({ offset, value }));
    const logs: FinalLog[] = [
      { node: "n1", records },
      { node: "n2", records },
      { node: "n3", records: records.slice(0, this.#below(records.length + 1)), mayLag: true },
    ];
    const appends = this.#appends.sort((a, b) => a.attempt - b.attempt);
    return { appends, reads: this.#reads, logs };
  }

  #below(bound: number): number {
    return Math.floor(this.#random() * bound);
  }

  #client(client: string, operationCount: number): void {
    let now = this.#random() * 10;
    let sequence = 0;
    for (let count = 0; count < operationCount; count += 1) {
      const span = { invokedAt: now, at: now + this.#random() * 5, returnedAt: 0 };
      span.returnedAt = span.at + this.#random() * 5;
      now = span.returnedAt + this.#random() * 3;
      const kind = this.#below(10);
      if (kind < 3) this.#read(client, span);
      else if (kind < 6) now = this.#produce(client, (sequence += 1 + this.#below(2)), span);
      else this.#append(client, span);
    }
  }

  #read(client: string, span: Span): void {
    const [isLocal, isHit, chosen] = [this.#random() < 0.2, this.#random() < 0.5, this.#random()];
    const [lag, node] = [this.#below(4), `n${1 + this.#below(3)}`];
    const consistency = isLocal ? "local" : "linearizable";
    const happen = (): void => {
      const { invokedAt, returnedAt } = span;
      const end = Math.max(0, this.#log.length - (isLocal ? lag : 0));
      const base = { client, node, invokedAt, returnedAt, consistency } as const;
      if (isHit && end > 0) {
        const from = Math.floor(chosen * end);
        const values = this.#log.slice(from, Math.min(end, from + 1 + lag));
        this.#reads.push({ ...base, from, result: { type: "hit", offset: from, values } });
      } else {
        this.#reads.push({ ...base, from: end + lag, result: { type: "miss", endOffset: end } });
      }
    };
    this.#moments.push({ at: span.at, happen });
  }

  /** A write that is made once: acknowledged, rejected, or of unknown fate and perhaps late. */
  #append(client: string, span: Span): void {
    const values = this.#values(this.#random() < 0.3 ? 2 + this.#below(2) : 1);
    const [fate, guess] = [this.#random(), this.#below(4)];
    const isConditional = this.#random() < 0.2;
    const isLate = fate > 0.8;
    const happen = (): void => {
      const expectedOffset = isConditional ? this.#log.length + (guess === 0 ? 1 : 0) : undefined;
      const isMet = expectedOffset === undefined || expectedOffset === this.#log.length;
      const isApplied = isMet && (fate < 0.55 || fate > 0.7);
      let outcome: AppendOutcome = { type: fate < 0.7 ? "rejected" : "unknown" };
      if (isApplied) {
        const offset = this.#put(values);
        if (fate < 0.55) outcome = { type: "ok", offset };
      }
      const returnedAt =
        outcome.type === "unknown" && guess > 1 ? Infinity : Math.max(span.returnedAt, 0);
      this.#note({ client, values, ...span, returnedAt, outcome, expectedOffset });
    };
    this.#moments.push({ at: isLate ? span.at + this.#random() * 40 : span.at, happen });
  }

  /** A write that is tried again until it is acknowledged; an early attempt may come late. */
  #produce(client: string, sequence: number, first: Span): number {
    const values = this.#values(1 + this.#below(2));
    const producer = { id: client, sequence };
    const key = `${client}/${sequence}`;
    let span = first;
    const attemptCount = 1 + this.#below(3);
    for (let attempt = 1; attempt <= attemptCount; attempt += 1) {
      const { invokedAt, returnedAt } = span;
      const isLast = attempt === attemptCount;
      const [isApplied, isRejected] = [this.#random() < 0.5, this.#random() < 0.3];
      const happen = (): void => {
        const offset = this.#applied.get(key);
        let outcome: AppendOutcome = { type: isRejected ? "rejected" : "unknown" };
        if (isLast) outcome = { type: "ok", offset: offset ?? this.#put(values) };
        else if (isApplied && !isRejected && offset === undefined) {
          this.#applied.set(key, this.#put(values));
        }
        this.#note({ client, values, invokedAt, returnedAt, outcome, producer });
      };
      this.#moments.push({ at: span.at, happen });
      const next = returnedAt + this.#random();
      span = { invokedAt: next, at: next + this.#random() * 3, returnedAt: 0 };
      span.returnedAt = span.at + this.#random() * 3;
    }
    return span.invokedAt;
  }

  #values(count: number): string[] {
    return Array.from({ length: count }, () => `v${(this.#valueCount += 1)}`);
  }

  #put(values: readonly string[]): number {
    const offset = this.#log.length;
    this.#log.push(...values);
    return offset;
  }

  #note(append: Omit<AppendAttempt, "attempt" | "expectedOffset"> & Conditional): void {
    const { client, values, invokedAt, returnedAt, outcome, producer, expectedOffset } = append;
    this.#appends.push({
      attempt: this.#appends.length,
      ...{ client, values, invokedAt, returnedAt, outcome },
      ...(producer === undefined ? {} : { producer }),
      ...(expectedOffset === undefined ? {} : { expectedOffset }),
    });
  }
}

interface Conditional {
  readonly expectedOffset?: number | undefined;
}

interface Span {
  readonly invokedAt: number;
  /** When it takes effect. */
  readonly at: number;
  returnedAt: number;
}
