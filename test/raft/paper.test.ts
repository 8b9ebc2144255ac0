/**
 * One test for each claim of the Raft paper (§5 to §8) and of the thesis that the core relies on,
 * named by its section.
 */
import { describe, expect, test } from "vitest";

import { configurationOf, Network } from "./network.js";
import { clusterOf, elect, lastAnswer, ledCluster, sentOf, winOnly } from "./cluster.js";

describe("Raft §5.1 terms", () => {
  test("§5.1 a node that sees a higher term adopts it and follows", () => {
    const network = ledCluster({ voters: 3 });
    network.step("1", {
      type: "receive",
      message: {
        ...{ type: "appendResponse", from: "2", to: "1", term: 7, rejected: true, index: 0 },
        ...{ conflictTerm: 0, conflictIndex: 0, round: 0 },
      },
    });
    expect(network.describeState("1")).toBe("follower term=7 vote=- leader=-");
  });

  test("§5.1 a request of an older term is refused with the newer one", () => {
    const network = ledCluster({ voters: 3 });
    elect(network, "2");
    const old = { type: "voteRequest", from: "3", to: "2", term: 1 } as const;
    const message = { ...old, lastIndex: 9, lastTerm: 1, preVote: false, transfer: false };
    network.step("2", { type: "receive", message });
    expect(sentOf(network, "voteResponse")).toMatchObject([{ to: "3", term: 2, granted: false }]);
  });

  test("§5.1 the term never falls, and outlives a crash", () => {
    const network = ledCluster({ voters: 3 });
    elect(network, "2");
    network.crash("3");
    network.start("3");
    expect(network.core("3").term).toBe(2);
  });
});

describe("Raft §5.2 leader election", () => {
  test("§5.2 a follower that hears nothing campaigns after its timeout, not before", () => {
    const network = clusterOf({ voters: 3 });
    network.tick("1", 10);
    expect(network.core("1").role).toBe("follower");
    network.tick("1", 1);
    expect(network.core("1").role).toBe("preCandidate");
  });

  test("§5.2 a leader's word keeps a follower from campaigning", () => {
    const network = ledCluster({ voters: 3 });
    for (let round = 0; round < 30; round += 1) {
      for (const id of network.ids) network.tick(id, 2);
      network.stabilize();
    }
    expect(network.describeState("1")).toBe("leader term=1 vote=1 leader=1");
  });

  test("§5.2 a candidate votes for itself and asks all others", () => {
    const network = clusterOf({ voters: 5 });
    network.campaign("1");
    for (const message of network.take({})) network.deliver(message);
    for (const message of network.take({ count: 2 })) network.deliver(message);
    network.take({});
    network.persist("1");
    expect(network.core("1").status()).toMatchObject({ role: "candidate", term: 1, vote: "1" });
    const asked = sentOf(network, "voteRequest").filter((request) => !request.preVote);
    expect(asked.map((request) => request.to)).toEqual(["2", "3", "4", "5"]);
  });

  test("§5.2 a majority of votes makes a leader, a minority does not", () => {
    const network = clusterOf({ voters: 5 });
    network.partition([["1", "2"]]);
    elect(network, "1");
    expect(network.core("1").role).toBe("preCandidate");
    network.partition([["1", "2", "3"]]);
    elect(network, "1");
    expect(network.core("1").role).toBe("leader");
  });

  test("§5.2 a candidate that hears of the term's leader follows it", () => {
    const network = clusterOf({ voters: 3 });
    winOnly(network, "1", ["1", "2"]);
    network.campaign("3");
    expect(network.core("3").role).toBe("preCandidate");
    for (const message of network.take({ from: "1", to: "3" })) network.deliver(message);
    expect(network.core("3")).toMatchObject({ role: "follower", leaderId: "1" });
  });

  test("§5.2 timeouts are drawn anew from [n, 2n) for every wait", () => {
    const draws = [0.99, 0, 0.5];
    const network = new Network({
      ids: ["1"],
      configuration: configurationOf(["1", "2", "3"]),
      random: () => ({ next: () => draws.shift() ?? 0.5, uuid: () => "" }),
    });
    const polls = (ticks: number): number => {
      network.tick("1", ticks);
      return sentOf(network, "voteRequest").length / 2;
    };
    expect([polls(18), polls(1)]).toEqual([0, 1]);
    expect([polls(9), polls(1)]).toEqual([1, 2]);
    expect([polls(14), polls(1)]).toEqual([2, 3]);
  });

  test("§5.2 votes are given first come, first served", () => {
    const network = clusterOf({ voters: 3 });
    const ask = (from: string) => ({
      ...({ type: "voteRequest", from, to: "2", term: 1 } as const),
      ...{ lastIndex: 0, lastTerm: 0, preVote: false, transfer: false },
    });
    for (const from of ["1", "3", "1"]) {
      network.step("2", { type: "receive", message: ask(from) });
    }
    network.persist("2");
    const answers = sentOf(network, "voteResponse").map(({ to, granted }) => [to, granted]);
    expect(answers).toEqual([
      ["1", true],
      ["3", false],
      ["1", true],
    ]);
  });
});

