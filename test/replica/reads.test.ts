/** Reads that wait for the leader's word and for this node: each ends, none ends early. */
import { expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { Reads } from "../../src/replica/reads.js";
import { outcomeOf, randomFrom } from "../storage/simulated.js";

function wait(reads: Reads, first: () => void = () => undefined): Promise<void> {
  const waiting = reads.wait(first);
  waiting.catch(() => undefined);
  return waiting;
}

test("reads of one turn share one question", async () => {
  const reads = new Reads(randomFrom(1));
  let firsts = 0;
  const all = [1, 2, 3].map(() => wait(reads, () => (firsts += 1)));
  const readId = reads.take();
  expect(firsts).toBe(1);
  expect(reads.take()).toBeUndefined();
  reads.ready(readId ?? 0, 5, 5);
  for (const read of all) expect(await outcomeOf(read)).toBe("resolved");
});

test("a read that comes after the question was asked is not answered by it", async () => {
  const reads = new Reads(randomFrom(1));
  void wait(reads);
  const asked = reads.take();
  const later = wait(reads);
  reads.ready(asked ?? 0, 5, 5);
  expect(await outcomeOf(later)).toBe("pending");
  const next = reads.take();
  expect(next).not.toBe(asked);
  reads.ready(next ?? 0, 5, 5);
  expect(await outcomeOf(later)).toBe("resolved");
});

test("a confirmed read waits until this node has applied as far", async () => {
  const reads = new Reads(randomFrom(1));
  const read = wait(reads);
  reads.ready(reads.take() ?? 0, 8, 5);
  reads.applied(7);
  expect(await outcomeOf(read)).toBe("pending");
  reads.applied(8);
  expect(await outcomeOf(read)).toBe("resolved");
});

test("a read that nobody could confirm says so, and may be asked again", async () => {
  const reads = new Reads(randomFrom(1));
  const read = wait(reads);
  reads.rejected(reads.take() ?? 0);
  const error = await outcomeOf(read);
  expect(error).toBeInstanceOf(ProglogError);
  expect(error).toMatchObject({ code: "cannot-confirm", retryable: true, outcome: null });
});

test("a late or doubled answer changes nothing", async () => {
  const reads = new Reads(randomFrom(1));
  void wait(reads);
  const readId = reads.take() ?? 0;
  reads.rejected(readId);
  reads.ready(readId, 1, 1);
  const other = wait(reads);
  reads.ready(readId, 1, 1);
  expect(await outcomeOf(other)).toBe("pending");
});

test("a stop ends the reads of every stage", async () => {
  const reads = new Reads(randomFrom(1));
  const confirmed = wait(reads);
  reads.ready(reads.take() ?? 0, 9, 0);
  const asked = wait(reads);
  reads.take();
  const gathered = wait(reads);
  reads.close();
  for (const read of [confirmed, asked, gathered]) {
    expect(await outcomeOf(read)).toMatchObject({ code: "cannot-confirm" });
  }
});

test("ids of another life of the node are not used again", () => {
  const ids = new Set<number | undefined>();
  for (let life = 0; life < 50; life += 1) {
    const reads = new Reads(randomFrom(life));
    for (let at = 0; at < 3; at += 1) {
      void wait(reads);
      const readId = reads.take();
      expect(Number.isSafeInteger(readId)).toBe(true);
      ids.add(readId);
    }
    reads.close();
  }
  expect(ids.size).toBe(150);
});
