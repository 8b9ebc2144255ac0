/**
 * Restoring: a node that starts on what was made holds what was saved and goes on from there, and
 * one that starts on what was half made refuses, wherever the power went.
 */
import { describe, expect, test } from "vitest";

import { nodeOptions } from "../../src/agent/options.js";
import { restore } from "../../src/agent/restore.js";
import type { RestoreParts, Restored } from "../../src/agent/restore.js";
import { decodeBatch, encodeRecords } from "../../src/common/record.js";
import type { LogRecord, RecordBatch } from "../../src/common/record.js";
import { BackupWriter } from "../../src/storage/backup-file.js";
import type { Disk, DiskFile } from "../../src/storage/disk.js";
import { DiskError, readWholeFile, writeAll } from "../../src/storage/disk.js";
import { readIdentity } from "../../src/storage/identity.js";
import { SeededRandom } from "../../src/testing/seeded-random.js";
import { SimulatedCheckpoints, checkpointFile } from "../../src/testing/simulated-checkpoints.js";
import type { SimulatedDisk } from "../../src/testing/simulated-disk.js";
import { SimulatedNetwork } from "../../src/testing/simulated-network.js";
import { SimulatedNode } from "../../src/testing/simulated-node.js";
import type { NodeLife } from "../../src/testing/simulated-node.js";
import { Simulation } from "../../src/testing/simulation.js";
import { manualClock, quickDisk } from "../storage/simulated.js";

const mebibyte = 1024 * 1024;

function batchAt(offset: number, count: number, timestampMs: number, bytes = 40): RecordBatch {
  const contents = Array.from({ length: count }, (_, at) => ({
    value: Buffer.from(`record ${String(offset + at)} `.padEnd(bytes, ".")),
    key: `key ${String(offset + at)}`,
    headers: { at: String(at) },
  }));
  return { offset, count, timestampMs, records: encodeRecords(contents) };
}

/** Ahead of the clock of the node that is started: time must not run backwards after it. */
const lateMs = 1_900_000_000_000;
const batches = [batchAt(0, 3, 1000), batchAt(3, 1, 1000), batchAt(4, 7, lateMs)];
const oldClusterId = "00000000-0000-4000-8000-0000000000aa";

async function backupOf(
  given: readonly RecordBatch[] = batches,
  startOffset = given[0]?.offset ?? 0,
): Promise<DiskFile> {
  const file = await quickDisk().create("backup");
  const origin = { clusterId: oldClusterId, startOffset, takenMs: 1 };
  const writer = new BackupWriter(file, new SeededRandom(1), origin);
  for (const batch of given) await writer.add(batch);
  await writer.finish();
  return file;
}

async function partsFor(disk: Disk, given: Partial<RestoreParts> = {}): Promise<RestoreParts> {
  return {
    disk,
    openCheckpoints: async () => new SimulatedCheckpoints(disk),
    backup: given.backup ?? (await backupOf()),
    clock: manualClock(),
    random: new SeededRandom(2),
    nodeName: "restored",
    segmentBytes: mebibyte,
    raftLogFileBytes: 64 * 1024,
    ...given,
  };
}

async function restored(disk: SimulatedDisk, given: Partial<RestoreParts> = {}): Promise<Restored> {
  return restore(await partsFor(disk, given));
}

interface Started {
  readonly simulation: Simulation;
  readonly life: NodeLife;
}

/** Starts a node on the disk, until it leads or ends. @throws what ended it. */
async function startOn(disk: SimulatedDisk): Promise<Started> {
  const simulation = new Simulation(setImmediate);
  let failure: Error | undefined;
  const node = new SimulatedNode({
    ...{ simulation, disk },
    network: new SimulatedNetwork(simulation, new SeededRandom(3)),
    random: new SeededRandom(4),
    options: nodeOptions(
      {
        ...{ nodeName: "n1", httpAddr: "n1:80", rpcAddr: "n1:81" },
        ...{ raftLogFileBytes: 2 * mebibyte, diskFreeBytesMin: 0 },
      },
      "host",
    ),
    onFailed: (_node, error) => {
      failure = error;
    },
  });
  node.start();
  await simulation.run(() => failure !== undefined || node.life?.core.replica.isLeader === true);
  if (failure !== undefined) throw failure;
  if (node.life === undefined) throw new Error("the node neither started nor failed");
  return { simulation, life: node.life };
}

