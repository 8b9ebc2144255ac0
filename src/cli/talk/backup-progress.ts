/**
 * How far a backup or a restore is, for the person who waits: one line that is written over.
 * It never goes to standard output, which is for the answer.
 */
import { formatBytes } from "../../agent/option-table.js";
import type { Clock } from "../../common/clock.js";

const everyMs = 200;
const mebibyte = 1024 * 1024;

export class BackupProgress {
  readonly #clock: Clock;
  readonly #show: ((line: string) => void) | undefined;
  #shownMs = -Infinity;

  /** @param show Writes a line over the one before; undefined if there is no terminal. */
  constructor(clock: Clock, show: ((line: string) => void) | undefined) {
    this.#clock = clock;
    this.#show = show;
  }

  /** Says how much is done, now and then. */
  at(what: string, done: number, all: number): void {
    if (this.#show === undefined || this.#clock.now() - this.#shownMs < everyMs) return;
    this.#shownMs = this.#clock.now();
    const percent = all === 0 ? 100 : Math.floor((100 * done) / all);
    this.#show(`${what}: ${String(percent)} %`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.#shownMs !== -Infinity) this.#show?.("");
  }
}

/** A size for people, in whole units. */
export function roundBytes(bytes: number): string {
  return bytes < mebibyte
    ? `${String(bytes)} bytes`
    : formatBytes(mebibyte * Math.round(bytes / mebibyte));
}
