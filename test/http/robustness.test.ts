/** Clients that are slow, broken or gone, and a gateway that stops. */
import { describe, expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import { systemClock } from "../../src/common/system.js";
import { HttpGateway } from "../../src/http/gateway.js";
import {
  call,
  eventually,
  expectProblem,
  post,
  RawClient,
  readerOf,
  readUntil,
  startGateway,
} from "./harness.js";
import { MemoryCluster, MemoryLog, MemoryNode } from "./memory-services.js";

const head = "POST /Data HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n";

describe("broken clients", () => {
  test.each([
    ["no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"],
    ["a broken request line", "GET\r\n\r\n"],
    ["a header without a name", "GET /livez HTTP/1.1\r\n: x\r\n\r\n"],
    ["two lengths", `${head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx`],
    ["length and chunks", `${head}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx`],
    ["a chunk without a size", `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n`],
    ["headers over 16 KiB", `GET /livez HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(20_000)}\r\n\r\n`],
  ])("%s is 400 and closes", async (_, text) => {
    const gateway = await startGateway();
    const received = await new RawClient(gateway.port).send(text).closed();
    expect(received).toMatch(/^HTTP\/1\.1 400 /);
    expect(received).toContain("application/problem+json");
    expect(received).toContain("X-Proglog-Node: one");
    expect(received).toContain('"outcome":"not_applied"');
    expect(gateway.node.endOffset).toBe(0);
    expect((await call(gateway, "/livez")).status).toBe(200);
  });

  test("a half-sent body times out and nothing of it is applied", async () => {
    const gateway = await startGateway({ headersTimeoutMs: 100, requestTimeoutMs: 200 });
    const client = new RawClient(gateway.port).send(`${head}Content-Length: 10\r\n\r\nhalf`);
    const received = await client.closed();
    expect(received).toMatch(/^HTTP\/1\.1 400 /);
    expect(received).toContain("did not arrive in time");
    expect(gateway.node.endOffset).toBe(0);
    expect(gateway.errors).toEqual([]);
  });

  test("a connection reset in the middle of a body harms nobody", async () => {
    const gateway = await startGateway();
    for (let reset = 0; reset < 20; reset += 1) {
      const client = new RawClient(gateway.port).send(`${head}Content-Length: 10\r\n\r\nhalf`);
      client.socket.once("connect", () => client.socket.resetAndDestroy());
      await client.closed();
    }
    expect((await post(gateway, { message: 1 })).status).toBe(201);
    expect(gateway.node.endOffset).toBe(1);
    expect(gateway.errors).toEqual([]);
  });

  test("500 slow sockets do not keep others from being served", async () => {
    const gateway = await startGateway();
    const slow = Array.from({ length: 500 }, (_, ordinal) =>
      new RawClient(gateway.port).send(
        ordinal % 2 === 0 ? "GET /livez HTT" : `${head}Content-Length: 1000\r\n\r\nx`,
      ),
    );
    await eventually(() => slow.every((client) => !client.socket.connecting), "all are connected");
    const startMs = performance.now();
    for (let served = 0; served < 100; served += 1) {
      expect((await post(gateway, { message: served })).status).toBe(201);
    }
    expect(performance.now() - startMs).toBeLessThan(5000);
    for (const client of slow) client.send("x");
    expect(slow.some((client) => client.isClosed)).toBe(false);
  });

  test("connections beyond the limit are closed, those within it live on", async () => {
    const gateway = await startGateway({ connectionsMax: 3 });
    const kept = Array.from({ length: 3 }, () => new RawClient(gateway.port));
    for (const client of kept) client.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    await eventually(() => kept.every((client) => client.received !== ""), "three are served");
    expect(await new RawClient(gateway.port).closed()).toBe("");
    expect(kept.every((client) => !client.isClosed)).toBe(true);
  });

  test("pipelined requests are answered in order", async () => {
    const gateway = await startGateway();
    const body = (text: string): string => `${head}Content-Length: 1\r\n\r\n${text}`;
    const client = new RawClient(gateway.port).send(
      `${body("a")}${body("b")}GET /Data?offset=0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );
    const received = await client.closed();
    expect(received.match(/HTTP\/1\.1 \d+/g)).toEqual([
      "HTTP/1.1 201",
      "HTTP/1.1 201",
      "HTTP/1.1 200",
    ]);
  });

  test("large answers that wait for slow readers are bounded and cut off", async () => {
    const gateway = await startGateway({ answerBytesInFlightMax: 9_000_000, stallTimeoutMs: 500 });
    const value = Buffer.alloc(3_900_000, "x");
    gateway.node.add({ value });
    const slow = Array.from({ length: 6 }, () => {
      const client = new RawClient(gateway.port);
      client.socket.pause();
      return client;
    });
    await expect
      .poll(async () => {
        // The sockets' own buffers take the first answers; what follows waits in the gateway.
        for (const client of slow) client.send("GET /Data HTTP/1.1\r\nHost: a\r\n\r\n");
        const response = await call(gateway, "/Data");
        await response.arrayBuffer();
        return response.status;
      })
      .toBe(429);
    // None of them reads on: it is the gateway that cuts them off and has room again.
    const answered = async (): Promise<number> => {
      const response = await call(gateway, "/Data");
      await response.arrayBuffer();
      return response.status;
    };
    await expect.poll(answered, { timeout: 10_000 }).toBe(200);
  });

  test("a bug in the node is 500 without its inside, and is logged", async () => {
    const gateway = await startGateway();
    Object.defineProperty(gateway.node, "startOffset", {
      get: () => {
        throw new TypeError("undefined is not an offset");
      },
    });
    const problem = await expectProblem(await call(gateway, "/Data"), 500, "internal");
    expect(problem).toMatchObject({ outcome: null });
    expect(JSON.stringify(problem)).not.toMatch(/undefined|TypeError/);
    expect(gateway.errors).toEqual(["http_request_failed"]);
  });
});

describe("close", () => {
  test("ends followers, cuts idle connections and lets answers under way finish", async () => {
    const gateway = await startGateway();
    gateway.node.add({ value: Buffer.from("x") });
    const accept = { headers: { accept: "text/event-stream" } };
    const follower = readerOf(await call(gateway, "/Data", accept));
    await readUntil(follower, "id: 0");
    const idle = new RawClient(gateway.port).send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    await eventually(() => idle.received !== "", "the idle one was served");
    const silent = new RawClient(gateway.port);
    await eventually(() => !silent.socket.connecting, "the silent one is connected");
    gateway.node.pauseCommits();
    const append = new RawClient(gateway.port).send(`${head}Content-Length: 1\r\n\r\nx`);
    await eventually(() => gateway.node.waiting > 1, "the append waits for its commit");
    const closed = gateway.gateway.close();
    expect(gateway.gateway.close()).toBe(closed);
    expect((await follower.read()).done).toBe(true);
    await idle.closed();
    await silent.closed();
    gateway.node.resumeCommits();
    const answer = await append.closed();
    expect(answer).toMatch(/^HTTP\/1\.1 201 /);
    expect(answer).toMatch(/^connection: close\r$/im);
    await closed;
    expect(gateway.node.openStreams).toBe(0);
    await expect(fetch(`${gateway.url}/livez`)).rejects.toThrow();
  });

  test("is bounded although a client neither sends nor reads", async () => {
    const gateway = await startGateway({ closeTimeoutMs: 100 });
    gateway.node.add({ value: Buffer.alloc(4_000_000, "x") });
    const half = new RawClient(gateway.port).send(`${head}Content-Length: 9\r\n\r\nx`);
    const deaf = new RawClient(gateway.port);
    deaf.socket.pause();
    deaf.send("GET /Data HTTP/1.1\r\nHost: a\r\n\r\n");
    await eventually(() => !half.socket.connecting && !deaf.socket.connecting, "both connected");
    await call(gateway, "/livez");
    const startMs = performance.now();
    await gateway.gateway.close();
    expect(performance.now() - startMs).toBeLessThan(5000);
    await half.closed();
  });

  test("a range that is cut by it does not look complete", async () => {
    const gateway = await startGateway();
    const value = Buffer.alloc(500_000, "x");
    gateway.node.add(...Array.from({ length: 100 }, () => ({ value })));
    const accept = { headers: { accept: "application/x-ndjson" } };
    const reader = readerOf(await call(gateway, "/Data", accept));
    await reader.read();
    const closed = gateway.gateway.close();
    await expect(
      (async () => {
        while (!(await reader.read()).done);
      })(),
    ).rejects.toThrow();
    await closed;
  });

  test("of a gateway that never listened is done at once", async () => {
    const node = new MemoryNode();
    const gateway = new HttpGateway({
      log: new MemoryLog(node),
      cluster: new MemoryCluster(node),
      clock: systemClock,
      logger: console,
    });
    await gateway.close();
  });
});

describe("start", () => {
  test("a port in use is named, with the remedy", async () => {
    const gateway = await startGateway();
    const node = new MemoryNode();
    const second = new HttpGateway({
      log: new MemoryLog(node),
      cluster: new MemoryCluster(node),
      clock: systemClock,
      logger: console,
    });
    const failed = second.listen("127.0.0.1", gateway.port);
    await expect(failed).rejects.toThrow(ProglogError);
    await expect(failed).rejects.toThrow(/is in use; .*choose another/);
  });

  test.each([
    [{ streamsMax: 0 }, /streamsMax/],
    [{ stallTimeoutMs: 1.5 }, /stallTimeoutMs/],
    [{ bodyBytesMax: 10 }, /bodyBytesMax/],
    [{ requestTimeoutMs: 10 }, /requestTimeoutMs/],
  ])("option %o out of its range is refused by name", async (options, name) => {
    await expect(startGateway(options)).rejects.toThrow(name);
  });
});
