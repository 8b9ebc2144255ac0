/** Safe retries: how a producer is named over HTTP, what a repeat is answered, what is refused. */
import { describe, expect, test } from "vitest";

import { call, expectProblem, jsonOf, post, RawClient, startGateway } from "./harness.js";
import type { Gateway } from "./harness.js";
import { MemoryNode } from "./memory-services.js";

const idBytesMax = 126;

function keyed(key: string): RequestInit {
  return { headers: { "content-type": "application/json", "idempotency-key": key } };
}

async function postRaw(gateway: Gateway, query: string, key?: string): Promise<Response> {
  return await call(gateway, `/Data${query}`, {
    method: "POST",
    headers: {
      "content-type": "text/plain",
      ...(key === undefined ? {} : { "idempotency-key": key }),
    },
    body: "x",
  });
}

/** Bytes as the characters of a header: fetch and Node put them on the wire one by one. */
function wireText(bytes: Buffer): string {
  return bytes.toString("latin1");
}

describe("a repeat", () => {
  test("of a sequence is 200 with the first answer's offset and time", async () => {
    const gateway = await startGateway();
    await post(gateway, { message: "before" });
    const body = { message: "a", producerId: "p", sequence: 7 };
    const first = await post(gateway, body);
    expect(first.status).toBe(201);
    const receipt = await jsonOf(first);
    expect(Object.keys(receipt)).toEqual(["offset", "timestamp"]);
    await post(gateway, { message: "after" });
    const repeat = await post(gateway, body);
    expect(repeat.status).toBe(200);
    expect(repeat.headers.get("location")).toBe("/Data?offset=1");
    expect(await jsonOf(repeat)).toEqual({ ...receipt, duplicate: true });
    expect(gateway.node.endOffset).toBe(3);
  });

  test("of a batch has its count", async () => {
    const gateway = await startGateway();
    const body = { messages: ["a", "b", "c"], producerId: "p", sequence: 0 };
    const receipt = await jsonOf(await post(gateway, body));
    const repeat = await post(gateway, body);
    expect(repeat.status).toBe(200);
    expect(await jsonOf(repeat)).toEqual({ ...receipt, count: 3, duplicate: true });
    expect(gateway.node.endOffset).toBe(3);
  });

  test("of an Idempotency-Key is one, whatever the body's form", async () => {
    const gateway = await startGateway();
    expect((await post(gateway, { message: "a" }, keyed("order 7"))).status).toBe(201);
    const repeat = await postRaw(gateway, "", "order 7");
    expect(repeat.status).toBe(200);
    expect(await jsonOf(repeat)).toMatchObject({ offset: 0, duplicate: true });
    expect((await post(gateway, { message: "a" }, keyed('"order 7"'))).status).toBe(201);
  });

  test("of bytes is told by the query parameters", async () => {
    const gateway = await startGateway();
    expect((await postRaw(gateway, "?producerId=p%C3%A9&sequence=3")).status).toBe(201);
    const repeat = await post(gateway, { message: "x", producerId: "pé", sequence: 3 });
    expect(repeat.status).toBe(200);
    expect((await postRaw(gateway, "?producerId=p%C3%A9&sequence=4")).status).toBe(201);
  });

  test("with an expectedOffset that held the first time is answered the same", async () => {
    const gateway = await startGateway();
    const body = { message: "a", expectedOffset: 0, producerId: "p", sequence: 0 };
    expect((await post(gateway, body)).status).toBe(201);
    expect((await post(gateway, body)).status).toBe(200);
  });

  test("below the sequences that are remembered is 409", async () => {
    const gateway = await startGateway();
    for (const sequence of [1, 2, 3, 5, 8, 13]) {
      await post(gateway, { message: sequence, producerId: "p", sequence });
    }
    const kept = await post(gateway, { message: 2, producerId: "p", sequence: 2 });
    expect([kept.status, await jsonOf(kept)]).toMatchObject([200, { offset: 1 }]);
    for (const sequence of [0, 1, 7]) {
      const response = await post(gateway, { message: 1, producerId: "p", sequence });
      const problem = await expectProblem(response, 409, "sequence-too-old");
      expect(problem).toMatchObject({ retryable: false, outcome: "not_applied" });
    }
    expect(gateway.node.endOffset).toBe(6);
  });

  test("is no other producer's: ids and keys of one text do not meet", async () => {
    const gateway = await startGateway();
    for (const producerId of ["same", "Same", "same "]) {
      expect((await post(gateway, { message: 1, producerId, sequence: 0 })).status).toBe(201);
    }
    expect((await post(gateway, { message: 1 }, keyed("same"))).status).toBe(201);
  });
});

