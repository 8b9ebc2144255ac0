/**
 * Disks that fail, hang and take less than they were given, under nodes that run: a failed disk
 * stops its node, a hanging one costs it leadership, and nothing is acknowledged that no disk has.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

import { describe, expect } from "vitest";

import type { NodeProcess } from "../cluster/harness.js";
import { produce } from "../cluster/http-client.js";
import { report, until } from "../cluster/poll.js";
import { Workload } from "../cluster/workload.js";
import { complaints, DiskCluster } from "./disk-cluster.js";
import { hostTest } from "./requirements.js";
import { Tracer } from "./tracer.js";

/** Files of the commit log end and checkpoints are made every few dozen records of 20 kB. */
const smallFiles = [
  ...["--raft-log-file-bytes", "1MiB"],
  ...["--raft-log-keep-bytes", "0"],
  ...["--segment-bytes", "1MiB"],
  ...["--checkpoint-bytes", "1MiB"],
  ...["--max-record-bytes", "256KiB"],
];
/**
 * The second takes so many writes that the store's own log passes a border of its blocks of
 * 32 KiB, where a store that has lost count after a failed write loses what it has saved.
 */
const checkpointFaults = [
  { calls: "fdatasync", fault: "error=EIO", writeCount: 60 },
  { calls: "write", fault: "error=ENOSPC", writeCount: 300 },
];
/** The option's default. */
const electionTimeoutMs = 600;
/** What a busy machine may add to what is promised. */
const allowanceMs = 25_000;

/** Waits until a node whose disk has failed has stopped, as it is documented to. */
async function untilStopped(
  node: NodeProcess,
  start: number,
  cause = /(sync|write) (raft|log)\/\d+\./,
): Promise<void> {
  await until(`${node.name} to stop`, async () => (node.isRunning ? undefined : true));
  const elapsedMs = Math.round(performance.now() - start);
  report(`${node.name} stopped ${elapsedMs} ms after its disk had failed`);
  expect(await node.exit()).toEqual({ code: 1, signal: null });
  expect(elapsedMs).toBeLessThan(5_000 + allowanceMs);
  const said = await complaints(node);
  expect(said).toHaveLength(1);
  report(`it said: ${said[0] ?? ""}`);
  expect(said[0]).toMatch(/^proglog-node: /);
  expect(said[0]).toMatch(cause);
}

/** The files of one of a node's directories that have data, as the node names them. */
async function filesOf(cluster: DiskCluster, node: NodeProcess, room: string): Promise<string[]> {
  const directory = join(node.dataDir, room);
  const names = await until(`files in ${directory}`, async () => {
    const found = await readdir(cluster.space.seen(directory));
    const logs = found.filter((name) => name.endsWith(".log"));
    return logs.length > 0 ? logs : undefined;
  });
  return names.map((name) => join(directory, name));
}

function failedCheckpointCount(node: NodeProcess): number {
  return node.log(10_000_000).split('"checkpoint-failed"').length - 1;
}

async function leaderAndFollower(cluster: DiskCluster): Promise<[NodeProcess, NodeProcess]> {
  const leader = await cluster.leader();
  const follower = cluster.nodes.find((node) => node !== leader);
  if (follower === undefined) throw new Error("there is no follower");
  return [leader, follower];
}

describe("a disk that fails under a node that runs", () => {
  hostTest(
    "stops a node alone, which had acknowledged nothing that the disk lacks",
    ["mount", "strace"],
    async () => {
      await DiskCluster.with({ nodeCount: 1 }, async (cluster) => {
        const node = cluster.node(0);
        const workload = new Workload(cluster);
        workload.start({ writers: 4 });
        try {
          await workload.untilMore(50);
          const tracer = await Tracer.attach(node.pid, "fdatasync", "error=EIO");
          await untilStopped(node, performance.now());
          await tracer.detach();
          // What only the page cache holds goes with the power: then the disk is the judge.
          await cluster.cutPower();
          await cluster.inspect(node);
          node.restart();
          await cluster.untilVoters(1);
          await workload.untilMore(20);
        } finally {
          await workload.end();
        }
        report(workload.summary());
        await workload.check();
      });
    },
  );

  hostTest(
    "stops a follower, then the leader, and each comes back with its own command line",
    ["mount", "strace"],
    async () => {
      await DiskCluster.with({ nodeCount: 3 }, async (cluster) => {
        const workload = new Workload(cluster);
        workload.start({ writers: 6, readers: 1 });
        try {
          const [leader, follower] = await leaderAndFollower(cluster);
          for (const node of [follower, leader]) {
            await workload.untilMore(50);
            const tracer = await Tracer.attach(node.pid, "fdatasync", "error=EIO");
            await untilStopped(node, performance.now());
            await tracer.detach();
            await workload.untilMore(50);
            await cluster.cutPower([node]);
            node.restart();
            await cluster.untilVoters(3);
          }
        } finally {
          await workload.end();
        }
        report(workload.summary());
        await workload.check();
      });
    },
  );

  hostTest(
    "stops a node where only syncs of the commit log fail",
    ["mount", "strace"],
    async () => {
      await DiskCluster.with({ nodeCount: 1, flags: smallFiles }, async (cluster) => {
        const node = cluster.node(0);
        await produce(node.httpUrl, "first");
        const files = await filesOf(cluster, node, "log");
        const tracer = await Tracer.attach(node.pid, "fdatasync", "error=EIO", files);
        const workload = new Workload(cluster, 20_000);
        workload.start({ writers: 4 });
        try {
          await untilStopped(node, performance.now(), /sync log\/\d+\.log/);
          await tracer.detach();
          await cluster.cutPower();
          await cluster.inspect(node);
          node.restart();
          await cluster.untilVoters(1);
        } finally {
          await workload.end();
        }
        report(workload.summary());
        await workload.check(["first"]);
      });
    },
  );

  for (const { calls, fault, writeCount } of checkpointFaults) {
    const name = `costs one checkpoint, where a ${calls} of the checkpoint fails once`;
    hostTest(name, ["mount", "strace"], async () => {
      await DiskCluster.with({ nodeCount: 1, flags: smallFiles }, async (cluster) => {
        const node = cluster.node(0);
        const files = await filesOf(cluster, node, "checkpoint");
        const tracer = await Tracer.attach(node.pid, calls, fault, files);
        const workload = new Workload(cluster, 240_000);
        workload.start({ writers: 1 });
        try {
          await until("a checkpoint to fail, or the node to stop", async () =>
            !node.isRunning || failedCheckpointCount(node) > 0 ? true : undefined,
          );
          await tracer.detach();
          // A node may also stop, as it does where a log fails.
          if (!node.isRunning) node.restart();
          await workload.untilMore(50);
          const failedCount = failedCheckpointCount(node);
          await workload.untilMore(writeCount, 90_000);
          const laterCount = failedCheckpointCount(node) - failedCount;
          report(`checkpoints that failed after the disk was well again: ${laterCount}`);
          await node.kill9();
          await cluster.inspect(node);
          node.restart();
          await cluster.untilVoters(1);
          expect(laterCount).toBe(0);
        } finally {
          await workload.end();
        }
        report(workload.summary());
        await workload.check();
      });
    });
  }

  hostTest(
    "stops a node whose write fails, also where the sync would not",
    ["mount", "strace"],
    async () => {
      await DiskCluster.with({ nodeCount: 3 }, async (cluster) => {
        const workload = new Workload(cluster);
        workload.start({ writers: 6 });
        try {
          await workload.untilMore(50);
          const [node] = await leaderAndFollower(cluster);
          const tracer = await Tracer.attach(node.pid, "pwrite64,pwritev", "error=EIO");
          await untilStopped(node, performance.now());
          await tracer.detach();
          await workload.untilMore(50);
          node.restart();
          await cluster.untilVoters(3);
        } finally {
          await workload.end();
        }
        await workload.check();
      });
    },
  );
});

