import { execFile } from "node:child_process";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";

import { credentials, loadPackageDefinition, status } from "@grpc/grpc-js";
import type { Client, ClientDuplexStream, ClientReadableStream } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { protoPath as healthProtoPath } from "grpc-health-check";
import { expect, onTestFinished, test } from "vitest";

import type { ConsumeResponse } from "../../src/gen/log/v1/log.js";
import { resolveRpcOptions } from "../../src/rpc/options.js";
import {
  ask,
  Collected,
  detailsOf,
  failureOf,
  produceRequest,
  startLoopback,
  until,
} from "./loopback.js";

const root = join(import.meta.dirname, "..", "..");

type Message = Record<string, unknown>;

/** A stub of any service, made at run time as a stranger would. */
function stub(protoPath: string, service: string, address: string): unknown {
  const definition = loadSync(protoPath, { keepCase: true, defaults: true, enums: String });
  let found: unknown = loadPackageDefinition(definition);
  for (const part of service.split(".")) found = (found as Message)[part];
  const StubClient = found as new (at: string, secrets: unknown) => Client;
  const client = new StubClient(address, credentials.createInsecure());
  onTestFinished(() => client.close());
  return client;
}

interface HealthClient extends Client {
  Check(request: Message, answer: (error: null, response: Message) => void): unknown;
  Watch(request: Message): ClientReadableStream<Message>;
}

interface ReflectionClient extends Client {
  ServerReflectionInfo(): ClientDuplexStream<Message, Message>;
}

function healthClient(address: string): HealthClient {
  return stub(healthProtoPath, "grpc.health.v1.Health", address) as HealthClient;
}

test("the health service says whether the node serves, per service and as a whole", async () => {
  const { server, address } = await startLoopback();
  const health = healthClient(address);
  const check = async (service: string): Promise<unknown> => {
    const { status: said } = await ask<Message>((answer) => health.Check({ service }, answer));
    return said;
  };
  expect(await check("")).toBe("SERVING");
  expect(await check("log.v1.Log")).toBe("SERVING");
  server.setServing(false);
  expect(await check("")).toBe("NOT_SERVING");
  const unknown = await failureOf(check("no.such.Service"));
  expect(unknown.code).toBe(status.NOT_FOUND);
});

test("who watches the health hears of the end", async () => {
  const { server, address } = await startLoopback();
  const watched = new Collected<Message>(healthClient(address).Watch({ service: "" }));
  await watched.count(1);
  await server.close();
  const end = await watched.end();
  expect(end).toMatchObject({ code: status.UNAVAILABLE, details: "The node is stopping." });
  expect(watched.messages).toEqual([{ status: "SERVING" }, { status: "NOT_SERVING" }]);
});

test.each(["v1", "v1alpha"])("reflection %s lists and describes the services", async (version) => {
  const { address } = await startLoopback();
  const path = join(
    ...[root, "node_modules", "@grpc", "reflection", "build", "proto", "grpc", "reflection"],
    ...[version, "reflection.proto"],
  );
  const serviceName = `grpc.reflection.${version}.ServerReflection`;
  const client = stub(path, serviceName, address) as ReflectionClient;
  const stream = client.ServerReflectionInfo();
  const answers = new Collected<Message>(stream);
  stream.write({ list_services: "*" });
  const [list] = await answers.count(1);
  const { service } = list?.["list_services_response"] as { service: { name: string }[] };
  expect(service.map(({ name }) => name)).toEqual(
    expect.arrayContaining([
      ...["log.v1.Log", "cluster.v1.ClusterService", "raft.v1.Raft", "grpc.health.v1.Health"],
    ]),
  );
  stream.write({ file_containing_symbol: "log.v1.Log" });
  const [, file] = await answers.count(2);
  const described = file?.["file_descriptor_response"] as { file_descriptor_proto: Buffer[] };
  expect(described.file_descriptor_proto.some((proto) => proto.includes("ProduceBatch"))).toBe(
    true,
  );
  stream.end();
  await answers.end();
});

test("an address in use is named", async () => {
  const holder = createServer();
  await new Promise<void>((resolve) => {
    holder.listen(0, "127.0.0.1", resolve);
  });
  onTestFinished(() => void holder.close());
  const { port } = holder.address() as AddressInfo;
  await expect(startLoopback({ port })).rejects.toMatchObject({
    code: "unavailable",
    message: `The rpc address 127.0.0.1:${port} is in use. Stop what listens there, or choose another port.`,
  });
});

