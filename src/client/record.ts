/**
 * Records as a program hands them in and gets them back.
 *
 * Invariant: what `json()` or a string was made of comes back from `ConsumedRecord.json()` or
 * `text()` as it was.
 */
import { ProglogError } from "../common/errors.js";
import type { LogRecord, RecordContent } from "../common/record.js";

/** A value that is stored as JSON text, and shown as that JSON value over HTTP. */
export class JsonValue {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/**
 * Marks a value to be stored as JSON: `client.produce(json({ order: 7 }))`.
 *
 * @throws ProglogError `invalid-request` for what JSON cannot hold, such as a function.
 */
export function json(value: unknown): JsonValue {
  let text: unknown;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw invalid("The value can't be written as JSON.", error);
  }
  if (typeof text !== "string") throw invalid("The value can't be written as JSON.");
  return new JsonValue(text);
}

/** Bytes as they are, a string as its UTF-8 bytes, or `json(value)`. */
export type RecordValue = Uint8Array | string | JsonValue;

/** A record to append. */
export interface RecordInput {
  readonly value: RecordValue;
  /** Kept with the record. */
  readonly key?: string | undefined;
  /** Kept with the record. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

function valueBytes(value: RecordValue): Buffer {
  if (typeof value === "string") return Buffer.from(value);
  if (value instanceof JsonValue) return Buffer.from(value.text);
  if (value instanceof Uint8Array) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }
  throw invalid("A value is bytes, a string, or json(value).");
}

/**
 * The record as the codec takes it; bytes are not copied yet.
 *
 * @throws ProglogError `invalid-request`.
 */
export function contentOf({ value, key, headers }: RecordInput): RecordContent {
  if (key === undefined && headers === undefined && !(value instanceof JsonValue)) {
    return { value: valueBytes(value) };
  }
  const isPlain = headers === undefined || Object.values(headers).every(isText);
  if (!isPlain || (key !== undefined && !isText(key))) {
    throw invalid("A key, and each header, is a string.");
  }
  return {
    value: valueBytes(value),
    // An empty key and no headers are what the log has for none.
    ...(key === undefined || key === "" ? {} : { key }),
    ...(headers === undefined || Object.keys(headers).length === 0 ? {} : { headers }),
    ...(value instanceof JsonValue ? { json: true } : {}),
  };
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}

function invalid(detail: string, cause?: unknown): ProglogError {
  return new ProglogError("invalid-request", detail, cause === undefined ? {} : { cause });
}

/** A record of the log. */
export class ConsumedRecord {
  /** Position in the log. */
  readonly offset: number;
  /** When the leader took it, milliseconds since 1970; never runs backwards along the log. */
  readonly timestampMs: number;
  readonly key: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** A view of the bytes that came with it: copy what is kept for long. */
  readonly value: Buffer;
  /** True if it was handed in as JSON. */
  readonly isJson: boolean;

  constructor(record: LogRecord) {
    this.offset = record.offset;
    this.timestampMs = record.timestampMs;
    this.key = record.key;
    this.headers = record.headers ?? {};
    this.value = record.value;
    this.isJson = record.json === true;
  }

  /** The value as UTF-8. */
  text(): string {
    return this.value.toString("utf8");
  }

  /** The value parsed as JSON, whatever it was handed in as. @throws SyntaxError */
  json(): unknown {
    return JSON.parse(this.text()) as unknown;
  }
}