describe("Raft §5.3 log replication", () => {
  test("§5.3 an entry on a majority is committed and applied everywhere", () => {
    const network = ledCluster({ voters: 3 });
    network.propose("1", 1, "x");
    network.stabilize();
    for (const id of network.ids) expect(network.node(id).applied).toBe(2);
  });

  test("§5.3 the leader retries for ever, also after it has answered the client", () => {
    const network = ledCluster({ voters: 3 });
    network.crash("3");
    network.propose("1", 1, "x");
    network.stabilize();
    network.start("3");
    for (let round = 0; round < 12; round += 1) {
      network.tick("1", 2);
      network.stabilize();
    }
    expect(network.node("3").memory.toString()).toBe("1/1:noop 2/1:x");
  });

  test("§5.3 an append is refused where the entry before it is missing", () => {
    const network = ledCluster({ voters: 3 });
    network.propose("1", 1, "a");
    network.propose("1", 2, "b");
    const [, second] = network.take({ to: "2", type: "appendRequest" });
    if (second !== undefined) network.deliver(second);
    expect(sentOf(network, "appendResponse")).toMatchObject([{ rejected: true, index: 2 }]);
    expect(network.node("2").memory.lastIndex).toBe(1);
  });

  test("§5.3 a follower's conflicting entries give way to the leader's", () => {
    const network = ledCluster({ voters: 3 });
    network.partition([["1"], ["2", "3"]]);
    network.propose("1", 1, "lost");
    network.persist("1");
    network.take({});
    elect(network, "2");
    network.propose("2", 2, "kept");
    network.stabilize();
    network.partition([]);
    for (let round = 0; round < 3; round += 1) {
      network.tick("2", 2);
      network.stabilize();
    }
    expect(network.node("1").memory.toString()).toBe("1/1:noop 2/2:noop 3/2:kept");
  });

  test("§5.3 a leader never overwrites or deletes its own entries", () => {
    const network = ledCluster({ voters: 3 });
    network.propose("1", 1, "a");
    const before = network.node("1").memory.toString();
    for (let round = 0; round < 8; round += 1) {
      network.tick("1", 1);
      for (const message of network.take({ count: 3 })) network.deliver(message);
      network.propose("1", 2 + round, `b${round}`);
      expect(network.node("1").memory.toString().startsWith(before)).toBe(true);
    }
  });
});

