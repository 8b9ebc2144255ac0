/**
 * Nodes as a client sees them, in this process: gRPC servers over one log in memory, with every
 * fault that a client must bear switched from outside.
 *
 * The log judges producers as the real one does (src/machine/producers.ts): what it holds at the end
 * is what was applied, once or not.
 */
import { Metadata, Server, ServerCredentials } from "@grpc/grpc-js";
import type {
  sendUnaryData,
  ServerDuplexStream,
  ServerUnaryCall,
  ServerWritableStream,
} from "@grpc/grpc-js";
import { onTestFinished } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import type { ErrorCode, ProglogErrorOptions } from "../../src/common/errors.js";
import { countRecords, decodeBatch } from "../../src/common/record.js";
import type { LogRecord, RecordBatch } from "../../src/common/record.js";
import { LogService } from "../../src/gen/log/v1/log.js";
import type {
  ConsumeBatchesRequest,
  ConsumeBatchesResponse,
  ConsumeRequest,
  ConsumeResponse,
  GetServersRequest,
  GetServersResponse,
  ProduceBatchRequest,
  ProduceBatchResponse,
} from "../../src/gen/log/v1/log.js";
import { Producers } from "../../src/machine/producers.js";
import { produceErrorFrom, statusFrom } from "../../src/rpc/grpc-errors.js";

const timestampMs = 1_700_000_000_000;

type ProduceCall = ServerDuplexStream<ProduceBatchRequest, ProduceBatchResponse>;
type ConsumeCall = ServerWritableStream<ConsumeBatchesRequest, ConsumeBatchesResponse>;

/** What a node does with the next append. */
export type Fault =
  /** Applies it, and breaks the stream without an answer. */
  | "lose-answer"
  /** Applies it, and does not answer. */
  | "keep-answer"
  /** Applies it, and says when its time is over that too few members have it. */
  | "too-few-copies"
  /** Neither applies nor answers it. */
  | "lose-request-quietly"
  /** Breaks the stream before it is applied. */
  | "lose-request"
  | ProglogError;

export function refusal(code: ErrorCode, options: ProglogErrorOptions = {}): ProglogError {
  return new ProglogError(code, `It is ${code}.`, options);
}

export class FakeNode {
  readonly id: string;
  readonly cluster: FakeCluster;
  readonly #server = new Server({ "grpc.max_receive_message_length": 64 * 1024 * 1024 });
  address = "";
  /** For the next appends, in order. */
  readonly faults: Fault[] = [];
  /** Every append that came, in order. */
  readonly requests: ProduceBatchRequest[] = [];
  /** Thrown by each read, while it is set. */
  readError: ProglogError | undefined;
  /** Appends get no answer, and are not applied: the process is stopped. */
  isHanging = false;
  /** Does not see records from this offset on: it is cut off from the others. */
  sees = Infinity;
  reads = 0;
  /** Batches written to readers. */
  written = 0;
  readonly #calls = new Set<ProduceCall | ConsumeCall>();

  constructor(cluster: FakeCluster, id: string) {
    this.cluster = cluster;
    this.id = id;
  }

