/**
 * Messages that wait for this node's own disk (Raft §5.2: what is promised is durable first).
 *
 * Invariant: a message leaves only when the token it names is durable, and never after a failure.
 * Acknowledgements are cumulative, so of those that leave together for one peer only the last goes.
 */
import { assert } from "../common/assert.js";
import type { AppendResponse, Message } from "../raft/index.js";

interface Held {
  readonly message: Message;
  readonly after: number;
}

export class Outbox {
  readonly #send: (message: Message) => void;
  #held: Held[] = [];
  #durableToken = 0;

  constructor(send: (message: Message) => void) {
    this.#send = send;
  }

  /** Sends the message now, or once the token is durable. */
  put(message: Message, after: number): void {
    if (after <= this.#durableToken) {
      this.#send(message);
      return;
    }
    // While a disk hangs, each heartbeat is answered: the answers must not pile up.
    const last = this.#held.at(-1);
    if (last?.after === after && isCoveredBy(message, last.message)) this.#held.pop();
    this.#held.push({ message, after });
  }

  /** Everything up to the token is durable: lets go what waited for it. */
  release(token: number): void {
    assert(token >= this.#durableToken, "durability only grows");
    this.#durableToken = token;
    const free: Message[] = [];
    const held: Held[] = [];
    for (const waiting of this.#held) {
      if (waiting.after <= token) free.push(waiting.message);
      else held.push(waiting);
    }
    this.#held = held;
    for (const [ordinal, message] of free.entries()) {
      if (!isSuperseded(message, free, ordinal)) this.#send(message);
    }
  }

  /** Drops everything: the disk has failed. */
  clear(): void {
    this.#held = [];
  }
}

/** True if a later acknowledgement of the same batch says all that this one does. */
function isSuperseded(message: Message, free: readonly Message[], ordinal: number): boolean {
  if (message.type !== "appendResponse" || message.rejected) return false;
  for (let later = ordinal + 1; later < free.length; later += 1) {
    const other = free[later];
    if (other?.type === "appendResponse" && covers(other, message)) return true;
  }
  return false;
}

function isCoveredBy(newer: Message, older: Message): boolean {
  if (newer.type !== "appendResponse" || older.type !== "appendResponse") return false;
  return !older.rejected && covers(newer, older);
}

function covers(other: AppendResponse, message: AppendResponse): boolean {
  return (
    !other.rejected &&
    other.to === message.to &&
    other.term === message.term &&
    other.index >= message.index &&
    other.round >= message.round
  );
}
