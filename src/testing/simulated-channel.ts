/**
 * The client's channels over the simulated network, in the place of gRPC's: what the production
 * code of the client (producers, consumers) asks of a channel, and no more.
 *
 * What a node does with a call is what its gRPC service does with it, with the same conversions of
 * messages and errors, so that a program meets the same codes and outcomes.
 */
import { EventEmitter } from "node:events";

import type { NodeCore } from "../agent/node-core.js";
import { Channels } from "../client/channel.js";
import type { CallLimits, NodeChannel } from "../client/channel.js";
import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { LogRecord, RecordBatch } from "../common/record.js";
import type {
  ConsumeBatchesRequest,
  ProduceBatchRequest,
  ProduceBatchResponse,
} from "../gen/log/v1/log.js";
import type { ServerInfo } from "../client/servers.js";
import { produceErrorFrom } from "../rpc/grpc-errors.js";
import { consistencyFrom, offsetFrom, producerFrom, serversFrom } from "../rpc/log-messages.js";
import type { Consistency } from "../service/api.js";
import { namedProducer } from "../service/producer.js";
import { hostOf } from "./simulated-network.js";
import { SimulatedStream } from "./simulated-stream.js";
import type { StreamParts } from "./simulated-stream.js";

/** One wait at a node for a record beyond the end of the log; then it is asked for again. */
const waitMs = 60_000;
const pauseMs = 100;

/** What work at a node came to, as it crosses the network. */
type Answer<T> = { readonly value: T } | { readonly error: ProglogError };

async function answerOf<T>(work: Promise<T>): Promise<Answer<T>> {
  return work.then(
    (value) => ({ value }),
    (error: unknown) => ({ error: ProglogError.from(error) }),
  );
}

function valueOf<T>(answer: Answer<T>): T {
  if ("error" in answer) throw answer.error;
  return answer.value;
}

/** What a ProduceBatch stream does with a message (rpc/produce-batch.ts). */
async function append(
  { log }: NodeCore,
  request: ProduceBatchRequest,
): Promise<ProduceBatchResponse> {
  const { id, records, expectedOffset, timeoutMs, producerId, sequence } = request;
  try {
    const producer = producerFrom(
      {
        producerId,
        sequence: sequence === undefined ? undefined : offsetFrom(sequence, "sequence"),
      },
      namedProducer,
    );
    const appendRequest = {
      ...(expectedOffset === undefined
        ? {}
        : { expectedOffset: offsetFrom(expectedOffset, "expected_offset") }),
      ...(producer === undefined ? {} : { producer }),
      ...(timeoutMs === 0 ? {} : { timeoutMs }),
      records,
    };
    const receipt = await log.produce(appendRequest, { relay: true });
    return {
      ...{ id, count: receipt.count, error: undefined },
      offset: BigInt(receipt.offset),
      timestampMs: BigInt(receipt.timestampMs),
      duplicate: receipt.isDuplicate === true,
    };
  } catch (thrown) {
    const error = produceErrorFrom(ProglogError.from(thrown));
    return { id, count: 0, offset: 0n, timestampMs: 0n, duplicate: false, error };
  }
}

/** A call of ProduceBatch, as BatchStream uses it. */
class ProduceCall extends EventEmitter {
  /** Nothing is buffered here: what is answered has been given. */
  readonly readableEnded = true;
  readonly #stream: SimulatedStream;
  #isOver = false;

  constructor(stream: SimulatedStream) {
    super();
    this.#stream = stream;
    void this.#follow(
      stream.ask(async () => Promise.resolve()),
      "metadata",
    );
  }

  write(request: ProduceBatchRequest): void {
    const copy = { ...request, records: Buffer.from(request.records) };
    void this.#follow(
      this.#stream.ask(async (core) => append(core, copy)),
      "data",
    );
  }

  async #follow(asked: Promise<unknown>, event: string): Promise<void> {
    try {
      const answer = await asked;
      if (!this.#isOver) this.emit(event, answer);
    } catch (cause) {
      if (this.#isOver) return;
      this.#isOver = true;
      const { message } = ProglogError.from(cause);
      // What was sent may be applied; the client's producers can send it again.
      const error = new ProglogError("outcome-unknown", message, { retryable: true, cause });
      this.emit("error", error);
      this.emit("status");
    }
  }

  cancel(): void {
    this.#isOver = true;
  }
}

/** What a node answers to a ConsumeBatches stream (rpc/consume-streams.ts). */
async function* batchesFrom(
  core: NodeCore,
  clock: Clock,
  request: ConsumeBatchesRequest,
  signal: AbortSignal,
): AsyncGenerator<RecordBatch, void, undefined> {
  const { log } = core;
  const { follow } = request;
  const offset = offsetFrom(request.offset, "offset");
  const consistency = consistencyFrom(request.consistency);
  while (follow && offset > log.bounds().endOffset && !signal.aborted) {
    try {
      await log.read(offset, { consistency, waitMs, signal });
    } catch (error) {
      if (!(error instanceof ProglogError) || error.code !== "offset-out-of-range") throw error;
      await new Promise<void>((resolve) => {
        clock.setTimer(pauseMs, resolve);
      });
    }
  }
  yield* log.stream({ from: { kind: "offset", offset }, follow, consistency, signal });
}