  async listen(port = 0): Promise<void> {
    this.#server.addService(LogService, {
      getServers: this.#getServers.bind(this),
      consume: this.#consume.bind(this),
      consumeBatches: this.#consumeBatches.bind(this),
      produceBatch: this.#produceBatch.bind(this),
    });
    const bound = await new Promise<number>((resolve, reject) => {
      const credentials = ServerCredentials.createInsecure();
      this.#server.bindAsync(`127.0.0.1:${port}`, credentials, (error, at) => {
        if (error === null) resolve(at);
        else reject(error);
      });
    });
    this.address = `127.0.0.1:${bound}`;
  }

  /** Streams open now. */
  get openStreams(): number {
    return this.#calls.size;
  }

  /** Cuts all connections and listens no more. */
  kill(): void {
    this.#server.forceShutdown();
    this.cluster.nodes.delete(this.id);
  }

  /** Ends the streams that are open with an error that a node describes. */
  endStreams(error: ProglogError): void {
    for (const call of this.#calls) call.emit("error", statusFrom(error));
  }

  /** Ends the streams that are open as if all were said. */
  finishStreams(): void {
    for (const call of this.#calls) call.end();
  }

  /** Breaks the streams that are open, and says nothing. */
  breakStreams(): void {
    for (const call of this.#calls) this.#break(call);
  }

  #break(call: ProduceCall | ConsumeCall): void {
    call.emit("error", { code: 14, details: "broken", metadata: new Metadata() });
  }

  #getServers(
    _call: ServerUnaryCall<GetServersRequest, GetServersResponse>,
    answer: sendUnaryData<GetServersResponse>,
  ): void {
    if (this.isHanging) return;
    answer(null, { servers: this.cluster.servers() });
  }

  #consume(
    call: ServerUnaryCall<ConsumeRequest, ConsumeResponse>,
    answer: sendUnaryData<ConsumeResponse>,
  ): void {
    this.reads += 1;
    if (this.isHanging) return;
    if (this.readError !== undefined) {
      answer(statusFrom(this.readError));
      return;
    }
    const offset = Number(call.request.offset);
    const endOffset = Math.min(this.sees, this.cluster.endOffset);
    const record = offset < endOffset ? this.cluster.at(offset) : undefined;
    if (record === undefined) {
      answer(statusFrom(refusal("offset-out-of-range", { fields: { endOffset } })));
      return;
    }
    const { value, key = "", headers = {}, json = false } = record;
    const wire = { value, key, headers, json, offset: BigInt(offset) };
    answer(null, { record: { ...wire, timestampMs: BigInt(record.timestampMs) } });
  }

  #consumeBatches(call: ConsumeCall): void {
    this.#track(call);
    if (this.isHanging) return;
    const { readError, cluster } = this;
    if (readError !== undefined) {
      call.emit("error", statusFrom(readError));
      return;
    }
    const { startOffset } = cluster;
    let next = Number(call.request.offset);
    if (next < startOffset) {
      call.emit("error", statusFrom(refusal("offset-trimmed", { fields: { startOffset } })));
      return;
    }
    const go = (): void => {
      while (!call.cancelled && this.#calls.has(call)) {
        const batch = next < this.sees ? cluster.batchFrom(next) : undefined;
        if (batch === undefined) {
          if (call.request.follow) cluster.onAppend(go);
          else call.end();
          return;
        }
        next = batch.offset + batch.count;
        this.written += 1;
        const { offset, count, records } = batch;
        const wire = { offset: BigInt(offset), count, timestampMs: BigInt(timestampMs), records };
        if (call.write(wire)) continue;
        call.once("drain", go);
        return;
      }
    };
    go();
  }

  #produceBatch(call: ProduceCall): void {
    this.#track(call);
    if (this.isHanging) return;
    call.sendMetadata(new Metadata());
    call.on("data", (request: ProduceBatchRequest) => {
      this.requests.push(request);
      if (this.isHanging) return;
      const fault = this.faults.shift();
      if (fault === "lose-request-quietly") return;
      if (fault === "lose-request") this.#break(call);
      else if (fault instanceof ProglogError) {
        const error = produceErrorFrom(fault);
        call.write({ ...empty, id: request.id, error });
      } else {
        const response = this.cluster.append(request);
        if (fault === "too-few-copies") {
          const fields = { offset: Number(response.offset), acks: 2 };
          const error = produceErrorFrom(refusal("write-concern-timeout", { fields }));
          setTimeout(() => call.write({ ...empty, id: request.id, error }), request.timeoutMs);
        } else if (fault === "lose-answer") this.#break(call);
        else if (fault !== "keep-answer") this.cluster.answer(() => call.write(response));
      }
    });
    call.on("end", () => call.end());
  }

  #track(call: ProduceCall | ConsumeCall): void {
    this.#calls.add(call);
    const forget = (): void => {
      this.#calls.delete(call);
    };
    call.on("cancelled", forget);
    call.on("error", forget);
    call.on("finish", forget);
  }
}

const empty = { offset: 0n, count: 0, timestampMs: 0n, error: undefined, duplicate: false };

export class FakeCluster {
  readonly nodes = new Map<string, FakeNode>();
  readonly batches: RecordBatch[] = [];
  /** Id of the node that leads, as all of them say. */
  leader = "";
  endOffset = 0;
  startOffset = 0;
  /** Most bytes of a record that the nodes take. */
  recordBytesMax = 1024 * 1024;
  readonly #producers = new Producers([]);
  #listeners: (() => void)[] = [];
  #held: (() => void)[] | undefined;

