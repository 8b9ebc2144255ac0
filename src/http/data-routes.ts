/**
 * POST /Data, and GET /Data for one record or a page.
 *
 * Invariant: only a record that is there is ever marked as cacheable; it is immutable, while the
 * end of the log is not.
 */
import { ProglogError } from "../common/errors.js";
import type { LogRecord } from "../common/record.js";
import type { AppendAnswer, AppendOutcome, ListPage, LogService } from "../service/api.js";
import { isCommitted, isPatient } from "../service/api.js";
import { preferredType } from "./accept.js";
import { isJsonType, parseJsonAppend, parseRawAppend, refuseQuery } from "./append-body.js";
import type { ParsedAppend } from "./append-body.js";
import { idempotencyKeyOf, producerOf } from "./append-producer.js";
import { readBody } from "./body.js";
import { Budget } from "./budget.js";
import type { Exchange } from "./exchange.js";
import { invalid } from "./json-body.js";
import type { HttpOptions } from "./options.js";
import { offsetRange, Query } from "./query.js";
import { refuseOtherOrigin } from "./same-origin.js";
import { recordHeaders, recordJson, timestampText } from "./representation.js";
import type { StreamRoutes } from "./stream-routes.js";

const singleNames: ReadonlySet<string> = new Set(["offset", "wait", "consistency"]);
const listNames: ReadonlySet<string> = new Set(["from", "limit", "consistency"]);
const outcomeNames: ReadonlySet<string> = new Set(["producerId", "sequence"]);
const listLimitDefault = 1000;
const listLimitMax = 10_000;
const listBytesMax = 4 * 1024 * 1024;
const immutable = "public, max-age=31536000, immutable";

export class DataRoutes {
  readonly #log: LogService;
  readonly #options: HttpOptions;
  readonly #streams: StreamRoutes;
  readonly #appends: Budget;
  /** Those that wait for more copies than a majority. */
  readonly #patientAppends: Budget;
  /** Their records. */
  readonly #patientBytes: Budget;

  constructor(log: LogService, streams: StreamRoutes, options: HttpOptions) {
    this.#log = log;
    this.#streams = streams;
    this.#options = options;
    this.#appends = new Budget(options.appendsInFlightMax);
    this.#patientAppends = new Budget(options.appendsInFlightMax);
    this.#patientBytes = new Budget(options.bodyBytesInFlightMax);
  }

  /** POST /Data. A slot is taken only once the body is here: slow senders must not hold them. */
  async append(exchange: Exchange): Promise<void> {
    refuseOtherOrigin(exchange, "A page from another origin may not append.");
    const parsed = await this.#parseAppend(exchange);
    const { writeConcern } = parsed.request;
    // Who waits for more than the commit must not keep others from it.
    const patient = isPatient(writeConcern);
    const budget = patient ? this.#patientAppends : this.#appends;
    // The log lets go of the records at the commit, but they are held here until the answer.
    const bytes = patient ? parsed.request.records.length : 0;
    const overloaded = "Too many appends wait for their answer; try again.";
    if (!budget.take(1)) throw new ProglogError("overloaded", overloaded);
    try {
      if (!this.#patientBytes.take(bytes)) throw new ProglogError("overloaded", overloaded);
      try {
        answerAppend(exchange, parsed, await this.#log.produce(parsed.request));
      } finally {
        this.#patientBytes.giveBack(bytes);
      }
    } finally {
      budget.giveBack(1);
    }
  }

  async #parseAppend(exchange: Exchange): Promise<ParsedAppend> {
    const contentType = exchange.request.headers["content-type"];
    const idempotencyKey = idempotencyKeyOf(exchange.request);
    if (isJsonType(contentType)) {
      refuseQuery(exchange.query);
      const body = await readBody(exchange, this.#options.bodyBytesMax);
      try {
        return parseJsonAppend(body.bytes, { idempotencyKey }, this.#options);
      } finally {
        body.release();
      }
    }
    const body = await readBody(exchange, this.#options.recordBytesMax);
    try {
      if (contentType === undefined && body.bytes.length === 0) {
        throw invalid("There is nothing to append: no body and no Content-Type.");
      }
      const { query } = exchange;
      return parseRawAppend(body.bytes, { query, idempotencyKey }, this.#options);
    } finally {
      body.release();
    }
  }

  /** GET /Data/outcome: what became of an append with a producer. It may decide it. */
  async outcome(exchange: Exchange): Promise<void> {
    const query = new Query(exchange.query, (name) => outcomeNames.has(name));
    const producer = producerOf({
      producerId: query.text("producerId"),
      sequence: query.integer("sequence", offsetRange),
      idempotencyKey: idempotencyKeyOf(exchange.request),
    });
    if (producer === undefined) {
      throw invalid("Whose append? Give producerId and sequence, or the header Idempotency-Key.");
    }
    const outcome = await this.#log.outcome(producer);
    exchange.sendJson(200, outcomeJson(outcome), { "Cache-Control": "no-store" });
  }

  /** GET /Data: one record if `offset` is given, else a page or a stream. */
  async read(exchange: Exchange): Promise<void> {
    if (/(?:^|&)offset(?:=|&|$)/.test(exchange.query)) {
      await this.#readOne(exchange);
      return;
    }
    const type = preferredType(exchange.request.headers.accept, [
      "application/json",
      "application/x-ndjson",
      "text/event-stream",
    ]);
    if (type === "application/json") await this.#readPage(exchange);
    else await this.#streams.open(exchange, type);
  }

  async #readOne(exchange: Exchange): Promise<void> {
    const query = new Query(exchange.query, (name) => singleNames.has(name));
    const offset = query.integer("offset", offsetRange) ?? 0;
    const waitMs = query.durationMs("wait", this.#options.waitMsMax);
    const record = await this.#log.read(offset, {
      consistency: query.consistency(),
      // Without a wait there is nothing worth aborting, and a signal costs more than a hit.
      ...(waitMs === undefined ? {} : { waitMs, signal: exchange.signal }),
    });
    answerRecord(exchange, record);
  }

  async #readPage(exchange: Exchange): Promise<void> {
    const query = new Query(exchange.query, (name) => {
      if (name === "follow") {
        throw invalid("To follow, accept application/x-ndjson or text/event-stream.", name);
      }
      return listNames.has(name);
    });
    const page = await this.#log.list({
      from: query.from(),
      limit: query.integer("limit", { min: 1, max: listLimitMax }) ?? listLimitDefault,
      bytesMax: listBytesMax,
      consistency: query.consistency(),
      signal: exchange.signal,
    });
    exchange.sendJson(200, pageJson(page), { Vary: "Accept" });
  }
}

