/**
 * Reads the log in order, record by record, from one node after the other.
 *
 * When a stream breaks, the next one starts at the next offset: each record is given once. It never
 * ends quietly: it throws, or it goes on, for ever if need be; only a reader that does not
 * follow ends, at an end of the log that a node confirmed.
 *
 * Invariant: records are given by rising offset, without a gap.
 */
import type { Clock } from "../common/clock.js";
import { sleep } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { ErrorCode } from "../common/errors.js";
import type { Random } from "../common/random.js";
import { backoffMs } from "../common/random.js";
import type { RecordBatch } from "../common/record.js";
import { decodeBatch } from "../common/record.js";
import { Consistency as WireConsistency } from "../gen/log/v1/log.js";
import type { ConsumeBatchesRequest } from "../gen/log/v1/log.js";
import { BatchReader } from "./batch-reader.js";
import type { Channels } from "./channel.js";
import { unlessAborted } from "./operations.js";
import { ConsumedRecord } from "./record.js";
import type { Servers } from "./servers.js";

/** `linearizable` confirms a miss with the leader; `local` answers it from one node alone. */
export type Consistency = "linearizable" | "local";

/** Where to start: an offset, `-n` for the last n records, an end of the log, or a time. */
export type From = number | "earliest" | "latest" | Date;

/** @throws ProglogError `invalid-request` */
export function checkFrom(from: From): void {
  if (from === "earliest" || from === "latest" || Number.isSafeInteger(from)) return;
  if (from instanceof Date && !Number.isNaN(from.getTime())) return;
  const detail = 'Option from is an offset, -n, "earliest", "latest" or a Date.';
  throw new ProglogError("invalid-request", detail);
}

export interface ConsumeParts {
  readonly servers: Servers;
  readonly channels: Channels;
  readonly clock: Clock;
  readonly random: Random;
  /** Where the log ends, tried for ever. */
  readonly findEnd: (consistency: Consistency, signal: AbortSignal) => Promise<number>;
  /** When a record was taken, milliseconds since 1970; undefined if it has been trimmed. */
  readonly timeOf: (offset: number, signal: AbortSignal) => Promise<number | undefined>;
  /** True if a node holds a record, as it says itself. */
  readonly holds: (address: string, offset: number, signal: AbortSignal) => Promise<boolean>;
}

export interface ConsumeRequest {
  readonly from: From;
  readonly follow: boolean;
  readonly consistency: Consistency;
  readonly signal: AbortSignal;
}

const backoff = { baseMs: 25, maxMs: 1000 };
/** A stream that gives nothing for so long is held against another node. */
const quietMs = 3000;
/** Faults of single nodes in a row before the reader gives up: none of them can serve it. */
const faultsMax = 10;

/** No other node, and no later time, would answer differently. */
const finalCodes: ReadonlySet<ErrorCode> = new Set([
  "invalid-request",
  "offset-trimmed",
  "offset-out-of-range",
  "unauthenticated",
  "permission-denied",
]);
/** The node is at fault: another may serve. */
const nodeFaults: ReadonlySet<ErrorCode> = new Set(["data-damaged", "internal", "not-found"]);

export function wireConsistency(consistency: Consistency): WireConsistency {
  return consistency === "local" ? WireConsistency.LOCAL : WireConsistency.LINEARIZABLE;
}

/** True if a read that failed so may succeed elsewhere or later. */
export function isReadRetryable(error: ProglogError): boolean {
  return !finalCodes.has(error.code);
}

export class Consumer {
  readonly #parts: ConsumeParts;
  readonly #request: ConsumeRequest;
  #next = 0;
  /** True as long as no record has been given. */
  #isUntouched = true;
  /** Streams that broke since the last batch. */
  #failures = 0;
  #faults = 0;
  /** The node that failed last. */
  #avoided: string | undefined;

  constructor(parts: ConsumeParts, request: ConsumeRequest) {
    this.#parts = parts;
    this.#request = request;
  }

