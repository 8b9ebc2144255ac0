/**
 * What one produce stream has under way: when to stop reading it, and when to read on.
 *
 * A request is held until its answer has been taken by the connection, so a client that does not
 * read its answers is not read either.
 */
export interface LedgerLimits {
  readonly streamRecordsInFlightMax: number;
  readonly streamBytesInFlightMax: number;
}

/** The reading side of a stream. */
interface Pausable {
  pause(): unknown;
  resume(): unknown;
}

export class StreamLedger {
  readonly #stream: Pausable;
  readonly #limits: LedgerLimits;
  #records = 0;
  #bytes = 0;
  #isPaused = false;

  constructor(stream: Pausable, limits: LedgerLimits) {
    this.#stream = stream;
    this.#limits = limits;
  }

  hold(records: number, bytes: number): void {
    this.#records += records;
    this.#bytes += bytes;
    if (this.#isPaused || !this.#isFull()) return;
    this.#isPaused = true;
    this.#stream.pause();
  }

  release(records: number, bytes: number): void {
    this.#records -= records;
    this.#bytes -= bytes;
    if (!this.#isPaused || this.#isFull()) return;
    this.#isPaused = false;
    this.#stream.resume();
  }

  #isFull(): boolean {
    return (
      this.#records >= this.#limits.streamRecordsInFlightMax ||
      this.#bytes >= this.#limits.streamBytesInFlightMax
    );
  }
}
