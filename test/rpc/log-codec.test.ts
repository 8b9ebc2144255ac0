import fc from "fast-check";
import { expect, test } from "vitest";

import {
  ConsumeBatchesResponse,
  ProduceBatchRequest,
  ProduceBatchResponse,
  ProduceRequest,
} from "../../src/gen/log/v1/log.js";
import {
  decodeBatchRequest,
  decodeBatchResponse,
  decodeProduceRequest,
  encodeBatchRequest,
  encodeBatchResponse,
  encodeConsumedBatch,
} from "../../src/rpc/log-codec.js";
import { failureOf } from "./loopback.js";

const safe = fc.oneof(
  fc.nat(),
  fc.maxSafeNat(),
  fc.constantFrom(0, 127, 128, 2 ** 32, 2 ** 49, 2 ** 53 - 1),
);
const u32 = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
const bytes = fc.uint8Array({ maxLength: 400 }).map((array) => Buffer.from(array));
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

const exact = (value: bigint): number | bigint =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;

const wireRequest = fc.record({
  id: u64,
  records: bytes,
  count: u32,
  expectedOffset: fc.option(safe.map(BigInt), { nil: undefined }),
  timeoutMs: u32,
  producerId: fc.option(fc.string({ unit: "binary" }), { nil: undefined }),
  sequence: fc.option(safe.map(BigInt), { nil: undefined }),
  // A zero says nothing here, and is not written.
  copies: fc.option(fc.integer({ min: 1, max: 2 ** 32 - 1 }), { nil: undefined }),
  allCopies: fc.option(fc.constant(true), { nil: undefined }),
});

test("a batch request reads and writes as the generated codec does", () => {
  fc.assert(
    fc.property(wireRequest, (message) => {
      const wire = Buffer.from(ProduceBatchRequest.encode(message).finish());
      const { expectedOffset, producerId, sequence, copies, allCopies } = message;
      const request = {
        id: exact(message.id),
        records: message.records,
        count: message.count,
        timeoutMs: message.timeoutMs,
        ...(expectedOffset === undefined ? {} : { expectedOffset: Number(expectedOffset) }),
        ...(producerId === undefined ? {} : { producerId }),
        ...(sequence === undefined ? {} : { sequence: Number(sequence) }),
        ...(copies === undefined ? {} : { copies }),
        ...(allCopies === undefined ? {} : { allCopies }),
      };
      expect(decodeBatchRequest(wire)).toEqual(request);
      expect(encodeBatchRequest(request).equals(wire)).toBe(true);
    }),
  );
});

test("a receipt reads and writes as the generated codec does", () => {
  fc.assert(
    fc.property(u64, safe, u32, safe, fc.boolean(), (id, offset, count, timestampMs, duplicate) => {
      const message = { id, offset: BigInt(offset), count, timestampMs: BigInt(timestampMs) };
      const wire = Buffer.from(
        ProduceBatchResponse.encode({ ...message, error: undefined, duplicate }).finish(),
      );
      const response = {
        ...{ id: exact(id), offset, count, timestampMs },
        ...(duplicate ? { isDuplicate: true as const } : {}),
      };
      expect(decodeBatchResponse(wire)).toEqual(response);
      expect(encodeBatchResponse(response).equals(wire)).toBe(true);
    }),
  );
});

test("an answer before the commit reads and writes as the generated codec does", () => {
  const nothing = { offset: 0n, count: 0, timestampMs: 0n, error: undefined, duplicate: false };
  const message = { ...nothing, id: 300n, uncommitted: true };
  const wire = Buffer.from(ProduceBatchResponse.encode(message).finish());
  expect(decodeBatchResponse(wire)).toEqual({ id: 300, isCommitted: false });
  expect(encodeBatchResponse({ id: 300, isCommitted: false }).equals(wire)).toBe(true);
});

