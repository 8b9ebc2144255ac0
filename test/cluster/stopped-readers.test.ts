/**
 * Readers that stop reading while the log grows: what the node holds for them is bounded by what
 * the documentation says, the others notice nothing, and who leaves takes nothing along.
 *
 * One node, so that its memory is that of reading and writing. Linux only, by /proc.
 */
import { createConnection } from "node:net";
import type { Socket } from "node:net";
import { performance } from "node:perf_hooks";

import { afterAll, beforeAll, expect, test } from "vitest";

import { Client } from "../../src/client/client.js";
import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { report, until } from "./poll.js";
import { ownProto, StubClient } from "./rpc-client.js";
import { showLogsOnFailure } from "./show-logs.js";
import { linesOf } from "./tails/lines.js";
import { processorMs, ResidentPeak, residentMebibytes, socketCount } from "./tails/resident.js";
import { batchOf } from "./tails/surfaces.js";

const perSurface = 10;
/** Of HTTP and of gRPC each; with those that read there is no room for a stream that stayed. */
const streamsMax = 2 * perSurface + 2;
const recordBytes = 1_000;
const batchCount = 1_000;
/** docs/operating.md: what a node may hold for a reader that has stopped. */
const stoppedMebibytesMax = 2;
/** The heap's own ups and downs while 100 MB pass through. */
const breathMebibytes = 160;

let cluster: TestCluster;
let node: NodeProcess;
let client: Client;
showLogsOnFailure(() => cluster);

const isLinux = process.platform === "linux";

beforeAll(async () => {
  if (!isLinux) return;
  const flags = ["--streams-max", String(streamsMax)];
  cluster = await TestCluster.start({ nodeCount: 1, flags });
  node = cluster.node(0);
  client = new Client({ servers: [node.rpcAddr] });
});

afterAll(async () => {
  await client?.close();
  await cluster?.close();
});

/** Appends so many MB of small records in large batches; returns the offset of the last. */
async function append(megabytes: number): Promise<number> {
  const value = Buffer.alloc(recordBytes, "r");
  const batch = Array.from({ length: batchCount }, () => value);
  let last = -1;
  let left = (megabytes * 1_000_000) / (recordBytes * batchCount);
  const write = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const { offset } = await client.produceBatch(batch);
      last = Math.max(last, offset + batchCount - 1);
    }
  };
  await Promise.all([write(), write(), write(), write()]);
  return last;
}

/** Two readers that take all they are given: of batches on a given connection, and of lines. */
class Readers {
  readonly #next = { batches: 0, lines: 0 };
  readonly #over = new AbortController();
  readonly #lines: Promise<void>;
  readonly #batches: { cancel(): void };

  constructor(stub: StubClient, from: number) {
    this.#next = { batches: from, lines: from };
    const stream = stub.read("ConsumeBatches", { offset: from, follow: true });
    stream.on("error", () => undefined);
    stream.on("data", (message) => {
      const { offset, count } = batchOf(message as Record<string, unknown>);
      this.#take("batches", offset, count);
    });
    this.#batches = stream;
    this.#lines = this.#readLines(from);
  }

