/** The log as clients use it, over whole replicas: what a hit, a miss and an end of a range say. */
import { afterEach, expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { encodeRecords } from "../../src/common/record.js";
import { systemClock } from "../../src/common/system.js";
import type { Replica } from "../../src/replica/replica.js";
import type { AppendRequest, CommittedAppend, StreamRequest } from "../../src/service/api.js";
import type { PeerCalls } from "../../src/service/peer-calls.js";
import { ReplicatedLog } from "../../src/service/replicated-log.js";
import { ReplicaNet, append, until } from "../replica/replica-net.js";

let net: ReplicaNet;

afterEach(async () => {
  await net.close();
});

async function unreachable(): Promise<never> {
  throw new ProglogError("unavailable", "Nobody is there.");
}

const noPeers: PeerCalls = {
  outcome: async () => Promise.reject(new Error("nobody is asked")),
  identify: unreachable,
  join: unreachable,
  status: unreachable,
  addMember: unreachable,
  removeMember: unreachable,
  promoteMember: unreachable,
  transferLeader: unreachable,
  produce: unreachable,
};

const options = {
  recordBytesMax: 100_000,
  appendBytesMax: 400_000,
  requestTimeoutMs: 2000,
  forwardsWrites: false,
};

function serviceOf(replica: Replica, fields: Partial<typeof options> = {}, peers = noPeers) {
  return new ReplicatedLog({
    replica,
    peers,
    clock: systemClock,
    nodeName: "n1",
    options: { ...options, ...fields },
    onDamage: () => undefined,
  });
}

function request(...texts: string[]): CommittedAppend {
  return { records: encodeRecords(texts.map((text) => ({ value: Buffer.from(text) }))) };
}

async function one(seed: number, texts: readonly string[] = []): Promise<ReplicatedLog> {
  net = new ReplicaNet(1, seed);
  await net.start("n1");
  const leader = await net.leader();
  for (const text of texts) await append(leader, [text]);
  return serviceOf(leader);
}

async function three(seed: number): Promise<Replica> {
  net = new ReplicaNet(3, seed);
  const first = await net.start("n1");
  await net.leader();
  for (const member of net.members.slice(1)) {
    await net.start(member.id);
    await first.changeConfiguration({ type: "addLearner", member });
    await until(() => {
      const follower = first.status().followers.find(({ id }) => id === member.id);
      return follower?.state === "replicate" ? true : undefined;
    });
    await first.changeConfiguration({ type: "promote", id: member.id });
  }
  return first;
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => "no failure",
    (error: unknown) => error,
  );
}

async function valuesOf(log: ReplicatedLog, stream: StreamRequest): Promise<string[]> {
  const found: string[] = [];
  const { decodeBatch } = await import("../../src/common/record.js");
  for await (const batch of log.stream(stream)) {
    for (const record of decodeBatch(batch)) found.push(record.value.toString());
  }
  return found;
}

const texts = (records: readonly { readonly value: Buffer }[]): string[] =>
  records.map(({ value }) => value.toString());

test("what was produced is read back with its offset and time", async () => {
  const log = await one(1);
  const receipt = await log.produce(request("a", "b"));
  expect(receipt).toMatchObject({ offset: 0, count: 2 });
  expect(await log.read(1)).toMatchObject({ offset: 1, timestampMs: receipt.timestampMs });
  expect((await log.read(1)).value.toString()).toBe("b");
});

test.each([
  ["no record", { records: Buffer.alloc(0) }, "invalid-request"],
  ["bytes that are no records", { records: Buffer.from("abc") }, "invalid-request"],
  ["a record too large", request("x".repeat(110_000)), "record-too-large"],
  ["too many bytes at once", request(...Array(5).fill("x".repeat(90_000))), "record-too-large"],
  ["an expected offset below zero", { ...request("a"), expectedOffset: -1 }, "invalid-request"],
  ["an expected offset in between", { ...request("a"), expectedOffset: 0.5 }, "invalid-request"],
  ["no time to wait", { ...request("a"), timeoutMs: 0 }, "invalid-request"],
  ["a time that is no number", { ...request("a"), timeoutMs: Number.NaN }, "invalid-request"],
])("an append with %s is refused before it reaches a log", async (_what, bad, code) => {
  const log = await one(2);
  expect(await failure(log.produce(bad))).toMatchObject({ code, outcome: "not_applied" });
  expect(log.bounds().endOffset).toBe(0);
});

