/**
 * Disks without room, and disks that the kernel turns read-only, under nodes that run: writes are
 * refused and never lost, reads and elections go on, and room is all that a full disk needs.
 */
import { readFile } from "node:fs/promises";
import { performance } from "node:perf_hooks";

import { describe, expect } from "vitest";

import type { NodeProcess } from "../cluster/harness.js";
import { ask, post, problemOf, produce } from "../cluster/http-client.js";
import { report, until } from "../cluster/poll.js";
import { heldBy, Workload } from "../cluster/workload.js";
import { complaints, DiskCluster } from "./disk-cluster.js";
import { hostTest } from "./requirements.js";

const mebibyte = 1024 * 1024;

/** Waits until writes are refused for want of room, and looks at how. */
async function untilRefused(node: NodeProcess): Promise<void> {
  const start = performance.now();
  const answer = await until(`${node.name} to say that the disk is full`, async () => {
    const found = await post(node.httpUrl, { message: `room? ${performance.now()}` });
    return found.status === 507 ? found : undefined;
  });
  report(`507 after ${Math.round(performance.now() - start)} ms`);
  expect(problemOf(answer)).toMatchObject({
    code: "disk-full",
    status: 507,
    retryable: true,
    outcome: "not_applied",
  });
}

/** Waits until a write is taken, through the node. */
async function untilTaken(node: NodeProcess): Promise<void> {
  const start = performance.now();
  await until("a write to be taken", async () => {
    const result = await produce(node.httpUrl, `taken ${performance.now()}`);
    return result.kind === "acknowledged" ? true : undefined;
  });
  report(`a write is taken ${Math.round(performance.now() - start)} ms after there was room`);
}

async function expectReads(cluster: DiskCluster, held: readonly string[]): Promise<void> {
  for (const node of cluster.nodes) {
    const log = (await heldBy(node)).map(({ value }) => value);
    expect(log.slice(0, held.length)).toEqual(held);
  }
}

/** Asks for another leader and waits until there is one; that takes votes and new entries. */
async function moveLeadership(cluster: DiskCluster): Promise<void> {
  const before = await cluster.leader();
  const answer = await ask(`${before.httpUrl}/cluster/leader`, { method: "POST", body: "{}" });
  expect(answer.status, answer.text).toBe(202);
  const after = await until("another leader", async () => {
    const now = await cluster.leader();
    return now === before ? undefined : now;
  });
  report(`leadership went from ${before.name} to ${after.name} on full disks`);
}

async function startsOf(cluster: DiskCluster): Promise<number[]> {
  return Promise.all(
    cluster.nodes.map(async ({ logPath }) => {
      const text = await readFile(logPath, "utf8");
      return text.split('"msg":"node started"').length - 1;
    }),
  );
}