  async untilRead(offset: number): Promise<void> {
    await until(`both readers to have read ${offset}`, async () => {
      if (Math.min(this.#next.batches, this.#next.lines) > offset) return true;
      throw new Error(JSON.stringify(this.#next));
    });
  }

  async end(): Promise<void> {
    this.#batches.cancel();
    this.#over.abort();
    await this.#lines;
  }

  #take(kind: "batches" | "lines", offset: number, count: number): void {
    if (offset !== this.#next[kind])
      throw new Error(`${kind}: ${offset} after ${this.#next[kind]}`);
    this.#next[kind] += count;
  }

  async #readLines(from: number): Promise<void> {
    const url = `${node.httpUrl}/Data?from=${from}&follow=true`;
    const headers = { accept: "application/x-ndjson" };
    for await (const line of linesOf(url, headers, this.#over.signal)) {
      const [, offset = ""] = /"offset":(\d+)/.exec(line) ?? [];
      this.#take("lines", Number(offset), 1);
    }
  }
}

/** Readers of each streaming surface that begin at an offset and then take nothing. */
class StoppedReaders {
  readonly #streams: { cancel(): void }[] = [];
  readonly #sockets: Socket[] = [];

  static async open(stub: StubClient, from: number): Promise<StoppedReaders> {
    const stopped = new StoppedReaders();
    const begun: Promise<void>[] = [];
    for (let at = 0; at < perSurface; at += 1) {
      begun.push(stopped.#stopStream(stub, "ConsumeStream", from));
      begun.push(stopped.#stopStream(stub, "ConsumeBatches", from));
      begun.push(stopped.#stopSocket("application/x-ndjson", from));
      begun.push(stopped.#stopSocket("text/event-stream", from));
    }
    await Promise.all(begun);
    return stopped;
  }

  leave(): void {
    for (const stream of this.#streams) stream.cancel();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Resolves when the first message is there; it is not taken. */
  async #stopStream(stub: StubClient, method: string, from: number): Promise<void> {
    const stream = stub.read(method, { offset: from, follow: true });
    this.#streams.push(stream);
    await new Promise<void>((resolve, reject) => {
      stream.once("readable", resolve);
      stream.on("error", reject);
    });
  }

  /** Resolves when the answer has begun; nothing more is taken of it. */
  async #stopSocket(accept: string, from: number): Promise<void> {
    const { hostname, port } = new URL(node.httpUrl);
    const socket = createConnection({ host: hostname, port: Number(port) });
    this.#sockets.push(socket);
    socket.write(
      `GET /Data?from=${from}&follow=true HTTP/1.1\r\nHost: a\r\nAccept: ${accept}\r\n\r\n`,
    );
    const head = await new Promise<string>((resolve, reject) => {
      socket.once("data", (chunk: Buffer) => {
        socket.pause();
        resolve(chunk.toString("latin1"));
      });
      socket.on("error", reject);
    });
    expect(head).toMatch(/^HTTP\/1.1 200 /);
  }
}

interface Pace {
  readonly elapsedMs: number;
  readonly processorMs: number;
}

/** What it takes to append so many MB and to read them, for each 100 MB. */
async function paceOf(readers: Readers, megabytes: number): Promise<Pace> {
  const startMs = performance.now();
  const computedMs = processorMs(node.pid);
  await readers.untilRead(await append(megabytes));
  return {
    elapsedMs: ((performance.now() - startMs) * 100) / megabytes,
    processorMs: ((processorMs(node.pid) - computedMs) * 100) / megabytes,
  };
}

function textOf({ elapsedMs, processorMs: computedMs }: Pace): string {
  return `${Math.round(elapsedMs)} ms, ${Math.round(computedMs)} ms of the node's processor`;
}

test.runIf(isLinux)(
  "stopped readers hold bounded memory, cost others nothing and leave nothing behind",
  async () => {
    const stub = new StubClient(ownProto, "log.v1.Log", node.rpcAddr);
    const readers = new Readers(stub, 0);
    // The newest records are kept in memory anyway: that memory is full after this.
    await readers.untilRead(await append(70));
    const before = residentMebibytes(node.pid);
    const sockets = socketCount(node.pid);
    const boundMebibytes = 4 * perSurface * stoppedMebibytesMax + breathMebibytes;
    // The second round would find what the first had left.
    for (const round of [1, 2]) {
      const alone = await paceOf(readers, 30);
      const end = await client.endOffset();
      const peak = new ResidentPeak(node.pid);
      const stopped = await StoppedReaders.open(stub, end - 1);
      // They take what fits into the sockets between them and the node; then they are stopped.
      await readers.untilRead(await append(70));
      const beside = await paceOf(readers, 30);
      const grownMebibytes = Math.round(peak.end() - before);
      report(
        `round ${round}: ${4 * perSurface} stopped readers, 100 MB: grown by ${grownMebibytes} ` +
          `of ${boundMebibytes} MiB; ${textOf(beside)}; without them ${textOf(alone)}`,
      );
      expect(grownMebibytes).toBeLessThan(boundMebibytes);
      expect(beside.processorMs).toBeLessThan(2 * alone.processorMs);
      // Of a machine that others use too, time says less than the node's own work.
      expect(beside.elapsedMs).toBeLessThan(5 * alone.elapsedMs + 5_000);
      stopped.leave();
      await until("their sockets to go", async () =>
        socketCount(node.pid) <= sockets ? true : undefined,
      );
    }
    await readers.end();
    stub.close();
  },
);
