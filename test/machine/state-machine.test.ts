/** The state machine: what it does follows from the entries alone. */
import { expect, test } from "vitest";

import { decodeBatch, encodeRecords } from "../../src/common/record.js";
import type { Append } from "../../src/machine/command.js";
import { encodeAppends, encodeSettings } from "../../src/machine/command.js";
import type { Applied, Input } from "../../src/machine/state-machine.js";
import { StateMachine } from "../../src/machine/state-machine.js";
import type { Checkpoint } from "../../src/storage/checkpoint.js";
import { emptyCheckpoint } from "../../src/storage/checkpoint.js";
import { CommitLog, commitLogDefaults } from "../../src/storage/commit-log.js";
import { controlFrame, frameKinds } from "../../src/storage/frame.js";
import { baseOffsetOf } from "../../src/storage/segment.js";
import type { SimulatedDisk } from "../../src/testing/simulated-disk.js";
import { manualClock, quickDisk, randomFrom, slowDisk, unevenDisk } from "../storage/simulated.js";

interface Node {
  readonly disk: SimulatedDisk;
  readonly log: CommitLog;
  readonly machine: StateMachine;
}

async function open(disk: SimulatedDisk, checkpoint: Checkpoint = emptyCheckpoint): Promise<Node> {
  const { segments, endOffset } = checkpoint;
  const log = await CommitLog.open(
    disk,
    manualClock(),
    { segments, endOffset },
    commitLogDefaults,
    (error) => {
      throw error;
    },
  );
  return { disk, log, machine: new StateMachine(log, checkpoint) };
}

const settings = { clusterId: "c1", segmentBytes: 4096 };

function settle(machine: StateMachine, index = 1): void {
  const frame = encodeSettings(settings, 5);
  machine.apply({ index, term: 1, kind: "command", frame });
}

async function settled(): Promise<Node> {
  const node = await open(quickDisk());
  settle(node.machine);
  return node;
}

function appendOf(texts: readonly string[], expectedOffset?: number): Append {
  const records = encodeRecords(texts.map((text) => ({ value: Buffer.from(text) })));
  return { records, count: texts.length, expectedOffset };
}

function command(index: number, appends: readonly Append[], timestampMs = 10): Input {
  return { index, term: 1, kind: "command", frame: encodeAppends(appends, timestampMs) };
}

function apply(node: Node, appends: readonly Append[], timestampMs = 10): Applied {
  return node.machine.apply(command(node.machine.appliedIndex + 1, appends, timestampMs));
}

async function texts({ log }: Node): Promise<string[]> {
  const found: string[] = [];
  for (let offset = 0; offset < log.endOffset;) {
    for (const batch of await log.read(offset, 64 * 1024)) {
      for (const record of decodeBatch(batch)) {
        expect(record.offset).toBe(found.length);
        found.push(record.value.toString());
      }
      offset = batch.offset + batch.count;
    }
  }
  return found;
}

test("offsets are given in the order of the entries, without a gap", async () => {
  const node = await settled();
  expect(apply(node, [appendOf(["a", "b"])])).toMatchObject({ offset: 0, dropped: [] });
  expect(apply(node, [appendOf(["c"]), appendOf(["d"])])).toMatchObject({ offset: 2 });
  expect(await texts(node)).toEqual(["a", "b", "c", "d"]);
});

test("no-ops and configurations take no offset", async () => {
  const node = await settled();
  apply(node, [appendOf(["a"])]);
  node.machine.apply({ index: 3, term: 2, kind: "noop" });
  node.machine.apply({ index: 4, term: 2, kind: "configuration", configuration: "{}" });
  const next = { ...command(5, [appendOf(["b"])]), term: 2 } as Input;
  expect(node.machine.apply(next)).toMatchObject({ offset: 1 });
  expect(node.machine.capture()).toMatchObject({ configurationIndex: 4, configuration: "{}" });
});

