/** What the core promises its host beyond the paper: bounds, refusals, and impossible states. */
import { describe, expect, test } from "vitest";

import { clusterOf, elect, lastAnswer, ledCluster, sentOf } from "./cluster.js";
import { member } from "./network.js";

describe("the core", () => {
  test("stops rather than cut a committed entry", () => {
    const network = ledCluster({ voters: 3 });
    network.propose("1", 1, "a");
    network.stabilize();
    const entry = { index: 2, term: 5, kind: "command", data: Buffer.from("b") } as const;
    const head = { type: "appendRequest", from: "3", to: "2", term: 5 } as const;
    const message = { ...head, prevIndex: 1, prevTerm: 1, entries: [entry] };
    expect(() => {
      network.step("2", { type: "receive", message: { ...message, commitIndex: 0, round: 0 } });
    }).toThrow("a committed entry is never cut");
  });

  test("says nothing more after a failed disk", () => {
    const network = ledCluster({ voters: 3 });
    network.step("1", { type: "ioFailed" });
    network.propose("1", 1, "a");
    network.tick("1", 50);
    expect(network.wire).toEqual([]);
  });

  test("ignores what is addressed to another node", () => {
    const network = clusterOf({ voters: 3 });
    const message = { type: "timeoutNow", from: "2", to: "3", term: 9 } as const;
    network.step("1", { type: "receive", message });
    expect(network.core("1").term).toBe(0);
  });

  test("bounds the reads that wait", () => {
    const network = ledCluster({ voters: 3, raft: { readCountMax: 2 } });
    for (const readId of [1, 2, 3]) network.read("1", readId);
    for (const readId of [4, 5, 6]) network.read("2", readId);
    const rejected = network.answers.filter(({ type }) => type === "readRejected");
    expect(rejected).toEqual([
      { type: "readRejected", readId: 3 },
      { type: "readRejected", readId: 6 },
    ]);
  });

  test("refuses a member at an address that another one has", () => {
    const network = ledCluster({ voters: 3, spare: 1 });
    const taken = { ...member("4"), rpcAddr: member("2").rpcAddr };
    network.step("1", {
      type: "changeConfiguration",
      id: 1,
      change: { type: "addLearner", member: taken },
    });
    expect(lastAnswer(network)).toMatchObject({ type: "rejected", reason: "address-taken" });
  });

  test("lets two members change places, one after the other", () => {
    const network = ledCluster({ voters: 3 });
    const [two, three] = [member("2"), member("3")];
    for (const [at, moved] of [
      { ...two, rpcAddr: three.rpcAddr },
      { ...three, rpcAddr: two.rpcAddr },
    ].entries()) {
      network.step("1", {
        type: "changeConfiguration",
        id: at + 1,
        change: { type: "update", member: moved },
      });
      network.stabilize();
      expect(lastAnswer(network)).toMatchObject({ type: "configured" });
    }
  });

  test("rejects its waiting reads when it steps down", () => {
    const network = ledCluster({ voters: 3 });
    network.read("1", 1);
    network.read("1", 2);
    network.take({});
    network.tick("1", 11);
    expect(network.answers.slice(-2)).toEqual([
      { type: "readRejected", readId: 1 },
      { type: "readRejected", readId: 2 },
    ]);
  });

  test("forgets nothing that a restart from its durable image would need", () => {
    const network = ledCluster({ voters: 3 });
    network.step("1", {
      type: "changeConfiguration",
      id: 1,
      change: { type: "demote", id: "3" },
    });
    network.stabilize();
    for (const id of network.ids) {
      network.crash(id);
      network.start(id);
    }
    for (const id of network.ids) {
      expect(network.core(id).status()).toMatchObject({
        ...{ role: "follower", term: 1, lastIndex: 2, configurationIndex: 2 },
        configuration: { learners: [member("3")] },
      });
    }
    elect(network, "2");
    expect(network.leader()).toBe("2");
  });

  test("names in each message what must be durable before it leaves", () => {
    const network = ledCluster({ voters: 3 });
    network.propose("1", 1, "a");
    for (const message of network.take({ to: "2" })) network.deliver(message);
    expect(network.node("2").held).toMatchObject([{ message: { type: "appendResponse" } }]);
    network.persist("2");
    expect(sentOf(network, "appendResponse")).toMatchObject([{ from: "2", index: 2 }]);
  });

  test("shows how far each follower is", () => {
    const network = ledCluster({ voters: 3 });
    network.tick("1", 1);
    const { followers, isReady } = network.core("1").status();
    expect(isReady).toBe(true);
    expect(followers).toEqual([
      { id: "2", matchIndex: 1, state: "replicate", silentTicks: 1 },
      { id: "3", matchIndex: 1, state: "replicate", silentTicks: 1 },
    ]);
  });

  test("says that a transfer failed if the leader lost its quorum meanwhile", () => {
    const network = ledCluster({ voters: 3 });
    network.tick("1", 5);
    network.step("1", { type: "transfer", id: 1, target: "2" });
    expect(sentOf(network, "timeoutNow")).toHaveLength(1);
    network.tick("1", 6);
    expect(lastAnswer(network)).toEqual({ type: "rejected", id: 1, reason: "leadership-lost" });
  });

  test("names no dead leader while its own disk hangs", () => {
    const network = ledCluster({ voters: 3 });
    network.propose("1", 1, "a");
    for (const message of network.take({ to: "2" })) network.deliver(message);
    network.tick("2", 12);
    expect(network.core("2")).toMatchObject({ role: "follower", leaderId: null });
  });

  test("hands over to a voter that answers rather than to one that knows more", () => {
    const network = ledCluster({ voters: 3 });
    network.partition([["1", "3"], ["2"]]);
    network.propose("1", 1, "a");
    network.stabilize();
    network.crash("3");
    network.partition([]);
    for (let round = 0; round < 6; round += 1) {
      for (const message of network.take({ to: "2" })) {
        const isHeartbeat = message.type === "appendRequest" && message.entries.length === 0;
        if (isHeartbeat) network.deliver(message);
      }
      network.take({ to: "3" });
      for (const message of network.take({ to: "1" })) network.deliver(message);
      network.tick("1", 2);
    }
    const [second, third] = network.core("1").status().followers;
    expect([second?.matchIndex, third?.matchIndex]).toEqual([1, 2]);
    network.step("1", { type: "transfer", id: 2 });
    network.stabilize();
    expect(network.leader()).toBe("2");
  });
});
