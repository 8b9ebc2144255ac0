/**
 * `proglog/testing` as its users see it: time, determinism, faults, and wrong use.
 *
 * What is held here is what docs/testing-your-program.md promises.
 */
import { afterEach, describe, expect, test, vi } from "vitest";

import { Client, ProglogError, json } from "../../src/index.js";
import type { ConsumedRecord } from "../../src/index.js";
import { TestCluster, TestClusterError } from "../../src/testing/index.js";
import type { TestClient, TestClusterOptions, TestNode } from "../../src/testing/index.js";

let open: TestCluster | undefined;

async function started(options: TestClusterOptions = {}): Promise<TestCluster> {
  open = await TestCluster.start(options);
  return open;
}

afterEach(async () => {
  await open?.close();
  open = undefined;
});

function leaderOf(cluster: TestCluster): TestNode {
  const leader = cluster.leader();
  if (leader === undefined) throw new Error("no node leads");
  return leader;
}

async function valuesOf(client: TestClient): Promise<string[]> {
  const values: string[] = [];
  for await (const record of client.consume()) values.push(record.text());
  return values;
}

async function errorOf(work: Promise<unknown>): Promise<ProglogError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ProglogError);
  return error as ProglogError;
}

/** How a run went, for comparing it with another. */
async function storyOf(seed: number): Promise<object> {
  const network = { delayMs: [1, 20], lossRate: 0.02, duplicateRate: 0.05 } as const;
  return TestCluster.run({ seed, network }, async (cluster) => {
    const log = cluster.client();
    const receipts: object[] = [];
    for (let nth = 0; nth < 20; nth += 1) {
      if (nth === 5) leaderOf(cluster).crash({ loseUnsynced: true });
      if (nth === 10) await cluster.nodes.find(({ state }) => state === "down")?.restart();
      if (nth === 15) cluster.partition([leaderOf(cluster)]);
      receipts.push(await log.produce(`record ${nth}`));
    }
    cluster.heal();
    await cluster.settle();
    const { nowMs, fingerprint, nodes } = cluster;
    return { receipts, nowMs, fingerprint, nodes: nodes.map((node) => node.status()) };
  });
}

describe("determinism", () => {
  test("the same seed and program give the same run, another seed another", async () => {
    const first = await storyOf(42);
    expect(await storyOf(42)).toEqual(first);
    expect(await storyOf(43)).not.toEqual(first);
  });

  test("two clusters at once do not disturb each other", async () => {
    const alone = await storyOf(7);
    const [one, other] = await Promise.all([storyOf(7), storyOf(8)]);
    expect(one).toEqual(alone);
    expect(other).not.toEqual(alone);
  });
});

describe("time", () => {
  test("stands still while nothing of the cluster is awaited", async () => {
    const cluster = await started({ nodes: 1 });
    const before = cluster.nowMs;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(cluster.nowMs).toBe(before);
    await cluster.advance(60_000);
    expect(cluster.nowMs).toBe(before + 60_000);
  });

  test("a minute of three nodes takes seconds at most", async () => {
    const cluster = await started();
    const start = performance.now();
    await cluster.advance(60_000);
    expect(performance.now() - start).toBeLessThan(15_000);
  });

  test("a loop that follows, alone, ends with an error that says so", async () => {
    const cluster = await started({ nodes: 1 });
    const follow = async (): Promise<void> => {
      for await (const _record of cluster.client().consume({ follow: true }));
    };
    await expect(follow()).rejects.toThrow(/nothing was awaited but loops.*seed 1/);
  });

  test("timeoutSignal aborts a loop in virtual time", async () => {
    const cluster = await started({ nodes: 1 });
    const signal = cluster.timeoutSignal(5000);
    const before = cluster.nowMs;
    const follow = async (): Promise<void> => {
      for await (const _record of cluster.client().consume({ follow: true, signal }));
    };
    await expect(follow()).rejects.toHaveProperty("name", "TimeoutError");
    expect(cluster.nowMs).toBe(before + 5000);
  });

  test("moves under fake timers that leave setImmediate alone", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "setInterval", "Date"] });
    try {
      const cluster = await started({ nodes: 1 });
      await cluster.client().produce("x");
      await cluster.advance(1000);
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  test("close leaves nothing behind, and rejects what is under way", async () => {
    const cluster = await started();
    const client = cluster.client();
    cluster.partition([client]);
    const ends = [errorOf(client.produce("never")), errorOf(client.read(7))];
    const untilEnd = cluster.until(() => false).catch((error: unknown) => error);
    await cluster.advance(100);
    const before = process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    await cluster.close();
    await cluster.close();
    for (const error of await Promise.all(ends)) expect(error.retryable).toBe(false);
    expect(await untilEnd).toBeInstanceOf(TestClusterError);
    const left = process.getActiveResourcesInfo();
    expect(left).not.toContain("Immediate");
    expect(left.filter((name) => name === "Timeout").length).toBeLessThanOrEqual(before);
    expect(() => cluster.client()).toThrow("closed");
    await expect(cluster.advance(1)).rejects.toThrow("closed");
    await expect(client.produce("late")).rejects.toMatchObject({ code: "unavailable" });
  });
});