describe("Raft §5.4 safety", () => {
  test("§5.4.1 a vote goes only to a log at least as up-to-date, the term before the length", () => {
    const network = ledCluster({ voters: 3 });
    network.propose("1", 1, "a");
    network.stabilize();
    const ask = (lastIndex: number, lastTerm: number): boolean | undefined => {
      network.crash("2");
      network.start("2");
      const request = { type: "voteRequest", from: "3", to: "2", term: 9 } as const;
      const flags = { preVote: true, transfer: false };
      const message = { ...request, lastIndex, lastTerm, ...flags };
      network.step("2", { type: "receive", message });
      return sentOf(network, "voteResponse").at(-1)?.granted;
    };
    expect([ask(2, 1), ask(3, 1), ask(1, 2)]).toEqual([true, true, true]);
    expect([ask(1, 1), ask(9, 0)]).toEqual([false, false]);
  });

  test("§5.4.2 an entry of an older term is not committed by counting it", () => {
    const network = ledCluster({ voters: 3, raft: { appendBytesMax: 0 } });
    network.partition([["1"]]);
    network.propose("1", 1, "old");
    network.persist("1");
    network.take({});
    network.crash("1");
    network.start("1");
    network.partition([]);
    winOnly(network, "1", ["1", "2"]);
    // The no-op is refused; the old entry goes over alone.
    for (const message of network.take({ to: "2", type: "appendRequest" })) {
      network.deliver(message);
    }
    for (const message of network.take({ from: "2" })) network.deliver(message);
    const [old] = network.take({ from: "1", to: "2", type: "appendRequest", count: 1 });
    expect(old).toMatchObject({ entries: [{ index: 2, term: 1 }] });
    if (old !== undefined) network.deliver(old);
    network.persist("1");
    network.persist("2");
    for (const message of network.take({ from: "2" })) network.deliver(message);
    expect(network.core("1").status().followers).toMatchObject([{ matchIndex: 2 }, {}]);
    expect(network.core("1").commitIndex).toBeLessThan(2);
    network.stabilize();
    expect(network.core("1").commitIndex).toBe(3);
  });
});

describe("Raft §5.5, §5.6 crashes and time", () => {
  test("§5.5 a request delivered twice does no harm", () => {
    const network = ledCluster({ voters: 3 });
    network.propose("1", 1, "a");
    for (let round = 0; round < 3; round += 1) {
      for (const message of network.take({})) {
        network.deliver(message);
        network.deliver(message);
      }
      for (const id of network.ids) network.persist(id);
    }
    network.stabilize();
    expect(network.node("3").memory.toString()).toBe("1/1:noop 2/1:a");
  });

  test("§5.6 heartbeats are far more frequent than elections", () => {
    const network = ledCluster({ voters: 3 });
    network.tick("1", 10);
    expect(sentOf(network, "appendRequest").filter(({ to }) => to === "2")).toHaveLength(5);
  });
});

describe("Raft §7 snapshots", () => {
  test("§7 a follower that lacks entries that are gone is given a snapshot", () => {
    const network = ledCluster({ voters: 3 });
    network.crash("3");
    for (const text of ["a", "b", "c"]) network.propose("1", 1, text);
    network.stabilize();
    network.compact("1", 4);
    network.start("3");
    for (let round = 0; round < 12; round += 1) {
      network.tick("1", 2);
      network.stabilize();
    }
    expect(network.node("3").memory.toString()).toBe("(4/1)");
    expect(network.core("3").commitIndex).toBe(4);
  });

  test("§7 a node restarts from its snapshot and the log after it", () => {
    const network = ledCluster({ voters: 1 });
    for (const text of ["a", "b"]) network.propose("1", 1, text);
    network.persist("1");
    network.compact("1", 2);
    network.crash("1");
    network.start("1");
    expect(network.core("1").status()).toMatchObject({ snapshotIndex: 2, lastIndex: 3 });
  });
});

describe("Raft §8 clients", () => {
  test("§8 only the leader takes proposals", () => {
    const network = ledCluster({ voters: 3 });
    network.propose("2", 1, "x");
    expect(lastAnswer(network)).toEqual({ type: "rejected", id: 1, reason: "not-leader" });
    expect(network.core("2").leaderId).toBe("1");
  });

  test("§8 a leader appends an entry of its term at once", () => {
    const network = clusterOf({ voters: 3 });
    winOnly(network, "1", ["1", "2"]);
    expect(network.node("1").memory.toString()).toBe("1/1:noop");
  });
});