async function recordsOf({ life }: Started): Promise<LogRecord[]> {
  const { commitLog } = life.core.replica;
  const found: LogRecord[] = [];
  for (let offset = commitLog.startOffset; offset < commitLog.endOffset;) {
    for (const batch of await commitLog.read(offset, mebibyte)) {
      found.push(...decodeBatch(batch));
      offset = batch.offset + batch.count;
    }
  }
  return found;
}

const saved = batches.flatMap((batch) => [...decodeBatch(batch)]);

describe("a node that starts on what was restored", () => {
  test("leads a new cluster that holds what was saved", async () => {
    const disk = quickDisk();
    const { nodeId, clusterId, backup } = await restored(disk);
    expect(clusterId).not.toBe(oldClusterId);
    expect(backup).toMatchObject({ clusterId: oldClusterId, startOffset: 0, endOffset: 11 });
    const started = await startOn(disk);
    const { core } = started.life;
    expect(core.clusterId).toBe(clusterId);
    expect(started.life.self.id).toBe(nodeId);
    expect(core.log.bounds()).toMatchObject({ startOffset: 0, endOffset: 11 });
    expect(await recordsOf(started)).toEqual(saved);
  });

  test("appends at the end, at a time that is not before the last record's", async () => {
    const disk = quickDisk();
    await restored(disk);
    const started = await startOn(disk);
    const { records } = batchAt(11, 1, 0);
    let receipt: unknown;
    void started.life.core.log.produce({ records }).then((answer) => (receipt = answer));
    await started.simulation.run(() => receipt !== undefined);
    expect(receipt).toMatchObject({ offset: 11, timestampMs: lateMs });
    expect(await recordsOf(started)).toHaveLength(12);
  });

  test("is known where it was said that it would be reached", async () => {
    const disk = quickDisk();
    await restored(disk, { rpcAddr: "n1:81", httpAddr: "n1:80" });
    const { life } = await startOn(disk);
    expect(life.core.replica.status().configuration.voters).toEqual([
      { ...life.self, name: "restored" },
    ]);
  });

  test("says itself where it can be reached if nobody said so before", async () => {
    const disk = quickDisk();
    await restored(disk);
    const { simulation, life } = await startOn(disk);
    const member = () => life.core.replica.status().configuration.voters[0];
    const untilMs = simulation.nowMs + 10_000;
    await simulation.run(() => member()?.rpcAddr !== "" || simulation.nowMs > untilMs);
    expect(member()).toEqual(life.self);
  });

  test("keeps the offset that the log started with", async () => {
    const disk = quickDisk();
    const later = [batchAt(1_000_000, 2, 5), batchAt(1_000_002, 1, 6)];
    await restored(disk, { backup: await backupOf(later) });
    const started = await startOn(disk);
    const { log } = started.life.core;
    expect(log.bounds()).toMatchObject({ startOffset: 1_000_000, endOffset: 1_000_003 });
    expect(await recordsOf(started)).toEqual(later.flatMap((batch) => [...decodeBatch(batch)]));
  });

  test("is empty if the log was", async () => {
    const disk = quickDisk();
    await restored(disk, { backup: await backupOf([]) });
    expect((await startOn(disk)).life.core.log.bounds()).toMatchObject({
      startOffset: 0,
      endOffset: 0,
    });
  });

  test("has segments of the size that was asked for", async () => {
    const disk = quickDisk();
    const big = Array.from({ length: 40 }, (_, at) => batchAt(at * 2, 2, at, 500));
    await restored(disk, { backup: await backupOf(big), segmentBytes: 10_000 });
    const stores = (await disk.list("log")).filter((name) => name.endsWith(".log"));
    expect(stores).toHaveLength(5);
    expect(await recordsOf(await startOn(disk))).toEqual(
      big.flatMap((batch) => [...decodeBatch(batch)]),
    );
  });
});

