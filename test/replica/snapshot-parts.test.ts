/** The checkpoint on its way between nodes: as it was, or refused. */
import { expect, test } from "vitest";

import { decodeCheckpoint, encodeCheckpoint } from "../../src/replica/snapshot-parts.js";
import type { Checkpoint } from "../../src/storage/checkpoint.js";

const checkpoint: Checkpoint = {
  appliedIndex: 12,
  appliedTerm: 3,
  configurationIndex: 1,
  configuration: '{"voters":[],"learners":[]}',
  endOffset: 7,
  timestampMs: 99,
  segmentBytes: 4096,
  producers: [{ id: "p/a", appends: [{ sequence: 1, offset: 2, count: 1, timestampMs: 3 }] }],
  clusterId: "c1",
  segments: [{ baseOffset: 0, endOffset: 7, bytes: 640, checksum: 5 }],
};

test("a checkpoint comes back as it was", () => {
  expect(decodeCheckpoint(encodeCheckpoint(checkpoint))).toEqual(checkpoint);
});

test.each([
  ["an index below zero", { appliedIndex: -1 }],
  ["a term that is no integer", { appliedTerm: 1.5 }],
  ["an end that is not safe", { endOffset: 2 ** 60 }],
  ["a configuration that is no text", { configuration: 5 }],
  ["no segments", { segments: undefined }],
  ["a segment that is none", { segments: [null] }],
  ["a segment without a checksum", { segments: [{ baseOffset: 0, endOffset: 7, bytes: 640 }] }],
])("a checkpoint with %s is refused", (_what, fields) => {
  const bytes = Buffer.from(JSON.stringify({ ...checkpoint, ...fields }));
  expect(decodeCheckpoint(bytes)).toBeUndefined();
});

test("bytes that are no checkpoint are refused", () => {
  for (const text of ["", "null", "[]", "{", "7"]) {
    expect(decodeCheckpoint(Buffer.from(text))).toBeUndefined();
  }
});
