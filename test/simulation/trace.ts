/**
 * What happened in a run, as it happened: a hash over all of it, by which two runs of one seed are
 * held to be the same, and the latest events in words.
 */
import { crc32 } from "node:zlib";

export interface TraceEvent {
  readonly step: number;
  readonly atMs: number;
  /** Name of the node that it happened to; empty for the world. */
  readonly node: string;
  readonly kind: string;
  readonly text: string;
  /** For a message: where it came from. */
  readonly from?: string;
  /** For a message: its type, as in src/raft/message.ts. */
  readonly type?: string;
  /** For a message in a recorded run: when it left. */
  readonly sentStep?: number;
  readonly sentAtMs?: number;
}

export class Trace {
  readonly #keep: number;
  #events: TraceEvent[] = [];
  #hash = 0;
  #count = 0;

  /** @param keep How many of the latest events are kept; Infinity for all. */
  constructor(keep: number) {
    this.#keep = keep;
  }

  get isKeeping(): boolean {
    return this.#keep > 0;
  }

  /** Counts a number into the hash: for what happens too often for words. */
  mix(value: number): void {
    this.#hash = Math.imul(this.#hash ^ (value | 0), 0x01000193) >>> 0;
  }

  add(event: TraceEvent): void {
    this.#count += 1;
    this.mix(crc32(event.kind + event.node + event.text));
    this.mix(event.step);
    if (this.#keep === 0) return;
    this.#events.push(event);
    if (this.#events.length >= 2 * this.#keep) this.#events = this.#events.slice(-this.#keep);
  }

  /** The latest events, oldest first. */
  get events(): readonly TraceEvent[] {
    return this.#events.slice(-this.#keep);
  }

  get hash(): string {
    return this.#hash.toString(16).padStart(8, "0");
  }
}

export function formatEvent({ step, atMs, node, kind, text }: TraceEvent): string {
  const at = `${String(step).padStart(7)} ${(atMs / 1000).toFixed(4).padStart(9)}s`;
  return `${at} ${node.padEnd(8)} ${kind.padEnd(9)} ${text}`;
}
