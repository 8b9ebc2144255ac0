/**
 * Appends records, each exactly once, in the order of the calls.
 *
 * While an append is under way, the records that come meanwhile gather into the next one: nothing
 * waits for a timer, and the busier the log the larger the appends. Every append carries the
 * producer's id and a sequence, so that it can be sent again to any node until it is answered.
 *
 * A node remembers the newest five appends of a producer (ADR-0011). So an append without an answer
 * is never followed by more than four others: however often it is sent again, what became of it is
 * still known, and "too old" can only mean "never applied".
 */
import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { RecordContent } from "../common/record.js";
import { recordBytes } from "../common/record.js";
import { Backlog } from "./backlog.js";
import type { BatchReceipt, WriteConcern } from "./frame.js";
import { Entry, givenUp } from "./frame.js";
import type { Hold } from "./operations.js";
import type { ProducerLimits } from "./options.js";
import { ProducerLink } from "./producer-link.js";
import type { LinkParts } from "./producer-link.js";
import type { RecordInput, RecordValue } from "./record.js";
import { contentOf } from "./record.js";

/** Where a record went. */
export type Receipt = Omit<BatchReceipt, "count">;

export interface AppendOptions {
  /** Append only if the first record would get exactly this offset. */
  readonly expectedOffset?: number | undefined;
  /**
   * On how many members' disks it is to be before this resolves: `majority` of the voters (the
   * default), `all` members, or a number of them, 2 at least. If it is committed and not on so many
   * in time, the error is `write-concern-timeout` (fields `offset`, `acks`), its outcome `applied`.
   */
  readonly w?: WriteConcern | undefined;
  /** Only of a producer with an id: the number of this append. Rises; gaps are allowed. */
  readonly sequence?: number | undefined;
  /** How long this may take, retries included; default `deliveryTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
  /** Gives the call up. What was sent may be applied all the same: the error's outcome tells. */
  readonly signal?: AbortSignal | undefined;
}

export interface ProduceOptions extends AppendOptions {
  readonly key?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

export interface ProducerOptions extends Partial<ProducerLimits> {
  /**
   * A name that outlives the program: sequences of it are remembered by the log. Then each call is
   * an append of its own. Without one the producer has a random id.
   */
  readonly id?: string | undefined;
  /** With an id: the sequence of the first append that does not name its own. */
  readonly sequence?: number | undefined;
}

export interface ProducerParts extends Omit<LinkParts, "limits" | "isNamed" | "id"> {
  readonly hold: Hold;
  readonly onClose: () => void;
}

/** Largest append: what a node takes unless told otherwise. */
const appendBytesMax = 4 * 1024 * 1024;
/** Deadlines are looked at no more often than this. */
const sweepMsMin = 10;
const idBytesMax = 126;

export class Producer implements AsyncDisposable {
  readonly id: string;
  readonly #limits: ProducerLimits;
  readonly #isNamed: boolean;
  readonly #clock: Clock;
  readonly #hold: Hold;
  readonly #backlog: Backlog;
  readonly #link: ProducerLink;
  readonly #onClose: () => void;
  /** Without an answer, in the order of calls. */
  readonly #pending = new Set<Entry>();
  #nextSequence: number | undefined;
  #sweep: { readonly atMs: number; cancel(): void } | undefined;
  #isClosed = false;

  /** @throws ProglogError `invalid-request`. */
  constructor(options: ProducerOptions, limits: ProducerLimits, parts: ProducerParts) {
    checkProducer(options);
    this.id = options.id ?? parts.random.uuid();
    this.#isNamed = options.id !== undefined;
    this.#nextSequence = options.sequence;
    this.#limits = limits;
    this.#clock = parts.clock;
    this.#hold = parts.hold;
    this.#onClose = parts.onClose;
    this.#backlog = new Backlog(limits);
    const link = { ...parts, limits, id: this.id, isNamed: this.#isNamed };
    this.#link = new ProducerLink(link, this.#backlog, (entry, result) =>
      this.#settle(entry, result),
    );
  }

