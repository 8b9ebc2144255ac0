/**
 * What every implementation of the checkpoint port must do: run alike on the real store and on
 * those that stand in for it.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { emptyCheckpoint } from "../../src/storage/checkpoint.js";
import type { Checkpoint, CheckpointStore } from "../../src/storage/checkpoint.js";

/** A place that holds checkpoints, and what takes it away again. */
export interface CheckpointPlace {
  open(): Promise<CheckpointStore>;
  dispose(): Promise<void>;
}

/** A checkpoint with so many segments, of which the last is active. */
export function checkpointWith(segmentCount: number, appliedIndex = segmentCount): Checkpoint {
  const segments = Array.from({ length: segmentCount }, (_, at) => ({
    baseOffset: at * 100,
    endOffset: at * 100 + (at === segmentCount - 1 ? appliedIndex % 100 : 100),
    bytes: 5000 + at,
    checksum: 0xf0000000 + at,
  }));
  return {
    ...emptyCheckpoint,
    appliedIndex,
    appliedTerm: 3,
    configurationIndex: 1,
    configuration: '{"voters":[],"learners":[{"name":"ä"}]}',
    endOffset: segments.at(-1)?.endOffset ?? 0,
    timestampMs: 1_700_000_000_000,
    segmentBytes: 16_384,
    clusterId: "cluster",
    segments,
  };
}

/** Declares the tests of the contract. */
export function checkpointContract(name: string, makePlace: () => Promise<CheckpointPlace>): void {
  describe(`${name} as a checkpoint store`, () => {
    let place: CheckpointPlace;

    beforeEach(async () => {
      place = await makePlace();
    });

    afterEach(async () => {
      await place.dispose();
    });

    async function reopened(): Promise<Checkpoint | undefined> {
      const store = await place.open();
      const found = await store.load();
      await store.close();
      return found;
    }

    test("is empty at first", async () => {
      expect(await reopened()).toBeUndefined();
    });

    test("gives back what was saved last, at once and after a reopen", async () => {
      const store = await place.open();
      for (const checkpoint of [checkpointWith(0), checkpointWith(1), checkpointWith(30, 77)]) {
        await store.save(checkpoint);
        expect(await store.load()).toEqual(checkpoint);
      }
      await store.close();
      expect(await reopened()).toEqual(checkpointWith(30, 77));
    });

    test("keeps nothing of an older one that had other segments", async () => {
      const store = await place.open();
      await store.save(checkpointWith(20));
      const few = { ...checkpointWith(20), segments: checkpointWith(20).segments.slice(12) };
      await store.save(few);
      expect(await store.load()).toEqual(few);
      await store.close();
      expect(await reopened()).toEqual(few);
    });

    test("may be saved over without having been loaded", async () => {
      const store = await place.open();
      await store.save(checkpointWith(9));
      await store.close();
      const again = await place.open();
      await again.save(checkpointWith(4));
      await again.close();
      expect(await reopened()).toEqual(checkpointWith(4));
    });

    test("gives segments in the order of their offsets", async () => {
      const store = await place.open();
      const checkpoint = checkpointWith(15);
      const widely = checkpoint.segments.map((ref) => ({
        ...ref,
        baseOffset: ref.baseOffset * 10 ** 9,
      }));
      await store.save({ ...checkpoint, segments: widely });
      await store.close();
      expect((await reopened())?.segments).toEqual(widely);
    });
  });
}