describe("a client", () => {
  test("is a Client, with each of its methods on the simulated network", async () => {
    const cluster = await started();
    const client = cluster.client();
    expect(client).toBeInstanceOf(Client);
    // A method that touches the real channels must have been written anew; these only call others.
    const inherited = ["constructor", "produce", "produceBatch", "ready", "flush"];
    const methods = Object.getOwnPropertyNames(Client.prototype);
    const own = Object.getOwnPropertyNames(Object.getPrototypeOf(client));
    expect(methods.filter((name) => !own.includes(name) && !inherited.includes(name))).toEqual([]);
  });

  test("writes and reads records of every kind, in order", async () => {
    const cluster = await started();
    await using log = cluster.client();
    const first = await log.produce(json({ order: 1 }), { key: "k", headers: { source: "test" } });
    expect(first).toEqual({ offset: 0, timestampMs: first.timestampMs, duplicate: false });
    expect(await log.produceBatch(["a", { value: new Uint8Array([7]), key: "b" }])).toMatchObject({
      offset: 1,
      count: 2,
    });
    const many = Array.from({ length: 200 }, async (_, nth) => log.produce(`many ${nth}`));
    expect((await Promise.all(many)).map(({ offset }) => offset)).toEqual(
      Array.from({ length: 200 }, (_, nth) => 3 + nth),
    );
    expect(await log.endOffset()).toBe(203);
    const record = await log.read(0);
    expect([record.key, record.headers, record.json()]).toEqual([
      "k",
      { source: "test" },
      { order: 1 },
    ]);
    const last: ConsumedRecord[] = [];
    for await (const found of log.consume({ from: -2 })) last.push(found);
    expect(last.map((found) => found.text())).toEqual(["many 198", "many 199"]);
    await expect(log.read(203)).rejects.toMatchObject({
      code: "offset-out-of-range",
      fields: { endOffset: 203 },
    });
    expect((await log.status()).leader?.name).toBe(leaderOf(cluster).name);
    expect(Buffer.from((await log.read(2)).value)).toEqual(Buffer.from([7]));
  });

  test("appends where it expects to, and once under a sequence of its own", async () => {
    const cluster = await started();
    const log = cluster.client();
    await log.produce("first", { expectedOffset: 0 });
    await expect(log.produce("second", { expectedOffset: 0 })).rejects.toMatchObject({
      code: "expected-offset-mismatch",
      outcome: "not_applied",
      fields: { actualOffset: 1 },
    });
    const till = log.producer({ id: "till" });
    const { offset } = await till.produce("sold", { sequence: 1 });
    await till.close();
    const again = await cluster.client().producer({ id: "till" }).produce("sold", { sequence: 1 });
    expect(again).toMatchObject({ offset, duplicate: true });
    expect(await valuesOf(log)).toEqual(["first", "sold"]);
  });

  test("follows the log through the crash of the node it reads from", async () => {
    const cluster = await started();
    const [writer, reader] = [cluster.client(), cluster.client()];
    const seen: string[] = [];
    const stop = new AbortController();
    const following = (async () => {
      for await (const record of reader.consume({ follow: true, signal: stop.signal })) {
        seen.push(record.text());
      }
    })().catch((error: unknown) => error);
    const sent = Array.from({ length: 30 }, (_, nth) => `r${nth}`);
    for (const [nth, value] of sent.entries()) {
      await writer.produce(value);
      const node = cluster.nodes[nth % 3];
      if (nth % 7 === 3) node?.crash();
      if (nth % 7 === 5) for (const each of cluster.nodes) if (each.state === "down") each.launch();
    }
    await cluster.until(() => seen.length === sent.length);
    stop.abort(new Error("enough"));
    expect(await following).toEqual(new Error("enough"));
    expect(seen).toEqual(sent);
  });

  test("that aborts a write is told what became of it", async () => {
    const cluster = await started();
    const log = cluster.client();
    cluster.partition([log]);
    const { outcome, code } = await errorOf(
      log.produce("x", { signal: cluster.timeoutSignal(1000) }),
    );
    expect([code, outcome]).toEqual(["unavailable", "not_applied"]);
    cluster.heal();
    await log.produce("before");
    // It is sent to a leader that can't commit it, and then nobody waits for it any more.
    const leader = leaderOf(cluster);
    for (const node of cluster.followers()) node.pause();
    const unknown = await errorOf(log.produce("y", { timeoutMs: 2000 }));
    expect([unknown.code, unknown.outcome]).toEqual(["outcome-unknown", "unknown"]);
    expect(leader.state).toBe("running");
  });
});

