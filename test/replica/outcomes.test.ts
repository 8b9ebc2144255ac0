/** What clients are told, over whole replicas: when leaders fall, links are cut and disks fill up. */
import { afterEach, expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { decodeBatch } from "../../src/common/record.js";
import type { Replica } from "../../src/replica/replica.js";
import { ReplicaNet, append, seededRandom, until } from "./replica-net.js";

let net: ReplicaNet;

afterEach(async () => {
  await net.close();
});

async function three(seed: number, options = {}): Promise<Replica> {
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
  return first;
}

async function texts(replica: Replica): Promise<string[]> {
  const found: string[] = [];
  const { commitLog } = replica;
  let offset = commitLog.startOffset;
  while (offset < commitLog.endOffset) {
    for (const batch of await commitLog.read(offset, 64 * 1024)) {
      for (const record of decodeBatch(batch)) found.push(record.value.toString());
      offset = batch.offset + batch.count;
    }
  }
  return found;
}

/** The node that leads in a later term than another did. */
async function successorOf(deposed: Replica): Promise<Replica> {
  const { id, term } = deposed.status();
  return until(() => {
    for (const member of net.members) {
      if (member.id === id || !net.isUp(member.id)) continue;
      const status = net.replica(member.id).status();
      if (status.isReady && status.term > term) return net.replica(member.id);
    }
    return undefined;
  });
}

test("an append that reached a quorum is answered as applied although its leader was deposed", async () => {
  const leader = await three(41);
  await append(leader, ["before"]);
  const { id } = leader.status();
  // The followers hold it, but the leader does not hear so, nor that it is followed.
  net.passes = ({ to, from }) => to !== id && !(from === id && isDeaf);
  let isDeaf = false;
  const index = leader.status().lastIndex + 1;
  const pending = append(leader, ["a"]);
  await until(() => {
    const durable = net.members.map((member) => net.replica(member.id).status().durableIndex);
    return durable.every((held) => held >= index) ? true : undefined;
  });
  isDeaf = true;
  const next = await successorOf(leader);
  await append(next, ["b"]);
  net.passes = () => true;
  const result = await pending;
  expect(await texts(next)).toEqual(["before", "a", "b"]);
  // The word of the new leader may come after the grace: then the outcome is unknown, never a lie.
  if (result instanceof ProglogError) expect(result.outcome).toBe("unknown");
  else expect(result.offset).toBe(1);
});

test("an append that stayed with its cut-off leader is never told applied, nor kept", async () => {
  const leader = await three(42);
  await append(leader, ["before"]);
  net.cut(leader.status().id);
  const pending = append(leader, ["lost"]);
  const next = await successorOf(leader);
  await append(next, ["after"]);
  net.heal();
  const result = await pending;
  expect(result).toBeInstanceOf(ProglogError);
  await until(() => (leader.commitLog.endOffset === 2 ? true : undefined));
  expect(await texts(leader)).toEqual(["before", "after"]);
  expect(await texts(next)).toEqual(["before", "after"]);
});

test("an append whose place another leader's entry took is not applied, and says so", async () => {
  const leader = await three(43, { electionTicks: 2000 });
  await append(leader, ["before"]);
  net.cut(leader.status().id);
  const pending = append(leader, ["lost"]);
  const next = await successorOf(leader);
  await append(next, ["after"]);
  net.heal();
  expect(await pending).toMatchObject({ code: "no-leader", outcome: "not_applied" });
});

test("a leader without its followers gives up: unknown for what is in its log, refused from then on", async () => {
  const leader = await three(44);
  await append(leader, ["before"]);
  net.cut(leader.status().id);
  const pending = append(leader, ["x"]);
  expect(await pending).toMatchObject({ code: "outcome-unknown", outcome: "unknown" });
  expect(leader.isLeader).toBe(false);
  expect(await append(leader, ["y"])).toMatchObject({ outcome: "not_applied" });
});

test("R-Q1: a leader that is cut off can't confirm a read, nor can a follower of it", async () => {
  const leader = await three(45);
  await append(leader, ["before"]);
  net.cut(leader.status().id);
  await expect(leader.confirm()).rejects.toMatchObject({ code: "cannot-confirm" });
  const next = await successorOf(leader);
  await append(next, ["after"]);
  await next.confirm();
  await expect(leader.confirm()).rejects.toMatchObject({ code: "cannot-confirm" });
});

test("without a quorum there is no leader to be found, and the contact says why", async () => {
  const leader = await three(46);
  const { id } = leader.status();
  for (const member of net.members) if (member.id !== id) net.crash(member.id);
  await until(() => (leader.contact().hasQuorum ? undefined : true));
  expect(leader.contact().leaderId).toBeNull();
});

test("no append is ever answered twice or not at all, while leaders come and go", async () => {
  await three(47);
  const random = seededRandom(47);
  const counts = new Map<string, number>();
  const acked = new Map<string, number>();
  const refused = new Set<string>();
  let isOver = false;
  let number = 0;
  const write = async (): Promise<void> => {
    while (!isOver) {
      const up = net.members.filter((member) => net.isUp(member.id));
      const replica = up.map(({ id }) => net.replica(id)).find(({ isLeader }) => isLeader);
      if (replica === undefined) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        continue;
      }
      const text = String(number);
      number += 1;
      const result = await append(replica, [text]);
      counts.set(text, (counts.get(text) ?? 0) + 1);
      if (!(result instanceof ProglogError)) acked.set(text, result.offset);
      else if (result.outcome === "not_applied") refused.add(text);
    }
  };
  const writers = [write(), write(), write()];
  for (let round = 0; round < 6; round += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const leader = await net.leader();
    const { id } = leader.status();
    if (random.next() < 0.3) {
      await leader.transfer().catch(() => undefined);
    } else if (random.next() < 0.5) {
      net.cut(id);
      await successorOf(leader);
      net.heal();
    } else {
      net.crash(id);
      await net.leader();
      await net.start(id);
    }
  }
  isOver = true;
  await Promise.all(writers);
  expect([...counts.values()].every((count) => count === 1)).toBe(true);
  const last = await net.leader();
  await append(last, ["end"]);
  const end = last.commitLog.endOffset;
  const found = await texts(last);
  for (const [text, offset] of acked) expect(found[offset]).toBe(text);
  for (const text of refused) expect(found).not.toContain(text);
  expect(new Set(found).size).toBe(found.length);
  for (const { id } of net.members) {
    const replica = net.replica(id);
    await until(() => (replica.commitLog.endOffset >= end ? true : undefined));
    expect((await texts(replica)).slice(0, end)).toEqual(found);
  }
}, 60_000);

