import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { Random } from "../../src/common/random.js";
import { systemClock } from "../../src/common/system.js";
import { readWholeFile, replaceFile, syncFile, writeAll } from "../../src/storage/disk.js";
import type { DiskFile } from "../../src/storage/disk.js";
import { SimulatedDisk, scheduleOn } from "../../src/testing/simulated-disk.js";
import type {
  CrashMode,
  DiskCall,
  DiskVerdict,
  SimulatedDiskOptions,
} from "../../src/testing/simulated-disk.js";
import { diskContract, faultOf } from "../storage/disk-contract.js";

/** A small seeded generator (mulberry32). */
function randomFrom(seed: number): Random {
  let state = seed;
  return {
    next: () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    },
    uuid: () => "00000000-0000-4000-8000-000000000000",
  };
}

function makeDisk(seed = 1, options: Partial<SimulatedDiskOptions> = {}): SimulatedDisk {
  return new SimulatedDisk({
    random: randomFrom(seed),
    schedule: scheduleOn(systemClock),
    ...options,
  });
}

diskContract("a SimulatedDisk", () =>
  Promise.resolve({ disk: makeDisk(), dispose: () => Promise.resolve() }),
);

diskContract("a SimulatedDisk with latency", () =>
  Promise.resolve({
    disk: makeDisk(2, { latencyMsMax: 3, capacityBytes: 1_000_000 }),
    dispose: () => Promise.resolve(),
  }),
);

const powerCuts = ["lose-unsynced", "keep-some", "tear"] as const;

/** A file whose name and first content are durable. */
async function durableFile(disk: SimulatedDisk, path: string, bytes: Buffer): Promise<DiskFile> {
  const file = await disk.create(path);
  await writeAll(file, 0, bytes);
  await syncFile(file);
  await disk.syncDirectory("");
  return file;
}

