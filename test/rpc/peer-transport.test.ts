import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { createServer } from "node:net";

import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { afterEach, describe, expect, test } from "vitest";

import { RaftService } from "../../src/gen/raft/v1/raft.js";
import { encodeMessage } from "../../src/rpc/raft-codec.js";
import {
  bulk,
  connect,
  heartbeat,
  transportContract,
  until,
} from "../replica/transport-contract.js";
import type { PeerNodeOptions } from "./peer-net.js";
import { makePeerNet, pause, startNode, startProxy, testClusterId } from "./peer-net.js";

transportContract("gRPC on loopback", makePeerNet);

type Node = Awaited<ReturnType<typeof startNode>>;
const net = { step: () => pause() };
const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function node(options: PeerNodeOptions = {}): Promise<Node> {
  const started = await startNode(options);
  cleanups.push(() => started.stop());
  return started;
}

interface RawStream {
  readonly call: ClientDuplexStream<Buffer, unknown>;
  readonly ended: Promise<ServiceError>;
  isUp: boolean;
}

/** A stream by hand, with any metadata. */
function rawStream(to: Node, fields: Record<string, string> = {}): RawStream {
  const client = new Client(to.member.rpcAddr, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
  const metadata = new Metadata();
  const all = {
    "proglog-cluster-id": testClusterId,
    "proglog-from": randomUUID(),
    "proglog-from-name": "raw",
    "proglog-from-rpc-addr": "127.0.0.1:1",
    "proglog-from-http-addr": "127.0.0.1:2",
    "proglog-to": to.id,
    "proglog-lane": "control",
    ...fields,
  };
  for (const [key, value] of Object.entries(all)) metadata.set(key, value);
  const { path, responseDeserialize } = RaftService.exchange;
  const call = client.makeBidiStreamRequest(
    path,
    (wire: Buffer) => wire,
    responseDeserialize,
    metadata,
  );
  const ended = new Promise<ServiceError>((resolve) => {
    call.on("error", (error) => {
      resolve(error as ServiceError);
    });
  });
  const stream: RawStream = { call, ended, isUp: false };
  call.on("metadata", () => {
    stream.isUp = true;
  });
  call.resume();
  cleanups.push(async () => {
    call.cancel();
    client.close();
    await ended;
  });
  return stream;
}

describe("handshake", () => {
  const otherId = randomUUID();
  const cases: readonly [string, Record<string, string>, status, RegExp][] = [
    [
      "another cluster",
      { "proglog-cluster-id": otherId },
      status.FAILED_PRECONDITION,
      new RegExp(`${testClusterId}.*${otherId}`),
    ],
    [
      "a swapped address",
      { "proglog-to": otherId },
      status.FAILED_PRECONDITION,
      new RegExp(`wants node .*${otherId}.*answers`),
    ],
    ["no sender", { "proglog-from": "" }, status.INVALID_ARGUMENT, /proglog-from/],
    ["a sender that is no id", { "proglog-from": "x" }, status.INVALID_ARGUMENT, /proglog-from/],
    ["a bad name", { "proglog-from-name": "a b" }, status.INVALID_ARGUMENT, /from-name/],
    ["a bad address", { "proglog-from-rpc-addr": "x" }, status.INVALID_ARGUMENT, /rpc-addr/],
    ["an unknown lane", { "proglog-lane": "fast" }, status.INVALID_ARGUMENT, /lane/],
  ];
  test.for(cases)("refuses %s", async ([, fields, code, details]) => {
    const to = await node();
    const stream = rawStream(to, fields);
    stream.call.write(encodeMessage(heartbeat(to, to, 1)));
    const error = await stream.ended;
    expect(error.code).toBe(code);
    expect(error.details).toMatch(details);
    expect(to.received).toEqual([]);
    expect(to.addresses).toEqual([]);
    expect(to.events.map(({ event }) => event)).toEqual(["peer-refused"]);
  });

  test("refuses its own node, and all while the node has no cluster", async () => {
    const to = await node();
    const self = await rawStream(to, { "proglog-from": to.id }).ended;
    expect([self.code, self.details]).toEqual([
      status.FAILED_PRECONDITION,
      `Node ${to.id} dialled itself.`,
    ]);
    const fresh = await node({ clusterId: undefined });
    const error = await rawStream(fresh).ended;
    expect(error.code).toBe(status.FAILED_PRECONDITION);
    expect(error.details).toMatch(/not a member of a cluster yet/);
  });

  test("a node that answers at a peer's address is not taken for the peer", async () => {
    const [a, b] = [await node(), await node()];
    const swapped = { ...b.member, id: randomUUID() };
    a.transport.setPeers([swapped]);
    const refusals = (): string[] =>
      a.events.flatMap(({ event, fields }) =>
        event === "peer-stream-down" ? [String(fields["reason"])] : [],
      );
    await until(net, () => refusals().length >= 2, "both lanes are refused");
    expect(refusals()[0]).toMatch(new RegExp(`${swapped.id}.*${b.id}`));
    expect(a.transport.send({ ...heartbeat(a, b, 1), to: swapped.id })).toBe(false);
    expect(b.transport.lastContact(a.id)).toBeUndefined();
  });

  test("a repeated refusal is logged once by the caller", async () => {
    const [a, b] = [await node(), await node()];
    a.transport.setPeers([{ ...b.member, id: randomUUID() }]);
    const refusedCount = (): number => b.events.length;
    await until(net, () => refusedCount() >= 6, "it is dialled again and again");
    expect(a.events.filter(({ event }) => event === "peer-stream-down")).toHaveLength(2);
  });

  test("teaches the addresses of the caller", async () => {
    const [a, b] = [await node(), await node()];
    a.transport.setPeers([b.member]);
    await until(net, () => b.addresses.length === 2, "both lanes are greeted");
    expect(b.addresses).toEqual([a.member, a.member]);
  });

  test("a changed address is dialled at once, an unchanged one kept", async () => {
    const a = await node();
    const b = await node();
    a.transport.setPeers([{ ...b.member, rpcAddr: "127.0.0.1:1" }]);
    expect(a.transport.send(heartbeat(a, b, 1))).toBe(false);
    a.transport.setPeers([b.member]);
    await until(net, () => a.transport.send(heartbeat(a, b, 2)), "the new address is up");
    a.transport.setPeers([{ ...b.member }]);
    expect(a.transport.send(heartbeat(a, b, 3))).toBe(true);
    await until(net, () => b.received.length === 2, "both arrive");
  });
});

describe("a stream from a peer", () => {
  test("ends with INVALID_ARGUMENT at what can't be decoded; nothing after it is delivered", async () => {
    const to = await node();
    const stream = rawStream(to);
    stream.call.write(encodeMessage(heartbeat(to, to, 1)));
    stream.call.write(Buffer.from([0xff, 0xff, 0xff]));
    stream.call.write(encodeMessage(heartbeat(to, to, 2)));
    const error = await stream.ended;
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect(error.details).toMatch(/malformed/);
    expect(to.received).toHaveLength(1);
    expect(to.events.map(({ event }) => event)).toEqual(["peer-message-malformed"]);
  });

  test("is named by its handshake, whatever the message says", async () => {
    const to = await node();
    const from = randomUUID();
    rawStream(to, { "proglog-from": from }).call.write(encodeMessage(heartbeat(to, to, 1)));
    await until(net, () => to.received.length === 1, "it arrives");
    expect(to.received[0]).toMatchObject({ from, to: to.id });
  });

  test("gives way to a newer one of the same lane only", async () => {
    const to = await node();
    const from = { "proglog-from": randomUUID() };
    const older = rawStream(to, from);
    await until(net, () => older.isUp, "the first is up");
    const other = rawStream(to, { ...from, "proglog-lane": "bulk" });
    await until(net, () => other.isUp, "the other lane is up");
    const newer = rawStream(to, from);
    expect((await older.ended).code).toBe(status.ABORTED);
    await until(net, () => newer.isUp, "the newer is up");
    newer.call.write(encodeMessage(heartbeat(to, to, 1)));
    other.call.write(encodeMessage(heartbeat(to, to, 2)));
    await until(net, () => to.received.length === 2, "both live");
  });

  test("is one too many at the limit", async () => {
    const to = await node({ options: { inboundCountMax: 2 } });
    const held = [rawStream(to), rawStream(to)];
    await until(net, () => held.every(({ isUp }) => isUp), "two are up");
    expect((await rawStream(to).ended).code).toBe(status.RESOURCE_EXHAUSTED);
  });

  test("that is larger than a message may be is refused by both sides", async () => {
    const a = await node();
    const b = await node();
    const small = await node({ options: { messageBytesMax: 1000, queueBytesMax: 5000 } });
    small.transport.setPeers([b.member]);
    await until(net, () => small.transport.send(bulk(small, b, 1)), "a stream is up");
    expect(small.transport.send(bulk(small, b, 2, 1000))).toBe(false);
    expect(small.events.map(({ event }) => event)).toContain("peer-message-too-large");

    const stream = rawStream(b, { "proglog-from": a.id });
    stream.call.write(Buffer.alloc(9 * 1024 * 1024));
    expect((await stream.ended).code).toBe(status.RESOURCE_EXHAUSTED);
    expect(b.received).toHaveLength(1);
  });
});

describe("a peer that stops reading", () => {
  test("fills its queue to the bound, blocks nobody, and is found again", async () => {
    const a = await node({ options: { queueBytesMax: 2_000_000, messageBytesMax: 1_000_000 } });
    const [b, c] = [await node(), await node()];
    const proxy = await startProxy(Number(b.member.rpcAddr.split(":")[1]));
    cleanups.push(() => proxy.close());
    const rpcAddr = `127.0.0.1:${String(proxy.port)}`;
    a.transport.setPeers([{ ...b.member, rpcAddr }, c.member]);
    for (const to of [b, c]) {
      await until(net, () => a.transport.send(bulk(a, to, 0)), "the stream is up");
      await until(net, () => a.transport.send(heartbeat(a, to, 0)), "the stream is up");
    }
    proxy.setStalled(true);
    let acceptedBytes = 0;
    let isFull = false;
    // Sockets and HTTP/2 windows take some more: what counts is that there is an end.
    for (let count = 0; count < 400 && !isFull; count++) {
      if (a.transport.send(bulk(a, b, 1, 100_000))) acceptedBytes += 100_000;
      else isFull = true;
      if (count % 10 === 9) await pause(1);
    }
    expect(isFull).toBe(true);
    expect(acceptedBytes).toBeLessThan(20_000_000);
    expect(a.transport.send(bulk(a, c, 1))).toBe(true);
    await until(net, () => c.received.length === 3, "the other peer is served");

    await until(net, () => a.unreachable.includes(b.id), "keepalive finds it dead");
    proxy.setStalled(false);
    b.received.length = 0;
    await until(net, () => a.transport.send(bulk(a, b, 99)), "it is up again");
    await until(
      net,
      () => b.received.some((message) => message.type === "appendRequest" && message.round === 99),
      "it arrives",
    );
  });

  test("from the start is dialled again and again, over no more than a socket a lane", async () => {
    const sockets = new Set<Socket>();
    let acceptedCount = 0;
    const mute = createServer((socket) => {
      acceptedCount++;
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      socket.on("error", () => undefined);
      socket.resume();
    });
    mute.listen(0, "127.0.0.1");
    await once(mute, "listening");
    cleanups.push(async () => {
      for (const socket of sockets) socket.destroy();
      mute.close();
      await once(mute, "close");
    });
    const { port } = mute.address() as AddressInfo;
    const a = await node({ options: { handshakeMsMax: 50 } });
    const id = randomUUID();
    const peer = { id, name: "mute", rpcAddr: `127.0.0.1:${String(port)}`, httpAddr: "" };
    a.transport.setPeers([peer]);
    await until(net, () => acceptedCount >= 10, "it is dialled again and again");
    expect(a.transport.send({ ...heartbeat(a, a, 1), to: id })).toBe(false);
    expect(sockets.size).toBeLessThanOrEqual(4);
    await a.transport.close();
    await until(net, () => sockets.size === 0, "the last ones go too");
  });
});

test("closing releases every socket and timer, within a second", async () => {
  const handles = (): string[] =>
    process.getActiveResourcesInfo().filter((name) => /TCP|Timeout/.test(name));
  await until(net, () => handles().every((name) => !name.startsWith("TCP")), "earlier ones go");
  const three = await makePeerNet(3);
  await connect(three);
  expect(handles().filter((name) => name === "TCPSocketWrap").length).toBeGreaterThanOrEqual(12);
  const startMs = performance.now();
  await Promise.all(three.nodes.map((each) => each.transport.close()));
  expect(performance.now() - startMs).toBeLessThan(1000);
  await three.close();
  await until(net, () => handles().every((name) => !name.startsWith("TCP")), "all sockets go");
});
