import { Metadata, status } from "@grpc/grpc-js";
import fc from "fast-check";
import { expect, test } from "vitest";

import { errorTable, ProglogError } from "../../src/common/errors.js";
import type { ErrorCode } from "../../src/common/errors.js";
import {
  fromProduceError,
  fromServiceError,
  produceErrorFrom,
  statusFrom,
} from "../../src/rpc/grpc-errors.js";
import {
  ask,
  Collected,
  detailsOf,
  failureOf,
  produceRequest,
  recordsOf,
  startLoopback,
} from "./loopback.js";
import type { ProduceBatchResponse, ProduceResponse } from "../../src/gen/log/v1/log.js";

const codes = Object.keys(errorTable) as ErrorCode[];
const leader = { id: "a", name: "two", rpcAddr: "127.0.0.1:1", httpAddr: "127.0.0.1:2" };
const fields = { actualOffset: 7, isFull: true, hint: "text", leader };

function likeTheOriginal(error: ProglogError): object {
  const { code, message, outcome, retryable, retryAfterMs } = error;
  return { code, message, outcome, retryable, retryAfterMs, fields: error.fields };
}

/** In a message of its own a committed record is an answer, however few copies it has. */
const failures = codes.filter((code) => code !== "write-concern-timeout");

test.each(failures)("%s crosses gRPC whole: unary, in a stream and in a batch", async (code) => {
  const node = await startLoopback();
  const original = new ProglogError(code, `It is ${code}.`, { fields, retryAfterMs: 1500 });
  // What is not to be retried says nothing of when.
  const expected = {
    ...likeTheOriginal(original),
    retryAfterMs: original.retryable ? 1500 : undefined,
  };
  const { grpc } = original;

  node.log.errors.push(original);
  const unary = await failureOf(
    ask((answer) => node.logClient.produce(produceRequest("a"), answer)),
  );
  expect(unary.code).toBe(grpc);
  expect(fromServiceError(unary)).toMatchObject(expected);
  const { info, retry } = detailsOf(unary);
  expect(info).toMatchObject({
    reason: code,
    domain: "proglog",
    metadata: { actualOffset: "7", leaderId: "a", leaderRpcAddr: "127.0.0.1:1" },
  });
  expect(info.metadata["outcome"]).toBe(original.outcome ?? undefined);
  expect(retry?.retryDelay?.nanos).toBe(original.retryable ? 500_000_000 : undefined);

  node.log.errors.push(original);
  const stream = node.logClient.produceStream();
  const answers = new Collected<ProduceResponse>(stream);
  stream.write(produceRequest("a"));
  await answers.end();
  expect(answers.error?.code).toBe(grpc);
  expect(fromServiceError(answers.error)).toMatchObject(expected);

  node.log.errors.push(original);
  const batches = node.logClient.produceBatch();
  const receipts = new Collected<ProduceBatchResponse>(batches);
  const common = { expectedOffset: undefined, timeoutMs: 0 };
  batches.write({ ...common, id: 1n, records: recordsOf("a"), count: 1 });
  const [answer] = await receipts.count(1);
  expect(answer?.error).toMatchObject({ code, leader: { id: "a", isLeader: true } });
  batches.end();
});

test("too few copies are an answer with a detail; in a batch, an error that says where", async () => {
  const node = await startLoopback();
  const original = new ProglogError("write-concern-timeout", "Two have it.", {
    fields: { offset: 7, count: 1, timestampMs: 9, acks: 2 },
  });
  const detail = { acks: 2, detail: "Two have it." };
  const expected = { offset: 7n, timestampMs: 9n, writeConcernTimeout: detail };

  node.log.errors.push(original);
  const unary = await ask<ProduceResponse>((answer) =>
    node.logClient.produce({ ...produceRequest("a"), copies: 3 }, answer),
  );
  expect(unary).toMatchObject(expected);

  node.log.errors.push(original);
  const stream = node.logClient.produceStream();
  const answers = new Collected<ProduceResponse>(stream);
  stream.write({ ...produceRequest("a"), allCopies: true });
  stream.write(produceRequest("b"));
  const [first, second] = await answers.count(2);
  expect(first).toMatchObject(expected);
  expect(second?.writeConcernTimeout).toBeUndefined();
  stream.end();
  expect(node.log.requests.map(({ writeConcern }) => writeConcern)).toEqual([3, "all", undefined]);

  node.log.errors.push(original);
  const batches = node.logClient.produceBatch();
  const receipts = new Collected<ProduceBatchResponse>(batches);
  const common = { expectedOffset: undefined, timeoutMs: 0, copies: 3 };
  batches.write({ ...common, id: 1n, records: recordsOf("a"), count: 1 });
  const [answer] = await receipts.count(1);
  expect(answer?.error).toMatchObject({
    ...{ code: "write-concern-timeout", outcome: "applied" },
    fields: { offset: "7", acks: "2" },
  });
  batches.end();
});

