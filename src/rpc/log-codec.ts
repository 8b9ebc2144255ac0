/**
 * The batched messages of `log.v1.Log` ⇄ the wire, by hand: the hot streams.
 *
 * The bytes are those of the protobuf messages, and any protobuf codec reads them; what is gained
 * is that records are never copied on the way in, and once on the way out. Malformed input is
 * refused with a reason, where grpc-js would answer INTERNAL and say nothing.
 *
 * Fields that are not known are skipped: a newer client may send them. Records that come in are a
 * view of the message's own buffer, and keep it alive. A producer's id that is not UTF-8 is refused
 * in every message: read with placeholders, it could pass for another producer's.
 */
import { isUtf8 } from "node:buffer";

import { assert } from "../common/assert.js";
import { ProglogError } from "../common/errors.js";
import type { RecordBatch } from "../common/record.js";
import { ProduceError, ProduceRequest } from "../gen/log/v1/log.js";

/** Chosen by the client and only repeated: a number where it is exact, else a bigint. */
export type BatchId = number | bigint;

/** `log.v1.ProduceBatchRequest`. */
export interface BatchRequest {
  readonly id: BatchId;
  readonly records: Buffer;
  readonly count: number;
  readonly expectedOffset?: number;
  /** 0 means the server's default. */
  readonly timeoutMs: number;
  readonly producerId?: string;
  readonly sequence?: number;
  /** 0 means a majority. */
  readonly copies?: number | undefined;
  readonly allCopies?: boolean | undefined;
}

/** `log.v1.ProduceBatchResponse`. */
export type BatchResponse =
  | {
      readonly id: BatchId;
      readonly offset: number;
      readonly count: number;
      readonly timestampMs: number;
      readonly isDuplicate?: true;
    }
  | { readonly id: BatchId; readonly isCommitted: false }
  | { readonly id: BatchId; readonly error: ProduceError };

const wireVarint = 0;
const wireFixed64 = 1;
const wireBytes = 2;
const wireFixed32 = 5;
const fieldNumberMax = 2 ** 29 - 1;
const u32Max = 2 ** 32 - 1;
const u64Bits = 64;
/** Varint bytes that a number holds exactly: 7 × 7 bits. */
const exactVarintBytes = 7;
const noBytes = Buffer.alloc(0);
/** What a decoder that is not strict puts in the place of bytes that are not UTF-8. */
const placeholder = "\ufffd";
const producerIdField = 4;

function malformed(why: string): ProglogError {
  return new ProglogError("invalid-request", `The message is not what the protocol says: ${why}.`);
}

/** Walks the fields of one message. */
class FieldReader {
  readonly #wire: Buffer;
  #position = 0;
  #wireType = 0;

  constructor(wire: Buffer) {
    this.#wire = wire;
  }

  /** The next field's number; 0 at the end of the message. */
  nextField(): number {
    if (this.#position === this.#wire.length) return 0;
    const tag = this.#varint();
    if (typeof tag !== "number") throw malformed("a field's tag is out of range");
    this.#wireType = tag % 8;
    const field = Math.floor(tag / 8);
    if (field < 1 || field > fieldNumberMax) throw malformed("a field's number is out of range");
    return field;
  }

  /** A uint64 as it is. */
  id(): BatchId {
    if (this.#wireType !== wireVarint) throw malformed("a field has the wrong type");
    return this.#varint();
  }

  /** A uint64 that must be exact as a number. */
  safeInteger(name: string): number {
    const value = this.id();
    if (typeof value === "number") return value;
    throw new ProglogError("invalid-request", `${name} is above 2^53-1.`);
  }

  uint32(name: string): number {
    const value = this.id();
    if (typeof value === "number" && value <= u32Max) return value;
    throw new ProglogError("invalid-request", `${name} is above 2^32-1.`);
  }

  /** A view, not a copy. */
  bytes(): Buffer {
    if (this.#wireType !== wireBytes) throw malformed("a field has the wrong type");
    const start = this.#position;
    const bytes = this.#varint();
    if (typeof bytes !== "number") throw malformed(`a length at byte ${start} is out of range`);
    return this.#take(bytes);
  }

  /** Text as it was sent: no placeholders. */
  text(name: string): string {
    const bytes = this.bytes();
    if (!isUtf8(bytes)) throw malformed(`${name} is not UTF-8`);
    return bytes.toString("utf8");
  }

  /** Passes over a field that is not known. */
  skip(): void {
    switch (this.#wireType) {
      case wireVarint:
        this.#varint();
        return;
      case wireFixed64:
        this.#take(8);
        return;
      case wireBytes:
        this.bytes();
        return;
      case wireFixed32:
        this.#take(4);
        return;
      default:
        throw malformed(`wire type ${this.#wireType} is not known`);
    }
  }

  #take(bytes: number): Buffer {
    const start = this.#position;
    const end = start + bytes;
    if (end > this.#wire.length) throw malformed("a field runs past the end");
    this.#position = end;
    return this.#wire.subarray(start, end);
  }

  #varint(): BatchId {
    let value = 0;
    for (let ordinal = 0; ordinal < exactVarintBytes; ordinal += 1) {
      const byte = this.#byte();
      value += (byte & 0x7f) * 2 ** (7 * ordinal);
      if (byte < 0x80) return value;
    }
    let wide = BigInt(value);
    for (let ordinal = exactVarintBytes; ordinal < 10; ordinal += 1) {
      const byte = this.#byte();
      wide += BigInt(byte & 0x7f) << BigInt(7 * ordinal);
      if (byte >= 0x80) continue;
      if (wide >= 1n << BigInt(u64Bits)) throw malformed("a number is over 64 bits");
      return wide <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(wide) : wide;
    }
    throw malformed("a number is over 64 bits");
  }

  #byte(): number {
    const byte = this.#wire[this.#position];
    if (byte === undefined) throw malformed("it ends within a number");
    this.#position += 1;
    return byte;
  }
}

/** Bytes of the varint that holds `value`. */
function varintBytes(value: BatchId): number {
  if (typeof value === "bigint") return Math.max(1, Math.ceil(value.toString(2).length / 7));
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes += 1;
  return bytes;
}

/** Bytes of a varint field with a tag of one byte; proto3 leaves out a zero. */
function fieldBytes(value: BatchId): number {
  return value === 0 ? 0 : 1 + varintBytes(value);
}

function lengthFieldBytes(bytes: number): number {
  return bytes === 0 ? 0 : presentLengthFieldBytes(bytes);
}

/** Bytes of a field that is written even if it is empty. */
function presentLengthFieldBytes(bytes: number): number {
  return 1 + varintBytes(bytes) + bytes;
}

/** Bytes of a varint field that is written even if it is zero. */
function presentFieldBytes(value: number | undefined): number {
  return value === undefined ? 0 : 1 + varintBytes(value);
}

/** Writes fields, whose tags are all of one byte, into a buffer of exactly their size. */
class FieldWriter {
  readonly #target: Buffer;
  #position = 0;

