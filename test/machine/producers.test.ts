/** What is remembered of producers, and what is forgotten: by the log alone. */
import { expect, test } from "vitest";

import type { ProducerState } from "../../src/machine/producers.js";
import {
  Producers,
  appendCountMax,
  producerAgeMsMax,
  producerCountMax,
} from "../../src/machine/producers.js";

let offset = 0;

function note(producers: Producers, id: string, sequence: number, timestampMs = 0): number {
  offset += 1;
  producers.note(id, { sequence, offset, count: 1, timestampMs });
  return offset;
}

test("a repeated append is found where it went, one after a gap is new", () => {
  const producers = new Producers([]);
  const first = note(producers, "a", 4);
  expect(producers.find({ id: "a", sequence: 4 })).toMatchObject({ offset: first });
  expect(producers.find({ id: "a", sequence: 9 })).toBe("new");
  expect(producers.find({ id: "b", sequence: 4 })).toBe("new");
});

test("a sequence below the last that is not remembered is too old, also one never seen", () => {
  const producers = new Producers([]);
  for (let sequence = 1; sequence <= appendCountMax + 1; sequence += 1) {
    note(producers, "a", sequence * 2);
  }
  expect(producers.find({ id: "a", sequence: 2 })).toBe("too-old");
  expect(producers.find({ id: "a", sequence: 5 })).toBe("too-old");
  expect(producers.find({ id: "a", sequence: 4 })).toMatchObject({ sequence: 4 });
});

test("the producer whose last append is oldest is forgotten when there are too many", () => {
  const producers = new Producers([]);
  note(producers, "a", 1);
  note(producers, "b", 1);
  note(producers, "a", 2);
  for (let at = 0; at < producerCountMax - 1; at += 1) note(producers, `c${String(at)}`, 1);
  expect(producers.count).toBe(producerCountMax);
  expect(producers.find({ id: "b", sequence: 1 })).toBe("new");
  expect(producers.find({ id: "a", sequence: 1 })).toMatchObject({ sequence: 1 });
});

test("a producer is forgotten by the timestamps in the log", () => {
  const producers = new Producers([]);
  note(producers, "a", 1, 1000);
  note(producers, "b", 1, 1000 + producerAgeMsMax);
  expect(producers.find({ id: "a", sequence: 1 })).toMatchObject({ sequence: 1 });
  note(producers, "b", 2, 1001 + producerAgeMsMax);
  expect(producers.find({ id: "a", sequence: 1 })).toBe("new");
});

test("what a checkpoint kept forgets in the same order as what went on", () => {
  const going = new Producers([]);
  for (const id of ["a", "b", "c"]) note(going, id, 1);
  note(going, "a", 2);
  const kept = JSON.parse(JSON.stringify(going.states())) as ProducerState[];
  const restored = new Producers(kept);
  expect(restored.states()).toEqual(going.states());
  expect(restored.states().map(({ id }) => id)).toEqual(["b", "c", "a"]);
});

test("what a checkpoint keeps is not changed by what comes after", () => {
  const producers = new Producers([]);
  note(producers, "a", 1);
  const kept = producers.states();
  const text = JSON.stringify(kept);
  note(producers, "a", 2);
  expect(JSON.stringify(kept)).toBe(text);
});

test("it is known of an append that it is in the log, or never will be, or is not decided", () => {
  const producers = new Producers([]);
  expect(producers.settlementOf({ id: "a", sequence: 3 })).toBe("open");
  for (const sequence of [1, 3, 5, 7, 9, 11]) note(producers, "a", sequence);
  expect(producers.settlementOf({ id: "a", sequence: 5 })).toMatchObject({ sequence: 5, count: 1 });
  expect(producers.settlementOf({ id: "a", sequence: 4 })).toBe("never");
  expect(producers.settlementOf({ id: "a", sequence: 12 })).toBe("open");
  // 1 was in the log, and 0 was not: neither is remembered.
  for (const sequence of [0, 1, 2]) {
    expect(producers.settlementOf({ id: "a", sequence })).toBe("forgotten");
  }
});

test("a void append is no append, and keeps its place among the producers", () => {
  const producers = new Producers([]);
  const at = note(producers, "a", 1);
  producers.note("b", { sequence: 1, offset: at + 1, count: 0, timestampMs: 0 });
  producers.note("c", { sequence: 1, offset: at + 1, count: 1, timestampMs: 0 });
  expect(producers.settlementOf({ id: "b", sequence: 1 })).toBe("never");
  const kept = new Producers(producers.states());
  expect(kept.states().map(({ id }) => id)).toEqual(["a", "b", "c"]);
  expect(kept.settlementOf({ id: "b", sequence: 1 })).toBe("never");
});
