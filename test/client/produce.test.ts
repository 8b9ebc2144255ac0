/** Appends through a client: once each, in order, batched, bounded, and with a typed end. */
import { describe, expect, onTestFinished, test } from "vitest";

import { Client } from "../../src/client/client.js";
import type { ClientOptions } from "../../src/client/options.js";
import { json } from "../../src/client/record.js";
import { failureOf, FakeCluster, refusal, until } from "./fake-cluster.js";

function clientOf(cluster: FakeCluster, options: Partial<ClientOptions> = {}): Client {
  const client = new Client({ servers: cluster.addresses, ...options });
  onTestFinished(async () => client.close());
  return client;
}

/** Hands in `count` texts and waits for all; returns them in order. */
async function produceMany(client: Client, count: number, prefix = "r"): Promise<string[]> {
  const values = Array.from({ length: count }, (_, nth) => `${prefix}-${nth}`);
  await Promise.all(values.map((value) => client.produce(value)));
  return values;
}

describe("produce", () => {
  test("appends bytes, text and JSON with key and headers, and says where", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster);
    const receipt = await client.produce(new Uint8Array([1, 2]));
    expect(receipt).toEqual({ offset: 0, timestampMs: 1_700_000_000_000, duplicate: false });
    const kept = { key: "k", headers: { a: "b" } };
    await client.produce("text", kept);
    await client.produce(json({ order: 7 }));
    expect(cluster.records()).toMatchObject([
      { value: Buffer.from([1, 2]) },
      { value: Buffer.from("text"), ...kept },
      { value: Buffer.from('{"order":7}'), json: true },
    ]);
  });

  test("copies the value: what the caller does with it later does not matter", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster);
    const value = Buffer.from("before");
    const appended = client.produce(value);
    value.write("AFTER!");
    await appended;
    expect(cluster.values()).toEqual(["before"]);
  });

  test("gathers what comes while an append is under way, and keeps the order", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster);
    cluster.hold();
    const first = client.produce("first");
    await until("the first append", () => cluster.node(0).requests.length === 1);
    const rest = produceMany(client, 1000);
    await new Promise((resolve) => setImmediate(resolve));
    expect(cluster.node(0).requests).toHaveLength(1);
    cluster.release();
    await first;
    const values = await rest;
    expect(cluster.values()).toEqual(["first", ...values]);
    expect(cluster.node(0).requests).toHaveLength(2);
  });

  test("puts no more into an append than its bounds", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster, { batchBytesMax: 1000, batchRecordsMax: 7 });
    const values = await produceMany(client, 50);
    const large = client.produce("x".repeat(5000));
    await Promise.all([large, client.produce("after")]);
    expect(cluster.values()).toEqual([...values, "x".repeat(5000), "after"]);
    const sizes = cluster.node(0).requests.map((request) => request.count);
    expect(Math.max(...sizes)).toBe(7);
  });

  test("waits for company where it is told to linger, but not with a full append", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster, { lingerMs: 60_000, batchRecordsMax: 3 });
    const early = [client.produce("a"), client.produce("b")];
    await client.status();
    expect(cluster.node(0).requests).toHaveLength(0);
    await Promise.all([...early, client.produce("c")]);
    expect(cluster.values()).toEqual(["a", "b", "c"]);
  });

  test("appends a batch as one, with consecutive offsets", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster);
    await client.produce("0");
    const receipt = await client.produceBatch(["a", { value: "b", key: "k" }, json(1)]);
    expect(receipt).toMatchObject({ offset: 1, count: 3 });
    expect(cluster.values()).toEqual(["0", "a", "b", "1"]);
  });

  test("fails where the expected offset differs, and leaves its neighbours alone", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster);
    const before = client.produce("a");
    const wrong = failureOf(client.produce("wrong", { expectedOffset: 7 }));
    const right = client.produce("b", { expectedOffset: 1 });
    expect(await wrong).toMatchObject({
      code: "expected-offset-mismatch",
      outcome: "not_applied",
      fields: { actualOffset: 1 },
    });
    expect([(await before).offset, (await right).offset]).toEqual([0, 1]);
  });

  test("says that too few have it while there is time, once, and where it is", async () => {
    const cluster = await FakeCluster.start(1);
    cluster.node(0).faults.push("too-few-copies");
    const client = clientOf(cluster);
    const error = await failureOf(client.produce("a", { w: "all", timeoutMs: 1000 }));
    expect(error).toMatchObject({
      ...{ code: "write-concern-timeout", outcome: "applied", retryable: false },
      fields: { offset: 0, acks: 2 },
    });
    expect(cluster.node(0).requests).toMatchObject([{ allCopies: true }]);
  });

  test("fails only the record that is too large for the nodes, not those it travelled with", async () => {
    const cluster = await FakeCluster.start(1);
    cluster.recordBytesMax = 100;
    const client = clientOf(cluster);
    const good = produceMany(client, 3, "a");
    const large = failureOf(client.produce("x".repeat(200)));
    const more = produceMany(client, 3, "b");
    expect(await large).toMatchObject({ code: "record-too-large", outcome: "not_applied" });
    const values = [...(await good), ...(await more)];
    expect(cluster.values()).toEqual(values);
  });

  test("refuses at once what can never be appended", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster);
    const refused = { code: "invalid-request", outcome: "not_applied" };
    await expect(client.produceBatch([])).rejects.toMatchObject(refused);
    await expect(client.produce("a", { expectedOffset: -1 })).rejects.toMatchObject(refused);
    await expect(client.produce("a", { timeoutMs: 0 })).rejects.toMatchObject(refused);
    await expect(client.produce(7 as never)).rejects.toMatchObject(refused);
    await expect(client.produce("a", { key: 7 as never })).rejects.toMatchObject(refused);
    expect(() => json(() => 1)).toThrow("JSON");
    await expect(client.produce(Buffer.alloc(5 * 1024 * 1024))).rejects.toMatchObject({
      code: "record-too-large",
    });
  });
});

