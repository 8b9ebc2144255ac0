/**
 * Writers and readers of a soak, over HTTP and gRPC, each with choices of its own seed.
 *
 * A writer sends one new message at a time to a random node and never sends it again, so that
 * each has one fate for the checker.
 */
import { performance } from "node:perf_hooks";

import { HistoryRecorder } from "../../history/history.js";
import { Chance } from "../../history/random.js";
import type { NodeProcess } from "../harness.js";
import { produce } from "../http-client.js";
import { briefly, until } from "../poll.js";
import { LogStub } from "./log-stub.js";
import { messageOf } from "./messages.js";
import { followLog, readOffsets } from "./readers.js";
import type { ReaderParts } from "./readers.js";

const timeoutMs = 3_000;
const tailTypes = ["ndjson", "grpc", "sse", "grpc", "ndjson"] as const;

export interface SoakCounts {
  readonly writers: number;
  readonly tails: number;
  readonly readers: number;
}

export class SoakWorkload {
  readonly recorder = new HistoryRecorder();
  /** When each acknowledgement came. */
  readonly ackTimesMs: number[] = [];
  /** Why writes were not acknowledged, and reads not answered. */
  readonly refusals = new Map<string, number>();
  readonly readFailures = new Map<string, number>();
  readonly #nodes: readonly NodeProcess[];
  readonly #seed: number;
  readonly #stubs = new Map<NodeProcess, LogStub>();
  /** What each that follows the log reads next. */
  readonly #nextOffsets = new Map<string, number>();
  readonly #over = new AbortController();
  #loops: Promise<void>[] = [];
  #clientCount = 0;

  constructor(nodes: readonly NodeProcess[], seed: number) {
    this.#nodes = nodes;
    this.#seed = seed;
  }

  start({ writers, tails, readers }: SoakCounts): void {
    for (let at = 0; at < writers; at += 1) {
      this.#loops.push(this.#write(`writer-${at}`, at % 2 === 0 ? "http" : "grpc"));
    }
    for (let at = 0; at < tails; at += 1) {
      const type = tailTypes[at % tailTypes.length] ?? "ndjson";
      const client = `tail-${at}`;
      const onNext = (offset: number): void => {
        this.#nextOffsets.set(client, offset);
      };
      onNext(0);
      this.#loops.push(followLog(type, this.#reader(client), onNext));
    }
    for (let at = 0; at < readers; at += 1) {
      this.#loops.push(readOffsets(this.#reader(`reader-${at}`)));
    }
  }

  /** Waits until all that follow the log have been given everything that is acknowledged by now. */
  async untilFollowed(): Promise<void> {
    let end = 0;
    for (const { outcome } of this.recorder.appends) {
      if (outcome.type === "ok") end = Math.max(end, outcome.offset + 1);
    }
    await until(`all tails to have come to ${end}`, async () => {
      const next = [...this.#nextOffsets.values()];
      if (next.every((offset) => offset >= end)) return true;
      throw new Error(`they are at ${next.join(", ")}`);
    });
  }

  /** Lets all finish what they have begun. */
  async end(): Promise<void> {
    this.#over.abort();
    const loops = this.#loops;
    this.#loops = [];
    await Promise.all(loops);
    for (const stub of this.#stubs.values()) stub.close();
    this.#stubs.clear();
  }

  #stubOf(node: NodeProcess): LogStub {
    const stub = this.#stubs.get(node) ?? new LogStub(node.rpcAddr);
    this.#stubs.set(node, stub);
    return stub;
  }

  #chance(): Chance {
    this.#clientCount += 1;
    return new Chance(this.#seed + 1_000 * this.#clientCount);
  }

  #reader(client: string): ReaderParts {
    return {
      ...{ client, nodes: this.#nodes, recorder: this.recorder, timeoutMs },
      stubOf: (node) => this.#stubOf(node),
      chance: this.#chance(),
      signal: this.#over.signal,
      onFailure: (why) => {
        count(this.readFailures, why);
      },
    };
  }

  async #write(client: string, over: "http" | "grpc"): Promise<void> {
    const chance = this.#chance();
    for (let at = 0; !this.#over.signal.aborted; at += 1) {
      const node = chance.of(this.#nodes);
      const name = `${client}:${at}`;
      const message = messageOf(name);
      const request = { client, values: [name], invokedAt: performance.now() };
      const attempt = this.recorder.beginAppend(request);
      const result = await (over === "http"
        ? produce(node.httpUrl, message, timeoutMs)
        : this.#stubOf(node).produce(message, timeoutMs));
      const returnedAt = performance.now();
      if (result.kind === "acknowledged") {
        const outcome = { type: "ok", offset: result.offset } as const;
        this.recorder.endAppend(attempt, { returnedAt, outcome });
        this.ackTimesMs.push(returnedAt);
      } else {
        this.recorder.endAppend(attempt, { returnedAt, outcome: { type: result.kind } });
        count(this.refusals, `${over} ${result.why}`);
      }
      await briefly(chance.between(5, 40));
    }
  }
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
