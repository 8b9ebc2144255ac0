/**
 * Reads of a gateway over real gRPC: what a member says crosses whole, and nothing is left behind.
 */
import { expect, onTestFinished, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { decodeRecord, encodeRecords } from "../../src/common/record.js";
import { systemClock } from "../../src/common/system.js";
import { GrpcMemberReads } from "../../src/rpc/member-reads.js";
import type { MemberReadParts } from "../../src/rpc/member-reads.js";
import type { MemberRead } from "../../src/service/member-reads.js";
import { recordsOf, startLoopback, until } from "./loopback.js";

function memberReads(parts: Partial<MemberReadParts> = {}): GrpcMemberReads {
  const reads = new GrpcMemberReads({ clock: systemClock, ...parts });
  onTestFinished(() => reads.close());
  return reads;
}

const never = new AbortController().signal;

function at(offset: number, more: Partial<MemberRead> = {}): MemberRead {
  return { offset, consistency: "linearizable", timeoutMs: 5_000, signal: never, ...more };
}

test("a record comes with all that it has", async () => {
  const { log, address } = await startLoopback();
  const content = { value: Buffer.from("{}"), key: "k", headers: { a: "b" }, json: true };
  await log.produce({ records: encodeRecords([content]) });
  const record = await memberReads().read(address, at(0));
  expect(record).toMatchObject({ ...content, offset: 0, timestampMs: expect.any(Number) });
});

test("a refusal comes as the member made it", async () => {
  const { log, address } = await startLoopback();
  const reads = memberReads();
  await expect(reads.read(address, at(Number.MAX_SAFE_INTEGER))).rejects.toMatchObject({
    code: "offset-out-of-range",
    fields: { endOffset: 0 },
  });
  log.startOffset = 3;
  const range = { offset: 1, follow: false, signal: never };
  await expect(reads.batches(address, range).next()).rejects.toMatchObject({
    code: "offset-trimmed",
    fields: { startOffset: 3 },
  });
});

test("batches come as they lie in the log, and end with it", async () => {
  const { log, address } = await startLoopback();
  await log.produce({ records: recordsOf("a", "b", "c") });
  await log.produce({ records: recordsOf("d") });
  const found: (string | number)[] = [];
  const range = { offset: 1, follow: false, signal: never };
  for await (const { offset, count, records } of memberReads().batches(address, range)) {
    found.push(offset, count, decodeRecord(records, 0).value.toString());
  }
  expect(found).toEqual([1, 2, "b", 3, 1, "d"]);
});

test("a reader that stops reading is not read ahead for", async () => {
  const { log, address } = await startLoopback();
  const value = Buffer.alloc(256 * 1024);
  for (let count = 0; count < 100; count += 1) await log.produce({ records: recordsOf(value) });
  const batches = memberReads().batches(address, { offset: 0, follow: false, signal: never });
  await batches.next();
  await until("the member to have sent some", () => log.batchesRead > 1);
  const taken: number[] = [];
  // The member stops by itself: its count stands still while nobody takes anything.
  await until("the member to stop", () => {
    taken.push(log.batchesRead);
    return taken.length > 200 && taken.at(-1) === taken.at(-200);
  });
  expect(log.batchesRead).toBeLessThan(30);
  await batches.return();
  await until("the stream to end", () => log.openStreams === 0);
});

test("an abort ends a call and a stream at once, with its reason", async () => {
  const { log, address } = await startLoopback();
  const reads = memberReads();
  const stop = new AbortController();
  const range = { offset: 0, follow: true, signal: stop.signal };
  const next = reads.batches(address, range).next();
  await until("the stream to open", () => log.openStreams === 1);
  const reason = new ProglogError("unavailable", "Member m1 is gone.");
  stop.abort(reason);
  await expect(next).rejects.toBe(reason);
  await expect(reads.read(address, at(0, { signal: stop.signal }))).rejects.toBe(reason);
  await until("the stream to end", () => log.openStreams === 0);
});

test("a member that stops, or is not there, is unavailable", async () => {
  const { server, log, address } = await startLoopback();
  const reads = memberReads();
  const next = reads.batches(address, { offset: 0, follow: true, signal: never }).next();
  next.catch(() => undefined);
  await until("the stream to open", () => log.openStreams === 1);
  await server.close();
  await expect(next).rejects.toMatchObject({ code: "unavailable" });
  await expect(reads.read(address, at(0))).rejects.toMatchObject({ code: "unavailable" });
});

test("connections that are not used are closed, and all of them at the end", async () => {
  const { log, address } = await startLoopback();
  await log.produce({ records: recordsOf("a") });
  const reads = memberReads({ idleMsMax: 20 });
  await reads.read(address, at(0));
  expect(reads.connections).toBe(1);
  await until("the connection to go", () => reads.connections === 0);
  await reads.read(address, at(0));
  await reads.close();
  expect(reads.connections).toBe(0);
  await expect(reads.read(address, at(0))).rejects.toMatchObject({ code: "unavailable" });
});
