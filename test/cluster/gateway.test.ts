/**
 * The gateway over a cluster of real processes: what a client sees through it while leaders change
 * and members die is what a node with `--follower-writes forward` would show.
 */
import { createInterface } from "node:readline";
import { Readable } from "node:stream";

import { afterAll, afterEach, beforeAll, describe, expect, onTestFailed, test } from "vitest";

import { GatewayProcess } from "./gateway-process.js";
import { TestCluster } from "./harness.js";
import { ask, post, problemOf, produce, readAll } from "./http-client.js";
import type { AskOptions, Page } from "./http-client.js";
import { until } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";

let cluster: TestCluster;
let gateway: GatewayProcess;
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = await TestCluster.start();
  gateway = await GatewayProcess.start(cluster.directory, [cluster.node(0).rpcAddr]);
  await gateway.untilReady();
});

afterEach(async () => {
  for (const node of cluster.nodes) if (!node.isRunning) node.restart();
  for (const node of cluster.nodes) if (!node.isAwake) node.cont();
  await cluster.untilVoters(3);
});

afterAll(async () => {
  await gateway?.close();
  await cluster?.close();
});

/** Appends until it is acknowledged. */
async function append(message: unknown): Promise<number> {
  return until("an append through the gateway", async () => {
    const result = await produce(gateway.httpUrl, message, 5_000);
    if (result.kind !== "acknowledged") throw new Error(result.why);
    return result.offset;
  });
}

/** The offsets that a stream gives, as they come. */
async function* offsetsOf(url: string, signal: AbortSignal): AsyncGenerator<number> {
  const headers = { accept: "application/x-ndjson" };
  const { body, status } = await fetch(url, { headers, signal });
  if (body === null || status !== 200) throw new Error(`the stream was answered with ${status}`);
  const lines = createInterface({ input: Readable.fromWeb(body) });
  for await (const line of lines) yield (JSON.parse(line) as { offset: number }).offset;
}

