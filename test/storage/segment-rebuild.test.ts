/** Rebuilding a segment from damaged copies, and putting it in the place of the old one. */
import { describe, expect, test } from "vitest";

import { DamageError } from "../../src/storage/damage.js";
import type { CommitLog, CommitLogState, SegmentWriter } from "../../src/storage/commit-log.js";
import type { SegmentRef } from "../../src/storage/segment.js";
import { indexName, storeName } from "../../src/storage/segment.js";
import type { Rebuilt, SegmentCopy } from "../../src/storage/segment-rebuild.js";
import { SegmentDiffersError, rebuildSegment } from "../../src/storage/segment-rebuild.js";
import type { SimulatedDisk } from "../../src/testing/simulated-disk.js";
import { add, openCommitLog, readAll, uncached } from "./commit-log-bench.js";
import { outcomeOf, quickDisk, settled } from "./simulated.js";

const never = new AbortController().signal;
const atOnce = async (): Promise<void> => undefined;

/** A log of several segments as its checkpoint leaves it, and the whole bytes of the first one. */
async function stored(): Promise<{
  readonly disk: SimulatedDisk;
  readonly state: CommitLogState;
  readonly ref: SegmentRef;
  readonly whole: Buffer;
}> {
  const disk = quickDisk();
  const { log } = await openCommitLog(disk);
  for (let batch = 0; batch < 60; batch += 1) add(log, 1 + (batch % 7), 1000 + batch * 10);
  const state = log.state();
  await log.sync();
  await log.close();
  const [ref] = state.segments;
  const whole = disk.snapshotBytes(`log/${storeName(0)}`);
  if (ref === undefined || whole === undefined) throw new Error("a segment is there");
  return { disk, state, ref, whole };
}

function copyOf(name: string, bytes: Buffer): SegmentCopy & { asked: number } {
  const copy = {
    name,
    readBytes: 1000,
    asked: 0,
    read: async (position: number, count: number): Promise<Buffer> => {
      copy.asked += 1;
      return bytes.subarray(position, position + count);
    },
  };
  return copy;
}

function flipped(bytes: Buffer, position: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[position] = (copy[position] ?? 0) ^ 4;
  return copy;
}

async function rebuilt(
  ref: SegmentRef,
  copies: readonly SegmentCopy[],
): Promise<{ readonly bytes: Buffer | undefined; readonly result: Rebuilt }> {
  const disk = quickDisk();
  const draft = await disk.create("draft");
  const result = await rebuildSegment({ ref, draft, copies, pace: atOnce, signal: never });
  return { bytes: disk.snapshotBytes("draft"), result };
}

describe("a segment is rebuilt", () => {
  test("from its own sound frames and, for each damaged byte, one frame of another copy", async () => {
    const { ref, whole } = await stored();
    for (let position = 0; position < whole.length; position += 37) {
      const peer = copyOf("peer", whole);
      const own = copyOf("own", flipped(whole, position));
      const { bytes, result } = await rebuilt(ref, [own, peer]);
      expect(bytes?.equals(whole), `at ${String(position)}`).toBe(true);
      expect(peer.asked).toBeGreaterThan(0);
      expect(result.bytesOf.get("peer")).toBeLessThan(1500);
    }
  });

  test("from copies of which each is damaged at another place, and one ends early", async () => {
    const { ref, whole } = await stored();
    const copies = [
      copyOf("own", whole.subarray(0, whole.length / 2)),
      copyOf("b", flipped(whole, 10)),
      copyOf("c", flipped(whole, whole.length - 5)),
    ];
    expect((await rebuilt(ref, copies)).bytes?.equals(whole)).toBe(true);
  });

  test("without asking a copy again that failed to answer", async () => {
    const { ref, whole } = await stored();
    let asked = 0;
    const down: SegmentCopy = {
      name: "down",
      readBytes: 1000,
      read: async () => {
        asked += 1;
        throw new Error("it is down");
      },
    };
    const copies = [copyOf("own", Buffer.alloc(0)), down, copyOf("up", whole)];
    expect((await rebuilt(ref, copies)).bytes?.equals(whole)).toBe(true);
    expect(asked).toBe(1);
    const failure = await outcomeOf(rebuilt(ref, [copyOf("own", Buffer.alloc(0)), down]));
    expect(failure).toBeInstanceOf(DamageError);
    expect((failure as Error).message).toContain("down: it is down");
  });

  test("never where all copies have the same record damaged: it says which", async () => {
    const { ref, whole } = await stored();
    const spoilt = flipped(whole, 100);
    const failure = await outcomeOf(rebuilt(ref, [copyOf("own", spoilt), copyOf("b", spoilt)]));
    expect(failure).toBeInstanceOf(DamageError);
    expect((failure as Error).message).toContain("no copy of offset 0");
  });

  test("never from frames that are whole and not those that were written", async () => {
    const { ref, whole } = await stored();
    const other = { ...ref, checksum: ref.checksum ^ 1 };
    expect(await outcomeOf(rebuilt(other, [copyOf("own", whole)]))).toBeInstanceOf(
      SegmentDiffersError,
    );
  });
});

