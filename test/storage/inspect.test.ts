import { mkdtemp, readFile, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { emptyCheckpoint } from "../../src/storage/checkpoint.js";
import type { CommitLogState } from "../../src/storage/commit-log.js";
import { writeIdentity } from "../../src/storage/identity.js";
import { inspectDirectory } from "../../src/storage/inspect.js";
import { LevelCheckpointStore } from "../../src/storage/level-checkpoint.js";
import { NodeDisk } from "../../src/storage/node-disk.js";
import { raftFileHeaderBytes } from "../../src/storage/raft-file.js";
import { storeName } from "../../src/storage/segment.js";
import { add, openCommitLog } from "./commit-log-bench.js";
import { append, configurationEntry, entries, openLog } from "./raft-log-bench.js";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "proglog-inspect-test-"));
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

/** The directory of a node that stopped cleanly. */
async function stoppedNode(): Promise<CommitLogState> {
  const disk = new NodeDisk(directory);
  await writeIdentity(disk, {
    nodeId: "node-a",
    clusterId: "cluster-c",
    isFounding: false,
    hasLog: true,
    hasCheckpoint: true,
  });
  const { log } = await openLog(disk);
  await append(log, {
    hardState: { term: 2, vote: "node-b" },
    frames: [configurationEntry(1, 1, "{}"), ...entries(2, 200, 2)],
  });
  await log.close();
  const commit = await openCommitLog(disk);
  for (let batch = 0; batch < 60; batch += 1) add(commit.log, 5);
  const state = commit.log.state();
  await commit.log.close();
  const store = await LevelCheckpointStore.open(join(directory, "checkpoint"));
  await store.save({
    ...emptyCheckpoint,
    ...state,
    appliedIndex: 150,
    appliedTerm: 2,
    clusterId: "cluster-c",
  });
  await store.close();
  return state;
}

/** Every file's bytes and time of change. */
async function picture(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const name of await readdir(directory, { recursive: true })) {
    const path = join(directory, name);
    const { mtimeMs } = await stat(path);
    const isFile = (await stat(path)).isFile();
    found.set(
      name,
      `${String(mtimeMs)} ${isFile ? (await readFile(path)).toString("latin1") : ""}`,
    );
  }
  return found;
}

async function flip(name: string, position: number): Promise<void> {
  const path = join(directory, name);
  const bytes = await readFile(path);
  bytes[position] = (bytes[position] ?? 0) ^ 1;
  await writeFile(path, bytes);
}

async function raftFiles(): Promise<string[]> {
  return (await readdir(join(directory, "raft"))).sort().map((name) => `raft/${name}`);
}

describe("an inspection", () => {
  test("says what a stopped node's directory holds, and writes nothing", async () => {
    const state = await stoppedNode();
    const before = await picture();
    const { lines, faults } = await inspectDirectory(directory);
    expect(faults).toEqual([]);
    expect(await picture()).toEqual(before);
    const text = lines.join("\n");
    expect(text).toContain("identity: node node-a, cluster cluster-c");
    expect(text).toContain("checkpoint: applied up to index 150 of term 2, end offset 300");
    expect(text).toContain("Raft log: entries 1 to 200, term 2, vote for node-b");
    expect(text).toContain("1 barrier");
    expect(text).toContain("offsets 0 to ");
    expect(lines.filter((line) => line.startsWith("log/"))).toHaveLength(state.segments.length);
  });

  test("of an empty or missing directory says so", async () => {
    expect((await inspectDirectory(directory)).lines).toHaveLength(1);
    const { lines, faults } = await inspectDirectory(join(directory, "none"));
    expect(lines).toHaveLength(1);
    expect(faults).toEqual([]);
    expect(await readdir(directory)).toEqual([]);
  });

  test("finds damage in a Raft log file", async () => {
    await stoppedNode();
    const [first = ""] = await raftFiles();
    await flip(first, raftFileHeaderBytes + 200);
    const { faults } = await inspectDirectory(directory);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatchObject({ file: first });
    expect(faults[0]?.position).toBeGreaterThanOrEqual(raftFileHeaderBytes);
  });

  test("finds a missing Raft log file, and a missing Raft log", async () => {
    await stoppedNode();
    const files = await raftFiles();
    await rm(join(directory, files[1] ?? ""));
    expect((await inspectDirectory(directory)).faults).toHaveLength(1);
    await rm(join(directory, "raft"), { recursive: true });
    const { faults } = await inspectDirectory(directory);
    expect(faults.map(({ what }) => what)).toContain("the files of the Raft log are missing");
  });

  test("finds damage in every segment", async () => {
    const { segments } = await stoppedNode();
    for (const { baseOffset } of segments) await flip(`log/${storeName(baseOffset)}`, 100);
    const { faults } = await inspectDirectory(directory);
    expect(faults.map(({ file }) => file)).toEqual(
      segments.map(({ baseOffset }) => `log/${storeName(baseOffset)}`),
    );
  });

  test("finds a short and a missing segment", async () => {
    const { segments } = await stoppedNode();
    const [first, second] = segments.map(({ baseOffset }) => `log/${storeName(baseOffset)}`);
    await truncate(join(directory, first ?? ""), 1000);
    await rm(join(directory, second ?? ""));
    const { faults } = await inspectDirectory(directory);
    expect(faults).toContainEqual({
      file: first,
      position: 1000,
      what: "the file is shorter than its checkpoint says",
    });
    expect(faults).toContainEqual({ file: second, position: 0, what: "the file is missing" });
  });

  test("does not mind a spoilt index", async () => {
    await stoppedNode();
    for (const name of await readdir(join(directory, "log"))) {
      if (name.endsWith(".index")) await flip(`log/${name}`, 30);
    }
    const { lines, faults } = await inspectDirectory(directory);
    expect(faults).toEqual([]);
    expect(lines.join("\n")).toContain("index unusable");
  });

  test("finds a damaged identity and a damaged checkpoint", async () => {
    await stoppedNode();
    await flip("identity.json", 30);
    for (const name of await readdir(join(directory, "checkpoint"))) {
      if (/\.(log|ldb)$/.test(name)) await flip(`checkpoint/${name}`, 60);
    }
    await rm(join(directory, "checkpoint/CURRENT"));
    const { faults } = await inspectDirectory(directory);
    expect(faults.map(({ file }) => file)).toEqual(["identity.json", "checkpoint/CURRENT"]);
  });

  test("finds a checkpoint whose database is not one", async () => {
    await stoppedNode();
    await writeFile(join(directory, "checkpoint/CURRENT"), "MANIFEST-999999\n");
    const { faults } = await inspectDirectory(directory);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatchObject({ file: "checkpoint" });
    expect(faults[0]?.what).not.toContain(tmpdir());
  });
});
