/**
 * Hostile and broken clients against a live cluster while writers run: each costs itself its
 * connection at most. No node crashes, no leader changes, no writer is refused.
 */
import { connect } from "node:net";
import type { Socket } from "node:net";

import { Client, credentials } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { ask, post, problemOf } from "./http-client.js";
import type { Answer } from "./http-client.js";
import { report, until } from "./poll.js";
import { ownProto, StubClient } from "./rpc-client.js";
import { showLogsOnFailure } from "./show-logs.js";
import { heldBy, Workload } from "./workload.js";

const mebibyte = 1024 * 1024;

let cluster: TestCluster;
let leader: NodeProcess;
let workload: Workload;
let term = 0;
/** What the cluster held when the test began. */
let before: string[] = [];
const sockets = new Set<Socket>();
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = await TestCluster.start();
  // Enough that reading it all is work.
  for (let batch = 0; batch < 20; batch += 1) {
    const messages = Array.from({ length: 100 }, (_, at) => `${batch} ${at} ${"x".repeat(100)}`);
    const answer = await post(cluster.node(0).httpUrl, { messages });
    expect(answer.status).toBe(201);
  }
});

afterAll(async () => {
  await cluster?.close();
});

beforeEach(async () => {
  leader = await cluster.leader();
  term = (await leader.status()).term;
  await cluster.untilLevel();
  before = (await heldBy(leader)).map(({ value }) => value);
  workload = new Workload(cluster);
  workload.start({ writers: 2, readers: 1 });
  await workload.untilMore(20);
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await workload.untilMore(20);
  await workload.end();
  expect(Object.fromEntries(workload.refusals)).toEqual({});
  for (const node of cluster.nodes) expect(node.isRunning, `${node.name} crashed`).toBe(true);
  for (const node of cluster.nodes) {
    const status = await node.status();
    expect(status.term, `${node.name}: an election was held`).toBe(term);
    expect(status.leader?.name).toBe(leader.name);
  }
  await workload.check(before);
});

async function postRaw(
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = { "content-type": "application/json" },
): Promise<Answer> {
  return ask(`${leader.httpUrl}/Data`, { method: "POST", headers, body, follow: false });
}

async function open(port: string): Promise<Socket> {
  const socket = connect(Number(port), "127.0.0.1");
  sockets.add(socket);
  socket.on("error", () => {
    socket.destroy();
  });
  await new Promise<void>((resolve) => {
    socket.once("connect", resolve);
    socket.once("close", () => {
      resolve();
    });
  });
  return socket;
}

function portOf(address: string): string {
  return address.slice(address.lastIndexOf(":") + 1);
}

test("malformed JSON and wrong types get an answer that names the fault", async () => {
  const bodies = [
    "",
    "{",
    "nonsense",
    '{"message": "unfinished',
    '{"message": 1,}',
    '{"message": "a", "message": "b"',
    '{"message": \u0001}',
    "[]",
    "null",
    "42",
    '"text"',
    "{}",
    '{"massage": "a"}',
    '{"message": 1, "unknown": 2}',
    '{"message": 1, "messages": [1]}',
    '{"messages": []}',
    '{"messages": "a"}',
    '{"message": 1, "key": 5}',
    '{"message": 1, "headers": ["a"]}',
    '{"message": 1, "headers": {"a": 1}}',
    '{"message": 1, "expectedOffset": -1}',
    '{"message": 1, "expectedOffset": 1.5}',
    '{"message": 1, "expectedOffset": "0"}',
    '{"message": 1, "expectedOffset": 99999999999999999999}',
    '{"message": 1, "timeoutMs": "soon"}',
    '{"message": 1, "timeoutMs": 1e99}',
    '{"__proto__": {"message": 1}}',
  ];
  for (const body of bodies) {
    const answer = await postRaw(body);
    expect(answer.status, body).toBe(400);
    expect(problemOf(answer), body).toMatchObject({
      code: "invalid-request",
      retryable: false,
      outcome: "not_applied",
    });
    expect(problemOf(answer).detail.length).toBeGreaterThan(10);
  }
});

