/**
 * ConsumeStream and ConsumeBatches: the log to a reader, as fast as the reader takes it.
 *
 * grpc-js buffers whatever it is given, so here no more is given than a bounded number of bytes,
 * and the log is not read on until the connection has taken them. When the reader goes, the
 * generator is ended at once, also in the middle of a wait. The streams of a node share the turns
 * of the event loop, so that many of them hold up nothing else.
 */
import type { ServerWritableStream } from "@grpc/grpc-js";

import type { Clock } from "../common/clock.js";
import { sleep } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import { decodeBatch } from "../common/record.js";
import type { RecordBatch } from "../common/record.js";
import type { Turns } from "../common/turns.js";
import type { ConsumeBatchesRequest, ConsumeRequest, ConsumeResponse } from "../gen/log/v1/log.js";
import type { LogService, StreamRequest } from "../service/api.js";
import type { CallContext, Decoded } from "./call-gate.js";
import { requireDecoded } from "./call-gate.js";
import { consistencyFrom, offsetFrom, recordToWire } from "./log-messages.js";

/** One wait for a record that is not there yet; then it is asked for again. */
const waitMs = 60_000;
/** Least time between two such waits, should the first end early. */
const pauseMs = 100;
/** What opening a stream costs, a message, and what bytes of one do, in the units of turns. */
const openWork = 20;
const messageWork = 5;
const bytesPerWork = 8 * 1024;

export interface ConsumeParts {
  readonly log: LogService;
  readonly clock: Clock;
  /** One for all streams of the node. */
  readonly turns: Turns;
  /** Bytes given to a reader's connection and not taken yet. */
  readonly readerBytesMax: number;
}

/** Writes to one reader, never more than its connection takes. */
class Reader<Response> {
  readonly #call: ServerWritableStream<unknown, Response>;
  readonly #signal: AbortSignal;
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(
    call: ServerWritableStream<unknown, Response>,
    signal: AbortSignal,
    bytesMax: number,
  ) {
    this.#call = call;
    this.#signal = signal;
    this.#bytesMax = bytesMax;
  }

  /** @returns A promise to wait for before the next write, if there is need to wait. */
  write(response: Response, bytes: number): Promise<void> | undefined {
    this.#bytes += bytes;
    if (this.#bytes < this.#bytesMax) {
      if (this.#call.write(response)) return undefined;
      return this.#until((resume) => {
        this.#call.once("drain", resume);
        return () => this.#call.off("drain", resume);
      });
    }
    return this.#until((resume) => {
      this.#call.write(response, resume);
      return () => undefined;
    });
  }

  /** Waits until all that was written is taken; rejects as soon as the reader is gone. */
  async #until(listen: (resume: () => void) => () => void): Promise<void> {
    const signal = this.#signal;
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        unlisten();
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", abort, { once: true });
      const unlisten = listen(() => {
        signal.removeEventListener("abort", abort);
        resolve();
      });
    });
    this.#bytes = 0;
  }
}

/**
 * Waits for the record at an offset that a follower may name before it is there.
 *
 * @throws ProglogError what the log says, but for `offset-out-of-range`.
 */
async function waitForRecord(parts: ConsumeParts, request: FromOffset): Promise<void> {
  const { offset, signal } = request;
  for (;;) {
    try {
      await parts.log.read(offset, { signal, waitMs, consistency: request.consistency });
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ProglogError) || error.code !== "offset-out-of-range") throw error;
    }
    await sleep(parts.clock, pauseMs, signal);
  }
}

interface FromOffset {
  readonly offset: number;
  readonly consistency: NonNullable<StreamRequest["consistency"]>;
  readonly signal: AbortSignal;
}

/** Batches from an offset on; with `follow` the offset may be past the end. */
async function* batchesFrom(
  parts: ConsumeParts,
  request: FromOffset,
  follow: boolean,
): AsyncGenerator<RecordBatch, void, undefined> {
  const { offset, consistency, signal } = request;
  const turn = parts.turns.take(openWork);
  if (turn !== undefined) await turn;
  if (follow && offset > parts.log.bounds().endOffset) await waitForRecord(parts, request);
  const from = { kind: "offset", offset } as const;
  yield* parts.log.stream({ from, follow, consistency, signal });
}

/** ConsumeStream: one record a message, for ever. */
export function consumeStream(parts: ConsumeParts) {
  return async (
    call: ServerWritableStream<Decoded<ConsumeRequest>, ConsumeResponse>,
    { signal }: CallContext,
  ): Promise<void> => {
    const request = requireDecoded(call.request);
    const offset = offsetFrom(request.offset, "offset");
    const consistency = consistencyFrom(request.consistency);
    const reader = new Reader(call, signal, parts.readerBytesMax);
    for await (const batch of batchesFrom(parts, { offset, consistency, signal }, true)) {
      const turn = parts.turns.take(messageWork * batch.count);
      if (turn !== undefined) await turn;
      signal.throwIfAborted();
      for (const record of decodeBatch(batch)) {
        const taken = reader.write({ record: recordToWire(record) }, record.value.length);
        if (taken !== undefined) await taken;
      }
      signal.throwIfAborted();
    }
    signal.throwIfAborted();
  };
}

/** ConsumeBatches: batches as they lie in the log. */
export function consumeBatches(parts: ConsumeParts) {
  return async (
    call: ServerWritableStream<Decoded<ConsumeBatchesRequest>, RecordBatch>,
    { signal }: CallContext,
  ): Promise<void> => {
    const request = requireDecoded(call.request);
    const offset = offsetFrom(request.offset, "offset");
    const consistency = consistencyFrom(request.consistency);
    const reader = new Reader(call, signal, parts.readerBytesMax);
    const from = { offset, consistency, signal };
    for await (const batch of batchesFrom(parts, from, request.follow)) {
      const turn = parts.turns.take(messageWork + batch.records.length / bytesPerWork);
      if (turn !== undefined) await turn;
      signal.throwIfAborted();
      const taken = reader.write(batch, batch.records.length);
      if (taken !== undefined) await taken;
      signal.throwIfAborted();
    }
    signal.throwIfAborted();
  };
}
