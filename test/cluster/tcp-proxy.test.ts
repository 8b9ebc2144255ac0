/**
 * The proxy itself, before an echo server: a cut, a delay and a reset are what they claim to be.
 */
import { createConnection, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { performance } from "node:perf_hooks";

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import { until } from "./poll.js";
import { freePort } from "./ports.js";
import { TcpProxy } from "./tcp-proxy.js";

let echo: Server;
let proxy: TcpProxy;
let socket: Socket;
let received = "";
let failure = "";

async function dial(): Promise<Socket> {
  const dialled = createConnection({ port: proxy.port, host: "127.0.0.1" });
  dialled.setEncoding("utf8");
  dialled.on("data", (text: string) => {
    received += text;
  });
  dialled.on("error", (error: NodeJS.ErrnoException) => {
    failure = error.code ?? error.message;
  });
  await new Promise<void>((resolve) => dialled.once("connect", resolve));
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
