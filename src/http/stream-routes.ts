/**
 * GET /Data as a stream: NDJSON and server-sent events.
 *
 * Invariants: nothing is read ahead of a reader that does not take it; a stream that did not
 * reach its end never looks complete: its connection is cut instead of closed.
 */
import type { Clock, Timer } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import { decodeBatch } from "../common/record.js";
import type { LogRecord, RecordBatch } from "../common/record.js";
import { Turns } from "../common/turns.js";
import type { LogService, RangeStart, StreamRequest } from "../service/api.js";
import { ClientGoneError } from "./exchange.js";
import type { Exchange } from "./exchange.js";
import type { HttpLogger } from "./logger.js";
import type { HttpOptions } from "./options.js";
import { problemAnswer } from "./problem.js";
import { offsetRange, parseInteger, Query } from "./query.js";
import { recordJson } from "./representation.js";

export type StreamType = "application/x-ndjson" | "text/event-stream";

const streamNames: ReadonlySet<string> = new Set(["from", "limit", "follow", "consistency"]);
/** How long a following stream may take to fail with a status of its own. */
const firstBatchMs = 100;
/** Written at once: large enough to be cheap, small enough to keep a slow reader cheap. */
const chunkLengthMin = 32 * 1024;
/** What opening a stream costs, a write, and a record in it, in the units of turns. */
const openWork = 20;
const writeWork = 4;
const recordWork = 1;

export class StreamRoutes {
  readonly #log: LogService;
  readonly #clock: Clock;
  readonly #logger: HttpLogger;
  readonly #options: HttpOptions;
  readonly #turns: Turns;
  /** What stops each open stream. */
  readonly #open = new Set<AbortController>();
  #isClosing = false;

  constructor(
    log: LogService,
    clock: Clock,
    settings: { readonly logger: HttpLogger; readonly options: HttpOptions },
  ) {
    this.#log = log;
    this.#clock = clock;
    this.#logger = settings.logger;
    this.#options = settings.options;
    this.#turns = new Turns(clock);
  }

  /** Ends the open streams; further ones are refused. */
  close(): void {
    this.#isClosing = true;
    for (const stop of this.#open) stop.abort(stopping());
  }

  /** Answers with a stream; resolves when it has ended. */
  async open(exchange: Exchange, type: StreamType): Promise<void> {
    const plan = planOf(exchange, type);
    if (this.#isClosing) throw stopping();
    if (this.#open.size >= this.#options.streamsMax) {
      throw new ProglogError("overloaded", "Too many streams are open on this node.");
    }
    const stop = new AbortController();
    this.#open.add(stop);
    const gone = (): void => {
      stop.abort(exchange.signal.reason);
    };
    exchange.signal.addEventListener("abort", gone, { once: true });
    const { signal } = stop;
    const turn = this.#turns.take(openWork);
    if (turn !== undefined) await turn;
    const batches = this.#log.stream({ ...plan.request, signal });
    try {
      const pending = batches.next();
      await this.#first(pending, plan.request.follow);
      if (!exchange.signal.aborted) await this.#run(exchange, plan, { batches, pending, signal });
    } finally {
      this.#open.delete(stop);
      exchange.signal.removeEventListener("abort", gone);
      // A generator that waits for records answers return() only once its wait has ended.
      stop.abort(new ClientGoneError());
      await batches.return().catch(() => undefined);
    }
  }

  /**
   * Waits for the first batch, so that a range that cannot be read gets its proper status. At the
   * end of the log there may be none for long: a follower then waits with its headers sent.
   */
  async #first(pending: Promise<unknown>, follow: boolean): Promise<void> {
    // Who stops waiting for it must not leave its failure unheard.
    pending.catch(() => undefined);
    if (!follow) {
      await pending;
      return;
    }
    let timer: Timer | undefined;
    const waited = new Promise<void>((resolve) => {
      timer = this.#clock.setTimer(firstBatchMs, resolve);
    });
    try {
      await Promise.race([pending, waited]);
    } finally {
      timer?.cancel();
    }
  }

  async #run(exchange: Exchange, plan: StreamPlan, source: StreamSource): Promise<void> {
    const { response } = exchange;
    response.writeHead(200, exchange.headers(streamHeaders(plan.type)));
    if (exchange.isHead) {
      response.end();
      return;
    }
    response.flushHeaders();
    const writer = new StreamWriter(exchange, plan.type, {
      options: this.#options,
      turns: this.#turns,
    });
    try {
      await pump(writer, plan, source);
      writer.end();
    } catch (error) {
      this.#endEarly(exchange, plan, { writer, error });
    } finally {
      writer.stopHeartbeat();
    }
  }

  /** A follower expects no end, so it may be told; a range that is cut must look cut. */
  #endEarly(
    exchange: Exchange,
    plan: StreamPlan,
    cause: { readonly writer: StreamWriter; readonly error: unknown },
  ): void {
    if (exchange.signal.aborted) return;
    if (this.#isClosing && plan.request.follow) {
      cause.writer.end();
      return;
    }
    const error = ProglogError.from(cause.error);
    if (error.code === "internal") {
      this.#logger.error({ error: cause.error, path: exchange.path }, "http_stream_failed");
    }
    if (plan.type === "text/event-stream") cause.writer.problem(error);
    else exchange.cut();
  }
}

interface StreamPlan {
  readonly type: StreamType;
  readonly request: Omit<StreamRequest, "signal">;
  /** Most records; undefined for all. */
  readonly limit: number | undefined;
}

interface StreamSource {
  readonly batches: AsyncGenerator<RecordBatch, void>;
  /** The first batch, asked for already. */
  readonly pending: Promise<IteratorResult<RecordBatch, void>>;
  readonly signal: AbortSignal;
}

