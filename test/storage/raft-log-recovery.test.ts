import { describe, expect, test } from "vitest";

import { randomInteger } from "../../src/common/random.js";
import { DamageError } from "../../src/storage/damage.js";
import { syncFile, writeAll } from "../../src/storage/disk.js";
import {
  controlFrame,
  frameBytes,
  frameBytesOf,
  frameHeaderBytes,
  frameKinds,
  readHeader,
  stampPlace,
} from "../../src/storage/frame.js";
import type { RaftLog, RaftLogAppend } from "../../src/storage/raft-log.js";
import { raftFileHeaderBytes } from "../../src/storage/raft-file.js";
import type { CrashMode, SimulatedDisk } from "../../src/testing/simulated-disk.js";
import { JournalModel, append, contents, entries, entry, openLog } from "./raft-log-bench.js";
import { quickDisk, randomFrom, settled, unevenDisk } from "./simulated.js";

const powerCuts = ["lose-unsynced", "keep-some", "tear"] as const;

/** True for a file of the log that comes after another. */
function isNewFile(path: string, than: string): boolean {
  return path.endsWith(".raft") && path > than;
}

/** All files of the log, by name. */
async function picture(disk: SimulatedDisk): Promise<Map<string, string>> {
  const names = await disk.list("raft");
  return new Map(
    names.map((name) => [name, disk.snapshotBytes(`raft/${name}`)?.toString("latin1") ?? ""]),
  );
}

/** Opens a damaged log, which must be refused, and gives the error; nothing may have changed. */
async function refusal(disk: SimulatedDisk, what: string): Promise<DamageError> {
  const before = await picture(disk);
  const outcome: unknown = await openLog(disk).then(
    () => "opened",
    (error: unknown) => error,
  );
  expect(outcome, what).toBeInstanceOf(DamageError);
  const after = await picture(disk);
  expect([...after.keys()], what).toEqual([...before.keys()]);
  for (const [name, bytes] of before) {
    expect(after.get(name) === bytes, `${what}: ${name} is as it was`).toBe(true);
  }
  return outcome as DamageError;
}

/** The last file that holds frames of its own, and its bytes. */
async function activeFile(disk: SimulatedDisk): Promise<{ path: string; bytes: Buffer }> {
  let found: { path: string; bytes: Buffer } = { path: "", bytes: Buffer.alloc(0) };
  for (const name of await disk.list("raft")) {
    const bytes = disk.snapshotBytes(`raft/${name}`) ?? Buffer.alloc(0);
    if (endOfFrames(bytes) > raftFileHeaderBytes) found = { path: `raft/${name}`, bytes };
  }
  return found;
}

function endOfFrames(bytes: Buffer): number {
  let end = raftFileHeaderBytes;
  const fileId = readHeader(bytes, end)?.fileId;
  for (;;) {
    const header = readHeader(bytes, end);
    if (header === undefined || header.fileId !== fileId) return end;
    end += frameBytesOf(header);
  }
}

/** Puts other bytes in a file, durably and behind the log's back. */
async function overwrite(
  disk: SimulatedDisk,
  path: string,
  position: number,
  bytes: Buffer,
): Promise<void> {
  const file = await disk.open(path);
  await writeAll(file, position, bytes);
  await syncFile(file);
  await file.close();
}