describe("exactly once", () => {
  test("an append whose answer is lost is in the log once, with its first offset", async () => {
    const cluster = await FakeCluster.start(2);
    cluster.node(0).faults.push("lose-answer");
    const client = clientOf(cluster);
    expect(await client.produce("a")).toMatchObject({ offset: 0, duplicate: false });
    expect(await client.produce("b")).toMatchObject({ offset: 1 });
    expect(cluster.values()).toEqual(["a", "b"]);
  });

  test.each([1, 2, 3, 5])(
    "with %i appends in flight, under every fault, each record is there once",
    async (appendsInFlightMax) => {
      const cluster = await FakeCluster.start(3);
      const faults = [
        "lose-answer",
        "lose-request",
        refusal("no-leader"),
        refusal("outcome-unknown"),
        refusal("overloaded"),
        refusal("unavailable"),
      ] as const;
      for (let nth = 0; nth < 18; nth += 1) {
        const fault = faults[(nth * 7 + appendsInFlightMax) % faults.length];
        const node = cluster.node(nth % 3);
        if (fault !== undefined) node.faults.push(fault);
      }
      const client = clientOf(cluster, { appendsInFlightMax, batchRecordsMax: 3 });
      const values = await produceMany(client, 200);
      const found = cluster.values();
      expect([...found].sort()).toEqual([...values].sort());
      if (appendsInFlightMax === 1) expect(found).toEqual(values);
    },
  );

  test("no more than five appends lie between the oldest without an answer and the newest", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster, { appendsInFlightMax: 5, batchRecordsMax: 1 });
    cluster.hold();
    const all = produceMany(client, 20);
    await until("five appends", () => cluster.node(0).requests.length === 5);
    await client.status();
    expect(cluster.node(0).requests).toHaveLength(5);
    cluster.release();
    await all;
    const sequences = cluster.node(0).requests.map((request) => Number(request.sequence));
    expect(sequences).toEqual(Array.from({ length: 20 }, (_, nth) => nth));
  });

  test("an append without an answer is followed by four others, and no more", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster, { appendsInFlightMax: 5, batchRecordsMax: 1 });
    cluster.node(0).faults.push("keep-answer");
    const all = produceMany(client, 20);
    await until("five appends", () => cluster.node(0).requests.length === 5);
    await Promise.all([client.status(), client.read(4)]);
    expect(cluster.node(0).requests).toHaveLength(5);
    // All five are remembered, so that the first one's fate can be told.
    cluster.node(0).breakStreams();
    const values = await all;
    expect(cluster.values()).toEqual(values);
  });

  test("an append that later ones have overtaken is a new append, and there once", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster, { appendsInFlightMax: 2, batchRecordsMax: 1 });
    cluster.node(0).faults.push(refusal("overloaded"));
    await produceMany(client, 4);
    // While it has to be sent again, no further one is sent.
    expect(cluster.values()).toEqual(["r-1", "r-0", "r-2", "r-3"]);
    const sequences = cluster.node(0).requests.map((request) => Number(request.sequence));
    expect(sequences).toEqual([0, 1, 0, 2, 3, 4]);
  });

  test("an append that nobody waits for any more is not sent again", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster);
    await client.produce("warm");
    cluster.node(0).faults.push(refusal("overloaded", { retryAfterMs: 2000 }));
    const controller = new AbortController();
    const given = failureOf(client.produce("given up", { signal: controller.signal }));
    await until("the append", () => cluster.node(0).requests.length === 2);
    await client.status();
    controller.abort();
    expect(await given).toMatchObject({ code: "unavailable", outcome: "not_applied" });
    await client.produce("next");
    expect(cluster.values()).toEqual(["warm", "next"]);
  });

  test("a refused condition after a lost answer is not taken for the first try's", async () => {
    const cluster = await FakeCluster.start(1);
    cluster.node(0).faults.push("lose-answer");
    const client = clientOf(cluster);
    expect(await client.produce("a", { expectedOffset: 0 })).toMatchObject({ offset: 0 });
    cluster.node(0).faults.push("lose-request");
    const early = await failureOf(client.produce("b", { expectedOffset: 9 }));
    // The lost request may still arrive when the log ends at 9.
    expect(early).toMatchObject({ code: "expected-offset-mismatch", outcome: "unknown" });
    cluster.node(0).faults.push("lose-request");
    const late = await failureOf(client.produce("c", { expectedOffset: 0 }));
    expect(late).toMatchObject({ code: "expected-offset-mismatch", outcome: "not_applied" });
  });
});

