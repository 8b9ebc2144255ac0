/**
 * The power of all nodes fails at once, under load: what was acknowledged is there afterwards, and
 * no node goes behind a term it led in, nor changes a vote it has given.
 *
 * PROGLOG_POWER_ROUNDS sets the number of rounds (default 3).
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

import { expect } from "vitest";

import { ask } from "../cluster/http-client.js";
import { report } from "../cluster/poll.js";
import { Workload } from "../cluster/workload.js";
import { DiskCluster } from "./disk-cluster.js";
import { hostTest } from "./requirements.js";

const rounds = Number(process.env["PROGLOG_POWER_ROUNDS"] ?? 3);
const testTimeoutMs = 120_000 + rounds * 30_000;

/**
 * Files so small that one ends, a checkpoint is made and an older file goes every few dozen
 * records: that is where a name or an order that was not synced would be missed.
 */
const flags = [
  ...["--raft-log-file-bytes", "1MiB"],
  ...["--raft-log-keep-bytes", "0"],
  ...["--segment-bytes", "1MiB"],
  ...["--checkpoint-bytes", "1MiB"],
  ...["--max-record-bytes", "256KiB"],
];
const valueBytes = 20_000;

/** The hard state that a node's disk holds. */
interface HardState {
  readonly term: number;
  readonly vote: string | undefined;
}

async function hardStateOf(cluster: DiskCluster, at: number): Promise<HardState> {
  const text = await cluster.inspect(cluster.node(at));
  const found =
    /^Raft log: (?:entries .*|no entries), term (\d+), (?:vote for ([0-9a-f-]{36})|no vote)/m.exec(
      text,
    );
  if (found === null) throw new Error(`inspect names no hard state: ${text}`);
  return { term: Number(found[1]), vote: found[2] };
}

/** The terms in which nodes led, by their own word: a majority's disks have each of them. */
class Reigns {
  readonly #cluster: DiskCluster;
  readonly termByNode = new Map<string, number>();
  #isOver = false;
  #loop: Promise<void> | undefined;

  constructor(cluster: DiskCluster) {
    this.#cluster = cluster;
  }

  start(): void {
    this.#isOver = false;
    this.#loop = this.#watch();
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#loop;
  }

  get highestTerm(): number {
    return Math.max(0, ...this.termByNode.values());
  }

  async #watch(): Promise<void> {
    while (!this.#isOver) {
      for (const node of this.#cluster.nodes) {
        const status = await node.status(1_000).catch(() => undefined);
        if (status?.leader?.name === node.name) this.termByNode.set(node.name, status.term);
      }
    }
  }
}

/** Holds what the disks hold after a cut to what was said and held before. */
async function checkHardStates(
  cluster: DiskCluster,
  reigns: Reigns,
  before: readonly HardState[],
): Promise<HardState[]> {
  const after = await Promise.all(cluster.nodes.map(async (_, at) => hardStateOf(cluster, at)));
  for (const [at, { term, vote }] of after.entries()) {
    const { name } = cluster.node(at);
    expect(term, `${name} led in a later term`).toBeGreaterThanOrEqual(
      reigns.termByNode.get(name) ?? 0,
    );
    const earlier = before[at];
    if (earlier === undefined) continue;
    expect(term, `${name} held a later term`).toBeGreaterThanOrEqual(earlier.term);
    if (term === earlier.term && earlier.vote !== undefined) expect(vote).toBe(earlier.vote);
  }
  const level = after.filter(({ term }) => term >= reigns.highestTerm).length;
  expect(level, "nodes that know the last leader's term").toBeGreaterThanOrEqual(2);
  return after;
}

/** Writes a file on each disk and syncs nothing. */
async function writeUnsynced(cluster: DiskCluster, name: string): Promise<string[]> {
  const paths = cluster.disks.map((disk) => cluster.space.seen(join(disk.path, name)));
  for (const path of paths) await writeFile(path, "this will be lost");
  return paths;
}

/** Proves that the cut was one: what nobody had synced is gone. */
async function expectLost(paths: readonly string[]): Promise<void> {
  for (const path of paths) expect(await readFile(path, "utf8").catch(() => "")).toBe("");
}

/** Moves leadership, so that the cut comes right after fresh votes. */
async function moveLeadership(cluster: DiskCluster): Promise<void> {
  const leader = await cluster.leader();
  const answer = await ask(`${leader.httpUrl}/cluster/leader`, { method: "POST", body: "{}" });
  expect(answer.status).toBe(202);
}

/** Kills a follower until only a snapshot can help it, so that the cut comes while it is sent. */
async function leaveBehind(cluster: DiskCluster, workload: Workload): Promise<void> {
  const [follower] = await cluster.followers();
  await follower?.kill9();
  await workload.untilMore(200);
  follower?.restart();
  await follower?.untilAnswering();
}

hostTest(
  "keeps every acknowledged record and vote when all nodes lose power under 8 writers",
  ["mount"],
  async () => {
    await DiskCluster.with({ nodeCount: 3, flags }, async (cluster) => {
      const reigns = new Reigns(cluster);
      const workload = new Workload(cluster, valueBytes);
      let states: HardState[] = [];
      workload.start({ writers: 8, readers: 2 });
      try {
        for (let round = 0; round < rounds; round += 1) {
          reigns.start();
          const unsynced = await writeUnsynced(cluster, `unsynced-${round}`);
          await workload.untilMore(60 + Math.floor(Math.random() * 80));
          if (round % 3 === 1) await moveLeadership(cluster);
          if (round % 3 === 2) await leaveBehind(cluster, workload);
          await cluster.cutPower();
          await reigns.end();
          await expectLost(unsynced);
          states = await checkHardStates(cluster, reigns, states);
          const start = performance.now();
          for (const node of cluster.nodes) node.restart();
          await cluster.untilVoters(3);
          const backMs = Math.round(performance.now() - start);
          const terms = states.map(({ term }) => term).join(" ");
          report(`round ${round + 1}: terms ${terms}, back ${backMs} ms after the power`);
        }
        await workload.untilMore(20);
      } finally {
        await reigns.end();
        await workload.end();
      }
      report(workload.summary());
      await workload.check();
    });
  },
  testTimeoutMs,
);