describe("a torn tail", () => {
  const group: RaftLogAppend = {
    hardState: { term: 2, vote: "b" },
    frames: entries(11, 13, 2),
  };

  /** A log whose last group was written and not synced: what was durable, and the group's bytes. */
  async function torn(): Promise<{
    disk: SimulatedDisk;
    path: string;
    from: number;
    tail: Buffer;
  }> {
    const disk = quickDisk();
    const { log } = await openLog(disk);
    await append(log, { hardState: { term: 1, vote: "a" }, frames: entries(1, 5, 1) });
    await append(log, { frames: entries(6, 10, 1) });
    const { path, bytes } = await activeFile(disk);
    const from = endOfFrames(bytes);
    const durable = disk.fork("lose-unsynced");
    await append(log, group);
    const whole = await activeFile(disk);
    return {
      disk: durable,
      path,
      from,
      tail: whole.bytes.subarray(from, endOfFrames(whole.bytes)),
    };
  }

  const noise = (bytes: Buffer): Buffer => {
    const random = randomFrom(bytes.length);
    return Buffer.from(Array.from(bytes, () => randomInteger(random, 256)));
  };
  const variants: [string, (tail: Buffer, cut: number) => Buffer][] = [
    ["its end missing", (tail, cut) => tail.subarray(0, cut)],
    ["its start missing", (tail, cut) => Buffer.concat([Buffer.alloc(cut), tail.subarray(cut)])],
    [
      "noise from there on",
      (tail, cut) => Buffer.concat([tail.subarray(0, cut), noise(tail.subarray(cut))]),
    ],
    [
      "noise up to there",
      (tail, cut) => Buffer.concat([noise(tail.subarray(0, cut)), tail.subarray(cut)]),
    ],
  ];

  test.each(variants)(
    "with %s, at every byte, costs nothing that was acknowledged",
    async (_name, tear) => {
      const { disk, path, from, tail } = await torn();
      for (let cut = 0; cut <= tail.length; cut += 1) {
        const crashed = disk.fork("lose-unsynced");
        await overwrite(crashed, path, from, tear(tail, cut));
        const { log, hardState } = await openLog(crashed);
        const held = await contents(log);
        expect(held.length).toBeGreaterThanOrEqual(10);
        expect(held.slice(0, 10).every((text, at) => text.startsWith(`${String(at + 1)}/1`))).toBe(
          true,
        );
        expect(hardState.term).toBeGreaterThanOrEqual(1);
        await append(log, { frames: [entry(held.length + 1, 3)] });
        const again = await openLog(crashed.crash("lose-unsynced"));
        expect(again.log.places.lastIndex).toBe(held.length + 1);
        expect(again.hardState).toEqual(hardState);
        await again.log.close();
      }
    },
  );

  test("is the whole first group of a file, if it was never acknowledged", async () => {
    const disk = quickDisk();
    const { log } = await openLog(disk);
    await append(log, { hardState: { term: 1, vote: "a" }, frames: entries(1, 3, 1) });
    let held = 3;
    const firstPath = (await activeFile(disk)).path;
    let durable = disk.fork("lose-unsynced");
    while ((await activeFile(disk)).path === firstPath) {
      durable = disk.fork("lose-unsynced");
      held += 1;
      await append(log, { frames: [entry(held, 1)] });
    }
    const { path, bytes } = await activeFile(disk);
    const tail = bytes.subarray(raftFileHeaderBytes, endOfFrames(bytes));
    for (let cut = 0; cut < tail.length; cut += 1) {
      const crashed = durable.fork("lose-unsynced");
      await overwrite(crashed, path, raftFileHeaderBytes, tail.subarray(0, cut));
      const again = await openLog(crashed);
      expect(again.log.places.lastIndex).toBeGreaterThanOrEqual(held - 1);
      expect(again.hardState).toEqual({ term: 1, vote: "a" });
      await append(again.log, { frames: [entry(again.log.places.lastIndex + 1, 1, "later")] });
      const third = await openLog(crashed.crash("lose-unsynced"));
      expect(third.hardState).toEqual({ term: 1, vote: "a" });
      expect(third.log.places.lastIndex).toBe(again.log.places.lastIndex);
      await third.log.close();
    }
  });
});

