import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { DamageError } from "../../src/storage/damage.js";
import type { Disk } from "../../src/storage/disk.js";
import { NodeDisk } from "../../src/storage/node-disk.js";
import { frameKinds } from "../../src/storage/frame.js";
import { raftFileName, readRaftFileHeader, scanRaftFile } from "../../src/storage/raft-file.js";
import type { ScannedFile, ScannedFrame } from "../../src/storage/raft-file.js";
import type { RaftLogAppend } from "../../src/storage/raft-log.js";
import type { DiskCall } from "../../src/testing/simulated-disk.js";
import {
  JournalModel,
  append,
  configurationEntry,
  contents,
  entries,
  entry,
  openLog,
  smallFiles,
} from "./raft-log-bench.js";
import type { OpenLog } from "./raft-log-bench.js";
import { countingOpenFiles, outcomeOf, quickDisk, settled, slowDisk } from "./simulated.js";

async function withDirectory(run: (disk: Disk) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "proglog-raft-log-"));
  try {
    await run(new NodeDisk(directory));
  } finally {
    await rm(directory, { recursive: true });
  }
}

function scannedFile(bytes: Buffer, sequence: number): ScannedFile {
  const { salt } = readRaftFileHeader("", bytes, sequence);
  return scanRaftFile("", bytes, salt);
}

function framesIn(bytes: Buffer, sequence: number): readonly ScannedFrame[] {
  return scannedFile(bytes, sequence).frames;
}

/** What a log and its reopened self must agree on. */
async function pictureOf({ log, hardState, configurations }: OpenLog): Promise<unknown> {
  return {
    contents: await contents(log),
    termRuns: log.places.termRuns(),
    hardState,
    configurations: configurations.map(({ index, body }) => `${String(index)} ${body.toString()}`),
  };
}

async function files(disk: Disk): Promise<string[]> {
  return (await disk.list("raft")).filter((name) => name.endsWith(".raft"));
}

const disks: [string, (run: (disk: Disk) => Promise<void>) => Promise<void>][] = [
  ["a SimulatedDisk", (run) => run(quickDisk())],
  ["a NodeDisk", withDirectory],
];