test("a batch's error reads and writes as the generated codec does", () => {
  const error = {
    code: "not-leader",
    detail: "Node two leads.",
    retryable: true,
    outcome: "not_applied",
    fields: { actualOffset: "7" },
    leader: {
      id: "a",
      name: "two",
      rpcAddr: "127.0.0.1:1",
      httpAddr: "127.0.0.1:2",
      isLeader: true,
      voter: true,
    },
  };
  const message = { id: 300n, offset: 0n, count: 0, timestampMs: 0n, error, duplicate: false };
  const wire = Buffer.from(ProduceBatchResponse.encode(message).finish());
  expect(decodeBatchResponse(wire)).toEqual({ id: 300, error });
  expect(encodeBatchResponse({ id: 300, error }).equals(wire)).toBe(true);
});

test("a consumed batch writes as the generated codec does", () => {
  fc.assert(
    fc.property(safe, u32, safe, bytes, (offset, count, timestampMs, records) => {
      const message = { offset: BigInt(offset), count, timestampMs: BigInt(timestampMs), records };
      const wire = Buffer.from(ConsumeBatchesResponse.encode(message).finish());
      expect(encodeConsumedBatch({ offset, count, timestampMs, records }).equals(wire)).toBe(true);
    }),
  );
});

test("the records of a request are a view of the message", () => {
  const records = Buffer.from("records");
  const wire = encodeBatchRequest({ id: 1, records, count: 1, timeoutMs: 0 });
  const decoded = decodeBatchRequest(wire);
  expect(decoded.records.buffer).toBe(wire.buffer);
});

test("fields that are not known are skipped", () => {
  const known = encodeBatchRequest({ id: 5, records: Buffer.from("x"), count: 1, timeoutMs: 0 });
  // Field 12 as a varint, bytes, fixed64 and fixed32, one after the other.
  const unknown = Buffer.from("6005" + "620161" + "610102030405060708" + "6501020304", "hex");
  expect(decodeBatchRequest(Buffer.concat([unknown, known, unknown]))).toEqual(
    decodeBatchRequest(known),
  );
});

test.each([
  ["a number that ends too soon", "08ff"],
  ["a number over 64 bits", "08ffffffffffffffffff7f"],
  ["a number of eleven bytes", "08808080808080808080808001"],
  ["bytes that run past the end", "120561"],
  ["a length that is no length", "12ffffffffffffffffff01"],
  ["records of the wrong type", "1001"],
  ["an id of the wrong type", "0a0161"],
  ["field zero", "0001"],
  ["a group", "4b4c"],
  ["a count over 32 bits", "188080808010"],
  ["an offset over 2^53-1", "208080808080808010"],
  ["a producer's id that is not UTF-8", "320261ff"],
  ["a producer's id that is a surrogate", "3203eda080"],
  ["a sequence over 2^53-1", "388080808080808010"],
  ["a sequence that is text", "3a0131"],
])("%s is refused as invalid", async (_name, hex) => {
  const decode = async (): Promise<unknown> => decodeBatchRequest(Buffer.from(hex, "hex"));
  expect(await failureOf(decode())).toMatchObject({ code: "invalid-request" });
});

test("a producer's id in a ProduceRequest is read as it was sent, or refused", () => {
  const idsOf = (producerId: string): unknown => {
    const request = { record: undefined, expectedOffset: undefined, timeoutMs: 0, producerId };
    const wire = Buffer.from(ProduceRequest.encode(request).finish());
    return decodeProduceRequest(wire).producerId;
  };
  for (const id of ["orders", "", "\ufeffx", "\ufffd", "a\ufffdb"]) expect(idsOf(id)).toBe(id);
  for (const hex of ["220261ff", "2203eda080", "2203efbfbd2202c328"]) {
    expect(() => decodeProduceRequest(Buffer.from(hex, "hex"))).toThrow("producer_id is not UTF-8");
  }
});

test("whatever the bytes, reading them ends in a request or in invalid-request", () => {
  fc.assert(
    fc.property(bytes, (wire) => {
      try {
        decodeBatchRequest(wire);
      } catch (error) {
        expect(error).toMatchObject({ code: "invalid-request" });
      }
    }),
    { numRuns: 2000 },
  );
});
