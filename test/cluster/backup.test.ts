/**
 * Backup and restore on real processes: what is copied from a cluster that goes on writing comes
 * back, offset by offset and byte by byte, as another cluster that goes on from there.
 */
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

import { backup } from "../../src/cli/talk/backup.js";
import type { BackupOptions } from "../../src/cli/talk/backup.js";
import { restore } from "../../src/cli/talk/restore.js";
import { Client } from "../../src/client/client.js";
import { json } from "../../src/client/record.js";
import type { ConsumedRecord } from "../../src/client/record.js";
import { systemClock, systemRandom } from "../../src/common/system.js";
import type { BackupSummary } from "../../src/storage/backup-file.js";
import { inspectDirectory } from "../../src/storage/inspect.js";
import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { post } from "./http-client.js";
import { until } from "./poll.js";
import { freePort } from "./ports.js";
import { showLogsOnFailure } from "./show-logs.js";

/** Small segments and files: the log has several of each. */
const flags = ["--max-record-bytes", "256KiB", "--segment-bytes", "1MiB"];

let cluster: TestCluster;
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "proglog-backup-"));
  cluster = await TestCluster.start({ nodeCount: 3, flags });
});

afterAll(async () => {
  await cluster.close();
  rmSync(directory, { recursive: true, force: true });
});

showLogsOnFailure(() => cluster);

function surroundings(stop = new AbortController()) {
  const printed: string[] = [];
  const shown: string[] = [];
  return {
    ...{ printed, shown, stop, clock: systemClock, random: systemRandom, hostname: "here" },
    print: (line: string) => void printed.push(line),
    showProgress: (line: string) => void shown.push(line),
    signal: stop.signal,
  };
}

function clientOf(nodes: readonly NodeProcess[]): Client {
  const client = new Client({ servers: nodes.map((node) => node.rpcAddr) });
  onTestFinished(async () => client.close());
  return client;
}

/** A record as something that can be compared. */
function plain(record: ConsumedRecord): string {
  const { offset, timestampMs, key, headers, isJson, value } = record;
  return JSON.stringify([offset, timestampMs, key, headers, isJson, value.toString("base64")]);
}

async function recordsOf(client: Client, from = 0): Promise<string[]> {
  const found: string[] = [];
  for await (const record of client.consume({ from })) found.push(plain(record));
  return found;
}

/** Records of every kind, enough of them for several segments. */
async function fill(client: Client): Promise<void> {
  const named = client.producer({ id: "orders" });
  await named.produce("by a named producer", {
    sequence: 1,
    key: "k",
    headers: { a: "1", ü: "ß" },
  });
  await client.produce(Buffer.from([0, 255, 254, 128, 10]), { key: "binary" });
  await client.produce(json({ nested: [1, null, "x"] }), { headers: { only: "" } });
  await client.produce("");
  await client.produceBatch(["one", { value: "two", key: "2" }, "three"]);
  const [node] = cluster.nodes;
  await post(node?.httpUrl ?? "", { message: "over HTTP", key: "h", headers: { via: "http" } });
  for (let at = 0; at < 30; at += 1) await client.produce(Buffer.alloc(100_000 + at, at));
  await Promise.all(Array.from({ length: 2000 }, async (_, at) => client.produce(`many ${at}`)));
}

async function backUp(name: string, options: Partial<BackupOptions> = {}): Promise<BackupSummary> {
  const servers = cluster.nodes.map((node) => node.rpcAddr);
  return backup({ file: join(directory, name), servers, ...options }, surroundings());
}

/** A node whose directory is made of a backup; it is not started. */
async function restoredNode(file: string): Promise<{
  readonly restored: TestCluster;
  readonly node: NodeProcess;
  readonly clusterId: string;
}> {
  const restored = new TestCluster();
  onTestFinished(async () => restored.close());
  const node = await restored.prepare(flags);
  const { clusterId } = await restore(
    {
      ...{ file: join(directory, file), dataDir: node.dataDir, nodeName: node.name },
      ...{ advertiseRpcAddr: node.rpcAddr, advertiseHttpAddr: node.httpAddr },
    },
    surroundings(),
  );
  return { restored, node, clusterId };
}

