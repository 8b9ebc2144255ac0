/**
 * Turns what a client posts into encoded records and the conditions of the append.
 *
 * Invariant: what is encoded here is bounded by the options before it is built, also where one
 * set of headers is repeated for each record of a batch.
 */
import { ProglogError } from "../common/errors.js";
import { encodeRecords, recordBytes, recordHeaderBytes } from "../common/record.js";
import type { RecordContent } from "../common/record.js";
import type { AppendRequest, WriteConcern } from "../service/api.js";
import { producerOf } from "./append-producer.js";
import { invalid, parseJsonObject, refuseUnknownMembers } from "./json-body.js";
import { compactJson, elementTexts, memberText } from "./json-span.js";
import type { HttpOptions } from "./options.js";
import { offsetRange, Query } from "./query.js";

/** An append, and whether it was asked for as a batch: that decides the form of the answer. */
export interface ParsedAppend {
  readonly request: AppendRequest;
  readonly isBatch: boolean;
}

type Limits = Pick<HttpOptions, "recordBytesMax" | "bodyBytesMax" | "batchCountMax">;

const timeoutRange = { min: 1, max: 600_000 } as const;
const jsonMembers: ReadonlySet<string> = new Set([
  "message",
  "messages",
  "key",
  "headers",
  "expectedOffset",
  "producerId",
  "sequence",
  "timeoutMs",
  "w",
  "writeConcern",
]);
const queryNames: ReadonlySet<string> = new Set([
  "key",
  "expectedOffset",
  "producerId",
  "sequence",
  "timeoutMs",
  "w",
  "writeConcern",
]);
const headerPrefix = "header.";

interface Envelope {
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What decides whether and how long an append is tried, and when it is answered. */
type Conditions = Pick<AppendRequest, "expectedOffset" | "producer" | "timeoutMs" | "writeConcern">;

/** What a request says of its append beside the body. */
export interface AppendSource {
  /** The query, for a body that is not JSON. */
  readonly query: string;
  readonly idempotencyKey: string | undefined;
}

/** True for application/json and its relatives, such as application/cloudevents+json. */
export function isJsonType(contentType: string | undefined): boolean {
  if (contentType === undefined) return false;
  if (contentType === "application/json") return true;
  return /^\s*application\/(?:[^\s;]+\+)?json\s*(?:;|$)/i.test(contentType);
}

/** @throws ProglogError `invalid-request` that names the field, `record-too-large`. */
export function parseJsonAppend(
  bytes: Buffer,
  source: Pick<AppendSource, "idempotencyKey">,
  limits: Limits,
): ParsedAppend {
  const { text, members } = parseJsonObject(bytes);
  refuseUnknownMembers(members, jsonMembers);
  const message = members["message"];
  const messages = members["messages"];
  if (message !== undefined && messages !== undefined) {
    throw invalid("Give either message or messages, not both.", "messages");
  }
  const envelope = jsonEnvelope(members);
  const conditions = jsonConditions(members, source.idempotencyKey);
  if (message !== undefined) {
    const record = { ...envelope, ...contentOf(message, () => memberText(text, "message")) };
    return { request: { records: encode([record], limits), ...conditions }, isBatch: false };
  }
  if (messages === undefined)
    throw invalid("The field message (or messages) is missing.", "message");
  if (!Array.isArray(messages)) throw invalid("The field messages must be an array.", "messages");
  const records = batchOf(messages, text, { envelope, limits });
  return { request: { records: encode(records, limits), ...conditions }, isBatch: true };
}

/** The whole body is one record; its options are query parameters. */
export function parseRawAppend(bytes: Buffer, source: AppendSource, limits: Limits): ParsedAppend {
  const query = new Query(
    source.query,
    (name) => queryNames.has(name) || (name.startsWith(headerPrefix) && name !== headerPrefix),
  );
  const headers = Object.create(null) as Record<string, string>;
  let hasHeaders = false;
  for (const [name, value] of query.entries()) {
    if (!name.startsWith(headerPrefix)) continue;
    headers[name.slice(headerPrefix.length)] = value;
    hasHeaders = true;
  }
  const key = query.text("key");
  const record: RecordContent = {
    value: bytes,
    ...(key === undefined ? {} : { key }),
    ...(hasHeaders ? { headers } : {}),
  };
  const conditions = queryConditions(query, source.idempotencyKey);
  return { request: { records: encode([record], limits), ...conditions }, isBatch: false };
}

function queryConditions(query: Query, idempotencyKey: string | undefined): Conditions {
  const producerId = query.text("producerId");
  // Where escapes are not UTF-8 their bytes are lost, and with them what tells two ids apart.
  if (producerId?.includes("\ufffd") === true) {
    throw invalid("The parameter producerId is not UTF-8.", "producerId");
  }
  const sequence = query.integer("sequence", offsetRange);
  return conditionsOf({
    expectedOffset: query.integer("expectedOffset", offsetRange),
    producer: producerOf({ producerId, sequence, idempotencyKey }),
    timeoutMs: query.integer("timeoutMs", timeoutRange),
    writeConcern: concernOf(query.text("w"), query.text("writeConcern")),
  });
}

/** With a JSON body the options stand in the body; a query beside it would be silently ignored. */
export function refuseQuery(queryText: string): void {
  new Query(queryText, () => false);
}

/** A half of a surrogate pair: UTF-8 has no bytes for it. */
const loneSurrogate = /\p{Surrogate}/u;

/**
 * The bytes of a posted value. A string is kept as its bytes, anything else as the text it was
 * written in; so is a string that UTF-8 cannot hold.
 */
function contentOf(value: unknown, rawText: () => string): RecordContent {
  if (typeof value === "string" && !loneSurrogate.test(value)) {
    return { value: Buffer.from(value, "utf8") };
  }
  return { value: Buffer.from(compactJson(rawText()), "utf8"), json: true };
}

function batchOf(
  messages: readonly unknown[],
  text: string,
  options: { readonly envelope: Envelope; readonly limits: Limits },
): RecordContent[] {
  const { envelope, limits } = options;
  if (messages.length === 0) throw invalid("The field messages must not be empty.", "messages");
  if (messages.length > limits.batchCountMax) {
    const most = String(limits.batchCountMax);
    throw invalid(`The field messages holds more than ${most} records.`, "messages");
  }
  const needsTexts = messages.some(
    (message) => typeof message !== "string" || loneSurrogate.test(message),
  );
  const texts = needsTexts ? elementTexts(memberText(text, "messages")) : undefined;
  return messages.map((message) => {
    const raw: unknown = texts?.next().value;
    return { ...envelope, ...contentOf(message, () => String(raw)) };
  });
}

function jsonEnvelope(members: Readonly<Record<string, unknown>>): Envelope {
  const { key, headers } = members;
  if (key !== undefined && !isText(key)) throw invalid("The field key must be a string.", "key");
  if (headers === undefined) return key === undefined ? {} : { key };
  if (typeof headers !== "object" || headers === null || Array.isArray(headers)) {
    throw invalid("The field headers must be an object of strings.", "headers");
  }
  for (const [name, value] of Object.entries(headers) as [string, unknown][]) {
    if (!isText(name) || !isText(value)) {
      throw invalid("The field headers must be a flat object of strings.", "headers");
    }
  }
  const flat = headers as Record<string, string>;
  return key === undefined ? { headers: flat } : { key, headers: flat };
}

function isText(value: unknown): value is string {
  return typeof value === "string" && !loneSurrogate.test(value);
}

function jsonConditions(
  members: Readonly<Record<string, unknown>>,
  idempotencyKey: string | undefined,
): Conditions {
  const { producerId, expectedOffset, sequence, timeoutMs } = members;
  if (producerId !== undefined && !isText(producerId)) {
    throw invalid("The field producerId must be a string.", "producerId");
  }
  return conditionsOf({
    expectedOffset: integerMember("expectedOffset", expectedOffset, offsetRange),
    producer: producerOf({
      producerId,
      sequence: integerMember("sequence", sequence, offsetRange),
      idempotencyKey,
    }),
    timeoutMs: integerMember("timeoutMs", timeoutMs, timeoutRange),
    writeConcern: concernOf(members["w"], members["writeConcern"]),
  });
}

/**
 * The write concern: `w`, or its longer name. In a query a number is a text.
 *
 * @throws ProglogError `invalid-request`, `write-concern-unsatisfiable`.
 */
function concernOf(short: unknown, long: unknown): WriteConcern | undefined {
  if (short !== undefined && long !== undefined) {
    throw invalid("Give either w or writeConcern, not both.", "w");
  }
  const value = short === undefined ? long : short;
  if (value === undefined || value === "majority" || value === "all") return value;
  const name = short === undefined ? "writeConcern" : "w";
  const count = typeof value === "string" && /^-?\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof count !== "number" || !Number.isSafeInteger(count)) {
    throw invalid(`The field ${name} must be a number of members, "majority" or "all".`, name);
  }
  return count;
}

