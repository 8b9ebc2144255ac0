/** /cluster, health and the description; paths and methods that are not served. */
import { randomUUID } from "node:crypto";
import { request } from "node:http";
import { describe, expect, test } from "vitest";

import { errorTable } from "../../src/common/errors.js";
import { openApi } from "../../src/http/openapi.js";
import { call, eventually, expectProblem, jsonOf, RawClient, startGateway } from "./harness.js";
import type { Gateway } from "./harness.js";

const other = { id: randomUUID(), name: "two", rpcAddr: "127.0.0.1:2", httpAddr: "127.0.0.1:3" };

async function change(gateway: Gateway, path: string, body?: unknown): Promise<Response> {
  return await call(gateway, path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

describe("the cluster", () => {
  test("is shown on every node, also without a leader", async () => {
    const gateway = await startGateway();
    const shown = await jsonOf(await call(gateway, "/cluster"));
    expect(shown).toMatchObject({ clusterId: "c1", quorum: true, source: "leader" });
    expect(shown["members"]).toMatchObject([{ id: gateway.node.id, role: "leader", voter: true }]);
    gateway.node.state = "no-leader";
    gateway.node.leader = null;
    const alone = await jsonOf(await call(gateway, "/cluster"));
    expect(alone).toMatchObject({ leader: null, quorum: false, source: "local" });
    await expectProblem(await call(gateway, "/cluster?x=1"), 400, "invalid-request");
  });

  test("takes a member in, hands it the lead and removes it", async () => {
    const gateway = await startGateway();
    gateway.node.dialable.set(other.rpcAddr, other);
    const added = await change(gateway, "/cluster/members", { rpcAddr: other.rpcAddr });
    expect(added.status).toBe(201);
    expect(await jsonOf(added)).toMatchObject({ id: other.id, name: "two" });
    const moved = await change(gateway, "/cluster/leader", { id: other.id });
    expect(moved.status).toBe(202);
    expect(await jsonOf(moved)).toMatchObject({ term: 1 });
    expect((await change(gateway, "/cluster/leader")).status).toBe(202);
    const removed = await call(gateway, `/cluster/members/${other.id}`, { method: "DELETE" });
    expect(removed.status).toBe(204);
    expect(await removed.text()).toBe("");
    expect(gateway.node.members.size).toBe(1);
  });

  test("refuses what is unknown, unsafe, unreachable or malformed", async () => {
    const gateway = await startGateway();
    const remove = async (id: string): Promise<Response> =>
      await call(gateway, `/cluster/members/${id}`, { method: "DELETE" });
    await expectProblem(await remove("nobody"), 404, "unknown-member");
    await expectProblem(await remove(gateway.node.id), 409, "unsafe-change");
    const absent = await change(gateway, "/cluster/members", { rpcAddr: "127.0.0.1:2" });
    await expectProblem(absent, 422, "member-unreachable");
    const unknown = await change(gateway, "/cluster/leader", { id: "nobody" });
    await expectProblem(unknown, 404, "unknown-member");
    for (const body of [
      {},
      { rpcAddr: 1 },
      { rpcAddr: "a" },
      { rpcAddr: "a:0" },
      { rpcAddr: "a:65536" },
      { rpcAddr: "a/b:1" },
      { rpcAddr: "a:1", x: 1 },
      [],
    ]) {
      await expectProblem(await change(gateway, "/cluster/members", body), 400, "invalid-request");
    }
    await expectProblem(
      await change(gateway, "/cluster/leader", { id: 1 }),
      400,
      "invalid-request",
    );
    const large = await change(gateway, "/cluster/leader", { id: "x".repeat(65 * 1024) });
    await expectProblem(large, 413, "record-too-large");
  });

  test("redirects a change to the leader, and knows when there is none", async () => {
    const gateway = await startGateway();
    gateway.node.follow(other);
    const response = await call(gateway, "/cluster/members/a%20b", { method: "DELETE" });
    expect(response.headers.get("location")).toBe("http://127.0.0.1:3/cluster/members/a%20b");
    await expectProblem(response, 307, "not-leader");
    gateway.node.state = "no-leader";
    await expectProblem(await change(gateway, "/cluster/leader", {}), 503, "no-leader");
  });

  test("is not changed by a page from another origin", async () => {
    const gateway = await startGateway();
    const withOrigin = async (origin: string, method: string, path: string): Promise<number> =>
      await new Promise((resolve, reject) => {
        const sent = request(`${gateway.url}${path}`, { method, headers: { origin } }, (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        });
        sent.on("error", reject).end();
      });
    const host = `127.0.0.1:${String(gateway.port)}`;
    for (const origin of ["http://evil.example", "null", "http://127.0.0.1", `ftp://${host}`]) {
      expect(await withOrigin(origin, "POST", "/cluster/leader")).toBe(403);
      expect(await withOrigin(origin, "POST", "/cluster/members")).toBe(403);
      expect(await withOrigin(origin, "DELETE", "/cluster/members/x")).toBe(403);
    }
    expect(await withOrigin(`http://${host}`, "POST", "/cluster/leader")).toBe(202);
  });
});

describe("health", () => {
  test("liveness does not depend on the cluster; readiness does, and says why", async () => {
    const gateway = await startGateway();
    expect(await jsonOf(await call(gateway, "/readyz"))).toEqual({ ready: true });
    const verbose = await jsonOf(await call(gateway, "/readyz?verbose"));
    expect(verbose["checks"]).toEqual([{ name: "leader", ok: true, detail: "a leader is known" }]);
    gateway.node.state = "no-leader";
    expect(await jsonOf(await call(gateway, "/livez"))).toEqual({ live: true });
    const unready = await expectProblem(await call(gateway, "/readyz"), 503, "unavailable");
    expect(unready).toMatchObject({ ready: false, outcome: null });
    expect(unready["detail"]).toContain("no leader is known");
    expect(unready["checks"]).toBeUndefined();
    const checks = await jsonOf(await call(gateway, "/readyz?verbose=true"));
    expect(checks["checks"]).toHaveLength(1);
    expect((await call(gateway, "/livez", { method: "HEAD" })).status).toBe(200);
  });
});

describe("paths and methods", () => {
  test.each([
    "/nothing",
    "/Data/",
    "/DATA",
    "/cluster/members/",
    "/cluster/members/a/b",
    "/cluster/members/%zz",
    "/__proto__",
    "//Data",
  ])("%s is 404", async (path) => {
    const gateway = await startGateway();
    const method = path.startsWith("/cluster") ? "DELETE" : "GET";
    const client = new RawClient(gateway.port).send(
      `${method} ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );
    const received = await client.closed();
    expect(received).toMatch(/^HTTP\/1\.1 404 /);
    expect(received).toContain('"code":"not-found"');
  });

  test.each([
    ["PUT", "/Data", "GET, HEAD, POST"],
    ["OPTIONS", "/data", "GET, HEAD, POST"],
    ["POST", "/cluster", "GET, HEAD"],
    ["GET", "/cluster/leader", "POST"],
    ["GET", "/cluster/members/x", "DELETE"],
    ["DELETE", "/livez", "GET, HEAD"],
  ])("%s %s is 405 with Allow: %s", async (method, path, allow) => {
    const gateway = await startGateway();
    const response = await call(gateway, path, { method });
    expect(response.headers.get("allow")).toBe(allow);
    expect(await expectProblem(response, 405, "method-not-allowed")).toMatchObject({
      outcome: null,
    });
  });

  test("a target in absolute form is served as a path", async () => {
    const gateway = await startGateway();
    const client = new RawClient(gateway.port).send(
      "GET http://a.example/livez HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    await eventually(() => client.received.includes('{"live":true}'), "it is answered");
  });
});

describe("the description", () => {
  test("is served as it stands", async () => {
    const gateway = await startGateway();
    const served = await jsonOf(await call(gateway, "/openapi.json"));
    expect(served).toEqual(JSON.parse(JSON.stringify(openApi)));
    expect(served["openapi"]).toBe("3.1.0");
  });

  test("has unique operation ids, and only references that resolve", () => {
    const text = JSON.stringify(openApi);
    const ids = [...text.matchAll(/"operationId":"(\w+)"/g)].map((match) => match[1]);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [, name = ""] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      expect(openApi.components.schemas).toHaveProperty(name);
    }
  });

  test("names every code of the error table that has a route", () => {
    const text = JSON.stringify(openApi.paths);
    const unrouted = new Set(["not-found", "method-not-allowed"]);
    for (const code of Object.keys(errorTable)) {
      if (!unrouted.has(code)) expect(text, code).toMatch(new RegExp(`["; ]${code}: `));
    }
  });
});