describe("a cluster that is backed up while it is written to", () => {
  let expected: string[];
  let summary: BackupSummary;

  beforeAll(async () => {
    const client = new Client({ servers: cluster.nodes.map((node) => node.rpcAddr) });
    await fill(client);
    let isOver = false;
    const acked: number[] = [];
    const writing = (async () => {
      while (!isOver) acked.push((await client.produce(`meanwhile ${acked.length}`)).offset);
    })();
    await until("writes", async () => (acked.length > 20 ? true : undefined));
    const ackedBefore = acked.at(-1) ?? 0;
    summary = await backUp("full.backup");
    expect(summary.endOffset).toBeGreaterThan(ackedBefore);
    await until("more writes", async () => (acked.at(-1) ?? 0) > summary.endOffset || undefined);
    isOver = true;
    await writing;
    expected = (await recordsOf(client)).slice(0, summary.endOffset);
    await client.close();
  });

  test("has a copy of all that was acknowledged before, under its final name alone", async () => {
    const { clusterId } = await cluster.node(0).status();
    expect(summary).toMatchObject({ clusterId, startOffset: 0, count: summary.endOffset });
    expect(expected).toHaveLength(summary.count);
    expect(summary.bytes).toBe(readFileSync(join(directory, "full.backup")).length);
    expect(readdirSync(directory).filter((name) => name.endsWith(".part"))).toEqual([]);
  });

  test("comes back, byte for byte, as another cluster that goes on and takes members", async () => {
    const { restored, node, clusterId } = await restoredNode("full.backup");
    expect((await inspectDirectory(node.dataDir)).faults).toEqual([]);
    expect(clusterId).not.toBe(summary.clusterId);
    node.start();
    const status = await restored.untilVoters(1);
    expect(status).toMatchObject({ clusterId, startOffset: 0, endOffset: summary.endOffset });
    const client = clientOf([node]);
    expect(await recordsOf(client)).toEqual(expected);

    const receipt = await client.produce("after", { key: "new" });
    expect(receipt.offset).toBe(summary.endOffset);
    const { timestampMs } = await client.read(summary.endOffset - 1);
    expect(receipt.timestampMs).toBeGreaterThanOrEqual(timestampMs);

    const second = await restored.prepare(flags);
    second.start();
    await second.untilAnswering();
    await until("the second to hold all", async () => {
      const { endOffset, clusterId: joined } = await second.status();
      return joined === clusterId && endOffset === summary.endOffset + 1 ? true : undefined;
    });
    // From the second alone: what it holds came to it by snapshot.
    const local = await fetch(
      `${second.httpUrl}/Data?offset=${summary.endOffset - 1}&consistency=local`,
    );
    expect(local.status).toBe(200);
    await node.kill9();
    const other = new Client({ servers: [second.rpcAddr], discovery: false });
    onTestFinished(async () => other.close());
    const held: string[] = [];
    for await (const record of other.consume({ consistency: "local" })) held.push(plain(record));
    expect(held.slice(0, summary.count)).toEqual(expected);
    expect(held).toHaveLength(summary.count + 1);

    node.restart();
    await restored.untilLevel();
    await second.terminate();
    await node.terminate();
    expect((await inspectDirectory(node.dataDir)).faults).toEqual([]);
    expect((await inspectDirectory(second.dataDir)).faults).toEqual([]);
  });

  test("a part from an offset on keeps its offsets", async () => {
    const from = 1000;
    expect(await backUp("part.backup", { from })).toMatchObject({ startOffset: from });
    const { restored, node } = await restoredNode("part.backup");
    node.start();
    expect(await restored.untilVoters(1)).toMatchObject({ startOffset: from });
    const client = clientOf([node]);
    const found = await recordsOf(client, from);
    expect(found.slice(0, expected.length - from)).toEqual(expected.slice(from));
    await expect(client.read(from - 1)).rejects.toMatchObject({ code: "offset-trimmed" });
    const second = await restored.prepare(flags);
    second.start();
    await second.untilAnswering();
    await until("the second to hold all", async () => {
      const { startOffset, endOffset } = await second.status();
      return startOffset === from && endOffset === from + found.length ? true : undefined;
    });
  });

  test("is copied to the end though the node that is read from is killed", async () => {
    const stop = new AbortController();
    const [victim] = await cluster.followers();
    if (victim === undefined) throw new Error("there are followers");
    let isKilled = false;
    const killing: Promise<unknown>[] = [];
    const file = join(directory, "killed.backup");
    const servers = cluster.nodes.map((node) => node.rpcAddr);
    const again = await backup(
      { file, servers },
      {
        ...surroundings(stop),
        // Told while the copy is under way.
        showProgress: () => {
          if (!isKilled) killing.push(victim.kill9());
          isKilled = true;
        },
      },
    );
    await Promise.all(killing);
    expect(isKilled).toBe(true);
    expect(again.endOffset).toBeGreaterThanOrEqual(summary.endOffset);
    victim.restart();
    await cluster.untilVoters(3);
  });
});

