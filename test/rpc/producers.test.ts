/** Producers over gRPC: who they are on each kind of call, and what a repeat is answered. */
import type { ServiceError } from "@grpc/grpc-js";
import { expect, onTestFinished, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { systemClock } from "../../src/common/system.js";
import { Outcome } from "../../src/gen/log/v1/log.js";
import type {
  GetOutcomeResponse,
  ProduceBatchRequest,
  ProduceBatchResponse,
  ProduceRequest,
  ProduceResponse,
} from "../../src/gen/log/v1/log.js";
import { fromProduceError, fromServiceError } from "../../src/rpc/grpc-errors.js";
import { GrpcPeerCalls } from "../../src/rpc/peer-calls.js";
import { keyedProducer, namedProducer } from "../../src/service/producer.js";
import type { Loopback } from "./loopback.js";
import {
  ask,
  Collected,
  detailsOf,
  failureOf,
  marked,
  produceRequest,
  recordsOf,
  startLoopback,
  until,
} from "./loopback.js";
import { startProxy } from "./peer-net.js";

const invalidArgument = 3;
const forwarded = "proglog-forwarded";

interface ProducerFields {
  readonly producerId?: string;
  readonly sequence?: bigint;
}

async function produce(
  node: Loopback,
  fields: Partial<ProduceRequest>,
  ...marks: readonly string[]
): Promise<ProduceResponse> {
  const request = { ...produceRequest("a"), ...fields };
  return await ask((answer) => node.logClient.produce(request, marked(...marks), answer));
}

function batch(
  id: number,
  fields: Partial<ProduceBatchRequest>,
  ...values: readonly string[]
): ProduceBatchRequest {
  const records = recordsOf(...values);
  const terms = { expectedOffset: undefined, timeoutMs: 0 };
  return { id: BigInt(id), records, count: values.length, ...terms, ...fields };
}

/** The answers to batches, sent one after the other is answered. */
async function produceBatches(
  node: Loopback,
  requests: readonly ProduceBatchRequest[],
  ...marks: readonly string[]
): Promise<readonly ProduceBatchResponse[]> {
  const stream = node.logClient.produceBatch(marked(...marks));
  const answers = new Collected<ProduceBatchResponse>(stream);
  for (const [ordinal, request] of requests.entries()) {
    stream.write(request);
    await answers.count(ordinal + 1);
  }
  stream.end();
  await answers.end();
  return answers.messages;
}

function producersOf(node: Loopback): unknown[] {
  return node.log.requests.map(({ producer }) => producer);
}

function peerCalls(): GrpcPeerCalls {
  const calls = new GrpcPeerCalls({ clock: systemClock });
  onTestFinished(() => calls.close());
  return calls;
}

function hint(rpcAddr: string) {
  return { id: "leader", name: "leader", rpcAddr, httpAddr: "" };
}

async function startFollower(leaderAddress: string): Promise<Loopback> {
  const follower = await startLoopback();
  follower.log.leader = hint(leaderAddress);
  follower.log.peers = peerCalls();
  return follower;
}

test("a Produce that is repeated is answered with where it went", async () => {
  const node = await startLoopback();
  await produce(node, {});
  const fields = { producerId: "orders", sequence: 0n };
  const first = await produce(node, fields);
  expect(first).toMatchObject({ offset: 1n, duplicate: false });
  expect(await produce(node, fields)).toEqual({ ...first, duplicate: true });
  expect(await produce(node, { ...fields, expectedOffset: 99n })).toMatchObject({ offset: 1n });
  expect(await produce(node, { ...fields, sequence: 7n })).toMatchObject({
    ...{ offset: 2n, duplicate: false },
  });
  expect(node.log.endOffset).toBe(3);
  expect(producersOf(node)[1]).toEqual({ id: "p/orders", sequence: 0 });
});

test("a sequence that is not remembered is ABORTED", async () => {
  const node = await startLoopback();
  for (const sequence of [1n, 3n]) await produce(node, { producerId: "orders", sequence });
  const error = await failureOf(produce(node, { producerId: "orders", sequence: 2n }));
  expect(error.code).toBe(10);
  expect(detailsOf(error).info).toMatchObject({
    reason: "sequence-too-old",
    metadata: { outcome: "not_applied", retryable: "false" },
  });
});

const halves: readonly (readonly [string, ProducerFields])[] = [
  ["a producer_id without a sequence", { producerId: "orders" }],
  ["a sequence without a producer_id", { sequence: 0n }],
  ["an empty producer_id", { producerId: "", sequence: 0n }],
  ["a producer_id of 127 bytes", { producerId: "é".repeat(63) + "x", sequence: 0n }],
];

test.each(halves)("%s is an invalid request", async (_name, fields) => {
  const node = await startLoopback();
  const error = await failureOf(produce(node, fields));
  expect(error.code).toBe(invalidArgument);
  expect(detailsOf(error).info.reason).toBe("invalid-request");

  const answers = await produceBatches(node, [batch(1, fields, "a"), batch(2, {}, "b")]);
  expect(answers.map(({ error: refusal }) => refusal?.code)).toEqual([
    "invalid-request",
    undefined,
  ]);

  const stream = node.logClient.produceStream();
  const ended = new Collected<ProduceResponse>(stream);
  stream.write({ ...produceRequest("a"), ...fields });
  expect((await ended.end()).code).toBe(invalidArgument);
  expect(producersOf(node)).toEqual([undefined]);
});

test("a sequence above 2^53-1 is refused, not rounded", async () => {
  const node = await startLoopback();
  const error = await failureOf(produce(node, { producerId: "orders", sequence: 2n ** 53n }));
  expect(error.code).toBe(invalidArgument);
  expect(error.details).toMatch(/sequence must be from 0 to 2\^53-1/);
});

test("a producer_id that is not UTF-8 is refused, and is nobody's", async () => {
  const node = await startLoopback();
  const send = async (idHex: string): Promise<unknown> =>
    new Promise((resolve, reject) => {
      node.logClient.makeUnaryRequest(
        "/log.v1.Log/Produce",
        (wire: Buffer) => wire,
        (wire) => wire,
        Buffer.from(`0a030a0161${idHex}2801`, "hex"),
        (failure, answer) => (failure === null ? resolve(answer) : reject(failure)),
      );
    });
  await send("220161");
  expect((await failureOf(send("2201ff"))).code).toBe(invalidArgument);
  expect(producersOf(node)).toEqual([{ id: "p/a", sequence: 1 }]);
});

test("requests of a producer go alone in a ProduceStream, each with its own answer", async () => {
  const node = await startLoopback();
  const stream = node.logClient.produceStream();
  const answers = new Collected<ProduceResponse>(stream);
  const orders = (sequence: bigint): ProduceRequest => ({
    ...produceRequest(`orders ${sequence}`),
    ...{ producerId: "orders", sequence },
  });
  stream.write(produceRequest("a"));
  stream.write(orders(1n));
  stream.write(orders(2n));
  stream.write(produceRequest("b"));
  stream.write(orders(1n));
  stream.write(produceRequest("c"));
  stream.end();
  await answers.end();
  expect(answers.messages.map(({ offset, duplicate }) => [offset, duplicate])).toEqual([
    [0n, false],
    [1n, false],
    [2n, false],
    [3n, false],
    [1n, true],
    [4n, false],
  ]);
  expect(node.log.at(2).value.toString()).toBe("orders 2");
  expect(node.log.at(4).value.toString()).toBe("c");
});

test("a batch that is repeated is answered with the original's place and count", async () => {
  const node = await startLoopback();
  const fields = { producerId: "orders", sequence: 1n };
  const answers = await produceBatches(node, [
    batch(1, fields, "a", "b"),
    batch(2, {}, "c"),
    batch(3, fields, "other"),
    batch(4, { ...fields, sequence: 2n }, "d"),
  ]);
  expect(answers.map(({ offset, count, duplicate }) => ({ offset, count, duplicate }))).toEqual([
    { offset: 0n, count: 2, duplicate: false },
    { offset: 2n, count: 1, duplicate: false },
    { offset: 0n, count: 2, duplicate: true },
    { offset: 3n, count: 1, duplicate: false },
  ]);
  expect(node.log.endOffset).toBe(4);
});

test("a producer's id reaches the leader as it is in the log, by whatever call", async () => {
  const leader = await startLoopback();
  const follower = await startFollower(leader.address);
  const fields = { producerId: "k/orders", sequence: 5n };
  const first = await produce(follower, fields);
  expect(await produce(leader, fields)).toEqual({ ...first, duplicate: true });
  expect(await produce(follower, fields)).toEqual({ ...first, duplicate: true });
  const [again] = await produceBatches(follower, [batch(1, fields, "x", "y")]);
  expect(again).toMatchObject({ offset: first.offset, count: 1, duplicate: true });
  const own = { id: "p/k/orders", sequence: 5 };
  expect(producersOf(leader)).toEqual([own, own, own, own]);
});

test("the longest ids and keys pass the relay unchanged", async () => {
  const leader = await startLoopback();
  const calls = peerCalls();
  const name = "é".repeat(63);
  const producers = [
    namedProducer(name, Number.MAX_SAFE_INTEGER),
    keyedProducer(name),
    namedProducer("\u{1f980}\ufeff", 0),
    keyedProducer("p/x"),
  ];
  for (const producer of producers) {
    await calls.produce(hint(leader.address), { records: recordsOf("a"), producer });
  }
  expect(producersOf(leader)).toEqual(producers);
});

test("appends of a producer go alone through the relay, and each gets its own answer", async () => {
  const leader = await startLoopback();
  const calls = peerCalls();
  const at = hint(leader.address);
  const key = keyedProducer("order-7");
  const original = await calls.produce(at, { records: recordsOf("a", "b", "c"), producer: key });
  const receipts = await Promise.all([
    calls.produce(at, { records: recordsOf("d") }),
    calls.produce(at, { records: recordsOf("a"), producer: key }),
    calls.produce(at, { records: recordsOf("e"), producer: namedProducer("order-7", 0) }),
    calls.produce(at, { records: recordsOf("f") }),
  ]);
  expect(receipts[0]).toMatchObject({ offset: 3, count: 1 });
  expect(receipts[1]).toEqual({ ...original, isDuplicate: true });
  expect(receipts[2]).toMatchObject({ offset: 4 });
  expect(receipts[2]).not.toHaveProperty("isDuplicate");
  expect(receipts[3]).toMatchObject({ offset: 5 });
});

test("a relayed id that is not a name in the log is refused, whoever sends it", async () => {
  const node = await startLoopback();
  const answers = await produceBatches(
    node,
    [
      batch(1, { producerId: "orders", sequence: 1n }, "a"),
      batch(2, { producerId: "p/", sequence: 1n }, "a"),
      batch(3, { producerId: "k/orders", sequence: 1n }, "a"),
      batch(4, { producerId: `p/${"x".repeat(127)}`, sequence: 1n }, "a"),
      batch(5, { producerId: "p/orders" }, "a"),
      batch(6, { producerId: "p/orders", sequence: 1n }, "a"),
    ],
    forwarded,
  );
  expect(answers.map(({ error }) => error?.code)).toEqual([
    ...Array.from({ length: 5 }, () => "invalid-request"),
    undefined,
  ]);
  expect(producersOf(node)).toEqual([{ id: "p/orders", sequence: 1 }]);
});

test("an id in a Produce is a client's, even if the call is marked as relayed", async () => {
  const node = await startLoopback();
  await produce(node, { producerId: "k/orders", sequence: 0n }, forwarded);
  const stream = node.logClient.produceStream(marked(forwarded));
  const answers = new Collected<ProduceResponse>(stream);
  stream.write({ ...produceRequest("a"), producerId: "k/orders", sequence: 0n });
  expect(await answers.count(1)).toMatchObject([{ offset: 0n, duplicate: true }]);
  stream.end();
  const own = { id: "p/k/orders", sequence: 0 };
  expect(producersOf(node)).toEqual([own, own]);
});

const unknownOutcome = { code: "outcome-unknown", outcome: "unknown" } as const;

test("an unknown outcome says on every call whether it may be retried", async () => {
  const leader = await startLoopback();
  const follower = await startFollower(leader.address);
  for (const node of [leader, follower]) {
    for (const retryable of [true, false]) {
      const fields = retryable ? { producerId: "orders", sequence: 1n } : {};
      const fail = (): void => {
        leader.log.errors.push(new ProglogError("outcome-unknown", "Too late.", { retryable }));
      };
      fail();
      const unary = await failureOf(produce(node, fields));
      expect(unary.code).toBe(4);
      expect(detailsOf(unary).info.metadata["retryable"]).toBe(String(retryable));
      expect(detailsOf(unary).retry !== undefined).toBe(retryable);
      expect(fromServiceError(unary)).toMatchObject({ ...unknownOutcome, retryable });

      fail();
      const stream = node.logClient.produceStream();
      const ended = new Collected<ProduceResponse>(stream);
      stream.write({ ...produceRequest("a"), ...fields });
      await ended.end();
      expect(fromServiceError(ended.error)).toMatchObject({ ...unknownOutcome, retryable });

      fail();
      const [answer] = await produceBatches(node, [batch(1, fields, "a")]);
      if (answer?.error === undefined) throw new Error("the batch did not fail");
      expect(fromProduceError(answer.error)).toMatchObject({ ...unknownOutcome, retryable });
    }
  }
});

test("a leader that dies leaves retryable what has a producer, and the retry finds it", async () => {
  const leader = await startLoopback();
  leader.log.hold();
  const proxy = await startProxy(leader.port);
  const follower = await startFollower(`127.0.0.1:${proxy.port}`);
  const fields = { producerId: "orders", sequence: 1n };
  const pending: Promise<ServiceError>[] = [
    failureOf(produce(follower, fields)),
    failureOf(produce(follower, {})),
  ];
  await until("both are under way", () => leader.log.requests.length === 2);
  await proxy.close();
  const [withProducer, without] = await Promise.all(pending);
  expect(fromServiceError(withProducer)).toMatchObject({ ...unknownOutcome, retryable: true });
  expect(fromServiceError(without)).toMatchObject({ ...unknownOutcome, retryable: false });

  leader.log.release();
  await until("both are applied", () => leader.log.endOffset === 2);
  follower.log.leader = hint(leader.address);
  expect(await produce(follower, fields)).toMatchObject({ duplicate: true });
  expect(leader.log.endOffset).toBe(2);
});

test("a leader that does not answer in time leaves retryable what has a producer", async () => {
  const leader = await startLoopback();
  leader.log.hold();
  const calls = peerCalls();
  const request = { records: recordsOf("a"), timeoutMs: 10 };
  const results = await Promise.allSettled([
    calls.produce(hint(leader.address), { ...request, producer: keyedProducer("order-7") }),
    calls.produce(hint(leader.address), request),
  ]);
  expect(results).toMatchObject([
    { reason: { ...unknownOutcome, retryable: true } },
    { reason: { ...unknownOutcome, retryable: false } },
  ]);
  leader.log.release();
});

test("GetOutcome tells where an append is, or that it never will be anywhere", async () => {
  const node = await startLoopback();
  await produce(node, { producerId: "a", sequence: 4n });
  const outcomeOf = async (producerId: string, sequence: bigint): Promise<GetOutcomeResponse> =>
    ask((answer) => node.logClient.getOutcome({ producerId, sequence }, answer));
  expect(await outcomeOf("a", 4n)).toMatchObject({
    outcome: Outcome.APPLIED,
    offset: 0n,
    count: 1,
  });
  expect(await outcomeOf("a", 5n)).toMatchObject({ outcome: Outcome.NEVER });
  const nameless = await failureOf(outcomeOf("", 1n));
  expect(nameless).toMatchObject({ code: invalidArgument });
});

test("a node asks another by the name that the producer has in the log", async () => {
  const node = await startLoopback();
  const calls = new GrpcPeerCalls({ clock: systemClock });
  onTestFinished(async () => calls.close());
  await produce(node, { producerId: "a", sequence: 4n });
  const leader = { id: "1", name: "n1", rpcAddr: node.address, httpAddr: "" };
  expect(await calls.outcome(leader, namedProducer("a", 4))).toMatchObject({
    ...{ type: "applied", offset: 0, count: 1 },
  });
  expect(await calls.outcome(leader, keyedProducer("a"))).toEqual({ type: "never" });
  node.log.errors.push(new ProglogError("no-leader", "Nobody leads."));
  await expect(calls.outcome(leader, keyedProducer("b"))).rejects.toMatchObject({
    code: "no-leader",
  });
});
