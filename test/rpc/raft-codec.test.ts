import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { ExchangeRequest } from "../../src/gen/raft/v1/raft.js";
import type { Entry, Message } from "../../src/raft/message.js";
import { encodeEntries, frameOf } from "../../src/replica/entry-frame.js";
import { MessageEncoder, decodeMessage, encodeMessage } from "../../src/rpc/raft-codec.js";
import { controlFrame, frameKinds } from "../../src/storage/frame.js";

const ends = { from: "a", to: "b" };
const u53 = fc.maxSafeNat();
const member = fc.record({
  id: fc.uuid(),
  name: fc.string(),
  rpcAddr: fc.string(),
  httpAddr: fc.string(),
});
const noData = Buffer.alloc(0);

function commandFrame(body: Uint8Array, index: number, term: number): Buffer {
  return controlFrame(frameKinds.records, { key: index, term }, Buffer.from(body));
}

const appendRequest: fc.Arbitrary<Message> = fc
  .record({
    prevIndex: fc.nat(),
    prevTerm: fc.nat(),
    rises: fc.array(
      fc.record({
        rise: fc.nat(3),
        content: fc.oneof(
          fc.uint8Array({ maxLength: 300 }),
          fc.constant("noop" as const),
          fc.record({ voters: fc.array(member), learners: fc.array(member) }),
        ),
      }),
      { maxLength: 6 },
    ),
    commitIndex: u53,
    round: u53,
  })
  .map(({ prevIndex, prevTerm, rises, commitIndex, round }) => {
    let term = prevTerm;
    const entries = rises.map(({ rise, content }, place): Entry => {
      term += rise;
      const slot = { index: prevIndex + place + 1, term };
      if (content === "noop") return { ...slot, kind: "noop", data: noData };
      if (content instanceof Uint8Array) {
        return { ...slot, kind: "command", data: commandFrame(content, slot.index, term) };
      }
      return { ...slot, kind: "configuration", configuration: content, data: noData };
    });
    const rest = { prevIndex, prevTerm, entries, commitIndex, round };
    return { type: "appendRequest", ...ends, term, ...rest };
  });

const head = { from: fc.constant("a"), to: fc.constant("b"), term: u53 };
const flag = fc.boolean();
const type = <const T extends string>(name: T): fc.Arbitrary<T> => fc.constant(name);

const message: fc.Arbitrary<Message> = fc.oneof(
  appendRequest,
  fc.record({
    ...head,
    type: type("voteRequest"),
    lastIndex: u53,
    lastTerm: u53,
    preVote: flag,
    transfer: flag,
  }),
  fc.record({ ...head, type: type("voteResponse"), granted: flag, preVote: flag }),
  fc.record({
    ...head,
    type: type("appendResponse"),
    rejected: flag,
    index: u53,
    conflictTerm: u53,
    conflictIndex: u53,
    round: u53,
  }),
  fc.record({ ...head, type: type("snapshotOffer"), index: u53, snapshotTerm: u53, round: u53 }),
  fc.record({ ...head, type: type("snapshotResponse"), rejected: flag, index: u53, round: u53 }),
  fc.record({ ...head, type: type("readIndexRequest"), readId: u53 }),
  fc.record({ ...head, type: type("readIndexResponse"), readId: u53, index: u53, rejected: flag }),
  fc.record({ ...head, type: type("timeoutNow") }),
);

/** The message as the generated codec's type. */
function generated(of: Message): ExchangeRequest {
  const { type: $case, from: _from, to: _to, term, ...fields } = of;
  const value: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(fields)) {
    if (name === "entries") value["frames"] = Buffer.concat(encodeEntries(field as Entry[]));
    else value[name] = typeof field === "number" ? BigInt(field) : field;
  }
  return { group: 0, term: BigInt(term), message: { $case, value } as never };
}

/** A protobuf field, by its tag and content. */
function field(number: number, wireType: number, content: Uint8Array | readonly number[]): Buffer {
  const tag: number[] = [];
  let rest = number * 8 + wireType;
  for (; rest >= 128; rest = Math.floor(rest / 128)) tag.push((rest % 128) | 0x80);
  return Buffer.concat([Buffer.from([...tag, rest]), Buffer.from(content)]);
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128n; rest /= 128n) bytes.push(Number(rest % 128n) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}

