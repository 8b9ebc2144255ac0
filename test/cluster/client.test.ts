/**
 * The client against real processes that are killed, stopped, asked to end, started again and cut
 * off: what it appends is in the log once and in order, what it reads is each record once and in
 * order, and closing it always ends.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

import { Client } from "../../src/client/client.js";
import type { ClientOptions } from "../../src/client/options.js";
import { TestCluster } from "./harness.js";
import { briefly, median, report, until } from "./poll.js";
import { freePort } from "./ports.js";
import { showLogsOnFailure } from "./show-logs.js";
import { TcpProxy } from "./tcp-proxy.js";

const root = join(import.meta.dirname, "..", "..");
const nodeCount = 3;
/** Acknowledged between two faults. */
const acksBetween = 60;

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await TestCluster.start({ nodeCount });
});

afterAll(async () => {
  await cluster.close();
});

showLogsOnFailure(() => cluster);

function clientOf(options: Partial<ClientOptions> = {}): Client {
  const servers = cluster.nodes.map((node) => node.rpcAddr);
  const client = new Client({ servers, deliveryTimeoutMs: 60_000, ...options });
  onTestFinished(async () => client.close());
  return client;
}

/** Writers that each append one text after the other, through one client. */
class Writers {
  readonly acked: string[] = [];
  readonly #loops: Promise<void>[] = [];
  #isOver = false;

  constructor(client: Client, prefix: string, count: number) {
    for (let at = 0; at < count; at += 1) this.#loops.push(this.#write(client, `${prefix}-${at}`));
  }

