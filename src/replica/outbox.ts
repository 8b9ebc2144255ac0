/**
 * Messages on their way out: those that wait for this node's own disk (Raft §5.2: what is promised
 * is durable first), and those that can wait for better company.
 *
 * Invariant: a message leaves only when the token it names is durable, and never after a failure.
 * Acknowledgements are cumulative, so of those that leave together for one peer only the last goes.
 * A heartbeat that brings no new read round waits for the next tick: under load the next append
 * says all that it would (commitIndex, round), and takes its place.
 */
import { assert } from "../common/assert.js";
import type { AppendRequest, AppendResponse, Message, NodeId } from "../raft/index.js";

interface Held {
  readonly message: Message;
  readonly after: number;
}

export class Outbox {
  readonly #send: (message: Message) => void;
  #held: Held[] = [];
  #durableToken = 0;
  /** By peer: a heartbeat that waits for the tick. */
  readonly #quiet = new Map<NodeId, AppendRequest>();
  /** By peer: the last append or heartbeat that left. */
  readonly #said = new Map<NodeId, { readonly term: number; readonly round: number }>();

  constructor(send: (message: Message) => void) {
    this.#send = send;
  }

  /** Sends the message now, or once the token is durable. */
  put(message: Message, after: number): void {
    if (after <= this.#durableToken) {
      if (message.type === "appendRequest") this.#putAppend(message);
      else this.#send(message);
      return;
    }
    // While a disk hangs, each heartbeat is answered: the answers must not pile up.
    const last = this.#held.at(-1);
    if (last?.after === after && isCoveredBy(message, last.message)) this.#held.pop();
    this.#held.push({ message, after });
  }

  #putAppend(request: AppendRequest): void {
    const { to, term, round } = request;
    const said = this.#said.get(to);
    const isNews = request.entries.length > 0 || said?.term !== term || round > said.round;
    if (!isNews) {
      this.#quiet.set(to, request);
      return;
    }
    this.#quiet.delete(to);
    this.#said.set(to, { term, round });
    this.#send(request);
  }

  /** A tick has passed: heartbeats that nothing took the place of go out. */
  tick(): void {
    if (this.#quiet.size === 0) return;
    const requests = [...this.#quiet.values()];
    this.#quiet.clear();
    for (const request of requests) this.#send(request);
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
    this.#quiet.clear();
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
