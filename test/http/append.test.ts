/** POST /Data: what is stored, what is answered, what is refused. */
import { request } from "node:http";

import { describe, expect, test } from "vitest";

import {
  call,
  eventually,
  expectProblem,
  jsonOf,
  post,
  RawClient,
  startGateway,
} from "./harness.js";
import { MemoryNode } from "./memory-services.js";

const elsewhere = { id: "x", name: "two", rpcAddr: "127.0.0.1:2", httpAddr: "127.0.0.1:9" };

describe("append", () => {
  test("answers 201 with the offset, the time and a Location", async () => {
    const gateway = await startGateway();
    const first = await post(gateway, { message: "hello" });
    expect(first.status).toBe(201);
    expect(first.headers.get("location")).toBe("/Data?offset=0");
    const receipt = await jsonOf(first);
    expect(Object.keys(receipt)).toEqual(["offset", "timestamp"]);
    expect(receipt["timestamp"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const second = await call(gateway, "/data", {
      method: "POST",
      headers: { "content-type": "application/json; charset=utf-8" },
      body: '{"message":"again"}',
    });
    expect(await jsonOf(second)).toMatchObject({ offset: 1 });
    expect(second.headers.get("x-proglog-commit-offset")).toBe("2");
  });

  test.each([
    ["a string", '"h\\u00e9llo \\n"'],
    ["an empty string", '""'],
    ["a large number", "9007199254740993"],
    ["a number's zeros", "1.0"],
    ["a number beyond doubles", "1e400"],
    ["null", "null"],
    ["false", "false"],
    ["an object with __proto__", '{"__proto__":{"polluted":true},"constructor":1}'],
    ["nested values", '{"a":[1,{"b":"c\\"}"}],"d":" x "}'],
    ["a lone surrogate", '"\\ud800"'],
  ])("%s comes back as it was posted", async (_, text) => {
    const gateway = await startGateway();
    expect((await post(gateway, `{"message":${text}}`)).status).toBe(201);
    const body = await (await call(gateway, "/Data?offset=0")).text();
    const decoded: unknown = JSON.parse(text);
    if (typeof decoded === "string") expect(JSON.parse(body)).toMatchObject({ message: decoded });
    else expect(body).toContain(`"message":${text},`);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });

  test("indented JSON is stored on one line", async () => {
    const gateway = await startGateway();
    await post(gateway, '{ "message" : {\n  "a b" : [ 1,\r\n 2.50 ] } }');
    expect(gateway.node.records[0]?.value.toString()).toBe('{"a b":[1,2.50]}');
  });

  test("key and headers are kept with each record of a batch", async () => {
    const gateway = await startGateway();
    const response = await post(
      gateway,
      '{"messages":["a",{"b":1.0},[],7],"key":"k","headers":{"__proto__":"p","h":""}}',
    );
    expect(response.status).toBe(201);
    expect(await jsonOf(response)).toMatchObject({ offset: 0, count: 4 });
    expect(gateway.node.records.map((record) => record.value.toString())).toEqual([
      "a",
      '{"b":1.0}',
      "[]",
      "7",
    ]);
    for (const record of gateway.node.records) {
      expect(record.key).toBe("k");
      expect(Object.entries(record.headers ?? {})).toEqual([
        ["__proto__", "p"],
        ["h", ""],
      ]);
    }
    const shown = await (await call(gateway, "/Data?offset=1")).text();
    expect(shown).toContain('"key":"k","headers":{"__proto__":"p","h":""}}');
  });

  test("any other content type stores the body's bytes", async () => {
    const gateway = await startGateway();
    const body = Buffer.from([0xff, 0x00, 0x7b]);
    const response = await call(
      gateway,
      "/Data?key=k%C3%A9&header.a=1&header.b=x%20y&expectedOffset=0&timeoutMs=500",
      { method: "POST", headers: { "content-type": "application/octet-stream" }, body },
    );
    expect(response.status).toBe(201);
    expect(gateway.node.records[0]).toMatchObject({
      value: body,
      key: "ké",
      headers: { a: "1", b: "x y" },
    });
    const text = await call(gateway, "/Data", { method: "POST", body: '{"message":1}' });
    expect(text.status).toBe(201);
    expect(gateway.node.records[1]?.value.toString()).toBe('{"message":1}');
    expect(gateway.node.records[1]?.json).toBeUndefined();
  });

  test("expectedOffset that differs is 412 with the actual offset", async () => {
    const gateway = await startGateway();
    expect((await post(gateway, { message: 1, expectedOffset: 0 })).status).toBe(201);
    const response = await post(gateway, { message: 1, expectedOffset: 0 });
    const problem = await expectProblem(response, 412, "expected-offset-mismatch");
    expect(problem).toMatchObject({ actualOffset: 1, outcome: "not_applied" });
  });

  test("a write concern reaches the log by either name, in a body and beside one", async () => {
    const gateway = await startGateway();
    for (const body of [{ w: 3 }, { writeConcern: "all" }, { w: "majority" }, { w: 0 }]) {
      await post(gateway, { message: 1, ...body });
    }
    const raw = { method: "POST", body: "x", headers: { "content-type": "text/plain" } };
    await call(gateway, "/Data?w=2", raw);
    await call(gateway, "/Data?writeConcern=all", raw);
    expect(gateway.node.writeConcerns).toEqual([3, "all", "majority", 0, 2, "all"]);
  });

  test("what only the leader's disk has is 202, and has no place yet", async () => {
    const gateway = await startGateway();
    const response = await post(gateway, { message: 1, w: 1 });
    expect(response.status).toBe(202);
    expect(response.headers.get("location")).toBeNull();
    expect(await response.json()).toEqual({ committed: false });
  });

  test("the records that wait for more copies are bounded, and do not keep others out", async () => {
    const limits = { recordBytesMax: 100, bodyBytesMax: 150, bodyBytesInFlightMax: 150 };
    const gateway = await startGateway(limits);
    const message = "x".repeat(80);
    gateway.node.pauseCommits();
    const first = post(gateway, { message, w: 2 });
    await eventually(() => gateway.node.writeConcerns.length === 1, "the first");
    await expectProblem(await post(gateway, { message, w: 2 }), 429, "overloaded");
    const other = post(gateway, { message });
    await eventually(() => gateway.node.writeConcerns.length === 2, "the other");
    gateway.node.resumeCommits();
    expect((await first).status).toBe(201);
    expect((await other).status).toBe(201);
    expect((await post(gateway, { message, w: 2 })).status).toBe(201);
  });

  test("a commit that takes longer than timeoutMs is 504 with an unknown outcome", async () => {
    const gateway = await startGateway();
    gateway.node.pauseCommits();
    const response = await post(gateway, { message: 1, timeoutMs: 20 });
    const problem = await expectProblem(response, 504, "outcome-unknown");
    expect(problem).toMatchObject({ outcome: "unknown", retryable: false });
  });
});

describe("append refuses", () => {
  test.each([
    ["nothing to store", "{}", /message/],
    ["both forms", '{"message":1,"messages":[1]}', /not both/],
    ["an empty batch", '{"messages":[]}', /empty/],
    ["a batch that is none", '{"messages":{}}', /array/],
    ["an unknown field", '{"message":1,"colour":2}', /"colour"/],
    ["__proto__ as a field", '{"message":1,"__proto__":{}}', /"__proto__"/],
    ["a key that is no string", '{"message":1,"key":1}', /key/],
    ["a key that is no text", '{"message":1,"key":"\\ud800"}', /key/],
    ["headers that are not flat", '{"message":1,"headers":{"a":{}}}', /headers/],
    ["headers that are a list", '{"message":1,"headers":["a"]}', /headers/],
    ["a key over 65 535 bytes", `{"message":1,"key":"${"k".repeat(65_536)}"}`, /key/],
    ["a fractional offset", '{"message":1,"expectedOffset":1.5}', /expectedOffset/],
    ["an offset over 2^53-1", '{"message":1,"expectedOffset":9007199254740993}', /expectedOffset/],
    ["an offset that is text", '{"message":1,"expectedOffset":"1"}', /expectedOffset/],
    ["two write concerns", '{"message":1,"w":2,"writeConcern":2}', /either w or writeConcern/],
    ["a write concern that is no number", '{"message":1,"w":"most"}', /The field w/],
    ["a write concern that is null", '{"message":1,"w":null}', /The field w/],
    ["a write concern in quotes", '{"message":1,"w":"3"}', /The field w/],
    ["half a copy", '{"message":1,"w":1.5}', /The field w/],
    ["a zero timeout", '{"message":1,"timeoutMs":0}', /timeoutMs/],
    ["a timeout over 10 minutes", '{"message":1,"timeoutMs":600001}', /timeoutMs/],
    ["an array", "[1]", /object/],
    ["null", "null", /object/],
    ["an empty body", "", /line 1, column 1/],
    ["text that is not JSON", '{"message":\n  oops}', /line 2, column 3/],
    ["text that ends early", '{"message":"x', /ends too early/],
    ["deep nesting", `{"message":${"[".repeat(64)}${"]".repeat(64)}}`, /64 levels/],
  ])("%s with 400", async (_, body, detail) => {
    const gateway = await startGateway();
    const problem = await expectProblem(await post(gateway, body), 400, "invalid-request");
    expect(problem["detail"]).toMatch(detail);
    expect(problem).toMatchObject({ retryable: false, outcome: "not_applied" });
    expect(gateway.node.endOffset).toBe(0);
  });

  test("a mebibyte of brackets, at no cost", async () => {
    const gateway = await startGateway();
    const startMs = performance.now();
    const response = await post(gateway, "[".repeat(1024 * 1024));
    await expectProblem(response, 400, "invalid-request");
    expect(performance.now() - startMs).toBeLessThan(1000);
  });

  test("bytes that are not UTF-8", async () => {
    const gateway = await startGateway();
    const response = await call(gateway, "/Data", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: Buffer.from([...Buffer.from('{"message":"'), 0xc3, 0x28, ...Buffer.from('"}')]),
    });
    const problem = await expectProblem(response, 400, "invalid-request");
    expect(problem["detail"]).toMatch(/UTF-8/);
  });

  test("query parameters that are unknown, doubled or out of range", async () => {
    const gateway = await startGateway();
    const raw = { method: "POST", headers: { "content-type": "text/plain" }, body: "x" };
    for (const query of ["x=1", "header.=1", "key=a&key=b", "expectedOffset=-1", "timeoutMs=1s"]) {
      const response = await call(gateway, `/Data?${query}`, raw);
      const problem = await expectProblem(response, 400, "invalid-request");
      expect(problem["detail"]).toContain(query.split("=")[0]);
    }
    const json = { ...raw, headers: { "content-type": "application/json" }, body: '{"message":1}' };
    await expectProblem(await call(gateway, "/Data?key=a", json), 400, "invalid-request");
    await expectProblem(await call(gateway, "/Data", { method: "POST" }), 400, "invalid-request");
    expect(gateway.node.endOffset).toBe(0);
  });

  test("a page of another origin with 403, and takes its own and programs", async () => {
    const gateway = await startGateway();
    const send = async (headers: Readonly<Record<string, string>>): Promise<number> =>
      new Promise((resolve, reject) => {
        const options = { method: "POST", headers: { "content-type": "text/plain", ...headers } };
        const sent = request(`${gateway.url}/Data`, options, (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        });
        sent.on("error", reject).end("x");
      });
    expect(await send({ origin: "http://evil.example" })).toBe(403);
    expect(await send({ origin: "null", "sec-fetch-site": "cross-site" })).toBe(403);
    expect(gateway.node.endOffset).toBe(0);
    expect(await send({ origin: gateway.url })).toBe(201);
    const behindProxy = { origin: "https://logs.example", "sec-fetch-site": "same-origin" };
    expect(await send(behindProxy)).toBe(201);
    expect(await send({})).toBe(201);
  });

  test("a compressed body with 415", async () => {
    const gateway = await startGateway();
    const headers = { "content-type": "application/json", "content-encoding": "gzip" };
    await expectProblem(await post(gateway, "x", { headers }), 415, "unsupported-media-type");
  });
});

describe("limits of an append", () => {
  const limits = { recordBytesMax: 1000, bodyBytesMax: 5000 };

  test("a record of the limit passes and one byte more is 413", async () => {
    const gateway = await startGateway(limits);
    const raw = (bytes: number): RequestInit => ({
      method: "POST",
      headers: { "content-type": "text/plain" },
      body: "x".repeat(bytes),
    });
    expect((await call(gateway, "/Data", raw(1000))).status).toBe(201);
    const refused = await call(gateway, "/Data", raw(1001));
    const problem = await expectProblem(refused, 413, "record-too-large");
    expect(problem).toMatchObject({ bytesMax: 1000, outcome: "not_applied" });
    expect((await post(gateway, { message: "x".repeat(1000) })).status).toBe(201);
    const json = await post(gateway, { message: "x".repeat(1001) });
    await expectProblem(json, 413, "record-too-large");
  });

  test("a body over its limit is 413 and closes, announced or chunked", async () => {
    const gateway = await startGateway(limits);
    const announced = await post(gateway, { message: "x".repeat(6000) });
    expect(announced.headers.get("connection")).toBe("close");
    await expectProblem(announced, 413, "record-too-large");
    const client = new RawClient(gateway.port).send(
      "POST /Data HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" +
        "Transfer-Encoding: chunked\r\n\r\n",
    );
    for (let sent = 0; sent < 3; sent += 1) client.send(`800\r\n${"x".repeat(2048)}\r\n`);
    await eventually(() => client.received.includes("record-too-large"), "the chunks are refused");
    client.send("0\r\n\r\n");
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 413 /);
  });

  test("a large body is refused before it is invited, and while it is sent", async () => {
    const gateway = await startGateway();
    const client = new RawClient(gateway.port).send(
      "POST /Data HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n",
    );
    await eventually(() => client.received.includes("record-too-large"), "it is refused");
    expect(client.received).not.toContain("100 Continue");
    const pushed = await call(gateway, "/Data", {
      method: "POST",
      headers: { "content-type": "text/plain" },
      body: "x".repeat(12 * 1024 * 1024),
    });
    await expectProblem(pushed, 413, "record-too-large");
  });

  test("a body that waits for its invitation gets it", async () => {
    const gateway = await startGateway();
    const client = new RawClient(gateway.port).send(
      "POST /Data HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: text/plain\r\n" +
        "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n",
    );
    await eventually(() => client.received.includes("100 Continue"), "it is invited");
    client.send("hi");
    expect(await client.closed()).toContain("HTTP/1.1 201 ");
  });

  test("headers repeated over a batch are counted before they are built", async () => {
    const gateway = await startGateway();
    const headers = { h: "x".repeat(60_000) };
    const response = await post(gateway, { messages: Array(10_000).fill(1), headers });
    await expectProblem(response, 413, "record-too-large");
    const tooMany = await post(gateway, { messages: Array(10_001).fill(1) });
    await expectProblem(tooMany, 400, "invalid-request");
  });

  test("appends beyond those in flight are 429, and pass again later", async () => {
    const gateway = await startGateway({ appendsInFlightMax: 2 });
    gateway.node.pauseCommits();
    const held = [post(gateway, { message: 1 }), post(gateway, { message: 2 })];
    let refused = await post(gateway, { message: 3, timeoutMs: 1 });
    while (refused.status !== 429) refused = await post(gateway, { message: 3, timeoutMs: 1 });
    expect(refused.headers.get("retry-after")).toBe("1");
    await expectProblem(refused, 429, "overloaded");
    gateway.node.resumeCommits();
    expect((await Promise.all(held)).map((response) => response.status)).toEqual([201, 201]);
    expect((await post(gateway, { message: 3 })).status).toBe(201);
  });

  test("bodies held at once are bounded over all connections", async () => {
    const gateway = await startGateway({ ...limits, bodyBytesInFlightMax: 5000 });
    const half = "POST /Data HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    const clients = Array.from({ length: 6 }, () =>
      new RawClient(gateway.port).send(half + "x".repeat(900)),
    );
    await eventually(
      () => clients.some((client) => client.received.startsWith("HTTP/1.1 429 ")),
      "one is refused",
    );
    for (const client of clients) client.socket.destroy();
    await expect.poll(async () => (await post(gateway, { message: 1 })).status).toBe(201);
  });
});