describe("writes", () => {
  test("reach whichever node leads, and no redirect reaches the client", async () => {
    for (const heir of cluster.nodes) {
      const { members } = await heir.status();
      const id = members.find(({ name }) => name === heir.name)?.id;
      if ((await cluster.leader()) !== heir) {
        const body = JSON.stringify({ id });
        const answer = await ask(`${gateway.httpUrl}/cluster/leader`, { method: "POST", body });
        expect(answer.status, answer.text).toBe(202);
      }
      await until(`${heir.name} to lead`, async () =>
        (await cluster.leader()) === heir ? true : undefined,
      );
      for (let count = 0; count < 20; count += 1) {
        const answer = await post(gateway.httpUrl, { message: count }, { follow: false });
        expect(answer.status, answer.text).toBe(201);
        expect(answer.headers.get("x-proglog-node")).toBe("gw");
        expect(Number(answer.headers.get("x-proglog-term"))).toBeGreaterThan(0);
        const { offset } = answer.body as { offset: number };
        expect(Number(answer.headers.get("x-proglog-commit-offset"))).toBeGreaterThan(offset);
        expect(answer.headers.get("location")).toBe(`/Data?offset=${offset}`);
      }
    }
  });

  test("go on after the leader was killed, and what was acknowledged is there", async () => {
    const acknowledged = new Map<number, string>();
    let isOver = false;
    const statuses = new Set<number>();
    const writers = [0, 1, 2, 3].map(async (writer) => {
      for (let count = 0; !isOver; count += 1) {
        const message = `${writer}/${count}`;
        const answer = await post(gateway.httpUrl, { message }, { follow: false });
        statuses.add(answer.status);
        if (answer.status === 201) {
          acknowledged.set((answer.body as { offset: number }).offset, message);
        } else expect(problemOf(answer).outcome).not.toBeNull();
      }
    });
    const leader = await cluster.leader();
    await until("some appends", async () => (acknowledged.size > 100 ? true : undefined));
    await leader.kill9();
    const before = acknowledged.size;
    await until("more appends", async () => (acknowledged.size > before + 100 ? true : undefined));
    isOver = true;
    await Promise.all(writers);
    expect([...statuses].filter((status) => ![201, 503, 504].includes(status))).toEqual([]);
    const held = new Map((await readAll(gateway.httpUrl)).map((r) => [r.offset, r.message]));
    for (const [offset, message] of acknowledged) expect(held.get(offset)).toBe(message);
  });

  test("go on while the leader hangs", async () => {
    const leader = await cluster.leader();
    leader.stop();
    const held = await append("while it hangs");
    leader.cont();
    await cluster.untilVoters(3);
    await cluster.untilLevel();
    const read = await ask(`${leader.httpUrl}/Data?offset=${held}`);
    expect(read.body).toMatchObject({ offset: held, message: "while it hangs" });
  });

  test("without a quorum are refused as no-quorum, and reads of what is there go on", async () => {
    const offset = await append("before");
    await cluster.untilLevel();
    await Promise.all(cluster.nodes.slice(1).map(async (node) => node.kill9()));
    const problem = await until("a refusal", async () => {
      const answer = await post(gateway.httpUrl, { message: "lost" }, { follow: false });
      const found = problemOf(answer);
      return found.code === "no-quorum" ? { ...found, headers: answer.headers } : undefined;
    });
    expect(problem).toMatchObject({ status: 503, retryable: true, outcome: "not_applied" });
    expect(problem.headers.get("retry-after")).toBe("1");
    const read = await ask(`${gateway.httpUrl}/Data?offset=${offset}`);
    expect(read.body).toMatchObject({ offset, message: "before" });
    const miss = await ask(`${gateway.httpUrl}/Data?offset=${offset + 1_000_000}`);
    expect(problemOf(miss)).toMatchObject({ status: 503, code: "cannot-confirm" });
    const status = await ask(`${gateway.httpUrl}/cluster`);
    expect(status.body).toMatchObject({ leader: null, quorum: false, source: "local" });
    expect((await ask(`${gateway.httpUrl}/readyz`)).status).toBe(503);
    expect((await ask(`${gateway.httpUrl}/livez`)).status).toBe(200);
  });

  test("with a key are applied once, whichever way the retry comes", async () => {
    const headers = { "idempotency-key": "order 17" };
    const first = await post(gateway.httpUrl, { message: "order" }, { headers });
    expect(first.status, first.text).toBe(201);
    const { offset } = first.body as { offset: number };
    for (const base of [gateway.httpUrl, (await cluster.leader()).httpUrl]) {
      const again = await post(base, { message: "order" }, { headers });
      expect(again.status).toBe(200);
      expect(again.body).toMatchObject({ offset, duplicate: true });
    }
    const body = { message: "x", producerId: "p", sequence: 3 };
    const named = await post(gateway.httpUrl, body);
    const repeated = await post(gateway.httpUrl, body);
    expect(repeated.body).toMatchObject({ ...(named.body as object), duplicate: true });
    for (const sequence of [3, 9]) {
      const query = `/Data/outcome?producerId=p&sequence=${sequence}`;
      const ours = await ask(`${gateway.httpUrl}${query}`);
      expect(ours.status, ours.text).toBe(200);
      expect(ours.body).toEqual((await ask(`${(await cluster.leader()).httpUrl}${query}`)).body);
    }
  });
});

