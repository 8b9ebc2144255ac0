import { connect } from "node:http2";

import { credentials, loadPackageDefinition } from "@grpc/grpc-js";
import type { Client, ClientDuplexStream, ClientReadableStream } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { expect, onTestFinished, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { ProduceRequest } from "../../src/gen/log/v1/log.js";
import type {
  ConsumeBatchesResponse,
  ConsumeResponse,
  GetServersResponse,
  ProduceBatchResponse,
  ProduceResponse,
} from "../../src/gen/log/v1/log.js";
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

const outOfRange = 11;
const invalidArgument = 3;

async function produce(
  node: Loopback,
  request: ProduceRequest,
  ...marks: readonly string[]
): Promise<ProduceResponse> {
  return await ask((answer) => node.logClient.produce(request, marked(...marks), answer));
}

async function consume(node: Loopback, offset: bigint): Promise<ConsumeResponse> {
  return await ask((answer) => node.logClient.consume({ offset, consistency: 0 }, answer));
}

test("Produce answers with the offset, and Consume gives the record back", async () => {
  const node = await startLoopback();
  const record = {
    value: Buffer.from("hello"),
    offset: 99n,
    key: "k",
    headers: { a: "b" },
    timestampMs: 5n,
    json: false,
  };
  const receipt = await produce(node, { record, expectedOffset: undefined, timeoutMs: 0 });
  expect(receipt.offset).toBe(0n);
  const consumed = await consume(node, 0n);
  expect(consumed.record).toEqual({ ...record, offset: 0n, timestampMs: receipt.timestampMs });
});

test("Produce is relayed for clients, and never for a node that relays it", async () => {
  const node = await startLoopback();
  await produce(node, produceRequest("a"));
  await produce(node, produceRequest("b"), "proglog-forwarded");
  expect(node.log.requests.map(({ relay, forwarded }) => ({ relay, forwarded }))).toEqual([
    { relay: true, forwarded: undefined },
    { relay: false, forwarded: true },
  ]);
});

test("what is wrong with a Produce is said", async () => {
  const node = await startLoopback({ options: { recordBytesMax: 100 } });
  const missing = { record: undefined, expectedOffset: undefined, timeoutMs: 0 };
  const noRecord = await failureOf(produce(node, missing));
  expect(noRecord).toMatchObject({ code: invalidArgument, details: "The request has no record." });
  const large = await failureOf(produce(node, produceRequest(Buffer.alloc(101))));
  expect(detailsOf(large).info).toMatchObject({
    reason: "record-too-large",
    metadata: { bytesMax: "100", outcome: "not_applied", retryable: "false" },
  });
  const request = { ...produceRequest("x"), expectedOffset: 2n ** 53n };
  const inexact = await failureOf(produce(node, request));
  expect(inexact.details).toMatch(/expected_offset must be from 0 to 2\^53-1/);
  expect(node.log.requests).toEqual([]);
});

test("an offset above 2^53-1 is refused, not rounded", async () => {
  const node = await startLoopback();
  const error = await failureOf(consume(node, 2n ** 53n));
  expect(error.code).toBe(invalidArgument);
  expect(error.details).toContain("9007199254740992");
});

test("a message that can't be decoded is an invalid request", async () => {
  const node = await startLoopback();
  const error = await failureOf(
    new Promise((resolve, reject) => {
      node.logClient.makeUnaryRequest(
        "/log.v1.Log/Produce",
        (wire: Buffer) => wire,
        (wire) => wire,
        Buffer.from("0aff", "hex"),
        (failure, answer) => (failure === null ? resolve(answer) : reject(failure)),
      );
    }),
  );
  expect(error.code).toBe(invalidArgument);
  expect(detailsOf(error).info.reason).toBe("invalid-request");
});

test("GetServers lists the members and says who leads", async () => {
  const node = await startLoopback();
  const { id, name, rpcAddr, httpAddr } = node.cluster.self;
  await node.cluster.join({
    clusterId: null,
    member: { id: "two", name: "two", rpcAddr: "127.0.0.1:8401", httpAddr: "" },
  });
  const { servers } = await ask<GetServersResponse>((answer) =>
    node.logClient.getServers({}, answer),
  );
  expect(servers).toEqual([
    { id, name, rpcAddr, httpAddr, isLeader: true, voter: true },
    {
      ...{ id: "two", name: "two", rpcAddr: "127.0.0.1:8401", httpAddr: "" },
      ...{ isLeader: false, voter: false },
    },
  ]);
});

test("ProduceStream answers pipelined requests in the order of the requests", async () => {
  const node = await startLoopback();
  const stream = node.logClient.produceStream();
  const answers = new Collected<ProduceResponse>(stream);
  const count = 5000;
  for (let ordinal = 0; ordinal < count; ordinal += 1) stream.write(produceRequest(`${ordinal}`));
  stream.end();
  await answers.end();
  expect(answers.messages.map(({ offset }) => Number(offset))).toEqual(
    Array.from({ length: count }, (_, ordinal) => ordinal),
  );
  expect(node.log.at(4321).value.toString()).toBe("4321");
});

test("records that arrive together on a ProduceStream are appended together", async () => {
  const node = await startLoopback();
  const session = connect(`http://${node.address}`);
  onTestFinished(() => session.destroy());
  const request = session.request({
    ":method": "POST",
    ":path": "/log.v1.Log/ProduceStream",
    "content-type": "application/grpc",
    te: "trailers",
  });
  request.resume();
  const count = 500;
  const frames = Array.from({ length: count }, (_, ordinal) => {
    const message = ProduceRequest.encode(produceRequest(`${ordinal}`)).finish();
    const frame = Buffer.alloc(5 + message.length);
    frame.writeUInt32BE(message.length, 1);
    frame.set(message, 5);
    return frame;
  });
  request.end(Buffer.concat(frames));
  await until("all records", () => node.log.endOffset === count);
  expect(node.log.at(123).value.toString()).toBe("123");
  expect(node.log.requests.length).toBeLessThan(20);
});

test("an expected offset in a ProduceStream refuses its own record alone", async () => {
  const node = await startLoopback();
  const stream = node.logClient.produceStream();
  const answers = new Collected<ProduceResponse>(stream);
  stream.write(produceRequest("a"));
  stream.write(produceRequest("b", 1));
  stream.write(produceRequest("c"));
  stream.write(produceRequest("d", 77));
  const status = await answers.end();
  expect(answers.messages.map(({ offset }) => offset)).toEqual([0n, 1n, 2n]);
  expect(detailsOf(status).info).toMatchObject({
    reason: "expected-offset-mismatch",
    metadata: { expectedOffset: "77", actualOffset: "3", outcome: "not_applied" },
  });
});

test("a record that is too large ends a ProduceStream after the answers before it", async () => {
  const node = await startLoopback({ options: { recordBytesMax: 100 } });
  const stream = node.logClient.produceStream();
  const answers = new Collected<ProduceResponse>(stream);
  for (const value of ["a", "b", "x".repeat(200), "c"]) stream.write(produceRequest(value));
  const status = await answers.end();
  expect(answers.messages.length).toBe(2);
  expect(detailsOf(status).info.reason).toBe("record-too-large");
  expect(node.log.endOffset).toBe(2);
});

test("a ProduceStream is read no further than its limit of records in flight", async () => {
  const node = await startLoopback({ options: { streamRecordsInFlightMax: 100 } });
  node.log.hold();
  const stream = node.logClient.produceStream();
  const answers = new Collected<ProduceResponse>(stream);
  const value = Buffer.alloc(1000);
  for (let ordinal = 0; ordinal < 1000; ordinal += 1) stream.write(produceRequest(value));
  stream.end();
  await until("the first appends", () => node.log.requests.length > 0);
  const taken = (): number =>
    node.log.requests.reduce((sum, { records }) => sum + records.length / 1005, 0);
  await until("the limit", () => taken() >= 100);
  await new Promise((resolve) => {
    setTimeout(resolve, 100);
  });
  expect(taken()).toBeLessThanOrEqual(120);
  node.log.release();
  await answers.end();
  expect(answers.messages.length).toBe(1000);
});

test("ProduceBatch takes ten thousand records and answers by id", async () => {
  const node = await startLoopback();
  const stream = node.logClient.produceBatch();
  const answers = new Collected<ProduceBatchResponse>(stream);
  for (let id = 1; id <= 100; id += 1) {
    const values = Array.from({ length: 100 }, (_, ordinal) => `${id}-${ordinal}`);
    const records = recordsOf(...values);
    stream.write({
      ...{ id: BigInt(id), records, count: 100 },
      ...{ expectedOffset: undefined, timeoutMs: 0 },
    });
  }
  stream.end();
  await answers.end();
  expect(node.log.endOffset).toBe(10_000);
  expect(new Set(answers.messages.map(({ id }) => id)).size).toBe(100);
  for (const { id, offset, count, error } of answers.messages) {
    expect({ count, error }).toEqual({ count: 100, error: undefined });
    expect(node.log.at(Number(offset) + 42).value.toString()).toBe(`${id}-42`);
  }
});

test("a batch that fails is answered with its error, and the stream goes on", async () => {
  const node = await startLoopback({ options: { recordBytesMax: 100 } });
  const stream = node.logClient.produceBatch();
  const answers = new Collected<ProduceBatchResponse>(stream);
  const common = { expectedOffset: undefined, timeoutMs: 0 };
  const wide = 2n ** 64n - 1n;
  stream.write({ ...common, id: 1n, records: recordsOf("a", "b"), count: 3 });
  stream.write({ ...common, id: 2n, records: Buffer.alloc(0), count: 0 });
  stream.write({ ...common, id: 3n, records: Buffer.from("nonsense"), count: 1 });
  stream.write({ ...common, id: 4n, records: recordsOf("x".repeat(200)), count: 1 });
  stream.write({ ...common, id: 5n, records: recordsOf("a"), count: 1, expectedOffset: 9n });
  stream.write({ ...common, id: wide, records: recordsOf("a"), count: 1 });
  stream.end();
  expect((await answers.end()).code).toBe(0);
  const codes = new Map(answers.messages.map(({ id, error }) => [id, error?.code]));
  expect(codes).toEqual(
    new Map([
      [1n, "invalid-request"],
      [2n, "invalid-request"],
      [3n, "invalid-request"],
      [4n, "record-too-large"],
      [5n, "expected-offset-mismatch"],
      [wide, undefined],
    ]),
  );
  const mismatch = answers.messages.find(({ id }) => id === 5n)?.error;
  expect(mismatch).toMatchObject({ outcome: "not_applied", fields: { actualOffset: "0" } });
});

test("a batch that can't be decoded ends the stream, after the answers owed", async () => {
  const node = await startLoopback();
  const stream = node.logClient.makeBidiStreamRequest(
    "/log.v1.Log/ProduceBatch",
    (wire: Buffer) => wire,
    (wire) => wire,
  );
  const answers = new Collected<Buffer>(stream);
  stream.write(Buffer.concat([Buffer.from("080112", "hex"), Buffer.from([6]), recordsOf("a")]));
  stream.write(Buffer.from("0aff", "hex"));
  const status = await answers.end();
  expect(status.code).toBe(invalidArgument);
  expect(answers.messages.length).toBe(1);
});

test("ConsumeStream gives what is there and follows the end", async () => {
  const node = await startLoopback();
  await node.log.produce({ records: recordsOf("a", "b", "c") });
  const stream = node.logClient.consumeStream({ offset: 1n, consistency: 0 });
  const read = new Collected<ConsumeResponse>(stream);
  await read.count(2);
  await node.log.produce({ records: recordsOf("d") });
  const messages = await read.count(3);
  expect(messages.map(({ record }) => [record?.offset, record?.value.toString()])).toEqual([
    [1n, "b"],
    [2n, "c"],
    [3n, "d"],
  ]);
  stream.cancel();
  await until("the generator ends", () => node.log.openStreams === 0);
  await until("the stream is given up", () => node.server.streams === 0);
});

test("ConsumeStream from past the end waits for that very record", async () => {
  const node = await startLoopback();
  await node.log.produce({ records: recordsOf("a") });
  const stream = node.logClient.consumeStream({ offset: 3n, consistency: 0 });
  const read = new Collected<ConsumeResponse>(stream);
  await until("the stream is open", () => node.server.streams === 1);
  for (const value of ["b", "c", "d", "e"]) await node.log.produce({ records: recordsOf(value) });
  const messages = await read.count(2);
  expect(messages.map(({ record }) => record?.value.toString())).toEqual(["d", "e"]);
  stream.cancel();
  await until("the stream is given up", () => node.server.streams === 0);
});

test("a reader that waits past the end and goes is given up at once", async () => {
  const node = await startLoopback();
  const stream = node.logClient.consumeStream({ offset: 100n, consistency: 0 });
  const read = new Collected<ConsumeResponse>(stream);
  await until("the stream is open", () => node.server.streams === 1);
  stream.cancel();
  await read.end();
  await until("the stream is given up", () => node.server.streams === 0);
});

test("a stream from before the start is out of range, with the start", async () => {
  const node = await startLoopback();
  await node.log.produce({ records: recordsOf("a", "b", "c") });
  node.log.startOffset = 2;
  const read = new Collected<ConsumeResponse>(
    node.logClient.consumeStream({ offset: 0n, consistency: 0 }),
  );
  const status = await read.end();
  expect(status.code).toBe(outOfRange);
  expect(detailsOf(status).info).toMatchObject({
    reason: "offset-trimmed",
    metadata: { startOffset: "2" },
  });
});

test("ConsumeBatches gives batches as they lie, and ends without follow", async () => {
  const node = await startLoopback();
  const first = recordsOf("a", "b");
  const second = recordsOf("c");
  await node.log.produce({ records: first });
  await node.log.produce({ records: second });
  const read = new Collected<ConsumeBatchesResponse>(
    node.logClient.consumeBatches({ offset: 0n, consistency: 0, follow: false }),
  );
  expect((await read.end()).code).toBe(0);
  expect(read.messages.map(({ offset, count }) => [offset, count])).toEqual([
    [0n, 2],
    [2n, 1],
  ]);
  expect(read.messages[0]?.records.equals(first)).toBe(true);
  expect(read.messages[1]?.records.equals(second)).toBe(true);
});

test("a reader that takes nothing holds bounded memory, and is freed when it goes", async () => {
  const node = await startLoopback();
  const batchBytes = 100 * 1024;
  const batchCount = 200;
  for (let ordinal = 0; ordinal < batchCount; ordinal += 1) {
    await node.log.produce({ records: recordsOf(Buffer.alloc(batchBytes)) });
  }
  const stream = node.logClient.consumeBatches({ offset: 0n, consistency: 0, follow: true });
  stream.on("error", () => undefined);
  stream.pause();
  await until("the first batches", () => node.log.batchesRead > 0);
  let before = -1;
  await until("the reader is waited for", () => {
    const isStill = before === node.log.batchesRead;
    before = node.log.batchesRead;
    return isStill;
  });
  // What the client's own windows take, and one bound of ours.
  expect(node.log.batchesRead * batchBytes).toBeLessThan(8 * 1024 * 1024);
  stream.cancel();
  await until("the generator ends", () => node.log.openStreams === 0);
  await until("the stream is given up", () => node.server.streams === 0);
});

test.each(["consumeStream", "consumeBatches"] as const)(
  "hundreds of readers of %s that are behind leave the event loop its turns",
  async (method) => {
    const node = await startLoopback();
    const readerCount = 200;
    for (let ordinal = 0; ordinal < 50; ordinal += 1) {
      await node.log.produce({ records: recordsOf(Buffer.from("small")) });
    }
    const streams = Array.from({ length: readerCount }, () => {
      const stream = node.logClient[method]({ offset: 0n, consistency: 0, follow: true });
      stream.on("error", () => undefined);
      stream.on("data", () => undefined);
      return stream;
    });
    let most = 0;
    let before = 0;
    while (node.log.batchesRead < readerCount * 50) {
      await new Promise((resolve) => setImmediate(resolve));
      most = Math.max(most, node.log.batchesRead - before);
      before = node.log.batchesRead;
    }
    // Each takes one batch from the log before it waits for its turn to hand it on.
    expect(most).toBeLessThan(2 * readerCount + 50);
    for (const stream of streams) stream.cancel();
    await until("the streams are given up", () => node.server.streams === 0);
  },
);

test("a stream above the limit is refused as overloaded", async () => {
  const node = await startLoopback({ options: { streamsMax: 1 } });
  const first = node.logClient.consumeStream({ offset: 0n, consistency: 0 });
  first.on("error", () => undefined);
  await until("the stream is open", () => node.server.streams === 1);
  const second = new Collected(node.logClient.produceStream());
  const status = await second.end();
  expect(detailsOf(status).info.reason).toBe("overloaded");
  first.cancel();
});

test("appends above the node's limit of bytes are refused as overloaded", async () => {
  const options = { recordBytesMax: 1000, messageBytesMax: 2000, appendBytesInFlightMax: 2000 };
  const node = await startLoopback({ options });
  node.log.hold();
  const value = Buffer.alloc(900);
  const waiting = [produce(node, produceRequest(value)), produce(node, produceRequest(value))];
  await until("two appends", () => node.log.requests.length === 2);
  const error = await failureOf(produce(node, produceRequest(value)));
  expect(detailsOf(error).info.reason).toBe("overloaded");
  node.log.release();
  await Promise.all(waiting);
  await produce(node, produceRequest(value));
});

test("a Consume whose client goes is given up, and nothing is logged", async () => {
  const node = await startLoopback();
  node.log.errors.push(new ProglogError("cannot-confirm", "There is no leader."));
  const error = await failureOf(consume(node, 5n));
  expect(detailsOf(error)).toMatchObject({ info: { reason: "cannot-confirm" } });
  expect(node.events.filter(({ level }) => level === "error")).toEqual([]);
});

type BookMessage = Record<string, unknown>;

interface BookClient extends Client {
  Produce(request: BookMessage, answer: (error: Error | null, response: BookMessage) => void): void;
  Consume(request: BookMessage, answer: (error: Error | null, response: BookMessage) => void): void;
  GetServers(
    request: BookMessage,
    answer: (error: Error | null, response: BookMessage) => void,
  ): void;
  ProduceStream(): ClientDuplexStream<BookMessage, BookMessage>;
  ConsumeStream(request: BookMessage): ClientReadableStream<BookMessage>;
}

function bookClient(address: string): BookClient {
  const path = new URL("book/log.proto", import.meta.url).pathname;
  const loaded = loadPackageDefinition(
    loadSync(path, { keepCase: true, longs: Number, defaults: true }),
  );
  const { v1 } = loaded["log"] as unknown as { v1: { Log: unknown } };
  const BookStub = v1.Log as new (at: string, secrets: unknown) => BookClient;
  const client = new BookStub(address, credentials.createInsecure());
  onTestFinished(() => client.close());
  return client;
}

test("a client made from the book's messages alone works", async () => {
  const node = await startLoopback();
  const book = bookClient(node.address);
  const callBook = async (method: "Produce" | "Consume" | "GetServers", request: BookMessage) =>
    await new Promise<BookMessage>((resolve, reject) => {
      book[method](request, (error, response) => {
        if (error === null) resolve(response);
        else reject(error);
      });
    });
  const value = Buffer.from("hello world");
  expect(await callBook("Produce", { record: { value } })).toEqual({ offset: 0 });
  const consumed = (await callBook("Consume", { offset: 0 }))["record"] as BookMessage;
  expect(consumed["value"]).toEqual(value);
  const miss = await failureOf(callBook("Consume", { offset: 1 }));
  expect(miss.code).toBe(outOfRange);
  const produceStream = book.ProduceStream();
  const produced = new Collected<BookMessage>(produceStream);
  produceStream.write({ record: { value: Buffer.from("first message") } });
  produceStream.write({ record: { value: Buffer.from("second message") } });
  produceStream.end();
  await produced.end();
  expect(produced.messages).toEqual([{ offset: 1 }, { offset: 2 }]);
  const consumeStream = book.ConsumeStream({ offset: 0 });
  const read = new Collected<{ record: BookMessage }>(consumeStream);
  const messages = await read.count(3);
  expect(messages.map(({ record }) => String(record["value"]))).toEqual([
    ...["hello world", "first message", "second message"],
  ]);
  consumeStream.cancel();
  const { id, rpcAddr } = node.cluster.self;
  expect(await callBook("GetServers", {})).toEqual({
    servers: [{ id, rpc_addr: rpcAddr, is_leader: true }],
  });
});
