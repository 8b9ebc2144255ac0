/**
 * Drives a node over one ProduceBatch stream with a fixed number of records in flight.
 *
 * Natural batching, no timer: records whose place became free in this turn of the event loop go out
 * together at its end. A batch holds at most a fixed share of what is in flight, so that several
 * batches are always under way and none waits for all others.
 */
import { performance } from "node:perf_hooks";

import { Client, credentials } from "@grpc/grpc-js";
import type { ClientDuplexStream } from "@grpc/grpc-js";

import { recordHeaderBytes, writeRecord } from "../../src/common/record.js";
import { LogService, ProduceBatchResponse } from "../../src/gen/log/v1/log.js";
import { clientChannelOptions } from "../../src/rpc/http2-window.js";
import type { Load, Meter } from "./load.js";

/** Batches that what is in flight is divided into, unless that makes them too small or large. */
const windowDefault = 2;
const batchBytesMax = 256 * 1024;
/** Id, length of the records and count, with their tags, at their longest. */
const framingBytesMax = 8 + 6 + 6;

export interface RpcLoadOptions {
  readonly rpcAddr: string;
  readonly inFlight: number;
  /** Bytes of each record's value. */
  readonly valueBytes: number;
  readonly window?: number;
}

interface Sent {
  readonly issuedMs: number;
  readonly count: number;
}

export class RpcLoad implements Load {
  readonly #client: Client;
  readonly #options: RpcLoadOptions;
  readonly #batchCountMax: number;
  readonly #value: Buffer;
  readonly #sent = new Map<number, Sent>();
  #stream: ClientDuplexStream<Buffer, ProduceBatchResponse> | undefined;
  #meter: Meter | undefined;
  #lastId = 0;
  #ready = 0;
  #isScheduled = false;
  #isOver = false;
  #drained: (() => void) | undefined;

  constructor(options: RpcLoadOptions) {
    this.#options = options;
    const share = Math.ceil(options.inFlight / (options.window ?? windowDefault));
    const fitting = Math.floor(batchBytesMax / (options.valueBytes + recordHeaderBytes));
    this.#batchCountMax = Math.max(1, Math.min(share, fitting));
    this.#value = Buffer.alloc(options.valueBytes, 0x61);
    this.#client = new Client(
      options.rpcAddr,
      credentials.createInsecure(),
      clientChannelOptions(),
    );
  }

  async start(meter: Meter): Promise<void> {
    this.#meter = meter;
    this.#stream = this.#client.makeBidiStreamRequest(
      LogService.produceBatch.path,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => ProduceBatchResponse.decode(bytes),
    );
    this.#stream.on("data", (answer: ProduceBatchResponse) => {
      this.#answered(answer);
    });
    this.#stream.on("error", (error: Error) => {
      if (!this.#isOver) meter.failed(error);
      this.#drained?.();
    });
    this.#ready = this.#options.inFlight;
    this.#send();
  }

  async end(): Promise<void> {
    this.#isOver = true;
    if (this.#sent.size > 0 && this.#meter?.failure === undefined) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    this.#stream?.end();
    this.#client.close();
  }

  #answered(answer: ProduceBatchResponse): void {
    const id = Number(answer.id);
    const sent = this.#sent.get(id);
    if (sent === undefined) return;
    this.#sent.delete(id);
    if (answer.error !== undefined) {
      this.#meter?.failed(new Error(`${answer.error.code}: ${answer.error.detail}`));
      return;
    }
    this.#meter?.acknowledged(sent.issuedMs, sent.count);
    if (this.#isOver) {
      if (this.#sent.size === 0) this.#drained?.();
      return;
    }
    this.#ready += sent.count;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#isOver) return;
    const issuedMs = performance.now();
    while (this.#ready > 0) {
      const count = Math.min(this.#ready, this.#batchCountMax);
      this.#ready -= count;
      this.#lastId += 1;
      this.#sent.set(this.#lastId, { issuedMs, count });
      this.#stream?.write(this.#message(this.#lastId, count));
    }
  }

  /** A ProduceBatchRequest, its records encoded in place: what a fast client would send. */
  #message(id: number, count: number): Buffer {
    const recordsBytes = count * (this.#value.length + recordHeaderBytes);
    const message = Buffer.allocUnsafe(recordsBytes + framingBytesMax);
    let at = writeVarint(id, message, writeTag(0x08, message, 0));
    at = writeVarint(recordsBytes, message, writeTag(0x12, message, at));
    for (let record = 0; record < count; record += 1) {
      at = writeRecord({ value: this.#value }, message, at);
    }
    at = writeVarint(count, message, writeTag(0x18, message, at));
    return message.subarray(0, at);
  }
}

/** Field number and wire type of one byte. */
function writeTag(tag: number, target: Buffer, position: number): number {
  target[position] = tag;
  return position + 1;
}

function writeVarint(value: number, target: Buffer, position: number): number {
  let rest = value;
  let at = position;
  for (; rest > 0x7f; at += 1) {
    target[at] = (rest & 0x7f) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  target[at] = rest;
  return at + 1;
}
