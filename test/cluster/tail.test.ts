/**
 * Following the log while leaders change: each way to follow it gives each record once and in
 * order, whichever nodes die, come back and take turns meanwhile.
 *
 * PROGLOG_LEADER_CHANGES says how many changes (default 4): transfers and SIGKILLs by turns.
 */
import { performance } from "node:perf_hooks";

import { afterAll, beforeAll, expect, test } from "vitest";

import { Client } from "../../src/client/client.js";
import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { ask, readAll } from "./http-client.js";
import { briefly, report, until } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";
import { readersOf } from "./tails/tail-reader.js";
import type { TailReader } from "./tails/tail-reader.js";

const changeCount = Number(process.env["PROGLOG_LEADER_CHANGES"] ?? 4);
const nodeCount = 3;

let cluster: TestCluster;
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = await TestCluster.start({ nodeCount });
});

afterAll(async () => {
  await cluster?.close();
});

test(
  `a reader on each surface through ${changeCount} leader changes sees each record once, in order`,
  async () => {
    const client = new Client({
      servers: cluster.nodes.map((node) => node.rpcAddr),
      deliveryTimeoutMs: 60_000,
    });
    const writers = new Writers(client, 3);
    await writers.untilMore(50);
    const from = await client.endOffset();
    const readers = readersOf(cluster.nodes, from, nodeCount);
    const start = performance.now();
    try {
      for (let change = 0; change < changeCount; change += 1) {
        await (change % 2 === 0 ? transfer() : kill());
        await writers.untilMore(50);
        await untilRead(readers, writers.highest);
      }
      await writers.end();
      await untilRead(readers, writers.highest);
    } finally {
      await Promise.all(readers.map(async (reader) => reader.end()));
      await client.close();
    }
    await cluster.untilLevel();
    const log = await readAll((await cluster.leader()).httpUrl);
    const values = log.map(({ message }) => String(message));
    expect(values.length).toBe(new Set(values).size);
    expect([...values].sort()).toEqual([...writers.acked].sort());
    const expected = log.slice(from).map(({ offset }) => `${offset} ${values[offset]}`);
    for (const reader of readers) {
      const seen = reader.seen.map(({ offset, value }) => `${offset} ${value}`);
      expect(seen, reader.name).toEqual(expected);
    }
    const breaks = readers.reduce((sum, reader) => sum + reader.breaks, 0);
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    report(
      `${readers.length} readers saw ${expected.length} records each through ${changeCount} ` +
        `leader changes in ${seconds} s; ${breaks} of their streams broke`,
    );
  },
  60_000 + changeCount * 30_000,
);

/** Gives the leadership to another node. */
async function transfer(): Promise<void> {
  const { term, members } = await cluster.untilVoters(nodeCount);
  const leader = await cluster.leader();
  const heir = members.find(({ role }) => role === "follower");
  const answer = await ask(`${leader.httpUrl}/cluster/leader`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ id: heir?.id }),
  });
  expect(answer.status, answer.text).toBe(202);
  await untilOther(leader, term);
}

/** Kills the leader, and starts it again when there is another. */
async function kill(): Promise<void> {
  const { term } = await cluster.untilVoters(nodeCount);
  const leader = await cluster.leader();
  await leader.kill9();
  await untilOther(leader, term);
  leader.restart();
  await cluster.untilVoters(nodeCount);
}

async function untilOther(old: NodeProcess, term: number): Promise<void> {
  await until(`another leader than ${old.name}`, async () => {
    const leader = await cluster.leader();
    const status = await leader.status(1_000);
    return leader !== old && status.term > term ? true : undefined;
  });
}

/** Waits until all readers have come to an offset. */
async function untilRead(readers: readonly TailReader[], offset: number): Promise<void> {
  await until(`all readers to have come to ${offset}`, async () => {
    const behind = readers.filter(({ seen }) => (seen.at(-1)?.offset ?? -1) < offset);
    if (behind.length === 0) return true;
    const at = behind.map(({ name, seen }) => `${name} at ${seen.at(-1)?.offset}`);
    throw new Error(at.join(", "));
  });
}

/** Writers that append one text after the other. */
class Writers {
  readonly acked: string[] = [];
  /** The highest offset that was acknowledged. */
  highest = -1;
  readonly #loops: Promise<void>[] = [];
  #isOver = false;

  constructor(client: Client, count: number) {
    for (let at = 0; at < count; at += 1) this.#loops.push(this.#write(client, `writer-${at}`));
  }

  async untilMore(count: number): Promise<void> {
    const goal = this.acked.length + count;
    await until(`${count} more appends`, async () =>
      this.acked.length >= goal ? true : undefined,
    );
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#loops);
  }

  async #write(client: Client, name: string): Promise<void> {
    for (let nth = 0; !this.#isOver; nth += 1) {
      const value = `${name}-${nth}`;
      const { offset } = await client.produce(value);
      this.acked.push(value);
      this.highest = Math.max(this.highest, offset);
      await briefly(5);
    }
  }
}