describe("faults", () => {
  test.each([1, 2, 3, 4, 5])(
    "what was acknowledged survives the loss of all that was unsynced, seed %i",
    async (seed) => {
      const cluster = await started({ seed });
      const log = cluster.client();
      const kept: string[] = [];
      const write = async (): Promise<void> => {
        for (let nth = 0; nth < 5; nth += 1) {
          await log.produce(`r${kept.length}`);
          kept.push(`r${kept.length}`);
        }
      };
      await write();
      for (const node of cluster.nodes) {
        node.crash({ loseUnsynced: true });
        await write();
        await node.restart();
        await write();
      }
      for (const node of cluster.nodes) node.crash({ loseUnsynced: true });
      await Promise.all(cluster.nodes.map(async (node) => node.restart()));
      await cluster.settle();
      expect(await valuesOf(log)).toEqual(kept);
      for (const node of cluster.nodes) expect(node.status().endOffset).toBe(kept.length);
    },
  );

  test("an append under way when all crash is there or not, as its outcome says", async () => {
    const cluster = await started({ seed: 9 });
    const log = cluster.client();
    await log.produce("first");
    const second = log.produce("second");
    await cluster.advance(2);
    for (const node of cluster.nodes) node.crash({ loseUnsynced: true });
    for (const node of cluster.nodes) node.launch();
    expect(await second).toMatchObject({ offset: 1 });
    expect(await valuesOf(log)).toEqual(["first", "second"]);
  });

  test("a minority refuses writes with a code of 503, and loses nothing", async () => {
    const cluster = await started({ nodes: 5 });
    const log = cluster.client();
    await log.produce("before");
    const minority = [leaderOf(cluster), ...cluster.followers().slice(0, 1)];
    const inside = cluster.client({
      servers: minority.map(({ rpcAddr }) => rpcAddr),
      discovery: false,
    });
    cluster.partition([...minority, inside]);
    await cluster.advance(5000);
    const error = await errorOf(inside.produce("refused", { timeoutMs: 3000 }));
    expect(["no-quorum", "no-leader"]).toContain(error.code);
    expect([error.http, error.outcome]).toEqual([503, "not_applied"]);
    expect((await inside.read(0)).text()).toBe("before");
    await log.produce("by the majority");
    expect(minority).not.toContain(leaderOf(cluster));
    cluster.heal();
    await cluster.settle();
    await inside.produce("after");
    expect(await valuesOf(inside)).toEqual(["before", "by the majority", "after"]);
  });

  test("a partition is named from one side, and in one way by cut", async () => {
    const cluster = await started();
    const [first, second, third] = cluster.nodes as [TestNode, TestNode, TestNode];
    cluster.partition([first], [second], [third]);
    await cluster.until(() => cluster.nodes.every((node) => node.status().leader === undefined));
    cluster.partition([third]);
    await cluster.until(() => [first, second].some((node) => node === cluster.leader()));
    cluster.heal();
    await cluster.settle();
    const leader = leaderOf(cluster);
    for (const node of cluster.followers()) cluster.cut(leader, node);
    await cluster.until(() => cluster.leader() !== leader);
  });

  test("slowDisk slows the cluster in virtual time, and not the test", async () => {
    const cluster = await started();
    const log = cluster.client();
    const timed = async (): Promise<number> => {
      const before = cluster.nowMs;
      await log.produce("x");
      return cluster.nowMs - before;
    };
    expect(await timed()).toBeLessThan(50);
    for (const node of cluster.nodes) node.slowDisk({ ms: 100 });
    const start = performance.now();
    expect(await timed()).toBeGreaterThan(200);
    expect(performance.now() - start).toBeLessThan(10_000);
    for (const node of cluster.nodes) node.healDisk();
    await log.produce("the first after it may wait for what was slow");
    expect(await timed()).toBeLessThan(50);
  });

  test("fillDisk gives disk-full, and writes go on when there is room", async () => {
    const cluster = await started();
    const log = cluster.client({ deliveryTimeoutMs: 10_000 });
    await log.produce("before");
    for (const node of cluster.nodes) node.fillDisk();
    await cluster.advance(5000);
    const error = await errorOf(log.produce("no room"));
    expect([error.code, error.outcome]).toEqual(["disk-full", "not_applied"]);
    expect((await log.read(0)).text()).toBe("before");
    for (const node of cluster.nodes) node.healDisk();
    await log.produce("after");
    expect(await valuesOf(log)).toEqual(["before", "after"]);
  });

  test("a disk that fails ends its node, which starts again once the disk is in order", async () => {
    const cluster = await started();
    const log = cluster.client();
    await log.produce("before");
    const leader = leaderOf(cluster);
    leader.failDisk();
    await log.produce("led by another");
    await cluster.until(() => leader.state === "down");
    expect(leader.status().failure?.message).toMatch(/disk|sync|write/i);
    await expect(leader.restart()).rejects.toThrow(`${leader.name} did not start`);
    leader.healDisk();
    await leader.restart();
    await cluster.settle();
    expect(leader.status()).toMatchObject({ endOffset: 2, failure: undefined });
  });

  test("a paused leader is followed by another, and is a follower when it goes on", async () => {
    const cluster = await started();
    const log = cluster.client();
    const leader = leaderOf(cluster);
    leader.pause();
    expect(leader.state).toBe("paused");
    await log.produce("meanwhile");
    leader.resume();
    await cluster.settle();
    expect(leader.status()).toMatchObject({ role: "follower", endOffset: 1 });
  });

  test("a node that is stopped hands over, and a restart of one that runs stops it first", async () => {
    const cluster = await started();
    const log = cluster.client();
    const leader = leaderOf(cluster);
    await leader.stop();
    expect(leader.state).toBe("down");
    await log.produce("x");
    await leader.restart();
    await leader.restart();
    expect(leader.state).toBe("running");
  });

  test("a clock that is wrong stamps records so, and breaks nothing", async () => {
    const cluster = await started();
    const log = cluster.client();
    const before = await log.produce("now");
    for (const node of cluster.nodes) node.skewClock({ rate: 1.2, stepMs: 3_600_000 });
    const after = await log.produce("in an hour");
    expect(after.timestampMs - before.timestampMs).toBeGreaterThanOrEqual(3_600_000);
    leaderOf(cluster).crash();
    await log.produce("still");
  });

  test("bad links cost time and no record", async () => {
    const cluster = await started({ seed: 5 });
    cluster.network({ delayMs: [5, 50], lossRate: 0.1, duplicateRate: 0.2, reorders: true });
    const log = cluster.client();
    const sent = Array.from({ length: 40 }, (_, nth) => `r${nth}`);
    await Promise.all(sent.map(async (value) => log.produce(value)));
    cluster.network({});
    expect(await valuesOf(log)).toEqual(sent);
  });
});

