/**
 * Standard output with back-pressure, gathered into larger writes.
 *
 * A reader that is slow slows whoever puts; one that goes away, such as `head`, is no fault: what
 * is put later is dropped, and `gone` says so. Invariant: at most one write is under way, and no
 * more than about `gatheredBytesMax` and one chunk wait beside it.
 */
import type { Writable } from "node:stream";

import type { Clock } from "../../common/clock.js";

const gatheredBytesMax = 64 * 1024;

export class Output {
  readonly #stream: Writable;
  readonly #clock: Clock;
  readonly #gone = new AbortController();
  #gathered: Buffer[] = [];
  #bytes = 0;
  #isDue = false;
  #writing: Promise<void> | undefined;
  #failure: Error | undefined;

  constructor(stream: Writable, clock: Clock) {
    this.#stream = stream;
    this.#clock = clock;
    stream.on("error", (error: NodeJS.ErrnoException) => this.#lose(error));
  }

  /** Aborts when nobody reads any more. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Why nothing can be written any more, unless it is that the reader has gone. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Adds bytes; resolves when there is room for more. */
  async put(chunk: Buffer): Promise<void> {
    if (this.gone.aborted) return;
    this.#gathered.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes >= gatheredBytesMax) {
      await this.flush();
    } else if (!this.#isDue) {
      this.#isDue = true;
      this.#clock.defer(() => {
        this.#isDue = false;
        void this.flush();
      });
    }
  }

  /** Adds a line; resolves when there is room for more. */
  async line(text: string): Promise<void> {
    await this.put(Buffer.from(`${text}\n`));
  }

  /** Resolves when all that was put before is written, or nobody reads it. */
  async flush(): Promise<void> {
    // A drain that finds nothing would end before it is noted, and then be noted for ever.
    if (this.#writing === undefined && this.#gathered.length === 0) return;
    this.#writing ??= this.#drain();
    await this.#writing;
  }

  async #drain(): Promise<void> {
    while (this.#gathered.length > 0) {
      const chunk = Buffer.concat(this.#gathered);
      this.#gathered = [];
      this.#bytes = 0;
      await new Promise<void>((resolve) => {
        this.#stream.write(chunk, (error) => {
          if (error != null) this.#lose(error);
          resolve();
        });
      });
    }
    this.#writing = undefined;
  }

  #lose(error: NodeJS.ErrnoException): void {
    this.#gathered = [];
    this.#bytes = 0;
    if (this.gone.aborted) return;
    if (error.code !== "EPIPE") this.#failure = error;
    this.#gone.abort(error);
  }
}
