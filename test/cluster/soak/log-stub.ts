/**
 * A gRPC client of one node for a soak: calls with deadlines, on a channel that dials again soon
 * after its node was away.
 */
import { credentials, loadPackageDefinition, status } from "@grpc/grpc-js";
import type { CallOptions, Client, ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

import type { ProduceResult } from "../http-client.js";
import { detailsOf, ownProto } from "../rpc-client.js";
import { nameOfMessage } from "./messages.js";

interface WireRecord {
  readonly value: Buffer;
  readonly offset: string;
  readonly json: boolean;
}
interface Consumed {
  readonly record: WireRecord;
}
type Answered<T> = (error: ServiceError | null, answer?: T) => void;

interface LogClient extends Client {
  produce(request: object, options: CallOptions, answered: Answered<{ offset: string }>): void;
  consume(request: object, options: CallOptions, answered: Answered<Consumed>): void;
  consumeStream(request: object): ClientReadableStream<Consumed>;
}
type LogClientMaker = new (address: string, secrets: unknown, options: object) => LogClient;

const definition = loadPackageDefinition(
  loadSync(ownProto, { longs: String, enums: String, defaults: true }),
) as unknown as { log: { v1: { Log: LogClientMaker } } };

export interface NamedRecord {
  readonly offset: number;
  readonly value: string;
}

export type Consumption =
  | { readonly type: "hit"; readonly record: NamedRecord }
  | { readonly type: "miss"; readonly endOffset: number }
  | { readonly type: "failed"; readonly why: string };

export class LogStub {
  readonly #client: LogClient;

  constructor(address: string) {
    this.#client = new definition.log.v1.Log(address, credentials.createInsecure(), {
      "grpc.enable_http_proxy": 0,
      "grpc.enable_retries": 0,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 500,
    });
  }

  /** Appends a message. What grpc-js cannot say for sure is of unknown fate. */
  async produce(message: string, timeoutMs: number): Promise<ProduceResult> {
    const request = { record: { value: Buffer.from(message) }, timeoutMs };
    return new Promise((resolve) => {
      this.#client.produce(request, within(timeoutMs), (error, answer) => {
        if (error === null) resolve({ kind: "acknowledged", offset: Number(answer?.offset) });
        else resolve(failureOf(error));
      });
    });
  }

  async consume(
    offset: number,
    options: { readonly consistency: "linearizable" | "local"; readonly timeoutMs: number },
  ): Promise<Consumption> {
    const consistency = `CONSISTENCY_${options.consistency.toUpperCase()}`;
    return new Promise((resolve) => {
      this.#client.consume({ offset, consistency }, within(options.timeoutMs), (error, answer) => {
        if (answer !== undefined) resolve({ type: "hit", record: named(answer.record) });
        else if (error?.code === status.OUT_OF_RANGE) {
          const { reason, metadata } = detailsOf(error);
          const { endOffset } = metadata;
          if (reason !== "offset-out-of-range" || endOffset === undefined) {
            resolve({ type: "failed", why: reason });
          } else resolve({ type: "miss", endOffset: Number(endOffset) });
        } else resolve({ type: "failed", why: failureOf(error).why });
      });
    });
  }

  /** Follows the log from an offset on until the signal, or until the stream breaks. */
  async follow(
    offset: number,
    signal: AbortSignal,
    onRecord: (record: NamedRecord) => void,
  ): Promise<void> {
    if (signal.aborted) return;
    const stream = this.#client.consumeStream({ offset });
    const abort = (): void => {
      stream.cancel();
    };
    signal.addEventListener("abort", abort, { once: true });
    await new Promise<void>((resolve) => {
      stream.on("data", ({ record }: Consumed) => {
        onRecord(named(record));
      });
      stream.on("error", () => {
        resolve();
      });
      stream.on("end", resolve);
    });
    signal.removeEventListener("abort", abort);
  }

  close(): void {
    this.#client.close();
  }
}

function within(timeoutMs: number): CallOptions {
  return { deadline: Date.now() + timeoutMs };
}

function named({ value, offset, json }: WireRecord): NamedRecord {
  const text = value.toString();
  return { offset: Number(offset), value: nameOfMessage(json ? JSON.parse(text) : text) };
}

function failureOf(
  error: ServiceError | null,
): Extract<ProduceResult, { kind: "rejected" | "unknown" }> {
  if (error === null) return { kind: "unknown", why: "no answer" };
  try {
    const { reason, metadata } = detailsOf(error);
    return { kind: metadata["outcome"] === "not_applied" ? "rejected" : "unknown", why: reason };
  } catch {
    // Not a word of the node: the connection broke, or the deadline passed here.
    return { kind: "unknown", why: `gRPC ${status[error.code]}` };
  }
}
