/**
 * SIGKILL under load: whatever was acknowledged is there afterwards, once, at its offset, on
 * every node; and a killed node needs nothing but its own command line.
 *
 * PROGLOG_KILL_ROUNDS sets the number of rounds (default 5); each fifth one kills all three.
 */
import { performance } from "node:perf_hooks";

import { afterAll, beforeAll, expect, test } from "vitest";

import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { readAll } from "./http-client.js";
import { report } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";
import { heldBy, Workload } from "./workload.js";

const rounds = Number(process.env["PROGLOG_KILL_ROUNDS"] ?? 5);
const testTimeoutMs = 60_000 + rounds * 20_000;

let cluster: TestCluster;
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = await TestCluster.start();
});

afterAll(async () => {
  await cluster?.close();
});

async function victims(round: number): Promise<NodeProcess[]> {
  if (round % 5 === 4) return cluster.nodes;
  const leader = await cluster.leader();
  if (round % 2 === 0) return [leader];
  return cluster.nodes.filter((node) => node !== leader).slice(0, 1);
}

test(
  `keeps every acknowledged record over ${rounds} rounds of SIGKILL under 8 writers`,
  async () => {
    const workload = new Workload(cluster);
    workload.start({ writers: 8, readers: 2 });
    try {
      for (let round = 0; round < rounds; round += 1) {
        await workload.untilMore(100);
        const killed = await victims(round);
        const start = performance.now();
        await Promise.all(killed.map(async (node) => node.kill9()));
        // A minority is missed by nobody: the others go on before it is back.
        if (killed.length === 1) await workload.untilMore(20);
        const servedMs = performance.now() - start;
        for (const node of killed) node.restart();
        await cluster.untilVoters(3);
        await workload.untilMore(20);
        const names = killed.map((node) => node.name).join(" ");
        const gap = killed.length === 1 ? `, others went on after ${Math.round(servedMs)} ms` : "";
        const wholeMs = Math.round(performance.now() - start);
        report(`round ${round + 1}: killed ${names}${gap}, whole again after ${wholeMs} ms`);
      }
    } finally {
      await workload.end();
    }
    report(workload.summary());
    await workload.check();
  },
  testTimeoutMs,
);

test("gives back the same data after all nodes were killed at once and restarted", async () => {
  const before = await heldBy(cluster.node(0));
  expect(before.length).toBeGreaterThan(0);
  await Promise.all(cluster.nodes.map(async (node) => node.kill9()));
  const start = performance.now();
  for (const node of cluster.nodes) node.restart();
  await cluster.untilVoters(3);
  report(`all three are back with a leader after ${Math.round(performance.now() - start)} ms`);
  await cluster.untilLevel();
  for (const node of cluster.nodes) {
    const after = await readAll(node.httpUrl);
    expect(after.map(({ offset, message }) => ({ offset, value: message }))).toEqual(before);
  }
});
