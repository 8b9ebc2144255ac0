import { once } from "node:events";
import type { ClientHttp2Session } from "node:http2";
import { connect } from "node:http2";

import { Server, ServerCredentials } from "@grpc/grpc-js";
import { expect, test } from "vitest";

import { RaftService } from "../../src/gen/raft/v1/raft.js";
import {
  clientChannelOptions,
  enlargeServerWindow,
  serverChannelOptions,
  windowBytes,
} from "../../src/rpc/http2-window.js";

const smallWindowBytes = 65_535;
const chunkBytes = 8192;

/** Bytes that a server takes on one stream whose handler reads nothing. */
async function acceptedBytes(isEnlarged: boolean): Promise<number> {
  const server = new Server(serverChannelOptions());
  server.addService(RaftService, { exchange: () => undefined, fetchSnapshot: () => undefined });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  const reasons: string[] = [];
  if (isEnlarged) {
    expect(enlargeServerWindow(server, (reason) => reasons.push(reason))).toBe(true);
  }
  expect(reasons).toEqual([]);
  const session = connect(`http://127.0.0.1:${String(port)}`);
  try {
    return await fill(session);
  } finally {
    session.destroy();
    server.forceShutdown();
  }
}

async function fill(session: ClientHttp2Session): Promise<number> {
  await once(session, "remoteSettings");
  const ping = (): Promise<void> =>
    new Promise((resolve, reject) => {
      session.ping((error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
  // Whatever the server has to say about windows has been read once it answers this.
  await ping();
  const stream = session.request({
    ":method": "POST",
    ":path": RaftService.exchange.path,
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => undefined);
  let written = 0;
  const writeNext = (): void => {
    if (written >= 4 * windowBytes) return;
    stream.write(Buffer.alloc(chunkBytes), () => {
      written += chunkBytes;
      writeNext();
    });
  };
  // One gRPC message, announced with more bytes than ever come: the handler reads none of them.
  stream.write(Buffer.from([0, 0, 0x70, 0, 0]), writeNext);
  let before = -1;
  for (let quiet = 0; quiet < 20; quiet = written === before ? quiet + 1 : 0) {
    before = written;
    await ping();
  }
  return written;
}

test("a server takes a mebibyte on a stream before anybody reads", async () => {
  const accepted = await acceptedBytes(true);
  expect(accepted).toBeGreaterThan(windowBytes - 2 * chunkBytes);
  expect(accepted).toBeLessThan(2 * windowBytes);
});

test("without the shim it takes HTTP/2's 64 KiB: the shim is still needed", async () => {
  expect(await acceptedBytes(false)).toBeLessThan(2 * smallWindowBytes);
});

test("a grpc-js that hides its servers is reported once, and nothing else happens", () => {
  for (const hidden of [{}, { http2Servers: new Map() }, { http2Servers: [1] }]) {
    const reasons: string[] = [];
    const server = hidden as unknown as Server;
    expect(enlargeServerWindow(server, (reason) => reasons.push(reason))).toBe(false);
    expect(reasons).toHaveLength(1);
  }
});

test("channels reconnect soon, use no proxy, and bound their messages", () => {
  expect(clientChannelOptions()).toMatchObject({
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.max_reconnect_backoff_ms": 500,
    "grpc.enable_http_proxy": 0,
    "grpc.use_local_subchannel_pool": 1,
    "grpc-node.flow_control_window": windowBytes,
    "grpc.max_receive_message_length": 8 * 1024 * 1024,
  });
  const options = serverChannelOptions({ messageBytesMax: 1000 });
  expect(options["grpc.max_receive_message_length"]).toBe(1000);
  expect(options["grpc.max_send_message_length"]).toBe(1000);
});