describe("without leadership", () => {
  test("307 names the leader and keeps path and query", async () => {
    const gateway = await startGateway();
    gateway.node.follow(elsewhere);
    const response = await call(gateway, "/data?key=a%20b&header.x=1", {
      method: "POST",
      headers: { "content-type": "text/plain" },
      body: "x",
    });
    expect(response.headers.get("location")).toBe("http://127.0.0.1:9/data?key=a%20b&header.x=1");
    const problem = await expectProblem(response, 307, "not-leader");
    expect(problem).toMatchObject({ leader: { name: "two" }, retryable: true });
  });

  test("fetch follows the redirect with method and body", async () => {
    const leader = await startGateway({}, new MemoryNode("leader"));
    const follower = await startGateway({}, new MemoryNode("follower"));
    follower.node.follow(leader.node.lead());
    const response = await post(follower, { message: "moved" }, { redirect: "follow" });
    expect(response.status).toBe(201);
    expect(response.redirected).toBe(true);
    expect(response.headers.get("x-proglog-node")).toBe("leader");
    expect(leader.node.records[0]?.value.toString()).toBe("moved");
    expect(follower.node.endOffset).toBe(0);
  });

  test("a leader without an address, or this node itself, is 503 instead of a loop", async () => {
    const gateway = await startGateway();
    const { node } = gateway;
    for (const leader of [
      { ...elsewhere, httpAddr: "" },
      { ...elsewhere, id: node.id },
      { ...elsewhere, httpAddr: node.httpAddr },
    ]) {
      node.follow(leader);
      const response = await post(gateway, { message: 1 });
      expect(response.headers.get("retry-after")).toBe("1");
      expect(response.headers.get("location")).toBeNull();
      await expectProblem(response, 503, "no-leader");
    }
  });

  test.each([
    ["no-leader", 503, "no-leader"],
    ["no-quorum", 503, "no-quorum"],
    ["disk-full", 507, "disk-full"],
  ] as const)("%s is %d", async (state, status, code) => {
    const gateway = await startGateway();
    gateway.node.state = state;
    const response = await post(gateway, { message: 1 });
    if (status === 503) expect(response.headers.get("retry-after")).toBe("1");
    const problem = await expectProblem(response, status, code);
    expect(problem).toMatchObject({ outcome: "not_applied", retryable: true });
  });
});