describe("a full disk", () => {
  hostTest("of the leader refuses writes until there is room again", ["mount"], async () => {
    await DiskCluster.with({ nodeCount: 3 }, async (cluster) => {
      const workload = new Workload(cluster);
      workload.start({ writers: 4, readers: 1 });
      try {
        await workload.untilMore(50);
        const leader = await cluster.leader();
        const held = (await heldBy(leader)).map(({ value }) => value);
        await cluster.diskOf(leader).fill(20 * mebibyte);
        await until("a writer to be told", async () =>
          workload.refusals.has("disk-full") ? true : undefined,
        );
        await expectReads(cluster, held);
        expect((await leader.status()).leader?.name).toBe(leader.name);
        await cluster.diskOf(leader).makeRoom();
        await workload.untilMore(50);
      } finally {
        await workload.end();
      }
      expect(await startsOf(cluster)).toEqual([1, 1, 1]);
      report(workload.summary());
      await workload.check();
    });
  });

  hostTest("of a follower costs nothing but its copy", ["mount"], async () => {
    const flags = ["--raft-log-file-bytes", "4MiB"];
    await DiskCluster.with({ nodeCount: 3, flags }, async (cluster) => {
      // So large that the files which the follower has ready do not hold them.
      const workload = new Workload(cluster, 100_000);
      workload.start({ writers: 4, readers: 1 });
      try {
        await workload.untilMore(50);
        const [follower] = await cluster.followers();
        if (follower === undefined) throw new Error("there is no follower");
        await cluster.diskOf(follower).fill(0);
        await workload.untilMore(200);
        await cluster.diskOf(follower).makeRoom();
        await workload.untilMore(50);
      } finally {
        await workload.end();
      }
      expect(workload.refusals.has("disk-full")).toBe(false);
      expect(await startsOf(cluster)).toEqual([1, 1, 1]);
      report(workload.summary());
      await workload.check();
    });
  });

  hostTest(
    "on all nodes leaves reads and elections, and ends without a restart",
    ["mount"],
    async () => {
      await DiskCluster.with({ nodeCount: 3 }, async (cluster) => {
        const workload = new Workload(cluster);
        workload.start({ writers: 4 });
        await workload.untilMore(100);
        await workload.end();
        await workload.check();
        const held = (await heldBy(cluster.node(0))).map(({ value }) => value);

        for (const disk of cluster.disks) await disk.fill(0);
        const starts = await startsOf(cluster);
        for (const node of cluster.nodes) await untilRefused(node);
        await expectReads(cluster, held);
        await moveLeadership(cluster);
        for (const node of cluster.nodes) await untilRefused(node);
        await expectReads(cluster, held);
        expect((await cluster.untilVoters(3)).quorum).toBe(true);

        for (const disk of cluster.disks) await disk.makeRoom();
        for (const node of cluster.nodes) await untilTaken(node);
        await cluster.untilLevel();
        await expectReads(cluster, held);
        expect(await startsOf(cluster)).toEqual(starts);
      });
    },
  );

  hostTest("is named by a node that cannot start on it, and harms nothing", ["mount"], async () => {
    await DiskCluster.with({ nodeCount: 3 }, async (cluster) => {
      const workload = new Workload(cluster);
      workload.start({ writers: 4 });
      try {
        await workload.untilMore(50);
        const [node] = await cluster.followers();
        if (node === undefined) throw new Error("there is no follower");
        await node.kill9();
        await cluster.diskOf(node).fill(0);
        node.restart();
        // It may do without the room that it lacks; if not, it must say what it lacks.
        const isUp = await Promise.race([
          node.exit().then(() => false),
          cluster.untilVoters(3).then(() => true),
        ]);
        report(isUp ? "it starts on a full disk" : "it does not start on a full disk");
        const said = await complaints(node);
        if (!isUp) expect(await node.exit()).toEqual({ code: 1, signal: null });
        await cluster.diskOf(node).makeRoom();
        if (!isUp) node.restart();
        await cluster.untilVoters(3);
        if (isUp) return;
        report(`it said: ${said.join(" | ")}`);
        expect(said).toHaveLength(1);
        expect(said[0]).toMatch(/disk|space|full/i);
      } finally {
        await workload.end();
      }
      await workload.check();
    });
  });

  hostTest("that fills up under large records loses none that was taken", ["mount"], async () => {
    // Without the reserve the file system itself says that it is full, in the middle of a write.
    const flags = ["--disk-free-bytes-min", "0", "--raft-log-file-bytes", "4MiB"];
    await DiskCluster.with({ nodeCount: 3, flags }, async (cluster) => {
      for (const disk of cluster.disks) await disk.fill(60 * mebibyte);
      const filler = "x".repeat(500_000);
      const taken = new Map<number, string>();
      const codes = new Map<string, number>();
      let refusedCount = 0;
      for (let at = 0; refusedCount < 10 && at < 500; at += 1) {
        const message = `${at} ${filler}`;
        const answer = await post(cluster.node(at % 3).httpUrl, { message, timeoutMs: 3_000 });
        if (answer.status === 201) {
          taken.set((answer.body as { offset: number }).offset, message);
          continue;
        }
        const { code } = problemOf(answer);
        codes.set(code, (codes.get(code) ?? 0) + 1);
        refusedCount += 1;
      }
      const refusals = [...codes].map(([code, count]) => `${code} ${count}`).join(", ");
      report(`${taken.size} records of 500 kB, then ${refusals}`);
      const left = await Promise.all(cluster.disks.map(async (disk) => disk.freeBytes()));
      report(`bytes left on the disks: ${left.join(" ")}`);
      expect(codes).toEqual(new Map([["disk-full", 10]]));
      expect(cluster.awake).toHaveLength(3);
      for (const [offset, message] of taken) {
        const answer = await ask(`${cluster.node(offset % 3).httpUrl}/Data?offset=${offset}`);
        expect((answer.body as { message: string }).message === message, `offset ${offset}`).toBe(
          true,
        );
      }
      for (const disk of cluster.disks) await disk.makeRoom();
      for (const node of cluster.nodes) await untilTaken(node);
      expect(await startsOf(cluster)).toEqual([1, 1, 1]);
    });
  });
});

describe("a file system that turns read-only", () => {
  hostTest("stops its node, and the others go on", ["mount"], async () => {
    await DiskCluster.with({ nodeCount: 3 }, async (cluster) => {
      const workload = new Workload(cluster);
      workload.start({ writers: 6, readers: 1 });
      try {
        for (const which of ["follower", "leader"]) {
          await workload.untilMore(50);
          const leader = await cluster.leader();
          const node =
            which === "leader" ? leader : cluster.nodes.find((other) => other !== leader);
          if (node === undefined) throw new Error("there is no follower");
          await cluster.diskOf(node).turnReadOnly();
          const start = performance.now();
          await until(`${node.name} to stop`, async () => (node.isRunning ? undefined : true));
          report(`the ${which} stopped after ${Math.round(performance.now() - start)} ms`);
          expect(await node.exit()).toEqual({ code: 1, signal: null });
          const said = await complaints(node);
          report(`it said: ${said.join(" | ")}`);
          expect(said).toHaveLength(1);
          expect(said[0]).toMatch(/^proglog-node: .*(sync|write) (raft|log)\/\d+\./);
          await workload.untilMore(50);
          await cluster.diskOf(node).remount();
          node.restart();
          await cluster.untilVoters(3);
        }
      } finally {
        await workload.end();
      }
      report(workload.summary());
      await workload.check();
    });
  });
});