describe("reads", () => {
  test("are answered whichever two members are stopped", async () => {
    const offset = await append({ kept: [1, 2] });
    await cluster.untilLevel();
    for (const awake of cluster.nodes) {
      for (const node of cluster.nodes) if (node !== awake) node.stop();
      const url = `${gateway.httpUrl}/Data?offset=${offset}&consistency=local`;
      const answer = await ask(url);
      expect(answer.body).toMatchObject({ offset, message: { kept: [1, 2] } });
      for (const node of cluster.nodes) if (node !== awake) node.cont();
    }
  });

  test("see every record that was acknowledged before", async () => {
    for (let count = 0; count < 50; count += 1) {
      const offset = await append(count);
      const one = await ask(`${gateway.httpUrl}/Data?offset=${offset}`);
      expect(one.body).toMatchObject({ offset, message: count });
      const page = await ask(`${gateway.httpUrl}/Data?from=-1`);
      expect((page.body as Page).messages).toMatchObject([{ offset }]);
      expect((page.body as Page).endOffset).toBe(offset + 1);
    }
  });

  test("wait for a record that comes", async () => {
    const offset = await append("before");
    const waiting = ask(`${gateway.httpUrl}/Data?offset=${offset + 1}&wait=20s`);
    await append("awaited");
    expect((await waiting).body).toMatchObject({ offset: offset + 1, message: "awaited" });
  });

  test("start from a time, an end and a count as on a node", async () => {
    const offset = await append("now");
    const read = await ask(`${gateway.httpUrl}/Data?offset=${offset}`);
    const { timestamp } = read.body as { timestamp: string };
    await cluster.untilLevel();
    for (const from of [`timestamp:${timestamp}`, "latest", "earliest", "-7", "3"]) {
      const query = `/Data?from=${encodeURIComponent(from)}&limit=5`;
      const node = await ask(`${cluster.node(1).httpUrl}${query}`);
      expect((await ask(`${gateway.httpUrl}${query}`)).body, from).toEqual(node.body);
    }
  });

  test("of a following stream go on while one member after the other dies", async () => {
    const first = await append("first");
    const stop = new AbortController();
    onTestFailed(() => void process.stderr.write(gateway.log()));
    const seen: number[] = [];
    const url = `${gateway.httpUrl}/Data?from=${first}&follow=true`;
    const reading = (async () => {
      for await (const offset of offsetsOf(url, stop.signal)) seen.push(offset);
    })().catch(() => undefined);
    let last = first;
    for (const node of cluster.nodes) {
      for (let count = 0; count < 20; count += 1) last = await append(`${node.name} ${count}`);
      await node.kill9();
      for (let count = 0; count < 20; count += 1) last = await append(`no ${node.name} ${count}`);
      node.restart();
      await cluster.untilVoters(3);
    }
    await until("the stream to show the last", async () =>
      seen.at(-1) === last ? true : undefined,
    );
    stop.abort();
    await reading;
    expect(seen).toEqual(Array.from({ length: last - first + 1 }, (_, at) => first + at));
  });

  test("of a range come whole though members die in the middle of it", async () => {
    const value = "x".repeat(20_000);
    let end = 0;
    for (let count = 0; count < 20; count += 1) {
      const messages = Array.from({ length: 100 }, (_, at) => `${count}/${at} ${value}`);
      const { body } = await post(gateway.httpUrl, { messages });
      end = (body as { offset: number }).offset + 100;
    }
    await cluster.untilLevel();
    const seen: number[] = [];
    const url = `${gateway.httpUrl}/Data?from=${end - 2000}`;
    const victims = [...cluster.nodes];
    for await (const offset of offsetsOf(url, AbortSignal.timeout(120_000))) {
      seen.push(offset);
      if (seen.length % 400 !== 0) continue;
      const victim = victims.shift();
      if (victim === undefined) continue;
      await victim.kill9();
      victim.restart();
      await cluster.untilVoters(3);
    }
    expect(seen).toEqual(Array.from({ length: 2000 }, (_, at) => end - 2000 + at));
  });
});

const noMember = '{"rpcAddr":"127.0.0.1:1"}';

/** A JSON body of so many MiB. */
function bodyOf(mebibytes: number): string {
  return JSON.stringify({ message: "x".repeat(mebibytes * 1024 * 1024) });
}