describe("damage", () => {
  /** Three files and more, many groups; the last group is small. */
  async function filled(isClosed: boolean): Promise<SimulatedDisk> {
    const disk = quickDisk();
    const { log } = await openLog(disk);
    await append(log, { hardState: { term: 1, vote: "node-a" }, frames: entries(1, 10, 1) });
    for (let index = 11; index <= 100; index += 10) {
      await append(log, { frames: entries(index, index + 9, 1) });
    }
    await append(log, { hardState: { term: 2, vote: "node-b" }, frames: [] });
    await append(log, { frames: [entry(101, 2)] });
    // The next file is prepared behind the appends; without it, a lost last file leaves no trace.
    await settled();
    if (isClosed) await log.close();
    return disk.crash("lose-unsynced");
  }

  /** Where a flipped bit must be noticed: all of the frames but their padding. */
  function checkedPositions(bytes: Buffer): Set<number> {
    const positions = new Set<number>();
    const end = endOfFrames(bytes);
    for (let at = raftFileHeaderBytes; at < end;) {
      const header = readHeader(bytes, at);
      if (header === undefined) throw new Error("the frames end early");
      const used = frameHeaderBytes + header.preambleBytes + header.bodyBytes;
      for (let byte = 0; byte < used; byte += 1) positions.add(at + byte);
      at += frameBytesOf(header);
    }
    return positions;
  }

  test.each([
    ["after a clean stop, the last group included", true],
    ["after a crash, but for the last synced group", false],
  ])("of any durable byte is refused by file and position, %s", async (_name, isClosed) => {
    const disk = await filled(isClosed);
    const active = (await activeFile(disk)).path;
    // A clean stop ends with a barrier frame, a crash here with the group of entry 101.
    const spared = isClosed ? frameHeaderBytes : entry(101, 2).frame.length;
    let count = 0;
    for (const name of await disk.list("raft")) {
      const path = `raft/${name}`;
      const bytes = disk.snapshotBytes(path) ?? Buffer.alloc(0);
      const end = endOfFrames(bytes);
      const checked = checkedPositions(bytes);
      const last = path === active ? end - spared : end;
      for (let at = raftFileHeaderBytes; at < last; at += 7) {
        if (!checked.has(at)) continue;
        const damaged = disk.fork("lose-unsynced");
        damaged.corrupt(path, at, at % 8);
        const error = await refusal(damaged, `${path} at ${String(at)}`);
        expect(error.file).toBe(path);
        expect(error.position).toBeLessThanOrEqual(at);
        expect(error.position + frameBytes(0, 64)).toBeGreaterThan(at);
        count += 1;
      }
    }
    expect(count).toBeGreaterThan(900);
  });

  test("in the last synced group after a crash is taken for a torn tail: the residual risk", async () => {
    const disk = await filled(false);
    const { path, bytes } = await activeFile(disk);
    const start = endOfFrames(bytes) - entry(101, 2).frame.length;
    for (let at = start; at < start + frameHeaderBytes; at += 7) {
      const damaged = disk.fork("lose-unsynced");
      damaged.corrupt(path, at, 0);
      const { log, hardState } = await openLog(damaged);
      expect(log.places.lastIndex).toBe(100);
      expect(hardState).toEqual({ term: 2, vote: "node-b" });
      await log.close();
    }
  });

  test("of a file's header is refused", async () => {
    const disk = await filled(true);
    const names = await disk.list("raft");
    for (const name of names) {
      const bytes = disk.snapshotBytes(`raft/${name}`) ?? Buffer.alloc(0);
      if (endOfFrames(bytes) === raftFileHeaderBytes) continue;
      for (let at = 0; at < 20; at += 1) {
        const damaged = disk.fork("lose-unsynced");
        damaged.corrupt(`raft/${name}`, at, at % 8);
        const error = await refusal(damaged, `${name} at ${String(at)}`);
        expect(error.file).toBe(`raft/${name}`);
      }
    }
  });

  test("as a zeroed block below the last group is refused", async () => {
    const disk = await filled(false);
    for (const name of await disk.list("raft")) {
      const path = `raft/${name}`;
      const bytes = disk.snapshotBytes(path) ?? Buffer.alloc(0);
      const end = endOfFrames(bytes);
      if (end <= raftFileHeaderBytes + 1024) continue;
      for (let from = raftFileHeaderBytes; from + 512 < end; from += 512) {
        const damaged = disk.fork("lose-unsynced");
        damaged.zero(path, from, from + 512);
        expect((await refusal(damaged, `${path} from ${String(from)}`)).file).toBe(path);
      }
    }
  });

  test("as a file cut short is refused", async () => {
    const disk = await filled(false);
    for (const name of await disk.list("raft")) {
      const path = `raft/${name}`;
      const bytes = disk.snapshotBytes(path) ?? Buffer.alloc(0);
      const end = endOfFrames(bytes);
      if (end === raftFileHeaderBytes) continue;
      for (const size of [0, 10, raftFileHeaderBytes, end - 512, end, bytes.length - 1]) {
        if (size === bytes.length) continue;
        const damaged = disk.fork("lose-unsynced");
        damaged.truncateFile(path, size);
        await refusal(damaged, `${path} cut to ${String(size)}`);
      }
    }
  });

  test("as a file missing from the middle or from the end is refused", async () => {
    const disk = await filled(false);
    const names = await disk.list("raft");
    const active = (await activeFile(disk)).path;
    for (const name of names.slice(1)) {
      const damaged = disk.fork("lose-unsynced");
      await damaged.remove(`raft/${name}`);
      await damaged.syncDirectory("raft");
      if (`raft/${name}` > active) await (await openLog(damaged)).log.close();
      else await refusal(damaged, `${name} is missing`);
    }
  });

  test("as a file in another's place is refused", async () => {
    const disk = await filled(false);
    const active = (await activeFile(disk)).path;
    const names = (await disk.list("raft")).filter((name) => `raft/${name}` <= active);
    for (const from of names) {
      for (const to of names) {
        if (from === to) continue;
        const damaged = disk.fork("lose-unsynced");
        const bytes = damaged.snapshotBytes(`raft/${from}`) ?? Buffer.alloc(0);
        await overwrite(damaged, `raft/${to}`, 0, bytes);
        await refusal(damaged, `${to} holds what was in ${from}`);
      }
    }
  });

  test("of the only group of a file is not cured by the files after it", async () => {
    const disk = quickDisk();
    const { log } = await openLog(disk);
    const large = "x".repeat(2000);
    for (let index = 1; index <= 4; index += 1) {
      await append(log, { frames: [entry(index, 1, large)] });
    }
    const [first = ""] = await disk.list("raft");
    const crashed = disk.crash("lose-unsynced");
    crashed.corrupt(`raft/${first}`, raftFileHeaderBytes + 8, 1);
    await refusal(crashed, "the first file's first frame");
  });
});