  /** Starts nodes, which end with the test; the first one leads. */
  static async start(count: number): Promise<FakeCluster> {
    const cluster = new FakeCluster();
    for (let at = 0; at < count; at += 1) await cluster.add(`node-${at}`);
    cluster.leader = "node-0";
    onTestFinished(() => {
      for (const node of cluster.nodes.values()) node.kill();
    });
    return cluster;
  }

  async add(id: string, port = 0): Promise<FakeNode> {
    const node = new FakeNode(this, id);
    await node.listen(port);
    this.nodes.set(id, node);
    return node;
  }

  node(at: number): FakeNode {
    const node = this.nodes.get(`node-${at}`);
    if (node === undefined) throw new Error(`there is no node ${at}`);
    return node;
  }

  get addresses(): string[] {
    return [...this.nodes.values()].map((node) => node.address);
  }

  servers(): GetServersResponse["servers"] {
    return [...this.nodes.values()].map(({ id, address }) => ({
      ...{ id, name: id, rpcAddr: address, httpAddr: "", voter: true },
      isLeader: id === this.leader,
    }));
  }

  /** Answers to appends are kept back from now on. */
  hold(): void {
    this.#held = [];
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const send of held) send();
  }

  answer(send: () => void): void {
    if (this.#held === undefined) send();
    else this.#held.push(send);
  }

  onAppend(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Appends texts as one batch. */
  fill(...values: readonly (string | Buffer)[]): void {
    const records = Buffer.concat(
      values.map((value) => {
        const bytes = Buffer.from(value);
        const header = Buffer.alloc(5);
        header.writeUInt32BE(bytes.length + 1);
        return Buffer.concat([header, bytes]);
      }),
    );
    this.#take(records, values.length);
  }

  #take(records: Buffer, count: number): number {
    const offset = this.endOffset;
    // A second passes with each record.
    const takenMs = timestampMs + 1000 * offset;
    this.batches.push({ offset, count, timestampMs: takenMs, records });
    this.endOffset += count;
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of listeners) listener();
    return offset;
  }

  append(request: ProduceBatchRequest): ProduceBatchResponse {
    const { id, records, expectedOffset, producerId = "", sequence = 0n } = request;
    const refuse = (error: ProglogError): ProduceBatchResponse => ({
      ...empty,
      id,
      error: produceErrorFrom(error),
    });
    let count: number;
    try {
      count = countRecords(records, this.recordBytesMax);
    } catch (error) {
      return refuse(ProglogError.from(error));
    }
    const known = this.#producers.find({ id: producerId, sequence: Number(sequence) });
    if (known === "too-old") return refuse(refusal("sequence-too-old"));
    const stamp = BigInt(timestampMs);
    if (known !== "new") {
      const original = { offset: BigInt(known.offset), count: known.count, timestampMs: stamp };
      return { ...empty, id, ...original, duplicate: true };
    }
    const actualOffset = this.endOffset;
    if (expectedOffset !== undefined && Number(expectedOffset) !== actualOffset) {
      return refuse(refusal("expected-offset-mismatch", { fields: { actualOffset } }));
    }
    const offset = this.#take(records, count);
    this.#producers.note(producerId, { sequence: Number(sequence), offset, count, timestampMs });
    return { ...empty, id, offset: BigInt(offset), count, timestampMs: stamp };
  }

  records(): LogRecord[] {
    return this.batches.flatMap((batch) => [...decodeBatch(batch)]);
  }

  /** All values, as text. */
  values(): string[] {
    return this.records().map((record) => record.value.toString());
  }

  at(offset: number): LogRecord | undefined {
    const batch = this.batches.findLast((candidate) => candidate.offset <= offset);
    if (batch === undefined) return undefined;
    return [...decodeBatch(batch)][offset - batch.offset];
  }

  /** The batch that holds the offset, whole: a reader has to skip what is before. */
  batchFrom(offset: number): RecordBatch | undefined {
    if (offset >= this.endOffset) return undefined;
    return this.batches.findLast((candidate) => candidate.offset <= offset);
  }
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

/** The error that a promise must be rejected with. */
export async function failureOf(failing: Promise<unknown>): Promise<ProglogError> {
  try {
    await failing;
  } catch (error) {
    if (error instanceof ProglogError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}