describe("a restore that is cut off", () => {
  test("at any call leaves nothing, what a node refuses, or all of it", async () => {
    const disk = quickDisk();
    const forks: SimulatedDisk[] = [];
    disk.onCall = () => {
      forks.push(disk.fork("lose-unsynced"), disk.fork("kill"), disk.fork("keep-some"));
      return "ok";
    };
    await restored(disk);
    forks.push(disk.fork("lose-unsynced"));
    const found = { nothing: 0, refused: 0, whole: 0 };
    for (const fork of forks) found[await lookAt(fork)] += 1;
    expect(found.nothing).toBeGreaterThan(0);
    expect(found.refused).toBeGreaterThan(60);
    expect(found.whole).toBeGreaterThan(0);
  });

  async function lookAt(disk: SimulatedDisk): Promise<"nothing" | "refused" | "whole"> {
    disk.onCall = undefined;
    if ((await readIdentity(disk)) === undefined) {
      expect((await disk.list("")).filter((name) => !/^(lock|identity)/.test(name))).toEqual([]);
      return "nothing";
    }
    let started: Started;
    try {
      started = await startOn(disk);
    } catch (error) {
      expect(String(error)).toContain("the checkpoint is missing");
      return "refused";
    }
    expect(await recordsOf(started)).toEqual(saved);
    return "whole";
  }

  test("by a failing call removes what it made, as far as it can", async () => {
    const disk = quickDisk();
    await restored(disk);
    const { callCount } = disk;
    for (let failing = 0; failing < callCount; failing += 1) {
      const tried = quickDisk();
      tried.onCall = ({ ordinal }) => (ordinal === failing ? "io" : "ok");
      try {
        await restored(tried);
      } catch (error) {
        expect(error).toBeInstanceOf(DiskError);
        tried.onCall = undefined;
        expect(await tried.list("")).toEqual([]);
      }
    }
  });

  test("by its signal removes what it made", async () => {
    const disk = quickDisk();
    const controller = new AbortController();
    const stopped = restored(disk, {
      signal: controller.signal,
      onProgress: (step) => {
        if (step === "restore") controller.abort(new Error("asked to stop"));
      },
    });
    await expect(stopped).rejects.toThrow("asked to stop");
    expect(await disk.list("")).toEqual([]);
  });
});

describe("a restore is refused", () => {
  test("into a directory that is not empty, which stays as it is", async () => {
    const disk = quickDisk();
    const file = await disk.create("something");
    await writeAll(file, 0, Buffer.from("of mine"));
    await expect(restored(disk)).rejects.toThrow("is not empty");
    expect(await disk.list("")).toEqual(["something"]);
  });

  test("into the directory of a node", async () => {
    const disk = quickDisk();
    await restored(disk);
    await expect(restored(disk)).rejects.toThrow("is not empty");
    expect(await readIdentity(disk)).toBeDefined();
    expect(await readWholeFile(disk, checkpointFile)).not.toHaveLength(0);
  });

  test("of a backup that is damaged at its very end, before anything is made", async () => {
    const disk = quickDisk();
    const backup = await backupOf();
    const bytes = await backup.size();
    await writeAll(backup, bytes - 60, Buffer.from([0xff]));
    await expect(restored(disk, { backup })).rejects.toThrow("is damaged");
    expect(await disk.list("")).toEqual([]);
  });

  test("of a backup without records that starts late", async () => {
    const backup = await backupOf([], 5);
    await expect(restored(quickDisk(), { backup })).rejects.toThrow("holds no records");
  });

  test("onto a disk without the room", async () => {
    const disk = quickDisk(1, { capacityBytes: mebibyte });
    await expect(restored(disk)).rejects.toMatchObject({ code: "disk-full" });
    expect(await disk.list("")).toEqual([]);
  });
});