test("copies and all_copies are one or the other", async () => {
  const node = await startLoopback();
  const error = await failureOf(
    ask((answer) =>
      node.logClient.produce({ ...produceRequest("a"), copies: 2, allCopies: true }, answer),
    ),
  );
  expect(error.code).toBe(status.INVALID_ARGUMENT);
});

test("an error says nothing of when to retry unless it may be retried", () => {
  const wait = (error: ProglogError): unknown => detailsOf(statusFrom(error)).retry?.retryDelay;
  expect(wait(new ProglogError("no-leader", "x"))).toEqual({ seconds: 1n, nanos: 0 });
  expect(wait(new ProglogError("invalid-request", "x"))).toBeUndefined();
});

test("what is no fault of the world is internal, logged once, and never sent", async () => {
  const node = await startLoopback();
  node.log.errors.push(new TypeError("a secret path /etc/secret"));
  const error = await failureOf(
    ask((answer) => node.logClient.produce(produceRequest("a"), answer)),
  );
  expect(error.code).toBe(status.INTERNAL);
  expect(detailsOf(error).info.reason).toBe("internal");
  expect(JSON.stringify(error.metadata.toJSON()) + error.message).not.toContain("secret");
  const logged = node.events.filter(({ level }) => level === "error");
  expect(logged.length).toBe(1);
  expect(logged[0]?.fields["error"]).toBeInstanceOf(TypeError);
});

test("a batch's error keeps its fields, its leader and when to retry", () => {
  fc.assert(
    fc.property(fc.constantFrom(...codes), fc.option(fc.nat()), (code, retryAfterMs) => {
      const error = new ProglogError(code, "detail", {
        fields,
        ...(retryAfterMs === null ? {} : { retryAfterMs }),
      });
      expect(likeTheOriginal(fromProduceError(produceErrorFrom(error)))).toEqual(
        likeTheOriginal(error),
      );
    }),
  );
});

test("any text of an error can be sent", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 5000 }), (text) => {
      const { details, metadata } = statusFrom(new ProglogError("internal", text));
      expect(() => encodeURI(details)).not.toThrow();
      expect(metadata.get("grpc-status-details-bin").length).toBe(1);
    }),
  );
  const lone = new ProglogError("internal", "a\ud800b", { fields: { text: "\udfff" } });
  expect(() => encodeURI(statusFrom(lone).details)).not.toThrow();
});

function bare(code: status, details: string): Error {
  return Object.assign(new Error(details), { code, details, metadata: new Metadata() });
}

test.each([
  [status.UNAVAILABLE, "No connection established. Last error: x", "unavailable", "not_applied"],
  [status.UNAVAILABLE, "Connection dropped", "outcome-unknown", "unknown"],
  [
    status.DEADLINE_EXCEEDED,
    "Deadline exceeded after 2s,LB pick: 2s",
    "unavailable",
    "not_applied",
  ],
  [status.DEADLINE_EXCEEDED, "Deadline exceeded, remote_addr=a:1", "outcome-unknown", "unknown"],
  [
    status.RESOURCE_EXHAUSTED,
    "Received message larger than max",
    "record-too-large",
    "not_applied",
  ],
  [status.UNIMPLEMENTED, "The server does not implement it", "not-found", null],
  [status.UNKNOWN, "what?", "internal", "unknown"],
] as const)("status %i, %s, of a write is %s", (code, details, expected, outcome) => {
  expect(fromServiceError(bare(code, details))).toMatchObject({ code: expected, outcome });
});

test("a read that was not answered is unavailable, and applied nothing", () => {
  const error = fromServiceError(bare(status.UNAVAILABLE, "Connection dropped"), "read");
  expect(error).toMatchObject({ code: "unavailable", outcome: "not_applied" });
});

test("details that can't be read are as good as none", () => {
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from("0aff", "hex"));
  const error = Object.assign(new Error("x"), { code: 3, details: "x", metadata });
  expect(fromServiceError(error)).toMatchObject({ code: "invalid-request" });
});