describe("a producer with an id", () => {
  test("is told where a repeat of its sequence went, by another client too", async () => {
    const cluster = await FakeCluster.start(1);
    const first = clientOf(cluster).producer({ id: "till-3" });
    expect(await first.produce("a", { sequence: 4 })).toMatchObject({ offset: 0 });
    const batch = await first.produceBatch(["b", "c"], { sequence: 9 });
    expect(batch).toMatchObject({ offset: 1, count: 2, duplicate: false });
    const second = clientOf(cluster).producer({ id: "till-3" });
    expect(await second.produce("a", { sequence: 4 })).toMatchObject({
      offset: 0,
      duplicate: true,
    });
    const repeat = await second.produceBatch(["b", "c"], { sequence: 9 });
    expect(repeat).toMatchObject({ offset: 1, count: 2, duplicate: true });
    const old = await failureOf(second.produce("x", { sequence: 5 }));
    expect(old).toMatchObject({ code: "sequence-too-old", outcome: "not_applied" });
    expect(cluster.values()).toEqual(["a", "b", "c"]);
  });

  test("numbers its appends itself from the sequence it is given", async () => {
    const cluster = await FakeCluster.start(1);
    const producer = clientOf(cluster).producer({ id: "p", sequence: 10 });
    await Promise.all([producer.produce("a"), producer.produce("b")]);
    await producer.produce("c", { sequence: 20 });
    await producer.produce("d");
    const { requests } = cluster.node(0);
    expect(requests.map((request) => [request.producerId, Number(request.sequence)])).toEqual([
      ["p", 10],
      ["p", 11],
      ["p", 20],
      ["p", 21],
    ]);
  });

  test("says what is wrong with its id or its sequence", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster);
    expect(() => client.producer({ sequence: 1 })).toThrow("needs a producer with an id");
    expect(() => client.producer({ id: "" })).toThrow("1 to 126 bytes");
    expect(() => client.producer({ lingerMs: -1 })).toThrow("lingerMs");
    const named = client.producer({ id: "p" });
    await expect(named.produce("a")).rejects.toThrow("needs a sequence");
    const plain = client.producer();
    await expect(plain.produce("a", { sequence: 1 })).rejects.toThrow("needs a producer");
  });
});

