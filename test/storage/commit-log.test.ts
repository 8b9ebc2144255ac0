import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { CommitLogState } from "../../src/storage/commit-log.js";
import { DamageError } from "../../src/storage/damage.js";
import type { Disk } from "../../src/storage/disk.js";
import { readWholeFile, syncFile, writeAll } from "../../src/storage/disk.js";
import { frameBytes, frameHeaderBytes } from "../../src/storage/frame.js";
import { NodeDisk } from "../../src/storage/node-disk.js";
import { indexName, storeName } from "../../src/storage/segment.js";
import type { SimulatedDisk } from "../../src/testing/simulated-disk.js";
import {
  add,
  openCommitLog,
  readAll,
  segmentBytes,
  smallLog,
  uncached,
  valuesOf,
} from "./commit-log-bench.js";
import {
  countingOpenFiles,
  outcomeOf,
  quickDisk,
  settled,
  slowDisk,
  unevenDisk,
} from "./simulated.js";

async function withDirectory(run: (disk: Disk) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "proglog-commit-log-"));
  try {
    await run(new NodeDisk(directory));
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** All files of the log but the indexes, which are derived. */
async function stores(disk: Disk): Promise<Map<string, string>> {
  const names = (await disk.list("log")).filter((name) => name.endsWith(".log"));
  const found = new Map<string, string>();
  for (const name of names) {
    found.set(name, (await readWholeFile(disk, `log/${name}`)).toString("latin1"));
  }
  return found;
}

/** A log of several segments, closed; what a checkpoint at its end would name. */
async function filled(disk: Disk, batches = 60): Promise<CommitLogState> {
  const { log } = await openCommitLog(disk);
  for (let batch = 0; batch < batches; batch += 1) add(log, 1 + (batch % 7), 1000 + batch * 10);
  const state = log.state();
  await log.sync();
  await log.close();
  return state;
}

async function put(disk: Disk, path: string, bytes: Buffer): Promise<void> {
  const [directory = "", name = ""] = path.split("/");
  if ((await disk.list(directory)).includes(name)) await disk.remove(path);
  const file = await disk.create(path);
  await writeAll(file, 0, bytes);
  await syncFile(file);
  await file.close();
  await disk.syncDirectory(directory);
}

const disks: [string, (run: (disk: Disk) => Promise<void>) => Promise<void>][] = [
  ["a SimulatedDisk", (run) => run(quickDisk())],
  ["a NodeDisk", withDirectory],
];

describe.each(disks)("a commit log on %s", (_name, onDisk) => {
  test("gives every record its offset back, from memory and from the disk", async () => {
    await onDisk(async (disk) => {
      const { log } = await openCommitLog(disk);
      expect(await log.read(0, 100)).toEqual([]);
      for (let batch = 0; batch < 80; batch += 1) {
        expect(add(log, 1 + (batch % 5))).toBe(log.endOffset - 1 - (batch % 5));
      }
      expect(await readAll(log, 0)).toBe(log.endOffset);
      await log.sync();
      const state = log.state();
      await log.close();
      const again = await openCommitLog(disk, state, uncached);
      expect(again.log.endOffset).toBe(log.endOffset);
      for (let offset = 0; offset < log.endOffset; offset += 1) {
        const batches = await again.log.read(offset, 1);
        expect(batches[0]?.offset).toBe(offset);
        expect(valuesOf(batches).length).toBeGreaterThan(0);
      }
      expect(await readAll(again.log, 0, 100_000)).toBe(log.endOffset);
      expect(await again.log.read(log.endOffset, 1)).toEqual([]);
      await again.log.close();
    });
  });

  test("goes on after a reopen where it was, with the same bytes as one that never stopped", async () => {
    await onDisk(async (disk) => {
      const { log } = await openCommitLog(disk);
      for (let batch = 0; batch < 30; batch += 1) add(log, 3);
      await log.sync();
      const state = log.state();
      await log.close();
      const again = await openCommitLog(disk, state);
      for (let batch = 30; batch < 60; batch += 1) add(again.log, 3);
      await again.log.close();
      const straight = quickDisk();
      const other = await openCommitLog(straight);
      for (let batch = 0; batch < 60; batch += 1) add(other.log, 3);
      await other.log.close();
      expect(await stores(disk)).toEqual(await stores(straight));
      expect(again.log.state()).toEqual(other.log.state());
    });
  });
});

describe("a commit log", () => {
  test("reads any range as a list of the same records would", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 40 }),
        fc.array(fc.tuple(fc.nat(), fc.nat(5000)), { maxLength: 20 }),
        fc.constantFrom(0, 500, 100_000),
        async (counts, reads, tailCacheBytes) => {
          const { log } = await openCommitLog(quickDisk(), undefined, { tailCacheBytes });
          for (const count of counts) add(log, count);
          for (const [from, bytesMax] of reads) {
            const offset = from % log.endOffset;
            const batches = await log.read(offset, bytesMax);
            const values = valuesOf(batches);
            expect(batches[0]?.offset).toBe(offset);
            expect(values.length).toBeGreaterThan(0);
            const bytes = batches.reduce((sum, batch) => sum + batch.records.length, 0);
            if (batches.length > 1) expect(bytes).toBeLessThanOrEqual(bytesMax + 30 * 185);
            await settled(1);
          }
          await log.close();
        },
      ),
      { numRuns: 60 },
    );
  });

  test("drops the records before the offset from the first batch", async () => {
    for (const options of [{}, uncached]) {
      const { log } = await openCommitLog(quickDisk(), undefined, options);
      add(log, 10);
      await log.sync();
      for (let offset = 0; offset < 10; offset += 1) {
        const [batch] = await log.read(offset, 10_000);
        expect(batch?.offset).toBe(offset);
        expect(batch?.count).toBe(10 - offset);
        expect(valuesOf(batch === undefined ? [] : [batch])).toHaveLength(10 - offset);
      }
      await log.close();
    }
  });

  test("ends segments by the records alone, whatever the disk does", async () => {
    const pictures = new Set<string>();
    for (const disk of [quickDisk(1), slowDisk(2), unevenDisk(3), unevenDisk(4)]) {
      const { log } = await openCommitLog(disk);
      for (let batch = 0; batch < 100; batch += 1) {
        add(log, 1 + (batch % 9));
        if (batch % 13 === 0) await settled(batch % 3);
        if (batch % 31 === 0) await log.sync();
      }
      const state = log.state();
      await log.close();
      pictures.add(JSON.stringify([state, [...(await stores(disk))]]));
      for (const { bytes } of state.segments) expect(bytes).toBeLessThanOrEqual(segmentBytes);
      expect(state.segments.length).toBeGreaterThan(4);
    }
    expect(pictures.size).toBe(1);
  });

  test("gives a batch larger than a segment a segment of its own", async () => {
    const { log } = await openCommitLog(quickDisk());
    add(log, 2);
    add(log, 300);
    add(log, 2);
    await log.sync();
    expect(log.state().segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 2, 302]);
    expect(await readAll(log, 0)).toBe(log.endOffset);
    await log.close();
  });

  test("finds records by offset whatever becomes of its index files", async () => {
    const disk = quickDisk();
    const state = await filled(disk);
    const sealed = state.segments.slice(0, -1);
    expect(sealed.length).toBeGreaterThan(1);
    const other = quickDisk();
    await filled(other, 300);
    const [first] = sealed;
    if (first === undefined) throw new Error("a segment is sealed");
    const stale = await readWholeFile(disk, `log/${indexName(first.baseOffset)}`);
    const spoilers: [string, (index: Buffer) => Buffer | undefined][] = [
      ["deleted", () => undefined],
      ["empty", () => Buffer.alloc(0)],
      ["cut in its header", (index) => index.subarray(0, 20)],
      ["cut in its pairs", (index) => index.subarray(0, index.length - 3)],
      ["of noise", (index) => Buffer.alloc(index.length, 0xa7)],
      ["with a bit flipped", (index) => flipped(index, index.length - 1)],
      ["of another segment", () => stale],
      ["with something after its end", (index) => Buffer.concat([index, Buffer.alloc(8)])],
    ];
    for (const [what, spoil] of spoilers) {
      const spoilt = disk.fork("lose-unsynced");
      for (const { baseOffset } of sealed) {
        const path = `log/${indexName(baseOffset)}`;
        const index = spoil(await readWholeFile(spoilt, path));
        if (index === undefined) await spoilt.remove(path);
        else await put(spoilt, path, index);
      }
      const { log } = await openCommitLog(spoilt, state, uncached);
      for (let offset = 0; offset < log.endOffset; offset += 5) {
        expect((await log.read(offset, 1))[0]?.offset, what).toBe(offset);
      }
      expect(await readAll(log, 0), what).toBe(state.endOffset);
      await log.close();
    }
  });

  test("makes an index anew that was made for other bytes of the same length", async () => {
    const disk = quickDisk();
    const { log } = await openCommitLog(disk);
    for (let batch = 0; batch < 5; batch += 1) add(log, 20);
    await log.close();
    const otherDisk = quickDisk();
    const other = await openCommitLog(otherDisk);
    for (const count of [40, 10, 10, 20, 20]) add(other.log, count);
    const state = other.log.state();
    expect(state.segments[0]?.bytes).toBe(log.state().segments[0]?.bytes);
    await other.log.sync();
    await other.log.close();
    const path = `log/${indexName(0)}`;
    await put(otherDisk, path, await readWholeFile(disk, path));
    const again = await openCommitLog(otherDisk, state, uncached);
    for (let offset = 0; offset < 80; offset += 1) {
      expect((await again.log.read(offset, 1))[0]?.offset).toBe(offset);
    }
    await again.log.close();
  });

  test("cuts itself back to a checkpoint, and the same records make the same bytes again", async () => {
    const straight = quickDisk();
    const { log } = await openCommitLog(straight);
    const states: CommitLogState[] = [log.state()];
    for (let batch = 0; batch < 50; batch += 1) {
      add(log, 1 + (batch % 6));
      states.push(log.state());
    }
    await log.sync();
    await log.close();
    const wanted = await stores(straight);
    for (const [done, state] of states.entries()) {
      const disk = straight.fork("lose-unsynced");
      const again = await openCommitLog(disk, state);
      expect(again.log.endOffset).toBe(state.endOffset);
      expect(again.log.state()).toEqual(state);
      for (let batch = done; batch < 50; batch += 1) add(again.log, 1 + (batch % 6));
      await again.log.close();
      expect(await stores(disk)).toEqual(wanted);
    }
  });

  test("is whole after a power cut as far as it was synced", async () => {
    for (let seed = 0; seed < 20; seed += 1) {
      const disk = unevenDisk(seed);
      const { log } = await openCommitLog(disk);
      for (let batch = 0; batch < 20 + seed; batch += 1) add(log, 3);
      const state = log.state();
      const syncing = log.sync();
      for (let batch = 0; batch < 20; batch += 1) add(log, 3);
      await syncing;
      const again = await openCommitLog(disk.crash("tear"), state, uncached);
      expect(await readAll(again.log, 0)).toBe(state.endOffset);
      await again.log.close();
    }
  });

  test("opens what any checkpoint names after a power cut at any call", async () => {
    for (const mode of ["lose-unsynced", "keep-some", "tear"] as const) {
      let isDone = false;
      for (let ordinal = 0; !isDone; ordinal += 1) {
        const disk = unevenDisk(ordinal);
        disk.onCall = (call) => ({ hangs: call.ordinal >= ordinal });
        let checkpoint: CommitLogState = { segments: [], endOffset: 0 };
        const work = async (): Promise<void> => {
          const { log } = await openCommitLog(disk);
          for (let round = 0; round < 6; round += 1) {
            for (let batch = 0; batch < 8; batch += 1) add(log, 1 + (batch % 7));
            const state = log.state();
            await log.sync();
            checkpoint = state;
          }
          await log.close();
          isDone = true;
        };
        void work();
        await settled(3);
        const after = disk.crash(mode);
        after.onCall = undefined;
        const { log } = await openCommitLog(after, checkpoint, uncached).catch((error: unknown) => {
          throw new Error(`call ${String(ordinal)}, ${mode}: ${String(error)}`);
        });
        expect(await readAll(log, 0)).toBe(checkpoint.endOffset);
        add(log, 5);
        await log.sync();
        expect(await readAll(log, 0)).toBe(checkpoint.endOffset + 5);
        await log.close();
      }
    }
  });

  test("holds the old state or the new after a power cut at any call of an install", async () => {
    const source = quickDisk();
    const donor = await openCommitLog(source);
    for (let batch = 0; batch < 120; batch += 1) add(donor.log, 4);
    const snapshot = donor.log.state();
    await donor.log.close();
    for (const mode of ["lose-unsynced", "keep-some", "tear"] as const) {
      let isDone = false;
      for (let ordinal = 0; !isDone; ordinal += 1) {
        const disk = unevenDisk(ordinal);
        const { log } = await openCommitLog(disk);
        for (let batch = 0; batch < 50; batch += 1) add(log, 4);
        const own = log.state();
        await log.sync();
        const held = new Set(own.segments.slice(0, -1).map(({ baseOffset }) => baseOffset));
        const missing = snapshot.segments.map(({ baseOffset }) => baseOffset);
        const fetched = new Set(missing.filter((baseOffset) => !held.has(baseOffset)));
        await disk.makeDirectory("incoming");
        for (const baseOffset of fetched) {
          const name = storeName(baseOffset);
          await put(disk, `incoming/${name}`, await readWholeFile(source, `log/${name}`));
        }
        await disk.syncDirectory("incoming");
        await disk.syncDirectory("");
        const start = disk.callCount;
        disk.onCall = (call) => ({ hangs: call.ordinal >= start + ordinal });
        void log.install(snapshot, "incoming", fetched).then(() => {
          isDone = true;
        });
        await settled(3);
        disk.onCall = undefined;
        if (isDone) expect(await readAll(log, 0)).toBe(snapshot.endOffset);
        const after = disk.crash(mode);
        for (const state of isDone ? [snapshot, own] : [own]) {
          const again = await openCommitLog(after.fork(), state, uncached);
          expect(await readAll(again.log, 0)).toBe(state.endOffset);
          expect(again.log.state()).toEqual(state);
          await again.log.close();
        }
      }
    }
  });

  test("syncs what it was asked to under a stream of appends that never pauses", async () => {
    const disk = slowDisk();
    const { log } = await openCommitLog(disk);
    add(log, 1);
    const state = log.state();
    const syncing = log.sync();
    let isSynced = false;
    void syncing.then(() => {
      isSynced = true;
    });
    for (let turn = 0; turn < 100 && !isSynced; turn += 1) {
      for (let batch = 0; batch < 5; batch += 1) add(log, 10);
      await settled(1);
    }
    expect(isSynced).toBe(true);
    const again = await openCommitLog(disk.crash("lose-unsynced"), state);
    expect(again.log.endOffset).toBe(1);
    await again.log.close();
  });

  test("waits a little for more to write, unless there is enough or it is wanted durable", async () => {
    const disk = quickDisk();
    const { log, clock } = await openCommitLog(disk, undefined, { writeBytesMin: 2000 });
    const writtenBytes = async (): Promise<number> => {
      await settled();
      return disk.snapshotBytes(`log/${storeName(0)}`)?.length ?? 0;
    };
    add(log, 1);
    expect(await writtenBytes()).toBe(0);
    expect(await readAll(log, 0)).toBe(1);
    clock.advance(smallLog.writeDelayMs);
    await settled();
    clock.advance(smallLog.writeDelayMs);
    const first = await writtenBytes();
    expect(first).toBe(log.state().segments[0]?.bytes);
    add(log, 1);
    expect(await writtenBytes()).toBe(first);
    add(log, 20);
    expect(await writtenBytes()).toBe(log.state().segments[0]?.bytes);
    add(log, 1);
    await log.sync();
    expect(await writtenBytes()).toBe(log.state().segments[0]?.bytes);
    add(log, 1);
    await log.close();
    expect(await writtenBytes()).toBe(log.state().segments[0]?.bytes);
    expect(clock.pendingCount).toBe(0);
  });

  test("finds the first record that is not older than a time", async () => {
    for (const options of [{}, uncached, { tailCacheBytes: 100_000 }]) {
      const disk = quickDisk();
      const { log } = await openCommitLog(disk, undefined, options);
      const firsts: { readonly offset: number; readonly timestampMs: number }[] = [];
      for (let batch = 0; batch < 90; batch += 1) {
        const timestampMs = 1000 + 10 * Math.floor(batch / 2);
        firsts.push({ offset: add(log, 4, timestampMs), timestampMs });
      }
      const wanted = (timestampMs: number): number =>
        firsts.find((first) => first.timestampMs >= timestampMs)?.offset ?? log.endOffset;
      for (let time = 995; time < 1500; time += 5) {
        expect(await log.offsetAt(time), `at ${String(time)}`).toBe(wanted(time));
      }
      await log.sync();
      const state = log.state();
      await log.close();
      const again = await openCommitLog(disk, state, options);
      for (let time = 995; time < 1500; time += 5) {
        expect(await again.log.offsetAt(time), `at ${String(time)}`).toBe(wanted(time));
      }
      await again.log.close();
    }
  });

  test("finds a time among records that are not written yet", async () => {
    const disk = quickDisk();
    const { log } = await openCommitLog(disk);
    expect(await log.offsetAt(5)).toBe(0);
    for (let batch = 0; batch < 10; batch += 1) add(log, 30, 1000 + batch);
    disk.onCall = ({ operation }) => (operation === "write" ? { hangs: true } : "ok");
    for (let batch = 10; batch < 40; batch += 1) add(log, 30, 1000 + batch);
    for (let batch = 0; batch < 40; batch += 1) {
      expect(await log.offsetAt(1000 + batch)).toBe(30 * batch);
    }
    expect(await log.offsetAt(5000)).toBe(log.endOffset);
  });

  test("keeps in memory what is not written, whatever the bound, and reads it", async () => {
    const disk = quickDisk();
    const { log } = await openCommitLog(disk, undefined, uncached);
    add(log, 5);
    await log.sync();
    disk.onCall = ({ operation }) => (operation === "write" ? { hangs: true } : "ok");
    for (let batch = 0; batch < 200; batch += 1) add(log, 5);
    await settled();
    expect(await readAll(log, 0)).toBe(log.endOffset);
    expect(log.isBehind).toBe(true);
  });

  test("keeps few stores open, even for many readers at once", async () => {
    const disk = quickDisk();
    const state = await filled(disk, 400);
    expect(state.segments.length).toBeGreaterThan(12);
    const counted = countingOpenFiles(disk);
    const { log } = await openCommitLog(counted.disk, state, uncached);
    for (let round = 0; round < 3; round += 1) await readAll(log, 0);
    expect(counted.openCountMax()).toBeLessThanOrEqual(smallLog.openFilesMax + 3);
    await Promise.all(
      state.segments.flatMap(({ baseOffset }) => [
        readAll(log, baseOffset, 100_000),
        log.offsetAt(1000 + baseOffset),
      ]),
    );
    await readAll(log, 0);
    expect(counted.openCount()).toBeLessThanOrEqual(smallLog.openFilesMax + 3);
    await log.close();
    expect(counted.openCount()).toBe(0);
  });
});

