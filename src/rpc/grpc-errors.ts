/**
 * ProglogError ⇄ gRPC: status, and `google.rpc` details in `grpc-status-details-bin`.
 *
 * An error crosses with its code, outcome, fields and leader, so that what a client learns is what
 * the node knew. What is not of the error table never crosses: it becomes `internal`, without
 * its text. A failure that no node of ours described is judged by its status alone, and then the
 * outcome of a write is `not_applied` only where nothing can have been sent.
 *
 * Fields are text on the wire; decimals and booleans are read back as such.
 */
import { Metadata, status } from "@grpc/grpc-js";
import type { ServiceError, StatusObject } from "@grpc/grpc-js";

import { InvariantError } from "../common/assert.js";
import { isErrorCode, ProglogError } from "../common/errors.js";
import type { ErrorCode, ErrorFields, LeaderHint, Outcome } from "../common/errors.js";
import type { Any } from "../gen/google/protobuf/any.js";
import { ErrorInfo, RetryInfo } from "../gen/google/rpc/error_details.js";
import { Status } from "../gen/google/rpc/status.js";
import type { ProduceError } from "../gen/log/v1/log.js";

/** Trailer that holds a `google.rpc.Status`. */
export const statusDetailsKey = "grpc-status-details-bin";
/** Domain of our ErrorInfo. */
export const errorDomain = "proglog";

/** Where an error says nothing else. */
const retryAfterMsDefault = 1000;
/** Longest text of an error in a header: HTTP/2 peers bound their headers. */
const textLengthMax = 2048;

/** Field of a batch's error that RetryInfo would hold in a status. */
const retryAfterField = "retryAfterMs";
const typePrefix = "type.googleapis.com/google.rpc.";
const leaderKeys = {
  id: "leaderId",
  name: "leaderName",
  rpcAddr: "leaderRpcAddr",
  httpAddr: "leaderHttpAddr",
} as const;
const decimalPattern = /^(?:0|-?[1-9]\d{0,15})$/;

type TextFields = Record<string, string>;

/** Well-formed text of bounded length: a lone surrogate can't be put into a header. */
function headerText(text: string): string {
  return Buffer.from(text.slice(0, textLengthMax)).toString();
}

function fieldsToText(fields: ErrorFields): TextFields {
  const text: TextFields = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value === null || typeof value === "object") continue;
    text[name] = headerText(String(value));
  }
  return text;
}

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

function errorInfo(error: ProglogError): ErrorInfo {
  const metadata = fieldsToText(error.fields);
  metadata["retryable"] = String(error.retryable);
  if (error.outcome !== null) metadata["outcome"] = error.outcome;
  const { leader } = error;
  if (leader !== undefined) {
    for (const name of ["id", "name", "rpcAddr", "httpAddr"] as const) {
      metadata[leaderKeys[name]] = headerText(leader[name]);
    }
  }
  return { reason: error.code, domain: errorDomain, metadata };
}

function any(type: "ErrorInfo" | "RetryInfo", value: Uint8Array): Any {
  return { typeUrl: typePrefix + type, value: Buffer.from(value) };
}

/** The gRPC status of an error. OK can't carry a failure, so what the table calls OK is late. */
function statusCode(error: ProglogError): status {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- they are its numbers
  const code: status = error.grpc;
  return code === status.OK ? status.DEADLINE_EXCEEDED : code;
}

/** What a gRPC server sends for an error. */
export function statusFrom(error: ProglogError): StatusObject {
  const code = statusCode(error);
  const message = headerText(error.message);
  const details = [any("ErrorInfo", ErrorInfo.encode(errorInfo(error)).finish())];
  if (error.retryable) {
    const delayMs = Math.max(0, error.retryAfterMs ?? retryAfterMsDefault);
    const seconds = Math.floor(delayMs / 1000);
    const nanos = Math.round((delayMs - seconds * 1000) * 1e6);
    const retryDelay = { seconds: BigInt(seconds), nanos };
    details.push(any("RetryInfo", RetryInfo.encode({ retryDelay }).finish()));
  }
  const metadata = new Metadata();
  const wire = Status.encode({ code, message, details }).finish();
  metadata.set(statusDetailsKey, Buffer.from(wire));
  return { code, details: message, metadata };
}

