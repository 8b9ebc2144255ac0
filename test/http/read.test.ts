/** GET /Data for one record or a page. */
import { describe, expect, test } from "vitest";

import { call, eventually, expectProblem, jsonOf, post, startGateway } from "./harness.js";

describe("one record", () => {
  test("is answered with a strong tag and may be cached for ever", async () => {
    const gateway = await startGateway();
    await post(gateway, { message: { a: 1 }, key: "k", headers: { h: "v" } });
    const response = await call(gateway, "/Data?offset=0");
    expect(response.status).toBe(200);
    expect(response.headers.get("etag")).toBe('"0"');
    expect(response.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
    const record = await jsonOf(response);
    expect(record).toMatchObject({ offset: 0, message: { a: 1 }, key: "k", headers: { h: "v" } });
    const again = await call(gateway, "/data?offset=0", { headers: { "if-none-match": 'W/"0"' } });
    expect(again.status).toBe(304);
    expect(await again.text()).toBe("");
  });

  test("HEAD answers as GET without a body", async () => {
    const gateway = await startGateway();
    gateway.node.add({ value: Buffer.from("abc") });
    const get = await call(gateway, "/Data?offset=0");
    const head = await call(gateway, "/Data?offset=0", { method: "HEAD" });
    expect(head.status).toBe(200);
    expect(await head.text()).toBe("");
    expect(head.headers.get("etag")).toBe('"0"');
    expect(head.headers.get("content-length")).toBe(get.headers.get("content-length"));
    expect((await call(gateway, "/Data?offset=9", { method: "HEAD" })).status).toBe(404);
  });

  test("comes as bare bytes if they are accepted", async () => {
    const gateway = await startGateway();
    const value = Buffer.from([0xff, 0xfe, 0x00]);
    gateway.node.add({ value, key: "k é", headers: { "a=b": "1, 2" } });
    const accept = { headers: { accept: "application/octet-stream" } };
    const response = await call(gateway, "/Data?offset=0", accept);
    expect(response.headers.get("content-type")).toBe("application/octet-stream");
    expect(Buffer.from(await response.arrayBuffer())).toEqual(value);
    expect(response.headers.get("etag")).toBe('"0.raw"');
    expect(response.headers.get("x-proglog-offset")).toBe("0");
    expect(response.headers.get("x-proglog-key")).toBe("k%20%C3%A9");
    expect(response.headers.get("x-proglog-headers")).toBe("a%3Db=1%2C%202");
    gateway.node.add({ value, key: "k".repeat(20_000) });
    const long = await call(gateway, "/Data?offset=1", accept);
    expect(long.headers.get("x-proglog-headers-omitted")).toBe("true");
  });

  test("that is not UTF-8 comes as base64", async () => {
    const gateway = await startGateway();
    gateway.node.add({ value: Buffer.from([0xff, 0x00]) });
    const record = await jsonOf(await call(gateway, "/Data?offset=0"));
    expect(record).toMatchObject({ message: "/wA=", encoding: "base64" });
  });

  test("marked as JSON but holding none comes as the text that it is", async () => {
    const gateway = await startGateway();
    const texts = ['"},"offset":9', "[".repeat(70) + "]".repeat(70), "{\n}", ""];
    for (const text of texts) gateway.node.add({ value: Buffer.from(text), json: true });
    for (const [offset, text] of texts.entries()) {
      const response = await call(gateway, `/Data?offset=${String(offset)}`);
      const body = await response.text();
      expect(body).not.toContain("\n");
      expect(JSON.parse(body)).toMatchObject({ offset, message: offset === 2 ? {} : text });
    }
  });

  test.each(["", "-1", "1.5", "1e3", "0x1", " 1", "9007199254740992", "99999999999999999999", "x"])(
    "at offset %j is 400",
    async (offset) => {
      const gateway = await startGateway();
      const response = await call(gateway, `/Data?offset=${encodeURIComponent(offset)}`);
      const problem = await expectProblem(response, 400, "invalid-request");
      expect(problem["detail"]).toContain("offset");
    },
  );

  test("past the end is 404 with endOffset, before the start 410 with startOffset", async () => {
    const gateway = await startGateway();
    for (let added = 0; added < 5; added += 1) gateway.node.add({ value: Buffer.from("x") });
    gateway.node.trim(3);
    const past = await expectProblem(
      await call(gateway, "/Data?offset=9007199254740991"),
      404,
      "offset-out-of-range",
    );
    expect(past).toMatchObject({ endOffset: 5, outcome: null, retryable: false });
    const before = await call(gateway, "/Data?offset=2");
    expect(await expectProblem(before, 410, "offset-trimmed")).toMatchObject({ startOffset: 3 });
  });

  test("is waited for", async () => {
    const gateway = await startGateway();
    const waiting = call(gateway, "/Data?offset=0&wait=30s");
    await eventually(() => gateway.node.openReads === 1, "the read waits");
    gateway.node.add({ value: Buffer.from("late") });
    expect(await jsonOf(await waiting)).toMatchObject({ message: "late" });
    const short = await call(gateway, "/Data?offset=1&wait=20ms");
    await expectProblem(short, 404, "offset-out-of-range");
    for (const wait of ["30", "1m", "-1s", "301s", ""]) {
      const refused = await call(gateway, `/Data?offset=0&wait=${wait}`);
      await expectProblem(refused, 400, "invalid-request");
    }
  });

  test("is no longer waited for when the client has gone", async () => {
    const gateway = await startGateway();
    const stop = new AbortController();
    const waiting = call(gateway, "/Data?offset=0&wait=60s", { signal: stop.signal });
    await eventually(() => gateway.node.openReads === 1, "the read waits");
    stop.abort();
    await expect(waiting).rejects.toThrow();
    await eventually(() => gateway.node.openReads === 0, "the read has stopped");
    expect(gateway.errors).toEqual([]);
  });

  test("without a leader a hit is served, a miss is 503 unless local is enough", async () => {
    const gateway = await startGateway();
    gateway.node.add({ value: Buffer.from("x") });
    gateway.node.state = "no-leader";
    expect((await call(gateway, "/Data?offset=0")).status).toBe(200);
    const miss = await call(gateway, "/Data?offset=1");
    expect(miss.headers.get("retry-after")).toBe("1");
    const problem = await expectProblem(miss, 503, "cannot-confirm");
    expect(problem).toMatchObject({ outcome: null, retryable: true });
    const local = await call(gateway, "/Data?offset=1&consistency=local");
    await expectProblem(local, 404, "offset-out-of-range");
    const unknown = await call(gateway, "/Data?offset=1&consistency=strong");
    await expectProblem(unknown, 400, "invalid-request");
  });
});

describe("a page", () => {
  const offsetsOf = (page: Record<string, unknown>): unknown[] =>
    (page["messages"] as { offset: number }[]).map((message) => message.offset);

  test("lists from the start, with where to go on", async () => {
    const gateway = await startGateway();
    const empty = await call(gateway, "/Data");
    expect(await jsonOf(empty)).toEqual({ messages: [], startOffset: 0, endOffset: 0, next: 0 });
    expect(empty.headers.get("cache-control")).toBe("no-store");
    await post(gateway, { messages: Array.from({ length: 1200 }, (_, ordinal) => ordinal) });
    const page = await jsonOf(await call(gateway, "/Data"));
    expect(page).toMatchObject({ startOffset: 0, endOffset: 1200, next: 1000 });
    expect(offsetsOf(page)).toHaveLength(1000);
    const rest = await jsonOf(await call(gateway, "/Data?from=1000&limit=10000"));
    expect(rest).toMatchObject({ next: 1200 });
    expect((rest["messages"] as object[])[0]).toMatchObject({ offset: 1000, message: 1000 });
  });

  test("starts where it is told", async () => {
    const gateway = await startGateway();
    for (let added = 0; added < 5; added += 1) gateway.node.add({ value: Buffer.from("x") });
    gateway.node.trim(1);
    const from = async (text: string): Promise<unknown[]> =>
      offsetsOf(await jsonOf(await call(gateway, `/Data?from=${text}`)));
    expect(await from("3")).toEqual([3, 4]);
    expect(await from("earliest")).toEqual([1, 2, 3, 4]);
    expect(await from("latest")).toEqual([]);
    expect(await from("-2")).toEqual([3, 4]);
    expect(await from("-0")).toEqual([]);
    expect(await from("-100")).toEqual([1, 2, 3, 4]);
    expect(await from("timestamp:1969-12-31T23:59:59Z")).toEqual([1, 2, 3, 4]);
    expect(await from("timestamp:2020-01-01T00:00:00+02:00")).toEqual([1, 2, 3, 4]);
    expect(await from("timestamp:9999-01-01T00:00:00.000Z")).toEqual([]);
    await expectProblem(await call(gateway, "/Data?from=0"), 410, "offset-trimmed");
    await expectProblem(await call(gateway, "/Data?from=6"), 404, "offset-out-of-range");
  });

  test.each([
    "from=first",
    "from=1.5",
    "from=",
    "from=timestamp:yesterday",
    "from=timestamp:2024-02-30T00:00:00Z",
    "from=timestamp:2024-01-01",
    "limit=0",
    "limit=10001",
    "limit=x",
    "follow=true",
    "wait=1s",
    "colour=red",
    "limit=1&limit=2",
  ])("with ?%s is 400", async (query) => {
    const gateway = await startGateway();
    const problem = await expectProblem(
      await call(gateway, `/Data?${query}`),
      400,
      "invalid-request",
    );
    expect(problem["detail"]).toContain(query.split("=")[0]);
  });

  test("ends at 4 MiB of JSON and says where to go on", async () => {
    const gateway = await startGateway();
    const value = Buffer.alloc(1_000_000, 1);
    for (let added = 0; added < 4; added += 1) gateway.node.add({ value });
    const first = await jsonOf(await call(gateway, "/Data"));
    expect(first).toMatchObject({ next: 1, endOffset: 4 });
    expect(offsetsOf(first)).toEqual([0]);
  });

  test("cannot be confirmed without a leader", async () => {
    const gateway = await startGateway();
    gateway.node.state = "no-leader";
    await expectProblem(await call(gateway, "/Data"), 503, "cannot-confirm");
    expect((await call(gateway, "/Data?consistency=local")).status).toBe(200);
  });

  test("is what clients get that accept anything, or nothing that is offered", async () => {
    const gateway = await startGateway();
    for (const accept of ["*/*", "text/html, */*;q=0.8", "text/csv", "application/json;q=0.1"]) {
      const response = await call(gateway, "/Data", { headers: { accept } });
      expect(response.headers.get("content-type")).toBe("application/json");
    }
    const accept = "application/x-ndjson, */*";
    const stream = await call(gateway, "/Data", { headers: { accept } });
    expect(stream.headers.get("content-type")).toBe("application/x-ndjson");
  });
});