describe("an unknown outcome", () => {
  test("is retryable with a producer or a key, and the retry finds the record", async () => {
    const gateway = await startGateway();
    gateway.node.pauseCommits();
    const body = { message: 1, timeoutMs: 20 };
    for (const response of [
      await post(gateway, { ...body, producerId: "p", sequence: 0 }),
      await post(gateway, body, keyed("k")),
      await postRaw(gateway, "?timeoutMs=20&producerId=p&sequence=1"),
    ]) {
      const problem = await expectProblem(response, 504, "outcome-unknown");
      expect(problem).toMatchObject({ retryable: true, outcome: "unknown" });
    }
    const without = await expectProblem(await post(gateway, body), 504, "outcome-unknown");
    expect(without["retryable"]).toBe(false);
  });
});

describe("a redirect", () => {
  test("keeps the key's header and the query", async () => {
    const leader = await startGateway({}, new MemoryNode("leader"));
    const follower = await startGateway({}, new MemoryNode("follower"));
    follower.node.follow(leader.node.lead());
    const follow = { redirect: "follow" } as const;
    const sent = [post(leader, { message: 1 }, keyed("k"))];
    for (let at = 0; at < 2; at += 1) {
      sent.push(post(follower, { message: 1 }, { ...keyed("k"), ...follow }));
    }
    const answers = await Promise.all(sent);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 201]);
    const target = "/Data?producerId=p&sequence=1";
    const raw = { method: "POST", headers: { "content-type": "text/plain" }, body: "x" };
    expect((await call(follower, target, { ...raw, ...follow })).status).toBe(201);
    expect((await call(leader, target, raw)).status).toBe(200);
    expect(leader.node.endOffset).toBe(2);
  });
});