/**
 * An event source reconnects when it is closed, so server-sent events follow unless told not to.
 */
function planOf(exchange: Exchange, type: StreamType): StreamPlan {
  const query = new Query(exchange.query, (name) => streamNames.has(name));
  const isEvents = type === "text/event-stream";
  const lastEventId = exchange.request.headers["last-event-id"];
  let from: RangeStart = query.from();
  if (isEvents && typeof lastEventId === "string" && lastEventId !== "") {
    const last = parseInteger(lastEventId, "Last-Event-ID", {
      min: 0,
      max: offsetRange.max - 1,
    });
    from = { kind: "offset", offset: last + 1 };
  }
  return {
    type,
    request: {
      from,
      follow: query.boolean("follow") ?? isEvents,
      consistency: query.consistency(),
    },
    limit: query.integer("limit", { min: 1, max: offsetRange.max }),
  };
}

function streamHeaders(type: StreamType): Record<string, string> {
  return {
    "Content-Type": type === "text/event-stream" ? `${type}; charset=utf-8` : type,
    "Cache-Control": "no-store",
    Vary: "Accept",
    // Proxies that buffer would hold back the tail.
    "X-Accel-Buffering": "no",
  };
}

/** Moves records from the log to the reader, at the reader's pace. */
async function pump(writer: StreamWriter, plan: StreamPlan, source: StreamSource): Promise<void> {
  const { batches, pending, signal } = source;
  let left = plan.limit ?? Infinity;
  let result = await pending;
  while (result.done !== true) {
    await writer.turn(result.value.count, signal);
    for (const record of decodeBatch(result.value)) {
      if (!writer.add(record)) await writer.flushed(signal);
      left -= 1;
      if (left === 0) return;
    }
    await writer.settled(signal);
    result = await batches.next();
  }
  // A generator may answer an abort by ending; that is no end of the range.
  signal.throwIfAborted();
}

/** Writes records in one of the two forms, and keeps a quiet stream of events open. */
class StreamWriter {
  readonly #exchange: Exchange;
  readonly #isEvents: boolean;
  readonly #clock: Clock;
  readonly #options: HttpOptions;
  #heartbeat: Timer | undefined;
  readonly #turns: Turns;
  #chunk = "";
  #isFlushDue = false;

  constructor(
    exchange: Exchange,
    type: StreamType,
    { options, turns }: { readonly options: HttpOptions; readonly turns: Turns },
  ) {
    this.#turns = turns;
    this.#exchange = exchange;
    this.#isEvents = type === "text/event-stream";
    this.#clock = exchange.host.clock;
    this.#options = options;
    if (this.#isEvents) this.#scheduleHeartbeat();
  }

  /** Takes a record; false if the reader is behind. */
  add(record: LogRecord): boolean {
    const json = recordJson(record);
    this.#chunk += this.#isEvents ? `id: ${String(record.offset)}\ndata: ${json}\n\n` : `${json}\n`;
    return this.#chunk.length < chunkLengthMin || this.flush();
  }

  /**
   * Waits until so many records may be written: those of many streams that never wait for I/O must
   * not hold up a heartbeat.
   */
  async turn(count: number, signal: AbortSignal): Promise<void> {
    const turn = this.#turns.take(writeWork + recordWork * count);
    if (turn !== undefined) await turn;
    signal.throwIfAborted();
  }

  /** Ends a batch: those that follow within this turn are joined with it into one write. */
  async settled(signal: AbortSignal): Promise<void> {
    if (this.#exchange.response.writableNeedDrain) {
      this.flush();
      await this.flushed(signal);
    } else {
      this.#flushLater();
    }
  }

  /** What is not joined by more within this turn goes out at its end. */
  #flushLater(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    this.#clock.defer(() => {
      this.#isFlushDue = false;
      if (!this.#exchange.isClosed && !this.#exchange.response.writableEnded) this.flush();
    });
  }

  /** Hands everything to the socket; false if the reader is behind. */
  flush(): boolean {
    if (this.#chunk === "") return true;
    const chunk = this.#chunk;
    this.#chunk = "";
    return this.#exchange.response.write(chunk);
  }

  /** Waits for the reader; one that takes nothing for too long is cut off. */
  async flushed(signal: AbortSignal): Promise<void> {
    const { response } = this.#exchange;
    let timer: Timer | undefined;
    let settle = (): void => undefined;
    const drained = new Promise<void>((resolve) => {
      settle = resolve;
      response.once("drain", settle);
      signal.addEventListener("abort", settle, { once: true });
      if (signal.aborted) settle();
      timer = this.#clock.setTimer(this.#options.stallTimeoutMs, () => {
        this.#exchange.cut();
      });
    });
    await drained;
    timer?.cancel();
    response.off("drain", settle);
    signal.removeEventListener("abort", settle);
    signal.throwIfAborted();
  }

  /** Says why the stream ends; a client that reconnects resumes after the last id. */
  problem(error: ProglogError): void {
    this.flush();
    const { body } = problemAnswer(error, { isRead: true });
    this.#exchange.response.end(`event: problem\ndata: ${body}\n\n`);
  }

  end(): void {
    this.flush();
    this.#exchange.response.end();
  }

  stopHeartbeat(): void {
    this.#heartbeat?.cancel();
  }

  #scheduleHeartbeat(): void {
    this.#heartbeat = this.#clock.setTimer(this.#options.heartbeatMs, () => {
      const { response } = this.#exchange;
      if (this.#exchange.isClosed || response.writableEnded) return;
      // A reader that is behind needs no proof of life, and must not make the buffer grow.
      if (!response.writableNeedDrain) response.write(": heartbeat\n\n");
      this.#scheduleHeartbeat();
    });
  }
}

function stopping(): ProglogError {
  return new ProglogError("unavailable", "The node is stopping.");
}
