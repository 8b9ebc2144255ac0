/**
 * The real clock and the real random source: the one place in src that touches them.
 * The agent hands them in; nothing else imports this file.
 */
import { randomUUID } from "node:crypto";
import { performance } from "node:perf_hooks";

import type { Clock } from "./clock.js";
import type { Random } from "./random.js";

/** Node's own clock. Timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  setTimer(delayMs, fire) {
    const timer = setTimeout(fire, delayMs);
    timer.unref();
    return {
      cancel: () => {
        clearTimeout(timer);
      },
    };
  },
  defer(run) {
    setImmediate(run);
  },
};

/** The process's own random source. */
export const systemRandom: Random = {
  next: () => Math.random(),
  uuid: () => randomUUID(),
};
