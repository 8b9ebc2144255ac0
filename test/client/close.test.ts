/** Closing a client: within two seconds in every state, and nothing of it is left. */
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import type { AddressInfo, Server } from "node:net";
import { join } from "node:path";

import { describe, expect, onTestFinished, test } from "vitest";

import { Client } from "../../src/client/client.js";
import { failureOf, FakeCluster, until } from "./fake-cluster.js";

const tsx = join(import.meta.dirname, "..", "..", "node_modules", ".bin", "tsx");
const program = join(import.meta.dirname, "program.ts");

interface Ending {
  readonly closeMs: number;
  readonly endings: readonly string[];
  readonly left: readonly string[];
  readonly code: number | null;
}

/** Runs the program to its own end; it is killed only if it does not come. */
async function run(state: string, addresses: readonly string[]): Promise<Ending> {
  const child = spawn(tsx, [program, state, addresses.join(",")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const killer = setTimeout(() => child.kill("SIGKILL"), 20_000);
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearTimeout(killer);
  return { ...(JSON.parse(output.trim() || "{}") as Ending), code };
}

/** Takes connections and says nothing, like a process that is stopped. */
async function silentServer(): Promise<string> {
  const server = await new Promise<Server>((resolve) => {
    const listening: Server = createServer((socket) => {
      socket.on("error", () => socket.destroy());
      onTestFinished(() => {
        socket.destroy();
      });
    }).listen(0, "127.0.0.1", () => resolve(listening));
  });
  onTestFinished(() => {
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("close() ends within two seconds, and the program with it:", () => {
  test.each([
    ["unused", []],
    ["idle", []],
    ["in-flight", ["outcome-unknown unknown", "unavailable not_applied"]],
    ["streaming", ["unavailable null"]],
    ["connecting", ["unavailable not_applied", "unavailable null", "unavailable null"]],
  ] as const)("%s", async (state, endings) => {
    const cluster = await FakeCluster.start(2);
    if (state === "in-flight") cluster.hold();
    const ending = await run(state, cluster.addresses);
    expect(ending).toMatchObject({ code: 0, left: [] });
    expect([...ending.endings].sort()).toEqual([...endings].sort());
    expect(ending.closeMs).toBeLessThan(2000);
  });

  test.each(["connecting", "back-off"])("%s, with no node there", async (state) => {
    const ending = await run(state, ["127.0.0.1:1"]);
    expect(ending).toMatchObject({ code: 0, left: [] });
    expect(ending.endings).toHaveLength(3);
    expect(ending.endings.filter((how) => !how.startsWith("unavailable"))).toEqual([]);
    expect(ending.closeMs).toBeLessThan(2000);
  });

  test.each(["connecting", "back-off"])("%s, with a node that says nothing", async (state) => {
    const ending = await run(state, [await silentServer()]);
    expect(ending).toMatchObject({ code: 0, left: [] });
    expect(ending.endings).toHaveLength(3);
    expect(ending.endings.filter((how) => !how.startsWith("unavailable"))).toEqual([]);
    expect(ending.closeMs).toBeLessThan(2000);
  });
});

describe("a closed client", () => {
  test("rejects whatever it is asked, and may be closed again", async () => {
    const cluster = await FakeCluster.start(1);
    const client = new Client({ servers: cluster.addresses });
    await client.produce("a");
    await Promise.all([client.close(), client.close()]);
    const closed = { code: "unavailable", retryable: false };
    expect(await failureOf(client.produce("b"))).toMatchObject(closed);
    expect(await failureOf(client.read(0))).toMatchObject(closed);
    expect(await failureOf(client.status())).toMatchObject(closed);
    expect(await failureOf(client.consume().next())).toMatchObject(closed);
    expect(() => client.producer()).toThrow("closed");
    await client.flush();
    await until("no stream", () => cluster.node(0).openStreams === 0);
  });

  test("is what `await using` leaves", async () => {
    const cluster = await FakeCluster.start(1);
    let pending: Promise<unknown>;
    {
      await using client = new Client({ servers: cluster.addresses });
      await using producer = client.producer({ lingerMs: 60_000 });
      pending = failureOf(producer.produce("never sent"));
    }
    expect(await pending).toMatchObject({ outcome: "not_applied", retryable: false });
  });

  test("lets the stream of each producer go, and one that is closed before goes before", async () => {
    const cluster = await FakeCluster.start(1);
    await using client = new Client({ servers: cluster.addresses });
    await client.produce("a");
    const producer = client.producer();
    await producer.produce("b");
    expect(cluster.node(0).openStreams).toBe(2);
    await producer.close();
    await until("one stream", () => cluster.node(0).openStreams === 1);
    expect(await failureOf(producer.produce("c"))).toMatchObject({ retryable: false });
    await client.produce("d");
  });

  test("lets whoever waits for room go", async () => {
    const cluster = await FakeCluster.start(1);
    const client = new Client({ servers: cluster.addresses, bufferedBytesMax: 20 });
    cluster.hold();
    const pending = failureOf(client.produce("x".repeat(15)));
    const ready = client.ready();
    await until("the append", () => cluster.node(0).requests.length === 1);
    await client.close();
    await ready;
    expect(await pending).toMatchObject({ code: "outcome-unknown" });
  });
});

test("a program that awaits a retry lives on while no node is there", async () => {
  const cluster = await FakeCluster.start(1);
  const { address } = cluster.node(0);
  const port = Number(address.split(":")[1]);
  cluster.node(0).kill();
  const running = run("idle", [address]);
  await new Promise((resolve) => setTimeout(resolve, 3000));
  await cluster.add("node-0", port);
  expect(await running).toMatchObject({ code: 0, left: [] });
  expect(cluster.values()).toEqual(["a"]);
});
