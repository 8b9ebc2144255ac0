/**
 * The record codec: how records lie one after the other in a record batch.
 *
 * The same bytes go from a client's socket to the disks of all nodes and back out to readers;
 * nobody between decodes them. A receiver walks the lengths once to prove the batch well-formed.
 *
 *     Record, big-endian
 *      0  u32  bytes that follow this field
 *      4  u8   attributes: bit 0 key, bit 1 headers, bit 2 the value is JSON text; others are 0
 *      5  if key:     u16 bytes, UTF-8
 *         if headers: u16 count, then per header u16 bytes, UTF-8 name, u16 bytes, UTF-8 value
 *         value: the rest
 *
 * Invariant: decode(encode(x)) equals x, and a batch that `countRecords` accepts can be walked
 * and decoded to its end.
 */
import { ProglogError } from "./errors.js";

/** Bytes before the key, headers and value of each record. */
export const recordHeaderBytes = 5;

const hasKey = 1;
const hasHeaders = 2;
const isJson = 4;
const u16Max = 0xffff;

/** What a client hands in, and a reader gets back. */
export interface RecordContent {
  readonly value: Buffer;
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** True if `value` is JSON text that was posted as a JSON value. */
  readonly json?: boolean;
}

/** A record with its place in the log. */
export interface LogRecord extends RecordContent {
  readonly offset: number;
  /** Milliseconds since 1970; never runs backwards along the log. */
  readonly timestampMs: number;
}

/** Some records that lie together: the unit in which the log is written, sent and read. */
export interface RecordBatch {
  /** Offset of the first record. */
  readonly offset: number;
  readonly count: number;
  readonly timestampMs: number;
  /** Encoded records, one after the other. Not to be changed. */
  readonly records: Buffer;
}

/** Bytes of the record once encoded. */
export function recordBytes(record: RecordContent): number {
  let bytes = recordHeaderBytes + record.value.length;
  if (record.key !== undefined) bytes += 2 + Buffer.byteLength(record.key);
  if (record.headers !== undefined) {
    bytes += 2;
    for (const [name, value] of Object.entries(record.headers)) {
      bytes += 4 + Buffer.byteLength(name) + Buffer.byteLength(value);
    }
  }
  return bytes;
}

/**
 * Encodes the record into `target` at `position`.
 *
 * @returns The position after it.
 * @throws ProglogError `invalid-request` if a key or header is longer than 65 535 bytes.
 */
export function writeRecord(record: RecordContent, target: Buffer, position: number): number {
  let at = position + recordHeaderBytes;
  let attributes = record.json === true ? isJson : 0;
  if (record.key !== undefined) {
    attributes |= hasKey;
    at = writeText(record.key, "key", target, at);
  }
  if (record.headers !== undefined) {
    attributes |= hasHeaders;
    const headers = Object.entries(record.headers);
    if (headers.length > u16Max) throw tooLong("number of headers");
    at = target.writeUInt16BE(headers.length, at);
    for (const [name, value] of headers) {
      at = writeText(name, "header's name", target, at);
      at = writeText(value, "header's value", target, at);
    }
  }
  at += record.value.copy(target, at);
  target.writeUInt32BE(at - position - 4, position);
  target[position + 4] = attributes;
  return at;
}

/** Encodes records one after the other. */
export function encodeRecords(records: readonly RecordContent[]): Buffer {
  let bytes = 0;
  for (const record of records) bytes += recordBytes(record);
  const target = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const record of records) at = writeRecord(record, target, at);
  return target;
}

function writeText(text: string, what: string, target: Buffer, position: number): number {
  const bytes = Buffer.byteLength(text);
  if (bytes > u16Max) throw tooLong(what);
  target.writeUInt16BE(bytes, position);
  return position + 2 + target.write(text, position + 2);
}

function tooLong(what: string): ProglogError {
  return new ProglogError("invalid-request", `The ${what} is over ${String(u16Max)}.`);
}

/**
 * Proves a batch well-formed, down to keys and headers, and counts its records.
 *
 * @param bytesMax Largest record: the encoded bytes after its header.
 * @throws ProglogError `invalid-request` if the lengths do not fit, `record-too-large`.
 */