describe("refusals", () => {
  const json = { "content-type": "application/json" };
  const asked: readonly (readonly [string, string, AskOptions])[] = [
    ["no JSON", "/Data", { method: "POST", headers: json, body: '{"message":' }],
    ["an unknown field", "/Data", { method: "POST", headers: json, body: '{"mesage":1}' }],
    ["an empty batch", "/Data", { method: "POST", headers: json, body: '{"messages":[]}' }],
    ["a record over the limit", "/Data", { method: "POST", body: "x".repeat(1024 * 1024 + 1) }],
    ["a body over the limit", "/Data", { method: "POST", headers: json, body: bodyOf(5) }],
    ["another end than expected", "/Data?expectedOffset=99999999", { method: "POST", body: "x" }],
    ["no offset", "/Data?offset=-1", {}],
    ["a wrong limit", "/Data?limit=0", {}],
    ["an unknown path", "/nothing", {}],
    ["an unknown method", "/Data", { method: "DELETE" }],
    ["an unknown member", "/cluster/members/nobody", { method: "DELETE" }],
    ["an address where nobody is", "/cluster/members", { method: "POST", body: noMember }],
  ];

  test.each(asked)("of %s are a node's own", async (_, path, options) => {
    const leader = await cluster.leader();
    const theirs = await ask(`${leader.httpUrl}${path}`, options);
    const ours = await ask(`${gateway.httpUrl}${path}`, options);
    expect(ours.status).toBe(theirs.status);
    expect(ours.body).toEqual(theirs.body);
    expect(ours.status).toBeGreaterThanOrEqual(400);
  });
});

test("large records and batches pass unharmed", async () => {
  const value = Buffer.alloc(1024 * 1024 - 64, 0xfe);
  const answer = await ask(`${gateway.httpUrl}/Data`, {
    method: "POST",
    headers: { "content-type": "application/octet-stream" },
    body: value,
  });
  expect(answer.status, answer.text).toBe(201);
  const { offset } = answer.body as { offset: number };
  const accept = { accept: "application/octet-stream" };
  const back = await fetch(`${gateway.httpUrl}/Data?offset=${offset}`, { headers: accept });
  expect(Buffer.from(await back.arrayBuffer()).equals(value)).toBe(true);
  const messages = Array.from({ length: 4 }, (_, at) => `${at}${"y".repeat(1_000_000)}`);
  const batch = await post(gateway.httpUrl, { messages });
  expect(batch.status, batch.text).toBe(201);
  const first = (batch.body as { offset: number }).offset;
  const page = await readAll(gateway.httpUrl, first);
  expect(page.map(({ message }) => message)).toEqual(messages);
});

test("requests, streams and clients that leave do not leave sockets behind", async () => {
  await append("warm");
  const before = gateway.socketCount();
  for (let round = 0; round < 3; round += 1) {
    const stop = new AbortController();
    const url = `${gateway.httpUrl}/Data?follow=true`;
    const streams = Array.from({ length: 50 }, async () =>
      offsetsOf(url, stop.signal)
        .next()
        .catch(() => undefined),
    );
    await Promise.all(streams);
    await Promise.all(Array.from({ length: 50 }, async () => append("x")));
    stop.abort();
  }
  // The client keeps connections for a while; the gateway has at most two more to each member.
  await until("the sockets to go", async () =>
    gateway.socketCount() <= before + 2 * cluster.nodes.length ? true : undefined,
  );
});

test("a gateway that comes before its cluster answers, and serves once there is one", async () => {
  const later = new TestCluster();
  const node = await later.prepare();
  const early = await GatewayProcess.start(later.directory, [node.rpcAddr]);
  try {
    expect((await ask(`${early.httpUrl}/readyz`)).status).toBe(503);
    const refused = problemOf(await post(early.httpUrl, { message: 1 }));
    expect(refused).toMatchObject({ status: 503, code: "unavailable", outcome: "not_applied" });
    expect((await ask(`${early.httpUrl}/cluster`)).body).toMatchObject({ members: [] });
    node.start();
    await early.untilReady();
    expect((await post(early.httpUrl, { message: 1 })).body).toMatchObject({ offset: 0 });
    expect(await early.terminate()).toEqual({ code: 0, signal: null });
  } finally {
    await early.close();
    await later.close();
  }
});