describe("thesis §3.10 leadership transfer", () => {
  test("§3.10 the target is brought up to date first, and then campaigns at once", () => {
    const network = ledCluster({ voters: 3 });
    network.propose("1", 1, "x");
    network.step("1", { type: "transfer", id: 2, target: "2" });
    expect(sentOf(network, "timeoutNow")).toEqual([]);
    network.stabilize();
    expect(network.describeState("2")).toBe("leader term=2 vote=2 leader=2");
    expect(network.node("2").memory.toString()).toBe("1/1:noop 2/1:x 3/2:noop");
    expect(network.answers).toContainEqual({ type: "transferred", id: 2 });
  });

  test("§3.10 meanwhile the leader takes no proposals, and goes on if nothing comes of it", () => {
    const network = ledCluster({ voters: 3 });
    network.crash("3");
    network.propose("1", 1, "x");
    network.step("1", { type: "transfer", id: 2, target: "3" });
    network.propose("1", 3, "y");
    expect(lastAnswer(network)).toMatchObject({ id: 3, reason: "transferring" });
    for (let round = 0; round < 5; round += 1) {
      network.tick("1", 2);
      network.stabilize();
    }
    expect(lastAnswer(network)).toMatchObject({ id: 2, reason: "transfer-aborted" });
    network.propose("1", 4, "z");
    expect(lastAnswer(network)).toMatchObject({ type: "accepted", id: 4 });
  });
});

describe("thesis §4 membership", () => {
  const change = (network: ReturnType<typeof clusterOf>, id: number, type: "remove" | "demote") =>
    network.step("1", {
      type: "changeConfiguration",
      id,
      change: { type, id: String(network.ids.length) },
    });

  test("§4.1 a configuration is in force as soon as it is in the log", () => {
    const network = ledCluster({ voters: 3 });
    change(network, 1, "remove");
    expect(network.core("1").status().configuration.voters).toHaveLength(2);
    expect(network.core("1").commitIndex).toBe(1);
  });

  test("§4.1 one change at a time", () => {
    const network = ledCluster({ voters: 4 });
    change(network, 1, "demote");
    change(network, 2, "remove");
    expect(lastAnswer(network)).toMatchObject({ id: 2, reason: "change-pending" });
  });

  test("§4.1 no change before the leader has committed in its term", () => {
    const network = clusterOf({ voters: 3 });
    winOnly(network, "1", ["1", "2"]);
    change(network, 1, "remove");
    expect(lastAnswer(network)).toMatchObject({ id: 1, reason: "no-commit-in-term" });
  });

  test("§4.2.1 a learner receives entries and does not count", () => {
    const network = ledCluster({ voters: 2, learners: 1 });
    network.crash("2");
    network.propose("1", 1, "x");
    network.stabilize();
    expect(network.node("3").memory.lastIndex).toBe(2);
    expect(network.core("1").commitIndex).toBe(1);
  });

  test("§4.2.2 a leader that is removed steps down once its removal is committed", () => {
    const network = ledCluster({ voters: 3 });
    network.step("1", {
      type: "changeConfiguration",
      id: 1,
      change: { type: "remove", id: "1" },
    });
    network.persist("1");
    expect(network.core("1").role).toBe("leader");
    network.stabilize();
    expect(network.core("1").role).toBe("follower");
    expect(network.leader()).toMatch(/^[23]$/);
  });

  test("§4.2.2 a node outside its own newest configuration campaigns until that is committed", () => {
    const network = ledCluster({ voters: 2 });
    network.propose("1", 1, "x");
    network.step("1", {
      type: "changeConfiguration",
      id: 2,
      change: { type: "remove", id: "1" },
    });
    network.persist("1");
    network.take({});
    network.crash("1");
    network.start("1");
    elect(network, "1");
    expect(network.node("2").memory.toString()).toContain("3/1:{2}");
    expect(network.leader()).toBe("2");
  });

  test("§4.2.3 a vote request is ignored while a leader is fresh", () => {
    const network = ledCluster({ voters: 3 });
    const request = { type: "voteRequest", from: "3", to: "2", term: 9 } as const;
    const message = { ...request, lastIndex: 99, lastTerm: 8, preVote: false, transfer: false };
    network.step("2", { type: "receive", message });
    expect(network.wire).toEqual([]);
    expect(network.core("2").term).toBe(1);
  });
});