  async #write(client: Client, name: string): Promise<void> {
    for (let nth = 0; !this.#isOver; nth += 1) {
      const value = `${name}-${nth}`;
      await client.produce(value);
      this.acked.push(value);
    }
  }

  async untilMore(count: number): Promise<void> {
    const goal = this.acked.length + count;
    await until(`${count} more appends`, async () => {
      // A writer that has failed is seen here, not at the end.
      const state = await Promise.race([...this.#loops, briefly(1)]).then(() => "running");
      return this.acked.length >= goal ? state : undefined;
    });
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#loops);
  }
}

/** Reads the log from an offset on, as it grows. */
class Follower {
  readonly values: string[] = [];
  readonly #loop: Promise<void>;
  readonly #from: number;
  #isOver = false;

  constructor(client: Client, from: number) {
    this.#from = from;
    this.#loop = this.#read(client);
  }

  async #read(client: Client): Promise<void> {
    for await (const record of client.consume({ from: this.#from, follow: true })) {
      expect(record.offset).toBe(this.#from + this.values.length);
      this.values.push(record.text());
      if (this.#isOver) return;
    }
  }

  /** Waits until it has read so many records. */
  async untilCount(count: number): Promise<void> {
    await until(`${count} records read`, async () => {
      await Promise.race([this.#loop, briefly(1)]);
      if (this.values.length >= count) return true;
      throw new Error(`${this.values.length}`);
    });
    this.#isOver = true;
  }
}

/** Each value once, and the values of each writer in the order in which it wrote them. */
function checkOnceInOrder(found: readonly string[], acked: readonly string[]): void {
  expect(found.length).toBe(new Set(found).size);
  const place = new Map(found.map((value, at) => [value, at]));
  expect(acked.filter((value) => !place.has(value))).toEqual([]);
  const last = new Map<string, number>();
  for (const value of found) {
    const [, writer = "", nth = ""] = /^(.*)-(\d+)$/.exec(value) ?? [];
    expect(Number(nth)).toBe((last.get(writer) ?? -1) + 1);
    last.set(writer, Number(nth));
  }
}

describe("while every node is killed, stopped, ended and started again", () => {
  test("each record is appended once and read once, in order, and no call fails", async () => {
    const from = await clientOf().endOffset();
    const writers = new Writers(clientOf(), "kept", 4);
    const follower = new Follower(clientOf(), from);
    for (const node of cluster.nodes) {
      await writers.untilMore(acksBetween);
      await node.kill9();
      await writers.untilMore(acksBetween);
      node.restart();
      await cluster.untilVoters(nodeCount);

      node.stop();
      await writers.untilMore(acksBetween);
      node.cont();
      await cluster.untilVoters(nodeCount);

      const ended = node.terminate();
      await writers.untilMore(acksBetween);
      await ended;
      node.restart();
      await cluster.untilVoters(nodeCount);
    }
    await writers.end();
    expect(await clientOf().endOffset()).toBe(from + writers.acked.length);
    await follower.untilCount(writers.acked.length);
    checkOnceInOrder(follower.values, writers.acked);
    report(`${writers.acked.length} records through kill, stop and restart of each node`);
  });

  test("a new leader is followed within a second, whether the old one died or hangs", async () => {
    const client = clientOf();
    await client.produce("warm");
    const waits: number[] = [];
    for (const fault of ["kill9", "stop", "kill9", "stop"] as const) {
      const leader = await cluster.leader();
      const others = cluster.nodes.filter((node) => node !== leader);
      await client.produce("before");
      if (fault === "stop") leader.stop();
      else await leader.kill9();
      const appended = client.produce("after").then(() => performance.now());
      const electedMs = await until("another leader", async () => {
        for (const node of others) {
          const status = await node.status(500).catch(() => undefined);
          if (status?.leader?.name === node.name) return performance.now();
        }
        return undefined;
      });
      waits.push(Math.round((await appended) - electedMs));
      if (fault === "stop") leader.cont();
      else leader.restart();
      await cluster.untilVoters(nodeCount);
    }
    report(`appended ${waits.join(", ")} ms after the election`);
    expect(median(waits)).toBeLessThan(1000);
  });
});

describe("through a network that loses answers", () => {
  test("each record is appended once, whatever was cut between commit and answer", async () => {
    const proxies = await Promise.all(
      cluster.nodes.map(async (node) =>
        TcpProxy.listen(await freePort(), Number(node.rpcAddr.split(":")[1])),
      ),
    );
    onTestFinished(async () => {
      await Promise.all(proxies.map(async (proxy) => proxy.close()));
    });
    const servers = proxies.map((proxy) => `127.0.0.1:${proxy.port}`);
    const from = await clientOf().endOffset();
    const client = clientOf({ servers, discovery: false });
    const writers = new Writers(client, "cut", 4);
    for (let round = 0; round < 12; round += 1) {
      await writers.untilMore(20);
      for (const proxy of proxies) proxy.swallow({ direction: "out" });
      await until("a lost answer", async () =>
        proxies.some((proxy) => proxy.swallowedBytes > 0) ? true : undefined,
      );
      // Connections with a hole in them are reset.
      for (const proxy of proxies) proxy.heal();
    }
    await writers.end();
    expect(await clientOf().endOffset()).toBe(from + writers.acked.length);
    const follower = new Follower(clientOf(), from);
    await follower.untilCount(writers.acked.length);
    checkOnceInOrder(follower.values, writers.acked);
  });
});

describe("without a quorum", () => {
  test("appends wait and then say so, reads go on, and all goes on when it is back", async () => {
    const client = clientOf();
    const { offset } = await client.produce("held");
    const [first, second] = await cluster.followers();
    await first?.kill9();
    await second?.kill9();
    const refused = client.produce("refused", { timeoutMs: 3000 });
    const waiting = client.produce("waiting");
    await expect(refused).rejects.toMatchObject({ name: "ProglogError", retryable: false });
    expect((await client.read(offset)).text()).toBe("held");
    first?.restart();
    second?.restart();
    await waiting;
    await cluster.untilVoters(nodeCount);
  });
});

describe("close()", () => {
  test("ends within two seconds while every node is stopped, and the program with it", async () => {
    const program = join(root, "test", "client", "program.ts");
    const servers = cluster.nodes.map((node) => node.rpcAddr).join(",");
    const child = spawn(join(root, "node_modules", ".bin", "tsx"), [program, "stopped", servers]);
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    try {
      await until("the program to ask", async () => (output.includes("stop") ? true : undefined));
      for (const node of cluster.nodes) node.stop();
      child.stdin.write("go\n");
      expect(await ended).toBe(0);
    } finally {
      child.kill("SIGKILL");
      for (const node of cluster.nodes) node.cont();
    }
    const line = output.split("\n").find((text) => text.startsWith("{")) ?? "{}";
    const ending = JSON.parse(line) as { closeMs: number; endings: string[]; left: string[] };
    expect(ending.closeMs).toBeLessThan(2000);
    expect(ending.left).toEqual([]);
    expect([...ending.endings].sort()).toEqual([
      "outcome-unknown unknown",
      "unavailable null",
      "unavailable null",
    ]);
    await cluster.untilVoters(nodeCount);
  });
});
