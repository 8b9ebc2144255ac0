/** The client that speaks only HTTP, against a node in this process. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, posix } from "node:path";

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

import { HttpClient, json, ProglogError } from "../../src/client/http.js";
import type { HttpClientOptions, HttpConsumeOptions, HttpRecord } from "../../src/client/http.js";
import { startNode } from "../../src/index.js";
import type { RunningNode } from "../../src/index.js";
import { importsOf } from "../tidy/floors.js";
import { read } from "../tidy/tree.js";

let directory: string;
let node: RunningNode;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "proglog-http-client-"));
  node = await startNode({ dataDir: directory, httpAddr: "127.0.0.1:0", rpcAddr: "127.0.0.1:0" });
});

afterAll(async () => {
  await node.close();
  await rm(directory, { recursive: true, force: true });
});

function clientOf(options: Partial<HttpClientOptions> = {}): HttpClient {
  const client = new HttpClient({ servers: [`http://${node.httpAddr}`], ...options });
  onTestFinished(() => {
    client.close();
  });
  return client;
}

async function collect(
  client: HttpClient,
  options: HttpConsumeOptions,
  count = Infinity,
): Promise<HttpRecord[]> {
  const records: HttpRecord[] = [];
  for await (const record of client.consume(options)) {
    records.push(record);
    if (records.length >= count) break;
  }
  return records;
}

test("appends and reads text, JSON and bytes, with key and headers", async () => {
  const client = clientOf();
  const { offset, timestampMs } = await client.produce("text");
  expect(timestampMs).toBeGreaterThan(1_700_000_000_000);
  const kept = { key: "k", headers: { a: "b" } };
  await client.produce(json({ order: 7 }), kept);
  await client.produce(new Uint8Array([0xff, 0]), kept);
  const records = await collect(client, { from: offset });
  expect(records.map((record) => record.message)).toEqual([
    "text",
    { order: 7 },
    new Uint8Array([0xff, 0]),
  ]);
  expect(records[2]).toMatchObject({ offset: offset + 2, ...kept });
  expect(await client.read(offset + 1)).toMatchObject({ message: { order: 7 }, ...kept });
  expect(await client.status()).toMatchObject({ quorum: true });
  const [last] = await collect(client, { from: -1 });
  expect(last?.offset).toBe(offset + 2);
});

test("appends once and in order, though answers are lost and servers are not there", async () => {
  let calls = 0;
  const lossy: typeof fetch = async (input, init) => {
    const response = await fetch(input, init);
    calls += 1;
    if (calls % 3 === 1) throw new TypeError("the connection broke");
    return response;
  };
  const servers = ["http://127.0.0.1:1", `http://${node.httpAddr}`];
  const client = clientOf({ servers, fetch: lossy });
  const first = await client.produce("first");
  const values = Array.from({ length: 2500 }, (_, nth) => `value ${nth}`);
  const receipts = await Promise.all(values.map(async (value) => client.produce(value)));
  expect(receipts.map(({ offset }) => offset)).toEqual(
    values.map((_, at) => first.offset + 1 + at),
  );
  const found = await collect(clientOf(), { from: first.offset + 1 });
  expect(found.map((record) => record.message)).toEqual(values);
});

test("fails with the node's own error, and with what became of the record", async () => {
  const client = clientOf();
  const mismatch = client.produce("x", { expectedOffset: 999_999 });
  await expect(mismatch).rejects.toMatchObject({
    name: "ProglogError",
    code: "expected-offset-mismatch",
    outcome: "not_applied",
  });
  await expect(client.read(999_999)).rejects.toMatchObject({ code: "offset-out-of-range" });
  const large = client.produce("x".repeat(2 * 1024 * 1024));
  const good = client.produce("fits");
  await expect(large).rejects.toMatchObject({ code: "record-too-large" });
  await good;
});

test("says unknown where no answer came in time", async () => {
  const broken: typeof fetch = async (input, init) => {
    await fetch(input, init);
    throw new TypeError("the connection broke");
  };
  const client = clientOf({ fetch: broken, deliveryTimeoutMs: 300 });
  await expect(client.produce("x")).rejects.toMatchObject({ code: "outcome-unknown" });
});

test("follows, and goes on at the next offset when the stream breaks", async () => {
  const client = clientOf();
  const { offset } = await client.produce("start");
  let cuts = 0;
  const cutting: typeof fetch = async (input, init) => {
    const response = await fetch(input, init);
    const reader = response.body?.getReader();
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        const { value } = (await reader?.read()) ?? {};
        if (value === undefined) return;
        controller.enqueue(value);
        cuts += 1;
        if (cuts < 4) controller.error(new TypeError("the connection broke"));
      },
    });
    return new Response(body, response);
  };
  const following = collect(clientOf({ fetch: cutting }), { from: offset, follow: true }, 5);
  for (const value of ["a", "b", "c", "d"]) await client.produce(value);
  const records = await following;
  expect(records.map((record) => record.message)).toEqual(["start", "a", "b", "c", "d"]);
});

describe("an end", () => {
  test("comes with the signal's reason, or when the client closes", async () => {
    const client = clientOf();
    const controller = new AbortController();
    const { signal } = controller;
    const following = collect(client, { from: "latest", follow: true, signal });
    setTimeout(() => controller.abort(new Error("enough")), 100);
    await expect(following).rejects.toThrow("enough");
    const closing = collect(client, { from: "latest", follow: true });
    setTimeout(() => client.close(), 100);
    await expect(closing).rejects.toThrow(ProglogError);
    await expect(client.produce("x")).rejects.toThrow("closed");
  });
});

test("needs nothing of Node", () => {
  const seen = new Set<string>();
  const foreign: string[] = [];
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const name of importsOf({ path, text: read(path) })) {
      if (!name.startsWith(".")) foreign.push(`${path}: ${name}`);
      else visit(posix.join(posix.dirname(path), name).replace(/\.js$/, ".ts"));
    }
  };
  visit("src/client/http.ts");
  expect(foreign).toEqual([]);
  expect(seen.size).toBeGreaterThan(4);
});
