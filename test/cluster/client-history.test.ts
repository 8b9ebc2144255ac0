/**
 * The client while every node is killed, stopped and asked to end in turn, and now and then all of
 * them at once: what it was told and what it read is judged by the checker of histories.
 *
 * PROGLOG_CLIENT_SECONDS says for how long (default 15), PROGLOG_CLIENT_SEED which faults.
 */
import { performance } from "node:perf_hooks";

import { afterAll, beforeAll, expect, test } from "vitest";

import { Client } from "../../src/client/client.js";
import { ProglogError } from "../../src/common/errors.js";
import { check } from "../history/check.js";
import { HistoryRecorder } from "../history/history.js";
import type { AppendOutcome, FinalLog } from "../history/history.js";
import { Chance } from "../history/random.js";
import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { briefly, report, until } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";
import { heldBy } from "./workload.js";

const seconds = Number(process.env["PROGLOG_CLIENT_SECONDS"] ?? 15);
const seed = Number(process.env["PROGLOG_CLIENT_SEED"] ?? Math.floor(Math.random() * 1_000_000));
const nodeCount = 3;
const producerCount = 4;
const consumerCount = 3;
/** Records that a producer has handed in and not heard of. */
const pipelinedMax = 8;

let cluster: TestCluster;
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = await TestCluster.start({ nodeCount });
});

afterAll(async () => {
  await cluster?.close();
});

function newClient(): Client {
  const servers = cluster.nodes.map((node) => node.rpcAddr);
  return new Client({ servers, deliveryTimeoutMs: 120_000 });
}

test(
  `kill, pause and restart of every node during ${seconds} s loses and repeats nothing`,
  async () => {
    report(`PROGLOG_CLIENT_SEED=${seed}`);
    const unheard: unknown[] = [];
    const hear = (reason: unknown): void => {
      unheard.push(reason);
    };
    process.on("unhandledRejection", hear);
    const work = new ClientWork();
    const faults = new Faults(cluster, new Chance(seed));
    try {
      work.start();
      await faults.run(seconds * 1000, async () => work.untilMore(40));
      await cluster.untilVoters(nodeCount);
      await work.endProducing();
      await work.untilAllRead();
    } finally {
      await work.close();
      process.off("unhandledRejection", hear);
    }
    await cluster.untilLevel();
    const logs: FinalLog[] = [];
    for (const node of cluster.nodes) {
      logs.push({ node: node.name, records: await heldBy(node) });
    }
    report(`${work.summary()}; ${faults.done.join(", ")}`);
    expect(check(work.recorder.history(logs))).toEqual([]);
    // Nothing else writes here: each record is there, once, and no call has failed.
    expect(work.failures).toEqual([]);
    expect(logs[0]?.records.length).toBe(work.recorder.appends.length);
    for (const { values } of work.consumed) {
      expect(values).toEqual(logs[0]?.records.map(({ value }) => value));
    }
    expect(unheard).toEqual([]);
  },
  (seconds + 120) * 1000,
);

/** Producers and consumers, each with a client of its own, and what they were told. */
class ClientWork {
  readonly recorder = new HistoryRecorder();
  readonly failures: string[] = [];
  readonly consumed: { readonly values: string[] }[] = [];
  readonly #clients: Client[] = [];
  readonly #producing: Promise<void>[] = [];
  readonly #consuming: Promise<void>[] = [];
  #isOver = false;
  #isClosed = false;
  #waitMsMax = 0;
  #acknowledgedCount = 0;

  start(): void {
    for (let at = 0; at < producerCount; at += 1) {
      this.#producing.push(this.#produce(this.#client(), `producer-${at}`));
    }
    for (let at = 0; at < consumerCount; at += 1) {
      this.#consuming.push(this.#consume(this.#client(), `consumer-${at}`));
    }
  }

  /** Waits until so many more appends have been acknowledged. */
  async untilMore(count: number): Promise<void> {
    const goal = this.#acknowledgedCount + count;
    await until(`${count} more appends`, async () =>
      this.#acknowledgedCount >= goal ? true : undefined,
    );
  }

  async endProducing(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#producing);
  }

  /** Waits until each consumer has all that was acknowledged. */
  async untilAllRead(): Promise<void> {
    const count = this.#acknowledgedCount;
    await until(`each consumer to have read ${count} records`, async () => {
      if (this.consumed.every(({ values }) => values.length >= count)) return true;
      throw new Error(this.consumed.map(({ values }) => values.length).join(", "));
    });
  }