/** Lets all that could still happen happen. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
}

describe("a crash of a SimulatedDisk", () => {
  test("keeps what was synced and may lose the rest", async () => {
    const fates = new Set<string>();
    for (let seed = 0; seed < 60; seed += 1) {
      const disk = makeDisk(seed);
      const file = await durableFile(disk, "a", Buffer.from("durable"));
      await writeAll(file, 7, Buffer.from(" or not"));
      const after = disk.crash("keep-some");
      fates.add((await readWholeFile(after, "a")).toString().replaceAll("\0", "0"));
    }
    for (const fate of fates) expect(fate.startsWith("durable")).toBe(true);
    expect(fates).toContain("durable");
    expect(fates).toContain("durable or not");
    expect(fates).toContain("durable0000000");
  });

  test("loses every unsynced change if told so, and none if only the process dies", async () => {
    for (const mode of ["lose-unsynced", "kill"] satisfies CrashMode[]) {
      const disk = makeDisk();
      const file = await durableFile(disk, "a", Buffer.from("old"));
      await writeAll(file, 0, Buffer.from("new"));
      await (await disk.create("b")).close();
      const after = disk.crash(mode);
      const isKilled = mode === "kill";
      expect((await readWholeFile(after, "a")).toString()).toBe(isKilled ? "new" : "old");
      expect(await after.list("")).toEqual(isKilled ? ["a", "b"] : ["a"]);
      const later = after.crash("lose-unsynced");
      expect((await readWholeFile(later, "a")).toString()).toBe("old");
      expect(await later.list("")).toEqual(["a"]);
    }
  });

  test("may keep a later sector and lose an earlier one", async () => {
    const patterns = new Set<string>();
    for (let seed = 0; seed < 100; seed += 1) {
      const disk = makeDisk(seed);
      const file = await durableFile(disk, "a", Buffer.alloc(4 * 512));
      await writeAll(file, 0, Buffer.alloc(4 * 512, 1));
      const bytes = await readWholeFile(disk.crash("keep-some"), "a");
      const sectors = [0, 1, 2, 3].map((n) => bytes.subarray(n * 512, (n + 1) * 512));
      for (const sector of sectors) expect(new Set(sector).size).toBe(1);
      patterns.add(sectors.map((sector) => String(sector[0])).join(""));
    }
    expect(patterns).toContain("1111");
    expect(patterns).toContain("0000");
    expect(patterns).toContain("0101");
  });

  test("tears sectors, but never a byte that was synced", async () => {
    let tornCount = 0;
    for (let seed = 0; seed < 60; seed += 1) {
      const disk = makeDisk(seed);
      const file = await durableFile(disk, "a", Buffer.alloc(700, 1));
      await writeAll(file, 700, Buffer.alloc(3000, 2));
      const bytes = await readWholeFile(disk.crash("tear"), "a");
      expect(bytes.subarray(0, 700).equals(Buffer.alloc(700, 1))).toBe(true);
      if (bytes.subarray(700).some((byte) => byte !== 0 && byte !== 2)) tornCount += 1;
    }
    expect(tornCount).toBeGreaterThan(3);
  });

  test("may undo names until their directory is synced", async () => {
    const fates = new Set<string>();
    for (let seed = 0; seed < 60; seed += 1) {
      const disk = makeDisk(seed);
      await durableFile(disk, "a", Buffer.from("a"));
      await durableFile(disk, "b", Buffer.from("b"));
      await disk.rename("a", "b");
      const synced = await disk.create("c");
      await syncFile(synced);
      const after = disk.crash("keep-some");
      const names = await after.list("");
      fates.add(`${names.join("")} ${(await readWholeFile(after, "b")).toString()}`);
    }
    expect([...fates].sort()).toEqual(["ab b", "abc b", "b a", "bc a"]);
  });

  test("undoes no name once its directory is synced", async () => {
    for (const mode of powerCuts) {
      const disk = makeDisk();
      await durableFile(disk, "a", Buffer.from("a"));
      await disk.rename("a", "b");
      await disk.makeDirectory("d/e");
      await disk.syncDirectory("");
      const after = disk.crash(mode);
      expect(await after.list("")).toEqual(["b", "d"]);
      if (mode === "lose-unsynced") expect(await after.list("d")).toEqual([]);
    }
  });

  test("leaves the old or the new bytes after replaceFile at whichever call it strikes", async () => {
    for (let at = 0; at < 9; at += 1) {
      for (const mode of ["kill", ...powerCuts] satisfies CrashMode[]) {
        const disk = makeDisk(at);
        await durableFile(disk, "a", Buffer.from("old"));
        const first = disk.callCount;
        disk.onCall = ({ ordinal }) => ({ hangs: ordinal >= first + at });
        let isDone = false;
        void replaceFile(disk, "a", Buffer.from("new")).then(() => {
          isDone = true;
        });
        await settled();
        const after = disk.crash(mode);
        after.onCall = undefined;
        const text = (await readWholeFile(after, "a")).toString();
        expect(isDone ? ["new"] : ["old", "new"]).toContain(text);
        await replaceFile(after, "a", Buffer.from("newer"));
        expect(after.durableBytes("a")?.toString()).toBe("newer");
      }
    }
  });

  test("silences the disk that is gone, but lets its files be closed", async () => {
    const disk = makeDisk();
    const file = await durableFile(disk, "a", Buffer.from("x"));
    const lock = await disk.lock();
    const answers: string[] = [];
    const hear = (name: string) => (): void => {
      answers.push(name);
    };
    file.write(0, [Buffer.from("y")], hear("write"));
    void file.read(0, 1).then(hear("read"), hear("read"));
    const after = disk.crash();
    file.sync(hear("sync"));
    file.write(0, [Buffer.from("z")], hear("write"));
    void disk.list("").then(hear("list"), hear("list"));
    void file.truncate(0).then(hear("truncate"), hear("truncate"));
    await settled();
    expect(answers).toEqual([]);
    await file.close();
    await lock.release();
    await after.lock();
  });

  test("may let a call in flight take effect", async () => {
    const fates = new Set<string | undefined>();
    for (let seed = 0; seed < 20; seed += 1) {
      const disk = makeDisk(seed);
      const file = await durableFile(disk, "a", Buffer.from("old"));
      await writeAll(file, 0, Buffer.from("new"));
      file.sync(() => undefined);
      fates.add(disk.crash("kill").durableBytes("a")?.toString());
    }
    expect([...fates].sort()).toEqual(["new", "old"]);
  });

  test("is the same for the same seed", async () => {
    const run = async (seed: number): Promise<Buffer> => {
      const disk = makeDisk(seed);
      const file = await durableFile(disk, "a", Buffer.alloc(100, 1));
      await writeAll(file, 50, Buffer.alloc(20_000, 2));
      return await readWholeFile(disk.crash("tear"), "a");
    };
    for (let seed = 0; seed < 10; seed += 1) {
      expect((await run(seed)).equals(await run(seed))).toBe(true);
    }
    expect((await run(1)).equals(await run(2))).toBe(false);
  });

  test("can be looked at without happening", async () => {
    const disk = makeDisk();
    const file = await durableFile(disk, "a", Buffer.from("old"));
    await writeAll(file, 0, Buffer.from("new"));
    expect((await readWholeFile(disk.fork(), "a")).toString()).toBe("old");
    await syncFile(file);
    expect((await readWholeFile(disk.fork(), "a")).toString()).toBe("new");
  });
});

describe("faults of a SimulatedDisk", () => {
  /** Lets one kind of call go wrong. */
  const only =
    (operation: DiskCall["operation"], verdict: DiskVerdict) =>
    (call: DiskCall): DiskVerdict =>
      call.operation === operation ? verdict : "ok";

  test("leave alone what was written and synced anew after a failed sync", async () => {
    for (let seed = 1; seed <= 200; seed += 1) {
      let disk = makeDisk(seed);
      const before = await durableFile(disk, "file", Buffer.alloc(2048, 1));
      await writeAll(before, 100, Buffer.alloc(1500, 2));
      disk.onCall = ({ operation }) =>
        operation === "sync" ? { fault: "io", unsynced: "kept" } : "ok";
      await expect(syncFile(before)).rejects.toThrow();
      disk.onCall = undefined;
      disk = disk.crash("kill");
      const after = await disk.open("file");
      await writeAll(after, 600, Buffer.alloc(700, 3));
      await syncFile(after);
      const bytes = await readWholeFile(disk.crash("tear"), "file");
      expect(bytes.subarray(600, 1300).equals(Buffer.alloc(700, 3))).toBe(true);
    }
  });

  test("make a failed sync final, whatever readers see after it", async () => {
    for (const unsynced of ["kept", "lost"] as const) {
      const disk = makeDisk();
      const file = await durableFile(disk, "a", Buffer.from("old"));
      await writeAll(file, 0, Buffer.from("new"));
      disk.onCall = only("sync", { fault: "full", unsynced });
      await expect(syncFile(file)).rejects.toThrow("sync a: io");
      disk.onCall = undefined;
      expect(await faultOf(syncFile(file))).toBe("io");
      expect(await faultOf(writeAll(file, 0, Buffer.from("x")))).toBe("io");
      expect(await faultOf(file.truncate(0))).toBe("io");
      // A sync through another handle succeeds, and does not cover what the first one lost.
      const other = await disk.open("a");
      await syncFile(other);
      const seen = (await readWholeFile(disk, "a")).toString();
      expect(seen).toBe(unsynced === "kept" ? "new" : "old");
      expect((await readWholeFile(disk.crash("lose-unsynced"), "a")).toString()).toBe("old");
    }
  });

  test("fail a write after a part of it", async () => {
    const sizes = new Set<number>();
    for (let seed = 0; seed < 20; seed += 1) {
      const disk = makeDisk(seed);
      const file = await durableFile(disk, "a", Buffer.from(""));
      disk.onCall = only("write", "io");
      expect(await faultOf(writeAll(file, 0, Buffer.from("12345")))).toBe("io");
      disk.onCall = undefined;
      const text = (await readWholeFile(disk, "a")).toString();
      expect("12345".startsWith(text)).toBe(true);
      sizes.add(text.length);
      await writeAll(file, 0, Buffer.from("12345"));
    }
    expect(sizes.size).toBeGreaterThan(2);
  });

  test("fail reads and cold calls", async () => {
    const disk = makeDisk();
    const file = await durableFile(disk, "a", Buffer.from("x"));
    disk.onCall = (call) => (call.operation === "read" && call.position === 0 ? "io" : "ok");
    expect(await faultOf(file.read(0, 1))).toBe("io");
    expect((await file.read(1, 1)).length).toBe(0);
    disk.onCall = () => "denied";
    expect(await faultOf(disk.create("b"))).toBe("denied");
    disk.onCall = undefined;
    expect(await disk.list("")).toEqual(["a"]);
  });

  test("lie about writes", async () => {
    const disk = makeDisk();
    const file = await durableFile(disk, "a", Buffer.from("0123456789"));
    disk.onCall = only("write", { isDropped: true });
    await writeAll(file, 0, Buffer.from("xx"));
    disk.onCall = only("write", { misdirectedTo: 8 });
    await writeAll(file, 0, Buffer.from("yy"));
    expect(disk.snapshotBytes("a")?.toString()).toBe("01234567yy");
  });

  test("fill the disk, and let it go on when there is room again", async () => {
    const disk = makeDisk(1, { capacityBytes: 10 });
    const file = await durableFile(disk, "a", Buffer.from("12345678"));
    expect(await disk.freeBytes()).toBe(2);
    expect(await faultOf(writeAll(file, 8, Buffer.from("abc")))).toBe("full");
    expect(await faultOf(file.truncate(11))).toBe("full");
    await writeAll(file, 0, Buffer.from("87654321"));
    disk.capacityBytes = 11;
    await writeAll(file, 8, Buffer.from("abc"));
    expect(await disk.freeBytes()).toBe(0);
    await file.close();
    await disk.remove("a");
    expect(await disk.freeBytes()).toBe(11);
  });

  test("stall a call for the time they say", async () => {
    const delays: number[] = [];
    const disk = makeDisk(1, {
      schedule: (delayMs, run) => {
        delays.push(delayMs);
        systemClock.defer(run);
      },
      onCall: only("sync", { delayMs: 5000 }),
    });
    await durableFile(disk, "a", Buffer.from("x"));
    expect(delays.filter((delayMs) => delayMs > 0)).toEqual([5000]);
  });

  test("damage what is there", async () => {
    const disk = makeDisk();
    await durableFile(disk, "a", Buffer.from("0123456789"));
    disk.corrupt("a", 1, 0);
    disk.zero("a", 3, 5);
    disk.truncateFile("a", 8);
    expect(disk.snapshotBytes("a")?.toString()).toBe("002\0\x00567");
    expect(disk.crash("lose-unsynced").durableBytes("a")?.toString()).toBe("002\0\x00567");
  });

  test("see every call, numbered", async () => {
    const calls: DiskCall[] = [];
    const disk = makeDisk(1, {
      onCall: (call) => {
        calls.push(call);
        return "ok";
      },
    });
    await durableFile(disk, "a", Buffer.from("xyz"));
    expect(calls).toEqual([
      { ordinal: 0, operation: "create", path: "a" },
      { ordinal: 1, operation: "write", path: "a", position: 0, bytes: 3 },
      { ordinal: 2, operation: "sync", path: "a" },
      { ordinal: 3, operation: "syncDirectory", path: "" },
    ]);
    expect(disk.callCount).toBe(4);
  });
});

