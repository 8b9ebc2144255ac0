/**
 * The errors of a cluster that is well, or has only lost members, produced on real nodes over HTTP
 * and gRPC: status, code, whether to retry, and what became of the write. Those that need a node
 * in trouble, or a second cluster, are in errors-in-trouble.test.ts.
 */
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { errorTable } from "../../src/common/errors.js";
import type { ErrorCode } from "../../src/common/errors.js";
import { ProduceRequest } from "../../src/gen/log/v1/log.js";
import {
  clusterClient,
  expectFailure,
  expectProblem,
  expectRpcError,
  logClient,
} from "./error-table.js";
import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { ask, post, problemOf, produce } from "./http-client.js";
import type { AskOptions } from "./http-client.js";
import { until } from "./poll.js";
import { detailsOf } from "./rpc-client.js";
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
      code: "unsupported-media-type",
      path: "/Data",
      ask: { method: "POST", headers: { ...json, "content-encoding": "gzip" }, body: "{}" },
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
      const client = logClient(node.rpcAddr);
      await expectRpcError(client, { name, request }, code);
      client.close();
    }
  });

  const changes: readonly { code: ErrorCode; name: string; request: Message }[] = [
    { code: "invalid-request", name: "AddMember", request: { rpc_addr: "no address" } },
    { code: "member-unreachable", name: "AddMember", request: { rpc_addr: "127.0.0.1:1" } },
    {
      code: "unknown-member",
      name: "RemoveMember",
      request: { id: "00000000-0000-4000-8000-000000000000" },
    },
  ];

  test.each(changes)("$code: $name of the cluster", async ({ code, name, request }) => {
    for (const node of [leader, follower]) {
      const client = clusterClient(node.rpcAddr);
      await expectRpcError(client, { name, request }, code);
      client.close();
    }
  });

  /** A call without a stub: what no stub of ours sends. */
  async function bareFailure(
    path: string,
    options: { readonly request?: Buffer; readonly metadata?: Metadata } = {},
  ): Promise<ServiceError> {
    const { request = Buffer.alloc(0), metadata = new Metadata() } = options;
    const client = new Client(follower.rpcAddr, credentials.createInsecure());
    const same = (bytes: Buffer): Buffer => bytes;
    try {
      return await new Promise((resolve, reject) => {
        client.makeUnaryRequest(path, same, same, request, metadata, (error) => {
          if (error === null) reject(new Error(`${path} did not fail`));
          else resolve(error);
        });
      });
    } finally {
      client.close();
    }
  }

  test("not-found: a method that there is not", async () => {
    const error = await bareFailure("/log.v1.Log/Recall");
    expect(error.code).toBe(errorTable["not-found"].grpc);
  });

  test("not-leader: an append that was relayed once is not relayed again", async () => {
    const content = { offset: 0n, key: "", headers: {}, timestampMs: 0n, json: false };
    const record = { ...content, value: Buffer.from("x") };
    const append = { record, expectedOffset: undefined, timeoutMs: 0 };
    const request = Buffer.from(ProduceRequest.encode(append).finish());
    const metadata = new Metadata();
    metadata.set("proglog-forwarded", "1");
    const error = await bareFailure("/log.v1.Log/Produce", { request, metadata });
    const details = expectFailure(error, "not-leader");
    expect(details.metadata["leaderName"]).toBe(leader.name);
    expect(details.metadata["leaderRpcAddr"]).toBe(leader.rpcAddr);
  });
});

describe("with a member that hangs", () => {
  test("unsafe-change: no member is removed whose loss would end the quorum", async () => {
    const followers = cluster.nodes.filter((node) => node !== leader);
    const [hanging, alive] = followers;
    if (hanging === undefined || alive === undefined) throw new Error("there are two followers");
    hanging.stop();
    const { id } = await until("the leader to miss it", async () => {
      const { members } = await leader.status();
      const missed = members.find(({ name }) => name === hanging.name);
      return missed?.alive === false ? members.find(({ name }) => name === alive.name) : undefined;
    });
    const client = clusterClient(leader.rpcAddr);
    // At once: each is refused only after the node has waited a while for what may pass.
    const [overHttp] = await Promise.all([
      ask(`${leader.httpUrl}/cluster/members/${id}`, { method: "DELETE" }),
      expectRpcError(client, { name: "RemoveMember", request: { id } }, "unsafe-change"),
    ]);
    expectProblem(overHttp, "unsafe-change");
    client.close();
    hanging.cont();
    await cluster.untilVoters(3);
    expect((await produce(leader.httpUrl, "all three are there")).kind).toBe("acknowledged");
  });
});

describe("without a quorum", () => {
  test("outcome-unknown, then no-quorum or no-leader, and cannot-confirm", async () => {
    const client = logClient(leader.rpcAddr);
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
