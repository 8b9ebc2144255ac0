/**
 * What a client can be told: one object of defaults, and the check of their ranges.
 *
 * Invariant: whatever can grow or wait in a client is bounded by something named here.
 */
import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { Random } from "../common/random.js";
import { systemClock, systemRandom } from "../common/system.js";
import { checkAddresses } from "./address.js";

const mebibyte = 1024 * 1024;

/** Appends that a node remembers of one producer: more under way could not be retried safely. */
export const rememberedAppends = 5;

/** How a producer gathers records, and how much it may hold. */
export interface ProducerLimits {
  /**
   * How long a record waits for company when nothing is under way, milliseconds; default 0: while
   * an append is under way the next ones gather anyway.
   */
  readonly lingerMs: number;
  /** Most bytes of records in one append; default 256 KiB, at most 4 MiB. */
  readonly batchBytesMax: number;
  /** Most records in one append; default 4096. */
  readonly batchRecordsMax: number;
  /**
   * Appends under way at once, 1 to 5; default 1, which keeps the order of calls whatever fails.
   * With more, records of different appends may change places when one of them has to be retried.
   */
  readonly appendsInFlightMax: number;
  /** Bytes of records that have no answer yet; default 32 MiB. */
  readonly bufferedBytesMax: number;
  /**
   * What a produce beyond that does: `wait` for room (default; at most 65 536 wait, and the value
   * is copied only when there is room), or fail with `overloaded`.
   */
  readonly whenFull: "wait" | "reject";
  /** How long a record may take to be acknowledged, retries included; default 30 000. */
  readonly deliveryTimeoutMs: number;
}

export interface ClientOptions extends Partial<ProducerLimits> {
  /** rpc addresses of some nodes, `host:port`. They are kept for ever; the others are found. */
  readonly servers: readonly string[];
  /**
   * False: only `servers` are dialled, as through port mappings or a load balancer that hide the
   * addresses that nodes know of each other. Default true.
   */
  readonly discovery?: boolean;
  /** How long a read, or `status()`, is tried; default 10 000. */
  readonly readTimeoutMs?: number;
  /** How long a node waits for the commit of one try of an append; default 10 000. */
  readonly requestTimeoutMs?: number;
  /** How old the client's knowledge of the members may be when it is used; default 5000. */
  readonly refreshMs?: number;
  /** For tests and simulators. */
  readonly clock?: Clock;
  /** For tests and simulators. */
  readonly random?: Random;
}

export interface ResolvedOptions extends Required<ClientOptions>, ProducerLimits {}

export const defaultClientOptions = Object.freeze({
  discovery: true,
  readTimeoutMs: 10_000,
  requestTimeoutMs: 10_000,
  refreshMs: 5000,
  lingerMs: 0,
  batchBytesMax: mebibyte / 4,
  batchRecordsMax: 4096,
  appendsInFlightMax: 1,
  bufferedBytesMax: 32 * mebibyte,
  whenFull: "wait",
  deliveryTimeoutMs: 30_000,
} as const);

/** Numbers of the options: least and largest value. */
const ranges: Readonly<Record<string, readonly [number, number]>> = {
  readTimeoutMs: [1, 2 ** 31 - 1],
  requestTimeoutMs: [1, 2 ** 31 - 1],
  refreshMs: [100, 2 ** 31 - 1],
  lingerMs: [0, 60_000],
  batchBytesMax: [1, 4 * mebibyte],
  batchRecordsMax: [1, 1_000_000],
  appendsInFlightMax: [1, rememberedAppends],
  bufferedBytesMax: [1, Number.MAX_SAFE_INTEGER],
  deliveryTimeoutMs: [1, 2 ** 31 - 1],
};

/** The options that are given; one that is `undefined` counts as not given. */
function given(options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function checkRanges(options: object): void {
  for (const [name, [least, largest]] of Object.entries(ranges)) {
    const value: unknown = Reflect.get(options, name);
    if (value === undefined) continue;
    if (Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= largest) continue;
    const range = `an integer from ${String(least)} to ${String(largest)}`;
    throw new ProglogError(
      "invalid-request",
      `Option ${name} must be ${range}, not ${JSON.stringify(value)}.`,
    );
  }
  const whenFull: unknown = Reflect.get(options, "whenFull");
  if (whenFull === undefined || whenFull === "wait" || whenFull === "reject") return;
  throw new ProglogError("invalid-request", 'Option whenFull is "wait" or "reject".');
}

/** @throws ProglogError `invalid-request` that names the option. */
export function resolveClientOptions(options: ClientOptions): ResolvedOptions {
  const resolved: ResolvedOptions = {
    ...defaultClientOptions,
    clock: systemClock,
    random: systemRandom,
    ...(given(options) as ClientOptions),
  };
  checkAddresses(resolved.servers);
  checkRanges(resolved);
  return { ...resolved, servers: [...new Set(resolved.servers)] };
}

/** The client's limits with those of one producer in their place. */
export function resolveProducerLimits(
  options: ResolvedOptions,
  own: Partial<ProducerLimits>,
): ProducerLimits {
  const resolved = { ...options, ...given(own) };
  checkRanges(resolved);
  return resolved;
}
