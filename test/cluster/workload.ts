/**
 * Writers and readers that work against a cluster while a test breaks it, and keep a history.
 *
 * A writer posts one unique message at a time to a random node, follows redirects, and notes what
 * it was told; it never retries a message, so that each has one fate for the checker.
 */
import { performance } from "node:perf_hooks";

import { expect } from "vitest";

import type { NodeProcess, TestCluster } from "./harness.js";
import { faultsOf } from "./history.js";
import type { HeldRecord, ReadOperation, WriteOperation } from "./history.js";
import { ask, produce, readAll } from "./http-client.js";
import type { Page } from "./http-client.js";
import { briefly, deadlineMs, until } from "./poll.js";

let workloadCount = 0;

export class Workload {
  readonly #cluster: TestCluster;
  readonly #prefix: string;
  readonly writes: WriteOperation[] = [];
  readonly reads: ReadOperation[] = [];
  /** How often each reason for not acknowledging was given. */
  readonly refusals = new Map<string, number>();
  readonly #loops: Promise<void>[] = [];
  #isOver = false;
  #acknowledgedCount = 0;

  constructor(cluster: TestCluster) {
    this.#cluster = cluster;
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
    const logs = new Map<string, HeldRecord[]>();
    for (const node of this.#cluster.awake) logs.set(node.name, await heldBy(node));
    const known = before.map((value, offset): WriteOperation => ({
      kind: "acknowledged",
      value,
      offset,
      startMs: -1,
      endMs: -1,
    }));
    const writes = [...known, ...this.writes];
    expect(faultsOf({ writes, reads: this.reads, logs })).toEqual([]);
  }

  summary(): string {
    const refusals = [...this.refusals].map(([why, count]) => `${why} ${count}`).join(", ");
    return (
      `${this.#acknowledgedCount} of ${this.writes.length} writes acknowledged` +
      `, ${this.reads.length} reads${refusals === "" ? "" : `; not acknowledged: ${refusals}`}`
    );
  }

  async #write(writer: number): Promise<void> {
    for (let count = 0; !this.#isOver; count += 1) {
      const node = anyOf(this.#cluster.nodes);
      const value = `${this.#prefix}-${writer}-${count}`;
      const startMs = performance.now();
      const result = await produce(node.httpUrl, value);
      const endMs = performance.now();
      if (result.kind === "acknowledged") {
        this.#acknowledgedCount += 1;
        this.writes.push({ kind: "acknowledged", value, offset: result.offset, startMs, endMs });
        continue;
      }
      this.writes.push({ kind: result.kind, value, startMs });
      this.refusals.set(result.why, (this.refusals.get(result.why) ?? 0) + 1);
      await briefly();
    }
  }

  async #read(): Promise<void> {
    while (!this.#isOver) {
      const node = anyOf(this.#cluster.nodes);
      const startMs = performance.now();
      const answer = await ask(`${node.httpUrl}/Data?from=-1`, { timeoutMs: 15_000 }).catch(
        () => undefined,
      );
      const endMs = performance.now();
      if (answer?.status === 200) {
        const { endOffset, messages } = answer.body as Page;
        this.reads.push({ kind: "end", startMs, endMs, endOffset });
        for (const { offset, message } of messages) {
          this.reads.push({ kind: "record", startMs, endMs, offset, value: String(message) });
        }
      }
      await briefly();
    }
  }
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
