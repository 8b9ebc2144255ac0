/**
 * A client that speaks only HTTP, by `fetch`: for browsers, workers and edge runtimes.
 *
 * It needs nothing of Node. Appends go one request after the other, each with a producer's id and
 * sequence, so that each may be sent again, to any server, until it is answered; what is handed in
 * meanwhile goes together in the next. Reads and loops go on at another server when one fails.
 *
 * Invariant: a request that is sent again has the sequence it had.
 */
import type { Clock } from "../common/clock.js";
import { sleep } from "../common/clock.js";
import { isErrorCode, ProglogError } from "../common/errors.js";
import type { ErrorFields, Outcome } from "../common/errors.js";
import type { Random } from "../common/random.js";
import { backoffMs } from "../common/random.js";
import { JsonValue } from "./record.js";
import { webClock, webRandom } from "./web-system.js";

export { ProglogError } from "../common/errors.js";
export { json } from "./record.js";

export interface HttpClientOptions {
  /** Base URLs of nodes or gateways, such as `http://127.0.0.1:5000`; tried in turn. */
  readonly servers: readonly string[];
  /** How long an append may take, retries included; default 30 000. */
  readonly deliveryTimeoutMs?: number;
  /** How long a read is tried; default 10 000. */
  readonly readTimeoutMs?: number;
  /** Appends that wait for an answer; more fail with `overloaded`. Default 10 000. */
  readonly appendsWaitingMax?: number;
  /** Default: the platform's. */
  readonly fetch?: typeof fetch;
  readonly clock?: Clock;
  readonly random?: Random;
}

export interface HttpProduceOptions {
  readonly key?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Append only if the record would get exactly this offset. */
  readonly expectedOffset?: number | undefined;
  /** On how many members' disks it is to be: `majority` (default), `all`, or a number above 1. */
  readonly w?: "majority" | "all" | number | undefined;
}

export interface HttpReceipt {
  readonly offset: number;
  readonly timestampMs: number;
}

/** A record as REST shows it. */
export interface HttpRecord {
  readonly offset: number;
  readonly timestampMs: number;
  /** The JSON value that was posted, a text, or bytes where they are not UTF-8. */
  readonly message: unknown;
  readonly key: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

export interface HttpConsumeOptions {
  /** An offset, `earliest` (default), `latest`, `-n` for the last n records, or a time. */
  readonly from?: number | "earliest" | "latest" | Date | undefined;
  /** Go on at the end of the log, for ever; default false. */
  readonly follow?: boolean | undefined;
  readonly consistency?: "linearizable" | "local" | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Append {
  readonly value: string | Uint8Array | JsonValue;
  readonly options: HttpProduceOptions;
  readonly deadlineMs: number;
  isAlone: boolean;
  readonly resolve: (receipt: HttpReceipt) => void;
  readonly reject: (error: ProglogError) => void;
}

/** What one try of one request came to. */
interface Asked {
  readonly path: string;
  readonly init: RequestInit;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** True: the signal ends the answer's body too, which is read later. */
  readonly isStream?: boolean;
}

const toJson = async (response: Response): Promise<unknown> => await response.json();
const backoff = { baseMs: 50, maxMs: 1000 };
const tryMsMax = 12_000;
const messagesMax = 1000;
const messageCharsMax = 256 * 1024;
/** Refusals that may be owed to one of several appends in a request. */
const ownFaults: ReadonlySet<string> = new Set(["record-too-large", "invalid-request"]);

export class HttpClient {
  readonly #servers: readonly string[];
  readonly #deliveryTimeoutMs: number;
  readonly #readTimeoutMs: number;
  readonly #appendsWaitingMax: number;
  readonly #fetch: typeof fetch;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #producerId: string;
  readonly #closing = new AbortController();
  #at = 0;
  #sequence = 0;
  #queue: Append[] = [];
  #isSending = false;

  /** @throws ProglogError `invalid-request`. */
  constructor(options: HttpClientOptions) {
    this.#servers = options.servers.map((server) => server.replace(/\/+$/, ""));
    if (this.#servers.length === 0 || !this.#servers.every((url) => /^https?:\/\//.test(url))) {
      throw invalid("Option servers names base URLs, such as http://127.0.0.1:5000.");
    }
    this.#deliveryTimeoutMs = options.deliveryTimeoutMs ?? 30_000;
    this.#readTimeoutMs = options.readTimeoutMs ?? 10_000;
    this.#appendsWaitingMax = options.appendsWaitingMax ?? 10_000;
    this.#clock = options.clock ?? webClock;
    this.#random = options.random ?? webRandom;
    // A browser's fetch must not be called as a method of something else.
    this.#fetch = options.fetch ?? (async (input, init) => fetch(input, init));
    this.#producerId = this.#random.uuid();
  }

