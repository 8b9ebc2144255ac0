/**
 * What clients of a log saw, and what the nodes hold in the end: the matter that check.ts judges.
 *
 * The same model serves simulated and real runs, so nothing here asks a clock, a network or a
 * disk: whoever records hands the times in. Times may be of any unit, but of one clock, which
 * never runs backwards. Invariants: an operation that nobody saw the end of returned at Infinity,
 * and an append of that kind is of unknown fate.
 */

/** What makes repeated attempts one logical write. Sequences of an id rise. */
export interface Producer {
  readonly id: string;
  readonly sequence: number;
}

export type AppendOutcome =
  /** Acknowledged: the first value is at this offset, the others follow it. */
  | { readonly type: "ok"; readonly offset: number }
  /** In the log once or not at all, now or later. */
  | { readonly type: "unknown" }
  /** Surely not in the log by this attempt. */
  | { readonly type: "rejected" };

/** What a client asked for. Values are unique to a logical write: by them it is found again. */
export interface AppendRequest {
  readonly client: string;
  /** Several are a batch: one after the other in the log, all or none. */
  readonly values: readonly string[];
  readonly invokedAt: number;
  /** Attempts with an equal producer are one logical write. */
  readonly producer?: Producer;
  /** The append may take effect at this offset only. */
  readonly expectedOffset?: number;
}

export interface AppendAttempt extends AppendRequest {
  /** Number of the attempt, unique in the history. */
  readonly attempt: number;
  readonly returnedAt: number;
  readonly outcome: AppendOutcome;
}

export type ReadResult =
  | { readonly type: "hit"; readonly offset: number; readonly values: readonly string[] }
  /** There is nothing at `from` yet: the log ends at `endOffset`, exclusive. */
  | { readonly type: "miss"; readonly endOffset: number };

/** A read that was answered; one that was not has said nothing, and is not recorded. */
export interface ReadOperation {
  readonly client: string;
  readonly node: string;
  readonly invokedAt: number;
  readonly returnedAt: number;
  /** The offset that was asked for. */
  readonly from: number;
  readonly consistency: "linearizable" | "local";
  readonly result: ReadResult;
}

export interface HeldRecord {
  readonly offset: number;
  readonly value: string;
}

/** What a node holds in the end, in the order in which it gave it. */
export interface FinalLog {
  readonly node: string;
  readonly records: readonly HeldRecord[];
  /** True if the node need not have caught up: then a prefix will do. */
  readonly mayLag?: boolean;
}

export interface History {
  readonly appends: readonly AppendAttempt[];
  readonly reads: readonly ReadOperation[];
  readonly logs: readonly FinalLog[];
}

/** How an attempt ended. */
export interface AppendEnd {
  readonly returnedAt: number;
  readonly outcome: AppendOutcome;
}

/** Collects a history as it happens; an append that is never ended stays of unknown fate. */
export class HistoryRecorder {
  readonly #appends: AppendAttempt[] = [];
  readonly #reads: ReadOperation[] = [];

  get appends(): readonly AppendAttempt[] {
    return this.#appends;
  }

  get reads(): readonly ReadOperation[] {
    return this.#reads;
  }

  /** Notes an append before it is sent. Returns the number of the attempt. */
  beginAppend(request: AppendRequest): number {
    const attempt = this.#appends.length;
    const outcome = { type: "unknown" } as const;
    this.#appends.push({ ...request, attempt, returnedAt: Infinity, outcome });
    return attempt;
  }

  /** Notes how an attempt ended; at most once an attempt. */
  endAppend(attempt: number, end: AppendEnd): void {
    const begun = this.#appends[attempt];
    if (begun === undefined) throw new Error(`there was no attempt ${attempt}`);
    this.#appends[attempt] = { ...begun, ...end };
  }

  read(operation: ReadOperation): void {
    this.#reads.push(operation);
  }

  /** All that was recorded, with what the nodes hold in the end. */
  history(logs: readonly FinalLog[]): History {
    return { appends: [...this.#appends], reads: [...this.#reads], logs };
  }
}

/** A history as JSON text, to be kept and judged again. */
export function textOf(history: History): string {
  return JSON.stringify(history, (_, value: unknown) => (value === Infinity ? "never" : value));
}

/** The history that `textOf` wrote. Not for text of other origin: it checks no fields. */
export function historyFrom(text: string): History {
  const revive = (key: string, value: unknown): unknown =>
    key === "returnedAt" && value === "never" ? Infinity : value;
  return JSON.parse(text, revive) as History;
}