test("close ends followers and answers what is under way", async () => {
  const node = await startLoopback();
  const follower = new Collected<ConsumeResponse>(
    node.logClient.consumeStream({ offset: 0n, consistency: 0 }),
  );
  await until("the stream is open", () => node.server.streams === 1);
  node.log.hold();
  const produced = ask((answer) => node.logClient.produce(produceRequest("a"), answer));
  await until("the append is under way", () => node.log.requests.length === 1);
  const closed = node.server.close();
  const end = await follower.end();
  expect(detailsOf(end).info).toMatchObject({
    reason: "unavailable",
    metadata: { outcome: "not_applied", retryable: "true" },
  });
  node.log.release();
  expect(await produced).toMatchObject({ offset: 0n });
  await closed;
  expect(node.server.close()).toBe(node.server.close());
});

test("close cuts what does not end within its bound", async () => {
  const node = await startLoopback({ options: { closeTimeoutMs: 100 } });
  node.log.hold();
  const produced = failureOf(ask((answer) => node.logClient.produce(produceRequest("a"), answer)));
  await until("the append is under way", () => node.log.requests.length === 1);
  await node.server.close();
  expect((await produced).code).not.toBe(status.OK);
  expect(node.events.map(({ event }) => event)).toContain("rpc_close_cut_calls");
  node.log.release();
});

test("more calls at once than the limit are refused as overloaded", async () => {
  const node = await startLoopback({ options: { callsInFlightMax: 2 } });
  node.log.hold();
  const produce = async (): Promise<unknown> =>
    ask((answer) => node.logClient.produce(produceRequest("a"), answer));
  const waiting = [produce(), produce()];
  await until("two appends", () => node.log.requests.length === 2);
  const error = await failureOf(produce());
  expect(detailsOf(error).info.reason).toBe("overloaded");
  node.log.release();
  await Promise.all(waiting);
});

test("a message above the limit is refused, and the connection lives on", async () => {
  const node = await startLoopback({
    options: { recordBytesMax: 1000, messageBytesMax: 2000 },
  });
  const large = produceRequest(Buffer.alloc(4000));
  const error = await failureOf(ask((answer) => node.logClient.produce(large, answer)));
  expect(error.code).toBe(status.RESOURCE_EXHAUSTED);
  await ask((answer) => node.logClient.produce(produceRequest("a"), answer));
});

test("services of others are served on the same port", async () => {
  const { address } = await startLoopback({
    addServices: (server) =>
      server.addService(
        {
          echo: {
            path: "/test.Echo/Echo",
            requestStream: false,
            responseStream: false,
            requestSerialize: (wire: Buffer) => wire,
            requestDeserialize: (wire: Buffer) => wire,
            responseSerialize: (wire: Buffer) => wire,
            responseDeserialize: (wire: Buffer) => wire,
          },
        },
        {
          echo: (call: { request: Buffer }, answer: (e: null, wire: Buffer) => void) =>
            answer(null, call.request),
        },
      ),
  });
  const client = healthClient(address);
  const echoed = await ask<Buffer | undefined>((answer) =>
    client.makeUnaryRequest(
      ...(["/test.Echo/Echo", (wire: Buffer) => wire, (wire: Buffer) => wire] as const),
      ...([Buffer.from("hi"), answer] as const),
    ),
  );
  expect(echoed?.toString()).toBe("hi");
});

test.each([
  [{ streamsMax: 0 }, "streamsMax"],
  [{ callsInFlightMax: 1.5 }, "callsInFlightMax"],
  [{ messageBytesMax: 10 }, "messageBytesMax"],
  [{ appendBytesInFlightMax: 10 }, "appendBytesInFlightMax"],
])("options out of range are refused by name: %o", (options, name) => {
  expect(() => resolveRpcOptions(options)).toThrow(name);
});

test("a process whose server and calls are closed ends by itself", async () => {
  const script = join(import.meta.dirname, "leak-probe.ts");
  const tsx = join(root, "node_modules", ".bin", "tsx");
  const { stdout } = await promisify(execFile)(tsx, [script], { timeout: 25_000 });
  expect(stdout).toContain("produced at 0, sockets and timers left: none");
});
