/** The data directory: one process, one identity, one cluster, also after a start was cut off. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { NodeDirectory } from "../../src/agent/node-directory.js";
import { StartError } from "../../src/agent/start-error.js";
import { systemRandom } from "../../src/common/system.js";
import { DamageError } from "../../src/storage/damage.js";
import { LevelCheckpointStore } from "../../src/storage/level-checkpoint.js";
import { NodeDisk } from "../../src/storage/node-disk.js";

let path: string;

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "proglog-directory-"));
});

afterEach(async () => {
  await rm(path, { recursive: true, force: true });
});

async function open(isFounding: boolean, root = path): Promise<NodeDirectory> {
  return NodeDirectory.open({
    disk: new NodeDisk(root),
    openCheckpoints: async () => LevelCheckpointStore.open(join(root, "checkpoint")),
    random: systemRandom,
    isFounding,
  });
}

async function reopened(isFounding: boolean): Promise<NodeDirectory["identity"]> {
  const directory = await open(isFounding);
  const { identity } = directory;
  await directory.close();
  return identity;
}

test("a founder has a cluster from the first moment, a joiner none", async () => {
  expect(await reopened(true)).toMatchObject({ isFounding: true, hasLog: false });
  await rm(path, { recursive: true });
  expect(await reopened(false)).toMatchObject({ clusterId: null, isFounding: false });
});

test("an identity is made once: the same command line is right for every start", async () => {
  const first = await reopened(true);
  expect(await reopened(true)).toEqual(first);
  expect(await reopened(false)).toEqual(first);
});

test("a joiner never founds a cluster, whatever a later start asks for", async () => {
  const first = await reopened(false);
  expect(await reopened(true)).toEqual(first);
});

test("founding that was cut off before the log was noted goes on at the next start", async () => {
  const first = await reopened(true);
  const directory = await open(true);
  expect(directory.identity).toEqual(first);
  expect(directory.identity.isFounding).toBe(true);
  await directory.noteLog();
  expect(directory.identity).toEqual({ ...first, isFounding: false, hasLog: true });
  await directory.close();
  expect(await reopened(true)).toEqual({ ...first, isFounding: false, hasLog: true });
});

test("a directory stays bound to its cluster", async () => {
  const directory = await open(false);
  await directory.bindTo("c1");
  await directory.close();
  expect(await reopened(false)).toMatchObject({ clusterId: "c1" });
});

test("a second process is refused in one line, and the first goes on", async () => {
  const directory = await open(true);
  const second = open(true);
  await expect(second).rejects.toBeInstanceOf(StartError);
  await expect(second).rejects.toThrow("in use by another process");
  await directory.noteLog();
  await directory.close();
  expect(await reopened(true)).toMatchObject({ hasLog: true });
});

test("a damaged identity stops the start, and nothing is made anew over it", async () => {
  await reopened(true);
  await writeFile(join(path, "identity.json"), "{}");
  for (let attempt = 0; attempt < 2; attempt += 1) {
    await expect(open(true)).rejects.toBeInstanceOf(DamageError);
  }
});

test("a directory that can't be one is refused with the remedy", async () => {
  const file = join(path, "file");
  await writeFile(file, "");
  await expect(open(true, file)).rejects.toThrow("--data-dir");
});

test("a closed directory can be opened again in the same process", async () => {
  for (let attempt = 0; attempt < 3; attempt += 1) await reopened(true);
});