  async close(): Promise<void> {
    this.#isOver = true;
    this.#isClosed = true;
    await Promise.all(this.#clients.map(async (client) => client.close()));
    await Promise.all([...this.#producing, ...this.#consuming]);
  }

  summary(): string {
    const { appends, reads } = this.recorder;
    return (
      `${this.#acknowledgedCount} of ${appends.length} appends acknowledged, the slowest after ` +
      `${Math.round(this.#waitMsMax)} ms; ${consumerCount} consumers read ${reads.length} records`
    );
  }

  #client(): Client {
    const client = newClient();
    this.#clients.push(client);
    return client;
  }

  /** Hands in one record after the other, a few ahead of the answers. */
  async #produce(client: Client, name: string): Promise<void> {
    const pending = new Set<Promise<void>>();
    for (let nth = 0; !this.#isOver; nth += 1) {
      const append = this.#append(client, name, nth).finally(() => pending.delete(append));
      pending.add(append);
      if (pending.size >= pipelinedMax) await Promise.race(pending);
      await briefly(4);
    }
    await Promise.all(pending);
  }

  async #append(client: Client, name: string, sequence: number): Promise<void> {
    const value = `${name}:${sequence}`;
    const invokedAt = performance.now();
    // The client keeps the order of its calls: the checker is told so.
    const producer = { id: name, sequence };
    const attempt = this.recorder.beginAppend({
      ...{ client: `${name}/${sequence}`, values: [value], invokedAt, producer },
    });
    const outcome = await this.#outcomeOf(client.produce(value));
    const returnedAt = performance.now();
    this.#waitMsMax = Math.max(this.#waitMsMax, returnedAt - invokedAt);
    this.recorder.endAppend(attempt, { returnedAt, outcome });
    if (outcome.type === "ok") this.#acknowledgedCount += 1;
  }

  async #outcomeOf(receipt: Promise<{ readonly offset: number }>): Promise<AppendOutcome> {
    try {
      return { type: "ok", offset: (await receipt).offset };
    } catch (error) {
      this.failures.push(String(error));
      const isSure = error instanceof ProglogError && error.outcome === "not_applied";
      return { type: isSure ? "rejected" : "unknown" };
    }
  }

  /** Reads from the start of the log on. */
  async #consume(client: Client, name: string): Promise<void> {
    const values: string[] = [];
    this.consumed.push({ values });
    let invokedAt = performance.now();
    try {
      for await (const record of client.consume({ follow: true })) {
        const returnedAt = performance.now();
        const value = record.text();
        this.recorder.read({
          ...{ client: name, node: "any", invokedAt, returnedAt, from: values.length },
          consistency: "linearizable",
          result: { type: "hit", offset: record.offset, values: [value] },
        });
        values.push(value);
        invokedAt = returnedAt;
      }
    } catch (error) {
      if (!this.#isClosed) this.failures.push(`${name}: ${String(error)}`);
    }
  }
}

const kinds = ["SIGKILL", "SIGSTOP", "SIGTERM"] as const;

/** Every fault at every node, in an order of the seed, again and again, one after the other. */
class Faults {
  readonly done: string[] = [];
  readonly #cluster: TestCluster;
  readonly #chance: Chance;

  constructor(cluster: TestCluster, chance: Chance) {
    this.#cluster = cluster;
    this.#chance = chance;
  }

  /**
   * For so long, but at least until each node has had each fault once.
   *
   * @param untilServing Between two faults the cluster must serve: else they would come faster than
   *   a busy machine holds elections, and little would be tried.
   */
  async run(durationMs: number, untilServing: () => Promise<void>): Promise<void> {
    const endMs = performance.now() + durationMs;
    const each = this.#cluster.nodes.flatMap((node) => kinds.map((kind) => ({ node, kind })));
    do {
      for (const { node, kind } of this.#chance.shuffled(each)) {
        const isFirstRound = this.done.length < each.length;
        if (!isFirstRound && performance.now() >= endMs) return;
        await this.#strike(node, kind);
        await untilServing();
      }
      await this.#killAll();
      await untilServing();
    } while (performance.now() < endMs);
  }

  async #strike(node: NodeProcess, kind: (typeof kinds)[number]): Promise<void> {
    this.done.push(`${kind} ${node.name}`);
    // A process that has just begun knows no signals yet.
    if (kind === "SIGTERM") await node.untilAnswering();
    const holdMs = this.#chance.between(200, 1_500);
    if (kind === "SIGSTOP") {
      node.stop();
      await briefly(holdMs);
      node.cont();
      return;
    }
    const exit = await (kind === "SIGKILL" ? node.kill9() : node.terminate());
    if (kind === "SIGTERM") expect(exit).toEqual({ code: 0, signal: null });
    await briefly(holdMs);
    node.restart();
  }

  async #killAll(): Promise<void> {
    this.done.push("SIGKILL all");
    await Promise.all(this.#cluster.nodes.map(async (node) => node.kill9()));
    await briefly(this.#chance.between(100, 500));
    for (const node of this.#cluster.nodes) node.restart();
  }
}