/** Leaves out what is not given. */
function conditionsOf(given: {
  readonly [Name in keyof Conditions]: Conditions[Name] | undefined;
}): Conditions {
  const { expectedOffset, producer, timeoutMs, writeConcern } = given;
  return {
    ...(expectedOffset === undefined ? {} : { expectedOffset }),
    ...(producer === undefined ? {} : { producer }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(writeConcern === undefined ? {} : { writeConcern }),
  };
}

function integerMember(
  name: string,
  value: unknown,
  range: { readonly min: number; readonly max: number },
): number | undefined {
  if (value === undefined) return undefined;
  if (!Number.isSafeInteger(value) || Number(value) < range.min || Number(value) > range.max) {
    const bounds = `${String(range.min)} to ${String(range.max)}`;
    throw invalid(`The field ${name} must be an integer from ${bounds}.`, name);
  }
  return Number(value);
}

/** Measures before it builds: headers repeated 10 000 times must not become gigabytes. */
function encode(records: readonly RecordContent[], limits: Limits): Buffer {
  const [first] = records;
  if (first === undefined) throw invalid("There is nothing to append.", "messages");
  const envelopeBytes = recordBytes(first) - recordHeaderBytes - first.value.length;
  let totalBytes = 0;
  for (const record of records) {
    const bytes = envelopeBytes + record.value.length;
    if (bytes > limits.recordBytesMax) throw tooLarge("A record", limits.recordBytesMax);
    totalBytes += bytes;
  }
  if (totalBytes > limits.bodyBytesMax) throw tooLarge("The batch", limits.bodyBytesMax);
  return encodeRecords(records);
}

function tooLarge(what: string, bytesMax: number): ProglogError {
  return new ProglogError(
    "record-too-large",
    `${what} is over the limit of ${String(bytesMax)} bytes.`,
    { fields: { bytesMax } },
  );
}
