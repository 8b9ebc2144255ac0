/**
 * Bits that flip in sealed segments on the disks of nodes that run: never served, found by a read or
 * by the scrub, and whole again within seconds, byte for byte.
 */
import { open, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import type { NodeProcess } from "./harness.js";
import { TestCluster } from "./harness.js";
import { ask, problemOf, produce } from "./http-client.js";
import { report, until } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";

/** From finding damage to its repair, as it is promised. */
const repairMsMax = 10_000;
const recordBytes = 60_000;
const recordCount = 110;

const flags = [
  ...["--segment-bytes", "1MiB"],
  ...["--checkpoint-bytes", "1MiB"],
  // What is in memory is not read from the disk.
  ...["--tail-cache-bytes", "0"],
];

function messageOf(ordinal: number): string {
  return `${String(ordinal)} `.padEnd(recordBytes, String.fromCharCode(97 + (ordinal % 26)));
}

/** Writes what fills six segments, of which five are sealed. */
async function filled(further: readonly string[]): Promise<TestCluster> {
  const cluster = await TestCluster.start({ flags: [...flags, ...further] });
  const leader = await cluster.leader();
  for (let ordinal = 0; ordinal < recordCount; ordinal += 1) {
    const result = await produce(leader.httpUrl, messageOf(ordinal));
    expect(result).toEqual({ kind: "acknowledged", offset: ordinal });
  }
  await cluster.untilLevel();
  for (const node of cluster.nodes) {
    await until(`${node.name} to have sealed five segments`, async () =>
      (await storesOf(node)).length >= 6 ? true : undefined,
    );
  }
  return cluster;
}

/** Paths of the segments, oldest first. */
async function storesOf(node: NodeProcess): Promise<string[]> {
  const names = await readdir(join(node.dataDir, "log"));
  const stores = names.filter((name) => name.endsWith(".log")).sort();
  return stores.map((name) => join(node.dataDir, "log", name));
}

/** Flips a bit in a record, behind the node's back. @returns The offset that it lies in. */
async function flip(node: NodeProcess, ordinal: number, share: number): Promise<number> {
  const path = (await storesOf(node))[ordinal] ?? "";
  const file = await open(path, "r+");
  const position = Math.floor((await file.stat()).size * share);
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, position);
  byte[0] = (byte[0] ?? 0) ^ 0x10;
  await file.write(byte, 0, 1, position);
  await file.close();
  const base = Number(/(\d{20})\.log$/.exec(path)?.[1]);
  const perRecord = (recordBytes + 16) * 1.001;
  return base + Math.floor(position / perRecord);
}

/** True if the bytes of a segment are the same on all nodes. */
async function isSameOnAll(cluster: TestCluster, ordinal: number): Promise<boolean> {
  const all = await Promise.all(
    cluster.nodes.map(async (node) => readFile((await storesOf(node))[ordinal] ?? "")),
  );
  return all.every((bytes) => all[0]?.equals(bytes));
}

async function counterOf(node: NodeProcess, name: string): Promise<number> {
  const { text } = await ask(`${node.httpUrl}/metrics`);
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1]);
}

/** A repair is counted when all of it is durable: a little after it is served. */
async function untilRepaired(node: NodeProcess): Promise<void> {
  await until(`${node.name} to count a repair`, async () =>
    (await counterOf(node, "proglog_segments_repaired_total")) === 1 ? true : undefined,
  );
}

/** Asks a node for a record as it holds it. @returns True if it was served: then it was right. */
async function isServed(node: NodeProcess, offset: number): Promise<boolean> {
  const answer = await ask(`${node.httpUrl}/Data?offset=${String(offset)}&consistency=local`);
  if (answer.status !== 200) {
    expect([answer.status, problemOf(answer).code]).toEqual([500, "data-damaged"]);
    return false;
  }
  expect((answer.body as { message: unknown }).message).toBe(messageOf(offset));
  return true;
}

/** All of a segment's records that are not served; each of those that are is right. */
async function damagedOffsets(node: NodeProcess, from: number, to: number): Promise<number[]> {
  const found: number[] = [];
  for (let offset = from; offset < to; offset += 1) {
    if (!(await isServed(node, offset))) found.push(offset);
  }
  return found;
}

