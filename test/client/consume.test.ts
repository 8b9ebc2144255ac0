/** Reads through a client: in order, once each, from any node, whatever breaks. */
import { describe, expect, onTestFinished, test } from "vitest";

import { Client } from "../../src/client/client.js";
import type { ConsumeOptions } from "../../src/client/client.js";
import type { ClientOptions } from "../../src/client/options.js";
import type { ConsumedRecord } from "../../src/client/record.js";
import { failureOf, FakeCluster, refusal, until } from "./fake-cluster.js";

function clientOf(cluster: FakeCluster, options: Partial<ClientOptions> = {}): Client {
  const client = new Client({ servers: cluster.addresses, ...options });
  onTestFinished(async () => client.close());
  return client;
}

/** Collects until the iterator ends, or has given `count`. */
async function collect(
  client: Client,
  options: ConsumeOptions,
  count = Infinity,
): Promise<ConsumedRecord[]> {
  const records: ConsumedRecord[] = [];
  for await (const record of client.consume(options)) {
    records.push(record);
    if (records.length >= count) break;
  }
  return records;
}

const textsOf = (records: readonly ConsumedRecord[]): string[] => records.map((r) => r.text());

describe("read", () => {
  test("gives the record with all that was kept with it", async () => {
    const cluster = await FakeCluster.start(1);
    const client = clientOf(cluster);
    await client.produce("value", { key: "k", headers: { a: "b" } });
    const record = await client.read(0);
    expect(record).toMatchObject({ offset: 0, key: "k", headers: { a: "b" }, isJson: false });
    expect(record.text()).toBe("value");
    expect(await client.endOffset()).toBe(1);
  });

  test("says that there is no such record, and where the log ends", async () => {
    const cluster = await FakeCluster.start(2);
    const client = clientOf(cluster);
    const error = await failureOf(client.read(0));
    expect(error).toMatchObject({ code: "offset-out-of-range", fields: { endOffset: 0 } });
    await expect(client.read(-1)).rejects.toMatchObject({ code: "invalid-request" });
  });

  test("passes over nodes that are damaged, that hang, or that are gone", async () => {
    const cluster = await FakeCluster.start(4);
    cluster.fill("a");
    cluster.node(1).readError = refusal("data-damaged");
    cluster.node(2).isHanging = true;
    const client = clientOf(cluster);
    cluster.node(3).kill();
    for (let nth = 0; nth < 6; nth += 1) expect((await client.read(0)).text()).toBe("a");
  });

  test("fails with the reason when its time is over, and with the signal's when that aborts", async () => {
    const cluster = await FakeCluster.start(1);
    cluster.node(0).readError = refusal("cannot-confirm");
    const client = clientOf(cluster);
    expect(await failureOf(client.read(0, { timeoutMs: 200 }))).toMatchObject({
      code: "cannot-confirm",
    });
    const controller = new AbortController();
    const reading = client.read(0, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(reading).rejects.toThrow("enough");
  });
});

describe("consume", () => {
  test("reads from an offset, the start, the end, or the last few, to the end", async () => {
    const cluster = await FakeCluster.start(2);
    cluster.fill("0", "1", "2");
    cluster.fill("3", "4");
    const client = clientOf(cluster);
    expect(textsOf(await collect(client, {}))).toEqual(["0", "1", "2", "3", "4"]);
    expect(textsOf(await collect(client, { from: 2 }))).toEqual(["2", "3", "4"]);
    expect(textsOf(await collect(client, { from: -2 }))).toEqual(["3", "4"]);
    expect(textsOf(await collect(client, { from: -9 }))).toHaveLength(5);
    expect(await collect(client, { from: "latest" })).toEqual([]);
    expect(await collect(client, { from: 99 })).toEqual([]);
    await expect(collect(client, { from: 1.5 })).rejects.toMatchObject({ code: "invalid-request" });
  });

  test("reads from a time on: the first record taken then or later", async () => {
    const cluster = await FakeCluster.start(1);
    for (const text of ["0", "1", "2", "3", "4"]) cluster.fill(text);
    const client = clientOf(cluster);
    const { timestampMs } = await client.read(2);
    const since = async (ms: number): Promise<string[]> =>
      textsOf(await collect(client, { from: new Date(ms) }));
    expect(await since(timestampMs)).toEqual(["2", "3", "4"]);
    expect(await since(timestampMs + 1)).toEqual(["3", "4"]);
    expect(await since(0)).toHaveLength(5);
    expect(await since(timestampMs + 60_000)).toEqual([]);
    cluster.startOffset = 3;
    expect(await since(0)).toEqual(["3", "4"]);
    await expect(collect(client, { from: new Date("never") })).rejects.toMatchObject({
      code: "invalid-request",
    });
  });

  test("starts at the first record left where it is asked for the earliest", async () => {
    const cluster = await FakeCluster.start(1);
    cluster.fill("0", "1");
    cluster.fill("2");
    cluster.startOffset = 2;
    const client = clientOf(cluster);
    expect(textsOf(await collect(client, { from: "earliest" }))).toEqual(["2"]);
    expect(textsOf(await collect(client, { from: -3 }))).toEqual(["2"]);
    const error = await failureOf(collect(client, { from: 1 }));
    expect(error).toMatchObject({ code: "offset-trimmed", fields: { startOffset: 2 } });
  });

  test("follows the end", async () => {
    const cluster = await FakeCluster.start(2);
    const client = clientOf(cluster);
    const following = collect(client, { from: "latest", follow: true }, 3);
    await until("the stream", () => cluster.node(0).openStreams + cluster.node(1).openStreams > 0);
    for (const value of ["a", "b", "c"]) await client.produce(value);
    expect(textsOf(await following)).toEqual(["a", "b", "c"]);
  });

  test("reads each record once, in order, however often streams break, end or lead nowhere", async () => {
    const cluster = await FakeCluster.start(3);
    const client = clientOf(cluster);
    const count = 300;
    const following = collect(client, { follow: true }, count);
    for (let nth = 0; nth < count; nth += 3) {
      cluster.fill(`${nth}`, `${nth + 1}`, `${nth + 2}`);
      const node = cluster.node(nth % 3);
      if (nth % 30 === 0) node.breakStreams();
      else if (nth % 30 === 9) node.endStreams(refusal("unavailable"));
      else if (nth % 30 === 18) node.finishStreams();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const records = await following;
    expect(records.map((record) => record.offset)).toEqual([...records.keys()]);
    expect(textsOf(records)).toEqual([...records.keys()].map(String));
  });

  test("waits for nodes for ever, and goes on when there is one", async () => {
    const cluster = await FakeCluster.start(1);
    const { address } = cluster.node(0);
    const port = Number(address.split(":")[1]);
    cluster.fill("a");
    const client = clientOf(cluster);
    const following = collect(client, { follow: true }, 2);
    await until("the stream", () => cluster.node(0).openStreams > 0);
    cluster.node(0).kill();
    cluster.fill("b");
    await expect(client.read(0, { timeoutMs: 300 })).rejects.toMatchObject({ code: "unavailable" });
    await cluster.add("node-1", port);
    expect(textsOf(await following)).toEqual(["a", "b"]);
  });

  test("leaves a node that does not see what others have", async () => {
    const cluster = await FakeCluster.start(3);
    cluster.fill("a");
    // Readers are spread over nodes 1 and 2; both are cut off, the leader is not.
    cluster.node(1).sees = 1;
    cluster.node(2).sees = 1;
    const client = clientOf(cluster);
    const following = collect(client, { follow: true, from: 0 }, 2);
    await until("the stream", () => cluster.node(1).openStreams + cluster.node(2).openStreams > 0);
    cluster.node(2).sees = Infinity;
    cluster.fill("b");
    expect(textsOf(await following)).toEqual(["a", "b"]);
  }, 20_000);

  test("throws what every node says, rather than to try for ever", async () => {
    const cluster = await FakeCluster.start(2);
    cluster.fill("a");
    for (const node of cluster.nodes.values()) node.readError = refusal("data-damaged");
    const client = clientOf(cluster);
    expect(await failureOf(collect(client, {}))).toMatchObject({ code: "data-damaged" });
    for (const node of cluster.nodes.values()) node.readError = refusal("permission-denied");
    expect(await failureOf(collect(client, { follow: true }))).toMatchObject({
      code: "permission-denied",
    });
  });

  test("holds no more than a few batches for a loop that is slow", async () => {
    const cluster = await FakeCluster.start(1);
    const value = Buffer.alloc(256 * 1024, 7);
    for (let nth = 0; nth < 400; nth += 1) cluster.fill(value);
    const client = clientOf(cluster);
    const records = client.consume();
    await records.next();
    let before = -1;
    // The node writes until everything between it and the loop is full.
    for (let quiet = 0; quiet < 20; quiet += before === cluster.node(0).written ? 1 : 0) {
      before = cluster.node(0).written;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(cluster.node(0).written).toBeLessThan(60);
    let count = 1;
    for await (const record of records) count += record.value.length > 0 ? 1 : 0;
    expect(count).toBe(400);
  });

  test("lets go of the stream when the loop is left, and when the signal aborts", async () => {
    const cluster = await FakeCluster.start(1);
    cluster.fill("a", "b");
    const client = clientOf(cluster);
    await collect(client, { follow: true }, 1);
    await until("no stream", () => cluster.node(0).openStreams === 0);
    const controller = new AbortController();
    const { signal } = controller;
    const following = collect(client, { follow: true, signal });
    await until("the stream", () => cluster.node(0).openStreams === 1);
    controller.abort(new Error("enough"));
    await expect(following).rejects.toThrow("enough");
    await until("no stream", () => cluster.node(0).openStreams === 0);
    await expect(collect(client, { signal })).rejects.toThrow("enough");
  });
});

describe("a client", () => {
  test("refuses options that make no sense", () => {
    const wrong: Partial<ClientOptions>[] = [
      { servers: [] },
      { servers: ["http://127.0.0.1:8400"] },
      { servers: ["127.0.0.1"] },
      { servers: ["127.0.0.1:0"] },
      { appendsInFlightMax: 6 },
      { deliveryTimeoutMs: 0 },
      { whenFull: "drop" as never },
    ];
    for (const options of wrong) {
      expect(() => new Client({ servers: ["127.0.0.1:1"], ...options })).toThrow(/Option/);
    }
  });

  test("that cannot connect says so, and names whom it asked", async () => {
    const connecting = Client.connect({ servers: ["127.0.0.1:1"], readTimeoutMs: 200 });
    expect(await failureOf(connecting)).toMatchObject({
      code: "unavailable",
      message: "No node answers at 127.0.0.1:1.",
    });
  });
});
