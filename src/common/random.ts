/**
 * The random port: every choice a node makes by chance comes through it, so that one seed can
 * replay a run. Not for secrets.
 */
export interface Random {
  /** A float in [0, 1). */
  next(): number;
  /** A random (version 4) UUID, lower case. */
  uuid(): string;
}

/** An integer in [0, countMax). */
export function randomInteger(random: Random, countMax: number): number {
  return Math.floor(random.next() * countMax);
}

/**
 * How long to wait before try `attempt` (from 0): full jitter over an exponentially growing cap,
 * so that clients that failed together do not return together.
 */
export function backoffMs(
  random: Random,
  attempt: number,
  limits: { readonly baseMs: number; readonly maxMs: number },
): number {
  const capMs = Math.min(limits.maxMs, limits.baseMs * 2 ** Math.min(attempt, 30));
  return Math.ceil(random.next() * capMs);
}
