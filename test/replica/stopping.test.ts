/** How a replica ends: asked to, or because its disk or its own state has failed it. */
import { afterEach, expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import type { Replica } from "../../src/replica/replica.js";
import { ReplicaNet, append, until } from "./replica-net.js";

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

/** What a promise came to in time. */
async function within(promise: Promise<unknown>, ms = 5000): Promise<"ended" | "hangs"> {
  let ended = false;
  const end = (): void => {
    ended = true;
  };
  promise.then(end, end);
  const deadline = performance.now() + ms;
  while (!ended && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return ended ? "ended" : "hangs";
}

test("a node stops although what it applied is not yet on its own disk", async () => {
  const leader = await three(21);
  let isSlow = true;
  net.disk("n2").onCall = ({ operation, path }) =>
    isSlow && operation === "sync" && path.startsWith("raft/") ? { delayMs: 300 } : "ok";
  for (let at = 0; at < 5; at += 1) await append(leader, [String(at)]);
  const slow = net.replica("n2");
  await until(() => {
    const { appliedIndex, durableIndex } = slow.status();
    return appliedIndex > durableIndex ? true : undefined;
  });
  expect(await within(net.stop("n2"))).toBe("ended");
  isSlow = false;
  const again = await net.start("n2");
  await until(() => (again.commitLog.endOffset === 5 ? true : undefined));
});

test("a node stops while a checkpoint waits for its own disk, and after that disk has failed", async () => {
  const leader = await three(22, { checkpointBytes: 1000 });
  let fault: "ok" | "io" = "ok";
  net.disk("n2").onCall = ({ operation, path }) => {
    if (operation !== "sync" || !path.startsWith("raft/")) return "ok";
    return fault === "ok" ? { delayMs: 200 } : { fault: "io" };
  };
  for (let at = 0; at < 5; at += 1) await append(leader, ["x".repeat(900)]);
  const slow = net.replica("n2");
  await until(() => {
    const { appliedIndex, durableIndex } = slow.status();
    return appliedIndex > durableIndex ? true : undefined;
  });
  fault = "io";
  expect(await within(net.stop("n2"))).toBe("ended");
});

test("R-P5: after a failed sync a node acknowledges nothing and sends nothing", async () => {
  const leader = await three(23);
  await append(leader, ["before"]);
  let sent = 0;
  let hasFailed = false;
  net.passes = (message) => {
    if (hasFailed && message.from === "n2") sent += 1;
    return true;
  };
  const victim = net.replica("n2");
  net.disk("n2").onCall = ({ operation, path }) =>
    operation === "sync" && path.startsWith("raft/") ? { fault: "io" } : "ok";
  void victim.failed.then(() => {
    hasFailed = true;
  });
  expect(await append(leader, ["after"])).toMatchObject({ offset: 1 });
  expect((await victim.failed).message).toContain("sync");
  expect(await append(leader, ["later"])).toMatchObject({ offset: 2 });
  expect(sent).toBe(0);
});

test("R-P5: a leader whose sync fails leaves its pending appends of unknown outcome", async () => {
  net = new ReplicaNet(1, 24);
  await net.start("n1");
  const leader = await net.leader();
  await append(leader, ["before"]);
  net.disk("n1").onCall = ({ operation, path }) =>
    operation === "sync" && path.startsWith("raft/") ? { fault: "io" } : "ok";
  const results = await Promise.all([append(leader, ["a"]), append(leader, ["b"])]);
  for (const result of results) {
    expect(result).toMatchObject({ code: "outcome-unknown", outcome: "unknown" });
  }
  const refused = await append(leader, ["c"]);
  expect(refused).toMatchObject({ code: "unavailable", outcome: "not_applied" });
});

test("after a stop appends, reads and changes are refused at once", async () => {
  net = new ReplicaNet(2, 25);
  await net.start("n1");
  const leader = await net.leader();
  await net.stop("n1");
  expect(await append(leader, ["x"])).toMatchObject({ outcome: "not_applied" });
  expect(await within(leader.confirm())).toBe("ended");
  await expect(leader.confirm()).rejects.toBeInstanceOf(ProglogError);
  await expect(leader.transfer()).rejects.toBeInstanceOf(ProglogError);
});

test("a change of the members that the leader can't commit any more ends for its caller", async () => {
  const leader = await three(26);
  const { id } = leader.status();
  net.cut(id);
  const change = leader.changeConfiguration({ type: "remove", id: "n3" });
  const failure = change.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(await within(failure, 15_000)).toBe("ended");
  expect(await failure).not.toMatchObject({ outcome: "not_applied" });
}, 30_000);

test("a stop while a change of the members is in the log does not claim that it was not made", async () => {
  const leader = await three(27);
  const { id } = leader.status();
  net.cut(id);
  const change = leader.changeConfiguration({ type: "remove", id: "n3" }).then(
    () => undefined,
    (error: unknown) => error,
  );
  await until(() => (leader.status().configuration.voters.length === 2 ? true : undefined));
  await net.stop(id);
  expect(await change).toMatchObject({ outcome: "unknown" });
});

test("closing twice at once is closing once", async () => {
  net = new ReplicaNet(1, 28);
  const replica = await net.start("n1");
  await net.leader();
  await append(replica, ["a"]);
  await Promise.all([replica.close(), replica.close()]);
  expect(net.checkpoint("n1")?.endOffset).toBe(1);
});

test("a clean stop leaves a checkpoint of all that was applied", async () => {
  net = new ReplicaNet(1, 29);
  const replica = await net.start("n1");
  await net.leader();
  await append(replica, ["a", "b"]);
  const { appliedIndex } = replica;
  await net.stop("n1");
  expect(net.checkpoint("n1")).toMatchObject({ appliedIndex, endOffset: 2 });
  const again = await net.start("n1");
  expect(again.commitLog.endOffset).toBe(2);
  expect(again.appliedIndex).toBe(appliedIndex);
});