function bytesField(number: number, content: Buffer): Buffer {
  return field(number, 2, Buffer.concat([varint(BigInt(content.length)), content]));
}

function refusalOf(wire: Buffer): string {
  try {
    decodeMessage(wire, ends);
  } catch (error) {
    expect(error).toBeInstanceOf(ProglogError);
    expect((error as ProglogError).code).toBe("invalid-request");
    return (error as ProglogError).message;
  }
  throw new Error("the bytes were taken");
}

describe("against the generated codec", () => {
  test("what is encoded by hand decodes to the same", () => {
    fc.assert(
      fc.property(message, (sent) => {
        const wire = encodeMessage(sent);
        expect(decodeMessage(wire, ends)).toEqual(sent);
        expect(ExchangeRequest.decode(wire)).toEqual(generated(sent));
      }),
      { numRuns: 500 },
    );
  });

  test("the generated encoder writes the same bytes", () => {
    fc.assert(
      fc.property(message, (sent) => {
        const wire = Buffer.from(ExchangeRequest.encode(generated(sent)).finish());
        expect(decodeMessage(wire, ends)).toEqual(sent);
        // An empty bytes field is all that the two may write differently.
        if (sent.type !== "appendRequest" || sent.entries.length > 0) {
          expect(encodeMessage(sent).equals(wire)).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("fields come in any order, with unknown ones between", () => {
    const unknown = fc.oneof(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => field(100, 0, varint(value))),
      fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => field(2000, 1, bytes)),
      fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => field(16, 5, bytes)),
      fc.uint8Array({ maxLength: 40 }).map((bytes) => bytesField(99, Buffer.from(bytes))),
    );
    fc.assert(
      fc.property(
        fc.array(unknown, { maxLength: 4 }),
        fc.array(unknown, { maxLength: 4 }),
        fc.infiniteStream(fc.nat()),
        (outer, inner, order) => {
          const shuffled = (parts: Buffer[]): Buffer =>
            Buffer.concat(
              parts
                .map((part) => ({ part, rank: Number(order.next().value) }))
                .sort((x, y) => x.rank - y.rank)
                .map(({ part }) => part),
            );
          const frame = commandFrame(Buffer.from("abc"), 8, 3);
          const member = shuffled([
            field(1, 0, varint(7n)),
            field(2, 0, varint(2n)),
            field(3, 0, varint(6n)),
            field(4, 0, varint(300n)),
            bytesField(5, frame),
            ...inner,
          ]);
          const wire = shuffled([
            field(1, 0, [0]),
            field(2, 0, varint(3n)),
            bytesField(5, member),
            ...outer,
          ]);
          expect(decodeMessage(wire, ends)).toEqual({
            type: "appendRequest",
            ...ends,
            term: 3,
            prevIndex: 7,
            prevTerm: 2,
            commitIndex: 6,
            round: 300,
            entries: [{ index: 8, term: 3, kind: "command", data: frame }],
          });
        },
      ),
    );
  });
});

describe("malformed input", () => {
  test("bytes cut short are refused, never another message", () => {
    fc.assert(
      fc.property(message, fc.nat(), (sent, cut) => {
        const wire = encodeMessage(sent);
        const short = wire.subarray(0, cut % wire.length);
        expect(refusalOf(short)).toMatch(/malformed/);
      }),
    );
  });

  test("any bytes give a message or a refusal", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          decodeMessage(Buffer.from(bytes), ends);
        } catch (error) {
          expect(error).toBeInstanceOf(ProglogError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("a changed bit of an entry's frame is refused", () => {
    const frame = commandFrame(Buffer.from("0123456789"), 1, 1);
    const prefix = encodeMessage({
      type: "appendRequest",
      ...ends,
      term: 1,
      prevIndex: 0,
      prevTerm: 0,
      commitIndex: 0,
      round: 0,
      entries: [{ index: 1, term: 1, kind: "command", data: frame }],
    });
    const start = prefix.length - frame.length;
    for (let position = start; position < start + 64 + 10; position++) {
      const damaged = Buffer.from(prefix);
      damaged[position] = (damaged[position] ?? 0) ^ 0x10;
      expect(refusalOf(damaged)).toMatch(/frame of an entry is damaged/);
    }
  });

  test("numbers above 2^53-1 are refused", () => {
    for (const value of [2n ** 53n, 2n ** 64n - 1n]) {
      const outer = Buffer.concat([field(2, 0, varint(value)), bytesField(11, noData)]);
      expect(refusalOf(outer)).toMatch(/2\^53-1/);
      expect(refusalOf(bytesField(9, field(1, 0, varint(value))))).toMatch(/2\^53-1/);
    }
    const largest = bytesField(9, field(1, 0, varint(2n ** 53n - 1n)));
    expect(decodeMessage(largest, ends)).toMatchObject({ readId: Number.MAX_SAFE_INTEGER });
  });

  test("entries that leave a hole, repeat, or start elsewhere are refused", () => {
    const request = (indexes: readonly number[], terms: readonly number[]): Buffer =>
      encodeMessage({
        type: "appendRequest",
        ...ends,
        term: 5,
        prevIndex: 10,
        prevTerm: 4,
        commitIndex: 0,
        round: 0,
        entries: indexes.map((index, place) => {
          const term = terms[place] ?? 5;
          return { index, term, kind: "noop", data: noData };
        }),
      });
    expect(decodeMessage(request([11, 12], [4, 5]), ends)).toMatchObject({ prevIndex: 10 });
    for (const indexes of [[12], [11, 13], [11, 11], [10, 11], [0]]) {
      expect(refusalOf(request(indexes, []))).toMatch(/do not follow one another/);
    }
    for (const terms of [
      [3, 5],
      [5, 4],
      [5, 6],
    ]) {
      expect(refusalOf(request([11, 12], terms))).toMatch(/term of an entry/);
    }
  });

  test("two messages in one, none, another group, or a field of the wrong type are refused", () => {
    const timeout = bytesField(11, noData);
    expect(refusalOf(Buffer.concat([timeout, timeout]))).toMatch(/two messages/);
    expect(refusalOf(noData)).toMatch(/no message/);
    expect(refusalOf(field(2, 0, [1]))).toMatch(/no message/);
    expect(refusalOf(Buffer.concat([field(1, 0, [1]), timeout]))).toMatch(/group/);
    expect(refusalOf(field(11, 0, [0]))).toMatch(/wrong wire type/);
    expect(refusalOf(bytesField(9, bytesField(1, noData)))).toMatch(/wrong wire type/);
    expect(refusalOf(field(0, 0, [1]))).toMatch(/field number/);
    expect(refusalOf(field(90, 3, []))).toMatch(/unknown wire type/);
    expect(refusalOf(field(2, 0, new Array<number>(11).fill(0x80)))).toMatch(/ten bytes/);
  });
});

test("entries are views of what arrived, not copies", () => {
  const sent = commandFrame(Buffer.alloc(1000, 7), 1, 1);
  const wire = encodeMessage({
    type: "appendRequest",
    ...ends,
    term: 1,
    prevIndex: 0,
    prevTerm: 0,
    commitIndex: 0,
    round: 0,
    entries: [{ index: 1, term: 1, kind: "command", data: sent }],
  });
  const received = decodeMessage(wire, ends);
  if (received.type !== "appendRequest") throw new Error("an append request arrives");
  expect(received.entries[0]?.data.buffer).toBe(wire.buffer);
  expect(received.entries[0]?.data.equals(frameOf(received.entries[0]))).toBe(true);
});

test("one append is encoded once for all peers, and anew when anything in it differs", () => {
  const encoder = new MessageEncoder();
  const entries = [{ index: 1, term: 1, kind: "noop", data: Buffer.alloc(0) }] as const;
  const append = {
    type: "appendRequest",
    from: "a",
    to: "b",
    term: 1,
    prevIndex: 0,
    prevTerm: 0,
    entries,
    commitIndex: 0,
    round: 0,
  } as const;
  const first = encoder.encode(append);
  expect(encoder.encode({ ...append, to: "c", entries: [...entries] })).toBe(first);
  expect(first).toEqual(encodeMessage(append));
  for (const other of [{ term: 2 }, { commitIndex: 1 }, { round: 3 }, { prevTerm: 1 }]) {
    const request = { ...append, ...other };
    expect(encoder.encode(request)).toEqual(encodeMessage(request));
  }
});
