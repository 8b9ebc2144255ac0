/**
 * Reads from members over gRPC, for a process that has no log of its own.
 *
 * Each address has two connections: streams must neither delay a question nor use up the places
 * that its connection has for calls. Those that are not used are closed. A stream holds little that
 * its reader has not taken: one message here, and its HTTP/2 window on the way.
 */
import { credentials as channelCredentials, Metadata } from "@grpc/grpc-js";
import type { ChannelCredentials, ClientReadableStream } from "@grpc/grpc-js";

import type { Clock, Timer } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { LogRecord, RecordBatch } from "../common/record.js";
import { countRecords } from "../common/record.js";
import { Consistency as WireConsistency, LogService as methods } from "../gen/log/v1/log.js";
import type { ConsumeBatchesResponse, Record as WireRecord } from "../gen/log/v1/log.js";
import type { MemberRange, MemberRead, MemberReads } from "../service/member-reads.js";
import { requireAddress } from "./addresses.js";
import { describedError, fromServiceError } from "./grpc-errors.js";
import type { HeldChannel } from "./held-channel.js";
import { holdChannel } from "./held-channel.js";
import { clientChannelOptions, messageBytesMaxDefault } from "./http2-window.js";
import { offsetFrom } from "./log-messages.js";

export interface MemberReadParts {
  readonly clock: Clock;
  /** Largest message taken; default 8 MiB. */
  readonly messageBytesMax?: number;
  /** A connection unused for so long is closed; default a minute. */
  readonly idleMsMax?: number;
  /** How members are dialled; plain text if undefined. Asked at each connection. */
  readonly credentials?: () => ChannelCredentials;
}

/** What a stream's sender may send that its reader has not taken. */
const streamWindowBytes = 256 * 1024;
const idleMsMaxDefault = 60_000;

/** A connection, and the calls that it carries. */
interface Line {
  readonly channel: HeldChannel;
  callsInFlight: number;
  usedMs: number;
}

export class GrpcMemberReads implements MemberReads {
  readonly #parts: MemberReadParts;
  /** By kind and address. */
  readonly #lines = new Map<string, Line>();
  readonly #closing = new Set<Promise<void>>();
  #sweep: Timer | undefined;
  #isClosed = false;

  constructor(parts: MemberReadParts) {
    this.#parts = parts;
  }

  /** Connections held now. */
  get connections(): number {
    return this.#lines.size;
  }

