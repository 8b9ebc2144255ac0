/**
 * The operations a client has under way: each ends when its caller's signal aborts or the client
 * closes, whatever it is waiting for, and keeps the program alive until then.
 *
 * The clock's timers do not keep a program alive, and there may be no socket while no node can be
 * reached: without a hold of our own, a program that awaits a retry would simply end.
 */
import { closedError } from "./wire-errors.js";

/** Keeps the program alive while something is pending. */
export class Hold {
  #count = 0;
  #port: InstanceType<typeof MessageChannel>["port1"] | undefined;
  #isReleased = false;

  take(): void {
    this.#count += 1;
    if (this.#isReleased) return;
    if (this.#port === undefined) {
      this.#port = new MessageChannel().port1;
      this.#port.start();
    }
    if (this.#count === 1) this.#port.ref();
  }

  give(): void {
    this.#count -= 1;
    if (this.#count === 0) this.#port?.unref();
  }

  /** Lets go for ever. */
  release(): void {
    this.#isReleased = true;
    this.#port?.close();
    this.#port = undefined;
  }
}

/** Something under way. */
export interface Operation {
  /** Aborts with the caller's reason, or with an error that says that the client is closed. */
  readonly signal: AbortSignal;
  end(): void;
}

export class Operations {
  readonly #hold: Hold;
  readonly #controllers = new Set<AbortController>();
  #isClosed = false;

  constructor(hold: Hold) {
    this.#hold = hold;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** @throws the signal's reason if it has aborted; ProglogError `unavailable` if closed. */
  begin(signal?: AbortSignal): Operation {
    if (this.#isClosed) throw closedError(null);
    signal?.throwIfAborted();
    const controller = new AbortController();
    const abort = (): void => controller.abort(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    this.#controllers.add(controller);
    this.#hold.take();
    return {
      signal: controller.signal,
      end: () => {
        signal?.removeEventListener("abort", abort);
        if (this.#controllers.delete(controller)) this.#hold.give();
      },
    };
  }

  /** Ends all that is under way. */
  close(): void {
    this.#isClosed = true;
    for (const controller of this.#controllers) controller.abort(closedError(null));
  }
}

/** Waits for a promise, or rejects with the signal's reason if it aborts first. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