export function countRecords(records: Buffer, bytesMax: number): number {
  let count = 0;
  let at = 0;
  while (at < records.length) {
    if (records.length - at < recordHeaderBytes) throw malformed(count);
    const bytes = records.readUInt32BE(at);
    const end = at + 4 + bytes;
    if (bytes < 1 || end > records.length) throw malformed(count);
    const contentBytes = 4 + bytes - recordHeaderBytes;
    if (contentBytes > bytesMax) {
      const what = `Record ${String(count)} has ${String(contentBytes)} bytes`;
      const detail = `${what}; the limit is ${String(bytesMax)}.`;
      throw new ProglogError("record-too-large", detail, { fields: { bytesMax } });
    }
    const attributes = records[at + 4] ?? 0;
    if (attributes > 7) throw malformed(count);
    if ((attributes & (hasKey | hasHeaders)) !== 0 && valuePosition(records, at, end) < 0) {
      throw malformed(count);
    }
    at = end;
    count += 1;
  }
  return count;
}

function malformed(ordinal: number): ProglogError {
  return new ProglogError(
    "invalid-request",
    `Record ${String(ordinal)} of the batch is not encoded as a record: its lengths do not fit.`,
  );
}

/** Where the value starts, or -1 if the key or headers run past the record's end. */
function valuePosition(records: Buffer, position: number, end: number): number {
  const attributes = records[position + 4] ?? 0;
  let at = position + recordHeaderBytes;
  let texts = (attributes & hasKey) !== 0 ? 1 : 0;
  for (let pass = 0; pass < 2; pass += 1) {
    for (; texts > 0; texts -= 1) {
      if (at + 2 > end) return -1;
      at += 2 + records.readUInt16BE(at);
    }
    if (pass === 0 && (attributes & hasHeaders) !== 0) {
      if (at + 2 > end) return -1;
      texts = 2 * records.readUInt16BE(at);
      at += 2;
    }
  }
  return at <= end ? at : -1;
}

/** Where the record after the one at `position` starts. */
export function nextRecordPosition(records: Buffer, position: number): number {
  return position + 4 + records.readUInt32BE(position);
}

/** Where record `ordinal` (from 0) of a well-formed batch starts. */
export function recordPosition(records: Buffer, ordinal: number): number {
  let at = 0;
  for (let passed = 0; passed < ordinal; passed += 1) at = nextRecordPosition(records, at);
  return at;
}

/** Decodes the record at `position` of a well-formed batch; the value is a view, not a copy. */
export function decodeRecord(records: Buffer, position: number): RecordContent {
  const end = nextRecordPosition(records, position);
  const attributes = records[position + 4] ?? 0;
  let at = position + recordHeaderBytes;
  const readText = (): string => {
    const bytes = records.readUInt16BE(at);
    const text = records.toString("utf8", at + 2, at + 2 + bytes);
    at += 2 + bytes;
    return text;
  };
  const content: { -readonly [K in keyof RecordContent]: RecordContent[K] } = { value: records };
  if ((attributes & hasKey) !== 0) content.key = readText();
  if ((attributes & hasHeaders) !== 0) {
    const count = records.readUInt16BE(at);
    at += 2;
    const headers: Record<string, string> = Object.create(null) as Record<string, string>;
    for (let header = 0; header < count; header += 1) {
      const name = readText();
      headers[name] = readText();
    }
    content.headers = headers;
  }
  if ((attributes & isJson) !== 0) content.json = true;
  content.value = records.subarray(at, end);
  return content;
}

/** Decodes every record of a batch, with its offset. */
export function* decodeBatch(batch: RecordBatch): Generator<LogRecord> {
  let at = 0;
  for (let ordinal = 0; ordinal < batch.count; ordinal += 1) {
    const content = decodeRecord(batch.records, at);
    yield { ...content, offset: batch.offset + ordinal, timestampMs: batch.timestampMs };
    at = nextRecordPosition(batch.records, at);
  }
}
