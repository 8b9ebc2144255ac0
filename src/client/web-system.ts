/**
 * The clock and the random source where there may be no Node: browsers, workers, edge runtimes.
 * It uses what all of these have as globals, and only the HTTP client's defaults import it.
 */
import type { Clock } from "../common/clock.js";
import type { Random } from "../common/random.js";

// common/system.ts is this for Node, and needs its modules.
/* eslint-disable no-restricted-globals -- the other place that touches the real clock */
/* eslint-disable no-restricted-properties -- and the real random source */

/** The platform's own clock. */
export const webClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  setTimer(delayMs, fire) {
    const timer = setTimeout(fire, delayMs);
    return {
      cancel: () => {
        clearTimeout(timer);
      },
    };
  },
  defer(run) {
    setTimeout(run, 0);
  },
};

/** The platform's own random source. */
export const webRandom: Random = {
  next: () => Math.random(),
  uuid() {
    // `randomUUID` is missing on pages that are not served securely.
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const variant = ((bytes[8] ?? 0) & 0x3f) | 0x80;
    const [first, second, third] = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(13, 16)];
    const fourth = variant.toString(16) + hex.slice(18, 20);
    return `${first}-${second}-4${third}-${fourth}-${hex.slice(20)}`;
  },
};
