/**
 * Messages of `log.v1` ⇄ what the services speak: the edge where bigint becomes number.
 *
 * Nothing here is guessed: an offset that is not exact as a number is refused, not rounded.
 */
import { ProglogError } from "../common/errors.js";
import type { LogRecord, RecordContent } from "../common/record.js";
import { recordBytes } from "../common/record.js";
import { Consistency as WireConsistency } from "../gen/log/v1/log.js";
import type { ProduceRequest, Record as WireRecord } from "../gen/log/v1/log.js";
import type { ClusterStatus, Consistency, MemberStatus } from "../service/api.js";
import type { Server } from "../gen/log/v1/log.js";

const offsetMax = BigInt(Number.MAX_SAFE_INTEGER);

/**
 * An offset as a number.
 *
 * @param name The field, for the error.
 * @throws ProglogError `invalid-request` above 2^53-1.
 */
export function offsetFrom(value: bigint, name: string): number {
  if (value >= 0n && value <= offsetMax) return Number(value);
  throw new ProglogError("invalid-request", `${name} must be from 0 to 2^53-1, not ${value}.`);
}

/** @throws ProglogError `invalid-request` for a value that is not known. */
export function consistencyFrom(value: WireConsistency): Consistency {
  switch (value) {
    case WireConsistency.UNSPECIFIED:
    case WireConsistency.LINEARIZABLE:
      return "linearizable";
    case WireConsistency.LOCAL:
      return "local";
    default:
      throw new ProglogError("invalid-request", `consistency ${String(value)} is not known.`);
  }
}

export function recordToWire(record: LogRecord): WireRecord {
  return {
    value: record.value,
    offset: BigInt(record.offset),
    key: record.key ?? "",
    headers: record.headers ?? {},
    timestampMs: BigInt(record.timestampMs),
    json: record.json === true,
  };
}

/** One record to append, and on what terms. */
export interface SingleAppend {
  readonly content: RecordContent;
  /** Encoded bytes. */
  readonly bytes: number;
  readonly expectedOffset: number | undefined;
  readonly timeoutMs: number | undefined;
}

/**
 * Reads a ProduceRequest.
 *
 * @throws ProglogError `invalid-request`, `record-too-large`.
 */
export function singleAppendFrom(request: ProduceRequest, bytesMax: number): SingleAppend {
  const { record, expectedOffset, timeoutMs } = request;
  if (record === undefined) {
    throw new ProglogError("invalid-request", "The request has no record.");
  }
  const content: RecordContent = {
    value: record.value,
    ...(record.key === "" ? {} : { key: record.key }),
    ...(Object.keys(record.headers).length === 0 ? {} : { headers: record.headers }),
    ...(record.json ? { json: true } : {}),
  };
  const bytes = recordBytes(content);
  if (bytes > bytesMax) {
    const detail = `The record has ${bytes} bytes; the limit is ${bytesMax}.`;
    throw new ProglogError("record-too-large", detail, { fields: { bytesMax } });
  }
  return {
    content,
    bytes,
    expectedOffset:
      expectedOffset === undefined ? undefined : offsetFrom(expectedOffset, "expected_offset"),
    timeoutMs: timeoutMs === 0 ? undefined : timeoutMs,
  };
}

function serverFrom(member: MemberStatus, leaderId: string | undefined): Server {
  const { id, name, rpcAddr, httpAddr, voter } = member;
  return { id, name, rpcAddr, httpAddr, voter, isLeader: id === leaderId };
}

/** The members, as GetServers lists them. */
export function serversFrom(status: ClusterStatus): Server[] {
  return status.members.map((member) => serverFrom(member, status.leader?.id));
}