  /**
   * Appends one record; resolves when it is durable on a majority.
   *
   * @throws ProglogError; its `outcome` says what became of the record.
   */
  async produce(value: RecordValue, options: ProduceOptions = {}): Promise<Receipt> {
    const { key, headers } = options;
    const content = contentOf({ value, key, headers });
    const { offset, timestampMs, duplicate } = await this.#append([content], options);
    return { offset, timestampMs, duplicate };
  }

  /**
   * Appends records as one: all of them, with consecutive offsets, or none.
   *
   * @throws ProglogError; its `outcome` says what became of all of them.
   */
  async produceBatch(
    records: readonly (RecordInput | RecordValue)[],
    options: AppendOptions = {},
  ): Promise<BatchReceipt> {
    const contents = records.map((record) =>
      contentOf(typeof record === "object" && "value" in record ? record : { value: record }),
    );
    return this.#append(contents, options);
  }

  /** Resolves when there is room in the buffer, for a program that does not await each call. */
  async ready(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.#isClosed || !this.#backlog.isFull) return;
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        forget();
        reject(signal?.reason as Error);
      };
      const forget = this.#backlog.onRoom(() => {
        signal?.removeEventListener("abort", abort);
        resolve();
      });
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /** Resolves when all that was handed in before has its answer, whatever it is. */
  async flush(): Promise<void> {
    await Promise.allSettled([...this.#pending].map((entry) => entry.promise));
  }

  /** Rejects what has no answer, and lets the connection go. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#link.close();
    this.#sweep?.cancel();
    for (const entry of [...this.#pending]) {
      const error = givenUp(entry, "The producer is closed.");
      this.#settle(entry, withoutRetry(error));
    }
    this.#backlog.close();
    this.#onClose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #append(contents: readonly RecordContent[], options: AppendOptions): Promise<BatchReceipt> {
    if (this.#isClosed) {
      throw new ProglogError("unavailable", "The producer is closed.", { retryable: false });
    }
    if (contents.length === 0) throw invalid("A batch holds at least one record.");
    const bytes = contents.reduce((sum, content) => sum + recordBytes(content), 0);
    if (bytes > appendBytesMax) {
      const limit = String(appendBytesMax);
      const detail = `The append has ${String(bytes)} bytes; the limit is ${limit}.`;
      throw new ProglogError("record-too-large", detail, { fields: { bytesMax: appendBytesMax } });
    }
    checkAppend(options, this.#isNamed);
    const { signal } = options;
    if (signal?.aborted === true) throw aborted(signal);
    const entry = this.#entry(contents, bytes, options);
    this.#backlog.add(entry);
    this.#listen(entry, signal);
    this.#pending.add(entry);
    this.#hold.take();
    this.#armSweep(entry.deadlineMs);
    this.#link.wake();
    return entry.promise;
  }

  #entry(contents: Entry["contents"], bytes: number, options: AppendOptions): Entry {
    const { expectedOffset, w, timeoutMs = this.#limits.deliveryTimeoutMs } = options;
    const sinceMs = this.#clock.now();
    return new Entry(contents, bytes, {
      ...{ expectedOffset, w },
      sequence: this.#isNamed ? this.#takeSequence(options.sequence) : undefined,
      sinceMs,
      deadlineMs: sinceMs + timeoutMs,
      isAlone: this.#isNamed || expectedOffset !== undefined || w !== undefined,
    });
  }

  #takeSequence(named: number | undefined): number {
    const sequence = named ?? this.#nextSequence;
    if (sequence === undefined) {
      throw invalid("A producer with an id needs a sequence, of its own or with each append.");
    }
    if (this.#nextSequence !== undefined) {
      this.#nextSequence = Math.max(this.#nextSequence, sequence + 1);
    }
    return sequence;
  }

  #listen(entry: Entry, signal: AbortSignal | undefined): void {
    if (signal === undefined) return;
    const abort = (): void => {
      const error = givenUp(entry, "The call was aborted.", { cause: signal.reason });
      this.#settle(entry, error);
    };
    signal.addEventListener("abort", abort, { once: true });
    entry.unlisten = () => {
      signal.removeEventListener("abort", abort);
    };
  }

  #settle(entry: Entry, result: BatchReceipt | ProglogError): void {
    if (entry.isSettled) return;
    entry.isSettled = true;
    entry.unlisten?.();
    this.#pending.delete(entry);
    this.#backlog.remove(entry);
    this.#hold.give();
    if (result instanceof ProglogError) entry.reject(result);
    else entry.resolve(result);
  }

  /** Sees to it that deadlines are looked at when this one is due. */
  #armSweep(deadlineMs: number): void {
    if (this.#isClosed || (this.#sweep !== undefined && this.#sweep.atMs <= deadlineMs)) return;
    this.#sweep?.cancel();
    const delayMs = Math.max(sweepMsMin, Math.ceil(deadlineMs - this.#clock.now()));
    const timer = this.#clock.setTimer(delayMs, () => {
      this.#sweep = undefined;
      this.#expire();
    });
    this.#sweep = { atMs: deadlineMs, cancel: () => timer.cancel() };
  }

  #expire(): void {
    const nowMs = this.#clock.now();
    let next = Infinity;
    for (const entry of [...this.#pending]) {
      if (entry.deadlineMs > nowMs) {
        next = Math.min(next, entry.deadlineMs);
        continue;
      }
      const waitedMs = String(Math.round(nowMs - entry.sinceMs));
      const why = `The append was not acknowledged in ${waitedMs} ms.`;
      this.#settle(entry, givenUp(entry, why, { last: this.#link.lastError }));
    }
    if (next < Infinity) this.#armSweep(next);
  }
}

function checkProducer({ id, sequence }: ProducerOptions): void {
  if (id === undefined) {
    if (sequence === undefined) return;
    throw invalid("A sequence needs a producer with an id.");
  }
  const bytes = typeof id === "string" ? Buffer.byteLength(id) : 0;
  if (bytes < 1 || bytes > idBytesMax) {
    throw invalid(`A producer's id is a text of 1 to ${String(idBytesMax)} bytes.`);
  }
  checkInteger("sequence", sequence);
}

function checkAppend(options: AppendOptions, isNamed: boolean): void {
  const { expectedOffset, sequence, timeoutMs, w } = options;
  checkInteger("expectedOffset", expectedOffset);
  checkInteger("sequence", sequence);
  if (sequence !== undefined && !isNamed) throw invalid("A sequence needs a producer with an id.");
  if (timeoutMs !== undefined && !(timeoutMs > 0 && timeoutMs < 2 ** 31)) {
    throw invalid("timeoutMs is a number above 0 and below 2^31.");
  }
  if (w === undefined || w === "majority" || w === "all") return;
  // An answer before the commit promises nothing that could be sent again, or counted once.
  if (!Number.isSafeInteger(w) || w < 2 || w >= 2 ** 32) {
    throw invalid('w is "majority", "all", or a number of members, 2 at least.');
  }
}

function checkInteger(name: string, value: number | undefined): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= 0)) return;
  throw invalid(`${name} is an integer from 0 to 2^53-1.`);
}

function aborted(signal: AbortSignal): ProglogError {
  const detail = "The call was aborted before anything was sent.";
  return new ProglogError("unavailable", detail, { cause: signal.reason });
}

function withoutRetry(error: ProglogError): ProglogError {
  const { code, message, outcome, fields, cause } = error;
  return new ProglogError(code, message, { outcome, fields, cause, retryable: false });
}

function invalid(detail: string): ProglogError {
  return new ProglogError("invalid-request", detail);
}