describe.each(disks)("a Raft log on %s", (_name, onDisk) => {
  test("starts empty, and is empty again when it is reopened", async () => {
    await onDisk(async (disk) => {
      const first = await openLog(disk);
      expect(first.hardState).toEqual({ term: 0, vote: "" });
      expect(first.log.places.isEmpty).toBe(true);
      await first.log.close();
      const again = await openLog(disk);
      expect(again.log.places.isEmpty).toBe(true);
      expect(again.tornBytes).toBe(0);
      await again.log.close();
    });
  });

  test("holds after a reopen what it held before", async () => {
    await onDisk(async (disk) => {
      const { log } = await openLog(disk);
      await append(log, {
        hardState: { term: 1, vote: "a" },
        frames: [configurationEntry(1, 1, "{1}"), ...entries(2, 40, 1)],
      });
      await append(log, { frames: entries(41, 200, 2) });
      await append(log, { frames: [configurationEntry(201, 2, "{2}")] });
      await append(log, { hardState: { term: 3, vote: "" }, truncateFrom: 201, frames: [] });
      await append(log, { frames: entries(201, 210, 3) });
      await append(log, { frames: [configurationEntry(205, 4, "{3}")] });
      await append(log, { hardState: { term: 5, vote: "b" }, frames: [] });
      await log.close();
      const again = await openLog(disk);
      expect(await pictureOf(again)).toEqual({
        contents: [
          "1/1 {1}",
          ...Array.from({ length: 39 }, (_, at) => `${String(at + 2)}/1 entry ${String(at + 2)}`),
          ...Array.from(
            { length: 160 },
            (_, at) => `${String(at + 41)}/2 entry ${String(at + 41)}`,
          ),
          ...[201, 202, 203, 204].map((index) => `${String(index)}/3 entry ${String(index)}`),
          "205/4 {3}",
        ],
        termRuns: [
          { index: 1, term: 1 },
          { index: 41, term: 2 },
          { index: 201, term: 3 },
          { index: 205, term: 4 },
        ],
        hardState: { term: 5, vote: "b" },
        configurations: ["1 {1}", "205 {3}"],
      });
      expect((await files(disk)).length).toBeGreaterThan(4);
      await again.log.close();
    });
  });

  test("gives a frame larger than a file a file of its own", async () => {
    await onDisk(async (disk) => {
      const { log } = await openLog(disk);
      const large = "x".repeat(3 * smallFiles.fileBytes);
      await append(log, { frames: [entry(1, 1), entry(2, 1, large), entry(3, 1)] });
      await append(log, { frames: [entry(4, 1, large)] });
      const before = await contents(log);
      await log.close();
      const again = await openLog(disk);
      expect(await contents(again.log)).toEqual(before);
      expect(before[3]).toBe(`4/1 ${large}`);
      await again.log.close();
    });
  });

  test("reads ranges across files, at least one entry and no more than asked for", async () => {
    await onDisk(async (disk) => {
      const { log } = await openLog(disk);
      const frames = entries(1, 300, 1).map(({ index, term }) => entry(index, term, "x"));
      await append(log, { frames });
      const frameBytes = entry(100, 1, "x").frame.length;
      expect(await log.read(50, 0)).toHaveLength(1);
      expect(await log.read(50, 10 * frameBytes)).toHaveLength(10);
      expect(await log.read(50, 10 * frameBytes + frameBytes - 1)).toHaveLength(10);
      expect(await log.read(299, 1_000_000)).toHaveLength(2);
      expect(await log.read(301, 1_000_000)).toEqual([]);
      const all = await log.read(1, 1_000_000);
      expect(all).toHaveLength(300);
      await log.close();
    });
  });

  test("uses files again once a checkpoint covers them, and gives up their entries", async () => {
    await onDisk(async (disk) => {
      const { log } = await openLog(disk);
      await append(log, { hardState: { term: 7, vote: "me" }, frames: entries(1, 20, 1) });
      for (let index = 21; index <= 1000; index += 20) {
        await append(log, { frames: entries(index, index + 19, 1) });
        log.truncatePrefix(index + 10);
      }
      const names = await files(disk);
      expect(names.length).toBeLessThanOrEqual(4);
      expect(names[0]).not.toBe(raftFileName(1));
      const { firstIndex } = log.places;
      expect(firstIndex).toBeGreaterThan(800);
      expect(await log.read(firstIndex - 1, 100)).toEqual([]);
      const before = await contents(log);
      await log.close();
      const again = await openLog(disk);
      expect(again.hardState).toEqual({ term: 7, vote: "me" });
      expect(await contents(again.log)).toEqual(before);
      await again.log.close();
    });
  });
});

