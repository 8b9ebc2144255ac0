import { expect, onTestFinished, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { systemClock } from "../../src/common/system.js";
import type { ProduceResponse } from "../../src/gen/log/v1/log.js";
import { GrpcPeerCalls } from "../../src/rpc/peer-calls.js";
import type { PeerCallOptions } from "../../src/rpc/peer-calls.js";
import type { Loopback } from "./loopback.js";
import {
  ask,
  detailsOf,
  failureOf,
  produceRequest,
  recordsOf,
  startLoopback,
  until,
} from "./loopback.js";
import { startProxy } from "./peer-net.js";

function peerCalls(options: Partial<PeerCallOptions> = {}): GrpcPeerCalls {
  const calls = new GrpcPeerCalls({ clock: systemClock, options });
  onTestFinished(() => calls.close());
  return calls;
}

function hint(rpcAddr: string) {
  return { id: "leader", name: "leader", rpcAddr, httpAddr: "" };
}

/** A follower whose writes go to the leader. */
async function startFollower(leader: Loopback): Promise<Loopback> {
  const follower = await startLoopback();
  follower.log.leader = hint(leader.address);
  follower.log.peers = peerCalls();
  return follower;
}

test("a Produce on a follower is answered by the leader", async () => {
  const leader = await startLoopback();
  const follower = await startFollower(leader);
  await leader.log.produce({ records: recordsOf("first") });
  const receipt = await ask<ProduceResponse>((answer) =>
    follower.logClient.produce(produceRequest("second"), answer),
  );
  expect(receipt.offset).toBe(1n);
  expect(leader.log.at(1).value.toString()).toBe("second");
  expect(leader.log.requests[1]).toMatchObject({ forwarded: true, relay: false });
});

test("the leader's refusal reaches the follower's client whole", async () => {
  const leader = await startLoopback();
  const follower = await startFollower(leader);
  const error = await failureOf(
    ask((answer) => follower.logClient.produce(produceRequest("a", 5), answer)),
  );
  expect(detailsOf(error).info).toMatchObject({
    reason: "expected-offset-mismatch",
    metadata: { actualOffset: "0", expectedOffset: "5" },
  });
});

test("a node that does not lead any more does not relay what was relayed to it", async () => {
  const last = await startLoopback();
  const former = await startFollower(last);
  const produce = peerCalls().produce(hint(former.address), { records: recordsOf("a") });
  await expect(produce).rejects.toMatchObject({
    code: "not-leader",
    outcome: "not_applied",
    fields: { leader: { rpcAddr: last.address } },
  });
  expect(last.log.requests).toEqual([]);
});

test("appends of one turn go in few messages, and each gets its offsets", async () => {
  const leader = await startLoopback();
  const calls = peerCalls();
  const receipts = await Promise.all(
    Array.from({ length: 1000 }, async (_, ordinal) =>
      calls.produce(hint(leader.address), { records: recordsOf(`${ordinal}`, "and one more") }),
    ),
  );
  for (const [ordinal, receipt] of receipts.entries()) {
    expect(receipt.count).toBe(2);
    expect(leader.log.at(receipt.offset).value.toString()).toBe(`${ordinal}`);
  }
  expect(new Set(receipts.map(({ offset }) => offset)).size).toBe(1000);
  expect(leader.log.requests.length).toBeLessThan(10);
  expect(leader.server.streams).toBe(1);
});

test("an append with an expected offset goes alone", async () => {
  const leader = await startLoopback();
  const calls = peerCalls();
  const at = hint(leader.address);
  const results = await Promise.allSettled([
    calls.produce(at, { records: recordsOf("a") }),
    calls.produce(at, { records: recordsOf("b"), expectedOffset: 1 }),
    calls.produce(at, { records: recordsOf("c"), expectedOffset: 9 }),
    calls.produce(at, { records: recordsOf("d") }),
  ]);
  expect(results.map(({ status }) => status)).toEqual([
    ...["fulfilled", "fulfilled", "rejected", "fulfilled"],
  ]);
  expect(leader.log.endOffset).toBe(3);
});

test("one append that the leader finds too large does not fail its neighbours", async () => {
  const leader = await startLoopback({ options: { recordBytesMax: 100 } });
  const calls = peerCalls();
  const at = hint(leader.address);
  const results = await Promise.allSettled([
    calls.produce(at, { records: recordsOf("a") }),
    calls.produce(at, { records: recordsOf("x".repeat(200)) }),
    calls.produce(at, { records: recordsOf("b") }),
  ]);
  expect(results[0]?.status).toBe("fulfilled");
  expect(results[1]).toMatchObject({ reason: { code: "record-too-large" } });
  expect(results[2]?.status).toBe("fulfilled");
  expect(leader.log.endOffset).toBe(2);
});

test("records that are not well-formed are refused here, alone", async () => {
  const leader = await startLoopback();
  const calls = peerCalls();
  const at = hint(leader.address);
  const bad = calls.produce(at, { records: Buffer.from("nonsense") });
  const good = calls.produce(at, { records: recordsOf("a") });
  await expect(bad).rejects.toMatchObject({ code: "invalid-request" });
  expect(await good).toMatchObject({ offset: 0 });
});

test("a leader that dies leaves unknown what was sent to it", async () => {
  const leader = await startLoopback();
  leader.log.hold();
  const proxy = await startProxy(leader.port);
  const calls = peerCalls();
  const at = hint(`127.0.0.1:${proxy.port}`);
  const pending = calls.produce(at, { records: recordsOf("a") });
  pending.catch(() => undefined);
  await until("the append is under way", () => leader.log.requests.length === 1);
  await proxy.close();
  await expect(pending).rejects.toMatchObject({ code: "outcome-unknown", outcome: "unknown" });
  const next = calls.produce(at, { records: recordsOf("b") });
  await expect(next).rejects.toMatchObject({ code: "unavailable", outcome: "not_applied" });
  leader.log.release();
});

test("a leader that stops answers what it took, and the rest was not applied", async () => {
  const leader = await startLoopback();
  leader.log.hold();
  const calls = peerCalls();
  const at = hint(leader.address);
  const taken = calls.produce(at, { records: recordsOf("a") });
  await until("the append is under way", () => leader.log.requests.length === 1);
  const closed = leader.server.close();
  const late = calls.produce(at, { records: recordsOf("b") });
  late.catch(() => undefined);
  await new Promise((resolve) => {
    setTimeout(resolve, 50);
  });
  leader.log.release();
  expect(await taken).toMatchObject({ offset: 0 });
  await expect(late).rejects.toMatchObject({ code: "unavailable", outcome: "not_applied" });
  await closed;
  expect(leader.log.endOffset).toBe(1);
});

test("a leader that comes back is found again", async () => {
  const leader = await startLoopback();
  const calls = peerCalls();
  const at = hint(leader.address);
  await calls.produce(at, { records: recordsOf("a") });
  await leader.server.close();
  const again = await startLoopback({ port: leader.port });
  await until("the stream is known to be gone", () => leader.server.streams === 0);
  const receipt = await retried(async () => calls.produce(at, { records: recordsOf("b") }));
  expect(receipt).toMatchObject({ offset: 0 });
  expect(again.log.endOffset).toBe(1);
});

/** Tries again as long as nothing was applied. */
async function retried<Result>(attempt: () => Promise<Result>): Promise<Result> {
  const endMs = Date.now() + 10_000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const mayRetry = error instanceof ProglogError && error.outcome === "not_applied";
      if (!mayRetry || Date.now() > endMs) throw error;
    }
  }
}

