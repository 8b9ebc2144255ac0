/**
 * The clock port: all time in proglog comes through it, so that a simulator can own time.
 *
 * The monotonic clock times waits and elections. The wall clock only stamps records: nothing that
 * must be the same on two nodes is ever decided by it.
 */

/** A timer that can be cancelled; cancelling twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds from an unknown start; may be fractional. */
  now(): number;
  /** Milliseconds since 1970, as an integer. May jump either way. */
  wallNow(): number;
  /** Calls `fire` once, not before `delayMs` have passed. Does not keep the process alive. */
  setTimer(delayMs: number, fire: () => void): Timer;
  /**
   * Calls `run` after the I/O of this turn of the event loop: what arrives together is seen
   * together.
   */
  defer(run: () => void): void;
}

/** Waits, or rejects with the signal's reason if it aborts first. */
export async function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const abort = (): void => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener("abort", abort);
      resolve();
    });
    if (signal?.aborted === true) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}