describe("a client's bytes", () => {
  test("are never taken for frames of the log, whatever they hold", async () => {
    const disk = quickDisk();
    const { log } = await openLog(disk);
    const forged = (fileId: number): Buffer => {
      const { frame } = entry(1, 1, "forged");
      const bytes = Buffer.from(frame);
      return withPlace(bytes, fileId);
    };
    let index = 1;
    for (let round = 0; round < 40; round += 1) {
      // Frames that would be whole in each of the next files, at every place where one may start.
      const sequences = Array.from({ length: 24 }, (_, at) => Math.floor(round / 2) + at);
      const body = Buffer.concat(sequences.map(forged));
      const frame = controlFrame(frameKinds.records, { key: index, term: 1 }, body);
      await append(log, { frames: [{ index, term: 1, frame }] });
      log.truncatePrefix(index);
      index += 1;
    }
    for (let round = 0; round < 30; round += 1) {
      await append(log, { frames: [entry(index, 1)] });
      const again = await openLog(disk.fork("lose-unsynced"));
      expect(again.log.places.lastIndex).toBe(index);
      expect(again.log.places.at(index)?.term).toBe(1);
      expect((await contents(again.log)).some((text) => text.endsWith(" forged"))).toBe(false);
      index += 1;
    }
  });
});