/** Writes the whole bytes, as a rebuild from a good copy does. */
function writerOf(ref: SegmentRef, whole: Buffer): SegmentWriter {
  return async (draft, signal) => {
    const copies = [copyOf("peer", whole)];
    return (await rebuildSegment({ ref, draft, copies, pace: atOnce, signal })).index;
  };
}

async function damaged(): Promise<Awaited<ReturnType<typeof stored>> & { log: CommitLog }> {
  const setup = await stored();
  setup.disk.corrupt(`log/${storeName(0)}`, 100, 3);
  const { log } = await openCommitLog(setup.disk, setup.state, uncached);
  return { ...setup, log };
}

describe("a sealed segment is replaced", () => {
  test("while readers go on with the old file, and later ones get the new one", async () => {
    const { disk, log, ref, whole } = await damaged();
    const found: number[] = [];
    log.onDamage((baseOffset) => found.push(baseOffset));
    expect(await outcomeOf(log.read(0, 100))).toBeInstanceOf(DamageError);
    expect(found).toEqual([0]);
    const last = ref.endOffset - 1;
    const during: unknown[] = [];
    const reading = (async () => {
      for (let round = 0; round < 50; round += 1) during.push(await outcomeOf(log.read(last, 1)));
    })();
    await log.replaceSegment(ref, writerOf(ref, whole));
    await reading;
    expect(during.filter((outcome) => outcome instanceof Error)).toEqual([]);
    expect(await readAll(log, 0)).toBe(log.endOffset);
    expect(disk.snapshotBytes(`log/${storeName(0)}`)?.equals(whole)).toBe(true);
    expect(disk.snapshotBytes(`log/${indexName(0)}`)).toBeDefined();
    await log.close();
  });

  test("not at all if its writer fails, or the log is closed meanwhile: no draft stays", async () => {
    const { disk, log, ref, whole } = await damaged();
    const broken = log.replaceSegment(ref, async (draft, signal) => {
      await writerOf(ref, whole)(draft, signal);
      throw new Error("in the end");
    });
    await expect(broken).rejects.toThrow("in the end");
    const stopped = log.replaceSegment(ref, async (draft, signal) => {
      const index = await writerOf(ref, whole)(draft, signal);
      while (!signal.aborted) await settled();
      return index;
    });
    const outcome = outcomeOf(stopped);
    await settled();
    await log.close();
    expect(await outcome).toMatchObject({ code: "unavailable" });
    expect((await disk.list("log")).filter((name) => name.includes("repair"))).toEqual([]);
  });

  test("one that is still active is not", async () => {
    const { log, state, whole } = await damaged();
    const active = state.segments.at(-1);
    if (active === undefined) throw new Error("a segment is there");
    await expect(log.replaceSegment(active, writerOf(active, whole))).rejects.toMatchObject({
      code: "unavailable",
    });
    await log.close();
  });

  test("or is what it was, after a power cut at any disk call: the log opens, never wrong", async () => {
    let isDone = false;
    let wholeCount = 0;
    for (let after = 0; !isDone; after += 1) {
      for (const mode of ["kill", "lose-unsynced", "keep-some", "tear"] as const) {
        const { disk, log, ref, state, whole } = await damaged();
        const first = disk.callCount;
        let hasEnded = false;
        let next = disk;
        const crashed = new Promise<void>((resolve) => {
          disk.onCall = ({ ordinal }) => {
            if (ordinal === first + after) {
              queueMicrotask(() => {
                if (!hasEnded) next = disk.crash(mode);
                resolve();
              });
            }
            return "ok";
          };
        });
        const replaced = log.replaceSegment(ref, writerOf(ref, whole)).then(() => {
          hasEnded = true;
        });
        await Promise.race([crashed, replaced]);
        isDone = hasEnded;
        if (!isDone) next.onCall = undefined;
        else next = disk.crash("lose-unsynced");
        const again = await openCommitLog(next, state, uncached);
        const outcome = await outcomeOf(readAll(again.log, 0));
        if (!(outcome instanceof DamageError)) {
          wholeCount += 1;
          expect(outcome).toBe("resolved");
        }
        if (isDone) expect(outcome, "what was replaced is durable").not.toBeInstanceOf(Error);
        const left = (await next.list("log")).filter((name) => name.includes("repair"));
        expect(left, `after ${String(after)} calls`).toEqual([]);
        await again.log.close();
      }
    }
    expect(wholeCount).toBeGreaterThan(4);
  });
});
