/**
 * The proxy itself, before an echo server: each fault is what it claims to be.
 */
import { createConnection, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { performance } from "node:perf_hooks";

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import { until } from "./poll.js";
import { freePort } from "./ports.js";
import { ownerOf } from "./socket-owner.js";
import { TcpProxy } from "./tcp-proxy.js";

let echo: Server;
let proxy: TcpProxy;
let socket: Socket;
let received = "";
let failure = "";

async function dial(port = proxy.port): Promise<Socket> {
  const dialled = createConnection({ port, host: "127.0.0.1" });
  dialled.setEncoding("utf8");
  dialled.on("data", (text: string) => {
    received += text;
  });
  dialled.on("error", (error: NodeJS.ErrnoException) => {
    failure = error.code ?? error.message;
  });
  await new Promise<void>((resolve) => {
    dialled.once("connect", resolve);
    dialled.once("close", () => {
      resolve();
    });
  });
  return dialled;
}

async function untilReceived(text: string): Promise<void> {
  await until(JSON.stringify(text), async () => (received === text ? true : undefined), {
    everyMs: 2,
  });
}

beforeAll(async () => {
  echo = createServer((connection) => {
    connection.on("error", () => {
      connection.destroy();
    });
    connection.pipe(connection);
  });
  await new Promise<void>((resolve) => echo.listen(0, "127.0.0.1", resolve));
});

afterAll(() => {
  echo.close();
});

beforeEach(async () => {
  received = "";
  failure = "";
  proxy = await TcpProxy.listen(await freePort(), (echo.address() as AddressInfo).port);
  socket = await dial();
});

afterEach(async () => {
  socket.destroy();
  await proxy.close();
});

test("passes bytes both ways", async () => {
  socket.write("there and back");
  await untilReceived("there and back");
});

test("holds bytes while cut and passes them when healed", async () => {
  socket.write("a");
  await untilReceived("a");
  proxy.cut();
  socket.write("b");
  const late = await dial();
  late.write("c");
  // A second proxy to the same server answers while this one stays silent.
  const other = await TcpProxy.listen(await freePort(), (echo.address() as AddressInfo).port);
  const witness = createConnection({ port: other.port, host: "127.0.0.1" });
  await new Promise<void>((resolve) => {
    witness.once("data", () => {
      resolve();
    });
    witness.write("w");
  });
  expect(received).toBe("a");
  proxy.heal();
  await until("what was held", async () =>
    ["a", "b", "c"].every((letter) => received.includes(letter)) ? true : undefined,
  );
  late.destroy();
  witness.destroy();
  await other.close();
});

test("delays bytes and keeps their order", async () => {
  proxy.delay(50);
  const start = performance.now();
  socket.write("1");
  socket.write("2");
  await untilReceived("12");
  expect(performance.now() - start).toBeGreaterThan(95);
});

test("resets connections", async () => {
  socket.write("a");
  await untilReceived("a");
  proxy.reset();
  await until("the reset", async () => (failure === "ECONNRESET" ? true : undefined));
});

test("lets a throttled link pass so many bytes a second", async () => {
  proxy.throttle(10_000, { direction: "in" });
  const start = performance.now();
  socket.write("x".repeat(2_000));
  await untilReceived("x".repeat(2_000));
  expect(performance.now() - start).toBeGreaterThan(170);
});

test("cuts one way only, if asked", async () => {
  proxy.cut({ direction: "out" });
  socket.write("a");
  await until("the echo server to have answered", async () =>
    proxy.passedBytes.in === 1 && received === "" ? true : undefined,
  );
  expect(proxy.passedBytes.out).toBe(0);
  proxy.heal();
  await untilReceived("a");
});

test("swallows what is sent, keeps the connection, and resets it when healed", async () => {
  socket.write("a");
  await untilReceived("a");
  proxy.swallow({ direction: "in" });
  socket.write("b");
  await until("the byte to be gone", async () => (proxy.swallowedBytes === 1 ? true : undefined));
  expect([received, failure]).toEqual(["a", ""]);
  proxy.heal();
  await until("the reset", async () => (failure === "ECONNRESET" ? true : undefined));
});

test("tells those who dial apart, and sends a stranger away", async () => {
  const names = ["one", "other", undefined];
  const known = await TcpProxy.listen(await freePort(), proxy.targetPort, {
    nameOf: () => names.shift(),
  });
  known.cut({ from: "one" });
  const cut = await dial(known.port);
  const passing = await dial(known.port);
  cut.write("c");
  passing.write("p");
  await untilReceived("p");
  const stranger = await dial(known.port);
  await until("the stranger's end", async () => (stranger.destroyed ? true : undefined));
  known.heal();
  await untilReceived("pc");
  for (const dialled of [cut, passing]) dialled.destroy();
  await known.close();
});

test.runIf(process.platform === "linux")("knows which process dialled", async () => {
  const port = socket.localPort;
  if (port === undefined) throw new Error("the socket is connected");
  expect(ownerOf(port, [1, process.pid])).toBe(process.pid);
  expect(ownerOf(port, [])).toBeUndefined();
});
