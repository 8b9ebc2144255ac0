/**
 * ProduceBatch: many records a message, many messages under way, answers by id.
 *
 * A batch that fails is answered with its error, and the stream goes on. What was answered in one
 * turn of the event loop is written together. The stream accepts with its metadata at once, so
 * that a relay knows what it sends has a taker.
 *
 * A client's producer_id is its own name, which gets its prefix here; a node that relays sends the
 * name in the log, prefix included. Read as the other kind, an id would be another producer's.
 *
 * Invariants: `records` goes to the log as it came, as one append; if the node ends the stream,
 * each batch it took has been answered before, so one without an answer was not applied.
 */
import { Metadata } from "@grpc/grpc-js";
import type { ServerDuplexStream } from "@grpc/grpc-js";

import { ProglogError } from "../common/errors.js";
import { countRecords } from "../common/record.js";
import { isPatient } from "../service/api.js";
import { namedProducer, relayedProducer } from "../service/producer.js";
import type { Producer } from "../service/producer.js";
import type { CallContext } from "./call-gate.js";
import { produceErrorFrom } from "./grpc-errors.js";
import type { BatchId, BatchRequest, BatchResponse } from "./log-codec.js";
import { decodeBatchRequest } from "./log-codec.js";
import { concernFrom, producerFrom } from "./log-messages.js";
import type { ProduceParts } from "./produce-stream.js";
import { StreamLedger } from "./stream-ledger.js";

export type ProduceBatchCall = ServerDuplexStream<Buffer, BatchResponse>;

interface Answer {
  readonly response: BatchResponse;
  readonly count: number;
  readonly bytes: number;
}

/** @throws ProglogError `invalid-request`, `record-too-large`. */
function checkBatch(request: BatchRequest, recordBytesMax: number): void {
  const { records, count } = request;
  const counted = countRecords(records, recordBytesMax);
  if (counted === 0) throw new ProglogError("invalid-request", "The batch has no records.");
  if (counted === count) return;
  const detail = `The batch says it has ${count} records, and has ${counted}.`;
  throw new ProglogError("invalid-request", detail);
}

export class ProduceBatchStream {
  readonly #call: ProduceBatchCall;
  readonly #parts: ProduceParts;
  readonly #context: CallContext;
  readonly #ledger: StreamLedger;
  #underway = 0;
  /** Answered in this turn. */
  #answers: Answer[] = [];
  #stopped: { readonly error?: unknown } | undefined;
  #finish: { resolve(): void; reject(error: unknown): void } | undefined;

  constructor(call: ProduceBatchCall, context: CallContext, parts: ProduceParts) {
    this.#call = call;
    this.#context = context;
    this.#parts = parts;
    this.#ledger = new StreamLedger(call, parts.options);
  }

  /** Serves the stream to its end. Rejects with what ends it, if it is an error. */
  async run(): Promise<void> {
    const { signal } = this.#context;
    this.#call.sendMetadata(new Metadata());
    await new Promise<void>((resolve, reject) => {
      this.#finish = { resolve, reject };
      const abort = (): void => this.#stop({ error: signal.reason as Error });
      signal.addEventListener("abort", abort, { once: true });
      if (signal.aborted) abort();
      this.#call.on("data", (wire: Buffer) => this.#receive(wire));
      this.#call.once("end", () => this.#stop({}));
    });
  }

  #receive(wire: Buffer): void {
    if (this.#stopped !== undefined) return;
    let request: BatchRequest;
    try {
      request = decodeBatchRequest(wire);
    } catch (error) {
      this.#stop({ error });
      return;
    }
    const bytes = request.records.length;
    let producer: Producer | undefined;
    try {
      const { isForwarded } = this.#context;
      producer = producerFrom(request, isForwarded ? relayedProducer : namedProducer);
      checkBatch(request, this.#parts.options.recordBytesMax);
      this.#parts.gate.enter(bytes, isPatient(concernFrom(request).writeConcern));
    } catch (error) {
      this.#ledger.hold(1, 0);
      this.#answer({ response: this.#refusal(request.id, error), count: 1, bytes: 0 });
      return;
    }
    this.#ledger.hold(request.count, bytes);
    this.#underway += 1;
    void this.#append(request, producer);
  }

  async #append(request: BatchRequest, producer: Producer | undefined): Promise<void> {
    const { id, records, count, expectedOffset, timeoutMs } = request;
    const { isForwarded } = this.#context;
    const concern = concernFrom(request);
    let response: BatchResponse;
    try {
      const receipt = await this.#parts.log.produce(
        {
          records,
          ...(expectedOffset === undefined ? {} : { expectedOffset }),
          ...(producer === undefined ? {} : { producer }),
          ...(timeoutMs === 0 ? {} : { timeoutMs }),
          ...concern,
          ...(isForwarded ? { forwarded: true } : {}),
        },
        { relay: !isForwarded },
      );
      response = { id, ...receipt };
    } catch (error) {
      response = this.#refusal(id, error);
    } finally {
      this.#parts.gate.leave(records.length, isPatient(concern.writeConcern));
    }
    this.#underway -= 1;
    this.#answer({ response, count, bytes: records.length });
  }

  #refusal(id: BatchId, thrown: unknown): BatchResponse {
    const error = this.#parts.gate.describe("ProduceBatch", thrown);
    return { id, error: produceErrorFrom(error) };
  }

  #answer(answer: Answer): void {
    if (this.#finish === undefined) return;
    this.#answers.push(answer);
    // Appends that were applied together are answered in the microtasks of one task.
    if (this.#answers.length === 1) queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    const answers = this.#answers;
    this.#answers = [];
    if (this.#finish === undefined) return;
    for (const { response, count, bytes } of answers) {
      this.#call.write(response, () => this.#ledger.release(count, bytes));
    }
    this.#endIfIdle();
  }

  /** Takes no batch any more, and ends once those taken are answered. */
  #stop(reason: { readonly error?: unknown }): void {
    const isGone = this.#call.cancelled;
    if (this.#stopped === undefined || isGone) this.#stopped = reason;
    if (isGone) this.#end(reason.error);
    else this.#endIfIdle();
  }

  #endIfIdle(): void {
    const isIdle = this.#underway === 0 && this.#answers.length === 0;
    if (this.#stopped !== undefined && isIdle) this.#end(this.#stopped.error);
  }

  #end(error: unknown): void {
    const finish = this.#finish;
    this.#finish = undefined;
    if (error === undefined) finish?.resolve();
    else finish?.reject(error);
  }
}