  /** @throws ProglogError what no retry can mend; the signal's reason. */
  async *records(): AsyncGenerator<ConsumedRecord, void, undefined> {
    const { signal, follow } = this.#request;
    this.#next = await this.#start();
    for (;;) {
      const address = await this.#choose();
      const reader = new BatchReader(this.#parts.channels.to(address), this.#wireRequest());
      // A stream that follows has no end of its own.
      let failure: unknown = new ProglogError("unavailable", "The node ended the stream.");
      try {
        for (;;) {
          const batch = await this.#take(reader, address);
          if (batch === undefined) break;
          this.#checkPlace(batch, address);
          for (const record of decodeBatch(batch)) {
            if (record.offset < this.#next) continue;
            this.#next = record.offset + 1;
            this.#isUntouched = false;
            yield new ConsumedRecord(record);
            signal.throwIfAborted();
          }
        }
        if (!follow) return;
      } catch (error) {
        failure = error;
      } finally {
        reader.cancel();
      }
      await this.#recover(address, failure);
    }
  }

  #wireRequest(): ConsumeBatchesRequest {
    const { follow, consistency } = this.#request;
    return { offset: BigInt(this.#next), follow, consistency: wireConsistency(consistency) };
  }

  async #start(): Promise<number> {
    const { from, consistency, signal } = this.#request;
    if (from === "earliest") return 0;
    if (typeof from === "number" && from >= 0) return from;
    const end = await this.#parts.findEnd(consistency, signal);
    if (from instanceof Date) return this.#firstSince(from.getTime(), end);
    return from === "latest" ? end : Math.max(0, end + from);
  }

  /** The first record from a time on, by halves: timestamps never run backwards along the log. */
  async #firstSince(timestampMs: number, end: number): Promise<number> {
    let [low, high] = [0, end];
    while (low < high) {
      const offset = Math.floor((low + high) / 2);
      const takenMs = await this.#parts.timeOf(offset, this.#request.signal);
      if (takenMs === undefined || takenMs < timestampMs) low = offset + 1;
      else high = offset;
    }
    return low;
  }

  async #choose(): Promise<string> {
    const { servers } = this.#parts;
    const { signal } = this.#request;
    signal.throwIfAborted();
    if (servers.members.length === 0) await unlessAborted(servers.refresh(), signal);
    else if (servers.isStale) void servers.refresh();
    return servers.readTarget(this.#avoided);
  }

  /** The next batch of a stream; undefined at its end. */
  async #take(reader: BatchReader, address: string): Promise<RecordBatch | undefined> {
    const { signal } = this.#request;
    while (!reader.hasNext) {
      const isQuiet = await this.#wait(reader);
      if (!isQuiet || reader.hasNext || !(await this.#isBehind(address))) continue;
      const detail = `The node at ${address} does not have what another node has.`;
      throw new ProglogError("unavailable", detail, { outcome: null });
    }
    signal.throwIfAborted();
    return reader.take();
  }

  /** @returns True if nothing came for some time. */
  async #wait(reader: BatchReader): Promise<boolean> {
    const { signal } = this.#request;
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const end = (finish: () => void): void => {
        timer.cancel();
        stop();
        signal.removeEventListener("abort", abort);
        finish();
      };
      const abort = (): void => end(() => reject(signal.reason as Error));
      const timer = this.#parts.clock.setTimer(quietMs, () => end(() => resolve(true)));
      signal.addEventListener("abort", abort, { once: true });
      const stop = reader.onNext(() => end(() => resolve(false)));
    });
  }

  /** A node that is cut off from its cluster, or hangs, looks like one to which nothing comes. */
  async #isBehind(address: string): Promise<boolean> {
    const { servers, holds } = this.#parts;
    const other = servers.readTarget(address);
    if (other === address) return false;
    return holds(other, this.#next, this.#request.signal);
  }

  #checkPlace(batch: RecordBatch, address: string): void {
    if (batch.offset > this.#next) {
      const detail = `The node at ${address} left out records before ${String(batch.offset)}.`;
      throw new ProglogError("internal", detail, { outcome: null });
    }
    this.#failures = 0;
    this.#faults = 0;
    this.#avoided = undefined;
    this.#parts.servers.succeeded(address);
  }

  /** Makes ready for the next stream. @throws what no other stream can mend. */
  async #recover(address: string, failure: unknown): Promise<void> {
    const { servers, clock, random } = this.#parts;
    const { signal, from } = this.#request;
    signal.throwIfAborted();
    if (!(failure instanceof ProglogError)) throw failure;
    const { startOffset } = failure.fields;
    const isPlace = typeof from === "number" && from >= 0;
    if (failure.code === "offset-trimmed" && typeof startOffset === "number" && !isPlace) {
      // Records may be trimmed while they are looked for, but not while they are read.
      if (this.#isUntouched) {
        this.#next = startOffset;
        return;
      }
    }
    if (!isReadRetryable(failure)) throw failure;
    if (nodeFaults.has(failure.code)) this.#faults += 1;
    if (this.#faults >= faultsMax) throw failure;
    servers.failed(address);
    this.#avoided = address;
    this.#failures += 1;
    // The first time another node is most likely there.
    if (this.#failures === 1) return;
    await sleep(clock, backoffMs(random, this.#failures, backoff), signal);
  }
}