describe("bounds", () => {
  test("a full buffer makes produce wait, in order, and ready() say when there is room", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster, { bufferedBytesMax: 100 });
    cluster.hold();
    const all = produceMany(client, 100);
    let isReady = false;
    const ready = client.ready().then(() => {
      isReady = true;
    });
    await until("an append", () => cluster.node(0).requests.length === 1);
    expect(isReady).toBe(false);
    cluster.release();
    const values = await all;
    expect(cluster.values()).toEqual(values);
    await ready;
    const sizes = cluster.node(0).requests.map((request) => request.records.length);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(100);
  });

  test("or makes it fail at once, where it is told to", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster, { bufferedBytesMax: 100, whenFull: "reject" });
    cluster.hold();
    const first = client.produce("x".repeat(90));
    const error = await failureOf(client.produce("too much"));
    expect(error).toMatchObject({ code: "overloaded", outcome: "not_applied", retryable: true });
    const never = await failureOf(client.produce("x".repeat(101)));
    expect(never.code).toBe("record-too-large");
    await until("the append", () => cluster.node(0).requests.length === 1);
    cluster.release();
    await first;
    await client.produce("now there is room");
  });

  test("room that aborted calls held is free again", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster, { bufferedBytesMax: 100, whenFull: "reject" });
    cluster.hold();
    const sent = client.produce("x".repeat(40));
    await until("the append", () => cluster.node(0).requests.length === 1);
    for (let nth = 0; nth < 10; nth += 1) {
      const controller = new AbortController();
      const call = failureOf(client.produce("x".repeat(50), { signal: controller.signal }));
      controller.abort();
      expect(await call).toMatchObject({ code: "unavailable", outcome: "not_applied" });
    }
    cluster.release();
    await sent;
    expect(cluster.values()).toHaveLength(1);
  });
});

describe("an end", () => {
  test("comes at the deadline: not_applied for what was not sent, with the reason", async () => {
    const cluster = await FakeCluster.start(1);
    const { address } = cluster.node(0);
    cluster.node(0).kill();
    const client = new Client({ servers: [address], deliveryTimeoutMs: 300 });
    onTestFinished(async () => client.close());
    const error = await failureOf(client.produce("a"));
    expect(error).toMatchObject({ outcome: "not_applied", retryable: true });
    expect(error.message).toContain("The last reason");
  });

  test("comes at the deadline: unknown for what was sent", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster);
    cluster.hold();
    const sent = failureOf(client.produce("a", { timeoutMs: 300 }));
    await until("the append", () => cluster.node(0).requests.length === 1);
    const queued = failureOf(client.produce("b", { timeoutMs: 300 }));
    expect(await sent).toMatchObject({ code: "outcome-unknown", outcome: "unknown" });
    expect(await queued).toMatchObject({ code: "unavailable", outcome: "not_applied" });
    cluster.release();
    await client.produce("c");
    expect(cluster.values()).toEqual(["a", "c"]);
  });

  test("comes at the deadline with what the nodes say all the time", async () => {
    const cluster = await FakeCluster.start(1);
    const { faults } = cluster.node(0);
    for (let nth = 0; nth < 1000; nth += 1) faults.push(refusal("no-quorum"));
    const client = clientOf(cluster);
    const error = await failureOf(client.produce("a", { timeoutMs: 300 }));
    expect(error).toMatchObject({ code: "no-quorum", outcome: "not_applied", retryable: true });
  });

  test("comes with the caller's signal, which says what became of the record", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster);
    const early = await failureOf(client.produce("a", { signal: AbortSignal.abort("why") }));
    expect(early).toMatchObject({ outcome: "not_applied", cause: "why" });
    cluster.hold();
    const controller = new AbortController();
    const sent = failureOf(client.produce("b", { signal: controller.signal }));
    const other = client.produce("c");
    await until("the append", () => cluster.node(0).requests.length === 1);
    controller.abort("enough");
    expect(await sent).toMatchObject({ code: "outcome-unknown", cause: "enough" });
    cluster.release();
    expect(await other).toMatchObject({ offset: 1 });
  });

  test("comes at once with an error that no retry can mend", async () => {
    const cluster = await FakeCluster.start(1);
    cluster.node(0).faults.push(refusal("permission-denied"));
    const client = clientOf(cluster);
    expect(await failureOf(client.produce("a"))).toMatchObject({
      code: "permission-denied",
      outcome: "not_applied",
    });
  });

  test("comes to flush() when all before it have theirs", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster);
    await client.flush();
    void produceMany(client, 100);
    await client.flush();
    expect(cluster.values()).toHaveLength(100);
  });
});