test("a condition sees the appends before it in its entry, those that were kept", async () => {
  const node = await settled();
  const applied = apply(node, [
    appendOf(["a"], 0),
    appendOf(["b", "b"], 7),
    appendOf(["c"], 1),
    appendOf(["d"]),
    appendOf(["e"], 99),
    appendOf(["f"], 3),
  ]);
  expect(applied.dropped).toMatchObject([
    { firstRecord: 1, count: 2, why: { type: "mismatch", actualOffset: 1 } },
    { firstRecord: 5, count: 1, why: { type: "mismatch", actualOffset: 3 } },
  ]);
  expect(await texts(node)).toEqual(["a", "c", "d", "f"]);
});

test("an entry whose appends are all dropped leaves nothing behind", async () => {
  const node = await settled();
  const applied = apply(node, [appendOf(["a"], 5), appendOf(["b"], 6)]);
  expect(applied.dropped).toHaveLength(2);
  expect(node.log.endOffset).toBe(0);
  expect(apply(node, [appendOf(["c"], 0)])).toMatchObject({ offset: 0, dropped: [] });
  expect(await texts(node)).toEqual(["c"]);
});

test("dropped appends leave no gap, whatever stands before, between and after them", async () => {
  const random = randomFrom(7);
  const node = await settled();
  const model: string[] = [];
  for (let entry = 0; entry < 200; entry += 1) {
    const appends: Append[] = [];
    const kept: string[] = [];
    for (let at = 0; at < 1 + Math.floor(random.next() * 5); at += 1) {
      const count = 1 + Math.floor(random.next() * 3);
      const words = Array.from({ length: count }, (_, n) => `${entry}.${at}.${n}`);
      const offset = model.length + kept.length;
      const dice = random.next();
      if (dice < 0.3) {
        appends.push(appendOf(words, offset + 1 + Math.floor(random.next() * 3)));
        continue;
      }
      appends.push(appendOf(words, dice < 0.6 ? offset : undefined));
      kept.push(...words);
    }
    expect(apply(node, appends).offset).toBe(model.length);
    model.push(...kept);
    expect(node.log.endOffset).toBe(model.length);
  }
  expect(await texts(node)).toEqual(model);
});

test("timestamps never run backwards, although the leaders' clocks do", async () => {
  const node = await settled();
  expect(apply(node, [appendOf(["a"])], 1000).timestampMs).toBe(1000);
  expect(apply(node, [appendOf(["b"])], 400).timestampMs).toBe(1000);
  expect(apply(node, [appendOf(["c"])], 1001).timestampMs).toBe(1001);
  expect(node.machine.capture().timestampMs).toBe(1001);
});

test("a time in the past stays in the past after a restart", async () => {
  const node = await settled();
  apply(node, [appendOf(["a"])], 1000);
  await node.log.sync();
  const checkpoint = node.machine.capture();
  await node.log.close();
  const again = await open(node.disk, checkpoint);
  expect(apply(again, [appendOf(["b"])], 400).timestampMs).toBe(1000);
});

test("what it captures is what it is restored to", async () => {
  const node = await settled();
  for (let at = 0; at < 50; at += 1) apply(node, [appendOf([`${at}`, "x".repeat(300)])]);
  node.machine.apply({ index: 52, term: 3, kind: "configuration", configuration: '{"a":1}' });
  await node.log.sync();
  const checkpoint = node.machine.capture();
  await node.log.close();
  const again = await open(node.disk, checkpoint);
  expect(again.machine.capture()).toEqual(checkpoint);
  expect(again.machine.clusterId).toBe("c1");
  expect(again.machine.appliedIndex).toBe(52);
  expect(await texts(again)).toHaveLength(100);
});

test("a checkpoint that the commit log does not stand at is refused", async () => {
  const node = await settled();
  const checkpoint = { ...node.machine.capture(), endOffset: 1 };
  expect(() => new StateMachine(node.log, checkpoint)).toThrow("stands at the checkpoint");
});

