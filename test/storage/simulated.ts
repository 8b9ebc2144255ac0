/**
 * What the storage tests share: a seeded random source, a clock that moves only when told to, and
 * simulated disks whose calls complete within the same turn, so that a sweep over every call of a
 * run takes milliseconds.
 */
import type { Clock } from "../../src/common/clock.js";
import { randomInteger } from "../../src/common/random.js";
import type { Random } from "../../src/common/random.js";
import type { Disk } from "../../src/storage/disk.js";
import { SimulatedDisk } from "../../src/testing/simulated-disk.js";
import type { SimulatedDiskOptions } from "../../src/testing/simulated-disk.js";

/** A small seeded generator (mulberry32). */
export function randomFrom(seed: number): Random {
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

export interface ManualClock extends Clock {
  /** Moves time on and fires what is due. */
  advance(ms: number): void;
  /** Timers that have not fired. */
  readonly pendingCount: number;
}

export function manualClock(): ManualClock {
  let now = 0;
  const timers = new Set<{ readonly at: number; readonly fire: () => void }>();
  return {
    now: () => now,
    wallNow: () => 1_700_000_000_000 + now,
    setTimer(delayMs, fire) {
      const timer = { at: now + delayMs, fire };
      timers.add(timer);
      return {
        cancel: () => {
          timers.delete(timer);
        },
      };
    },
    defer(run) {
      setImmediate(run);
    },
    advance(ms) {
      now += ms;
      for (const timer of [...timers].sort((left, right) => left.at - right.at)) {
        if (timer.at > now || !timers.delete(timer)) continue;
        timer.fire();
      }
    },
    get pendingCount() {
      return timers.size;
    },
  };
}

/** A disk whose calls complete in microtasks: all that can happen has happened one turn later. */
export function quickDisk(seed = 1, options: Partial<SimulatedDiskOptions> = {}): SimulatedDisk {
  return new SimulatedDisk({
    random: randomFrom(seed),
    schedule: (_delayMs, run) => {
      queueMicrotask(run);
    },
    ...options,
  });
}

/** A quick disk on which some calls take many times as long as others, so that calls overtake. */
export function unevenDisk(seed: number): SimulatedDisk {
  const random = randomFrom(seed);
  const runAfter = (hops: number, run: () => void): void => {
    queueMicrotask(() => {
      if (hops === 0) run();
      else runAfter(hops - 1, run);
    });
  };
  const schedule = (_delayMs: number, run: () => void): void => {
    runAfter(random.next() < 0.2 ? randomInteger(random, 100) : randomInteger(random, 4), run);
  };
  return quickDisk(seed, { schedule });
}

/** A disk whose calls take a turn of the event loop each: what arrives together waits together. */
export function slowDisk(seed = 1, options: Partial<SimulatedDiskOptions> = {}): SimulatedDisk {
  return new SimulatedDisk({
    random: randomFrom(seed),
    schedule: (_delayMs, run) => {
      setImmediate(run);
    },
    ...options,
  });
}

/** Lets all that can happen happen. */
export async function settled(turns = 5): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
}

/** What a promise came to, without waiting for one that never settles. */
export async function outcomeOf(promise: Promise<unknown>): Promise<unknown> {
  let outcome: unknown = "pending";
  promise.then(
    () => {
      outcome = "resolved";
    },
    (error: unknown) => {
      outcome = error;
    },
  );
  await settled(20);
  return outcome;
}

/** The disk, and how many of its files are open. */
export function countingOpenFiles(inner: Disk): {
  readonly disk: Disk;
  openCount(): number;
  /** Most that were open at once. */
  openCountMax(): number;
} {
  let count = 0;
  let countMax = 0;
  const counted = async (opening: ReturnType<Disk["open"]>): ReturnType<Disk["open"]> => {
    const file = await opening;
    count += 1;
    countMax = Math.max(countMax, count);
    const close = file.close.bind(file);
    file.close = async () => {
      count -= 1;
      await close();
    };
    return file;
  };
  const disk: Disk = {
    open: (path) => counted(inner.open(path)),
    create: (path) => counted(inner.create(path)),
    list: (directory) => inner.list(directory),
    makeDirectory: (directory) => inner.makeDirectory(directory),
    rename: (from, to) => inner.rename(from, to),
    remove: (path) => inner.remove(path),
    removeTree: (directory) => inner.removeTree(directory),
    syncDirectory: (directory) => inner.syncDirectory(directory),
    freeBytes: () => inner.freeBytes(),
    lock: () => inner.lock(),
  };
  return { disk, openCount: () => count, openCountMax: () => countMax };
}
