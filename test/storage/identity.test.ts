import { describe, expect, test } from "vitest";

import { DamageError } from "../../src/storage/damage.js";
import { readIdentity, writeIdentity } from "../../src/storage/identity.js";
import { quickDisk, settled } from "./simulated.js";

const identity = {
  nodeId: "5f0c2f2e-8f39-4a70-9b0a-3f2f7c8d5a11",
  clusterId: null,
  isFounding: true,
  hasLog: false,
  hasCheckpoint: false,
};
const bound = { ...identity, clusterId: "a-cluster", isFounding: false, hasLog: true };

describe("an identity", () => {
  test("is not there in an empty directory, and is kept once written", async () => {
    const disk = quickDisk();
    expect(await readIdentity(disk)).toBeUndefined();
    await writeIdentity(disk, identity);
    expect(await readIdentity(disk)).toEqual(identity);
    await writeIdentity(disk, bound);
    expect(await readIdentity(disk.crash("lose-unsynced"))).toEqual(bound);
  });

  test("is the old one or the new one after a power cut at any call, never none", async () => {
    for (const mode of ["lose-unsynced", "keep-some", "tear"] as const) {
      for (let ordinal = 0; ordinal < 12; ordinal += 1) {
        const disk = quickDisk(ordinal);
        await writeIdentity(disk, identity);
        const start = disk.callCount;
        disk.onCall = (call) => ({ hangs: call.ordinal >= start + ordinal });
        void writeIdentity(disk, bound);
        await settled(2);
        const after = disk.crash(mode);
        after.onCall = undefined;
        expect([identity, bound]).toContainEqual(await readIdentity(after));
        await writeIdentity(after, bound);
        expect(await readIdentity(after)).toEqual(bound);
      }
    }
  });

  test("is refused after any change of what it says, by its file", async () => {
    const disk = quickDisk();
    await writeIdentity(disk, bound);
    const text = disk.snapshotBytes("identity.json")?.toString() ?? "";
    for (let at = 0; at < text.length; at += 1) {
      const damaged = disk.fork();
      damaged.corrupt("identity.json", at, 0);
      const outcome: unknown = await readIdentity(damaged).catch((error: unknown) => error);
      // Space outside of words is the only thing that may change without notice.
      if (/\s/.test(text[at] ?? "") && !(outcome instanceof Error)) {
        expect(outcome).toEqual(bound);
        continue;
      }
      expect(outcome, `byte ${String(at)}`).toBeInstanceOf(DamageError);
      expect(outcome).toMatchObject({ file: "identity.json" });
    }
  });

  test("is refused if its file is cut short or empty: it never begins anew", async () => {
    const disk = quickDisk();
    await writeIdentity(disk, bound);
    for (const bytes of [0, 1, 20, 100]) {
      const damaged = disk.fork();
      damaged.truncateFile("identity.json", bytes);
      await expect(readIdentity(damaged)).rejects.toThrow(DamageError);
    }
  });
});
