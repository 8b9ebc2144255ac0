/** Messages that wait for the disk: never early, never after a failure, none lost. */
import { expect, test } from "vitest";

import type { AppendResponse, Message } from "../../src/raft/index.js";
import { Outbox } from "../../src/replica/outbox.js";

function ack(index: number, fields: Partial<AppendResponse> = {}): AppendResponse {
  return {
    type: "appendResponse",
    from: "n1",
    to: "n2",
    term: 3,
    rejected: false,
    index,
    conflictTerm: 0,
    conflictIndex: 0,
    round: 0,
    ...fields,
  };
}

function outbox(): { readonly box: Outbox; readonly sent: Message[] } {
  const sent: Message[] = [];
  const box = new Outbox((message) => {
    sent.push(message);
  });
  return { box, sent };
}

test("a message leaves only when its token is durable", () => {
  const { box, sent } = outbox();
  box.put(ack(1), 2);
  box.release(1);
  expect(sent).toEqual([]);
  box.release(2);
  expect(sent).toEqual([ack(1)]);
});

test("a message that rests on nothing new leaves at once", () => {
  const { box, sent } = outbox();
  box.put(ack(1), 0);
  box.release(5);
  box.put(ack(2), 5);
  expect(sent).toEqual([ack(1), ack(2)]);
});

test("of acknowledgements that leave together only the last goes", () => {
  const { box, sent } = outbox();
  for (let index = 1; index <= 5; index += 1) box.put(ack(index), index);
  box.release(5);
  expect(sent.at(-1)).toEqual(ack(5));
  expect(sent).toHaveLength(1);
});

test("an acknowledgement whose token is not durable never covers one that is", () => {
  const { box, sent } = outbox();
  box.put(ack(1), 1);
  box.put(ack(2), 2);
  box.release(1);
  expect(sent).toEqual([ack(1)]);
});

test.each([
  ["another peer", { to: "n3" }],
  ["another term", { term: 4 }],
  ["a lower index", { index: 1 }],
  ["an older read round", { round: 0 }],
  ["a rejection", { rejected: true }],
])("an acknowledgement is not covered by one of %s", (_what, fields) => {
  const { box, sent } = outbox();
  const first = ack(2, { round: 1 });
  box.put(first, 1);
  box.put(ack(3, { round: 1, ...fields }), 1);
  box.release(1);
  expect(sent[0]).toEqual(first);
  expect(sent).toHaveLength(2);
});

test("a rejection and a vote are never left out", () => {
  const { box, sent } = outbox();
  const vote = { type: "voteResponse", from: "n1", to: "n2", term: 3 } as const;
  box.put(ack(1, { rejected: true }), 1);
  box.put({ ...vote, granted: true, preVote: false }, 1);
  box.put(ack(9), 1);
  box.release(1);
  expect(sent).toHaveLength(3);
});

test("after a failure nothing that was held leaves", () => {
  const { box, sent } = outbox();
  box.put(ack(1), 1);
  box.clear();
  box.release(1);
  expect(sent).toEqual([]);
});

test("durability never goes back", () => {
  const { box } = outbox();
  box.release(3);
  expect(() => {
    box.release(2);
  }).toThrow("durability only grows");
});
