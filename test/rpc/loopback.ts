/**
 * A gRPC server on loopback over services in memory, and stubs that talk to it.
 */
import type { EventEmitter } from "node:events";

import { credentials, Metadata } from "@grpc/grpc-js";
import type { ServiceError, StatusObject } from "@grpc/grpc-js";
import { onTestFinished } from "vitest";

import type { Clock } from "../../src/common/clock.js";
import { encodeRecords } from "../../src/common/record.js";
import { systemClock } from "../../src/common/system.js";
import { ClusterServiceClient } from "../../src/gen/cluster/v1/cluster.js";
import { ErrorInfo, RetryInfo } from "../../src/gen/google/rpc/error_details.js";
import { Status } from "../../src/gen/google/rpc/status.js";
import { LogClient } from "../../src/gen/log/v1/log.js";
import type { ProduceRequest, Record as WireRecord } from "../../src/gen/log/v1/log.js";
import type { RpcServerSettings } from "../../src/rpc/server.js";
import { RpcServer } from "../../src/rpc/server.js";
import { MemoryCluster, MemoryLog } from "./memory-node.js";

export interface LoggedEvent {
  readonly level: "info" | "warn" | "error";
  readonly event: string;
  readonly fields: Record<string, unknown>;
}

export interface Loopback {
  readonly log: MemoryLog;
  readonly cluster: MemoryCluster;
  readonly server: RpcServer;
  readonly address: string;
  readonly port: number;
  readonly events: LoggedEvent[];
  readonly logClient: LogClient;
  readonly clusterClient: ClusterServiceClient;
}

const clientOptions = {
  "grpc.enable_http_proxy": 0,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.max_send_message_length": 64 * 1024 * 1024,
  "grpc.max_receive_message_length": 64 * 1024 * 1024,
};

export type LoopbackSettings = Partial<
  Pick<RpcServerSettings, "options" | "addServices"> & {
    readonly port: number;
    readonly clock: Clock;
  }
>;

/** Starts a server, which is closed with the test. */
export async function startLoopback(settings: LoopbackSettings = {}): Promise<Loopback> {
  const events: LoggedEvent[] = [];
  const write = (level: LoggedEvent["level"]) => (fields: object, event: string) => {
    events.push({ level, event, fields: { ...fields } });
  };
  const log = new MemoryLog();
  const cluster = new MemoryCluster(log);
  const { port = 0, clock = systemClock, ...rest } = settings;
  const server = new RpcServer({
    log,
    cluster,
    clock,
    logger: { info: write("info"), warn: write("warn"), error: write("error") },
    ...rest,
  });
  const bound = await server.listen("127.0.0.1", port);
  server.setServing(true);
  const address = `127.0.0.1:${bound.port}`;
  const logClient = new LogClient(address, credentials.createInsecure(), clientOptions);
  const clusterClient = new ClusterServiceClient(
    address,
    credentials.createInsecure(),
    clientOptions,
  );
  onTestFinished(async () => {
    logClient.close();
    clusterClient.close();
    await server.close();
  });
  return { log, cluster, server, address, port: bound.port, events, logClient, clusterClient };
}

type Callback<Response> = (error: ServiceError | null, response: Response) => void;

/** A unary call as a promise. */
export async function ask<Response>(
  send: (answer: Callback<Response>) => unknown,
): Promise<Response> {
  return await new Promise((resolve, reject) => {
    send((error, response) => {
      if (error === null) resolve(response);
      else reject(error);
    });
  });
}

/** Metadata with these marks set. */
export function marked(...marks: readonly string[]): Metadata {
  const metadata = new Metadata();
  for (const mark of marks) metadata.set(mark, "1");
  return metadata;
}

/** The error of what must fail. */
export async function failureOf(failing: Promise<unknown>): Promise<ServiceError> {
  try {
    await failing;
  } catch (error) {
    return error as ServiceError;
  }
  throw new Error("it did not fail");
}

export function wireRecord(value: string | Buffer): WireRecord {
  return {
    value: Buffer.from(value),
    offset: 0n,
    key: "",
    headers: {},
    timestampMs: 0n,
    json: false,
  };
}

export function produceRequest(value: string | Buffer, expectedOffset?: number): ProduceRequest {
  return {
    record: wireRecord(value),
    expectedOffset: expectedOffset === undefined ? undefined : BigInt(expectedOffset),
    timeoutMs: 0,
  };
}

export function recordsOf(...values: readonly (string | Buffer)[]): Buffer {
  return encodeRecords(values.map((value) => ({ value: Buffer.from(value) })));
}

/** Polls until it holds; fails after ten seconds. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const endMs = Date.now() + 10_000;
  while (!holds()) {
    if (Date.now() > endMs) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 2);
    });
  }
}

/** What a stream has given so far. */
export class Collected<Message> {
  readonly messages: Message[] = [];
  error: ServiceError | undefined;
  status: StatusObject | undefined;

  constructor(stream: EventEmitter) {
    stream.on("data", (message: Message) => {
      this.messages.push(message);
    });
    stream.on("error", (error: ServiceError) => {
      this.error = error;
    });
    stream.on("status", (status: StatusObject) => {
      this.status = status;
    });
  }

  async count(count: number): Promise<readonly Message[]> {
    await until(
      `${count} messages`,
      () => this.messages.length >= count || this.error !== undefined,
    );
    if (this.error !== undefined && this.messages.length < count) throw this.error;
    return this.messages;
  }

  async end(): Promise<StatusObject> {
    await until("the end of the stream", () => this.status !== undefined);
    if (this.status === undefined) throw new Error("there is no status");
    return this.status;
  }
}

export interface ErrorDetails {
  readonly info: ErrorInfo;
  readonly retry: RetryInfo | undefined;
}

/** The google.rpc details of a failed call. */
export function detailsOf({ metadata }: { readonly metadata: Metadata }): ErrorDetails {
  const [wire] = metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(wire)) throw new Error("there are no details");
  const { details } = Status.decode(wire);
  const find = (name: string): Buffer | undefined =>
    details.find(({ typeUrl }) => typeUrl === `type.googleapis.com/google.rpc.${name}`)?.value;
  const info = find("ErrorInfo");
  const retry = find("RetryInfo");
  if (info === undefined) throw new Error("there is no ErrorInfo");
  return {
    info: ErrorInfo.decode(info),
    retry: retry === undefined ? undefined : RetryInfo.decode(retry),
  };
}
