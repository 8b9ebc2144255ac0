import { cp, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Level } from "level";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { DamageError } from "../../src/storage/damage.js";
import { LevelCheckpointStore } from "../../src/storage/level-checkpoint.js";
import { checkpointContract, checkpointWith } from "./checkpoint-contract.js";

async function makeDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), "proglog-checkpoint-"));
}

checkpointContract("a LevelCheckpointStore", async () => {
  const directory = await makeDirectory();
  return {
    open: () => LevelCheckpointStore.open(directory),
    dispose: () => rm(directory, { recursive: true }),
  };
});

describe("a LevelCheckpointStore", () => {
  let directory: string;

  beforeEach(async () => {
    directory = await makeDirectory();
  });

  afterEach(async () => {
    await rm(directory, { recursive: true });
  });

  async function saved(...segmentCounts: number[]): Promise<void> {
    const store = await LevelCheckpointStore.open(directory);
    for (const count of segmentCounts) await store.save(checkpointWith(count));
    await store.close();
  }

  async function load(from = directory): Promise<unknown> {
    const store = await LevelCheckpointStore.open(from);
    try {
      return await store.load();
    } finally {
      await store.close();
    }
  }

  test("is there after its process was killed", async () => {
    const store = await LevelCheckpointStore.open(directory);
    await store.save(checkpointWith(5));
    const copy = `${directory}-copy`;
    await cp(directory, copy, { recursive: true });
    await store.close();
    expect(await load(copy)).toEqual(checkpointWith(5));
    await rm(copy, { recursive: true });
  });

  test("refuses a value that is not what was saved", async () => {
    await saved(5);
    const level = new Level(directory, { compression: false });
    for (const key of ["meta", "segment/00000000000000000100"]) {
      const text = await level.get(key);
      if (text === undefined) throw new Error(`there is no ${key}`);
      await level.put(key, text.replace("5", "6"));
      await level.close();
      await expect(load()).rejects.toThrow(DamageError);
      await level.open();
      await level.put(key, text);
    }
    await level.close();
    expect(await load()).toEqual(checkpointWith(5));
  });

  test("refuses to give a checkpoint without one of its segments, or without its head", async () => {
    for (const key of ["segment/00000000000000000200", "meta"]) {
      await saved(5);
      const level = new Level(directory, { compression: false });
      await level.del(key);
      await level.close();
      await expect(load()).rejects.toThrow(DamageError);
      await rm(directory, { recursive: true });
    }
    await saved(1);
  });

  test("gives an older checkpoint, none or damage when its files are cut, never a mixture", async () => {
    await saved(3, 6, 9);
    const [log = ""] = (await readdir(directory)).filter((name) => name.endsWith(".log"));
    const whole = await readFile(join(directory, log));
    const wanted = new Set([3, 6, 9].map((count) => JSON.stringify(checkpointWith(count))));
    for (let bytes = whole.length; bytes >= 0; bytes -= 97) {
      const copy = `${directory}-copy`;
      await cp(directory, copy, { recursive: true });
      await writeFile(join(copy, log), whole.subarray(0, bytes));
      const found = await load(copy).catch((error: unknown) => error);
      if (found !== undefined && !(found instanceof Error)) {
        expect(wanted).toContain(JSON.stringify(found));
      }
      await rm(copy, { recursive: true });
    }
  });
});