test("a miss says where the log ends, a bad offset what an offset is", async () => {
  const log = await one(3, ["a"]);
  expect(await failure(log.read(1))).toMatchObject({
    code: "offset-out-of-range",
    fields: { endOffset: 1 },
  });
  for (const offset of [-1, 0.5, 2 ** 53, Number.NaN]) {
    expect(await failure(log.read(offset))).toMatchObject({ code: "invalid-request" });
  }
});

test("a read that waits is answered by the record when it comes, or by its absence in time", async () => {
  const log = await one(4, ["a"]);
  const waiting = log.read(1, { waitMs: 10_000 });
  await log.produce(request("b"));
  expect((await waiting).value.toString()).toBe("b");
  expect(await failure(log.read(9, { waitMs: 30 }))).toMatchObject({ code: "offset-out-of-range" });
});

test("a default page reaches every record that was acknowledged before it was asked for", async () => {
  const leader = await three(5);
  const writer = serviceOf(leader);
  const readers = net.members.map(({ id }) => serviceOf(net.replica(id)));
  for (let at = 0; at < 20; at += 1) {
    await writer.produce(request(String(at)));
    for (const reader of readers) {
      const page = await reader.list({
        from: { kind: "earliest" },
        limit: 1000,
        bytesMax: 1_000_000,
      });
      expect(page.next).toBeGreaterThan(at);
      expect(page.records).toHaveLength(page.next);
      expect(page.endOffset).toBeGreaterThanOrEqual(page.next);
    }
  }
});

test("the end of the log is confirmed before a range starts from it", async () => {
  const leader = await three(6);
  const writer = serviceOf(leader);
  for (let at = 0; at < 20; at += 1) {
    await writer.produce(request(String(at)));
    for (const { id } of net.members) {
      const from = { kind: "before-end", count: 1 } as const;
      const page = await serviceOf(net.replica(id)).list({ from, limit: 1, bytesMax: 1000 });
      expect(texts(page.records)).toEqual([String(at)]);
    }
  }
});

test("a cut-off node answers hits, says that it can't confirm a miss, and local reads go on", async () => {
  const leader = await three(7);
  await append(leader, ["a"]);
  const follower = net.replica("n3");
  await follower.confirm();
  net.cut("n3");
  const log = serviceOf(follower);
  expect((await log.read(0)).value.toString()).toBe("a");
  expect(await failure(log.read(1))).toMatchObject({ code: "cannot-confirm", retryable: true });
  const local = { consistency: "local" } as const;
  expect(await failure(log.read(1, local))).toMatchObject({ code: "offset-out-of-range" });
  const list = { from: { kind: "earliest" }, limit: 10, bytesMax: 1000 } as const;
  expect(await failure(log.list(list))).toMatchObject({ code: "cannot-confirm" });
  expect(texts((await log.list({ ...list, ...local })).records)).toEqual(["a"]);
});

test("pages end at their limit or their bytes, and the next goes on without gap or repeat", async () => {
  const words = Array.from({ length: 50 }, (_, at) => `${at} ${"x".repeat(at * 10)}`);
  const log = await one(8, words);
  for (const limits of [
    { limit: 7, bytesMax: 1_000_000 },
    { limit: 1000, bytesMax: 900 },
    { limit: 1, bytesMax: 1 },
  ]) {
    const found: string[] = [];
    for (let next = 0; next < 50;) {
      const page = await log.list({ from: { kind: "offset", offset: next }, ...limits });
      expect(page.records.length).toBeGreaterThan(0);
      expect(page.records.length).toBeLessThanOrEqual(limits.limit);
      const bytes = page.records.reduce((sum, { value }) => sum + value.length, 0);
      if (page.records.length > 1) expect(bytes).toBeLessThanOrEqual(limits.bytesMax);
      expect(page.records[0]?.offset).toBe(next);
      found.push(...texts(page.records));
      next = page.next;
    }
    expect(found).toEqual(words);
  }
});

test("a page starts in the midst of a batch exactly where it was asked to", async () => {
  const log = await one(9);
  await log.produce(request("a", "b", "c", "d"));
  const page = await log.list({
    from: { kind: "offset", offset: 2 },
    limit: 1,
    bytesMax: 1000,
  });
  expect(texts(page.records)).toEqual(["c"]);
  expect(page.next).toBe(3);
});

