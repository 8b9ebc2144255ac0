/**
 * A gRPC client made from the book's log.proto alone works unchanged, on any node; and the
 * standard services stand beside it: health and reflection.
 */
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from "vitest";

import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { ask } from "./http-client.js";
import { until } from "./poll.js";
import { bookProto, Collected, healthClient, reflectionClient, StubClient } from "./rpc-client.js";
import type { Message } from "./rpc-client.js";
import { showLogsOnFailure } from "./show-logs.js";

let cluster: TestCluster;
let leader: NodeProcess;
let follower: NodeProcess;
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = await TestCluster.start();
});

afterAll(async () => {
  await cluster?.close();
});

function record(value: string): Message {
  return { record: { value: Buffer.from(value) } };
}

function valueOf(answer: Message | undefined): string {
  const { value } = answer?.["record"] as { value: Buffer };
  return value.toString("utf8");
}

function offsetOf(answer: Message | undefined): number {
  return Number((answer?.["record"] as { offset: string }).offset);
}

describe.each(["the leader", "a follower"])("the book's client on %s", (where) => {
  let client: StubClient;

  beforeEach(async () => {
    leader = await cluster.leader();
    const other = cluster.nodes.find((node) => node !== leader);
    if (other === undefined) throw new Error("there is no follower");
    follower = other;
    const { rpcAddr } = where === "the leader" ? leader : follower;
    client = new StubClient(bookProto, "log.v1.Log", rpcAddr);
  });

  afterEach(() => {
    client.close();
  });

  test("produces and consumes", async () => {
    const { offset } = await client.call("Produce", record("hello world"));
    const answer = await client.call("Consume", { offset });
    expect(answer["record"]).toMatchObject({ value: Buffer.from("hello world"), offset });
    const read = await ask(`${follower.httpUrl}/Data?offset=${String(offset)}`);
    expect(read.body).toMatchObject({ message: "hello world", offset: Number(offset) });
  });

  test("produces an empty record", async () => {
    const { offset } = await client.call("Produce", record(""));
    expect(valueOf(await client.call("Consume", { offset }))).toBe("");
  });

  test("is told when an offset is past the end", async () => {
    const error = await client.failure("Consume", { offset: 1_000_000 });
    expect(error.code).toBe(11);
  });

  test("produces over a stream, answers in the order of the requests", async () => {
    const stream = client.duplex("ProduceStream");
    const answers = new Collected(stream);
    for (let at = 0; at < 200; at += 1) stream.write(record(`streamed ${at}`));
    await answers.untilCount(200);
    stream.end();
    await until("the stream to end", async () => (answers.isEnded ? true : undefined));
    expect(answers.error).toBeUndefined();
    const offsets = answers.messages.map(({ offset }) => Number(offset));
    expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
    for (const at of [0, 99, 199]) {
      const answer = await client.call("Consume", { offset: offsets[at] });
      expect(valueOf(answer)).toBe(`streamed ${at}`);
    }
  });

  test("consumes a stream that follows the end of the log", async () => {
    const { offset } = await client.call("Produce", record("before"));
    const first = Number(offset);
    const stream = client.read("ConsumeStream", { offset: first });
    const records = new Collected(stream);
    await records.untilCount(1);
    await client.call("Produce", record("after 1"));
    await records.untilCount(2);
    await client.call("Produce", record("after 2"));
    const seen = await records.untilCount(3);
    expect(seen.map(valueOf)).toEqual(["before", "after 1", "after 2"]);
    expect(seen.map(offsetOf)).toEqual([first, first + 1, first + 2]);
    expect(records.isEnded).toBe(false);
    stream.cancel();
    await until("the stream to end", async () => records.error);
    expect(records.error?.code).toBe(1);
  });

  test("waits on a stream that starts at the end of the log", async () => {
    const { offset } = await client.call("Produce", record("last"));
    const next = Number(offset) + 1;
    const stream = client.read("ConsumeStream", { offset: next });
    const records = new Collected(stream);
    await client.call("Produce", record("and on"));
    const [seen] = await records.untilCount(1);
    expect([offsetOf(seen), valueOf(seen)]).toEqual([next, "and on"]);
    stream.cancel();
    await until("the stream to end", async () => records.error);
  });

  test("lists the servers and which one leads", async () => {
    const { servers } = await client.call("GetServers");
    const listed = servers as { id: string; rpc_addr: string; is_leader: boolean }[];
    expect(listed.map((server) => server.rpc_addr).sort()).toEqual(
      cluster.nodes.map((node) => node.rpcAddr).sort(),
    );
    const leading = listed.filter((server) => server.is_leader);
    expect(leading.map((server) => server.rpc_addr)).toEqual([leader.rpcAddr]);
  });
});

test("a consumer stream goes on through the loss of another node, the leader", async () => {
  leader = await cluster.leader();
  const other = cluster.nodes.find((node) => node !== leader);
  if (other === undefined) throw new Error("there is no follower");
  const client = new StubClient(bookProto, "log.v1.Log", other.rpcAddr);
  const { offset } = await client.call("Produce", record("under the old leader"));
  const stream = client.read("ConsumeStream", { offset });
  const records = new Collected(stream);
  await records.untilCount(1);
  await leader.kill9();
  await until("a write under the next leader", async () =>
    client.call("Produce", record("under the new leader")),
  );
  const seen = await records.untilCount(2);
  expect(valueOf(seen.at(-1))).toBe("under the new leader");
  expect(seen.map(offsetOf)).toEqual(seen.map((_, at) => Number(offset) + at));
  stream.cancel();
  leader.restart();
  await cluster.untilVoters(3);
  client.close();
});

test("the health service says that the Log service serves", async () => {
  for (const node of cluster.nodes) {
    const health = healthClient(node.rpcAddr);
    await until(`${node.name} to serve`, async () => {
      const { status } = await health.call("Check", { service: "log.v1.Log" });
      return status === "SERVING" ? true : undefined;
    });
    expect(await health.call("Check", { service: "" })).toMatchObject({ status: "SERVING" });
    const error = await health.failure("Check", { service: "no.such.Service" });
    expect(error.code).toBe(5);
    health.close();
  }
});

test("reflection names the services and gives their descriptors", async () => {
  const reflection = reflectionClient(cluster.node(0).rpcAddr);
  const stream = reflection.duplex("ServerReflectionInfo");
  const answers = new Collected(stream);
  stream.write({ list_services: "" });
  stream.write({ file_containing_symbol: "log.v1.Log" });
  const [listed, described] = await answers.untilCount(2);
  const { service } = listed?.["list_services_response"] as { service: { name: string }[] };
  expect(service.map(({ name }) => name)).toContain("log.v1.Log");
  const files = described?.["file_descriptor_response"] as { file_descriptor_proto: Buffer[] };
  const text = Buffer.concat(files.file_descriptor_proto).toString("latin1");
  expect(text).toContain("ProduceStream");
  stream.end();
  reflection.close();
});
