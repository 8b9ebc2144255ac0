/**
 * A thousand readers that follow the log on one node, over gRPC, server-sent events and NDJSON:
 * the defaults allow them, each is given each record, and the cluster is not disturbed.
 */
import { Agent, get } from "node:http";
import { performance } from "node:perf_hooks";

import { afterAll, beforeAll, expect, test } from "vitest";

import { Client } from "../../src/client/client.js";
import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { report, until } from "./poll.js";
import { ownProto, StubClient } from "./rpc-client.js";
import { showLogsOnFailure } from "./show-logs.js";
import { ResidentPeak, residentMebibytes } from "./tails/resident.js";

const tailCount = 1_000;
const recordCount = 200;
const openedAtOnce = 100;
const rpcConnectionCount = 4;
/** docs/operating.md: what a node holds for a reader that keeps up; and the heap's breath. */
const grownMebibytesMax = tailCount * 0.3 + 150;

let cluster: TestCluster;
showLogsOnFailure(() => cluster);

const isLinux = process.platform === "linux";

beforeAll(async () => {
  if (isLinux) cluster = await TestCluster.start();
});

afterAll(async () => {
  await cluster?.close();
});

/** One that follows: whatever it is given must be the next record. */
class Tail {
  next: number;
  failure: Error | undefined;

  constructor(from: number) {
    this.next = from;
  }

  take(offset: number): void {
    if (offset !== this.next) this.fail(new Error(`${offset} came instead of ${this.next}`));
    this.next = offset + 1;
  }

  fail(error: Error): void {
    this.failure ??= error;
  }
}

/** All the readers of one node. */
class Tails {
  readonly all: Tail[] = [];
  readonly #from: number;
  readonly #node: NodeProcess;
  readonly #stubs: StubClient[];
  readonly #agent = new Agent({ maxSockets: Infinity });
  #isOver = false;

  constructor(node: NodeProcess, from: number) {
    this.#node = node;
    this.#from = from;
    this.#stubs = Array.from(
      { length: rpcConnectionCount },
      () => new StubClient(ownProto, "log.v1.Log", node.rpcAddr),
    );
  }

  /** Opens them a hundred at a time, each hundred served before the next. */
  async open(): Promise<void> {
    for (let at = 0; at < tailCount; at += 1) {
      if (at % openedAtOnce === 0) await this.untilAt(this.#from + 1);
      const tail = new Tail(this.#from);
      this.all.push(tail);
      const kind = at % 3;
      if (kind === 0) this.#openStream(tail, at);
      else this.#openLines(tail, kind === 1 ? "application/x-ndjson" : "text/event-stream");
    }
  }

  /** Waits until each has been given the records below an offset. */
  async untilAt(offset: number): Promise<void> {
    await until(
      `${this.all.length} readers at ${offset}`,
      async () => {
        const failed = this.all.find(({ failure }) => failure !== undefined);
        if (failed !== undefined) return failed;
        const behind = this.all.filter(({ next }) => next < offset);
        if (behind.length === 0) return true;
        throw new Error(`${behind.length} are behind, one at ${behind[0]?.next}`);
      },
      { timeoutMs: 90_000 },
    );
    expect(this.all.flatMap(({ failure }) => failure?.message ?? [])).toEqual([]);
  }

  end(): void {
    this.#isOver = true;
    for (const stub of this.#stubs) stub.close();
    this.#agent.destroy();
  }

  #openStream(tail: Tail, at: number): void {
    const stub = this.#stubs[at % rpcConnectionCount];
    const method = at % 2 === 0 ? "ConsumeStream" : "ConsumeBatches";
    const stream = stub?.read(method, { offset: tail.next, follow: true });
    stream?.on(
      "data",
      (message: { record?: { offset: string }; offset?: string; count?: number }) => {
        const first = Number(message.record?.offset ?? message.offset);
        for (let nth = 0; nth < (message.count ?? 1); nth += 1) tail.take(first + nth);
      },
    );
    stream?.on("error", (error: Error) => {
      if (!this.#isOver) tail.fail(error);
    });
  }

  #openLines(tail: Tail, accept: string): void {
    const url = `${this.#node.httpUrl}/Data?from=${tail.next}&follow=true`;
    const fail = (error: Error): void => {
      if (!this.#isOver) tail.fail(error);
    };
    const request = get(url, { agent: this.#agent, headers: { accept } }, (response) => {
      if (response.statusCode !== 200) fail(new Error(`answered with ${response.statusCode}`));
      response.setEncoding("latin1");
      let rest = "";
      response.on("data", (chunk: string) => {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          const [, offset] = /"offset":(\d+)/.exec(line) ?? [];
          if (offset !== undefined) tail.take(Number(offset));
        }
      });
      response.on("error", fail);
    });
    request.on("error", fail);
  }
}

test.runIf(isLinux)(
  `${tailCount} readers that follow the log on one node are given each of ${recordCount} records`,
  async () => {
    const { term } = await cluster.untilVoters(3);
    const leader = await cluster.leader();
    const client = new Client({ servers: cluster.nodes.map((node) => node.rpcAddr) });
    const { offset: first } = await client.produce("there before");
    const before = residentMebibytes(leader.pid);
    const peak = new ResidentPeak(leader.pid);
    const tails = new Tails(leader, first);
    try {
      await tails.open();
      await tails.untilAt(first + 1);
      const idleMebibytes = Math.round(residentMebibytes(leader.pid) - before);
      const start = performance.now();
      for (let nth = 0; nth < recordCount; nth += 1) await client.produce(`record ${nth}`);
      const appendedMs = performance.now() - start;
      await tails.untilAt(first + 1 + recordCount);
      const readMs = performance.now() - start;
      const grownMebibytes = Math.round(peak.end() - before);
      report(
        `${recordCount} records one after the other in ${Math.round(appendedMs)} ms, ` +
          `all with ${tailCount} readers after ${Math.round(readMs)} ms; leader grown by ` +
          `${idleMebibytes} MiB before, ${grownMebibytes} at most`,
      );
      expect(grownMebibytes).toBeLessThan(grownMebibytesMax);
      expect((await cluster.untilVoters(3)).term).toBe(term);
    } finally {
      peak.end();
      tails.end();
      await client.close();
    }
  },
);