test("a node that is cut from power after any disk call keeps every record that was acknowledged", async () => {
  const options = { checkpointBytes: 3000, keepBytes: 0 };
  for (const victim of ["n1", "n2"]) {
    for (let calls = 1; calls < 60; calls += 6) {
      const first = await three(50 + calls, options);
      expect(first.status().id).toBe("n1");
      const acked: string[] = [];
      let left = calls;
      net.disk(victim).onCall = () => {
        left -= 1;
        if (left === 0) {
          queueMicrotask(() => {
            net.crash(victim);
          });
        }
        return "ok";
      };
      for (let at = 0; at < 12; at += 1) {
        const text = `${String(at)} ${"z".repeat(500)}`;
        const leader = await net.leader();
        const result = await append(leader, [text]);
        if (!(result instanceof ProglogError)) acked.push(text);
      }
      if (!net.isUp(victim)) await net.start(victim);
      net.disk(victim).onCall = undefined;
      const leader = await net.leader();
      await append(leader, ["last"]);
      const end = leader.commitLog.endOffset;
      const replica = net.replica(victim);
      await until(() => (replica.commitLog.endOffset >= end ? true : undefined));
      const found = await texts(replica);
      const what = `${victim} after ${String(calls)} calls`;
      expect(
        found.filter((text) => acked.includes(text)),
        what,
      ).toEqual(acked);
      await net.close();
    }
  }
}, 120_000);

test("507: writes are refused while the leader's disk is low, reads and votes go on, and it comes back", async () => {
  const leader = await three(48, { diskFreeBytesMin: 1_000_000, diskCheckMs: 20 });
  expect(await append(leader, ["before"])).toMatchObject({ offset: 0 });
  const disk = net.disk(leader.status().id);
  disk.capacityBytes = 0;
  await until(() => (leader.isDiskLow ? true : undefined));
  expect(await append(leader, ["x"])).toMatchObject({ code: "disk-full", outcome: "not_applied" });
  await leader.confirm();
  expect(leader.isLeader).toBe(true);
  disk.capacityBytes = Number.MAX_SAFE_INTEGER;
  await until(() => (leader.isDiskLow ? undefined : true));
  expect(await append(leader, ["after"])).toMatchObject({ offset: 1 });
});

test("a node whose disk is full stops when it is asked to", async () => {
  const leader = await three(60);
  net.disk("n3").capacityBytes = 0;
  for (let at = 0; at < 60; at += 1) await append(leader, [`${String(at)} ${"x".repeat(20_000)}`]);
  let isStopped = false;
  void net.stop("n3").then(() => {
    isStopped = true;
  });
  await until(() => (isStopped ? true : undefined));
});

test("a follower whose disk is full holds up nobody, and catches up when there is room", async () => {
  const leader = await three(49);
  const disk = net.disk("n3");
  disk.capacityBytes = 0;
  const big = "x".repeat(20_000);
  for (let at = 0; at < 60; at += 1) {
    expect(await append(leader, [`${String(at)} ${big}`])).toMatchObject({ offset: at });
  }
  const full = net.replica("n3");
  const { durableIndex, lastIndex } = leader.status();
  expect(durableIndex).toBe(lastIndex);
  expect(full.status().durableIndex).toBeLessThan(lastIndex);
  disk.capacityBytes = Number.MAX_SAFE_INTEGER;
  await until(() => (full.commitLog.endOffset === 60 ? true : undefined));
  expect(await texts(full)).toEqual(await texts(leader));
});
