/** Taking a snapshot: in force as a whole or not at all, whatever goes on meanwhile. */
import { afterEach, expect, test } from "vitest";

import { decodeBatch } from "../../src/common/record.js";
import type { Member } from "../../src/raft/index.js";
import type { Replica } from "../../src/replica/replica.js";
import { ReplicaNet, append, until } from "./replica-net.js";

let net: ReplicaNet;

afterEach(async () => {
  await net.close();
});

const big = "x".repeat(5000);

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

async function write(leader: Replica, from: number, count: number): Promise<void> {
  for (let at = from; at < from + count; at += 1) {
    expect(await append(leader, [`${String(at)} ${big}`])).toMatchObject({ offset: at });
  }
}

/** One voter whose Raft log no longer holds its first entries, and a member that may come in. */
async function compacted(seed: number): Promise<{ leader: Replica; member: Member }> {
  net = new ReplicaNet(2, seed, { checkpointBytes: 100_000, keepBytes: 100_000 });
  await net.start("n1");
  const leader = await net.leader();
  await write(leader, 0, 400);
  await until(() => (leader.status().snapshotIndex > 50 ? true : undefined));
  const [, member] = net.members;
  if (member === undefined) throw new Error("two members");
  return { leader, member };
}

test("one transfer runs at a time, however often the leader offers a newer snapshot", async () => {
  const { leader, member } = await compacted(31);
  const learner = await net.start(member.id);
  let running = 0;
  let runningMax = 0;
  let isHeld = true;
  net.onFetch = (change) => {
    running += change;
    runningMax = Math.max(runningMax, running);
  };
  net.beforePart = async () => {
    await until(() => (isHeld ? undefined : true));
  };
  await leader.changeConfiguration({ type: "addLearner", member });
  await until(() => (running > 0 ? true : undefined));
  const { snapshotIndex } = leader.status();
  await write(leader, 400, 200);
  await until(() => (leader.status().snapshotIndex > snapshotIndex ? true : undefined));
  // Long enough for the leader to offer again: an offer is repeated each election timeout.
  const { term } = leader.status();
  const until800 = performance.now() + 800;
  await until(() => (performance.now() > until800 ? true : undefined));
  isHeld = false;
  await until(() => (learner.commitLog.endOffset === 600 ? true : undefined));
  expect(runningMax).toBe(1);
  expect(leader.status().term).toBe(term);
  expect(await texts(learner)).toEqual(await texts(leader));
});

/** Lets a learner fall behind what the leader keeps, with records of its own. */
async function behind(seed: number): Promise<{ leader: Replica; member: Member }> {
  net = new ReplicaNet(2, seed, { checkpointBytes: 100_000, keepBytes: 100_000 });
  await net.start("n1");
  const leader = await net.leader();
  const [, member] = net.members;
  if (member === undefined) throw new Error("two members");
  const learner = await net.start(member.id);
  await leader.changeConfiguration({ type: "addLearner", member });
  await write(leader, 0, 307);
  await until(() => (learner.commitLog.endOffset === 307 ? true : undefined));
  net.cut(member.id);
  await write(leader, 307, 393);
  await until(() => (leader.status().snapshotIndex > 400 ? true : undefined));
  return { leader, member };
}

test("readers find every record that was there, also while a snapshot is put in force", async () => {
  const { member } = await behind(32);
  const learner = net.replica(member.id);
  let isInstalling = false;
  net.disk(member.id).onCall = ({ operation, path }) => {
    const isRename = operation === "rename" && path.startsWith("incoming/");
    if (isRename) isInstalling = true;
    return isRename || (isInstalling && path.startsWith("log")) ? { delayMs: 20 } : "ok";
  };
  net.heal();
  await until(() => (isInstalling ? true : undefined));
  const starts = new Set<number>();
  const faults = new Set<string>();
  while (learner.commitLog.endOffset < 700) {
    starts.add(learner.commitLog.startOffset);
    await learner.commitLog.read(7, 1).then(
      ([batch]) => starts.add((batch?.offset ?? -1) === 7 ? 0 : -1),
      (error: unknown) => faults.add((error as Error).name),
    );
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  expect([...starts]).toEqual([0]);
  // To be told to ask elsewhere is no wrong answer.
  expect([...faults].filter((name) => name !== "ProglogError")).toEqual([]);
});

test("R-S3: a stop in the midst of putting a snapshot in force loses nothing", async () => {
  for (const delayedCall of ["rename", "syncDirectory", "list", "truncate", "removeTree"]) {
    const { leader, member } = await behind(33);
    let isThere = false;
    let isInstalling = false;
    net.disk(member.id).onCall = ({ operation, path }) => {
      if (operation === "rename" && path.startsWith("incoming/")) isInstalling = true;
      if (!isInstalling || operation !== delayedCall) return "ok";
      isThere = true;
      return { delayMs: 400 };
    };
    net.heal();
    await until(() => (isThere ? true : undefined));
    await net.stop(member.id);
    net.disk(member.id).onCall = undefined;
    const again = await net.start(member.id);
    expect(again.commitLog.startOffset, delayedCall).toBe(0);
    expect(again.commitLog.endOffset, delayedCall).toBeGreaterThanOrEqual(307);
    await until(() => (again.commitLog.endOffset === 700 ? true : undefined));
    expect(await texts(again), delayedCall).toEqual(await texts(leader));
    await net.close();
  }
}, 60_000);

test("R-S3: a power cut at any disk call of taking a snapshot leaves a node that starts and catches up", async () => {
  // Counted from the first call in the incoming directory.
  let isDone = false;
  for (let after = 0; !isDone && after < 400; after += 7) {
    const { leader, member } = await behind(34);
    const disk = net.disk(member.id);
    let first: number | undefined;
    let isCut = false;
    disk.onCall = ({ ordinal, path }) => {
      if (path.startsWith("incoming")) first ??= ordinal;
      if (!isCut && first !== undefined && ordinal >= first + after) {
        isCut = true;
        queueMicrotask(() => {
          net.crash(member.id);
        });
      }
      return "ok";
    };
    const learner = net.replica(member.id);
    net.heal();
    await until(() => (isCut || learner.commitLog.endOffset === 700 ? true : undefined));
    isDone = !isCut;
    if (isCut) await until(() => (net.isUp(member.id) ? undefined : true));
    disk.onCall = undefined;
    const again = isCut ? await net.start(member.id) : learner;
    expect(again.commitLog.startOffset, `after ${String(after)} calls`).toBe(0);
    await until(() => (again.commitLog.endOffset === 700 ? true : undefined));
    expect(await texts(again), `after ${String(after)} calls`).toEqual(await texts(leader));
    await net.close();
  }
  expect(isDone).toBe(true);
}, 120_000);