describe("a producer is refused", () => {
  const long = "é".repeat(idBytesMax / 2);

  test.each([
    ["a sequence alone", { sequence: 1 }, "sequence", /needs a producerId/],
    ["an id alone", { producerId: "p" }, "producerId", /needs a sequence/],
    ["an empty id", { producerId: "", sequence: 1 }, "producerId", /1 to 126 bytes/],
    ["an id of 127 bytes", { producerId: `${long}x`, sequence: 1 }, "producerId", /126 bytes/],
    ["an id that is no string", { producerId: 7, sequence: 1 }, "producerId", /string/],
    ["an id of null", { producerId: null, sequence: 1 }, "producerId", /string/],
    ["a sequence below 0", { producerId: "p", sequence: -1 }, "sequence", /integer from 0/],
    ["a fractional sequence", { producerId: "p", sequence: 0.5 }, "sequence", /integer from 0/],
    ["a sequence over 2^53-1", { producerId: "p", sequence: 2 ** 53 }, "sequence", /integer/],
    ["a sequence that is text", { producerId: "p", sequence: "1" }, "sequence", /integer/],
    ["a sequence of null", { producerId: "p", sequence: null }, "sequence", /integer/],
  ])("for %s with 400", async (_, fields, field, detail) => {
    const gateway = await startGateway();
    const response = await post(gateway, { message: 1, ...fields });
    const problem = await expectProblem(response, 400, "invalid-request");
    expect(problem).toMatchObject({ field, outcome: "not_applied", retryable: false });
    expect(problem["detail"]).toMatch(detail);
    expect(gateway.node.endOffset).toBe(0);
  });

  test("for an id with half a surrogate pair with 400", async () => {
    const gateway = await startGateway();
    const response = await post(gateway, '{"message":1,"producerId":"\\ud800","sequence":1}');
    const problem = await expectProblem(response, 400, "invalid-request");
    expect(problem["field"]).toBe("producerId");
  });

  test.each([
    ["?sequence=1", /needs a producerId/],
    ["?producerId=p", /needs a sequence/],
    ["?producerId=&sequence=1", /1 to 126 bytes/],
    ["?producerId=%FF&sequence=1", /UTF-8/],
    ["?producerId=p&sequence=", /integer/],
    ["?producerId=p&sequence=-1", /integer/],
    ["?producerId=p&sequence=1&sequence=2", /twice/],
  ])("for the query %s with 400", async (query, detail) => {
    const gateway = await startGateway();
    const problem = await expectProblem(await postRaw(gateway, query), 400, "invalid-request");
    expect(problem["detail"]).toMatch(detail);
    expect(gateway.node.endOffset).toBe(0);
  });

  test("for both kinds at once with 400", async () => {
    const gateway = await startGateway();
    for (const response of [
      await post(gateway, { message: 1, producerId: "p", sequence: 1 }, keyed("k")),
      await post(gateway, { message: 1, sequence: 1 }, keyed("k")),
      await postRaw(gateway, "?producerId=p&sequence=1", "k"),
    ]) {
      const problem = await expectProblem(response, 400, "invalid-request");
      expect(problem["detail"]).toMatch(/not both/);
    }
    expect(gateway.node.endOffset).toBe(0);
  });

  test("for a key that is empty, over 126 bytes, not UTF-8 or given twice with 400", async () => {
    const gateway = await startGateway();
    const refusals: [string, RegExp][] = [
      ["Idempotency-Key:\r\n", /1 to 126 bytes/],
      [`Idempotency-Key: ${"k".repeat(idBytesMax + 1)}\r\n`, /1 to 126 bytes/],
      [`Idempotency-Key: ${wireText(Buffer.from(`${long}x`))}\r\n`, /1 to 126 bytes/],
      [`Idempotency-Key: ${wireText(Buffer.from([0x6b, 0xff]))}\r\n`, /UTF-8/],
      ["Idempotency-Key: k\r\nidempotency-key: k\r\n", /twice/],
    ];
    for (const [header, detail] of refusals) {
      const client = new RawClient(gateway.port);
      client.socket.write(
        "POST /Data HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: text/plain\r\n" +
          `Content-Length: 1\r\n${header}\r\nx`,
        "latin1",
      );
      const answer = await client.closed();
      expect(answer).toMatch(/^HTTP\/1\.1 400 /);
      expect(answer).toMatch(detail);
      expect(answer).toContain('"field":"Idempotency-Key"');
    }
    expect(gateway.node.endOffset).toBe(0);
  });

  test("not for an id or a key of 126 bytes, nor for the sequences at both ends", async () => {
    const gateway = await startGateway();
    for (const sequence of [0, Number.MAX_SAFE_INTEGER]) {
      const response = await post(gateway, { message: 1, producerId: long, sequence });
      expect(response.status).toBe(201);
    }
    const key = wireText(Buffer.from(long));
    expect((await post(gateway, { message: 1 }, keyed(key))).status).toBe(201);
    expect((await post(gateway, { message: 1 }, keyed(key))).status).toBe(200);
  });
});

describe("GET /Data/outcome", () => {
  test("tells where an append is, by sequence and by key", async () => {
    const gateway = await startGateway();
    const body = { messages: ["a", "b"], producerId: "p\u00e9", sequence: 7 };
    const { offset, count, timestamp } = await jsonOf(await post(gateway, body));
    await post(gateway, { message: "c" }, keyed("order 7"));
    for (const path of ["/Data/outcome", "/data/outcome"]) {
      const answer = await call(gateway, `${path}?producerId=p%C3%A9&sequence=7`);
      expect(answer.status).toBe(200);
      expect(answer.headers.get("cache-control")).toBe("no-store");
      expect(await jsonOf(answer)).toEqual({ outcome: "applied", offset, count, timestamp });
    }
    const byKey = await call(gateway, "/Data/outcome", {
      headers: { "idempotency-key": "order 7" },
    });
    expect(await jsonOf(byKey)).toMatchObject({ outcome: "applied", offset: 2, count: 1 });
  });

  test("says never, and then it is so", async () => {
    const gateway = await startGateway();
    const asked = await call(gateway, "/Data/outcome?producerId=p&sequence=1");
    expect(await jsonOf(asked)).toEqual({ outcome: "never" });
    const late = await post(gateway, { message: "a", producerId: "p", sequence: 1 });
    await expectProblem(late, 409, "sequence-too-old");
    expect(gateway.node.endOffset).toBe(0);
  });

  test("needs to know whose append", async () => {
    const gateway = await startGateway();
    for (const query of ["", "?producerId=p", "?sequence=1", "?producerId=p&sequence=x", "?a=1"]) {
      await expectProblem(await call(gateway, `/Data/outcome${query}`), 400, "invalid-request");
    }
    const post = await call(gateway, "/Data/outcome?producerId=p&sequence=1", { method: "POST" });
    await expectProblem(post, 405, "method-not-allowed");
  });
});
