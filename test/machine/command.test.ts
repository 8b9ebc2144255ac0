/** Commands: the frame of one entry and the conditions in its preamble. */
import { expect, test } from "vitest";

import { encodeRecords } from "../../src/common/record.js";
import type { Append } from "../../src/machine/command.js";
import {
  conditionBytesMax,
  conditionBytesOf,
  decodeConditions,
  decodeSettings,
  encodeAppends,
  encodeSettings,
} from "../../src/machine/command.js";
import {
  frameBody,
  frameKinds,
  framePreamble,
  isBodyValid,
  readHeader,
} from "../../src/storage/frame.js";

function appendOf(texts: readonly string[], expectedOffset?: number): Append {
  const records = encodeRecords(texts.map((text) => ({ value: Buffer.from(text) })));
  return { records, count: texts.length, expectedOffset };
}

function headerOf(frame: Buffer): NonNullable<ReturnType<typeof readHeader>> {
  const header = readHeader(frame, 0);
  if (header === undefined) throw new Error("a frame has a header");
  return header;
}

test("an entry without conditions has no preamble, and its body is the records as they came", () => {
  const appends = [appendOf(["a", "b"]), appendOf(["c"])];
  const frame = encodeAppends(appends, 77);
  const header = headerOf(frame);
  expect(header).toMatchObject({ kind: frameKinds.records, preambleBytes: 0, count: 3 });
  expect(header.timestampMs).toBe(77);
  expect(frameBody(frame, 0, header)).toEqual(Buffer.concat(appends.map((one) => one.records)));
  expect(isBodyValid(frame, 0, header)).toBe(true);
});

test("a condition says which records it is about, by ordinal and by position", () => {
  const appends = [appendOf(["a", "bb"]), appendOf(["c"], 9), appendOf(["d"]), appendOf(["e"], 0)];
  const frame = encodeAppends(appends, 1);
  const header = headerOf(frame);
  const conditions = decodeConditions(framePreamble(frame, 0, header));
  const bytes = appends.map((one) => one.records.length);
  expect(conditions).toMatchObject([
    { firstRecord: 2, count: 1, position: bytes[0], bytes: bytes[1], expectedOffset: 9 },
    {
      firstRecord: 4,
      count: 1,
      position: (bytes[0] ?? 0) + (bytes[1] ?? 0) + (bytes[2] ?? 0),
      bytes: bytes[3],
      expectedOffset: 0,
    },
  ]);
});

test("golden bytes of a condition block", () => {
  const frame = encodeAppends([appendOf(["a"], 2 ** 40 + 3)], 1);
  const header = headerOf(frame);
  const bytes = appendOf(["a"]).records.length.toString(16).padStart(8, "0");
  const block = `001c0001000000000000000100000000${bytes}0000010000000003`;
  expect(framePreamble(frame, 0, header).toString("hex")).toBe(block);
});

test("the largest offset comes back as it was", () => {
  const frame = encodeAppends([appendOf(["a"], Number.MAX_SAFE_INTEGER)], 1);
  const [condition] = decodeConditions(framePreamble(frame, 0, headerOf(frame)));
  expect(condition?.expectedOffset).toBe(Number.MAX_SAFE_INTEGER);
});

test("as many conditions as may come fit, and one more is our own mistake", () => {
  const countMax = Math.floor(conditionBytesMax / conditionBytesOf(appendOf(["x"], 0)));
  const appends = Array.from({ length: countMax }, (_, at) => appendOf(["x"], at));
  const frame = encodeAppends(appends, 1);
  const conditions = decodeConditions(framePreamble(frame, 0, headerOf(frame)));
  expect(conditions).toHaveLength(countMax);
  expect(() => encodeAppends([...appends, appendOf(["x"], 0)], 1)).toThrow("preamble");
});

test("a preamble that is cut short, or of a kind to come, is refused", () => {
  const frame = encodeAppends([appendOf(["a"], 1)], 1);
  const preamble = Buffer.from(framePreamble(frame, 0, headerOf(frame)));
  expect(() => decodeConditions(preamble.subarray(0, 19))).toThrow("whole conditions");
  const longer = Buffer.from(preamble);
  longer.writeUInt16BE(29, 0);
  expect(() => decodeConditions(longer)).toThrow("known length");
  const stranger = Buffer.from(preamble);
  stranger.writeUInt16BE(4, 2);
  expect(() => decodeConditions(stranger)).toThrow("known kind");
});

test("settings come back as they were, and what is no settings is refused", () => {
  const settings = { clusterId: "c1", segmentBytes: 1024 };
  const frame = encodeSettings(settings, 3);
  const header = headerOf(frame);
  expect(header.kind).toBe(frameKinds.settings);
  expect(decodeSettings(frameBody(frame, 0, header))).toEqual(settings);
  expect(() => decodeSettings(Buffer.from("{}"))).toThrow("name the cluster");
  expect(() => decodeSettings(Buffer.from('{"clusterId":"c","segmentBytes":0.5}'))).toThrow();
});
