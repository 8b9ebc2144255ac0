/**
 * Holds the byte tables of docs/formats.md against the bytes that the code writes: each row's
 * place and type must give the value that went in.
 */
import { readFileSync } from "node:fs";
import { crc32 } from "node:zlib";

import { describe, expect, test } from "vitest";

import { encodeRecords } from "../../src/common/record.js";
import { encodeAppends } from "../../src/machine/command.js";
import {
  backupHeaderBytes,
  backupTrailerBytes,
  encodeBackupHeader,
  encodeBackupTrailer,
} from "../../src/storage/backup-file.js";
import { allocateFrame, frameHeaderBytes, frameKinds, sealFrame } from "../../src/storage/frame.js";
import { encodeRaftFileHeader, raftFileHeaderBytes } from "../../src/storage/raft-file.js";
import { SparseIndex } from "../../src/storage/sparse-index.js";

const text = readFileSync(new URL("../../docs/formats.md", import.meta.url), "utf8");

interface Row {
  readonly at: number;
  readonly type: string;
  readonly field: string;
}

/** The rows of the byte table under a heading: those that have a place and a type. */
function rowsUnder(heading: string): Row[] {
  const start = text.indexOf(`\n${heading}\n`);
  if (start < 0) throw new Error(`docs/formats.md has no heading "${heading}"`);
  const table = text.slice(text.indexOf("| at |", start));
  const rows: Row[] = [];
  for (const line of table.split("\n").slice(2)) {
    const cells = /^\| (\d*) ?\| ([^|]*?) ?\| (.+) \|$/.exec(line);
    if (cells === null) break;
    const [, at = "", type = "", field = ""] = cells;
    if (at !== "" && type.trim() !== "") rows.push({ at: Number(at), type: type.trim(), field });
  }
  return rows;
}

function valueAt(bytes: Buffer, { at, type }: Row): number | string {
  switch (type) {
    case "u8":
      return bytes.readUInt8(at);
    case "u16":
      return bytes.readUInt16BE(at);
    case "u32":
      return bytes.readUInt32BE(at);
    case "u64":
      return Number(bytes.readBigUInt64BE(at));
    default:
      return bytes.toString("latin1", at, at + Number.parseInt(type, 10));
  }
}

/** Field name, up to a comma or colon, to value. */
function decodedBy(heading: string, bytes: Buffer): Record<string, number | string> {
  const rows = rowsUnder(heading);
  return Object.fromEntries(
    rows.map((row) => [row.field.replace(/[,:].*$/, ""), valueAt(bytes, row)]),
  );
}