test("bytes that are not UTF-8 in a JSON body are refused", async () => {
  const broken = Buffer.concat([
    Buffer.from('{"message": "'),
    Buffer.from([0xff, 0xfe]),
    Buffer.from('"}'),
  ]);
  const answer = await postRaw(broken);
  expect(answer.status).toBe(400);
  expect(problemOf(answer).code).toBe("invalid-request");
});

test("1 MiB of [ is refused, again and again, without a stack overflow", async () => {
  const nests = ["[".repeat(mebibyte), `{"message":${"[".repeat(mebibyte)}`];
  const objects = `{"message":${'{"a":'.repeat(mebibyte / 5)}`;
  const closed = `{"message":${"[".repeat(mebibyte / 2)}${"]".repeat(mebibyte / 2)}}`;
  for (const body of [...nests, objects, closed]) {
    const answers = await Promise.all(Array.from({ length: 4 }, async () => postRaw(body)));
    for (const answer of answers) {
      expect([400, 413]).toContain(answer.status);
      expect(problemOf(answer).outcome).toBe("not_applied");
    }
  }
});

test("offsets that are none are refused, huge ones are simply past the end", async () => {
  for (const text of ["-1", "1.5", "abc", "", "1e3", "0x10", "9007199254740992", "9".repeat(400)]) {
    const answer = await ask(`${leader.httpUrl}/Data?offset=${text}`);
    expect(answer.status, text).toBe(400);
    expect(problemOf(answer).code).toBe("invalid-request");
  }
  for (const node of cluster.nodes) {
    const answer = await ask(`${node.httpUrl}/Data?offset=9007199254740991`);
    expect(answer.status).toBe(404);
    expect(problemOf(answer)).toMatchObject({ code: "offset-out-of-range" });
  }
});

test("a record and a body above the limit get 413", async () => {
  const record = await postRaw(JSON.stringify({ message: "x".repeat(mebibyte + 1) }));
  expect(record.status).toBe(413);
  expect(problemOf(record)).toMatchObject({ code: "record-too-large", outcome: "not_applied" });
  const body = await postRaw("x".repeat(2 * mebibyte), { "content-type": "text/plain" });
  expect(body.status).toBe(413);
});

test("half-sent bodies and cut connections leave no trace", async () => {
  const heads = [
    "POST /Data HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n",
    "POST /Data HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
    "POST /Data HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Le",
    "GET /Data?offset=0 HTTP/1.1\r\nHost",
  ];
  for (const node of cluster.nodes) {
    for (const head of heads) {
      for (const end of ["destroy", "end", "reset"] as const) {
        const socket = await open(portOf(node.httpAddr));
        await new Promise<void>((resolve) => {
          socket.write(`${head}{"mess`, () => {
            resolve();
          });
        });
        if (end === "destroy") socket.destroy();
        else if (end === "end") socket.end();
        else socket.resetAndDestroy();
      }
    }
  }
});

test("what is no HTTP at all is answered with 400 or closed", async () => {
  const noises = ["\r\n\r\n\r\n", "GET\r\n\r\n", "\u0000".repeat(1000), "A".repeat(100_000)];
  for (const noise of noises) {
    for (const address of [leader.httpAddr, leader.rpcAddr]) {
      const socket = await open(portOf(address));
      let text = "";
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString("latin1");
      });
      socket.write(noise);
      socket.end();
      await until("the connection to close", async () =>
        socket.destroyed || socket.readableEnded ? true : undefined,
      );
      expect(text).not.toContain("201");
    }
  }
});