describe("the leader", () => {
  test("gets the appends; reads go to the other nodes", async () => {
    const cluster = await FakeCluster.start(3);
    const client = await Client.connect({ servers: [cluster.node(2).address] });
    onTestFinished(async () => client.close());
    await produceMany(client, 10);
    expect(cluster.node(0).requests.length).toBeGreaterThan(0);
    expect(cluster.node(1).requests.length + cluster.node(2).requests.length).toBe(0);
    for (let nth = 0; nth < 20; nth += 1) await client.read(nth % 10);
    expect(cluster.node(0).reads).toBe(0);
    expect(cluster.node(1).reads).toBeGreaterThan(0);
    expect(cluster.node(2).reads).toBeGreaterThan(0);
  });

  test("is followed when it is gone, when it says so, and when it only hangs", async () => {
    const cluster = await FakeCluster.start(4);
    const client = clientOf(cluster);
    await client.produce("a");
    cluster.leader = "node-1";
    cluster.node(0).kill();
    await client.produce("b");
    expect(cluster.node(1).requests).toHaveLength(1);

    cluster.leader = "node-2";
    const { address } = cluster.node(2);
    const leader = { id: "node-2", name: "node-2", rpcAddr: address, httpAddr: "" };
    cluster.node(1).faults.push(refusal("not-leader", { fields: { leader } }));
    await client.produce("c");
    expect(cluster.node(2).requests).toHaveLength(1);

    cluster.node(2).isHanging = true;
    const hanging = client.produce("d");
    await until("the append", () => cluster.node(2).requests.length === 2);
    cluster.leader = "node-3";
    const beginMs = performance.now();
    await hanging;
    expect(performance.now() - beginMs).toBeLessThan(2000);
    expect(cluster.node(3).requests).toHaveLength(1);
    expect(cluster.values()).toEqual(["a", "b", "c", "d"]);
  });

  test("is sent again what it had relayed, as a follower, to the leader before it", async () => {
    const cluster = await FakeCluster.start(3);
    const client = clientOf(cluster);
    await client.status();
    // The leader is passed over for a moment, and one of the others relays.
    cluster.node(0).faults.push("lose-request");
    const others = [cluster.node(1), cluster.node(2)];
    for (const other of others) other.faults.push("lose-request-quietly");
    const appended = client.produce("a");
    await until("the append", () => others.some((other) => other.requests.length === 1));
    const relays = others.find((other) => other.requests.length === 1);
    cluster.leader = relays?.id ?? "";
    await appended;
    expect(relays?.requests).toHaveLength(2);
    expect(cluster.values()).toEqual(["a"]);
  });

  test("is followed between two appends when the client learns that it has moved", async () => {
    const cluster = await FakeCluster.start(2);
    const client = clientOf(cluster);
    await client.produce("a");
    cluster.leader = "node-1";
    await client.status();
    await client.produce("b");
    expect(cluster.node(1).requests).toHaveLength(1);
  });

  test("need not be known: any node relays, and only given addresses are dialled if so told", async () => {
    const cluster = await FakeCluster.start(3);
    const only = cluster.node(2).address;
    const client = clientOf(cluster, { servers: [only], discovery: false });
    await client.produce("a");
    await client.read(0);
    expect(cluster.node(2).requests).toHaveLength(1);
    expect(cluster.node(2).reads).toBe(1);
  });

  test("is found again from the first addresses when all members have moved", async () => {
    const cluster = await FakeCluster.start(2);
    const [first, second] = [cluster.node(0), cluster.node(1)];
    const port = Number(first.address.split(":")[1]);
    const client = clientOf(cluster, { servers: [first.address] });
    await client.produce("a");
    first.kill();
    second.kill();
    cluster.leader = "";
    const waiting = client.produce("b");
    await cluster.add("node-2", port);
    await cluster.add("node-3");
    cluster.leader = "node-3";
    await waiting;
    expect(cluster.values()).toEqual(["a", "b"]);
  });
});
