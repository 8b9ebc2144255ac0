/**
 * Every error that can be reached so far, produced on real nodes over HTTP and gRPC: its status,
 * code, whether to retry, and what became of the write.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { errorTable } from "../../src/common/errors.js";
import type { ErrorCode } from "../../src/common/errors.js";
import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { ask, post, problemOf, produce } from "./http-client.js";
import type { Answer, AskOptions } from "./http-client.js";
import { until } from "./poll.js";
import { detailsOf, ownProto, StubClient } from "./rpc-client.js";
import type { Message } from "./rpc-client.js";
import { showLogsOnFailure } from "./show-logs.js";

const mebibyte = 1024 * 1024;

let cluster: TestCluster;
let leader: NodeProcess;
let follower: NodeProcess;
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = await TestCluster.start();
  leader = await cluster.leader();
  const [other] = await cluster.followers();
  if (other === undefined) throw new Error("there is no follower");
  follower = other;
  for (let at = 0; at < 5; at += 1) await produce(leader.httpUrl, at);
  await cluster.untilLevel();
});

afterAll(async () => {
  await cluster?.close();
});

/** Holds an answer against the table's row of its code. */
function expectProblem(answer: Answer, code: ErrorCode): void {
  const row = errorTable[code];
  const problem = problemOf(answer);
  expect(problem.code, problem.detail).toBe(code);
  expect(answer.status).toBe(row.http);
  expect(problem).toMatchObject({
    status: row.http,
    title: row.title,
    retryable: row.retryable,
    outcome: row.outcome,
  });
  expect(problem.type).not.toBe("");
  expect(problem.detail).toMatch(/^[A-Z].*[.?]$/s);
  expect(answer.text).not.toMatch(/node_modules|\.js:\d+|proglog-cluster-/);
}

async function expectRpcError(
  client: StubClient,
  call: { name: string; request: Message },
  code: ErrorCode,
): Promise<void> {
  const row = errorTable[code];
  const error = await client.failure(call.name, call.request);
  expect(error.code, error.message).toBe(row.grpc);
  const details = detailsOf(error);
  expect(details.reason).toBe(code);
  expect(details.metadata["retryable"]).toBe(String(row.retryable));
  expect(details.metadata["outcome"]).toBe(row.outcome === null ? undefined : row.outcome);
}

describe("over HTTP", () => {
  interface Case {
    readonly code: ErrorCode;
    readonly path: string;
    readonly ask?: AskOptions;
  }
  const json = { "content-type": "application/json" };
  const cases: readonly Case[] = [
    { code: "invalid-request", path: "/Data", ask: { method: "POST", headers: json, body: "{" } },
    { code: "invalid-request", path: "/data?limit=0" },
    { code: "not-found", path: "/no/such/path" },
    { code: "method-not-allowed", path: "/Data", ask: { method: "DELETE" } },
    { code: "offset-out-of-range", path: "/Data?offset=1000000" },
    { code: "offset-out-of-range", path: "/Data?offset=1000000&consistency=local" },
    {
      code: "record-too-large",
      path: "/Data",
      ask: {
        method: "POST",
        headers: { "content-type": "application/octet-stream" },
        body: Buffer.alloc(2 * mebibyte),
      },
    },
    {
      code: "expected-offset-mismatch",
      path: "/Data",
      ask: {
        method: "POST",
        headers: json,
        body: JSON.stringify({ message: 1, expectedOffset: 0 }),
      },
    },
    {
      code: "unknown-member",
      path: "/cluster/members/00000000-0000-4000-8000-000000000000",
      ask: { method: "DELETE" },
    },
    {
      code: "permission-denied",
      path: "/cluster/leader",
      ask: { method: "POST", headers: { ...json, origin: "http://elsewhere.example" }, body: "{}" },
    },
    {
      code: "member-unreachable",
      path: "/cluster/members",
      ask: { method: "POST", headers: json, body: JSON.stringify({ rpcAddr: "127.0.0.1:1" }) },
    },
  ];

  test.each(cases)("$code: $path", async ({ code, path, ask: options }) => {
    const answer = await ask(`${leader.httpUrl}${path}`, { ...options, follow: false });
    // A read writes nothing, so nothing is to be said about a write.
    if (code === "invalid-request" && options === undefined) {
      expect(answer.status).toBe(400);
      expect(problemOf(answer)).toMatchObject({ code, retryable: false });
      return;
    }
    expectProblem(answer, code);
  });

  test("method-not-allowed names the methods that are", async () => {
    const answer = await ask(`${leader.httpUrl}/Data`, { method: "PUT", body: "" });
    expect(answer.headers.get("allow")).toMatch(/GET/);
    expect(answer.headers.get("allow")).toMatch(/POST/);
  });

  test("offset-out-of-range names the end, expected-offset-mismatch the actual offset", async () => {
    const { endOffset } = await leader.status();
    const past = await ask(`${leader.httpUrl}/Data?offset=${endOffset}`);
    expect(problemOf(past)["endOffset"]).toBe(endOffset);
    const differs = await post(leader.httpUrl, { message: 1, expectedOffset: endOffset + 7 });
    expect(problemOf(differs)["actualOffset"]).toBe(endOffset);
    const meets = await post(leader.httpUrl, { message: 1, expectedOffset: endOffset });
    expect(meets.status).toBe(201);
    expect(meets.body).toMatchObject({ offset: endOffset });
  });

  test("not-leader names the leader and where to go", async () => {
    const answer = await post(follower.httpUrl, { message: 1 }, { follow: false });
    expectProblem(answer, "not-leader");
    expect(problemOf(answer)["leader"]).toMatchObject({ name: leader.name });
    expect(answer.headers.get("location")).toBe(`${leader.httpUrl}/Data`);
  });

  test("every answer says who gave it, in which term, and how far the log is committed", async () => {
    for (const path of ["/Data?offset=0", "/Data?offset=1000000", "/cluster", "/nowhere"]) {
      const { headers } = await ask(`${follower.httpUrl}${path}`);
      expect(headers.get("x-proglog-node"), path).toBe(follower.name);
      expect(Number(headers.get("x-proglog-term")), path).toBeGreaterThan(0);
      expect(Number(headers.get("x-proglog-commit-offset")), path).toBeGreaterThanOrEqual(5);
    }
  });
});