  /**
   * Appends a record, once, in the order of the calls.
   *
   * @throws ProglogError; its `outcome` says what became of the record.
   */
  async produce(
    value: string | Uint8Array | JsonValue,
    options: HttpProduceOptions = {},
  ): Promise<HttpReceipt> {
    if (this.#closing.signal.aborted) throw closed("not_applied");
    if (this.#queue.length >= this.#appendsWaitingMax) {
      throw new ProglogError("overloaded", "As many appends wait as this client holds.");
    }
    const { key, headers, expectedOffset, w } = options;
    if (typeof w === "number" && !(w >= 2)) throw invalid("w is 2 members at least.");
    const hasTerms = [key, headers, expectedOffset, w].some((term) => term !== undefined);
    return new Promise<HttpReceipt>((resolve, reject) => {
      this.#queue.push({
        ...{ value, options, resolve, reject },
        deadlineMs: this.#clock.now() + this.#deliveryTimeoutMs,
        isAlone: hasTerms || value instanceof Uint8Array,
      });
      if (!this.#isSending) void this.#sendAll();
    });
  }

  /** @throws ProglogError `offset-out-of-range`, `offset-trimmed`, …; the signal's reason. */
  async read(
    offset: number,
    options: Omit<HttpConsumeOptions, "from" | "follow"> = {},
  ): Promise<HttpRecord> {
    if (!Number.isSafeInteger(offset) || offset < 0) {
      throw invalid("An offset is an integer from 0 to 2^53-1.");
    }
    const { consistency = "linearizable", signal } = options;
    const path = `/Data?offset=${String(offset)}&consistency=${consistency}`;
    return recordOf(await this.#getJson(path, signal));
  }

  /** The members and the leader, as `GET /cluster` shows them. */
  async status(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<unknown> {
    return this.#getJson("/cluster", options.signal);
  }

  /**
   * Reads the log in order; when a stream breaks, from the next offset on, for ever.
   *
   * @throws ProglogError what no retry can mend; the signal's reason.
   */
  async *consume(options: HttpConsumeOptions = {}): AsyncGenerator<HttpRecord, void, undefined> {
    const { from = "earliest", follow = false, consistency = "linearizable", signal } = options;
    let next = await this.#startOf(from, signal);
    const terms = `follow=${String(follow)}&consistency=${consistency}`;
    const call = this.#begin(signal);
    try {
      for (let failures = 0; ; failures += 1) {
        if (failures > 0) await sleep(this.#clock, this.#pauseMs(failures), call.signal);
        try {
          for await (const record of this.#stream(`/Data?from=${next}&${terms}`, call.signal)) {
            failures = 0;
            if (record.offset < next) continue;
            next = record.offset + 1;
            yield record;
            call.signal.throwIfAborted();
          }
          if (!follow) return;
        } catch (error) {
          call.signal.throwIfAborted();
          if (!(error instanceof ProglogError) || !error.retryable) throw error;
        }
        this.#at += 1;
      }
    } finally {
      call.end();
    }
  }

  /** Ends all that is under way; appends without an answer are rejected. */
  close(): void {
    this.#closing.abort(closed(null));
    for (const append of this.#queue.splice(0)) append.reject(closed("not_applied"));
  }

  async #startOf(
    from: number | "earliest" | "latest" | Date,
    signal?: AbortSignal,
  ): Promise<number> {
    if (typeof from === "number" && from >= 0) return from;
    const place = from instanceof Date ? `timestamp:${from.toISOString()}` : String(from);
    const path = `/Data?from=${encodeURIComponent(place)}&limit=1`;
    const page = (await this.#getJson(path, signal)) as {
      readonly messages: readonly { readonly offset: number }[];
      readonly next: number;
    };
    return page.messages[0]?.offset ?? page.next;
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    // What is handed in until the end of this turn goes together.
    await Promise.resolve();
    while (this.#queue.length > 0) await this.#send(this.#take());
    this.#isSending = false;
  }

  #take(): Append[] {
    const taken: Append[] = [];
    let chars = 0;
    for (const append of this.#queue) {
      chars += append.value instanceof JsonValue ? append.value.text.length : append.value.length;
      const isOver = taken.length >= messagesMax || chars > messageCharsMax;
      if (taken.length > 0 && (append.isAlone || isOver)) break;
      taken.push(append);
      if (append.isAlone) break;
    }
    this.#queue.splice(0, taken.length);
    return taken;
  }

  /** Sends appends as one until there is an answer. Never rejects. */
  async #send(appends: readonly Append[]): Promise<void> {
    const sequence = this.#sequence++;
    const deadlineMs = Math.max(...appends.map((append) => append.deadlineMs));
    let isOpen = false;
    let last = closed("not_applied");
    for (let tries = 0; !this.#closing.signal.aborted; tries += 1) {
      const leftMs = deadlineMs - this.#clock.now();
      if (leftMs <= 0) break;
      try {
        const timeoutMs = Math.min(leftMs, tryMsMax);
        const { signal } = this.#closing;
        const request = requestOf(appends, this.#producerId, sequence);
        const answer = (await this.#ask({ ...request, timeoutMs, signal }, toJson)) as {
          readonly offset: number;
          readonly timestamp: string;
        };
        const timestampMs = Date.parse(answer.timestamp);
        appends.forEach(({ resolve }, nth) => {
          resolve({ offset: answer.offset + nth, timestampMs });
        });
        return;
      } catch (thrown) {
        const error = asError(thrown, "unknown");
        if (error.outcome === "unknown") isOpen = true;
        last = error;
        if (!error.retryable && error.code !== "outcome-unknown") break;
        this.#at += 1;
        const pause = sleep(this.#clock, this.#pauseMs(tries), this.#closing.signal);
        await pause.catch(() => undefined);
      }
    }
    if (appends.length > 1 && ownFaults.has(last.code) && !isOpen) {
      for (const append of appends) append.isAlone = true;
      this.#queue.unshift(...appends);
      return;
    }
    const final = isOpen && last.outcome !== "applied" ? unknownOutcome(last) : last;
    for (const append of appends) append.reject(final);
  }

  #pauseMs(tries: number): number {
    return backoffMs(this.#random, tries, backoff);
  }

  async #getJson(path: string, signal: AbortSignal | undefined): Promise<unknown> {
    const deadlineMs = this.#clock.now() + this.#readTimeoutMs;
    const call = this.#begin(signal);
    try {
      for (let tries = 0; ; tries += 1) {
        try {
          const timeoutMs = Math.max(1, deadlineMs - this.#clock.now());
          const asked = { path, init: {}, timeoutMs, signal: call.signal };
          return await this.#ask(asked, toJson);
        } catch (thrown) {
          call.signal.throwIfAborted();
          const error = asError(thrown, null);
          if (!error.retryable || this.#clock.now() >= deadlineMs) throw error;
        }
        this.#at += 1;
        await sleep(this.#clock, this.#pauseMs(tries), call.signal);
      }
    } finally {
      call.end();
    }
  }

  /** A signal that aborts with the caller's, or when the client closes. */
  #begin(signal?: AbortSignal): { readonly signal: AbortSignal; end(): void } {
    const controller = new AbortController();
    const sources = [this.#closing.signal, ...(signal === undefined ? [] : [signal])];
    const abort = (): void => {
      controller.abort(sources.find((source) => source.aborted)?.reason);
    };
    for (const source of sources) source.addEventListener("abort", abort, { once: true });
    if (sources.some((source) => source.aborted)) abort();
    const end = (): void => {
      for (const source of sources) source.removeEventListener("abort", abort);
      controller.abort();
    };
    return { signal: controller.signal, end };
  }

  /**
   * One try at one server.
   *
   * @param take Reads the answer, within the same time.
   * @throws ProglogError what the node says.
   */
  async #ask<T>(asked: Asked, take: (response: Response) => Promise<T>): Promise<T> {
    const { path, init, timeoutMs, signal } = asked;
    const server = this.#servers[this.#at % this.#servers.length] ?? "";
    const controller = new AbortController();
    const abort = (): void => controller.abort(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    const timer = this.#clock.setTimer(timeoutMs, () => {
      const detail = `${server} did not answer in time.`;
      controller.abort(new ProglogError("unavailable", detail, { outcome: null }));
    });
    try {
      const response = await this.#fetch(server + path, { ...init, signal: controller.signal });
      if (response.ok) return await take(response);
      throw problemOf(await response.json().catch(() => undefined), response.status);
    } finally {
      timer.cancel();
      if (!asked.isStream) signal.removeEventListener("abort", abort);
    }
  }

  /** The records of one NDJSON stream. @throws ProglogError `unavailable` if it breaks. */
  async *#stream(path: string, signal: AbortSignal): AsyncGenerator<HttpRecord, void, undefined> {
    const init = { headers: { accept: "application/x-ndjson" } };
    const timeoutMs = this.#readTimeoutMs;
    let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
    try {
      const asked = { path, init, timeoutMs, signal, isStream: true };
      reader = await this.#ask(asked, async ({ body }) => body?.getReader());
      const decoder = new TextDecoder();
      let text = "";
      while (reader !== undefined) {
        const { done, value } = await reader.read();
        if (done) return;
        text += decoder.decode(value, { stream: true });
        const lines = text.split("\n");
        text = lines.pop() ?? "";
        for (const line of lines) if (line !== "") yield recordOf(JSON.parse(line) as unknown);
      }
    } catch (thrown) {
      throw asError(thrown, null);
    } finally {
      await reader?.cancel().catch(() => undefined);
    }
  }
}

/** The request that appends them. */
function requestOf(
  appends: readonly Append[],
  producerId: string,
  sequence: number,
): { readonly path: string; readonly init: RequestInit } {
  const [first] = appends;
  if (first?.value instanceof Uint8Array) {
    const query = new URLSearchParams({ producerId, sequence: String(sequence) });
    const { key, headers = {}, expectedOffset, w } = first.options;
    if (key !== undefined) query.set("key", key);
    if (expectedOffset !== undefined) query.set("expectedOffset", String(expectedOffset));
    if (w !== undefined) query.set("w", String(w));
    for (const [name, value] of Object.entries(headers)) query.set(`header.${name}`, value);
    const type = { "content-type": "application/octet-stream" };
    const body = first.value as Uint8Array<ArrayBuffer>;
    return { path: `/Data?${query.toString()}`, init: { method: "POST", headers: type, body } };
  }
  const texts = appends.map(({ value }) =>
    value instanceof JsonValue ? value.text : JSON.stringify(value),
  );
  const message =
    appends.length === 1 ? `"message":${texts[0] ?? ""}` : `"messages":[${texts.join(",")}]`;
  // JSON text is spliced in as it stands, so that its numbers keep their digits.
  const terms = JSON.stringify({ ...first?.options, producerId, sequence });
  const body = `{${message},${terms.slice(1)}`;
  const headers = { "content-type": "application/json" };
  return { path: "/Data", init: { method: "POST", headers, body } };
}

function recordOf(shown: unknown): HttpRecord {
  const { offset, timestamp, message, key, headers, encoding } = shown as {
    readonly offset: number;
    readonly timestamp: string;
    readonly message: unknown;
    readonly key?: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly encoding?: string;
  };
  const isBytes = encoding === "base64" && typeof message === "string";
  return {
    offset,
    timestampMs: Date.parse(timestamp),
    message: isBytes ? Uint8Array.from(atob(message), (char) => char.charCodeAt(0)) : message,
    key,
    headers: headers ?? {},
  };
}

/** What a node answered that is no success. */
function problemOf(body: unknown, status: number): ProglogError {
  const problem = typeof body === "object" && body !== null ? body : {};
  const { code, detail, outcome, retryable, type, title, ...rest } = problem as Record<
    string,
    unknown
  >;
  if (typeof code !== "string" || !isErrorCode(code)) {
    // A proxy between: what became of the request is not known.
    const sentence = `The server answered ${String(status)}.`;
    return new ProglogError("unavailable", sentence, { outcome: "unknown" });
  }
  return new ProglogError(code, String(detail), {
    outcome: (outcome ?? null) as Outcome | null,
    retryable: retryable === true,
    fields: rest as ErrorFields,
  });
}

/** What `fetch` threw, with the outcome of a request that may have arrived. */
function asError(thrown: unknown, outcome: Outcome | null): ProglogError {
  if (thrown instanceof ProglogError) {
    const isSilence = thrown.code === "unavailable" && thrown.outcome === null;
    return isSilence ? new ProglogError("unavailable", thrown.message, { outcome }) : thrown;
  }
  const detail = `The server can't be reached: ${thrown instanceof Error ? thrown.message : ""}.`;
  return new ProglogError("unavailable", detail, { outcome, cause: thrown });
}

function unknownOutcome(cause: ProglogError): ProglogError {
  const detail = `It is not known whether the append was applied: ${cause.message}`;
  return new ProglogError("outcome-unknown", detail, { cause });
}

function closed(outcome: Outcome | null): ProglogError {
  const detail = "The client is closed.";
  return new ProglogError("unavailable", detail, { outcome, retryable: false });
}

function invalid(detail: string): ProglogError {
  return new ProglogError("invalid-request", detail);
}
