/**
 * Producers as clients name them: by an id of their own with sequences, or by a key that stands for
 * one append. The two never meet in the log: each kind has a prefix of its own there.
 */
import { ProglogError } from "../common/errors.js";
import { producerIdBytesMax } from "../machine/command.js";
import type { Producer } from "../machine/producers.js";

export type { Producer } from "../machine/producers.js";

const namePrefix = "p/";
const keyPrefix = "k/";
const prefixBytes = 2;
/** Controls, halves of a surrogate pair, and what a decoder puts in the place of bad bytes. */
const unwritable = /[\p{Cc}\p{Cs}\ufffd]/u;
/** Longest id or key, in bytes of UTF-8. */
export const producerNameBytesMax = producerIdBytesMax - prefixBytes;

/** A producer with an id. @throws ProglogError invalid-request */
export function namedProducer(id: string, sequence: number): Producer {
  checkSequence(sequence);
  checkName("producerId", id);
  return { id: namePrefix + id, sequence };
}

/** An append with a key of its own. @throws ProglogError invalid-request */
export function keyedProducer(key: string): Producer {
  checkName("Idempotency-Key", key);
  return { id: keyPrefix + key, sequence: 0 };
}

/**
 * A producer as another node relays it, which has read it from a client: its id has its prefix.
 *
 * @throws ProglogError invalid-request if it is not what the functions above return.
 */
export function relayedProducer(id: string, sequence: number): Producer {
  checkSequence(sequence);
  const isKey = id.startsWith(keyPrefix);
  const isKnown = isKey ? sequence === 0 : id.startsWith(namePrefix);
  if (!isKnown) {
    throw new ProglogError("invalid-request", "A relayed producer is named as in the log.");
  }
  checkName("A relayed producer's name", id.slice(prefixBytes));
  return { id, sequence };
}

function checkSequence(sequence: number): void {
  if (Number.isSafeInteger(sequence) && sequence >= 0) return;
  throw new ProglogError("invalid-request", "A sequence is an integer from 0 to 2^53-1.");
}

function checkName(what: string, name: string): void {
  if (unwritable.test(name)) {
    throw new ProglogError("invalid-request", `${what} is a text without control characters.`);
  }
  const bytes = Buffer.byteLength(name);
  if (bytes >= 1 && bytes <= producerNameBytesMax) return;
  const limit = String(producerNameBytesMax);
  throw new ProglogError("invalid-request", `${what} is a text of 1 to ${limit} bytes.`);
}
