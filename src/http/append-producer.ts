/**
 * Reads who appends, so that a retry adds nothing: an id with a sequence, or a key of one append.
 *
 * Invariant: names that arrived as different bytes are different names. What cannot be read as
 * text is refused: replaced by a placeholder, it could pass for another client's name.
 */
import { isUtf8 } from "node:buffer";
import type { IncomingMessage } from "node:http";

import { keyedProducer, namedProducer, producerNameBytesMax } from "../service/producer.js";
import type { Producer } from "../service/producer.js";
import { invalid } from "./json-body.js";

/** What a request says of its producer. */
export interface ProducerFields {
  readonly producerId: string | undefined;
  readonly sequence: number | undefined;
  readonly idempotencyKey: string | undefined;
}

const headerName = "Idempotency-Key";

/**
 * The request's Idempotency-Key, as it came: quotes, if any, are part of it.
 *
 * @throws ProglogError `invalid-request` if it is given twice or is not text.
 */
export function idempotencyKeyOf(request: IncomingMessage): string | undefined {
  const value = request.headers["idempotency-key"];
  if (typeof value !== "string") return undefined;
  if (request.headersDistinct["idempotency-key"]?.length !== 1) {
    throw invalid(`The header ${headerName} is given twice.`, headerName);
  }
  // Node reads a header byte by byte; what clients send is UTF-8.
  const bytes = Buffer.from(value, "latin1");
  if (!isUtf8(bytes)) throw invalid(`The header ${headerName} is not UTF-8.`, headerName);
  const key = bytes.toString("utf8");
  checkBytes(headerName, key);
  return key;
}

/** @throws ProglogError `invalid-request` that names the field which is wrong or missing. */
export function producerOf(fields: ProducerFields): Producer | undefined {
  const { producerId, sequence, idempotencyKey } = fields;
  if (idempotencyKey !== undefined) {
    if (producerId === undefined && sequence === undefined) return keyedProducer(idempotencyKey);
    const what = `Give either producerId and sequence or the header ${headerName}, not both.`;
    throw invalid(what, headerName);
  }
  if (producerId === undefined && sequence === undefined) return undefined;
  if (producerId === undefined) {
    throw invalid("A sequence needs a producerId: it numbers that producer's appends.", "sequence");
  }
  if (sequence === undefined) {
    throw invalid("A producerId needs a sequence, which numbers its appends.", "producerId");
  }
  checkBytes("producerId", producerId);
  return namedProducer(producerId, sequence);
}

function checkBytes(what: string, name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes >= 1 && bytes <= producerNameBytesMax) return;
  throw invalid(`${what} must be a text of 1 to ${String(producerNameBytesMax)} bytes.`, what);
}