  async read(rpcAddr: string, request: MemberRead): Promise<LogRecord> {
    const { offset, consistency, timeoutMs, signal } = request;
    signal.throwIfAborted();
    const { path, requestSerialize, responseDeserialize } = methods.consume;
    const wireConsistency =
      consistency === "local" ? WireConsistency.LOCAL : WireConsistency.LINEARIZABLE;
    const wire = { offset: BigInt(offset), consistency: wireConsistency };
    const options = { deadline: this.#parts.clock.wallNow() + timeoutMs };
    return this.#on("calls", rpcAddr, async ({ client }) => {
      let abort = (): void => undefined;
      try {
        const record = await new Promise<WireRecord | undefined>((resolve, reject) => {
          const call = client.makeUnaryRequest(
            ...([path, requestSerialize, responseDeserialize] as const),
            ...([wire, new Metadata(), options] as const),
            (error, response) => {
              if (error === null) resolve(response?.record);
              else reject(fromServiceError(error, "read"));
            },
          );
          abort = () => {
            call.cancel();
            reject(signal.reason as Error);
          };
          signal.addEventListener("abort", abort, { once: true });
        });
        return recordFromWire(record, offset);
      } finally {
        signal.removeEventListener("abort", abort);
      }
    });
  }

  async *batches(
    rpcAddr: string,
    request: MemberRange,
  ): AsyncGenerator<RecordBatch, void, undefined> {
    const { follow, signal } = request;
    let { offset } = request;
    signal.throwIfAborted();
    const line = this.#line("streams", rpcAddr);
    const { path, requestSerialize, responseDeserialize } = methods.consumeBatches;
    const call: ClientReadableStream<ConsumeBatchesResponse> =
      line.channel.client.makeServerStreamRequest(
        ...([path, requestSerialize, responseDeserialize] as const),
        { offset: BigInt(offset), consistency: WireConsistency.LOCAL, follow },
      );
    holdOneMessage(call);
    // Leaving the loop makes grpc-js report the cancellation as an error that nobody awaits.
    call.on("error", () => undefined);
    const cancel = (): void => call.cancel();
    signal.addEventListener("abort", cancel, { once: true });
    try {
      for await (const response of call as AsyncIterable<ConsumeBatchesResponse>) {
        const batch = batchFromWire(response, offset);
        yield batch;
        signal.throwIfAborted();
        offset += batch.count;
      }
      signal.throwIfAborted();
    } catch (thrown) {
      signal.throwIfAborted();
      throw describedError(thrown) ?? fromServiceError(thrown, "read");
    } finally {
      signal.removeEventListener("abort", cancel);
      cancel();
      this.#leave(line);
    }
  }

  /** Drops all connections; what is being read fails. May be called again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#sweep?.cancel();
    for (const key of [...this.#lines.keys()]) this.#drop(key);
    await Promise.all(this.#closing);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #on<T>(
    kind: "calls" | "streams",
    rpcAddr: string,
    call: (channel: HeldChannel) => Promise<T>,
  ): Promise<T> {
    const line = this.#line(kind, rpcAddr);
    try {
      return await call(line.channel);
    } finally {
      this.#leave(line);
    }
  }

  /** The connection of a kind to an address, in use until `#leave`. */
  #line(kind: "calls" | "streams", rpcAddr: string): Line {
    if (this.#isClosed) throw unavailable("The gateway is stopping.");
    const key = `${kind} ${rpcAddr}`;
    let line = this.#lines.get(key);
    if (line === undefined) {
      const { messageBytesMax = messageBytesMaxDefault, credentials } = this.#parts;
      const options = clientChannelOptions({ messageBytesMax });
      if (kind === "streams") options["grpc-node.flow_control_window"] = streamWindowBytes;
      const channel = holdChannel(
        requireAddress(rpcAddr, "rpcAddr"),
        credentials?.() ?? channelCredentials.createInsecure(),
        options,
      );
      line = { channel, callsInFlight: 0, usedMs: 0 };
      this.#lines.set(key, line);
      this.#scheduleSweep();
    }
    line.callsInFlight += 1;
    return line;
  }

  #leave(line: Line): void {
    line.callsInFlight -= 1;
    line.usedMs = this.#parts.clock.now();
  }

  #scheduleSweep(): void {
    if (this.#sweep !== undefined || this.#lines.size === 0 || this.#isClosed) return;
    const { clock, idleMsMax = idleMsMaxDefault } = this.#parts;
    this.#sweep = clock.setTimer(idleMsMax / 2, () => {
      this.#sweep = undefined;
      const usedMsMin = clock.now() - idleMsMax;
      for (const [key, line] of [...this.#lines]) {
        if (line.callsInFlight === 0 && line.usedMs <= usedMsMin) this.#drop(key);
      }
      this.#scheduleSweep();
    });
  }

  #drop(key: string): void {
    const line = this.#lines.get(key);
    if (line === undefined) return;
    this.#lines.delete(key);
    const closing = line.channel.drop().finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}

/**
 * grpc-js lets sixteen messages wait for a reader, each as large as a batch may be, and has no
 * option for it. If a later Node has no such field nothing breaks: a slow reader costs more.
 */
function holdOneMessage(call: ClientReadableStream<unknown>): void {
  const state: unknown = Reflect.get(call, "_readableState");
  if (typeof state === "object" && state !== null) Reflect.set(state, "highWaterMark", 1);
}

function recordFromWire(wire: WireRecord | undefined, offset: number): LogRecord {
  if (wire === undefined || offsetFrom(wire.offset, "record.offset") !== offset) {
    throw unavailable("The member answered with another record than it was asked for.");
  }
  const { value, key, headers, json, timestampMs } = wire;
  return {
    value,
    ...(key === "" ? {} : { key }),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    ...(json ? { json: true } : {}),
    offset,
    timestampMs: offsetFrom(timestampMs, "record.timestamp_ms"),
  };
}

/** @throws ProglogError `unavailable` if it is not the batch that comes next, whole. */
function batchFromWire(wire: ConsumeBatchesResponse, offset: number): RecordBatch {
  const { count, records } = wire;
  const isNext = offsetFrom(wire.offset, "offset") === offset;
  if (!isNext || count === 0 || countRecords(records, Number.MAX_SAFE_INTEGER) !== count) {
    throw unavailable("The member sent another batch than the next.");
  }
  return { offset, count, timestampMs: offsetFrom(wire.timestampMs, "timestamp_ms"), records };
}

function unavailable(detail: string): ProglogError {
  return new ProglogError("unavailable", detail, { outcome: null });
}
