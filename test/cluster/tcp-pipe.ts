/**
 * One direction of a proxied connection: passes what one socket receives to another, under a
 * rule that may change at any time.
 *
 * Invariants: bytes keep their order; what waits here is bounded, and beyond that the sender is
 * made to wait; the end of the one socket reaches the other only after all bytes did, and not
 * through a link that is cut or swallows.
 */
import type { Socket } from "node:net";
import { performance } from "node:perf_hooks";

export interface PipeRule {
  readonly isCut: boolean;
  readonly isSwallowed: boolean;
  readonly delayMs: number;
  readonly bytesPerSecond: number;
}

const heldBytesMax = 256 * 1024;
/** A throttled link passes a chunk in pieces of so much time. */
const sliceMs = 20;

export class TcpPipe {
  readonly #from: Socket;
  readonly #to: Socket;
  #rule: PipeRule | undefined;
  readonly #held: { readonly dueMs: number; readonly chunk: Buffer }[] = [];
  #heldBytes = 0;
  /** When a throttled link is through with what it was given. */
  #busyUntilMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #isWaitingForDrain = false;
  #isEnded = false;
  #isEnding = false;
  #passedBytes = 0;
  #swallowedBytes = 0;

  /** Nothing is read before the first rule is set. */
  constructor(from: Socket, to: Socket) {
    this.#from = from;
    this.#to = to;
    from.pause();
    from.on("data", (chunk: Buffer) => {
      this.#take(chunk);
    });
    from.on("error", () => {
      from.destroy();
    });
    from.on("close", () => {
      this.#isEnded = true;
      this.#pump();
    });
    to.on("drain", () => {
      this.#isWaitingForDrain = false;
      this.#pump();
    });
    to.on("close", () => {
      clearTimeout(this.#timer);
      this.#held.length = 0;
      this.#heldBytes = 0;
      // Read on to the end, or the end of this socket would never be seen.
      from.resume();
    });
  }

  get passedBytes(): number {
    return this.#passedBytes;
  }

  get swallowedBytes(): number {
    return this.#swallowedBytes;
  }

  /** Bytes that came and may not go on yet. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  set rule(rule: PipeRule) {
    this.#rule = rule;
    this.#pump();
    this.#balance();
  }

  #take(chunk: Buffer): void {
    if (this.#to.destroyed) return;
    if (this.#rule?.isSwallowed === true) {
      this.#swallowedBytes += chunk.length;
      return;
    }
    this.#held.push({ dueMs: performance.now() + (this.#rule?.delayMs ?? 0), chunk });
    this.#heldBytes += chunk.length;
    this.#pump();
    this.#balance();
  }

  #balance(): void {
    if (this.#heldBytes < heldBytesMax || this.#to.destroyed) this.#from.resume();
    else this.#from.pause();
  }

  /** Passes on what may pass now, and sees to it that it is called again for the rest. */
  #pump(): void {
    clearTimeout(this.#timer);
    const rule = this.#rule;
    if (rule === undefined || rule.isCut || rule.isSwallowed) return;
    for (;;) {
      const next = this.#held[0];
      if (next === undefined || this.#isWaitingForDrain || this.#to.destroyed) break;
      const waitMs = Math.max(next.dueMs, this.#busyUntilMs) - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => {
          this.#pump();
        }, waitMs);
        return;
      }
      this.#pass(next, rule.bytesPerSecond);
    }
    this.#balance();
    if (!this.#isEnded || this.#held.length > 0 || this.#isEnding) return;
    this.#isEnding = true;
    this.#to.destroySoon();
  }

  /** Writes the oldest chunk, or as much of it as a slice of a throttled link is. */
  #pass({ chunk, dueMs }: { chunk: Buffer; dueMs: number }, bytesPerSecond: number): void {
    this.#held.shift();
    let part = chunk;
    if (bytesPerSecond !== Infinity) {
      part = chunk.subarray(0, Math.max(1, Math.ceil((bytesPerSecond * sliceMs) / 1000)));
      if (part.length < chunk.length) {
        this.#held.unshift({ dueMs, chunk: chunk.subarray(part.length) });
      }
      this.#busyUntilMs = performance.now() + (part.length * 1000) / bytesPerSecond;
    }
    this.#heldBytes -= part.length;
    this.#passedBytes += part.length;
    if (!this.#to.write(part)) this.#isWaitingForDrain = true;
  }
}