describe("a Raft log", () => {
  test("reopens as a model of its journal, whatever was appended", async () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ add: fc.integer({ min: 1, max: 30 }) }) },
      { weight: 1, arbitrary: fc.record({ cut: fc.integer({ min: 1, max: 20 }) }) },
      { weight: 1, arbitrary: fc.record({ overwrite: fc.integer({ min: 1, max: 20 }) }) },
      { weight: 1, arbitrary: fc.record({ vote: fc.constantFrom("", "a", "b") }) },
      { weight: 1, arbitrary: fc.constant({ reopen: true }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const disk = quickDisk();
        const model = new JournalModel();
        let term = 1;
        let { log } = await openLog(disk);
        for (const what of steps) {
          if ("reopen" in what) {
            await log.close();
            const again = await openLog(disk);
            log = again.log;
            expect(again.hardState).toEqual(model.hardState);
            expect(await contents(log)).toEqual(model.entries);
            continue;
          }
          const todo = appendOf(what, model, () => (term += 1));
          if (todo === undefined) continue;
          for (const change of JournalModel.steps(todo)) change(model);
          await append(log, todo);
        }
        expect(await contents(log)).toEqual(model.entries);
        await log.close();
      }),
      { numRuns: 60 },
    );
  });

  test("lets many appends share one sync", async () => {
    const calls: DiskCall[] = [];
    const disk = slowDisk();
    const { log } = await openLog(disk, { fileBytes: 1024 * 1024 });
    await append(log, { frames: [entry(1, 1)] });
    await settled(30);
    disk.onCall = (call) => {
      calls.push(call);
      return "ok";
    };
    await Promise.all(
      Array.from({ length: 500 }, async (_, at) => {
        await append(log, { frames: [entry(at + 2, 1)] });
      }),
    );
    const syncs = calls.filter((call) => call.operation === "sync").length;
    const bytes = 500 * entry(100, 1).frame.length;
    expect(syncs).toBeLessThanOrEqual(2 + Math.ceil(bytes / smallFiles.groupBytesMax));
    expect(calls.filter((call) => call.operation === "write")).toHaveLength(syncs);
    await log.close();
  });

  test("acknowledges in order, and only what a sync has covered", async () => {
    const disk = slowDisk(3, { latencyMsMax: 0 });
    const { log } = await openLog(disk);
    const acked: number[] = [];
    for (let index = 1; index <= 200; index += 1) {
      log.append({ frames: [entry(index, 1)] }, () => {
        acked.push(index);
        const durable = [...Array(10).keys()].flatMap((sequence) => {
          const bytes = disk.durableBytes(`raft/${raftFileName(sequence)}`);
          return bytes === undefined ? [] : framesIn(bytes, sequence);
        });
        expect(durable.some(({ header }) => header.key === index && header.term === 1)).toBe(true);
      });
    }
    await log.close();
    expect(acked).toEqual(Array.from({ length: 200 }, (_, at) => at + 1));
  });

  test("writes hard states in order across files, so that no term falls", async () => {
    const disk = quickDisk();
    const { log } = await openLog(disk);
    let index = 1;
    const waiting: Promise<void>[] = [];
    for (let term = 1; term <= 60; term += 1) {
      const vote = `node ${String(term)}`;
      waiting.push(
        append(log, { hardState: { term, vote }, frames: entries(index, index + 5, term) }),
      );
      index += 6;
    }
    await Promise.all(waiting);
    await log.close();
    const terms: number[] = [];
    const names = await files(disk);
    for (const name of names) {
      const bytes = disk.snapshotBytes(`raft/${name}`) ?? Buffer.alloc(0);
      const frames = framesIn(bytes, Number(name.slice(0, 20)));
      const [first] = frames;
      if (first === undefined) continue;
      expect(first.header.kind).toBe(frameKinds.hardState);
      terms.push(
        ...frames
          .filter(({ header }) => header.kind === frameKinds.hardState)
          .map(({ header }) => header.term),
      );
    }
    expect(terms.length).toBeGreaterThan(60);
    expect(terms).toEqual([...terms].sort((left, right) => left - right));
    const again = await openLog(disk);
    expect(again.hardState).toEqual({ term: 60, vote: "node 60" });
    await again.log.close();
  });

  test("never takes a recycled file's old frames for new ones", async () => {
    const disk = quickDisk();
    const { log } = await openLog(disk);
    for (let index = 1; index <= 600; index += 10) {
      await append(log, { frames: entries(index, index + 9, 1) });
      log.truncatePrefix(index);
    }
    await append(log, { truncateFrom: 580, frames: entries(580, 585, 2) });
    const before = await contents(log);
    const after = disk.crash("lose-unsynced");
    const again = await openLog(after);
    expect(await contents(again.log)).toEqual(before);
    expect(again.tornBytes).toBe(0);
    const { places } = again.log;
    const active = raftFileName(places.at(places.lastIndex)?.sequence ?? 0);
    const bytes = after.snapshotBytes(`raft/${active}`) ?? Buffer.alloc(0);
    const { end } = scannedFile(bytes, places.at(places.lastIndex)?.sequence ?? 0);
    expect(bytes.subarray(end).includes("entry ")).toBe(true);
    await again.log.close();
  });

  test("keeps entries below a cut and takes new ones in their place", async () => {
    const disk = quickDisk();
    const { log } = await openLog(disk);
    await append(log, { frames: entries(1, 10, 1) });
    await append(log, { truncateFrom: 6, frames: [] });
    expect(log.places.lastIndex).toBe(5);
    await append(log, { frames: entries(6, 7, 2) });
    await append(log, { frames: [entry(3, 3)] });
    expect(await contents(log)).toEqual(["1/1 entry 1", "2/1 entry 2", "3/3 entry 3"]);
    await append(log, { truncateFrom: 1, frames: [] });
    expect(log.places.isEmpty).toBe(true);
    await append(log, { frames: entries(900, 902, 4) });
    await log.close();
    const again = await openLog(disk);
    expect(await contents(again.log)).toEqual([
      "900/4 entry 900",
      "901/4 entry 901",
      "902/4 entry 902",
    ]);
    await again.log.close();
  });

  test("says how far it may be given up while enough of it stays", async () => {
    const { log } = await openLog(quickDisk());
    await append(log, { frames: entries(1, 400, 1) });
    const kept = log.indexBehind(2 * smallFiles.fileBytes);
    expect(kept).toBeGreaterThan(200);
    expect(kept).toBeLessThan(400);
    expect(log.indexBehind(1_000_000_000)).toBe(0);
    await log.close();
  });

  test("refuses to read a damaged entry, and names its file and position", async () => {
    const disk = quickDisk();
    const { log } = await openLog(disk);
    await append(log, { frames: entries(1, 20, 1) });
    const place = log.places.at(7);
    if (place === undefined) throw new Error("entry 7 is not held");
    const path = `raft/${raftFileName(place.sequence)}`;
    disk.corrupt(path, place.position + 66, 3);
    await expect(log.read(7, 1)).rejects.toThrow(DamageError);
    await expect(log.read(1, 100_000)).rejects.toMatchObject({
      file: path,
      position: place.position,
    });
    expect(await log.read(8, 1)).toHaveLength(1);
    await log.close();
  });

  test("reads what is written, and nothing of what is not", async () => {
    const disk = quickDisk();
    const { log } = await openLog(disk);
    await append(log, { frames: entries(1, 3, 1) });
    disk.onCall = ({ operation }) => (operation === "write" ? { hangs: true } : "ok");
    void append(log, { frames: entries(4, 30, 1) });
    await settled();
    expect(await log.read(2, 100_000)).toHaveLength(2);
    expect(await log.read(4, 100_000)).toEqual([]);
  });
});