/** A copy of a frame that claims to lie in a file, with a barrier beyond everything. */
function withPlace(frame: Buffer, fileId: number): Buffer {
  const copy = Buffer.from(frame);
  stampPlace(copy, fileId, 2 ** 40);
  return copy;
}

describe("a crash after any disk call", () => {
  test("of a first start leaves what starts again", async () => {
    for (const mode of powerCuts) {
      for (let ordinal = 0; ordinal < 60; ordinal += 1) {
        const disk = quickDisk(ordinal);
        disk.onCall = (call) => ({ hangs: call.ordinal >= ordinal });
        void openLog(disk);
        await settled(2);
        const after = disk.crash(mode);
        after.onCall = undefined;
        const again = await openLog(after);
        expect(again.hardState).toEqual({ term: 0, vote: "" });
        await append(again.log, { hardState: { term: 1, vote: "a" }, frames: [entry(1, 1)] });
        const third = await openLog(after.crash("lose-unsynced"));
        expect(third.hardState).toEqual({ term: 1, vote: "a" });
        expect(await contents(third.log)).toEqual(["1/1 entry 1"]);
        await third.log.close();
      }
    }
  });

  test("of a slow sync, with the file after it long prepared, costs nothing", async () => {
    for (const mode of powerCuts) {
      const disk = quickDisk(7);
      const { log } = await openLog(disk);
      await append(log, { hardState: { term: 1, vote: "a" }, frames: entries(1, 10, 1) });
      let held = 10;
      const { path } = await activeFile(disk);
      disk.onCall = (call) => ({ hangs: call.operation === "sync" && isNewFile(call.path, path) });
      let hung = append(log, { frames: [] as never[], hardState: { term: 1, vote: "a" } });
      for (let more = 0; more < 100; more += 1) {
        hung = append(log, { frames: [entry(held + 1, 1)] });
        await settled(2);
        if (disk.inFlightCount > 0) break;
        await hung;
        held += 1;
      }
      const after = disk.crash(mode);
      after.onCall = undefined;
      const again = await openLog(after);
      expect(again.log.places.lastIndex).toBeGreaterThanOrEqual(held);
      expect(again.hardState).toEqual({ term: 1, vote: "a" });
      await again.log.close();
    }
  });

  test("while many files are given up at once leaves no gap between files", async () => {
    for (const mode of powerCuts) {
      let isDone = false;
      for (let ordinal = 0; !isDone; ordinal += 1) {
        const disk = unevenDisk(ordinal);
        const { log } = await openLog(disk);
        await append(log, { hardState: { term: 1, vote: "a" }, frames: entries(1, 400, 1) });
        const start = disk.callCount;
        disk.onCall = (call) => ({ hangs: call.ordinal >= start + ordinal });
        log.truncatePrefix(395);
        let held = 400;
        const giveUp = async (): Promise<void> => {
          for (let round = 0; round < 8; round += 1) {
            await append(log, { frames: entries(held + 1, held + 20, 1) });
            held += 20;
          }
          isDone = true;
        };
        void giveUp();
        await settled(3);
        const after = disk.crash(mode);
        after.onCall = undefined;
        const again = await openLog(after).catch((error: unknown) => {
          throw new Error(`call ${String(ordinal)}, ${mode}: ${String(error)}`);
        });
        expect(again.log.places.lastIndex).toBeGreaterThanOrEqual(held);
        expect(again.log.places.firstIndex).toBeLessThanOrEqual(396);
        await again.log.close();
      }
    }
  });
  interface Issued {
    readonly steps: ((model: JournalModel) => void)[];
    isAcked: boolean;
  }

  /** Appends of every kind, some at once, with files given up on the way. */
  async function work(log: RaftLog, seed: number, issued: Issued[]): Promise<void> {
    const random = randomFrom(seed);
    const model = new JournalModel();
    let term = 0;
    for (let round = 0; round < 30; round += 1) {
      const waiting: Promise<void>[] = [];
      for (let many = randomInteger(random, 3); many >= 0; many -= 1) {
        term += 1;
        const what = nextAppend(random, model, term);
        const item: Issued = { steps: JournalModel.steps(what), isAcked: false };
        for (const step of item.steps) step(model);
        issued.push(item);
        waiting.push(
          append(log, what).then(() => {
            item.isAcked = true;
          }),
        );
      }
      await Promise.all(waiting);
      if (random.next() < 0.5) log.truncatePrefix(model.lastIndex - 5);
    }
    await log.close();
  }

  function nextAppend(
    random: ReturnType<typeof randomFrom>,
    model: JournalModel,
    term: number,
  ): RaftLogAppend {
    const hardState = { term, vote: `node ${String(term)}` };
    const { lastIndex } = model;
    const chance = random.next();
    if (chance < 0.2) return { hardState, frames: [] };
    if (chance < 0.4 && lastIndex > 6) {
      const from = lastIndex - randomInteger(random, 3);
      return { hardState, truncateFrom: from, frames: entries(from, from + 1, term) };
    }
    const frames = entries(lastIndex + 1, lastIndex + 1 + randomInteger(random, 12), term);
    return chance < 0.7 ? { frames } : { hardState, frames };
  }

  /** Every state that the log may be in: after what was acknowledged, up to what was asked for. */
  function allowedStates(issued: readonly Issued[], firstIndex: number): string[] {
    const model = new JournalModel();
    const acked = issued.filter((item) => item.isAcked).length;
    expect(issued.slice(0, acked).every((item) => item.isAcked)).toBe(true);
    for (const { steps } of issued.slice(0, acked)) for (const step of steps) step(model);
    const states = [model.textFrom(firstIndex)];
    for (const { steps } of issued.slice(acked)) {
      for (const step of steps) {
        step(model);
        states.push(model.textFrom(firstIndex));
      }
    }
    return states;
  }

  async function crashAt(ordinal: number, seed: number, mode: CrashMode): Promise<boolean> {
    const what = `seed ${String(seed)}, call ${String(ordinal)}, ${mode}`;
    const disk = unevenDisk(seed * 1000 + ordinal);
    disk.onCall = (call) => ({ hangs: call.ordinal >= ordinal });
    const issued: Issued[] = [];
    let isDone = false;
    void openLog(disk).then(async ({ log }) => {
      await work(log, seed, issued);
      isDone = true;
    });
    await settled(3);
    const after = disk.crash(mode);
    after.onCall = undefined;
    const again = await openLog(after).catch((error: unknown) => {
      throw new Error(`${what}: ${String(error)}`);
    });
    const { log, hardState } = again;
    const held = [`${String(hardState.term)} for ${hardState.vote}`, ...(await contents(log))];
    expect(allowedStates(issued, log.places.firstIndex), what).toContain(held.join("\n"));
    await append(log, { frames: [entry(log.places.lastIndex + 1, 10_000)] });
    held.push(`${String(log.places.lastIndex)}/10000 entry ${String(log.places.lastIndex)}`);
    const third = await openLog(after.crash(mode));
    const { firstIndex } = third.log.places;
    expect((await contents(third.log)).join("\n"), what).toBe(
      held.slice(1 + firstIndex - log.places.firstIndex).join("\n"),
    );
    expect(third.hardState, what).toEqual(hardState);
    await third.log.close();
    return isDone;
  }

  test.each(["kill", "lose-unsynced", "keep-some", "tear"] as const)(
    "(%s) loses nothing acknowledged and starts again",
    async (mode) => {
      for (const seed of [1, 2]) {
        let isDone = false;
        for (let ordinal = 3; !isDone; ordinal += 1) isDone = await crashAt(ordinal, seed, mode);
      }
    },
    120_000,
  );
});
