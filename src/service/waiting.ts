/**
 * Waits that always end: by what they wait for, by their time, or by their caller's signal.
 *
 * Whichever comes first, nothing stays behind: no timer, no listener.
 */
import type { Clock } from "../common/clock.js";

/** How a wait ended. */
export type WaitEnd = "done" | "timeout" | "aborted";

export interface WaitLimits {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Waits for one call of a listener.
 *
 * @param subscribe Registers the listener and returns how to remove it.
 */
export async function waitForCall(
  clock: Clock,
  subscribe: (listener: () => void) => () => void,
  limits: WaitLimits,
): Promise<WaitEnd> {
  const { timeoutMs, signal } = limits;
  if (signal?.aborted === true) return "aborted";
  return new Promise((resolve) => {
    const finish = (end: WaitEnd): void => {
      unsubscribe();
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
      resolve(end);
    };
    const onAbort = (): void => {
      finish("aborted");
    };
    const timer =
      timeoutMs === undefined
        ? undefined
        : clock.setTimer(timeoutMs, () => {
            finish("timeout");
          });
    const unsubscribe = subscribe(() => {
      finish("done");
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** Waits for a promise no longer than the limits; what it then becomes is not looked at. */
export async function waitFor(
  clock: Clock,
  promise: Promise<void>,
  limits: WaitLimits,
): Promise<WaitEnd> {
  // However the wait ends, a later failure of the promise is nobody's.
  promise.catch(() => undefined);
  let failure: unknown;
  let hasFailed = false;
  const end = await waitForCall(
    clock,
    (listener) => {
      promise.then(listener, (error: unknown) => {
        failure = error;
        hasFailed = true;
        listener();
      });
      return () => undefined;
    },
    limits,
  );
  if (hasFailed) throw failure;
  return end;
}