describe("a SimulatedDisk holds its caller to the contract", () => {
  test("that write, sync and truncate never overlap", async () => {
    const disk = makeDisk();
    const file = await durableFile(disk, "a", Buffer.from("x"));
    const syncing = syncFile(file);
    await expect(writeAll(file, 0, Buffer.from("y"))).rejects.toThrow("never overlap");
    await expect(file.truncate(0)).rejects.toThrow("never overlap");
    await syncing;
    await writeAll(file, 0, Buffer.from("y"));
  });

  test("that buffers do not change until the callback", async () => {
    let complete = (): void => undefined;
    const disk = makeDisk(1, {
      schedule: (_delayMs, run) => {
        complete = run;
      },
    });
    const creating = disk.create("a");
    complete();
    const file = await creating;
    const buffer = Buffer.from("x");
    file.write(0, [buffer], () => undefined);
    buffer[0] = 0;
    expect(complete).toThrow("buffers do not change");
  });
});

type Step =
  | { readonly kind: "write"; readonly position: number; readonly bytes: number }
  | { readonly kind: "truncate"; readonly bytes: number }
  | { readonly kind: "sync" };

const steps = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant("write" as const),
        position: fc.nat(3000),
        bytes: fc.nat(2000),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("truncate" as const), bytes: fc.nat(4000) }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("sync" as const) }) },
  ),
  { maxLength: 20 },
);