describe("a damaged commit log", () => {
  /** A log of several segments, its bytes on a disk that can be forked. */
  async function durable(
    disk = quickDisk(),
  ): Promise<{ disk: SimulatedDisk; state: CommitLogState }> {
    const state = await filled(disk);
    return { disk: disk.crash("lose-unsynced"), state };
  }

  test("says so on a read, by file and position, and never serves or cuts it", async () => {
    const { disk, state } = await durable();
    for (const { baseOffset, bytes } of state.segments.slice(0, -1)) {
      const path = `log/${storeName(baseOffset)}`;
      const whole = disk.snapshotBytes(path);
      for (let at = 0; at < bytes; at += 61) {
        const damaged = disk.fork("lose-unsynced");
        damaged.corrupt(path, at, at % 8);
        const { log } = await openCommitLog(damaged, state, uncached);
        const outcome: unknown = await readAll(log, 0).then(
          () => "read",
          (error: unknown) => error,
        );
        if (isPadding(whole ?? Buffer.alloc(0), at)) continue;
        expect(outcome, `${path} at ${String(at)}`).toBeInstanceOf(DamageError);
        const { file, position } = outcome as DamageError;
        expect(file).toBe(path);
        expect(position).toBeLessThanOrEqual(at);
        expect(await readAll(log, nextBase(state, baseOffset))).toBe(state.endOffset);
        await log.close();
        expect(damaged.snapshotBytes(path)?.length).toBe(whole?.length);
      }
    }
  });

  test("is refused at the start if its active segment is not what the checkpoint names", async () => {
    const { disk, state } = await durable();
    const active = state.segments.at(-1);
    if (active === undefined) throw new Error("a segment is active");
    const path = `log/${storeName(active.baseOffset)}`;
    const spoilers: [string, (spoilt: SimulatedDisk) => void][] = [
      [
        "shorter",
        (spoilt) => {
          spoilt.truncateFile(path, active.bytes - 1);
        },
      ],
      [
        "empty",
        (spoilt) => {
          spoilt.truncateFile(path, 0);
        },
      ],
      [
        "flipped",
        (spoilt) => {
          spoilt.corrupt(path, active.bytes >> 1, 2);
        },
      ],
      [
        "zeroed",
        (spoilt) => {
          spoilt.zero(path, 0, frameHeaderBytes);
        },
      ],
    ];
    for (const [what, spoil] of spoilers) {
      const spoilt = disk.fork("lose-unsynced");
      spoil(spoilt);
      const before = await stores(spoilt);
      await expect(openCommitLog(spoilt, state), what).rejects.toThrow(DamageError);
      expect(await stores(spoilt), what).toEqual(before);
    }
  });

  test("is refused at the start if a segment is missing or short, and nothing is removed", async () => {
    const { disk, state } = await durable();
    for (const { baseOffset, bytes } of state.segments) {
      const path = `log/${storeName(baseOffset)}`;
      const without = disk.fork("lose-unsynced");
      await without.remove(path);
      await put(without, `log/${storeName(999_999)}`, Buffer.from("of no checkpoint"));
      const before = await stores(without);
      await expect(openCommitLog(without, state)).rejects.toMatchObject({ file: path });
      expect(await stores(without)).toEqual(before);
      const short = disk.fork("lose-unsynced");
      short.truncateFile(path, bytes - 8);
      await expect(openCommitLog(short, state)).rejects.toMatchObject({ file: path });
    }
  });

  test("is noticed when a file is cut short while the log is open", async () => {
    const { disk, state } = await durable(slowDisk());
    const { log } = await openCommitLog(disk, state, uncached);
    const [first] = state.segments;
    if (first === undefined) throw new Error("a segment is there");
    for (const bytes of [first.bytes - 1, first.bytes - 100, 10, 0]) {
      disk.truncateFile(`log/${storeName(0)}`, bytes);
      const outcome = await outcomeOf(log.read(first.endOffset - 1, 100));
      expect(outcome, `cut to ${String(bytes)}`).toBeInstanceOf(DamageError);
    }
    await log.close();
  });

  test("is noticed where an older block of the same segment lies in a newer one's place", async () => {
    const disk = quickDisk();
    const { log } = await openCommitLog(disk);
    for (let batch = 0; batch < 60; batch += 1) add(log, 2);
    const state = log.state();
    await log.sync();
    await log.close();
    const path = `log/${storeName(0)}`;
    const bytes = disk.snapshotBytes(path) ?? Buffer.alloc(0);
    const frame = frameBytes(0, 2 * 185);
    const file = await disk.open(path);
    await writeAll(file, 5 * frame, bytes.subarray(2 * frame, 3 * frame));
    await syncFile(file);
    await file.close();
    const again = await openCommitLog(disk, state, uncached);
    await expect(readAll(again.log, 0)).rejects.toThrow(DamageError);
    await expect(readAll(again.log, 0, 100_000)).rejects.toThrow(DamageError);
    await again.log.close();
  });
});

