/** Repair and scrub of sealed segments: three commit logs on simulated disks that ask each other. */
import { afterEach, describe, expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import type { Member } from "../../src/raft/index.js";
import { Scrub } from "../../src/replica/scrub.js";
import type { SegmentSource } from "../../src/replica/segment-exchange.js";
import { answerSegment } from "../../src/replica/segment-exchange.js";
import { SegmentRepair } from "../../src/replica/segment-repair.js";
import type { CommitLog } from "../../src/storage/commit-log.js";
import { DamageError } from "../../src/storage/damage.js";
import { storeName } from "../../src/storage/segment.js";
import type { SimulatedDisk } from "../../src/testing/simulated-disk.js";
import { add, openCommitLog, readAll, uncached } from "../storage/commit-log-bench.js";
import { manualClock, outcomeOf, quickDisk, settled } from "../storage/simulated.js";

interface Event {
  readonly level: string;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

interface Node {
  readonly member: Member;
  readonly disk: SimulatedDisk;
  readonly log: CommitLog;
  readonly events: Event[];
  readonly counts: { damaged: number; repaired: number; mismatches: number };
  isUp: boolean;
}

const clock = manualClock();
let stopping = new AbortController();
let nodes: Node[] = [];
/** Bytes of segments sent from one to another. */
let sentBytes = 0;

afterEach(async () => {
  stopping.abort(new Error("the test is over"));
  for (const { log } of nodes) await log.close();
});

const source: SegmentSource = async (peer, request) => {
  const node = nodes.find(({ member }) => member.id === peer.id);
  if (node?.isUp !== true) throw new ProglogError("unavailable", `${peer.name} is down.`);
  const answer = await answerSegment(node.log, request);
  sentBytes += answer.data.length;
  return answer;
};

/** @param timestampOf Of the first batch on each node: other than the same is another segment. */
async function start(
  options: { readonly scrub?: number; readonly timestamps?: readonly number[] } = {},
): Promise<void> {
  const { scrub = 0, timestamps = [1000, 1000, 1000] } = options;
  sentBytes = 0;
  stopping.abort(new Error("another one starts"));
  stopping = new AbortController();
  nodes = [];
  for (const [ordinal, timestampMs] of timestamps.entries()) {
    const disk = quickDisk(ordinal + 1);
    const name = `n${String(ordinal + 1)}`;
    const { log: filling } = await openCommitLog(disk);
    for (let batch = 0; batch < 90; batch += 1) {
      add(filling, 1 + (batch % 7), batch === 0 ? timestampMs : 2000);
    }
    const state = filling.state();
    await filling.sync();
    await filling.close();
    const { log } = await openCommitLog(disk, state, uncached);
    const member = { id: name, name, rpcAddr: `${name}:1`, httpAddr: `${name}:2` };
    const counts = { damaged: 0, repaired: 0, mismatches: 0 };
    nodes.push({ member, disk, log, events: [], counts, isUp: true });
  }
  for (const node of nodes) run(node, scrub);
}

function run(node: Node, scrubBytesPerSecond: number): void {
  const { log: commitLog, counts, member, events } = node;
  const say = (level: string) => (fields: object, event: string) => {
    events.push({ level, event, fields: { ...fields } });
  };
  const common = {
    ...{ commitLog, source, clock, signal: stopping.signal },
    members: () => nodes.map((other) => other.member).filter(({ id }) => id !== member.id),
    logger: { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") },
  };
  const repair = new SegmentRepair({
    ...common,
    bytesPerSecond: 1024 * 1024,
    onDamaged: () => (counts.damaged += 1),
    onRepaired: () => (counts.repaired += 1),
  });
  commitLog.onDamage((baseOffset, damage) => {
    repair.request(baseOffset, damage);
  });
  new Scrub({
    ...common,
    name: member.name,
    bytesPerSecond: scrubBytesPerSecond,
    restMs: 1000,
    onOutvoted: (baseOffset, damage) => {
      repair.request(baseOffset, damage, { isOutvoted: true });
    },
    onMismatch: () => (counts.mismatches += 1),
  }).start();
}

function at(ordinal: number): Node {
  const node = nodes[ordinal];
  if (node === undefined) throw new Error("three nodes");
  return node;
}

/** Lets time pass, ten milliseconds at a time. */
async function pass(ms: number, isOver: () => boolean = () => false): Promise<number> {
  for (let passed = 0; passed < ms; passed += 10) {
    if (isOver()) return passed;
    clock.advance(10);
    await settled(20);
  }
  return ms;
}

function flip(ordinal: number, segment: number, position: number): void {
  const { disk, log } = at(ordinal);
  const ref = log.sealedSegments()[segment];
  if (ref === undefined) throw new Error("the segment is there");
  disk.corrupt(`log/${storeName(ref.baseOffset)}`, position, 2);
}

function bytesOf(ordinal: number): string[] {
  const { disk, log } = at(ordinal);
  return log
    .sealedSegments()
    .map(({ baseOffset }) =>
      String(disk.snapshotBytes(`log/${storeName(baseOffset)}`)?.toString("base64")),
    );
}

const told = (ordinal: number, event: string): Event[] =>
  at(ordinal).events.filter((each) => each.event === event);

describe("a damaged sealed segment", () => {
  test("is repaired once a read has found it: logged, counted, one frame fetched", async () => {
    await start();
    flip(0, 1, 5000);
    const offset = at(0).log.sealedSegments()[1]?.baseOffset ?? 0;
    expect(await outcomeOf(readAll(at(0).log, offset))).toBeInstanceOf(DamageError);
    expect(await outcomeOf(readAll(at(0).log, offset))).toBeInstanceOf(DamageError);
    expect(await pass(10_000, () => at(0).counts.repaired > 0)).toBeLessThan(1000);
    expect(await readAll(at(0).log, 0)).toBe(at(0).log.endOffset);
    expect(bytesOf(0)).toEqual(bytesOf(1));
    expect(at(0).counts).toEqual({ damaged: 1, repaired: 1, mismatches: 0 });
    expect(told(0, "segment-damaged")).toMatchObject([
      { level: "error", fields: { file: `log/${storeName(offset)}` } },
    ]);
    const [repaired] = told(0, "segment-repaired");
    expect(Object.keys(repaired?.fields["from"] as object).sort()).toEqual(["n2", "self"]);
    expect(sentBytes).toBeLessThan(16 * 1024);
  });

  test("is found and repaired by the scrub alone, others on all three nodes at once", async () => {
    await start({ scrub: 100_000 });
    const whole = bytesOf(0);
    expect(whole.length).toBeGreaterThan(2);
    for (const ordinal of [0, 1, 2]) flip(ordinal, ordinal, 3000 + ordinal);
    await pass(20_000, () => nodes.every(({ counts }) => counts.repaired === 1));
    for (const ordinal of [0, 1, 2]) expect(bytesOf(ordinal)).toEqual(whole);
    expect(nodes.map(({ counts }) => counts.mismatches)).toEqual([0, 0, 0]);
  });

  test("is repaired also where all three have it damaged, each in another record", async () => {
    await start({ scrub: 100_000 });
    const whole = bytesOf(0);
    for (const ordinal of [0, 1, 2]) flip(ordinal, 0, 1000 + 5000 * ordinal);
    await pass(20_000, () => nodes.every(({ counts }) => counts.repaired === 1));
    for (const ordinal of [0, 1, 2]) expect(bytesOf(ordinal)).toEqual(whole);
  });

  test("stays an error where all have the same record damaged, and a person is told once", async () => {
    await start();
    for (const ordinal of [0, 1, 2]) flip(ordinal, 0, 100);
    expect(await outcomeOf(readAll(at(0).log, 0))).toBeInstanceOf(DamageError);
    await pass(10_000);
    expect(await outcomeOf(readAll(at(0).log, 0))).toBeInstanceOf(DamageError);
    expect(at(0).counts).toEqual({ damaged: 1, repaired: 0, mismatches: 0 });
    const [report, ...more] = told(0, "segment-not-repaired");
    expect(report).toMatchObject({ level: "error" });
    expect(report?.fields["error"]).toContain("no copy of offset 0");
    expect(more).toEqual([]);
    // Whoever gets a good copy back, from wherever, is asked again.
    flip(1, 0, 100);
    await pass(31_000, () => at(0).counts.repaired > 0);
    expect(await readAll(at(0).log, 0)).toBe(at(0).log.endOffset);
  });

  test("is repaired from whoever is up, and as soon as somebody is", async () => {
    await start();
    flip(0, 0, 100);
    at(1).isUp = false;
    at(2).isUp = false;
    expect(await outcomeOf(readAll(at(0).log, 0))).toBeInstanceOf(DamageError);
    await pass(3000);
    expect(at(0).counts.repaired).toBe(0);
    at(2).isUp = true;
    await pass(10_000, () => at(0).counts.repaired > 0);
    expect(told(0, "segment-repaired")[0]?.fields["from"]).toHaveProperty("n3");
  });

  test("that is gone, or that the disk can't read, comes from the others as a whole", async () => {
    await start();
    const [first, second] = at(0).log.sealedSegments();
    if (first === undefined || second === undefined) throw new Error("two segments");
    const path = `log/${storeName(second.baseOffset)}`;
    await at(0).disk.remove(`log/${storeName(first.baseOffset)}`);
    at(0).disk.onCall = (call) => (call.operation === "read" && call.path === path ? "io" : "ok");
    expect(await outcomeOf(at(0).log.read(0, 1))).toBeInstanceOf(DamageError);
    expect(await outcomeOf(at(0).log.read(second.baseOffset, 1))).toBeInstanceOf(DamageError);
    await pass(10_000, () => at(0).counts.repaired === 2);
    at(0).disk.onCall = undefined;
    expect(bytesOf(0)).toEqual(bytesOf(1));
  });
});

describe("segments that are sound and differ", () => {
  test("are made what a majority has, after all have been asked", async () => {
    await start({ scrub: 100_000, timestamps: [1000, 1001, 1000] });
    await pass(20_000, () => at(1).counts.repaired > 0);
    expect(bytesOf(1)).toEqual(bytesOf(0));
    expect(at(1).counts.mismatches).toBeGreaterThan(0);
    expect(at(0).counts.repaired + at(2).counts.repaired).toBe(0);
    const [mismatch] = told(1, "scrub-mismatch");
    expect(mismatch).toMatchObject({ level: "error", fields: { isOutvoted: true } });
    expect(Object.keys(mismatch?.fields["checksums"] as object)).toEqual(["n2", "n1", "n3"]);
    expect(await readAll(at(1).log, 0)).toBe(at(1).log.endOffset);
  });

  test("are left as they are without a majority, and said so", async () => {
    await start({ scrub: 100_000, timestamps: [1000, 1001, 1000] });
    at(2).isUp = false;
    const before = bytesOf(1);
    await pass(5000);
    expect(bytesOf(1)).toEqual(before);
    expect(bytesOf(0)).not.toEqual(before);
    for (const ordinal of [0, 1]) {
      expect(at(ordinal).counts.mismatches).toBeGreaterThan(0);
      expect(at(ordinal).counts.repaired).toBe(0);
      const [mismatch] = told(ordinal, "scrub-mismatch");
      expect(mismatch?.fields["isOutvoted"]).toBe(false);
    }
  });
});

test("a scrub reads no faster than it may, and not at all at rate 0", async () => {
  await start({ scrub: 10_000 });
  let bytes = 0;
  at(0).disk.onCall = (call) => {
    if (call.operation === "read" && call.path.endsWith(".log")) bytes += call.bytes ?? 0;
    return "ok";
  };
  await pass(4000);
  expect(bytes).toBeGreaterThan(20_000);
  expect(bytes).toBeLessThan(60_000);
  await start({ scrub: 0 });
  flip(0, 0, 100);
  await pass(4000);
  expect(at(0).counts.damaged).toBe(0);
});