  constructor(bytes: number) {
    this.#target = Buffer.allocUnsafe(bytes);
  }

  varintField(field: number, value: BatchId): void {
    if (value === 0) return;
    this.presentVarintField(field, value);
  }

  /** Also if it is zero: for a field whose presence says something. */
  presentVarintField(field: number, value: BatchId): void {
    this.#target[this.#position++] = (field << 3) | wireVarint;
    this.#varint(value);
  }

  bytesField(field: number, bytes: Uint8Array): void {
    if (bytes.length > 0) this.presentBytesField(field, bytes);
  }

  /** Also if it is empty: for a field whose presence says something. */
  presentBytesField(field: number, bytes: Uint8Array): void {
    this.#target[this.#position++] = (field << 3) | wireBytes;
    this.#varint(bytes.length);
    this.#target.set(bytes, this.#position);
    this.#position += bytes.length;
  }

  finish(): Buffer {
    assert(this.#position === this.#target.length, "an encoded message is as long as computed");
    return this.#target;
  }

  #varint(value: BatchId): void {
    if (typeof value === "bigint") {
      let rest = value;
      for (; rest >= 0x80n; rest >>= 7n)
        this.#target[this.#position++] = Number(rest & 0x7fn) | 0x80;
      this.#target[this.#position++] = Number(rest);
      return;
    }
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) {
      this.#target[this.#position++] = (rest % 0x80) | 0x80;
    }
    this.#target[this.#position++] = rest;
  }
}

/**
 * Reads a `ProduceBatchRequest`; the records are a view of `wire`, and are not looked at.
 *
 * @throws ProglogError `invalid-request`.
 */
export function decodeBatchRequest(wire: Buffer): BatchRequest {
  const reader = new FieldReader(wire);
  const request: { -readonly [K in keyof BatchRequest]: BatchRequest[K] } = {
    id: 0,
    records: noBytes,
    count: 0,
    timeoutMs: 0,
  };
  for (let field = reader.nextField(); field !== 0; field = reader.nextField()) {
    if (field === 1) request.id = reader.id();
    else if (field === 2) request.records = reader.bytes();
    else if (field === 3) request.count = reader.uint32("count");
    else if (field === 4) request.expectedOffset = reader.safeInteger("expected_offset");
    else if (field === 5) request.timeoutMs = reader.uint32("timeout_ms");
    else if (field === 6) request.producerId = reader.text("producer_id");
    else if (field === 7) request.sequence = reader.safeInteger("sequence");
    else if (field === 8) request.copies = reader.uint32("copies");
    else if (field === 9) request.allCopies = reader.id() !== 0;
    else reader.skip();
  }
  return request;
}

