/**
 * One ConsumeBatches stream from one node, taken batch by batch.
 *
 * The stream is paused unless somebody waits for the next batch: then gRPC holds what it has read,
 * the connection's window fills, and the node reads the log no further.
 */
import type { ClientReadableStream } from "@grpc/grpc-js";

import { ProglogError } from "../common/errors.js";
import type { RecordBatch } from "../common/record.js";
import { countRecords } from "../common/record.js";
import type { ConsumeBatchesRequest, ConsumeBatchesResponse } from "../gen/log/v1/log.js";
import type { NodeChannel } from "./channel.js";
import { fromServiceError } from "./wire-errors.js";

/** A batch; undefined at the end of the log; or why the stream broke. */
type Event = RecordBatch | undefined | ProglogError;

/** @throws ProglogError `internal` if the answer is not what the protocol says. */
function batchOf(response: ConsumeBatchesResponse): RecordBatch {
  const { offset, timestampMs, count, records } = response;
  const counted = countRecords(records, Number.MAX_SAFE_INTEGER);
  if (counted !== count || count === 0 || offset > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new ProglogError("internal", "The node sent a batch that is not well-formed.");
  }
  return { offset: Number(offset), timestampMs: Number(timestampMs), count, records };
}

export class BatchReader {
  readonly #call: ClientReadableStream<ConsumeBatchesResponse>;
  readonly #events: Event[] = [];
  #wake: (() => void) | undefined;

  constructor(channel: NodeChannel, request: ConsumeBatchesRequest) {
    const call = channel.client.consumeBatches(request);
    this.#call = call;
    let failure: unknown;
    call.on("data", (response: ConsumeBatchesResponse) => {
      // Whoever waits for it stops waiting, and with that pauses the stream.
      this.#add(eventOf(response));
    });
    call.on("error", (error) => {
      failure = error;
    });
    // Batches that came before the end are taken before it.
    const settle = (): void => {
      this.#add(failure === undefined ? undefined : fromServiceError(failure, "read"));
    };
    call.on("status", () => {
      if (call.readableEnded) settle();
      else call.once("end", settle);
    });
    call.pause();
  }

  #add(event: Event): void {
    this.#events.push(event);
    this.#wake?.();
  }

  /**
   * Calls `wake` when `take` has something to give, never before this returns.
   *
   * @returns How to stop waiting.
   */
  onNext(wake: () => void): () => void {
    this.#wake = wake;
    this.#call.resume();
    return () => {
      this.#wake = undefined;
      this.#call.pause();
    };
  }

  get hasNext(): boolean {
    return this.#events.length > 0;
  }

  /** The next batch; undefined at the end. @throws ProglogError why the stream broke. */
  take(): RecordBatch | undefined {
    const event = this.#events.shift();
    if (event instanceof ProglogError) throw event;
    return event;
  }

  cancel(): void {
    this.#wake = undefined;
    this.#call.cancel();
    // What it still holds is of no use; unread, it would keep the stream from ending.
    this.#call.removeAllListeners("data");
    this.#call.resume();
  }
}

function eventOf(response: ConsumeBatchesResponse): Event {
  try {
    return batchOf(response);
  } catch (error) {
    return ProglogError.from(error);
  }
}