/** What a retry finds in the log already is no new resource: 200, and where it has been since. */
function answerAppend(exchange: Exchange, parsed: ParsedAppend, receipt: AppendAnswer): void {
  if (!isCommitted(receipt)) {
    exchange.sendJson(202, '{"committed":false}', {});
    return;
  }
  const offset = String(receipt.offset);
  const count = parsed.isBatch ? `,"count":${String(receipt.count)}` : "";
  const timestamp = timestampText(receipt.timestampMs);
  const isDuplicate = receipt.isDuplicate === true;
  const duplicate = isDuplicate ? ',"duplicate":true' : "";
  const body = `{"offset":${offset}${count},"timestamp":"${timestamp}"${duplicate}}`;
  exchange.sendJson(isDuplicate ? 200 : 201, body, { Location: `/Data?offset=${offset}` });
}

function outcomeJson(outcome: AppendOutcome): string {
  if (outcome.type !== "applied") return `{"outcome":"${outcome.type}"}`;
  const { offset, count, timestampMs } = outcome;
  const place = `"offset":${String(offset)},"count":${String(count)}`;
  return `{"outcome":"applied",${place},"timestamp":"${timestampText(timestampMs)}"}`;
}

/** The two forms of a record are two byte sequences, so they have two strong tags. */
function answerRecord(exchange: Exchange, record: LogRecord): void {
  const { accept, "if-none-match": known } = exchange.request.headers;
  const type = preferredType(accept, ["application/json", "application/octet-stream"]);
  const isRaw = type === "application/octet-stream";
  const tag = isRaw ? `"${String(record.offset)}.raw"` : `"${String(record.offset)}"`;
  const headers = { ETag: tag, "Cache-Control": immutable, Vary: "Accept" };
  if (known !== undefined && isKnown(known, tag)) {
    exchange.send(304, headers, "");
  } else if (isRaw) {
    exchange.send(
      200,
      { ...headers, ...recordHeaders(record), "Content-Type": type },
      record.value,
    );
  } else {
    exchange.sendJson(200, recordJson(record), headers);
  }
}

/** If-None-Match compares weakly (RFC 9110 §13.1.2). */
function isKnown(ifNoneMatch: string, tag: string): boolean {
  return ifNoneMatch
    .split(",")
    .map((known) => known.trim().replace(/^W\//, ""))
    .some((known) => known === tag || known === "*");
}

/**
 * The page, cut where its JSON passes the limit: escapes and base64 make it larger than the
 * encoded records that the service counted.
 */
function pageJson(page: ListPage): string {
  const messages: string[] = [];
  let bytes = 0;
  let next = page.next;
  for (const record of page.records) {
    const text = recordJson(record);
    bytes += Buffer.byteLength(text) + 1;
    if (bytes > listBytesMax && messages.length > 0) {
      next = record.offset;
      break;
    }
    messages.push(text);
  }
  const places = `"startOffset":${String(page.startOffset)},"endOffset":${String(page.endOffset)}`;
  return `{"messages":[${messages.join(",")}],${places},"next":${String(next)}}`;
}
