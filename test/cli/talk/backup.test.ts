/** The commands `backup` and `restore` apart from any cluster: flags, names, parts of batches. */
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { UsageError } from "../../../src/agent/option-table.js";
import { backupOptions } from "../../../src/cli/talk/backup.js";
import { keepBackup, openBackup, placeOf, telling } from "../../../src/cli/talk/backup-place.js";
import { BackupProgress, roundBytes } from "../../../src/cli/talk/backup-progress.js";
import { exitCodeOf, exitCodes } from "../../../src/cli/talk/exit-codes.js";
import { cutOut, LogSource } from "../../../src/cli/talk/log-source.js";
import { restore, restoreOptions } from "../../../src/cli/talk/restore.js";
import { decodeBatch, encodeRecords } from "../../../src/common/record.js";
import type { RecordBatch } from "../../../src/common/record.js";
import { systemClock, systemRandom } from "../../../src/common/system.js";
import type { BackupSummary } from "../../../src/storage/backup-file.js";
import { BackupWriter } from "../../../src/storage/backup-file.js";
import { inspectDirectory } from "../../../src/storage/inspect.js";
import { freePorts } from "../../cluster/ports.js";
import { manualClock } from "../../storage/simulated.js";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "proglog-talk-"));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

const batch: RecordBatch = {
  offset: 10,
  count: 4,
  timestampMs: 99,
  records: encodeRecords(["a", "bb", "", "dddd"].map((text) => ({ value: Buffer.from(text) }))),
};

async function writeBackup(path: string): Promise<BackupSummary> {
  return keepBackup(placeOf(path), async (file) => {
    const origin = { clusterId: "old", startOffset: 10, takenMs: 5 };
    const writer = new BackupWriter(file, systemRandom, origin);
    await writer.add(batch);
    return writer.finish();
  });
}

describe("a part of a batch", () => {
  test.each([
    [10, 14, ["a", "bb", "", "dddd"]],
    [10, 11, ["a"]],
    [12, 99, ["", "dddd"]],
    [11, 13, ["bb", ""]],
  ])("from offset %d to before %d holds just these records", (from, end, values) => {
    const part = cutOut(batch, from, end);
    expect(part).toMatchObject({ offset: from, count: values.length, timestampMs: 99 });
    const found = part === undefined ? [] : [...decodeBatch(part)];
    expect(found.map((record) => record.value.toString())).toEqual(values);
    expect(found.map((record) => record.offset)).toEqual(values.map((_, at) => from + at));
  });

  test.each([9, 14])("from offset %d, which it does not hold, is none", (from) => {
    expect(cutOut(batch, from, 99)).toBeUndefined();
  });
});

describe("flags", () => {
  test("of backup are read", () => {
    const servers = ["a:1"];
    const split = { file: "f", from: "17", json: true };
    expect(backupOptions(split, servers)).toEqual({ file: "f", servers, from: 17, json: true });
    expect(backupOptions({ file: "f" }, servers).from).toBeUndefined();
  });

  test.each(["-1", "1.5", "latest", "", "9007199254740992"])(
    "of backup refuse --from %s",
    (from) => {
      expect(() => backupOptions({ file: "f", from }, [])).toThrow(UsageError);
    },
  );

  test.each([true, "", undefined])("name a file; %j is none", (file) => {
    expect(() => backupOptions({ file }, [])).toThrow(UsageError);
    expect(() => restoreOptions({ file, "data-dir": "d" })).toThrow(UsageError);
  });

  test("of restore are read as a node's options are", () => {
    const split = { file: "f", "data-dir": "d", "segment-bytes": "2MiB", "node-name": "n" };
    expect(restoreOptions(split)).toEqual({
      ...{ file: "f", dataDir: "d", segmentBytes: 2 ** 21, nodeName: "n", json: false },
    });
    expect(() => restoreOptions({ file: "f" })).toThrow("--data-dir");
    expect(() => restoreOptions({ ...split, "segment-bytes": "1" })).toThrow("--segment-bytes");
    expect(() => restoreOptions({ ...split, "node-name": "a b" })).toThrow("--node-name");
  });
});

test("a backup that no node answers gives up in the time it was given", async () => {
  const port = await freePorts(1);
  const source = new LogSource({
    ...{ servers: [`127.0.0.1:${String(port)}`], clock: systemClock, random: systemRandom },
    ...{ timeoutMs: 50, signal: new AbortController().signal },
  });
  const startMs = systemClock.now();
  await expect(source.clusterId()).rejects.toMatchObject({ code: "unavailable" });
  expect(systemClock.now() - startMs).toBeLessThan(5000);
  await source.close();
});

describe("a backup's place", () => {
  test("may be reached by a link", async () => {
    await writeBackup(join(directory, "one.backup"));
    symlinkSync("one.backup", join(directory, "latest"));
    const file = await openBackup(join(directory, "latest"));
    expect(await file.size()).toBe(readFileSync(join(directory, "one.backup")).length);
    await file.close();
  });

  test("is no directory", async () => {
    expect(() => placeOf(directory)).toThrow("is a directory");
    await expect(openBackup(directory)).rejects.toThrow(UsageError);
  });

  test("that the disk has no room or leave for is a refusal, not an unknown outcome", async () => {
    const writing = telling("f", async () => writeBackup(join(directory, "none", "f")));
    const error: unknown = await writing.catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ message: expect.stringContaining("is not there") as string });
    expect(exitCodeOf(error)).toBe(exitCodes.couldNot);
  });

  test.each(["a b", "ü", "a:b", "x".repeat(251)])("is not named %s", (name) => {
    expect(() => placeOf(join(directory, name))).toThrow(UsageError);
  });
});

test("progress is shown now and then, and taken away at the end", () => {
  const clock = manualClock();
  const shown: string[] = [];
  const progress = new BackupProgress(clock, (line) => shown.push(line));
  progress.at("Copying", 0, 10);
  progress.at("Copying", 1, 10);
  clock.advance(1000);
  progress.at("Copying", 5, 10);
  progress.end();
  expect(shown).toEqual(["Copying: 0 %", "Copying: 50 %", ""]);
});

test("sizes are told in whole units", () => {
  expect([999, 1024, 2 ** 20, 1.6 * 2 ** 20, 3 * 2 ** 30].map(roundBytes)).toEqual([
    ...["999 bytes", "1024 bytes", "1 MiB", "2 MiB", "3 GiB"],
  ]);
});

test("restore makes a directory in which inspect finds no fault", async () => {
  const file = join(directory, "b");
  await writeBackup(file);
  const dataDir = join(directory, "deep", "data");
  const printed: string[] = [];
  const { nodeId, clusterId } = await restore(
    { file, dataDir, json: true },
    {
      ...{ clock: systemClock, random: systemRandom, hostname: "h" },
      print: (line) => printed.push(line),
      signal: new AbortController().signal,
    },
  );
  expect(JSON.parse(printed[0] ?? "")).toEqual({
    ...{ dataDir, clusterId, nodeId, startOffset: 10, endOffset: 14, count: 4 },
    ...{ backupClusterId: "old", takenAt: "1970-01-01T00:00:00.005Z" },
  });
  const { faults, lines } = await inspectDirectory(dataDir);
  expect(faults).toEqual([]);
  expect(lines.join("\n")).toContain(`node ${nodeId}, cluster ${clusterId}`);
});