hostTest(
  "leadership leaves a node whose disk hangs, and the node rejoins when the disk goes on",
  ["mount", "strace"],
  async () => {
    await DiskCluster.with({ nodeCount: 3 }, async (cluster) => {
      const workload = new Workload(cluster);
      workload.start({ writers: 6, readers: 1 });
      try {
        await workload.untilMore(50);
        const [leader, follower] = await leaderAndFollower(cluster);
        const tracer = await Tracer.attach(leader.pid, "fdatasync", "delay_enter=120000000");
        const start = performance.now();
        try {
          await until("another leader", async () => {
            const status = await follower.status(1_000);
            const { leader: now, quorum } = status;
            return quorum && now !== null && now.name !== leader.name ? true : undefined;
          });
          const elapsedMs = Math.round(performance.now() - start);
          const timeouts = (elapsedMs / electionTimeoutMs).toFixed(1);
          report(`leadership moved after ${elapsedMs} ms, ${timeouts} election timeouts`);
          expect(elapsedMs).toBeLessThan(10 * electionTimeoutMs + allowanceMs);
          await workload.untilMore(100);
          expect(leader.isRunning).toBe(true);
        } finally {
          await tracer.detach();
        }
        const healed = performance.now();
        await cluster.untilVoters(3);
        report(`it rejoined ${Math.round(performance.now() - healed)} ms after its disk went on`);
        await workload.untilMore(50);
      } finally {
        await workload.end();
      }
      report(workload.summary());
      await workload.check();
    });
  },
);

hostTest("calls that a signal interrupts are made again", ["mount", "strace"], async () => {
  await DiskCluster.with({ nodeCount: 3 }, async (cluster) => {
    const tracers: Tracer[] = [];
    for (const { pid } of cluster.nodes) {
      tracers.push(await Tracer.attach(pid, "pwrite64,pwritev,fdatasync", "error=EINTR:when=2+3"));
    }
    const workload = new Workload(cluster);
    workload.start({ writers: 6, readers: 1 });
    try {
      await workload.untilMore(300);
    } finally {
      await workload.end();
      for (const tracer of tracers) await tracer.detach();
    }
    report(workload.summary());
    await workload.check();
    expect(cluster.awake).toHaveLength(3);
  });
});

hostTest("writes that are taken only in part lose and tear nothing", ["mount"], async () => {
  // The kernel gives a part of a write to a regular file only when it is about to fail, so the
  // parts are made in the process, at its calls of the file system; the bytes really arrive.
  const shortWrites = join(import.meta.dirname, "short-writes.mjs");
  const env = { NODE_OPTIONS: `--import ${shortWrites}` };
  await DiskCluster.with({ nodeCount: 3, env }, async (cluster) => {
    const workload = new Workload(cluster);
    workload.start({ writers: 6, readers: 1 });
    try {
      await workload.untilMore(200);
      await cluster.cutPower();
      for (const node of cluster.nodes) {
        report(`${node.name}: ${(await cluster.inspect(node)).split("\n").length} lines, no fault`);
        node.restart();
      }
      await cluster.untilVoters(3);
      await workload.untilMore(50);
    } finally {
      await workload.end();
    }
    report(workload.summary());
    await workload.check();
    for (const node of cluster.nodes) {
      const said = (await complaints(node)).filter((line) => line.startsWith("short writes:"));
      expect(said.length, `${node.name} has seen short writes`).toBeGreaterThan(0);
    }
  });
});
