/**
 * Five nodes, each on a host of its own, whose network is broken while writers and readers run:
 * the side with a majority goes on, the other acknowledges nothing, and in the end all nodes hold
 * every acknowledged record, in one order.
 */
import { performance } from "node:perf_hooks";

import { afterAll, expect } from "vitest";

import { TestCluster } from "../cluster/harness.js";
import type { NodeProcess } from "../cluster/harness.js";
import { report, until } from "../cluster/poll.js";
import { showLogsOnFailure } from "../cluster/show-logs.js";
import { heldBy, Workload } from "../cluster/workload.js";
import { PeerNetwork } from "./peer-network.js";
import { hostTest } from "./requirements.js";

const hostCount = 5;
const everyone = [0, 1, 2, 3, 4];

interface Lab {
  readonly network: PeerNetwork;
  readonly cluster: TestCluster;
}

let lab: Lab | undefined;
showLogsOnFailure(() => lab?.cluster);

afterAll(async () => {
  await lab?.cluster.close();
  await lab?.network.close();
});

/** The nodes of all tests of this file; made by the first that is not skipped. */
async function theLab(): Promise<Lab> {
  if (lab !== undefined) return lab;
  const network = await PeerNetwork.open(hostCount);
  const cluster = new TestCluster();
  lab = { network, cluster };
  for (const at of everyone) {
    const node = await cluster.prepare([], network.place(at));
    await network.relay(at, node.httpAddr);
    node.start();
  }
  await cluster.untilVoters(hostCount);
  return lab;
}

interface Scene extends Lab {
  readonly workload: Workload;
  /** The host of the node that led when the scene began, and the others. */
  readonly leaderAt: number;
  readonly othersAt: readonly number[];
  readonly leader: NodeProcess;
}

/** Runs a fault under writers and readers, heals everything, and holds the logs to the history. */
async function underLoad(fault: (scene: Scene) => Promise<void>): Promise<void> {
  const { network, cluster } = await theLab();
  const before = (await heldBy(cluster.node(0))).map(({ value }) => value);
  const { term } = await cluster.untilVoters(hostCount);
  const leader = await cluster.leader();
  const leaderAt = cluster.nodes.indexOf(leader);
  const othersAt = everyone.filter((at) => at !== leaderAt);
  const workload = new Workload(cluster);
  workload.start({ writers: 6, readers: 2 });
  try {
    await workload.untilMore(30);
    await fault({ network, cluster, workload, leader, leaderAt, othersAt });
    await network.heal();
    const start = performance.now();
    await cluster.untilVoters(hostCount);
    report(`all five agree ${Math.round(performance.now() - start)} ms after the healing`);
    await workload.untilMore(30);
  } finally {
    await network.heal();
    await workload.end();
  }
  const after = await cluster.untilVoters(hostCount);
  report(`${workload.summary()}; term ${term} -> ${after.term}`);
  await workload.check(before);
}

/** Waits until each of the hosts' nodes knows a leader among them; says how long that took. */
async function untilLedBy({ cluster }: Lab, hosts: readonly number[]): Promise<NodeProcess> {
  const start = performance.now();
  const nodes = hosts.map((at) => cluster.node(at));
  const leader = await until("a leader on the side with a majority", async () => {
    const all = await Promise.all(nodes.map(async (node) => node.status(1_000)));
    const names = new Set(all.map((status) => status.leader?.name));
    const [name] = names;
    return names.size === 1 ? nodes.find((node) => node.name === name) : undefined;
  });
  report(`${leader.name} leads the majority ${Math.round(performance.now() - start)} ms after`);
  return leader;
}

/** Waits until a node that no majority hears says so. */
async function untilReadOnly(node: NodeProcess): Promise<void> {
  await until(`${node.name} to know that it is alone`, async () => {
    const { quorum, leader } = await node.status(1_000);
    return !quorum && leader === null ? true : undefined;
  });
}

