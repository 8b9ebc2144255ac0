/**
 * The log of a gateway, and what it knows of the members, over members that do as the test says.
 */
import { expect, onTestFinished, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { encodeRecords } from "../../src/common/record.js";
import { systemClock } from "../../src/common/system.js";
import { RemoteCluster } from "../../src/service/remote-cluster.js";
import { RemoteLog } from "../../src/service/remote-log.js";
import { RemoteMembers } from "../../src/service/remote-members.js";
import { RemoteWorld } from "./remote-world.js";

interface Scene {
  readonly world: RemoteWorld;
  readonly members: RemoteMembers;
  readonly log: RemoteLog;
  readonly cluster: RemoteCluster;
  readonly events: string[];
}

/** A gateway that knows the members of the world. */
async function begin(world: RemoteWorld, join = ["cluster:1"]): Promise<Scene> {
  const events: string[] = [];
  const note = (_: object, event: string): void => void events.push(event);
  const members = new RemoteMembers({
    ...{ peers: world, join, resolve: world.resolve, clock: systemClock },
    logger: { info: note, warn: note },
    options: { askMs: 20, urgentAskMs: 5, resolveMs: 40, refreshMs: 500 },
  });
  const log = new RemoteLog({
    ...{ members, peers: world, reads: world, clock: systemClock },
    nodeName: "gw",
    requestTimeoutMs: 500,
  });
  members.start();
  onTestFinished(() => members.close());
  await expect.poll(() => members.answeringCount).toBe(world.listed.length);
  const cluster = new RemoteCluster({ members, peers: world, name: "gw" });
  return { world, members, log, cluster, events };
}

const append = { records: encodeRecords([{ value: Buffer.from("a") }]) };

async function failureOf(failing: Promise<unknown>): Promise<ProglogError> {
  return failing.then(
    () => {
      throw new Error("it did not fail");
    },
    (error: unknown) => ProglogError.from(error),
  );
}

const confirmation = () => new ProglogError("cannot-confirm", "No leader.");

test("an append goes to the leader, marked as relayed", async () => {
  const { log, world } = await begin(new RemoteWorld(3));
  expect(await log.produce(append)).toMatchObject({ offset: 10 });
  expect(world.members.map(({ appendCount }) => appendCount)).toEqual([1, 0, 0]);
  expect(log.position()).toEqual({ nodeName: "gw", term: 1, endOffset: 11 });
});

test("an append follows the leader, whoever names it, and no client sees not-leader", async () => {
  const { log, world } = await begin(new RemoteWorld(3));
  world.elect(world.member(1));
  await log.produce(append);
  world.kill(world.member(1));
  world.elect(world.member(2));
  await log.produce(append);
  expect(world.members.map(({ appendCount }) => appendCount)).toEqual([0, 1, 1]);
  const hint = { id: "id-9", name: "m9", rpcAddr: "10.0.0.9:8400", httpAddr: "" };
  const refusal = new ProglogError("not-leader", "m9 leads.", { fields: { leader: hint } });
  for (const member of world.members) member.appendErrors.push(refusal, refusal, refusal);
  const error = await failureOf(log.produce(append));
  expect(error).toMatchObject({ outcome: "not_applied", http: 503 });
});

test("an append that may have been applied is never sent again", async () => {
  const { log, world } = await begin(new RemoteWorld(3));
  world.member(0).appendErrors.push(new ProglogError("outcome-unknown", "It broke."));
  expect((await failureOf(log.produce(append))).code).toBe("outcome-unknown");
  expect(world.members.map(({ appendCount }) => appendCount)).toEqual([0, 0, 0]);
});

test("what became of an append is asked of the leader, and of the next if that is gone", async () => {
  const { log, world } = await begin(new RemoteWorld(3));
  const producer = { id: "p/a", sequence: 1 };
  expect(await log.outcome(producer)).toEqual({ type: "never" });
  world.kill(world.member(0));
  world.elect(world.member(1));
  expect(await log.outcome(producer)).toEqual({ type: "never" });
});

test("an append without a leader and a quorum is told so", async () => {
  const { log, world, members } = await begin(new RemoteWorld(3));
  for (const member of world.members) member.leaderId = null;
  await expect.poll(() => members.leader).toBeUndefined();
  expect((await failureOf(log.produce(append))).code).toBe("no-quorum");
  for (const member of world.members) world.kill(member);
  expect(await failureOf(log.produce(append))).toMatchObject({
    code: "no-quorum",
    outcome: "not_applied",
    retryAfterMs: 1000,
  });
});

test("reads are spread over all members that answer", async () => {
  const { log, world } = await begin(new RemoteWorld(3));
  for (let count = 0; count < 30; count += 1) {
    expect((await log.read(count % 10)).value.toString()).toBe(String(count % 10));
  }
  expect(world.members.map(({ readCount }) => readCount)).toEqual([10, 10, 10]);
});

test("a read that one member cannot answer another is asked", async () => {
  const { log, world } = await begin(new RemoteWorld(3));
  for (const code of ["unavailable", "data-damaged", "cannot-confirm", "overloaded"] as const) {
    for (const { readErrors } of world.members.slice(1)) {
      readErrors.push(new ProglogError(code, "Not here."));
    }
    expect((await log.read(3)).offset).toBe(3);
    for (const { readErrors } of world.members) readErrors.length = 0;
  }
  for (const { readErrors } of world.members) readErrors.push(confirmation());
  expect((await failureOf(log.read(99))).code).toBe("cannot-confirm");
});

test("a miss is answered as the member does, and confirmed unless it need not be", async () => {
  const { log, world } = await begin(new RemoteWorld(3));
  world.grow(5, [world.member(0)]);
  expect((await log.read(14)).offset).toBe(14);
  const error = await failureOf(log.read(15));
  expect(error).toMatchObject({ code: "offset-out-of-range", fields: { endOffset: 15 } });
  world.startOffset = 4;
  const trimmed = await failureOf(log.read(3, { consistency: "local" }));
  expect(trimmed).toMatchObject({ code: "offset-trimmed", fields: { startOffset: 4 } });
});

test("a read waits for its record, and no longer than it was told", async () => {
  const { log, world } = await begin(new RemoteWorld(3));
  const waiting = log.read(10, { waitMs: 5_000 });
  world.grow(1);
  expect((await waiting).offset).toBe(10);
  expect((await failureOf(log.read(11, { waitMs: 20 }))).code).toBe("offset-out-of-range");
  await expect.poll(() => world.openStreams).toBe(0);
});

test("a page ends at a confirmed end, or where it is full", async () => {
  const { log, world } = await begin(new RemoteWorld(3));
  world.grow(2, [world.member(0)]);
  const range = { limit: 100, bytesMax: 1_000 };
  for (let count = 0; count < 3; count += 1) {
    world.member(1).endOffset = 10;
    world.member(2).endOffset = 10;
    const page = await log.list({ from: { kind: "offset", offset: 8 }, ...range });
    expect(page.records.map(({ offset }) => offset)).toEqual([8, 9, 10, 11]);
    expect(page).toMatchObject({ next: 12, endOffset: 12, startOffset: 0 });
  }
  const few = await log.list({ from: { kind: "earliest" }, limit: 3, bytesMax: 1_000 });
  expect(few).toMatchObject({ next: 3, records: [{ offset: 0 }, { offset: 1 }, { offset: 2 }] });
  const small = await log.list({ from: { kind: "earliest" }, limit: 100, bytesMax: 2 });
  expect(small.records).toHaveLength(2);
  await expect.poll(() => world.openStreams).toBe(0);
});

test("a full page needs no leader, and one that reaches the end does", async () => {
  const { log, world } = await begin(new RemoteWorld(3));
  for (const member of world.members) member.leaderId = null;
  const page = await log.list({ from: { kind: "earliest" }, limit: 5, bytesMax: 1_000 });
  expect(page.next).toBe(5);
  const error = await failureOf(log.list({ from: { kind: "earliest" }, limit: 50, bytesMax: 99 }));
  expect(error.code).toBe("cannot-confirm");
  const local = { consistency: "local", limit: 50, bytesMax: 1_000 } as const;
  expect((await log.list({ from: { kind: "earliest" }, ...local })).next).toBe(10);
});

test("a page starts at the end, before it, at a time, and where the log was trimmed", async () => {
  const { log, world } = await begin(new RemoteWorld(3));
  const starts = [
    [{ kind: "latest" }, 10],
    [{ kind: "before-end", count: 4 }, 6],
    [{ kind: "before-end", count: 40 }, 0],
    [{ kind: "timestamp", timestampMs: 7 }, 7],
    [{ kind: "timestamp", timestampMs: 0 }, 0],
    [{ kind: "timestamp", timestampMs: 99 }, 10],
  ] as const;
  for (const [from, start] of starts) {
    const { records } = await log.list({ from, limit: 1, bytesMax: 100 });
    expect(records.map(({ offset }) => offset)).toEqual(start === 10 ? [] : [start]);
  }
  world.startOffset = 5;
  const page = await log.list({ from: { kind: "earliest" }, limit: 1, bytesMax: 100 });
  expect(page).toMatchObject({ records: [{ offset: 5 }], next: 6 });
});

test("a stream goes on at another member where one has died", async () => {
  const { log, world } = await begin(new RemoteWorld(3));
  const stop = new AbortController();
  const seen: number[] = [];
  const from = { kind: "earliest" } as const;
  const reading = (async () => {
    for await (const { offset } of log.stream({ from, follow: true, signal: stop.signal })) {
      seen.push(offset);
    }
  })();
  await expect.poll(() => seen.length).toBe(10);
  for (const victim of [1, 2]) {
    world.kill(world.member(victim));
    world.grow(5);
    await expect.poll(() => seen.length).toBe(10 + victim * 5);
  }
  stop.abort();
  await reading;
  expect(seen).toEqual(Array.from({ length: 20 }, (_, at) => at));
  expect(world.openStreams).toBe(0);
});

test("a range ends where the log ended when it was asked for, also at a member behind", async () => {
  const { log, world } = await begin(new RemoteWorld(2));
  world.grow(2, [world.member(0)]);
  const seen: number[] = [];
  const from = { kind: "offset", offset: 7 } as const;
  for await (const { offset } of log.stream({ from, follow: false })) {
    seen.push(offset);
    if (offset === 9) world.grow(5);
  }
  expect(seen).toEqual([7, 8, 9, 10, 11]);
});

test("a stream that no member can serve fails once its time is over", async () => {
  const { log, world } = await begin(new RemoteWorld(2));
  const stream = log.stream({ from: { kind: "earliest" }, follow: true });
  expect((await stream.next()).value).toMatchObject({ offset: 0 });
  for (const member of world.members) world.kill(member);
  expect((await failureOf(stream.next())).code).toBe("unavailable");
});

test("a reader of a member that has lost the leader is moved to one that follows it", async () => {
  const { log, world, members } = await begin(new RemoteWorld(2));
  const stop = new AbortController();
  const request = { from: { kind: "latest" }, follow: true, signal: stop.signal } as const;
  const streams = [log.stream(request), log.stream(request)].map(async (stream) => stream.next());
  await expect.poll(() => world.openStreams).toBe(2);
  world.member(1).leaderId = null;
  await expect.poll(() => members.pick(new Set())?.name).toBe("m1");
  world.grow(1, [world.member(0)]);
  for (const next of streams) expect((await next).value).toMatchObject({ offset: 10 });
  stop.abort();
});

test("members are learned from any one, and forgotten when they are removed", async () => {
  const world = new RemoteWorld(4);
  world.listed = ["id-1", "id-2", "id-3"];
  const { members, events } = await begin(world, ["10.0.0.2:8400"]);
  expect(members.count).toBe(3);
  world.listed = ["id-1", "id-2", "id-4"];
  world.grow(1);
  await expect.poll(() => events).toContain("member-gone");
  expect(members.count).toBe(3);
  await expect.poll(() => members.answeringCount).toBe(3);
});

test("a cluster whose addresses have all changed is found again by its name", async () => {
  const { members, world, log } = await begin(new RemoteWorld(3));
  for (const [at, member] of world.members.entries()) member.rpcAddr = `10.0.1.${at + 1}:8400`;
  await expect.poll(() => members.answeringCount).toBe(0);
  world.resolved = world.members.map(({ rpcAddr }) => rpcAddr);
  await expect.poll(() => members.answeringCount).toBe(3);
  expect(await log.produce(append)).toMatchObject({ offset: 10 });
});

test("another cluster behind the name is not listened to", async () => {
  const { world, members, events } = await begin(new RemoteWorld(2));
  const stranger = { ...world.member(1), id: "id-x", name: "x", rpcAddr: "10.9.9.9:8400" };
  world.members.push({ ...stranger, clusterId: "another", term: 99, leaderId: "id-x" });
  world.resolved.push(stranger.rpcAddr);
  await expect.poll(() => events).toContain("cluster-refused");
  expect(members.leader?.id).toBe("id-1");
  expect(members.term).toBe(1);
  expect(members.count).toBe(2);
});

test("the cluster is shown as the leader has it, or as it was last known", async () => {
  const { world, cluster } = await begin(new RemoteWorld(3));
  expect(await cluster.status()).toMatchObject({ source: "leader", leader: { id: "id-1" } });
  expect(cluster.readiness().ready).toBe(true);
  for (const member of world.members) world.kill(member);
  const lost = await cluster.status();
  expect(lost).toMatchObject({ leader: null, quorum: false, readOnly: true, source: "local" });
  expect(lost.members.map(({ alive }) => alive)).toEqual([false, false, false]);
  expect(cluster.readiness().ready).toBe(false);
});

test("changes go to the leader, also to one that has just taken over", async () => {
  const { world, cluster, members } = await begin(new RemoteWorld(3));
  await cluster.transferLeader("id-2");
  expect(cluster.localStatus().leader?.id).toBe("id-2");
  world.kill(world.member(1));
  world.elect(world.member(2));
  await cluster.promoteMember("id-3");
  expect(world.promoted).toEqual(["id-3"]);
  await cluster.removeMember("id-2");
  world.grow(1);
  await expect.poll(() => members.count).toBe(2);
  for (const member of world.members) world.kill(member);
  expect((await failureOf(cluster.removeMember("id-1"))).code).toBe("no-quorum");
});

test.each([0, -1, 2 ** 32, 1e15])(
  "%d copies are refused before they are put on a wire",
  async (w) => {
    const { log, world } = await begin(new RemoteWorld(3));
    const error = await failureOf(log.produce({ ...append, writeConcern: w }));
    expect(error).toMatchObject({ code: "write-concern-unsatisfiable", outcome: "not_applied" });
    expect(world.member(0).appendCount).toBe(0);
  },
);