/** A call of ConsumeBatches, as BatchReader uses it: a batch is fetched when one is wanted. */
class ConsumeCall extends EventEmitter {
  readableEnded = false;
  readonly #stream: SimulatedStream;
  readonly #clock: Clock;
  readonly #request: ConsumeBatchesRequest;
  readonly #stopping = new AbortController();
  /** At the node. */
  #batches: AsyncGenerator<RecordBatch, void, undefined> | undefined;
  #isFlowing = false;
  #isFetching = false;

  constructor(stream: SimulatedStream, clock: Clock, request: ConsumeBatchesRequest) {
    super();
    this.#stream = stream;
    this.#clock = clock;
    this.#request = request;
  }

  pause(): void {
    this.#isFlowing = false;
  }

  resume(): void {
    this.#isFlowing = true;
    if (!this.#isFetching) void this.#fetch();
  }

  async #fetch(): Promise<void> {
    this.#isFetching = true;
    try {
      while (this.#isFlowing && !this.#isOver) {
        const answer = await this.#stream.ask(async (core) => answerOf(this.#next(core)));
        if (this.#isOver) return;
        const next = valueOf(answer);
        if (next.done === true) this.#end();
        else this.emit("data", wireOf(next.value));
      }
    } catch (error) {
      if (this.#isOver) return;
      this.emit("error", error);
      this.#end();
    } finally {
      this.#isFetching = false;
    }
  }

  async #next(core: NodeCore): Promise<IteratorResult<RecordBatch, void>> {
    const { signal } = this.#stopping;
    this.#batches ??= batchesFrom(core, this.#clock, this.#request, signal);
    return this.#batches.next();
  }

  get #isOver(): boolean {
    return this.readableEnded || this.#stopping.signal.aborted;
  }

  #end(): void {
    this.readableEnded = true;
    this.emit("status");
  }

  cancel(): void {
    this.#stopping.abort(new ProglogError("unavailable", "The reader has gone."));
  }
}

function wireOf({ offset, count, timestampMs, records }: RecordBatch): object {
  return {
    ...{ count, records: Buffer.from(records) },
    offset: BigInt(offset),
    timestampMs: BigInt(timestampMs),
  };
}

/** The connection to one node. */
export class SimulatedChannel {
  readonly address: string;
  /** The streams that the client's producers and consumers open. */
  readonly client = {
    produceBatch: (): ProduceCall => new ProduceCall(this.#open()),
    consumeBatches: (request: ConsumeBatchesRequest): ConsumeCall =>
      new ConsumeCall(this.#open(), this.#parts.process, request),
  };
  readonly #parts: StreamParts;

  constructor(parts: StreamParts, address: string) {
    this.#parts = parts;
    this.address = address;
  }

  #open(): SimulatedStream {
    return new SimulatedStream(this.#parts, hostOf(this.address));
  }

  /** The members, as GetServers lists them. @throws ProglogError */
  async servers(timeoutMs: number): Promise<readonly ServerInfo[]> {
    return this.#ask(async ({ cluster }) => serversFrom(await cluster.status()), { timeoutMs });
  }

  /** @throws ProglogError; the signal's reason. */
  async read(
    request: { readonly offset: number; readonly consistency: Consistency },
    limits: CallLimits,
  ): Promise<LogRecord> {
    const { offset, consistency } = request;
    return this.#ask(async ({ log }) => {
      const record = await log.read(offset, { consistency });
      return { ...record, value: Buffer.from(record.value) };
    }, limits);
  }

  async #ask<T>(work: (core: NodeCore) => Promise<T>, limits: CallLimits): Promise<T> {
    const { timeoutMs, signal } = limits;
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const end = (finish: () => void): void => {
        timer.cancel();
        signal?.removeEventListener("abort", abort);
        finish();
      };
      const abort = (): void => end(() => reject(signal?.reason as Error));
      const timer = this.#parts.process.setTimer(timeoutMs, () => {
        const detail = `The node at ${this.address} did not answer in ${String(timeoutMs)} ms.`;
        end(() => reject(new ProglogError("unavailable", detail)));
      });
      signal?.addEventListener("abort", abort, { once: true });
      this.#open()
        .ask(async (core) => answerOf(work(core)))
        .then(valueOf)
        .then(
          (value) => end(() => resolve(value)),
          (error: unknown) => end(() => reject(error)),
        );
    });
  }
}

/** The channels of a client: one for each address. */
export class SimulatedChannels extends Channels {
  readonly #parts: StreamParts;

  constructor(parts: StreamParts) {
    super(parts.process);
    this.#parts = parts;
  }

  /** The channel as this room uses it. */
  at(address: string): SimulatedChannel {
    return new SimulatedChannel(this.#parts, address);
  }

  /** The channel as producers and consumers use it, which open streams and nothing else. */
  override to(address: string): NodeChannel {
    return this.at(address) as unknown as NodeChannel;
  }
}
