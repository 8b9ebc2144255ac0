/**
 * The limits of the gRPC server, one frozen object of defaults, and the check of their ranges.
 *
 * Invariant: there is no unlimited value; whatever a client can make grow is named here.
 */
import { ProglogError } from "../common/errors.js";
import { messageBytesMaxDefault } from "./http2-window.js";

export interface RpcOptions {
  /** Largest record once encoded: value, key, headers and 5 bytes. */
  readonly recordBytesMax: number;
  /** Largest message taken or sent. */
  readonly messageBytesMax: number;
  /** Unary calls under way at once, over all connections. */
  readonly callsInFlightMax: number;
  /** Streams open at once, over all connections. */
  readonly streamsMax: number;
  /** HTTP/2 streams of one connection; the client waits to open more. */
  readonly streamsPerConnectionMax: number;
  /** Connections; further ones are closed as they come. */
  readonly connectionsMax: number;
  /** Records of one produce stream that wait for their answers; then it is not read. */
  readonly streamRecordsInFlightMax: number;
  /** Bytes of the same. */
  readonly streamBytesInFlightMax: number;
  /** Bytes of all appends under way, over all calls; more are refused as overloaded. */
  readonly appendBytesInFlightMax: number;
  /** Bytes given to grpc-js for one reader and not yet taken by its connection. */
  readonly readerBytesMax: number;
  /** How long `close()` waits for calls under way. */
  readonly closeTimeoutMs: number;
}

const mebibyte = 1024 * 1024;

export const defaultRpcOptions: RpcOptions = Object.freeze({
  recordBytesMax: mebibyte,
  messageBytesMax: messageBytesMaxDefault,
  callsInFlightMax: 4096,
  streamsMax: 1024,
  streamsPerConnectionMax: 1024,
  connectionsMax: 4096,
  streamRecordsInFlightMax: 16_384,
  streamBytesInFlightMax: 32 * mebibyte,
  appendBytesInFlightMax: 256 * mebibyte,
  readerBytesMax: mebibyte,
  closeTimeoutMs: 5000,
});

/**
 * Completes options with the defaults and checks them.
 *
 * @throws ProglogError `invalid-request` that names the option.
 */
export function resolveRpcOptions(options: Partial<RpcOptions> = {}): RpcOptions {
  const resolved: RpcOptions = { ...defaultRpcOptions, ...options };
  for (const [name, value] of Object.entries(resolved) as [string, number][]) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw invalid(`Option ${name} must be an integer from 1, not ${String(value)}.`);
    }
  }
  if (resolved.messageBytesMax < resolved.recordBytesMax) {
    throw invalid("Option messageBytesMax must not be below recordBytesMax.");
  }
  if (resolved.appendBytesInFlightMax < resolved.messageBytesMax) {
    throw invalid("Option appendBytesInFlightMax must not be below messageBytesMax.");
  }
  return resolved;
}

function invalid(detail: string): ProglogError {
  return new ProglogError("invalid-request", detail);
}