describe("backup", () => {
  test("prints one JSON object that says what it copied", async () => {
    const around = surroundings();
    const file = join(directory, "json.backup");
    const servers = [cluster.node(0).rpcAddr];
    const summary = await backup({ file, servers, json: true }, around);
    expect(around.printed).toHaveLength(1);
    const { takenMs, ...rest } = summary;
    const takenAt = new Date(takenMs).toISOString();
    expect(JSON.parse(around.printed[0] ?? "")).toEqual({ file, ...rest, takenAt });
    expect(around.shown.at(-1)).toBe("");
  });

  test("takes the place of an older backup, and of nothing else", async () => {
    await backUp("twice.backup");
    await backUp("twice.backup");
    writeFileSync(join(directory, "mine.txt"), "mine");
    await expect(backUp("mine.txt")).rejects.toThrow("no whole backup");
    expect(readFileSync(join(directory, "mine.txt"), "utf8")).toBe("mine");
    await expect(backUp("a b")).rejects.toThrow("The name of a backup");
    await expect(backUp("nowhere/b")).rejects.toThrow("its directory is not there");
  });

  test("that is stopped leaves no file", async () => {
    const around = surroundings();
    const servers = cluster.nodes.map((node) => node.rpcAddr);
    const file = join(directory, "stopped.backup");
    const showProgress = (): void => around.stop.abort(new Error("asked to stop"));
    await expect(backup({ file, servers }, { ...around, showProgress })).rejects.toThrow(
      "asked to stop",
    );
    expect(existsSync(file) || existsSync(`${file}.part`)).toBe(false);
  });

  test("says what is not there", async () => {
    await expect(backUp("x", { from: 10_000_000 })).rejects.toMatchObject({
      code: "offset-out-of-range",
    });
    const nobody = [`127.0.0.1:${await freePort()}`];
    await expect(backUp("x", { servers: nobody })).rejects.toMatchObject({ code: "unavailable" });
  });
});

describe("restore", () => {
  test("refuses a directory that holds something, and a backup that is cut short", async () => {
    await backUp("good.backup");
    const { node } = await restoredNode("good.backup");
    const file = join(directory, "good.backup");
    await expect(restore({ file, dataDir: node.dataDir }, surroundings())).rejects.toThrow(
      "is not empty",
    );
    const cut = join(directory, "cut.backup");
    writeFileSync(cut, readFileSync(file).subarray(0, -1));
    const dataDir = join(directory, "never");
    await expect(restore({ file: cut, dataDir }, surroundings())).rejects.toThrow("cut short");
    expect(existsSync(dataDir)).toBe(false);
    const missing = join(directory, "missing");
    await expect(restore({ file: missing, dataDir }, surroundings())).rejects.toThrow("no file");
  });

  test("killed in the middle leaves a directory that a node refuses", async () => {
    await backUp("killed-restore.backup");
    const { restored, node } = await restoredNode("killed-restore.backup");
    // What is on the disk just before the last step.
    rmSync(join(node.dataDir, "checkpoint"), { recursive: true });
    node.start();
    expect(await node.exit()).toMatchObject({ code: 1 });
    expect(restored.logs()).toContain("the checkpoint is missing");
  });
});
