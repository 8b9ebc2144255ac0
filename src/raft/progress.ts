/**
 * The leader's view of one follower: how far it is, and how much is in flight to it.
 *
 * - `probe`: where the logs meet is not known; one message at a time, the next after an answer.
 * - `replicate`: it is known; appends are pipelined, within bounds of count and bytes.
 * - `snapshot`: the entries it needs are gone; it was offered a snapshot and is left alone.
 *
 * Invariants: matchIndex < nextIndex; matchIndex only grows (it starts at 0, never at a guess);
 * inflight count and bytes stay within the bounds, one message over at the most.
 */
import { assert } from "../common/assert.js";

export type ProgressState = "probe" | "replicate" | "snapshot";

export interface InflightLimits {
  readonly countMax: number;
  readonly bytesMax: number;
}

export class Progress {
  state: ProgressState = "probe";
  matchIndex = 0;
  nextIndex: number;
  /** In `probe`: a message is out, and nothing more is sent before an answer or a heartbeat's. */
  probeSent = false;
  /** The host is reading entries for this peer. */
  loading = false;
  /** In `snapshot`: the index offered. */
  offeredIndex = 0;
  /** In `snapshot`: when it was offered; an offer may be lost. */
  offeredTick = 0;
  /** Tick of the last message from the peer in this term; check-quorum counts it. */
  heardTick: number;
  /** Tick of the last append or heartbeat sent. */
  sentTick = 0;
  /** Tick since which something is in flight and nothing was acknowledged. */
  ackTick = 0;
  /** Highest commitIndex the peer was told of. */
  sentCommit = 0;
  /** Latest read round the peer has answered. */
  round = 0;
  readonly #limits: InflightLimits;
  #inflight: { readonly lastIndex: number; readonly bytes: number }[] = [];
  #inflightBytes = 0;

  constructor(nextIndex: number, heardTick: number, limits: InflightLimits) {
    this.nextIndex = nextIndex;
    this.heardTick = heardTick;
    this.#limits = limits;
  }

  get inflightCount(): number {
    return this.#inflight.length;
  }

  get inflightBytes(): number {
    return this.#inflightBytes;
  }

  /** True if nothing more may be sent before an answer. */
  get isPaused(): boolean {
    switch (this.state) {
      case "probe":
        return this.probeSent || this.loading;
      case "replicate":
        return (
          this.loading ||
          this.#inflight.length >= this.#limits.countMax ||
          this.#inflightBytes >= this.#limits.bytesMax
        );
      case "snapshot":
        return true;
    }
  }

  /** Notes a message sent whose last entry is `lastIndex`. */
  sent(lastIndex: number, bytes: number, tick: number): void {
    assert(lastIndex >= this.nextIndex, "a message with entries moves nextIndex");
    if (this.#inflight.length === 0) this.ackTick = tick;
    if (this.state === "probe") {
      this.probeSent = true;
      return;
    }
    this.#inflight.push({ lastIndex, bytes });
    this.#inflightBytes += bytes;
    this.nextIndex = lastIndex + 1;
  }

  /**
   * Takes in an acknowledgement.
   *
   * @returns True if matchIndex grew.
   */
  acknowledge(index: number, tick: number): boolean {
    if ((this.#inflight[0]?.lastIndex ?? Infinity) <= index) this.ackTick = tick;
    while (this.#inflight.length > 0 && (this.#inflight[0]?.lastIndex ?? 0) <= index) {
      this.#inflightBytes -= this.#inflight.shift()?.bytes ?? 0;
    }
    this.nextIndex = Math.max(this.nextIndex, index + 1);
    if (index <= this.matchIndex) return false;
    this.matchIndex = index;
    return true;
  }

  /** Back to one message at a time, from `nextIndex` on. */
  becomeProbe(nextIndex: number): void {
    this.state = "probe";
    this.probeSent = false;
    this.nextIndex = Math.max(nextIndex, this.matchIndex + 1);
    this.#clearInflight();
  }

  becomeReplicate(): void {
    this.state = "replicate";
    this.probeSent = false;
    this.nextIndex = this.matchIndex + 1;
    this.#clearInflight();
  }

  /** Left alone until it holds what was offered, or anything from which appends can go on. */
  becomeSnapshot(offeredIndex: number, tick: number): void {
    this.state = "snapshot";
    this.offeredIndex = offeredIndex;
    this.nextIndex = Math.max(this.nextIndex, offeredIndex + 1);
    this.offeredTick = tick;
    this.#clearInflight();
  }

  #clearInflight(): void {
    this.#inflight = [];
    this.#inflightBytes = 0;
  }
}