/** True if what was thrown is no fault of the world, so that it must be logged with its stack. */
export function isUnexpected(thrown: unknown): boolean {
  return !(thrown instanceof ProglogError) || thrown.code === "internal";
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

function readDetails(metadata: Metadata): { info?: ErrorInfo; retryAfterMs?: number } {
  const [wire] = metadata.get(statusDetailsKey);
  if (!Buffer.isBuffer(wire)) return {};
  const found: { info?: ErrorInfo; retryAfterMs?: number } = {};
  try {
    for (const detail of Status.decode(wire).details) {
      if (detail.typeUrl === `${typePrefix}ErrorInfo`) {
        found.info = ErrorInfo.decode(detail.value);
      } else if (detail.typeUrl === `${typePrefix}RetryInfo`) {
        const delay = RetryInfo.decode(detail.value).retryDelay;
        if (delay !== undefined)
          found.retryAfterMs = Number(delay.seconds) * 1000 + delay.nanos / 1e6;
      }
    }
  } catch {
    // Details that can't be read are as good as none: the status still says what it is.
    return {};
  }
  return found;
}

function takeLeader(text: TextFields): LeaderHint | undefined {
  const take = (name: keyof LeaderHint): string | undefined => {
    const value = text[leaderKeys[name]];
    Reflect.deleteProperty(text, leaderKeys[name]);
    return value;
  };
  const [id, name] = [take("id"), take("name")];
  const [rpcAddr, httpAddr] = [take("rpcAddr"), take("httpAddr")];
  if (id === undefined || name === undefined) return undefined;
  return { id, name, rpcAddr: rpcAddr ?? "", httpAddr: httpAddr ?? "" };
}

/**
 * The error that a node described in a failed call's details.
 *
 * @returns undefined if no node of ours did: the connection broke, or a proxy answered.
 */
export function describedError(thrown: unknown): ProglogError | undefined {
  if (!isServiceError(thrown)) return undefined;
  const { info, retryAfterMs } = readDetails(thrown.metadata);
  if (info?.domain !== errorDomain || !isErrorCode(info.reason)) return undefined;
  const { outcome, retryable, ...text } = info.metadata;
  const leader = takeLeader(text);
  return new ProglogError(info.reason, thrown.details, {
    outcome: outcomeFromText(outcome),
    retryable: retryable === "true",
    fields: fieldsFromText(text, leader),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    cause: thrown,
  });
}

/** Codes for a status that comes without our details. */
const codesByStatus: Readonly<Partial<Record<number, ErrorCode>>> = {
  [status.INVALID_ARGUMENT]: "invalid-request",
  [status.DEADLINE_EXCEEDED]: "unavailable",
  [status.CANCELLED]: "unavailable",
  [status.UNAVAILABLE]: "unavailable",
  [status.NOT_FOUND]: "unknown-member",
  [status.PERMISSION_DENIED]: "permission-denied",
  [status.UNAUTHENTICATED]: "unauthenticated",
  [status.RESOURCE_EXHAUSTED]: "overloaded",
  [status.FAILED_PRECONDITION]: "unsafe-change",
  [status.OUT_OF_RANGE]: "offset-out-of-range",
  [status.UNIMPLEMENTED]: "not-found",
  [status.DATA_LOSS]: "data-damaged",
};

/** True if grpc-js says that the request never left this process. */
function wasNeverSent(error: ServiceError): boolean {
  if (error.code === status.UNAVAILABLE) {
    return /No connection established|Name resolution failed|Waiting for LB pick/.test(
      error.details,
    );
  }
  return error.code === status.DEADLINE_EXCEEDED && !error.details.includes("remote_addr=");
}

/**
 * Makes what a gRPC client threw a ProglogError, as the node that answered meant it.
 *
 * @param call `write` if the call changes something: unless it certainly was not sent, a broken
 *   connection leaves its outcome unknown.
 */
export function fromServiceError(thrown: unknown, call: "read" | "write" = "write"): ProglogError {
  if (thrown instanceof ProglogError) return thrown;
  const described = describedError(thrown);
  if (described !== undefined) return described;
  if (!isServiceError(thrown)) return ProglogError.from(thrown);
  if (thrown.code === status.RESOURCE_EXHAUSTED && /larger than/.test(thrown.details)) {
    return new ProglogError("record-too-large", thrown.details, { cause: thrown });
  }
  const code = codesByStatus[thrown.code] ?? "internal";
  if (code !== "unavailable") return new ProglogError(code, thrown.details, { cause: thrown });
  const isUnknown = call === "write" && !wasNeverSent(thrown);
  const detail = `The node did not answer: ${thrown.details}.`;
  if (isUnknown) return new ProglogError("outcome-unknown", detail, { cause: thrown });
  return new ProglogError("unavailable", detail, { cause: thrown });
}

/** An error as a batch's answer carries it. */
export function produceErrorFrom(error: ProglogError): ProduceError {
  const { leader, retryAfterMs } = error;
  const fields = fieldsToText(error.fields);
  if (retryAfterMs !== undefined) fields[retryAfterField] = String(Math.ceil(retryAfterMs));
  return {
    code: error.code,
    detail: headerText(error.message),
    retryable: error.retryable,
    outcome: error.outcome ?? "",
    fields,
    leader: leader === undefined ? undefined : { ...leader, isLeader: true, voter: true },
  };
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