describe("thesis §6 clients", () => {
  test("§6.2 a leader without a quorum steps down within an election timeout", () => {
    const network = ledCluster({ voters: 3 });
    network.partition([["1"], ["2", "3"]]);
    network.tick("1", 10);
    expect(network.core("1").role).toBe("leader");
    network.tick("1", 1);
    expect(network.describeState("1")).toBe("follower term=1 vote=1 leader=-");
  });

  test("§6.4 a read waits for a round of heartbeats that began after it", () => {
    const network = ledCluster({ voters: 3 });
    network.read("1", 1);
    expect(network.answers).not.toContainEqual(expect.objectContaining({ readId: 1 }));
    network.stabilize();
    expect(network.answers).toContainEqual({ type: "readReady", readId: 1, index: 1 });
  });

  test("§6.4 a read of a new leader waits for an entry of its term", () => {
    const network = clusterOf({ voters: 3 });
    winOnly(network, "1", ["1", "2"]);
    network.read("1", 1);
    expect(sentOf(network, "appendRequest").filter(({ round }) => round > 0)).toEqual([]);
    network.stabilize();
    expect(network.answers).toContainEqual({ type: "readReady", readId: 1, index: 1 });
  });

  test("§6.4 a follower asks its leader", () => {
    const network = ledCluster({ voters: 3 });
    network.read("3", 1);
    network.stabilize();
    expect(network.answers).toContainEqual({ type: "readReady", readId: 1, index: 1 });
  });
});

describe("thesis §9.6 pre-vote", () => {
  test("§9.6 a poll changes nothing at the node polled", () => {
    const network = clusterOf({ voters: 3 });
    network.campaign("1");
    for (const message of network.take({ to: "2" })) network.deliver(message);
    expect(network.describeState("2")).toBe("follower term=0 vote=- leader=-");
    expect(network.node("2").queue).toEqual([]);
  });

  test("§9.6 a node that was cut off comes back without deposing the leader", () => {
    const network = ledCluster({ voters: 3 });
    network.partition([["1", "2"], ["3"]]);
    network.tick("3", 200);
    network.stabilize();
    network.partition([]);
    network.tick("3", 20);
    network.stabilize();
    network.tick("1", 2);
    network.stabilize();
    expect(network.describeState("1")).toBe("leader term=1 vote=1 leader=1");
    expect(network.describeState("3")).toBe("follower term=1 vote=1 leader=1");
  });
});

describe("thesis §10.2.1 writing to the leader's disk in parallel", () => {
  test("§10.2.1 appends leave before the leader's own sync", () => {
    const network = ledCluster({ voters: 3 });
    network.propose("1", 1, "x");
    expect(sentOf(network, "appendRequest")).toHaveLength(2);
    expect(network.core("1").durableIndex).toBe(1);
  });

  test("§10.2.1 the leader counts itself only for what its disk holds", () => {
    const network = ledCluster({ voters: 2 });
    network.propose("1", 1, "x");
    for (const message of network.take({ to: "2" })) network.deliver(message);
    network.persist("2");
    for (const message of network.take({ to: "1" })) network.deliver(message);
    expect(network.core("1").commitIndex).toBe(1);
    network.persist("1");
    expect(network.core("1").commitIndex).toBe(2);
  });
});
