/** GET /Data as NDJSON and as server-sent events. */
import { describe, expect, test } from "vitest";

import {
  call,
  eventually,
  expectProblem,
  RawClient,
  readerOf,
  readUntil,
  startGateway,
} from "./harness.js";
import type { Gateway } from "./harness.js";

const ndjson = { headers: { accept: "application/x-ndjson" } };
const events = { headers: { accept: "text/event-stream" } };

function add(gateway: Gateway, count: number, value = Buffer.from("x")): void {
  gateway.node.add(...Array.from({ length: count }, () => ({ value })));
}

async function offsetsOf(response: Response): Promise<number[]> {
  const lines = (await response.text()).split("\n").filter((line) => line !== "");
  return lines.map((line) => (JSON.parse(line) as { offset: number }).offset);
}

describe("NDJSON", () => {
  test("holds the whole range, a record a line, and ends", async () => {
    const gateway = await startGateway();
    add(gateway, 2500);
    const response = await call(gateway, "/Data?from=10", ndjson);
    expect(response.headers.get("content-type")).toBe("application/x-ndjson");
    expect(response.headers.get("x-accel-buffering")).toBe("no");
    const offsets = await offsetsOf(response);
    expect(offsets).toEqual(Array.from({ length: 2490 }, (_, ordinal) => ordinal + 10));
    expect(gateway.node.openStreams).toBe(0);
  });

  test("of an empty log is empty, and limit ends it early", async () => {
    const gateway = await startGateway();
    expect(await offsetsOf(await call(gateway, "/Data", ndjson))).toEqual([]);
    add(gateway, 30_000);
    const all = await offsetsOf(await call(gateway, "/Data?limit=20000", ndjson));
    expect(all).toHaveLength(20_000);
    const response = await call(gateway, "/Data?limit=2&follow=true&from=-5", ndjson);
    expect(await offsetsOf(response)).toEqual([29_995, 29_996]);
    await eventually(() => gateway.node.openStreams === 0, "the stream is released");
  });

  test("follow=true stays for new records until the client goes", async () => {
    const gateway = await startGateway();
    add(gateway, 1);
    const stop = new AbortController();
    const response = await call(gateway, "/Data?follow=true", { ...ndjson, signal: stop.signal });
    const reader = readerOf(response);
    await readUntil(reader, '"offset":0');
    add(gateway, 1);
    await readUntil(reader, '"offset":1');
    stop.abort();
    await eventually(() => gateway.node.openStreams === 0, "the stream is released");
    expect(gateway.errors).toEqual([]);
  });

  test("follow=true at the end of the log sends its headers without a record", async () => {
    const gateway = await startGateway();
    const response = await call(gateway, "/data?from=latest&follow=true", ndjson);
    expect(response.status).toBe(200);
    add(gateway, 1);
    await readUntil(readerOf(response), '"offset":0');
  });

  test("a range that cannot be read gets a status of its own", async () => {
    const gateway = await startGateway();
    add(gateway, 5);
    gateway.node.trim(3);
    for (const query of ["from=1", "from=1&follow=true"]) {
      await expectProblem(await call(gateway, `/Data?${query}`, ndjson), 410, "offset-trimmed");
    }
    await expectProblem(await call(gateway, "/Data?from=6", ndjson), 404, "offset-out-of-range");
    for (const query of ["follow=maybe", "limit=0", "offset2=1", "wait=1s"]) {
      await expectProblem(await call(gateway, `/Data?${query}`, ndjson), 400, "invalid-request");
    }
    gateway.node.state = "no-leader";
    await expectProblem(await call(gateway, "/Data", ndjson), 503, "cannot-confirm");
    expect(gateway.node.openStreams).toBe(0);
  });

  test("HEAD answers the headers and holds nothing", async () => {
    const gateway = await startGateway();
    const response = await call(gateway, "/Data?follow=true", { ...ndjson, method: "HEAD" });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("application/x-ndjson");
    await eventually(() => gateway.node.openStreams === 0, "the stream is released");
  });

  test("a reader that takes nothing is not read ahead for, and is cut off", async () => {
    const gateway = await startGateway({ stallTimeoutMs: 300 });
    add(gateway, 200, Buffer.alloc(500_000, "x"));
    const client = new RawClient(gateway.port).send(
      "GET /Data HTTP/1.1\r\nHost: a\r\nAccept: application/x-ndjson\r\n\r\n",
    );
    await eventually(() => client.received.length > 0, "the stream has begun");
    client.socket.pause();
    const heldBytes = client.received.length;
    await eventually(() => gateway.node.openStreams === 0, "the reader is cut off");
    client.socket.resume();
    const received = await client.closed();
    expect(heldBytes).toBeLessThan(100_000_000);
    expect(received.length).toBeLessThan(100_000_000);
    expect(received.endsWith("0\r\n\r\n")).toBe(false);
  });

  test("a slow reader gets everything in the end", async () => {
    const gateway = await startGateway();
    add(gateway, 60, Buffer.alloc(500_000, "x"));
    const reader = readerOf(await call(gateway, "/Data", ndjson));
    let bytes = 0;
    let ended = false;
    while (!ended) {
      // A turn of the event loop between reads lets the socket's buffers fill.
      await new Promise((resolve) => setImmediate(resolve));
      const { done, value } = await reader.read();
      ended = done;
      bytes += value?.length ?? 0;
    }
    expect(bytes).toBeGreaterThan(30_000_000);
  });
});