hostTest("the others go on without a leader that is cut off from all", ["network"], async () => {
  await underLoad(async (scene) => {
    const { network, workload, leader, leaderAt, othersAt } = scene;
    await network.cut([leaderAt], othersAt);
    await untilLedBy(scene, othersAt);
    await untilReadOnly(leader);
    await workload.untilMore(50);
    expect(await network.droppedCount()).toBeGreaterThan(0);
  });
});

hostTest("three of five go on when the leader and one more are cut off", ["network"], async () => {
  await underLoad(async (scene) => {
    const { network, workload, leader, leaderAt, othersAt } = scene;
    const [companion = 0, ...majority] = othersAt;
    await network.cut([leaderAt, companion], majority);
    await untilLedBy(scene, majority);
    await untilReadOnly(leader);
    await workload.untilMore(50);
    expect(await network.droppedCount()).toBeGreaterThan(0);
  });
});

hostTest("a leader that hears nobody gives way though all hear it", ["network"], async () => {
  await underLoad(async (scene) => {
    const { network, workload, leader, leaderAt, othersAt } = scene;
    await network.cutOneWay(othersAt, [leaderAt]);
    const next = await untilLedBy(scene, othersAt);
    expect(next.name).not.toBe(leader.name);
    await workload.untilMore(50);
  });
});

hostTest("a leader that nobody hears gives way though it hears all", ["network"], async () => {
  await underLoad(async (scene) => {
    const { network, workload, leader, leaderAt, othersAt } = scene;
    await network.cutOneWay([leaderAt], othersAt);
    const next = await untilLedBy(scene, othersAt);
    expect(next.name).not.toBe(leader.name);
    await workload.untilMore(50);
  });
});

hostTest("a follower that cannot reach its leader disturbs nobody", ["network"], async () => {
  await underLoad(async ({ network, cluster, workload, leader, leaderAt, othersAt }) => {
    const { term } = await leader.status();
    const [follower = 0] = othersAt;
    await network.cut([follower], [leaderAt]);
    // So many take several election timeouts.
    await workload.untilMore(600, 60_000);
    expect(await network.droppedCount()).toBeGreaterThan(0);
    const after = await cluster.node(othersAt[1] ?? 0).status();
    expect(after.leader?.name).toBe(leader.name);
    expect(after.term).toBe(term);
  });
});

hostTest("a pulled cable leaves connections half open and costs nothing", ["network"], async () => {
  await underLoad(async (scene) => {
    const { network, workload, leader, leaderAt, othersAt } = scene;
    await network.link(leaderAt, "down");
    try {
      await untilLedBy(scene, othersAt);
      await untilReadOnly(leader);
      await workload.untilMore(50);
    } finally {
      await network.link(leaderAt, "up");
    }
  });
});

hostTest("writes go on while a fifth of all packets is lost", ["network"], async () => {
  await underLoad(async ({ network, workload }) => {
    await network.lose(20);
    const start = performance.now();
    await workload.untilMore(150, 60_000);
    const lost = await network.droppedCount();
    report(`150 writes in ${Math.round(performance.now() - start)} ms, ${lost} packets lost`);
    expect(lost).toBeGreaterThan(0);
  });
});

hostTest("writes go on through a link that is slow and full", ["network"], async () => {
  await underLoad(async ({ network, workload, othersAt }) => {
    const slowed = othersAt.slice(0, 3);
    // 3 of 4 followers: a quorum needs at least one of them.
    for (const at of slowed) await network.slow(at, 128);
    try {
      const start = performance.now();
      await workload.untilMore(100, 60_000);
      // What passes in that time may still fit the buffers of a machine that is slow itself.
      const delayed = await until("packets to be late", async () => {
        const count = await network.delayedCount();
        return count > 0 ? count : undefined;
      });
      report(`100 writes in ${Math.round(performance.now() - start)} ms, ${delayed} packets late`);
    } finally {
      for (const at of slowed) await network.slow(at, undefined);
    }
  });
});
