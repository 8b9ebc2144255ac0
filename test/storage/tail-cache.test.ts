import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { describe, expect, test } from "vitest";

import { TailCache } from "../../src/storage/tail-cache.js";

function batch(offset: number, bytes = 100) {
  return { offset, count: 10, timestampMs: 1, records: Buffer.alloc(bytes) };
}

describe("a tail cache", () => {
  test("keeps the newest written batches within its bound", () => {
    const cache = new TailCache(1000);
    for (let offset = 0; offset < 5000; offset += 10) {
      cache.written(cache.add(batch(offset)));
      expect(cache.bytes).toBeLessThanOrEqual(1000);
    }
    expect(cache.startOffset).toBe(4900);
    expect(cache.read(4899, 100)).toBeUndefined();
    expect(cache.read(4999, 100)?.map(({ offset }) => offset)).toEqual([4990]);
  });

  test("drops nothing that is not written, nor what comes after it", () => {
    const cache = new TailCache(1000);
    const first = cache.add(batch(0));
    for (let offset = 10; offset < 1000; offset += 10) cache.written(cache.add(batch(offset)));
    expect(cache.startOffset).toBe(0);
    expect(cache.bytes).toBe(10_000);
    cache.written(first);
    expect(cache.startOffset).toBe(900);
    expect(cache.bytes).toBe(1000);
  });

  test("reads from within a batch, at least one, and no more than asked for", () => {
    const cache = new TailCache(100_000);
    for (let offset = 0; offset < 1000; offset += 10) cache.add(batch(offset));
    for (let offset = 0; offset < 1000; offset += 1) {
      const found = cache.read(offset, 250) ?? [];
      expect(found[0]?.offset).toBe(Math.floor(offset / 10) * 10);
      expect(found).toHaveLength(Math.min(2, 100 - Math.floor(offset / 10)));
    }
    expect(cache.read(5, 0)).toHaveLength(1);
    cache.clear();
    expect(cache.read(5, 0)).toBeUndefined();
  });

  test("lets go of the memory of what it drops", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const cache = new TailCache(1000);
    const dropped: WeakRef<object>[] = [];
    const fill = (): void => {
      for (let offset = 0; offset < 1000; offset += 10) {
        const fresh = batch(offset);
        if (offset < 900) dropped.push(new WeakRef(fresh.records));
        cache.written(cache.add(fresh));
      }
    };
    fill();
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    collect();
    expect(dropped.filter((reference) => reference.deref() !== undefined)).toEqual([]);
  });
});
