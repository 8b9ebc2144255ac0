/**
 * The gateway's limits, one frozen object of defaults, and the check of their ranges.
 *
 * Invariant: there is no unlimited value; whatever a client can make grow is named here.
 */
import { ProglogError } from "../common/errors.js";

export interface HttpOptions {
  /** Largest record: value, key and headers, in bytes. */
  readonly recordBytesMax: number;
  /** Largest JSON body of an append, and largest batch once encoded, in bytes. */
  readonly bodyBytesMax: number;
  /** Bytes of request bodies held at once, over all connections. */
  readonly bodyBytesInFlightMax: number;
  /** Bytes of large answers that wait for their readers at once, over all connections. */
  readonly answerBytesInFlightMax: number;
  /** Appends that wait for their commit at once. */
  readonly appendsInFlightMax: number;
  /** Records in one `messages` batch. */
  readonly batchCountMax: number;
  /** NDJSON and SSE answers that are open at once. */
  readonly streamsMax: number;
  /** Connections; further ones are closed as they come. */
  readonly connectionsMax: number;
  /** How long a request's headers may take to arrive. */
  readonly headersTimeoutMs: number;
  /** How long a whole request may take to arrive. */
  readonly requestTimeoutMs: number;
  /** How long a connection may stay without a request. */
  readonly keepAliveTimeoutMs: number;
  /**
   * How long a reader may take for a large answer (over 16 KiB), or may take nothing of a stream,
   * before it is cut off.
   */
  readonly stallTimeoutMs: number;
  /** Longest `wait` of a read. */
  readonly waitMsMax: number;
  /** Time between two SSE comments that keep a quiet connection open. */
  readonly heartbeatMs: number;
  /** How long `close()` waits for answers under way. */
  readonly closeTimeoutMs: number;
}

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

export const defaultHttpOptions: HttpOptions = Object.freeze({
  recordBytesMax: mebibyte,
  bodyBytesMax: 4 * mebibyte + 64 * kibibyte,
  bodyBytesInFlightMax: 128 * mebibyte,
  answerBytesInFlightMax: 256 * mebibyte,
  appendsInFlightMax: 4096,
  batchCountMax: 10_000,
  streamsMax: 1024,
  connectionsMax: 4096,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  keepAliveTimeoutMs: 10_000,
  stallTimeoutMs: 60_000,
  waitMsMax: 300_000,
  heartbeatMs: 15_000,
  closeTimeoutMs: 5_000,
});

/**
 * Completes options with the defaults and checks them.
 *
 * @throws ProglogError `invalid-request` that names the option.
 */
export function resolveHttpOptions(options: Partial<HttpOptions> = {}): HttpOptions {
  const resolved: HttpOptions = { ...defaultHttpOptions, ...options };
  for (const [name, value] of Object.entries(resolved) as [string, number][]) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw invalid(`Option ${name} must be an integer from 1, not ${String(value)}.`);
    }
  }
  if (resolved.bodyBytesMax < resolved.recordBytesMax) {
    throw invalid("Option bodyBytesMax must not be below recordBytesMax.");
  }
  if (resolved.bodyBytesInFlightMax < resolved.bodyBytesMax) {
    throw invalid("Option bodyBytesInFlightMax must not be below bodyBytesMax.");
  }
  if (resolved.requestTimeoutMs < resolved.headersTimeoutMs) {
    throw invalid("Option requestTimeoutMs must not be below headersTimeoutMs.");
  }
  return resolved;
}

function invalid(detail: string): ProglogError {
  return new ProglogError("invalid-request", detail);
}