describe("over gRPC", () => {
  const value = Buffer.from("x");
  const cases: readonly { code: ErrorCode; name: string; request: Message }[] = [
    { code: "invalid-request", name: "Produce", request: {} },
    {
      code: "record-too-large",
      name: "Produce",
      request: { record: { value: Buffer.alloc(2 * mebibyte) } },
    },
    {
      code: "expected-offset-mismatch",
      name: "Produce",
      request: { record: { value }, expected_offset: 0 },
    },
    { code: "offset-out-of-range", name: "Consume", request: { offset: 1_000_000 } },
    {
      code: "offset-out-of-range",
      name: "Consume",
      request: { offset: 1_000_000, consistency: "CONSISTENCY_LOCAL" },
    },
  ];

  test.each(cases)("$code: $name", async ({ code, name, request }) => {
    for (const node of [leader, follower]) {
      const client = new StubClient(ownProto, "log.v1.Log", node.rpcAddr);
      await expectRpcError(client, { name, request }, code);
      client.close();
    }
  });
});

describe("without a quorum", () => {
  test("outcome-unknown, then no-quorum or no-leader, and cannot-confirm", async () => {
    const client = new StubClient(ownProto, "log.v1.Log", leader.rpcAddr);
    const others = cluster.nodes.filter((node) => node !== leader);
    for (const node of others) node.stop();
    // At once: the leader takes the write, and cannot commit it in the time given.
    const [overHttp, overRpc] = await Promise.all([
      post(leader.httpUrl, { message: "adrift", timeoutMs: 300 }, { follow: false }),
      client.failure("Produce", { record: { value: Buffer.from("adrift") }, timeout_ms: 300 }),
    ]);
    expectProblem(overHttp, "outcome-unknown");
    expect(overRpc.code).toBe(errorTable["outcome-unknown"].grpc);
    expect(detailsOf(overRpc).reason).toBe("outcome-unknown");
    expect(detailsOf(overRpc).metadata["outcome"]).toBe("unknown");

    const refused = await until("the loss to be noticed", async () => {
      const answer = await post(
        leader.httpUrl,
        { message: "refused", timeoutMs: 1_000 },
        { follow: false },
      );
      return answer.status === 503 ? answer : undefined;
    });
    const { code } = problemOf(refused);
    expect(["no-quorum", "no-leader"]).toContain(code);
    expectProblem(refused, code as ErrorCode);
    expect(refused.headers.get("retry-after")).toMatch(/^\d+$/);
    const rpcRefused = await client.failure("Produce", { record: { value: Buffer.from("x") } });
    expect(rpcRefused.code).toBe(14);
    expect(["no-quorum", "no-leader"]).toContain(detailsOf(rpcRefused).reason);
    expect(detailsOf(rpcRefused)).toMatchObject({ hasRetryInfo: true });
    expect(detailsOf(rpcRefused).metadata["outcome"]).toBe("not_applied");

    expectProblem(await ask(`${leader.httpUrl}/Data?offset=1000000`), "cannot-confirm");
    await expectRpcError(
      client,
      { name: "Consume", request: { offset: 1_000_000 } },
      "cannot-confirm",
    );

    for (const node of others) node.cont();
    await cluster.untilVoters(3);
    client.close();
  });
});