describe("without a scrub, a bit that flips in a sealed segment", () => {
  let cluster: TestCluster;
  showLogsOnFailure(() => cluster);

  beforeAll(async () => {
    cluster = await filled(["--scrub-bytes-per-second", "0"]);
  });

  afterAll(async () => {
    await cluster?.close();
  });

  test("is found by a read, never served, and repaired within seconds", async () => {
    for (const [ordinal, node] of cluster.nodes.entries()) {
      const near = await flip(node, ordinal, 0.5);
      const start = performance.now();
      const [offset = -1] = await damagedOffsets(node, near - 1, near + 2);
      expect(offset).toBeGreaterThanOrEqual(0);
      await until(
        `${node.name} to serve offset ${String(offset)}`,
        async () => ((await isServed(node, offset)) ? true : undefined),
        { timeoutMs: repairMsMax },
      );
      report(`${node.name} repaired it ${Math.round(performance.now() - start)} ms after a read`);
      expect(await isSameOnAll(cluster, ordinal)).toBe(true);
      expect(await counterOf(node, "proglog_segments_damaged_total")).toBe(1);
      await untilRepaired(node);
      expect(node.log(100_000)).toContain("segment-repaired");
    }
  });

  test("is repaired on all three where each has lost another record of one segment", async () => {
    const damaged = await Promise.all(
      cluster.nodes.map(async (node, ordinal) => flip(node, 3, 0.2 + 0.3 * ordinal)),
    );
    for (const [ordinal, node] of cluster.nodes.entries()) {
      const near = damaged[ordinal] ?? 0;
      expect(await damagedOffsets(node, near - 1, near + 2)).toHaveLength(1);
    }
    await until(
      "all three to be whole",
      async () => ((await isSameOnAll(cluster, 3)) ? true : undefined),
      { timeoutMs: repairMsMax },
    );
    for (const node of cluster.nodes) {
      expect(await damagedOffsets(node, 0, recordCount)).toEqual([]);
    }
  });

  test("stays an error where it is the same on all three, also after a restart", async () => {
    for (const node of cluster.nodes) await flip(node, 4, 0.5);
    const near = await flip(cluster.node(0), 4, 0.5);
    await flip(cluster.node(0), 4, 0.5);
    const offsets = await Promise.all(
      cluster.nodes.map(async (node) => damagedOffsets(node, near - 1, near + 2)),
    );
    expect(offsets[0]).toHaveLength(1);
    expect(offsets[1]).toEqual(offsets[0]);
    const node = cluster.node(2);
    await until("it to say so", async () =>
      /no copy of offset.*segment-not-repaired/.test(node.log(100_000)) ? true : undefined,
    );
    await node.kill9();
    node.restart();
    await node.untilAnswering();
    expect(await damagedOffsets(node, near - 1, near + 2)).toEqual(offsets[0]);
    // One good copy is enough for all.
    await flip(cluster.node(0), 4, 0.5);
    await until(
      "all to have it back",
      async () => {
        const lost = await Promise.all(
          cluster.nodes.map(async (each) => damagedOffsets(each, near - 1, near + 2)),
        );
        return lost.flat().length === 0 ? true : undefined;
      },
      { timeoutMs: 60_000 },
    );
  });
});

describe("with the scrub alone, nobody reading", () => {
  let cluster: TestCluster;
  showLogsOnFailure(() => cluster);

  beforeAll(async () => {
    cluster = await filled(["--scrub-bytes-per-second", "64MiB", "--scrub-rest-ms", "200"]);
  });

  afterAll(async () => {
    await cluster?.close();
  });

  test("other segments damaged on each of the nodes are all found and repaired", async () => {
    for (const [ordinal, node] of cluster.nodes.entries()) await flip(node, ordinal + 1, 0.7);
    const start = performance.now();
    for (const node of cluster.nodes) {
      await untilRepaired(node);
    }
    report(`all were found and repaired after ${Math.round(performance.now() - start)} ms`);
    for (const [ordinal, node] of cluster.nodes.entries()) {
      expect(await isSameOnAll(cluster, ordinal + 1)).toBe(true);
      expect(await counterOf(node, "proglog_scrub_mismatches_total")).toBe(0);
      expect(await damagedOffsets(node, 0, recordCount)).toEqual([]);
    }
  });
});
