/**
 * The backup file: what was written comes back byte for byte, and no other bytes are taken for it.
 */
import { describe, expect, test } from "vitest";

import { encodeRecords } from "../../src/common/record.js";
import type { RecordBatch, RecordContent } from "../../src/common/record.js";
import {
  BackupReader,
  BackupWriter,
  backupHeaderBytes,
  backupTrailerBytes,
} from "../../src/storage/backup-file.js";
import type { BackupOrigin } from "../../src/storage/backup-file.js";
import { DamageError } from "../../src/storage/damage.js";
import type { DiskFile } from "../../src/storage/disk.js";
import { readWholeFile, writeAll } from "../../src/storage/disk.js";
import type { BackupSummary } from "../../src/storage/backup-file.js";
import { frameBody, frameHeaderBytes } from "../../src/storage/frame.js";
import { quickDisk, randomFrom } from "./simulated.js";

const origin: BackupOrigin = {
  clusterId: "00000000-0000-4000-8000-00000000000c",
  startOffset: 7,
  takenMs: 1_700_000_000_123,
};

function batch(
  offset: number,
  timestampMs: number,
  contents: readonly RecordContent[],
): RecordBatch {
  return { offset, count: contents.length, timestampMs, records: encodeRecords(contents) };
}

const batches: readonly RecordBatch[] = [
  batch(7, 1000, [{ value: Buffer.from("plain") }]),
  batch(8, 1000, [
    { value: Buffer.from([0, 255, 128]), key: "a key", headers: { one: "1", two: "" } },
    { value: Buffer.from('{"json":1}'), json: true },
  ]),
  batch(10, 1002, [{ value: Buffer.alloc(0) }]),
];

async function write(
  given: readonly RecordBatch[] = batches,
  from: BackupOrigin = origin,
): Promise<{ readonly bytes: Buffer; readonly summary: BackupSummary }> {
  const disk = quickDisk();
  const file = await disk.create("b");
  const writer = new BackupWriter(file, randomFrom(1), from);
  for (const each of given) await writer.add(each);
  const summary = await writer.finish();
  await file.close();
  return { bytes: await readWholeFile(disk, "b"), summary };
}

async function fileOf(bytes: Buffer): Promise<DiskFile> {
  const file = await quickDisk().create("b");
  await writeAll(file, 0, bytes);
  return file;
}

/** What a reader makes of the bytes. */
async function read(
  bytes: Buffer,
): Promise<{ readonly summary: BackupSummary; readonly batches: RecordBatch[] }> {
  const reader = await BackupReader.open(await fileOf(bytes));
  const found: RecordBatch[] = [];
  for await (const { header, frame } of reader.frames()) {
    const { key: offset, count, timestampMs } = header;
    found.push({ offset, count, timestampMs, records: Buffer.from(frameBody(frame, 0, header)) });
  }
  return { summary: reader.summary, batches: found };
}

describe("a backup file", () => {
  test("gives back what was put in it, and says what it is", async () => {
    const { bytes, summary } = await write();
    expect(summary).toEqual({ ...origin, endOffset: 11, count: 4, bytes: bytes.length });
    expect(await read(bytes)).toEqual({ summary, batches });
  });

  test("holds no record as well", async () => {
    const { bytes, summary } = await write([], { ...origin, startOffset: 0 });
    expect(bytes).toHaveLength(backupHeaderBytes + backupTrailerBytes);
    expect(await read(bytes)).toEqual({ summary, batches: [] });
    expect(summary.count).toBe(0);
  });

  test("holds records larger than what is read at once, and many small ones", async () => {
    const big = batch(0, 5, [{ value: Buffer.alloc(3 * 1024 * 1024 + 1, "x") }]);
    const small = Array.from({ length: 20_000 }, (_, at) =>
      batch(1 + at, 5 + at, [{ value: Buffer.from(`record ${String(at)}`.repeat(6)) }]),
    );
    const all = [big, ...small, batch(20_001, 50_000, [{ value: Buffer.alloc(1_048_576) }])];
    const { bytes } = await write(all, { ...origin, startOffset: 0 });
    const found = await read(bytes);
    expect(found.batches).toHaveLength(all.length);
    expect(found.batches.every((each, at) => each.records.equals(all[at]?.records ?? bytes))).toBe(
      true,
    );
  });

  test("cut short at any byte is refused", async () => {
    const { bytes } = await write();
    for (let length = 0; length < bytes.length; length += 1) {
      await expect(read(bytes.subarray(0, length)), `${String(length)} bytes`).rejects.toThrow(
        DamageError,
      );
    }
  });

  test("with any one bit flipped is refused", async () => {
    const { bytes } = await write();
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await expect(read(flipped), `bit ${String(bit)}`).rejects.toThrow(DamageError);
    }
  });

  test("that is followed by anything, or doubled, is refused", async () => {
    const { bytes } = await write();
    await expect(read(Buffer.concat([bytes, Buffer.alloc(8)]))).rejects.toThrow("cut short");
    await expect(read(Buffer.concat([bytes, bytes]))).rejects.toThrow("cut short");
  });

  test("that lacks a frame, or holds one of another backup, is refused", async () => {
    const { bytes } = await write();
    const other = (await write([batch(7, 1000, [{ value: Buffer.from("other") }])])).bytes;
    const first = backupHeaderBytes + frameHeaderBytes + 16;
    const without = Buffer.concat([bytes.subarray(0, backupHeaderBytes), bytes.subarray(first)]);
    await expect(read(without)).rejects.toThrow(DamageError);
    const mixed = Buffer.from(bytes);
    other.copy(mixed, backupHeaderBytes, backupHeaderBytes, first);
    await expect(read(mixed)).rejects.toThrow("are not those that were saved");
  });

  test("of another version, and what is no backup, are told apart", async () => {
    const { bytes } = await write();
    const newer = Buffer.from(bytes);
    newer.write("02", 6);
    await expect(read(newer)).rejects.toThrow("newer version");
    await expect(read(Buffer.alloc(4096, "x"))).rejects.toThrow("it is no backup");
    await expect(read(Buffer.alloc(0))).rejects.toThrow("it is no backup");
  });

  test("whose records are not encoded as records is refused, whatever its checksums say", async () => {
    const records = Buffer.from("00000009ffffff", "hex");
    const { bytes } = await write([{ offset: 7, count: 1, timestampMs: 1, records }]);
    await expect(read(bytes)).rejects.toThrow("not encoded as records");
  });
});

describe("a writer of backups", () => {
  test("takes no gap, no repeat and no time that runs backwards", async () => {
    const writer = new BackupWriter(await fileOf(Buffer.alloc(0)), randomFrom(1), origin);
    const value = Buffer.from("v");
    await expect(writer.add(batch(8, 1, [{ value }]))).rejects.toThrow("without a gap");
    await writer.add(batch(7, 1000, [{ value }]));
    await expect(writer.add(batch(7, 1000, [{ value }]))).rejects.toThrow("without a gap");
    await expect(writer.add(batch(8, 999, [{ value }]))).rejects.toThrow("time never runs");
  });
});