test("a page past the end is empty and asks to come back at the same place", async () => {
  const log = await one(10, ["a"]);
  const page = await log.list({ from: { kind: "offset", offset: 5 }, limit: 9, bytesMax: 99 });
  expect(page).toMatchObject({ records: [], next: 5, startOffset: 0, endOffset: 1 });
});

test("a stream without follow ends where the log ended when it was asked for", async () => {
  const log = await one(11, ["a", "b", "c"]);
  expect(await valuesOf(log, { from: { kind: "earliest" }, follow: false })).toEqual([
    "a",
    "b",
    "c",
  ]);
  expect(await valuesOf(log, { from: { kind: "latest" }, follow: false })).toEqual([]);
  expect(await valuesOf(log, { from: { kind: "before-end", count: 2 }, follow: false })).toEqual([
    "b",
    "c",
  ]);
});

test("a stream that follows gets every record once, in order, also those to come", async () => {
  const log = await one(12, ["0", "1"]);
  const stop = new AbortController();
  const found: number[] = [];
  const reading = (async () => {
    const from = { kind: "offset", offset: 1 } as const;
    for await (const batch of log.stream({ from, follow: true, signal: stop.signal })) {
      for (let at = 0; at < batch.count; at += 1) found.push(batch.offset + at);
    }
  })();
  for (let at = 2; at < 40; at += 1) {
    await log.produce(at % 3 === 0 ? request("x", "y") : request("x"));
  }
  const { endOffset } = log.bounds();
  await until(() => (found.length === endOffset - 1 ? true : undefined));
  stop.abort();
  await reading;
  expect(found).toEqual(Array.from({ length: endOffset - 1 }, (_, at) => at + 1));
});

test("an aborted signal ends a stream and a waiting read at once", async () => {
  const log = await one(13, ["a"]);
  const stop = new AbortController();
  const { signal } = stop;
  const waiting = failure(log.read(5, { waitMs: 60_000, signal }));
  const from = { kind: "offset", offset: 0 } as const;
  const stream = log.stream({ from, follow: true, signal });
  expect((await stream.next()).done).toBe(false);
  const next = stream.next();
  await new Promise((resolve) => setImmediate(resolve));
  stop.abort();
  expect(await waiting).toBeInstanceOf(ProglogError);
  expect((await next).done).toBe(true);
});

// Vitest fails the run on an unhandled rejection; a node would end.
test("a caller that has gone leaves no failure behind that nobody looks at", async () => {
  const leader = await three(16);
  net.cut("n3");
  const cutOff = net.replica("n3");
  await until(() => (cutOff.contact().leaderId === null ? true : undefined));
  const log = serviceOf(cutOff);
  const { signal } = { signal: AbortSignal.abort() };
  expect(await failure(log.read(9, { signal }))).toBeInstanceOf(ProglogError);
  const list = { from: { kind: "latest" }, limit: 1, bytesMax: 10, signal } as const;
  expect(await failure(log.list(list))).toBeInstanceOf(ProglogError);
  expect(leader.isLeader).toBe(true);
  await new Promise((resolve) => setTimeout(resolve, 50));
});

test("a node that does not lead names the leader, and relays only once, and only if asked to", async () => {
  const leader = await three(14);
  await append(leader, ["a"]);
  const follower = net.replica("n2");
  await follower.confirm();
  const refused = await failure(serviceOf(follower).produce(request("b")));
  const { id } = leader.status();
  expect(refused).toMatchObject({ code: "not-leader", outcome: "not_applied" });
  expect((refused as ProglogError).leader).toMatchObject({ id });
  const relayed: AppendRequest[] = [];
  const peers: PeerCalls = {
    ...noPeers,
    produce: async (hint, relayedRequest) => {
      expect(hint.id).toBe(id);
      relayed.push(relayedRequest);
      return { offset: 7, count: 1, timestampMs: 1 };
    },
  };
  const forwarding = serviceOf(follower, { forwardsWrites: true }, peers);
  expect(await forwarding.produce(request("b"))).toMatchObject({ offset: 7 });
  expect(await serviceOf(follower, {}, peers).produce(request("c"), { relay: true })).toBeDefined();
  expect(relayed).toHaveLength(2);
  expect(relayed.every(({ forwarded }) => forwarded === true)).toBe(true);
  const again = await failure(forwarding.produce({ ...request("d"), forwarded: true }));
  expect(again).toMatchObject({ code: "not-leader" });
  expect(relayed).toHaveLength(2);
  // A timer of the platform that is set for longer than 24 days goes off at once.
  await forwarding.produce({ ...request("e"), timeoutMs: 2 ** 32 - 1 });
  expect(relayed[2]?.timeoutMs).toBe(600_000);
});

