/**
 * One line on a terminal that is written again and again while something long goes on.
 *
 * It must never write to what is not a terminal, and leaves nothing behind when it stops.
 */
import type { Timer } from "../../common/clock.js";
import type { TalkSurroundings } from "./surroundings.js";

/** What takes no longer than this needs no progress. */
const patienceMs = 1000;
const intervalMs = 250;

/** Back to the start of the line, which is then cleared. */
const clearLine = "\r\u001b[K";

export class Progress {
  readonly #surroundings: TalkSurroundings;
  readonly #text: () => string;
  #timer: Timer | undefined;
  #isShown = false;

  /** @param text What to show now. */
  constructor(surroundings: TalkSurroundings, text: () => string) {
    this.#surroundings = surroundings;
    this.#text = text;
  }

  start(): void {
    if (this.#surroundings.terminals.stderr) this.#after(patienceMs);
  }

  #after(delayMs: number): void {
    this.#timer = this.#surroundings.clock.setTimer(delayMs, () => {
      this.#isShown = true;
      this.#surroundings.writeError(`${clearLine}${this.#text()}`);
      this.#after(intervalMs);
    });
  }

  stop(): void {
    this.#timer?.cancel();
    if (this.#isShown) this.#surroundings.writeError(clearLine);
    this.#isShown = false;
  }
}