describe("docs/formats.md", () => {
  test("draws the record as it is encoded", () => {
    const record = { value: Buffer.from('"v"'), key: "key", headers: { n: "w" }, json: true };
    const bytes = encodeRecords([record]);
    expect(decodedBy("## Record", bytes)).toEqual({
      "bytes that follow this field": bytes.length - 4,
      attributes: 7,
    });
    expect(bytes.toString("hex", 5)).toBe("00036b65790001" + "00016e" + "000177" + "227622");
  });

  test("draws the frame's header as it is sealed, without a gap", () => {
    const frame = allocateFrame(2, 5);
    frame.write("ppbbbbb", frameHeaderBytes);
    const header = { preambleBytes: 2, bodyBytes: 5, key: 6, term: 7, fileId: 8, barrier: 9 };
    sealFrame(frame, { kind: frameKinds.records, ...header, timestampMs: 10, count: 11 });
    expect(decodedBy("## Frame", frame)).toEqual({
      "header checksum": crc32(frame.subarray(4, frameHeaderBytes + 2)),
      version: 1,
      kind: frameKinds.records,
      "preamble bytes": 2,
      "body bytes": 5,
      "body checksum": crc32("bbbbb"),
      key: 6,
      term: 7,
      "file id": 8,
      barrier: 9,
      timestamp: 10,
      "count of records": 11,
      zero: 0,
    });
    expect(frame.subarray(71).equals(Buffer.alloc(1))).toBe(true);
    expectWithoutGap("## Frame", frameHeaderBytes);
  });

  test("lists the kinds of frames by their numbers", () => {
    const listed = [...text.matchAll(/^\| (\d+) \| (\w+) \| (?:Raft|commit) log \|/gm)];
    const kinds = Object.fromEntries(listed.map(([, kind, name = ""]) => [name, Number(kind)]));
    expect(kinds).toEqual(frameKinds);
  });

  test("draws the condition block", () => {
    const records = encodeRecords([{ value: Buffer.from("x") }]);
    const first = { records, count: 1 };
    const frame = encodeAppends([first, { records, count: 1, expectedOffset: 77 }], 5);
    expect(decodedBy("### Condition block", frame.subarray(frameHeaderBytes))).toEqual({
      "bytes of the block": 28,
      flags: 1,
      "ordinal of the append's first record in the entry": 1,
      "count of its records": 1,
      "position of its records in the body": records.length,
      "bytes of its records": records.length,
      "expected offset of its first record": 77,
    });
    expectWithoutGap("### Condition block", 28);
  });

  test("draws the header of a Raft log file", () => {
    const bytes = encodeRaftFileHeader({ sequence: 3, bytes: 4, salt: 5 });
    expect(bytes).toHaveLength(raftFileHeaderBytes);
    expect(decodedBy("## Raft log file", bytes)).toEqual({
      magic: "PLRAFT01",
      sequence: 3,
      "size of the file in bytes": 4,
      salt: 5,
      "header checksum": crc32(bytes.subarray(0, 32)),
    });
    expectWithoutGap("## Raft log file", 36);
  });

  test("draws the index file", () => {
    const index = new SparseIndex();
    index.add(0, 0);
    index.add(9, 5000);
    const bytes = index.encode({ baseOffset: 42, bytes: 6000, checksum: 0xdeadbeef });
    expect(decodedBy("### Index file", bytes)).toEqual({
      magic: "PLIX",
      version: 1,
      "base offset": 42,
      "bytes of the segment": 6000,
      "segment checksum": 0xdeadbeef,
      "count of pairs": 2,
      "index checksum": crc32(bytes.subarray(36), crc32(bytes.subarray(0, 32))),
    });
    expectWithoutGap("### Index file", 36);
    expect(bytes.toString("hex", 36)).toBe("0000000000000000" + "0000000900001388");
  });

  test("draws the head and the end of a backup", () => {
    const clusterId = "c".repeat(72);
    const head = encodeBackupHeader({ clusterId, startOffset: 3, takenMs: 4 }, 5);
    expect(decodedBy("## Backup file", head)).toEqual({
      magic: "PLBACK01",
      salt: 5,
      "start offset": 3,
      begun: 4,
      "bytes of the cluster's id": 72,
      "cluster id": clusterId,
      "header checksum": crc32(head.subarray(0, 108)),
    });
    expectWithoutGap("## Backup file", backupHeaderBytes);
    const fields = { salt: 5, endOffset: 6, count: 7, position: 8, checksum: 9 };
    const end = encodeBackupTrailer(fields);
    const under = "comes the trailer, which ends the file:";
    expect(decodedBy(under, end)).toEqual({
      "end magic": "PLBACKED",
      "end salt": 5,
      "end offset": 6,
      "count of records": 7,
      "position of the trailer": 8,
      "content checksum": 9,
      "trailer checksum": crc32(end.subarray(0, 44)),
    });
    expectWithoutGap(under, backupTrailerBytes);
  });
});

/** Fields follow each other from 0 to the end of the header. */
function expectWithoutGap(heading: string, end: number): void {
  const bytesOf = (type: string): number =>
    type.startsWith("u") ? Number(type.slice(1)) / 8 : Number.parseInt(type, 10);
  let at = 0;
  for (const row of rowsUnder(heading)) {
    expect(row.at).toBe(at);
    at += bytesOf(row.type);
  }
  expect(at).toBe(end);
}