describe("sizes", () => {
  test.each([
    [1, 1],
    [2, 1],
    [4, 3],
    [5, 5],
    [9, 9],
  ])("of %i nodes %i vote", async (nodes, voters) => {
    const cluster = await started({ nodes });
    expect(cluster.nodes.filter((node) => node.status().isVoter)).toHaveLength(voters);
    await cluster.client().produce("x");
    await cluster.settle();
    expect(cluster.nodes.map((node) => node.status().endOffset)).toEqual(
      cluster.nodes.map(() => 1),
    );
  });
});

describe("wrong use is an error that names the run", () => {
  test.each<[string, (cluster: TestCluster, node: TestNode) => unknown, RegExp]>([
    [
      "a second crash",
      (_, node) => {
        node.crash();
        node.crash();
      },
      /n1 is down; crash\(\) takes/,
    ],
    ["resume of one that runs", (_, node) => node.resume(), /n1 is running; resume\(\) takes/],
    [
      "pause of one that is down",
      (_, node) => {
        node.crash();
        node.pause();
      },
      /n1 is down; pause/,
    ],
    ["a node that is not there", (cluster) => cluster.node("n9"), /no node "n9"; there are n1, n2/],
    ["twice in a partition", (cluster, node) => cluster.partition([node], [node]), /two groups/],
    ["a rate that is none", (cluster) => cluster.network({ lossRate: 2 }), /rate is from 0 to 1/],
    ["a slow disk", (_, node) => node.slowDisk({ ms: -1 }), /slowDisk\(\{ ms: -1 \}\)/],
  ])("%s", async (_name, misuse, message) => {
    const cluster = await started({ seed: 77 });
    const node = cluster.node("n1");
    let error: unknown;
    try {
      misuse(cluster, node);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(TestClusterError);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).toMatch(/seed 77, at [\d.]+ virtual seconds/);
  });

  test("restart of a paused node, and a node of another cluster", async () => {
    const cluster = await started();
    const node = cluster.node("n1");
    node.pause();
    await expect(node.restart()).rejects.toThrow("n1 is paused; restart() takes");
    const other = await TestCluster.start({ nodes: 1 });
    expect(() => cluster.partition([other.node("n1")])).toThrow("of this cluster");
    await other.close();
  });

  test("options that can't be", async () => {
    await expect(TestCluster.start({ nodes: 0 })).rejects.toThrow("1 to 9");
    await expect(TestCluster.start({ seed: 0.5 })).rejects.toThrow("seed is an integer");
    const options = { electionTimeoutMs: 100, heartbeatMs: 60 };
    await expect(TestCluster.start({ options })).rejects.toThrow("--election-timeout-ms");
  });

  test("what is waited for in vain says what is missing", async () => {
    const cluster = await started();
    const never = cluster.until(() => false, { timeoutMs: 1000 });
    await expect(never).rejects.toThrow(/did not come in 1000 ms \(seed 1, at/);
    cluster.partition([cluster.node("n1")], [cluster.node("n2")], [cluster.node("n3")]);
    await cluster.advance(5000);
    await expect(cluster.settle({ timeoutMs: 1000 })).rejects.toThrow("no node leads");
  });

  test("run adds the seed, and what happened last, to whatever is thrown", async () => {
    const failed = TestCluster.run({ seed: 12 }, async (cluster) => {
      cluster.node("n2").crash();
      expect(await cluster.client().endOffset()).toBe(1);
    });
    const error = await failed.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    const text = (error as Error).message;
    expect(text).toContain("expected +0 to be 1");
    expect(text).toMatch(/replay with \{ nodes: 3, seed: 12, … \}/);
    expect(text).toMatch(/n2 {2}crash/);
    expect((error as Error).stack).toContain("seed 12");
  });
});
