/**
 * Producers as clients name them: by an id of their own with sequences, or by a key that stands for
 * one append. The two never meet in the log: each kind has a prefix of its own there.
 */
import { ProglogError } from "../common/errors.js";
import { producerIdBytesMax } from "../machine/command.js";
import type { Producer } from "../machine/producers.js";

export type { Producer } from "../machine/producers.js";

const prefixBytes = 2;
/** Longest id or key, in bytes of UTF-8. */
export const producerNameBytesMax = producerIdBytesMax - prefixBytes;

/** A producer with an id. @throws ProglogError invalid-request */
export function namedProducer(id: string, sequence: number): Producer {
  if (!Number.isSafeInteger(sequence) || sequence < 0) {
    throw new ProglogError("invalid-request", "A sequence is an integer from 0 to 2^53-1.");
  }
  checkName("producerId", id);
  return { id: `p/${id}`, sequence };
}

/** An append with a key of its own. @throws ProglogError invalid-request */
export function keyedProducer(key: string): Producer {
  checkName("Idempotency-Key", key);
  return { id: `k/${key}`, sequence: 0 };
}

function checkName(what: string, name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes >= 1 && bytes <= producerNameBytesMax) return;
  const limit = String(producerNameBytesMax);
  throw new ProglogError("invalid-request", `${what} is a text of 1 to ${limit} bytes.`);
}
