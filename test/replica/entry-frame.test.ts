/** Entries as frames: what is decoded equals what was encoded, and damage is never taken in. */
import { expect, test } from "vitest";

import { encodeRecords } from "../../src/common/record.js";
import { encodeAppends, encodeSettings } from "../../src/machine/command.js";
import type { Entry, Member } from "../../src/raft/index.js";
import {
  decodeEntries,
  decodeEntry,
  encodeEntries,
  entryBytes,
  frameOf,
  numberCommand,
  parseConfiguration,
} from "../../src/replica/entry-frame.js";
import { controlFrame, frameKinds } from "../../src/storage/frame.js";

const member: Member = { id: "n1", name: "é", rpcAddr: "127.0.0.1:1", httpAddr: "127.0.0.1:2" };
const noData = Buffer.alloc(0);

function commandAt(index: number, term: number, text = "a"): Entry {
  const records = encodeRecords([{ value: Buffer.from(text), key: "k" }]);
  const data = encodeAppends([{ records, count: 1, expectedOffset: 4 }], 9);
  const entry: Entry = { index, term, kind: "command", data };
  numberCommand(entry);
  return entry;
}

function settingsAt(index: number): Entry {
  const data = encodeSettings({ clusterId: "c1", segmentBytes: 4096 }, 1);
  const entry: Entry = { index, term: 1, kind: "command", data };
  numberCommand(entry);
  return entry;
}

const entries: readonly Entry[] = [
  {
    index: 1,
    term: 1,
    kind: "configuration",
    configuration: { voters: [member], learners: [] },
    data: noData,
  },
  settingsAt(2),
  { index: 3, term: 2, kind: "noop", data: noData },
  commandAt(4, 2),
  commandAt(5, 2 ** 40, "x".repeat(5000)),
];

test("every kind of entry comes back as it was", () => {
  for (const entry of entries) {
    const frame = frameOf(entry);
    expect(decodeEntry(frame, 0)).toEqual({ entry, end: frame.length });
    expect(entryBytes(entry)).toBe(frame.length);
  }
});

test("entries one after the other come back in order", () => {
  expect(decodeEntries(Buffer.concat(encodeEntries(entries)))).toEqual(entries);
  expect(decodeEntries(noData)).toEqual([]);
});

test("a single changed bit anywhere makes the whole message void", () => {
  const frames = Buffer.concat(encodeEntries(entries.slice(0, 4)));
  for (let position = 0; position < frames.length; position += 1) {
    const damaged = Buffer.from(frames);
    damaged.writeUInt8(damaged.readUInt8(position) ^ (1 << (position % 8)), position);
    const decoded = decodeEntries(damaged);
    // What pads a frame to its alignment carries nothing.
    if (decoded !== undefined) expect(decoded).toEqual(entries.slice(0, 4));
  }
});

test("a message cut anywhere is void, or ends between two entries", () => {
  const frames = Buffer.concat(encodeEntries(entries.slice(0, 4)));
  const ends = new Set([0]);
  let end = 0;
  for (const frame of encodeEntries(entries.slice(0, 4))) ends.add((end += frame.length));
  for (let bytes = 0; bytes < frames.length; bytes += 1) {
    const decoded = decodeEntries(frames.subarray(0, bytes));
    expect(decoded === undefined, String(bytes)).toBe(!ends.has(bytes));
  }
});

test("frames that are no entries are refused, although they are whole", () => {
  for (const kind of [frameKinds.hardState, frameKinds.truncate, frameKinds.barrier]) {
    const frame = controlFrame(kind, { key: 1, term: 1 }, noData);
    expect(decodeEntries(frame)).toBeUndefined();
  }
});

test.each([
  ["no JSON", "{"],
  ["no object", "[]"],
  ["nothing", ""],
  ["null", "null"],
  ["no learners", '{"voters":[]}'],
  ["a voter that is none", '{"voters":[1],"learners":[]}'],
  ["a voter without an address", '{"voters":[{"id":"n1","name":"n1"}],"learners":[]}'],
])("a configuration that is %s is refused", (_what, text) => {
  expect(parseConfiguration(text)).toBeUndefined();
  const frame = controlFrame(
    frameKinds.configuration,
    { key: 1, term: 1 },
    Buffer.from(text === "" ? " " : text),
  );
  expect(decodeEntries(frame)).toBeUndefined();
});