describe("a commit log whose disk fails", () => {
  test("waits while the disk is full, serves what it took, and goes on by itself", async () => {
    const disk = quickDisk(1, { capacityBytes: 10_000 });
    const { log, failures, clock } = await openCommitLog(disk, undefined, uncached);
    for (let batch = 0; batch < 100; batch += 1) add(log, 5);
    await settled();
    expect(log.isFull).toBe(true);
    expect(await readAll(log, 0)).toBe(log.endOffset);
    expect(await outcomeOf(log.sync())).not.toBe("resolved");
    disk.capacityBytes = 1_000_000;
    for (let tries = 0; tries < 10; tries += 1) {
      clock.advance(smallLog.fullRetryMs);
      await settled();
    }
    expect(log.isFull).toBe(false);
    const state = log.state();
    await log.sync();
    expect(failures).toEqual([]);
    await log.close();
    const straight = quickDisk();
    const other = await openCommitLog(straight);
    for (let batch = 0; batch < 100; batch += 1) add(other.log, 5);
    await other.log.close();
    expect(await stores(disk)).toEqual(await stores(straight));
    const again = await openCommitLog(disk, state, uncached);
    expect(await readAll(again.log, 0)).toBe(state.endOffset);
    await again.log.close();
  });

  test("can be closed while the disk is full", async () => {
    const disk = quickDisk(1, { capacityBytes: 6000 });
    const { log } = await openCommitLog(disk);
    for (let batch = 0; batch < 100; batch += 1) add(log, 5);
    expect(await outcomeOf(log.close())).toBe("resolved");
  });

  test.each(["write", "sync", "create"] as const)(
    "stops for good after a failed %s",
    async (operation) => {
      const disk = quickDisk();
      const { log, failures } = await openCommitLog(disk);
      add(log, 5);
      await log.sync();
      disk.onCall = (call) => (call.operation === operation ? "io" : "ok");
      for (let batch = 0; batch < 60; batch += 1) add(log, 5);
      expect(await outcomeOf(log.sync())).toBeInstanceOf(Error);
      disk.onCall = undefined;
      expect(await outcomeOf(log.sync())).toBeInstanceOf(Error);
      expect(failures).toHaveLength(1);
      expect(await outcomeOf(log.close())).toBe("resolved");
    },
  );
});

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

function nextBase(state: CommitLogState, baseOffset: number): number {
  return state.segments.find((ref) => ref.baseOffset === baseOffset)?.endOffset ?? 0;
}

/** True for the zeros that fill a frame up to a multiple of 8 bytes. */
function isPadding(bytes: Buffer, position: number): boolean {
  let at = 0;
  while (at + frameHeaderBytes <= bytes.length) {
    const used = frameHeaderBytes + bytes.readUInt16BE(at + 6) + bytes.readUInt32BE(at + 8);
    const next = at + Math.ceil(used / 8) * 8;
    if (position < next) return position >= at + used;
    at = next;
  }
  return false;
}
