/**
 * gRPC clients for tests, made from .proto files at run time: nothing of src is in them, so they
 * see a node as a stranger does. Also the reader of the details that a failed call carries.
 */
import { join } from "node:path";

import { credentials, loadPackageDefinition } from "@grpc/grpc-js";
import type {
  CallOptions,
  ChannelOptions,
  Client,
  ClientDuplexStream,
  ClientReadableStream,
  ServiceError,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

import { ErrorInfo, RetryInfo } from "../../src/gen/google/rpc/error_details.js";
import { Status } from "../../src/gen/google/rpc/status.js";
import { until } from "./poll.js";

const root = join(import.meta.dirname, "..", "..");
const modules = join(root, "node_modules");

export const bookProto = join(import.meta.dirname, "book", "log.proto");
export const ownProto = join(root, "proto", "log", "v1", "log.proto");
const healthProto = join(modules, "grpc-health-check", "proto", "health", "v1", "health.proto");
const reflectionProto = join(
  modules,
  ...["@grpc", "reflection", "build", "proto", "grpc", "reflection", "v1", "reflection.proto"],
);

/** A message as proto-loader gives it: 64-bit numbers as decimal text, bytes as Buffers. */
export type Message = Readonly<Record<string, unknown>>;
type Callback = (error: ServiceError | null, answer?: Message) => void;
type Unary = (request: Message, options: CallOptions, callback: Callback) => unknown;

/** A service's client with its methods by name. */
export class StubClient {
  readonly #stub: Client;

  /**
   * @param service Full name, such as log.v1.Log.
   * @param options Of the channel, beside those that all have.
   */
  constructor(protoPath: string, service: string, address: string, options: ChannelOptions = {}) {
    const definition = loadSync(protoPath, {
      keepCase: true,
      longs: String,
      enums: String,
      defaults: true,
      oneofs: true,
    });
    let at: unknown = loadPackageDefinition(definition);
    for (const part of service.split(".")) at = (at as Record<string, unknown>)[part];
    const Stub = at as new (address: string, secrets: unknown, options: unknown) => Client;
    this.#stub = new Stub(address, credentials.createInsecure(), {
      "grpc.enable_http_proxy": 0,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.max_receive_message_length": 64 * 1024 * 1024,
      "grpc.max_send_message_length": 64 * 1024 * 1024,
      ...options,
    });
  }

  #method(name: string): unknown {
    const method: unknown = Reflect.get(this.#stub, name);
    if (typeof method !== "function") throw new Error(`there is no method ${name}`);
    return method.bind(this.#stub);
  }

  /** @param timeoutMs How long an answer is waited for; without it as long as the stream lives. */
  async call(name: string, request: Message = {}, timeoutMs?: number): Promise<Message> {
    const method = this.#method(name) as Unary;
    const options = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
    return new Promise((resolve, reject) => {
      method(request, options, (error, answer) => {
        if (error === null) resolve(answer ?? {});
        else reject(error);
      });
    });
  }

  /** The error of a call that must fail. */
  async failure(name: string, request: Message): Promise<ServiceError> {
    try {
      await this.call(name, request);
    } catch (error) {
      return error as ServiceError;
    }
    throw new Error(`${name} did not fail`);
  }

  read(name: string, request: Message): ClientReadableStream<Message> {
    const method = this.#method(name) as (request: Message) => ClientReadableStream<Message>;
    return method(request);
  }

  duplex(name: string): ClientDuplexStream<Message, Message> {
    const method = this.#method(name) as () => ClientDuplexStream<Message, Message>;
    return method();
  }

  close(): void {
    this.#stub.close();
  }
}

/** Collects what a stream gives until it is enough; a stream cancelled by us is no error. */
export class Collected {
  readonly messages: Message[] = [];
  error: ServiceError | undefined;
  isEnded = false;

  constructor(stream: ClientReadableStream<Message> | ClientDuplexStream<Message, Message>) {
    stream.on("data", (message: Message) => {
      this.messages.push(message);
    });
    stream.on("error", (error: ServiceError) => {
      this.error = error;
    });
    stream.on("end", () => {
      this.isEnded = true;
    });
  }

  async untilCount(count: number): Promise<readonly Message[]> {
    return until(`${count} messages of the stream`, async () => {
      if (this.error !== undefined) throw this.error;
      if (this.messages.length >= count) return this.messages;
      throw new Error(`${this.messages.length} came`);
    });
  }
}

export function healthClient(address: string): StubClient {
  return new StubClient(healthProto, "grpc.health.v1.Health", address);
}

export function reflectionClient(address: string): StubClient {
  return new StubClient(reflectionProto, "grpc.reflection.v1.ServerReflection", address);
}

/** What a failed call says besides its status. */
export interface Details {
  /** The code of our table. */
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** True if the details say when to try again. */
  readonly hasRetryInfo: boolean;
}

/** Reads google.rpc details (ErrorInfo, RetryInfo) out of a failed call. */
export function detailsOf(error: ServiceError): Details {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(packed)) throw new Error(`no details in: ${error.message}`);
  let info: ErrorInfo | undefined;
  let retry: RetryInfo | undefined;
  for (const detail of Status.decode(packed).details) {
    if (detail.typeUrl.endsWith("/google.rpc.ErrorInfo")) info = ErrorInfo.decode(detail.value);
    if (detail.typeUrl.endsWith("/google.rpc.RetryInfo")) retry = RetryInfo.decode(detail.value);
  }
  if (info === undefined) throw new Error(`no ErrorInfo in: ${error.message}`);
  return { reason: info.reason, metadata: info.metadata, hasRetryInfo: retry !== undefined };
}