export function encodeBatchRequest(request: BatchRequest): Buffer {
  const { id, records, count, expectedOffset, timeoutMs, producerId, sequence } = request;
  const { copies = 0, allCopies = false } = request;
  const producer = producerId === undefined ? undefined : Buffer.from(producerId);
  const writer = new FieldWriter(
    fieldBytes(id) +
      lengthFieldBytes(records.length) +
      fieldBytes(count) +
      presentFieldBytes(expectedOffset) +
      fieldBytes(timeoutMs) +
      (producer === undefined ? 0 : presentLengthFieldBytes(producer.length)) +
      presentFieldBytes(sequence) +
      fieldBytes(copies) +
      fieldBytes(Number(allCopies)),
  );
  writer.varintField(1, id);
  writer.bytesField(2, records);
  writer.varintField(3, count);
  if (expectedOffset !== undefined) writer.presentVarintField(4, expectedOffset);
  writer.varintField(5, timeoutMs);
  if (producer !== undefined) writer.presentBytesField(6, producer);
  if (sequence !== undefined) writer.presentVarintField(7, sequence);
  writer.varintField(8, copies);
  writer.varintField(9, Number(allCopies));
  return writer.finish();
}

/**
 * Reads a `ProduceRequest` by the generated codec, which is not strict about text.
 *
 * @throws Error if it is not one; ProglogError `invalid-request` if the producer's id is no text.
 */
export function decodeProduceRequest(wire: Buffer): ProduceRequest {
  const request = ProduceRequest.decode(wire);
  // A placeholder may also be what the client sent: only the bytes tell.
  if (request.producerId?.includes(placeholder) !== true) return request;
  const reader = new FieldReader(wire);
  for (let field = reader.nextField(); field !== 0; field = reader.nextField()) {
    if (field === producerIdField) reader.text("producer_id");
    else reader.skip();
  }
  return request;
}

/**
 * Reads a `ProduceBatchResponse`.
 *
 * @throws ProglogError `invalid-request`.
 */
export function decodeBatchResponse(wire: Buffer): BatchResponse {
  const reader = new FieldReader(wire);
  let id: BatchId = 0;
  let error: ProduceError | undefined;
  let isDuplicate = false;
  let isUncommitted = false;
  const receipt = { offset: 0, count: 0, timestampMs: 0 };
  for (let field = reader.nextField(); field !== 0; field = reader.nextField()) {
    if (field === 1) id = reader.id();
    else if (field === 2) receipt.offset = reader.safeInteger("offset");
    else if (field === 3) receipt.count = reader.uint32("count");
    else if (field === 4) receipt.timestampMs = reader.safeInteger("timestamp_ms");
    else if (field === 5) error = decodeProduceError(reader.bytes());
    else if (field === 6) isDuplicate = reader.id() !== 0;
    else if (field === 7) isUncommitted = reader.id() !== 0;
    else reader.skip();
  }
  if (error !== undefined) return { id, error };
  if (isUncommitted) return { id, isCommitted: false };
  return isDuplicate ? { id, ...receipt, isDuplicate } : { id, ...receipt };
}

function decodeProduceError(wire: Buffer): ProduceError {
  try {
    return ProduceError.decode(wire);
  } catch (error) {
    throw new ProglogError("invalid-request", "The error in the answer is malformed.", {
      cause: error,
    });
  }
}

export function encodeBatchResponse(response: BatchResponse): Buffer {
  if ("error" in response) {
    const error = ProduceError.encode(response.error).finish();
    assert(error.length > 0, "an error names its code");
    const writer = new FieldWriter(fieldBytes(response.id) + lengthFieldBytes(error.length));
    writer.varintField(1, response.id);
    writer.bytesField(5, error);
    return writer.finish();
  }
  if ("isCommitted" in response) {
    const writer = new FieldWriter(fieldBytes(response.id) + fieldBytes(1));
    writer.varintField(1, response.id);
    writer.varintField(7, 1);
    return writer.finish();
  }
  const { id, offset, count, timestampMs } = response;
  const duplicate = response.isDuplicate === true ? 1 : 0;
  const writer = new FieldWriter(
    fieldBytes(id) +
      fieldBytes(offset) +
      fieldBytes(count) +
      fieldBytes(timestampMs) +
      fieldBytes(duplicate),
  );
  writer.varintField(1, id);
  writer.varintField(2, offset);
  writer.varintField(3, count);
  writer.varintField(4, timestampMs);
  writer.varintField(6, duplicate);
  return writer.finish();
}

/** Writes a batch as a `ConsumeBatchesResponse`. */
export function encodeConsumedBatch(batch: RecordBatch): Buffer {
  const { offset, count, timestampMs, records } = batch;
  const writer = new FieldWriter(
    fieldBytes(offset) +
      fieldBytes(count) +
      fieldBytes(timestampMs) +
      lengthFieldBytes(records.length),
  );
  writer.varintField(1, offset);
  writer.varintField(2, count);
  writer.varintField(3, timestampMs);
  writer.bytesField(4, records);
  return writer.finish();
}
