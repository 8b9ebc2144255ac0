/** The replica's loop: whole replicas on simulated disks, an in-memory network, the real clock. */
import { afterEach, expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { decodeBatch } from "../../src/common/record.js";
import type { Replica } from "../../src/replica/replica.js";
import { ReplicaNet, append, until } from "./replica-net.js";

let net: ReplicaNet;

afterEach(async () => {
  await net.close();
});

async function texts(replica: Replica): Promise<string[]> {
  const found: string[] = [];
  const { commitLog } = replica;
  let offset = commitLog.startOffset;
  while (offset < commitLog.endOffset) {
    for (const batch of await commitLog.read(offset, 4096)) {
      for (const record of decodeBatch(batch)) found.push(record.value.toString());
      offset = batch.offset + batch.count;
    }
  }
  return found;
}

/** Three voters. */
async function three(seed: number, options = {}): Promise<void> {
  net = new ReplicaNet(3, seed, options);
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
}

test("a single node gives dense offsets and remembers them after a power cut", async () => {
  net = new ReplicaNet(1, 1);
  await net.start("n1");
  const leader = await net.leader();
  expect(await append(leader, ["a", "b"])).toMatchObject({ offset: 0, count: 2 });
  expect(await append(leader, ["c"])).toMatchObject({ offset: 2, count: 1 });
  net.crash("n1");
  await net.start("n1");
  const again = await net.leader();
  await until(() => (again.commitLog.endOffset === 3 ? true : undefined));
  expect(await texts(again)).toEqual(["a", "b", "c"]);
});

test("an append whose expected offset is not met is dropped, the others of its turn stay", async () => {
  net = new ReplicaNet(1, 2);
  await net.start("n1");
  const leader = await net.leader();
  const results = await Promise.all([
    append(leader, ["a"], 0),
    append(leader, ["b"], 7),
    append(leader, ["c"]),
    append(leader, ["d"], 2),
  ]);
  const [first, second, third, fourth] = results;
  expect(first).toMatchObject({ offset: 0 });
  expect(second).toBeInstanceOf(ProglogError);
  expect(second).toMatchObject({ code: "expected-offset-mismatch", fields: { actualOffset: 1 } });
  expect(third).toMatchObject({ offset: 1 });
  expect(fourth).toMatchObject({ offset: 2 });
  expect(await texts(leader)).toEqual(["a", "c", "d"]);
});

test("three nodes hold the same records, also after each was cut from power in turn", async () => {
  await three(3);
  const acked: string[] = [];
  for (const [round, { id }] of net.members.entries()) {
    const leader = await net.leader();
    for (let at = 0; at < 20; at += 1) {
      const text = `${String(round)}-${String(at)}`;
      const result = await append(leader, [text]);
      expect(result).not.toBeInstanceOf(ProglogError);
      acked.push(text);
    }
    net.crash(id);
    await net.leader();
    await net.start(id);
  }
  const leader = await net.leader();
  await append(leader, ["last"]);
  acked.push("last");
  for (const { id } of net.members) {
    const replica = net.replica(id);
    await until(() => (replica.commitLog.endOffset === acked.length ? true : undefined));
    expect(await texts(replica)).toEqual(acked);
  }
});

test("a confirmed read on a follower sees what was acknowledged before it", async () => {
  await three(4);
  const leader = await net.leader();
  for (let at = 0; at < 30; at += 1) {
    const result = await append(leader, [String(at)]);
    expect(result).toMatchObject({ offset: at });
    for (const { id } of net.members) {
      await net.replica(id).confirm();
      expect(net.replica(id).commitLog.endOffset).toBeGreaterThan(at);
    }
  }
});

test("checkpoints let the Raft log go, and a start goes on from the last one", async () => {
  await three(5, { checkpointBytes: 100_000, keepBytes: 300_000 });
  const leader = await net.leader();
  const big = "x".repeat(5000);
  for (let at = 0; at < 400; at += 1) {
    expect(await append(leader, [`${String(at)} ${big}`])).toMatchObject({ offset: at });
  }
  await until(() => (leader.status().snapshotIndex > 50 ? true : undefined));
  for (const { id } of net.members) {
    net.crash(id);
    await net.start(id);
  }
  const next = await net.leader();
  await until(() => (next.commitLog.endOffset === 400 ? true : undefined));
  expect((await texts(next)).map((text) => Number(text.split(" ")[0]))).toEqual(
    Array.from({ length: 400 }, (_, at) => at),
  );
});

/** One voter whose Raft log no longer holds its first entries. */
async function compacted(seed: number, count: number): Promise<Replica> {
  net = new ReplicaNet(2, seed, { checkpointBytes: 100_000, keepBytes: 100_000 });
  const leader = await (await net.start("n1"), net.leader());
  const big = "x".repeat(5000);
  for (let at = 0; at < count; at += 1) {
    expect(await append(leader, [`${String(at)} ${big}`])).toMatchObject({ offset: at });
  }
  await until(() => (leader.status().snapshotIndex > 50 ? true : undefined));
  return leader;
}

test("§7: a new node that the log can't serve any more takes a snapshot and goes on", async () => {
  const leader = await compacted(6, 400);
  const [, member] = net.members;
  if (member === undefined) throw new Error("two members");
  const learner = await net.start(member.id);
  await leader.changeConfiguration({ type: "addLearner", member });
  await until(() => (learner.commitLog.endOffset === 400 ? true : undefined));
  expect(await append(leader, ["after"])).toMatchObject({ offset: 400 });
  await until(() => (learner.commitLog.endOffset === 401 ? true : undefined));
  expect(await texts(learner)).toEqual(await texts(leader));
  expect(learner.clusterId).toBe("c1");
  net.crash(member.id);
  const again = await net.start(member.id);
  await until(() => (again.commitLog.endOffset === 401 ? true : undefined));
  expect(await texts(again)).toEqual(await texts(leader));
});

test("a transfer of a snapshot that breaks goes on where it stopped", async () => {
  const leader = await compacted(7, 400);
  const [, member] = net.members;
  if (member === undefined) throw new Error("two members");
  net.snapshotPartsMax = 4;
  const learner = await net.start(member.id);
  await leader.changeConfiguration({ type: "addLearner", member });
  await until(() => (learner.commitLog.endOffset === 400 ? true : undefined));
  expect(await texts(learner)).toEqual(await texts(leader));
  // 2 MB in chunks of 256 KiB, and a checkpoint a try: nothing was sent twice over.
  expect(net.snapshotParts).toBeLessThan(20);
});
