/**
 * Waiting for what real processes do: ask again until it holds, or fail at a deadline.
 *
 * No test sleeps for an amount of time and hopes: each wait names what it waits for, ends as soon
 * as that holds, and says at its deadline what it saw last.
 */
import { performance } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";

export const deadlineMs = 30_000;

export interface PollOptions {
  readonly timeoutMs?: number;
  /** Time between two questions. */
  readonly everyMs?: number;
}

/**
 * Asks until the answer is not undefined.
 *
 * @param what What is waited for, for the message at the deadline.
 * @param ask Undefined, or a throw, means: not yet.
 */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined>,
  options: PollOptions = {},
): Promise<T> {
  const { timeoutMs = deadlineMs, everyMs = 20 } = options;
  const start = performance.now();
  let last: unknown = "nothing";
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
      last = "not yet";
    } catch (error) {
      last = error;
    }
    if (performance.now() - start > timeoutMs) {
      throw new Error(`waited ${timeoutMs} ms for ${what}; last: ${describe(last)}`, {
        cause: last,
      });
    }
    await pause(everyMs);
  }
}

function describe(value: unknown): string {
  if (!(value instanceof Error)) return String(value);
  return value.cause instanceof Error ? `${value.message} (${value.cause.message})` : value.message;
}

/** Waits between two questions of a loop of the caller's own. */
export async function briefly(ms = 20): Promise<void> {
  await pause(ms);
}

/** The middle of some measurements. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Prints a measurement with the test that made it. */
export function report(line: string): void {
  process.stdout.write(`  measured: ${line}\n`);
}
