/** How many disks an append is waited for, on whole replicas over an in-memory transport. */
import { afterEach, expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { encodeRecords } from "../../src/common/record.js";
import { systemClock } from "../../src/common/system.js";
import type { AppendRequest, WriteConcern } from "../../src/service/api.js";
import type { PeerCalls } from "../../src/service/peer-calls.js";
import { ReplicatedLog } from "../../src/service/replicated-log.js";
import type { Replica } from "../../src/replica/replica.js";
import { ReplicaNet, until } from "../replica/replica-net.js";

let net: ReplicaNet;

afterEach(async () => {
  await net.close();
});

const nobody: PeerCalls = new Proxy({} as PeerCalls, {
  get: () => async () => Promise.reject(new ProglogError("unavailable", "Nobody is there.")),
});

function logOf(replica: Replica): ReplicatedLog {
  return new ReplicatedLog({
    ...{ replica, peers: nobody, clock: systemClock, nodeName: "n1" },
    options: {
      recordBytesMax: 100_000,
      appendBytesMax: 400_000,
      requestTimeoutMs: 10_000,
      forwardsWrites: false,
    },
    onDamage: () => undefined,
  });
}

async function three(): Promise<Replica> {
  net = new ReplicaNet(3, 7);
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

function request(text: string, writeConcern?: WriteConcern, more?: object): AppendRequest {
  const records = encodeRecords([{ value: Buffer.from(text) }]);
  return { records, ...(writeConcern === undefined ? {} : { writeConcern }), ...more };
}

async function failure(promise: Promise<unknown>): Promise<ProglogError> {
  const error: unknown = await promise.then(
    () => "no failure",
    (thrown: unknown) => thrown,
  );
  if (error instanceof ProglogError) return error;
  throw new Error(`expected a failure, got ${String(error)}`);
}

test("all waits for the node that is away, alone, and ends when it returns", async () => {
  const leader = await three();
  const log = logOf(leader);
  await until(() => (leader.status().followers.every((one) => one.matchIndex > 0) ? 1 : undefined));
  net.cut("n3");
  let answered = false;
  const waiting = log.produce(request("patient", "all")).then((answer) => {
    answered = true;
    return answer;
  });
  const other = log.produce(request("patient too", 3));
  expect(await log.produce(request("quick"))).toMatchObject({ offset: 2 });
  expect(await log.produce(request("two of three", 2))).toMatchObject({ offset: 3 });
  expect(answered).toBe(false);
  net.heal();
  expect(await waiting).toMatchObject({ offset: 0, count: 1 });
  expect(await other).toMatchObject({ offset: 1 });
});

test("copies that do not come in time are said to be missing, and the record is there", async () => {
  const log = logOf(await three());
  net.cut("n3");
  const error = await failure(log.produce(request("a", 3, { timeoutMs: 300 })));
  expect(error).toMatchObject({ code: "write-concern-timeout", outcome: "applied" });
  expect(error.fields).toMatchObject({ offset: 0, count: 1, acks: 2 });
  expect((await log.read(0)).value.toString()).toBe("a");
});

test("a repeat waits for its copies too, and is told of the original", async () => {
  const log = logOf(await three());
  const producer = { id: "p/a", sequence: 1 };
  await log.produce(request("a", undefined, { producer }));
  net.cut("n3");
  const terms = { producer, timeoutMs: 300 };
  const error = await failure(log.produce(request("a", "all", terms)));
  expect(error).toMatchObject({ code: "write-concern-timeout", fields: { offset: 0, acks: 2 } });
  net.heal();
  const repeat = await log.produce(request("a", "all", { producer }));
  expect(repeat).toMatchObject({ offset: 0, isDuplicate: true });
});

test("1 is answered by the leader's disk alone, before any other has it", async () => {
  const leader = await three();
  const log = logOf(leader);
  net.cut("n2");
  net.cut("n3");
  const { commitIndex } = leader.status();
  expect(await log.produce(request("early", 1))).toEqual({ isCommitted: false });
  expect(leader.status().commitIndex).toBe(commitIndex);
  expect(log.bounds().endOffset).toBe(0);
  net.heal();
  await until(() => (log.bounds().endOffset === 1 ? true : undefined));
});

test("1 is a commit where the leader is alone", async () => {
  net = new ReplicaNet(1, 1);
  await net.start("n1");
  const log = logOf(await net.leader());
  expect(await log.produce(request("a", 1))).toMatchObject({ offset: 0 });
});

test("a learner's copy counts, beyond the majority of voters", async () => {
  net = new ReplicaNet(2, 3);
  const leader = await net.start("n1");
  await net.leader();
  const [, member] = net.members;
  if (member === undefined) throw new Error("there are two");
  await net.start(member.id);
  await leader.changeConfiguration({ type: "addLearner", member });
  const log = logOf(leader);
  expect(await log.produce(request("a", 2))).toMatchObject({ offset: 0 });
  net.cut("n2");
  const error = await failure(log.produce(request("b", "all", { timeoutMs: 200 })));
  expect(error).toMatchObject({ code: "write-concern-timeout", fields: { offset: 1, acks: 1 } });
});

test.each([
  [4, "write-concern-unsatisfiable"],
  [0, "write-concern-unsatisfiable"],
  [-1, "write-concern-unsatisfiable"],
  [1.5, "invalid-request"],
])("%d copies of three nodes are refused", async (writeConcern, code) => {
  const log = logOf(await three());
  const error = await failure(log.produce(request("a", writeConcern)));
  expect(error).toMatchObject({ code, outcome: "not_applied" });
  expect(log.bounds().endOffset).toBe(0);
});

test("an expected offset is not decided yet when 1 is answered: refused", async () => {
  const log = logOf(await three());
  const error = await failure(log.produce(request("a", 1, { expectedOffset: 0 })));
  expect(error.code).toBe("invalid-request");
});