test("500 slow sockets hold up nobody", async () => {
  const ports = cluster.nodes.map((node) => portOf(node.httpAddr));
  const slow = await Promise.all(
    Array.from({ length: 500 }, async (_, at) => open(ports[at % ports.length] ?? "")),
  );
  for (const [at, socket] of slow.entries()) {
    const whole =
      "POST /Data HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 9999\r\n\r\n";
    // Half stop within the headers, half within the body.
    socket.write(at % 2 === 0 ? whole.slice(0, 40) : `${whole}x`);
  }
  for (let drip = 0; drip < 5; drip += 1) {
    const start = performance.now();
    await workload.untilMore(50);
    for (const socket of slow) if (socket.writable) socket.write("x");
    const rate = 50 / ((performance.now() - start) / 1000);
    if (drip === 4) report(`${Math.round(rate)} writes/s by 2 writers beside 500 slow sockets`);
  }
});

test("200 readers that never read hold up nobody", async () => {
  const readers = await Promise.all(
    Array.from({ length: 200 }, async () => open(portOf(leader.httpAddr))),
  );
  for (const socket of readers) {
    socket.pause();
    socket.write("GET /Data HTTP/1.1\r\nHost: a\r\nAccept: application/x-ndjson\r\n\r\n");
  }
  await workload.untilMore(100);
});

test("200 gRPC streams that are never read hold up nobody", async () => {
  const clients = Array.from(
    { length: 20 },
    () => new StubClient(ownProto, "log.v1.Log", leader.rpcAddr),
  );
  for (const [at, client] of clients.entries()) {
    for (let stream = 0; stream < 10; stream += 1) {
      const unread = client.read(at % 2 === 0 ? "ConsumeStream" : "ConsumeBatches", { offset: 0 });
      // Nothing is read; that closing the client cancels it is no fault.
      unread.on("error", () => {
        unread.destroy();
      });
    }
  }
  await workload.untilMore(100);
  for (const client of clients) client.close();
});

test("bytes that are no protobuf message fail their call alone", async () => {
  const client = new Client(leader.rpcAddr, credentials.createInsecure());
  const same = (bytes: Buffer): Buffer => bytes;
  const noises = [Buffer.alloc(64, 0xff), Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1])];
  for (const path of ["/log.v1.Log/Produce", "/log.v1.Log/Consume", "/log.v1.Log/No"]) {
    for (const noise of noises) {
      const error = await new Promise<ServiceError | null>((resolve) => {
        client.makeUnaryRequest(path, same, same, noise, (failure) => {
          resolve(failure);
        });
      });
      expect([3, 12, 13], `${path}: ${error?.message ?? "no error"}`).toContain(error?.code);
    }
  }
  client.close();
});

test("malformed gRPC messages and batches are refused", async () => {
  const client = new StubClient(ownProto, "log.v1.Log", leader.rpcAddr);
  const large = { record: { value: Buffer.alloc(2 * mebibyte) } };
  expect((await client.failure("Produce", large)).code).toBe(3);
  const enormous = { record: { value: Buffer.alloc(32 * mebibyte) } };
  expect([3, 8]).toContain((await client.failure("Produce", enormous)).code);
  expect((await client.failure("Produce", {})).code).toBe(3);
  expect([3, 11]).toContain(
    (await client.failure("Consume", { offset: "18446744073709551615" })).code,
  );
  const stream = client.duplex("ProduceBatch");
  const answers: { id: string; error: { code: string } | null }[] = [];
  stream.on("data", (answer: { id: string; error: { code: string } | null }) => {
    answers.push(answer);
  });
  stream.on("error", () => {
    stream.destroy();
  });
  const batches = [
    { id: 1, records: Buffer.from([0, 0]), count: 1 },
    { id: 2, records: Buffer.from([0xff, 0xff, 0xff, 0xff, 0]), count: 1 },
    { id: 3, records: Buffer.alloc(0), count: 0 },
    { id: 4, records: Buffer.from([0, 0, 0, 1, 0xff]), count: 1 },
    { id: 5, records: Buffer.from([0, 0, 0, 2, 0, 65]), count: 7 },
  ];
  for (const batch of batches) stream.write(batch);
  await until("five refusals", async () => (answers.length >= 5 ? true : undefined));
  expect(answers.map(({ error }) => error?.code)).toEqual(batches.map(() => "invalid-request"));
  stream.end();
  client.close();
});
