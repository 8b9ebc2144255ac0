/**
 * Assertions that stay on in production: they guard against our own bugs, never against the world.
 *
 * An InvariantError is never caught and repaired: a node that finds its own state impossible stops,
 * because going on could lose or invent records.
 */

/** A state that the code holds to be impossible. Fatal to the node that meets it. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/**
 * Asserts one condition.
 *
 * @param mustHold What must hold, as a sentence without a subject's guess at the cause.
 * @throws InvariantError if it does not hold.
 */
export function assert(condition: boolean, mustHold: string): asserts condition {
  if (!condition) throw new InvariantError(mustHold);
}

/** Asserts that a value is there, and returns it. */
export function present<T>(value: T | undefined | null, mustHold: string): T {
  if (value === undefined || value === null) throw new InvariantError(mustHold);
  return value;
}

/** Asserts an index, term, offset or position: an integer from 0 to 2^53-1. */
export function assertSafe(value: number, name: string): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new InvariantError(`${name} is an integer from 0 to 2^53-1, not ${String(value)}`);
  }
}

/** Marks the branch that an exhaustive switch never takes. */
export function assertNever(value: never, what: string): never {
  throw new InvariantError(`${what} is unknown: ${JSON.stringify(value)}`);
}