test("the outcome of an append is where it is, or that it never will be anywhere", async () => {
  const log = await one(31);
  const sent = { id: "p/a", sequence: 1 };
  const lost = { id: "p/a", sequence: 2 };
  await log.produce({ ...request("a", "b"), producer: sent });
  const applied = { type: "applied", offset: 0, count: 2 };
  expect(await log.outcome(sent)).toMatchObject(applied);
  expect(await log.outcome(lost)).toEqual({ type: "never" });
  expect(await log.outcome(lost)).toEqual({ type: "never" });
  const late = await failure(log.produce({ ...request("late"), producer: lost }));
  expect(late).toMatchObject({ code: "sequence-too-old", outcome: "not_applied" });
  expect(await log.outcome(sent)).toMatchObject(applied);
  const next = { id: "p/a", sequence: 3 };
  expect(await log.produce({ ...request("c"), producer: next })).toMatchObject({ offset: 2 });
  expect(log.bounds().endOffset).toBe(3);
});

test("an outcome asked for while the append is under way waits for it", async () => {
  const log = await one(32);
  const producer = { id: "k/order 7", sequence: 0 };
  const [receipt, outcome] = await Promise.all([
    log.produce({ ...request("a"), producer }),
    log.outcome(producer),
  ]);
  expect(receipt).toMatchObject({ offset: 0 });
  expect(outcome).toMatchObject({ type: "applied", offset: 0, count: 1 });
});

test("a node that does not lead says what is decided, and asks the leader for the rest", async () => {
  const leader = await three(33);
  const follower = net.replica("n2");
  await follower.confirm();
  const asked: unknown[] = [];
  const peers: PeerCalls = {
    ...noPeers,
    outcome: async (hint, producer) => {
      asked.push([hint.id, producer]);
      return serviceOf(leader).outcome(producer, { forwarded: true });
    },
  };
  const log = serviceOf(follower, {}, peers);
  const sent = { id: "p/a", sequence: 1 };
  const receipt = await serviceOf(leader).produce({ ...request("a"), producer: sent });
  await until(() => (log.bounds().endOffset > receipt.offset ? true : undefined));
  expect(await log.outcome(sent)).toMatchObject({ type: "applied", offset: receipt.offset });
  expect(asked).toEqual([]);
  const lost = { id: "p/a", sequence: 2 };
  expect(await log.outcome(lost)).toEqual({ type: "never" });
  expect(asked).toEqual([[leader.status().id, lost]]);
  const again = await failure(log.outcome({ id: "p/b", sequence: 1 }, { forwarded: true }));
  expect(again).toMatchObject({ code: "no-leader" });
});

test("without a quorum an outcome that is not decided cannot be told", async () => {
  const leader = await three(34);
  const log = serviceOf(leader);
  const sent = { id: "p/a", sequence: 1 };
  await log.produce({ ...request("a"), producer: sent });
  const { id } = leader.status();
  for (const member of net.members) if (member.id !== id) net.crash(member.id);
  await until(() => (leader.contact().hasQuorum ? undefined : true));
  expect(await log.outcome(sent)).toMatchObject({ type: "applied", offset: 0 });
  const undecided = await failure(log.outcome({ id: "p/a", sequence: 2 }));
  expect(undecided).toMatchObject({ retryable: true });
  expect((undecided as ProglogError).code).toMatch(/^(no-quorum|no-leader|cannot-confirm)$/);
});

test("without a quorum a write is refused at once, and reads of what is here go on", async () => {
  const leader = await three(15);
  await append(leader, ["a"]);
  const { id } = leader.status();
  for (const member of net.members) if (member.id !== id) net.crash(member.id);
  await until(() => (leader.contact().hasQuorum ? undefined : true));
  const log = serviceOf(leader);
  expect(await failure(log.produce(request("b")))).toMatchObject({
    code: "no-quorum",
    outcome: "not_applied",
  });
  expect((await log.read(0)).value.toString()).toBe("a");
});
