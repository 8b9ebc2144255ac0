/**
 * What a call that failed means: gRPC statuses and a batch's errors, read into ProglogError.
 *
 * An error that a node described keeps its code, outcome, fields and leader. A failure that no node
 * described is judged by its status alone; then a write's outcome is `unknown`, for it may have
 * been applied. Fields are text on the wire; decimals and booleans are read back as such.
 */
import { Metadata, status } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";

import { InvariantError } from "../common/assert.js";
import { isErrorCode, ProglogError } from "../common/errors.js";
import type { ErrorCode, ErrorFields, LeaderHint, Outcome } from "../common/errors.js";
import { ErrorInfo, RetryInfo } from "../gen/google/rpc/error_details.js";
import { Status } from "../gen/google/rpc/status.js";
import type { ProduceError } from "../gen/log/v1/log.js";

/** Trailer that holds a `google.rpc.Status`. */
const statusDetailsKey = "grpc-status-details-bin";
/** Domain of our ErrorInfo. */
const errorDomain = "proglog";
const typePrefix = "type.googleapis.com/google.rpc.";
/** Field of a batch's error that RetryInfo holds in a status. */
const retryAfterField = "retryAfterMs";
const decimalPattern = /^(?:0|-?[1-9]\d{0,15})$/;

type TextFields = Record<string, string>;

function valueFromText(text: string): string | number | boolean {
  if (text === "true" || text === "false") return text === "true";
  if (decimalPattern.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  return text;
}

function fieldsFromText(text: TextFields, leader: LeaderHint | undefined): ErrorFields {
  const fields = Object.entries(text).map(([name, value]) => [name, valueFromText(value)] as const);
  const known = Object.fromEntries(fields);
  return leader === undefined ? known : { ...known, leader };
}

function outcomeFromText(text: string | undefined): Outcome | null {
  return text === "not_applied" || text === "unknown" || text === "applied" ? text : null;
}

function isServiceError(thrown: unknown): thrown is ServiceError {
  return (
    thrown instanceof Error &&
    !(thrown instanceof InvariantError) &&
    "code" in thrown &&
    typeof thrown.code === "number" &&
    "metadata" in thrown &&
    thrown.metadata instanceof Metadata
  );
}

interface Details {
  info?: ErrorInfo;
  retryAfterMs?: number;
}

function readDetails(metadata: Metadata): Details {
  const [wire] = metadata.get(statusDetailsKey);
  if (!Buffer.isBuffer(wire)) return {};
  const found: Details = {};
  try {
    for (const { typeUrl, value } of Status.decode(wire).details) {
      if (typeUrl === `${typePrefix}ErrorInfo`) found.info = ErrorInfo.decode(value);
      if (typeUrl !== `${typePrefix}RetryInfo`) continue;
      const delay = RetryInfo.decode(value).retryDelay;
      if (delay !== undefined) {
        found.retryAfterMs = Number(delay.seconds) * 1000 + delay.nanos / 1e6;
      }
    }
  } catch {
    // Details that can't be read are as good as none: the status still says what it is.
    return {};
  }
  return found;
}

/** The error that a node described; undefined if the connection broke, or a proxy answered. */
export function describedError(thrown: unknown): ProglogError | undefined {
  if (!isServiceError(thrown)) return undefined;
  const { info, retryAfterMs } = readDetails(thrown.metadata);
  if (info?.domain !== errorDomain || !isErrorCode(info.reason)) return undefined;
  const { outcome, retryable, leaderId, leaderName, leaderRpcAddr, leaderHttpAddr, ...text } =
    info.metadata;
  const leader: LeaderHint | undefined =
    leaderId === undefined || leaderRpcAddr === undefined
      ? undefined
      : {
          id: leaderId,
          name: leaderName ?? "",
          rpcAddr: leaderRpcAddr,
          httpAddr: leaderHttpAddr ?? "",
        };
  return new ProglogError(info.reason, thrown.details, {
    outcome: outcomeFromText(outcome),
    retryable: retryable === "true",
    fields: fieldsFromText(text, leader),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    cause: thrown,
  });
}

/** Statuses without our details that no other try can mend. All others are a broken connection. */
const finalStatuses: Readonly<Partial<Record<number, ErrorCode>>> = {
  [status.INVALID_ARGUMENT]: "invalid-request",
  [status.PERMISSION_DENIED]: "permission-denied",
  [status.UNAUTHENTICATED]: "unauthenticated",
  [status.UNIMPLEMENTED]: "not-found",
};

/**
 * Makes what a call threw a ProglogError, as the node that answered meant it.
 *
 * @param call What the call is: of a write that a broken connection cut off it is not known
 *   whether it was applied.
 */
export function fromServiceError(thrown: unknown, call: "read" | "write"): ProglogError {
  if (thrown instanceof ProglogError) return thrown;
  const described = describedError(thrown);
  if (described !== undefined) return described;
  if (!isServiceError(thrown)) return ProglogError.from(thrown);
  const { code, details } = thrown;
  if (code === status.RESOURCE_EXHAUSTED && details.includes("larger than")) {
    return new ProglogError("record-too-large", details, { cause: thrown });
  }
  const final = finalStatuses[code];
  if (final !== undefined) return new ProglogError(final, details, { cause: thrown });
  const detail = `The node did not answer: ${details}.`;
  if (call === "read") {
    return new ProglogError("unavailable", detail, { outcome: null, cause: thrown });
  }
  return new ProglogError("outcome-unknown", detail, { retryable: true, cause: thrown });
}

/** True if grpc-js says that a unary request never left this process. */
export function wasNeverSent({ code, details }: ServiceError): boolean {
  const isEarly = /No connection established|Name resolution failed|Waiting for LB pick/;
  return code === status.UNAVAILABLE && isEarly.test(details);
}

/** The node could not be reached: whatever was asked of it, nothing came of it. */
export function neverSent(error: ServiceError): ProglogError {
  const detail = `The node did not answer: ${error.details}.`;
  return new ProglogError("unavailable", detail, { cause: error });
}

/** The error that a batch's answer carries; a code that is not known here becomes `internal`. */
export function fromProduceError(error: ProduceError): ProglogError {
  const { leader } = error;
  const hint: LeaderHint | undefined =
    leader === undefined
      ? undefined
      : { id: leader.id, name: leader.name, rpcAddr: leader.rpcAddr, httpAddr: leader.httpAddr };
  const { [retryAfterField]: retryAfterMs, ...fields } = error.fields;
  return new ProglogError(isErrorCode(error.code) ? error.code : "internal", error.detail, {
    outcome: outcomeFromText(error.outcome),
    retryable: error.retryable,
    fields: fieldsFromText(fields, hint),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs: Number(retryAfterMs) }),
  });
}

/** The client was closed before this was done. */
export function closedError(outcome: Outcome | null): ProglogError {
  const code = outcome === "unknown" ? "outcome-unknown" : "unavailable";
  return new ProglogError(code, "The client is closed.", { outcome, retryable: false });
}