describe("a Raft log whose disk fails", () => {
  test.each(["write", "sync"] as const)(
    "acknowledges nothing after a failed %s",
    async (operation) => {
      for (const unsynced of ["kept", "lost"] as const) {
        const disk = quickDisk();
        const { log, failures } = await openLog(disk);
        await append(log, { frames: [entry(1, 1)] });
        disk.onCall = (call) => (call.operation === operation ? { fault: "io", unsynced } : "ok");
        let ackedCount = 0;
        for (let index = 2; index <= 10; index += 1) {
          log.append({ frames: [entry(index, 1)] }, () => {
            ackedCount += 1;
          });
        }
        await settled();
        disk.onCall = undefined;
        log.append({ frames: [entry(11, 1)] }, () => {
          ackedCount += 1;
        });
        await settled();
        expect(ackedCount).toBe(0);
        expect(failures).toHaveLength(1);
        expect(await outcomeOf(log.close())).toBe("resolved");
      }
    },
  );

  test("fails once if the next file can't be prepared", async () => {
    const disk = quickDisk();
    const { log, failures } = await openLog(disk);
    disk.onCall = (call) => (call.operation === "create" ? "io" : "ok");
    void append(log, { frames: entries(1, 400, 1) });
    await settled();
    expect(failures).toHaveLength(1);
    expect(await outcomeOf(log.close())).toBe("resolved");
  });

  test("can be closed when the failure comes during the close", async () => {
    const disk = slowDisk();
    const { log, failures } = await openLog(disk);
    void append(log, { frames: [entry(1, 1)] });
    disk.onCall = (call) => (call.operation === "sync" ? "io" : "ok");
    const closing = log.close();
    expect(await outcomeOf(closing)).toBe("resolved");
    expect(failures).toHaveLength(1);
  });

  test("makes durable what a failed sync left in the cache before it promises it again", async () => {
    for (const mode of ["kill", "lose-unsynced"] as const) {
      const disk = quickDisk();
      const { log } = await openLog(disk);
      await append(log, { hardState: { term: 1, vote: "a" }, frames: entries(1, 5, 1) });
      disk.onCall = (call) =>
        call.operation === "sync" ? { fault: "io", unsynced: "kept" } : "ok";
      void append(log, { hardState: { term: 2, vote: "b" }, frames: entries(6, 8, 2) });
      await settled();
      const restarted = disk.crash(mode);
      restarted.onCall = undefined;
      const second = await openLog(restarted);
      const held = await contents(second.log);
      expect(held.length).toBeGreaterThanOrEqual(5);
      await append(second.log, { frames: [entry(held.length + 1, 3)] });
      const third = await openLog(restarted.crash("lose-unsynced"));
      expect(third.hardState).toEqual(second.hardState);
      expect(await contents(third.log)).toEqual([
        ...held,
        `${String(held.length + 1)}/3 entry ${String(held.length + 1)}`,
      ]);
      await third.log.close();
    }
  });

  test("waits while the disk is full, and goes on when space returns", async () => {
    const disk = quickDisk(1, { capacityBytes: 3 * smallFiles.fileBytes });
    const { log, failures, clock } = await openLog(disk);
    let isAcked = false;
    log.append({ frames: entries(1, 400, 1) }, () => {
      isAcked = true;
    });
    for (let tries = 0; tries < 5; tries += 1) {
      await settled();
      clock.advance(smallFiles.fullRetryMs);
    }
    expect(isAcked).toBe(false);
    disk.capacityBytes = 1_000_000;
    for (let tries = 0; tries < 30; tries += 1) {
      await settled();
      clock.advance(smallFiles.fullRetryMs);
    }
    expect(isAcked).toBe(true);
    expect(failures).toEqual([]);
    await log.close();
    const again = await openLog(disk);
    expect(again.log.places.lastIndex).toBe(400);
    await again.log.close();
  });

  test("holds no more open files for every try while the disk is full", async () => {
    const disk = quickDisk(1, { capacityBytes: 3 * smallFiles.fileBytes });
    const counted = countingOpenFiles(disk);
    const { log, clock } = await openLog(counted.disk);
    void append(log, { frames: entries(1, 400, 1) });
    await settled();
    const before = counted.openCount();
    for (let tries = 0; tries < 20; tries += 1) {
      clock.advance(smallFiles.fullRetryMs);
      await settled();
    }
    expect(counted.openCount()).toBeLessThanOrEqual(before + 1);
  });

  test("closes the small file that a large frame's file replaces", async () => {
    const counted = countingOpenFiles(quickDisk());
    const { log } = await openLog(counted.disk);
    const large = "x".repeat(2 * smallFiles.fileBytes);
    for (let index = 1; index <= 10; index += 1) {
      await append(log, { frames: [entry(index, 1, large)] });
      await settled();
    }
    await log.close();
    expect(counted.openCount()).toBe(0);
  });

  test("can be closed while the disk is full", async () => {
    const disk = quickDisk(1, { capacityBytes: 3 * smallFiles.fileBytes });
    const { log, clock } = await openLog(disk);
    let isAcked = false;
    log.append({ frames: entries(1, 400, 1) }, () => {
      isAcked = true;
    });
    await settled();
    const closing = outcomeOf(log.close());
    clock.advance(smallFiles.fullRetryMs);
    await settled();
    clock.advance(smallFiles.fullRetryMs);
    expect(await closing).toBe("resolved");
    expect(isAcked).toBe(false);
  });
});

function appendOf(
  what: { add?: number; cut?: number; overwrite?: number; vote?: string },
  model: JournalModel,
  nextTerm: () => number,
): RaftLogAppend | undefined {
  const { lastIndex, hardState } = model;
  if (what.add !== undefined) {
    return { frames: entries(lastIndex + 1, lastIndex + what.add, nextTerm()) };
  }
  if (what.vote !== undefined) {
    return { hardState: { term: hardState.term + 1, vote: what.vote }, frames: [] };
  }
  if (what.cut !== undefined) {
    if (what.cut > lastIndex) return undefined;
    return { truncateFrom: lastIndex - what.cut + 1, frames: [] };
  }
  const from = lastIndex - (what.overwrite ?? 0);
  return from < 1 ? undefined : { frames: entries(from, from + 2, nextTerm()) };
}