test("a leader that does not accept the stream in time was sent nothing", async () => {
  const leader = await startLoopback();
  const proxy = await startProxy(leader.port);
  proxy.setStalled(true);
  const calls = peerCalls({ relayConnectMsMax: 200 });
  const produce = calls.produce(hint(`127.0.0.1:${proxy.port}`), { records: recordsOf("a") });
  await expect(produce).rejects.toMatchObject({ code: "unavailable", outcome: "not_applied" });
  expect(leader.log.requests).toEqual([]);
  await proxy.close();
});

test("a leader that does not answer in time leaves the outcome unknown", async () => {
  const leader = await startLoopback();
  leader.log.hold();
  const calls = peerCalls();
  const produce = calls.produce(hint(leader.address), { records: recordsOf("a"), timeoutMs: 10 });
  await expect(produce).rejects.toMatchObject({ code: "outcome-unknown" });
  leader.log.release();
});

test("more than the limit of bytes in flight is overloaded, and not applied", async () => {
  const leader = await startLoopback();
  leader.log.hold();
  const calls = peerCalls({ relayBytesMax: 2500 });
  const at = hint(leader.address);
  const records = recordsOf(Buffer.alloc(1000));
  const waiting = [calls.produce(at, { records }), calls.produce(at, { records })];
  await expect(calls.produce(at, { records })).rejects.toMatchObject({
    code: "overloaded",
    outcome: "not_applied",
  });
  leader.log.release();
  await Promise.all(waiting);
});

test("close fails what waits, by whether it was sent", async () => {
  const leader = await startLoopback();
  leader.log.hold();
  const calls = peerCalls();
  const sent = calls.produce(hint(leader.address), { records: recordsOf("a") });
  sent.catch(() => undefined);
  await until("the append is under way", () => leader.log.requests.length === 1);
  const unsent = calls.produce(hint(leader.address), { records: recordsOf("b") });
  unsent.catch(() => undefined);
  await calls.close();
  await expect(sent).rejects.toMatchObject({ code: "outcome-unknown" });
  await expect(unsent).rejects.toMatchObject({ code: "unavailable", outcome: "not_applied" });
  leader.log.release();
});

test("appends that wait for more copies than a majority do not hold up the others", async () => {
  const leader = await startLoopback({ options: { streamRecordsInFlightMax: 2 } });
  const produce = leader.log.produce.bind(leader.log);
  leader.log.produce = async (request, options) =>
    request.writeConcern === undefined ? produce(request, options) : new Promise(() => undefined);
  const calls = peerCalls();
  const patient = [1, 2, 3].map(async () =>
    calls.produce(hint(leader.address), { records: recordsOf("a"), writeConcern: "all" }),
  );
  const failures = patient.map(async (append) => expect(append).rejects.toThrow());
  await new Promise((resolve) => setTimeout(resolve, 100));
  const quick = calls.produce(hint(leader.address), { records: recordsOf("b"), timeoutMs: 1000 });
  expect(await quick).toMatchObject({ offset: 0 });
  await calls.close();
  await Promise.all(failures);
});

test("nor do they take all the bytes that a node holds", async () => {
  const options = { recordBytesMax: 1000, messageBytesMax: 1000, appendBytesInFlightMax: 1000 };
  const leader = await startLoopback({ options });
  const produce = leader.log.produce.bind(leader.log);
  leader.log.produce = async (request, terms) =>
    request.writeConcern === undefined ? produce(request, terms) : new Promise(() => undefined);
  const calls = peerCalls();
  const records = recordsOf("x".repeat(300));
  const request = { records, writeConcern: "all" } as const;
  const first = expect(calls.produce(hint(leader.address), request)).rejects.toThrow();
  const second = calls.produce(hint(leader.address), request);
  await expect(second).rejects.toMatchObject({ code: "overloaded" });
  expect(await calls.produce(hint(leader.address), { records })).toMatchObject({ offset: 0 });
  await calls.close();
  await first;
});
