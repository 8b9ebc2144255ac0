/**
 * Looks at the disk's free bytes from time to time. Writes are refused before the disk is full,
 * so that votes and reads can go on.
 */
import type { Clock, Timer } from "../common/clock.js";
import type { Disk } from "../storage/disk.js";

export interface DiskWatchParts {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly intervalMs: number;
  /** Below so many free bytes the disk is low. */
  readonly freeBytesMin: number;
  readonly logger: { warn(fields: object, event: string): void };
  readonly onFailed: (error: Error) => void;
}

export class DiskWatch {
  readonly #parts: DiskWatchParts;
  #isLow = false;
  #isStopped = false;
  #timer: Timer | undefined;

  constructor(parts: DiskWatchParts) {
    this.#parts = parts;
  }

  /** As it was at the last look. */
  get isLow(): boolean {
    return this.#isLow;
  }

  start(): void {
    if (this.#isStopped) return;
    const { clock, intervalMs, onFailed } = this.#parts;
    this.#look().then(
      () => {
        if (this.#isStopped) return;
        this.#timer = clock.setTimer(intervalMs, () => {
          this.start();
        });
      },
      (error: unknown) => {
        onFailed(error as Error);
      },
    );
  }

  async #look(): Promise<void> {
    const { disk, freeBytesMin, logger } = this.#parts;
    const freeBytes = await disk.freeBytes();
    const isLow = freeBytes < freeBytesMin;
    if (isLow !== this.#isLow) logger.warn({ freeBytes, isLow }, "disk-space");
    this.#isLow = isLow;
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }
}