test("an entry that is not the next, or of an older term, stops it", async () => {
  const { machine } = await settled();
  expect(() => machine.apply({ index: 3, term: 1, kind: "noop" })).toThrow("applied in order");
  expect(() => machine.apply({ index: 1, term: 1, kind: "noop" })).toThrow("applied in order");
  machine.apply({ index: 2, term: 4, kind: "noop" });
  expect(() => machine.apply({ index: 3, term: 3, kind: "noop" })).toThrow("terms never fall");
  expect(machine.appliedIndex).toBe(2);
});

test("a command of a kind that it does not know stops it", async () => {
  const { machine } = await settled();
  const frame = controlFrame(frameKinds.barrier, { key: 2, term: 1 }, Buffer.alloc(0));
  expect(() => machine.apply({ index: 2, term: 1, kind: "command", frame })).toThrow("is known");
  expect(machine.appliedIndex).toBe(1);
});

test("records before the settings, and settings twice, stop it", async () => {
  const early = await open(quickDisk());
  expect(() => apply(early, [appendOf(["a"])])).toThrow("settings come before");
  const { machine } = await settled();
  expect(() => {
    settle(machine, 2);
  }).toThrow("settled once");
});

test("segments are the same bytes on every node, however their disks are timed", async () => {
  const random = randomFrom(11);
  const entries: Input[] = [];
  for (let at = 0; at < 150; at += 1) {
    const text = `${at} ${"y".repeat(Math.floor(random.next() * 400))}`;
    const expected = random.next() < 0.2 ? Math.floor(random.next() * 150) : undefined;
    entries.push(command(at + 2, [appendOf([text]), appendOf(["c"], expected)], at));
  }
  const images: Map<string, Buffer | undefined>[] = [];
  for (const disk of [quickDisk(1), slowDisk(2), unevenDisk(3)]) {
    const node = await open(disk);
    settle(node.machine);
    for (const [ordinal, entry] of entries.entries()) {
      const input =
        entry.kind === "command" ? { ...entry, frame: Buffer.from(entry.frame) } : entry;
      node.machine.apply(input);
      // Checkpoints are each node's own whim: they must not show in the bytes.
      if (ordinal % (disk.random.next() < 0.5 ? 7 : 31) === 0) await node.log.sync();
    }
    await node.log.close();
    const names = (await disk.list("log")).filter((name) => baseOffsetOf(name) !== undefined);
    images.push(new Map(names.map((name) => [name, disk.snapshotBytes(`log/${name}`)])));
  }
  expect(images[0]?.size).toBeGreaterThan(5);
  expect(images[1]).toEqual(images[0]);
  expect(images[2]).toEqual(images[0]);
});

test("a void append adds no record, and what comes late under its sequence adds none either", async () => {
  const node = await settled();
  const producer = { id: "p/a", sequence: 4 };
  const nothing = { records: Buffer.alloc(0), count: 0, producer };
  apply(node, [appendOf(["a"])]);
  expect(apply(node, [nothing])).toMatchObject({ offset: 1, dropped: [] });
  expect(node.machine.settlementOf(producer)).toBe("never");
  const late = apply(node, [{ ...appendOf(["late"]), producer }, appendOf(["b"])]);
  expect(late.dropped).toMatchObject([{ firstRecord: 0, count: 1, why: { type: "void" } }]);
  const again = apply(node, [nothing]);
  expect(again.dropped).toMatchObject([{ why: { type: "duplicate", original: { count: 0 } } }]);
  expect(await texts(node)).toEqual(["a", "b"]);
  const { endOffset, producers } = node.machine.capture();
  expect({ endOffset, producers }).toMatchObject({
    endOffset: 2,
    producers: [{ id: "p/a", appends: [{ sequence: 4, offset: 1, count: 0 }] }],
  });
});

test("a void append finds what is in the log already", async () => {
  const node = await settled();
  const producer = { id: "p/a", sequence: 4 };
  apply(node, [{ ...appendOf(["a", "b"]), producer }]);
  const { dropped } = apply(node, [{ records: Buffer.alloc(0), count: 0, producer }]);
  expect(dropped).toMatchObject([
    { why: { type: "duplicate", original: { offset: 0, count: 2 } } },
  ]);
  expect(node.machine.settlementOf(producer)).toMatchObject({ offset: 0, count: 2 });
});
