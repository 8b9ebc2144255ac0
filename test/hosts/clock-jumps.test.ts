/**
 * Wall clocks that jump by an hour, forward and back: no node calls an election for it, and the
 * timestamps of the log never run backwards, whoever leads.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { expect } from "vitest";

import { TestCluster } from "../cluster/harness.js";
import type { NodeProcess } from "../cluster/harness.js";
import { ask, produce, readAll } from "../cluster/http-client.js";
import { report, until } from "../cluster/poll.js";
import { Workload } from "../cluster/workload.js";
import { faketimeLibrary, hostTest } from "./requirements.js";

const hourMs = 3_600_000;
/** What a busy machine may take between a write and our look at it. */
const slackMs = 60_000;

/** A cluster each of whose nodes reads how far its clock is off from a file of its own. */
async function startCluster(cluster: TestCluster): Promise<void> {
  for (let at = 0; at < 3; at += 1) {
    const path = clockOf(cluster, at);
    await writeFile(path, "+0s\n");
    const env = {
      LD_PRELOAD: faketimeLibrary() ?? "",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      FAKETIME_NO_CACHE: "1",
      FAKETIME_TIMESTAMP_FILE: path,
    };
    (await cluster.prepare([], { launch: { env } })).start();
  }
  await cluster.untilVoters(3);
}

function clockOf(cluster: TestCluster, at: number): string {
  return join(cluster.directory, `clock-${at}`);
}

async function jump(cluster: TestCluster, node: NodeProcess, seconds: number): Promise<void> {
  const sign = seconds < 0 ? "-" : "+";
  await writeFile(clockOf(cluster, cluster.nodes.indexOf(node)), `${sign}${Math.abs(seconds)}s\n`);
}

/** How far the newest record's timestamp is ahead of this process's clock. */
async function aheadMs(node: NodeProcess): Promise<number> {
  const before = Date.now();
  const result = await produce(node.httpUrl, `now ${before} ${node.name}`);
  if (result.kind !== "acknowledged") throw new Error(result.why);
  const answer = await ask(`${node.httpUrl}/Data?offset=${result.offset}`);
  return Date.parse((answer.body as { timestamp: string }).timestamp) - before;
}

/** Moves leadership to a given node. */
async function lead(cluster: TestCluster, node: NodeProcess): Promise<void> {
  const leader = await cluster.leader();
  if (leader === node) return;
  const { members } = await leader.status();
  const id = members.find(({ name }) => name === node.name)?.id;
  const body = JSON.stringify({ id });
  await ask(`${leader.httpUrl}/cluster/leader`, { method: "POST", body });
  await until(`${node.name} to lead`, async () =>
    (await cluster.leader()) === node ? true : undefined,
  );
}

async function expectTimesInOrder(cluster: TestCluster): Promise<void> {
  await cluster.untilLevel();
  for (const node of cluster.nodes) {
    const records = await readAll(node.httpUrl);
    const times = records.map((record) => Date.parse(String(Reflect.get(record, "timestamp"))));
    expect(times.some(Number.isNaN)).toBe(false);
    const backwards = times.filter((time, offset) => time < (times[offset - 1] ?? 0));
    expect(backwards).toEqual([]);
  }
}

hostTest(
  "jumps of the wall clock call no election and turn no timestamp back",
  ["faketime"],
  async () => {
    const cluster = new TestCluster();
    try {
      await startCluster(cluster);
      const workload = new Workload(cluster);
      workload.start({ writers: 4, readers: 1 });
      try {
        const leader = await cluster.leader();
        const { term } = await cluster.untilVoters(3);
        for (const seconds of [3_600, -3_600, 0]) {
          for (const node of cluster.nodes) {
            await jump(cluster, node, seconds);
            await workload.untilMore(50);
          }
          report(`clocks at ${seconds} s: records are ${await aheadMs(leader)} ms ahead`);
          const after = await cluster.untilVoters(3);
          expect({ term: after.term, leader: after.leader?.name }).toEqual({
            term,
            leader: leader.name,
          });
        }
      } finally {
        await workload.end();
      }
      report(workload.summary());
      await expectTimesInOrder(cluster);
    } catch (error) {
      process.stderr.write(`${cluster.logs()}\n`);
      throw error;
    } finally {
      await cluster.close();
    }
  },
);

hostTest(
  "a leader with a slow clock goes on from its predecessor's time",
  ["faketime"],
  async () => {
    const cluster = new TestCluster();
    try {
      await startCluster(cluster);
      const [first, second, third] = [cluster.node(0), cluster.node(1), cluster.node(2)];
      await lead(cluster, first);
      await jump(cluster, first, 3_600);
      const ahead = await until("the jump to be seen", async () => {
        const ms = await aheadMs(first);
        return ms > hourMs - slackMs ? ms : undefined;
      });
      await jump(cluster, third, -3_600);
      for (const node of [second, third]) {
        await lead(cluster, node);
        const now = await aheadMs(node);
        report(`${node.name} leads: records are ${now} ms ahead, ${ahead} before`);
        expect(now).toBeGreaterThan(hourMs - 2 * slackMs);
      }
      await expectTimesInOrder(cluster);
    } catch (error) {
      process.stderr.write(`${cluster.logs()}\n`);
      throw error;
    } finally {
      await cluster.close();
    }
  },
);