describe("after any power cut", () => {
  test("each byte is the durable one or one written since, and the size likewise", async () => {
    const property = fc.asyncProperty(
      steps,
      fc.integer(),
      fc.constantFrom("lose-unsynced" as const, "keep-some" as const),
      async (list, seed, mode) => {
        const disk = makeDisk(seed);
        const file = await durableFile(disk, "a", Buffer.alloc(0));
        let durable = Buffer.alloc(0);
        let unsynced: Step[] = [];
        const stamps = new Map<Step, number>();
        for (const [ordinal, step] of list.entries()) {
          stamps.set(step, ordinal + 1);
          if (step.kind === "sync") {
            await syncFile(file);
            durable = present(disk.snapshotBytes("a"));
            unsynced = [];
          } else {
            if (step.kind === "truncate") await file.truncate(step.bytes);
            else await writeAll(file, step.position, Buffer.alloc(step.bytes, ordinal + 1));
            unsynced.push(step);
          }
        }
        const after = await readWholeFile(disk.crash(mode), "a");
        const cuts = unsynced.filter((step) => step.kind === "truncate");
        const writes = unsynced.filter((step) => step.kind === "write");
        const ends = writes.map((step) => step.position + step.bytes);
        const sizes = cuts.map((step) => step.bytes);
        expect(after.length).toBeGreaterThanOrEqual(Math.min(durable.length, ...sizes));
        expect(after.length).toBeLessThanOrEqual(Math.max(durable.length, ...sizes, ...ends));
        for (const [position, byte] of after.entries()) {
          const allowed = new Set<number | undefined>([durable[position] ?? 0]);
          for (const step of writes) {
            const isInside = position >= step.position && position < step.position + step.bytes;
            if (isInside) allowed.add(stamps.get(step));
          }
          if (cuts.some((step) => step.bytes <= position)) allowed.add(0);
          if (!allowed.has(byte)) expect([...allowed]).toContain(byte);
        }
        if (unsynced.length === 0) expect(after.equals(durable)).toBe(true);
      },
    );
    await fc.assert(property, { numRuns: 150 });
  });

  test("a log that only grows keeps its synced prefix, torn or not", async () => {
    const property = fc.asyncProperty(
      fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 1500 }), synced: fc.boolean() })),
      fc.integer(),
      fc.constantFrom(...powerCuts),
      async (appends, seed, mode) => {
        const disk = makeDisk(seed);
        const file = await durableFile(disk, "a", Buffer.alloc(0));
        let end = 0;
        let durableEnd = 0;
        for (const [ordinal, append] of appends.entries()) {
          await writeAll(file, end, Buffer.alloc(append.bytes, ordinal + 1));
          end += append.bytes;
          if (!append.synced) continue;
          await syncFile(file);
          durableEnd = end;
        }
        const before = present(disk.snapshotBytes("a"));
        const after = await readWholeFile(disk.crash(mode), "a");
        expect(after.length).toBeGreaterThanOrEqual(durableEnd);
        expect(after.length).toBeLessThanOrEqual(end);
        expect(after.subarray(0, durableEnd).equals(before.subarray(0, durableEnd))).toBe(true);
      },
    );
    await fc.assert(property, { numRuns: 100 });
  });

  test("a name is one that it had since the last sync of its directory", async () => {
    const name = fc.constantFrom("a", "b", "c");
    const change = fc.oneof(
      fc.record({ kind: fc.constant("create" as const), name }),
      fc.record({ kind: fc.constant("remove" as const), name }),
      fc.record({ kind: fc.constant("rename" as const), name, to: name }),
      fc.record({ kind: fc.constant("sync" as const) }),
    );
    const property = fc.asyncProperty(
      fc.array(change, { maxLength: 15 }),
      fc.integer(),
      fc.constantFrom(...powerCuts),
      async (changes, seed, mode) => {
        const disk = makeDisk(seed);
        /** What each name stood for since the last sync: the mark of a file, or "" for none. */
        let history = new Map<string, Set<string>>();
        const note = (isFresh: boolean): void => {
          if (isFresh) history = new Map();
          for (const each of ["a", "b", "c"]) {
            const seen = history.get(each) ?? new Set();
            history.set(each, seen.add(disk.snapshotBytes(each)?.toString() ?? ""));
          }
        };
        note(true);
        for (const [ordinal, each] of changes.entries()) {
          if (each.kind === "sync") {
            await disk.syncDirectory("");
          } else if (each.kind === "create") {
            if ((await disk.list("")).includes(each.name)) continue;
            const file = await disk.create(each.name);
            await writeAll(file, 0, Buffer.from(`file ${String(ordinal)}`));
            await syncFile(file);
          } else if ((await disk.list("")).includes(each.name)) {
            if (each.kind === "remove") await disk.remove(each.name);
            else await disk.rename(each.name, each.to);
          }
          note(each.kind === "sync");
        }
        const after = disk.crash(mode);
        for (const each of ["a", "b", "c"]) {
          expect(history.get(each)).toContain(after.snapshotBytes(each)?.toString() ?? "");
        }
      },
    );
    await fc.assert(property, { numRuns: 200 });
  });
});

function present(bytes: Buffer | undefined): Buffer<ArrayBuffer> {
  if (bytes === undefined) throw new Error("the file is there");
  return Buffer.from(bytes);
}
