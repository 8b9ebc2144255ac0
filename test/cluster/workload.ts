/**
 * Writers and readers that work against a cluster while a test breaks it, and keep a history.
 *
 * A writer posts one unique message at a time to a random node, follows redirects, and notes what
 * it was told; it never retries a message, so that each has one fate for the checker.
 */
import { performance } from "node:perf_hooks";

import { expect } from "vitest";

import { check } from "../history/check.js";
import { HistoryRecorder } from "../history/history.js";
import type { AppendAttempt, FinalLog, HeldRecord } from "../history/history.js";
import type { NodeProcess, TestCluster } from "./harness.js";
import { ask, produce, readAll } from "./http-client.js";
import type { Page } from "./http-client.js";
import { briefly, deadlineMs, until } from "./poll.js";

let workloadCount = 0;

export class Workload {
  readonly #cluster: TestCluster;
  readonly #prefix: string;
  readonly #valueBytes: number;
  readonly #recorder = new HistoryRecorder();
  /** How often each reason for not acknowledging was given. */
  readonly refusals = new Map<string, number>();
  readonly #loops: Promise<void>[] = [];
  #isOver = false;
  #acknowledgedCount = 0;

  /** @param valueBytes Values are made at least so long. */
  constructor(cluster: TestCluster, valueBytes = 0) {
    this.#cluster = cluster;
    this.#valueBytes = valueBytes;
    workloadCount += 1;
    this.#prefix = `w${workloadCount}`;
  }

  get acknowledgedCount(): number {
    return this.#acknowledgedCount;
  }

  start(counts: { writers: number; readers?: number }): void {
    for (let at = 0; at < counts.writers; at += 1) this.#loops.push(this.#write(at));
    for (let at = 0; at < (counts.readers ?? 0); at += 1) this.#loops.push(this.#read());
  }

  /** Waits until so many more writes have been acknowledged. */
  async untilMore(count: number, timeoutMs = deadlineMs): Promise<void> {
    const goal = this.#acknowledgedCount + count;
    await until(
      `${count} more acknowledged writes`,
      async () => {
        if (this.#acknowledgedCount >= goal) return true;
        throw new Error(`${this.#acknowledgedCount} of ${goal}`);
      },
      { timeoutMs },
    );
  }

  /** Lets writers and readers finish what they have begun. */
  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#loops);
  }

  /** Reads every node's log and holds it against the history; earlier records are `before`. */
  async check(before: readonly string[] = []): Promise<void> {
    await this.#cluster.untilLevel();
    const logs: FinalLog[] = [];
    for (const node of this.#cluster.awake) {
      logs.push({ node: node.name, records: await heldBy(node) });
    }
    const { appends, reads } = this.#recorder;
    expect(check({ appends: [...heldBefore(before), ...appends], reads, logs })).toEqual([]);
  }

  summary(): string {
    const { appends, reads } = this.#recorder;
    const refusals = [...this.refusals].map(([why, count]) => `${why} ${count}`).join(", ");
    return (
      `${this.#acknowledgedCount} of ${appends.length} writes acknowledged` +
      `, ${reads.length} reads${refusals === "" ? "" : `; not acknowledged: ${refusals}`}`
    );
  }

  async #write(writer: number): Promise<void> {
    for (let count = 0; !this.#isOver; count += 1) {
      const node = anyOf(this.#cluster.nodes);
      const value = `${this.#prefix}-${writer}-${count}`.padEnd(this.#valueBytes, ".");
      const client = `writer-${writer}`;
      const begun = { client, values: [value], invokedAt: performance.now() };
      const attempt = this.#recorder.beginAppend(begun);
      const result = await produce(node.httpUrl, value);
      const returnedAt = performance.now();
      if (result.kind === "acknowledged") {
        this.#acknowledgedCount += 1;
        const outcome = { type: "ok", offset: result.offset } as const;
        this.#recorder.endAppend(attempt, { returnedAt, outcome });
        continue;
      }
      this.#recorder.endAppend(attempt, { returnedAt, outcome: { type: result.kind } });
      this.refusals.set(result.why, (this.refusals.get(result.why) ?? 0) + 1);
      await briefly();
    }
  }

  async #read(): Promise<void> {
    while (!this.#isOver) {
      const node = anyOf(this.#cluster.nodes);
      const invokedAt = performance.now();
      const answer = await ask(`${node.httpUrl}/Data?from=-1`, { timeoutMs: 15_000 }).catch(
        () => undefined,
      );
      const returnedAt = performance.now();
      if (answer?.status === 200) {
        const { endOffset, messages } = answer.body as Page;
        const base = { client: "reader", node: node.name, invokedAt, returnedAt };
        const read = { ...base, consistency: "linearizable" } as const;
        // The page says two things: where the log ends, and what lies there.
        this.#recorder.read({ ...read, from: endOffset, result: { type: "miss", endOffset } });
        for (const { offset, message } of messages) {
          const result = { type: "hit", offset, values: [String(message)] } as const;
          this.#recorder.read({ ...read, from: offset, result });
        }
      }
      await briefly();
    }
  }
}

/** Earlier records as one batch from before all time. */
function heldBefore(values: readonly string[]): AppendAttempt[] {
  if (values.length === 0) return [];
  const outcome = { type: "ok", offset: 0 } as const;
  return [{ client: "before", attempt: -1, values, invokedAt: -1, returnedAt: -1, outcome }];
}

/** What a node holds, as the checker wants it. */
export async function heldBy(node: NodeProcess): Promise<HeldRecord[]> {
  const records = await readAll(node.httpUrl);
  return records.map(({ offset, message }) => ({ offset, value: String(message) }));
}

/** Any one of them. */
export function anyOf<T>(items: readonly T[]): T {
  const item = items[Math.floor(Math.random() * items.length)];
  if (item === undefined) throw new Error("there is none to choose");
  return item;
}