describe("server-sent events", () => {
  test("carry the offset as id and the record as one line of data, and follow", async () => {
    const gateway = await startGateway();
    gateway.node.add({ value: Buffer.from('{\n"a":1.0}'), json: true });
    const response = await call(gateway, "/Data", events);
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const reader = readerOf(response);
    const first = await readUntil(reader, "\n\n");
    expect(first).toMatch(/^id: 0\ndata: \{"offset":0,"message":\{"a":1\.0\},.*\}\n\n$/);
    add(gateway, 1, Buffer.from("two\nlines"));
    expect(await readUntil(reader, "id: 1")).toContain('"message":"two\\nlines"');
    await reader.cancel();
    await eventually(() => gateway.node.openStreams === 0, "the stream is released");
  });

  test("Last-Event-ID resumes after that record, whatever from says", async () => {
    const gateway = await startGateway();
    add(gateway, 5);
    const resumed = { headers: { ...events.headers, "last-event-id": "2" } };
    const response = await call(gateway, "/Data?from=0&follow=false", resumed);
    expect((await response.text()).match(/^id: \d+$/gm)).toEqual(["id: 3", "id: 4"]);
    const odd = { headers: { ...events.headers, "last-event-id": "two" } };
    await expectProblem(await call(gateway, "/Data", odd), 400, "invalid-request");
  });

  test("a quiet stream is kept open by comments", async () => {
    const gateway = await startGateway({ heartbeatMs: 20 });
    const reader = readerOf(await call(gateway, "/Data", events));
    await readUntil(reader, ": heartbeat\n\n: heartbeat\n\n");
    await reader.cancel();
  });

  test("a stream that fails on its way says why", async () => {
    const gateway = await startGateway();
    add(gateway, 1);
    gateway.node.failStreamsAt = 2;
    const reader = readerOf(await call(gateway, "/Data", events));
    await readUntil(reader, "id: 0");
    add(gateway, 1);
    await readUntil(reader, "id: 1");
    add(gateway, 1);
    const text = await readUntil(reader, "event: problem");
    expect(text).toContain('"code":"data-damaged"');
    expect((await reader.read()).done).toBe(true);
    const whole = await call(gateway, "/Data?limit=9", ndjson);
    await expect(whole.text()).rejects.toThrow();
  });
});

describe("the number of streams", () => {
  test("is bounded: one more is 429, and one less lets the next in", async () => {
    const gateway = await startGateway({ streamsMax: 2 });
    const first = await call(gateway, "/Data", events);
    const second = await call(gateway, "/Data?follow=true", ndjson);
    const refused = await call(gateway, "/Data", ndjson);
    expect(refused.headers.get("retry-after")).toBe("1");
    await expectProblem(refused, 429, "overloaded");
    await readerOf(first).cancel();
    await expect.poll(async () => (await call(gateway, "/Data", ndjson)).status).toBe(200);
    await readerOf(second).cancel();
  });
});
