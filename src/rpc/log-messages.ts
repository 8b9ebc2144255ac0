/**
 * Messages of `log.v1` ⇄ what the services speak: the edge where bigint becomes number.
 *
 * Nothing here is guessed: an offset that is not exact as a number is refused, not rounded.
 */
import { ProglogError } from "../common/errors.js";
import type { LogRecord, RecordContent } from "../common/record.js";
import { encodeRecords, recordBytes, recordHeaderBytes } from "../common/record.js";
import { Consistency as WireConsistency, Outcome as WireOutcome } from "../gen/log/v1/log.js";
import type {
  GetOutcomeResponse,
  ProduceRequest,
  ProduceResponse,
  Record as WireRecord,
  Server,
} from "../gen/log/v1/log.js";
import type {
  AppendAnswer,
  AppendOutcome,
  AppendRequest,
  ClusterStatus,
  Consistency,
  MemberStatus,
  WriteConcern,
} from "../service/api.js";
import { isCommitted } from "../service/api.js";
import { namedProducer } from "../service/producer.js";
import type { Producer } from "../service/producer.js";

const offsetMax = BigInt(Number.MAX_SAFE_INTEGER);

/**
 * An offset, or a number like it, as a number.
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

/** What a request says of its producer: both, or neither. */
export interface ProducerFields {
  readonly producerId?: string | undefined;
  readonly sequence?: number | undefined;
}

/**
 * Reads who appends.
 *
 * @param read What an id means: to a client its own name, to a node that relays a name in the log.
 * @throws ProglogError `invalid-request`.
 */
export function producerFrom(
  { producerId, sequence }: ProducerFields,
  read: (id: string, sequence: number) => Producer,
): Producer | undefined {
  if (producerId === undefined && sequence === undefined) return undefined;
  if (producerId === undefined) {
    throw new ProglogError("invalid-request", "A sequence needs a producer_id.");
  }
  if (sequence === undefined) {
    throw new ProglogError("invalid-request", "A producer_id needs a sequence.");
  }
  return read(producerId, sequence);
}

/** One record to append, and on what terms. */
export interface SingleAppend {
  readonly content: RecordContent;
  /** Encoded bytes. */
  readonly bytes: number;
  readonly expectedOffset: number | undefined;
  readonly timeoutMs: number | undefined;
  readonly producer: Producer | undefined;
  readonly writeConcern: WriteConcern | undefined;
}

/**
 * Reads a ProduceRequest.
 *
 * @throws ProglogError `invalid-request`, `record-too-large`.
 */
export function singleAppendFrom(request: ProduceRequest, bytesMax: number): SingleAppend {
  const { record, expectedOffset, timeoutMs, producerId, sequence } = request;
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
  const contentBytes = bytes - recordHeaderBytes;
  if (contentBytes > bytesMax) {
    const detail = `The record has ${contentBytes} bytes; the limit is ${bytesMax}.`;
    throw new ProglogError("record-too-large", detail, { fields: { bytesMax } });
  }
  return {
    content,
    bytes,
    expectedOffset: optionalFrom(expectedOffset, "expected_offset"),
    timeoutMs: timeoutMs === 0 ? undefined : timeoutMs,
    // Nodes relay by ProduceBatch alone: whoever sends this, its id is a client's.
    producer: producerFrom(
      { producerId, sequence: optionalFrom(sequence, "sequence") },
      namedProducer,
    ),
    writeConcern: concernFrom(request).writeConcern,
  };
}

/** How many copies a request asks for. */
export interface CopyFields {
  readonly copies?: number | undefined;
  readonly allCopies?: boolean | undefined;
}

/** @throws ProglogError `invalid-request`. */
export function concernFrom({ copies = 0, allCopies = false }: CopyFields): {
  readonly writeConcern?: WriteConcern;
} {
  if (copies === 0) return allCopies ? { writeConcern: "all" } : {};
  if (!allCopies) return { writeConcern: copies };
  throw new ProglogError("invalid-request", "Give either copies or all_copies, not both.");
}

/** What to ask for on the wire. */
export function copyFields(writeConcern: WriteConcern | undefined): CopyFields {
  if (writeConcern === "all") return { allCopies: true };
  return typeof writeConcern === "number" ? { copies: writeConcern } : {};
}

function optionalFrom(value: bigint | undefined, name: string): number | undefined {
  return value === undefined ? undefined : offsetFrom(value, name);
}

/** Records to append as one; those that are several have equal terms. */
export function appendRequestFrom(
  appends: readonly SingleAppend[],
  isForwarded: boolean,
): AppendRequest {
  const [first] = appends;
  return {
    records: encodeRecords(appends.map((append) => append.content)),
    ...(first?.expectedOffset === undefined ? {} : { expectedOffset: first.expectedOffset }),
    ...(first?.producer === undefined ? {} : { producer: first.producer }),
    ...(first?.timeoutMs === undefined ? {} : { timeoutMs: first.timeoutMs }),
    ...(first?.writeConcern === undefined ? {} : { writeConcern: first.writeConcern }),
    ...(isForwarded ? { forwarded: true } : {}),
  };
}

/** The answer to one record; `ordinal` is its place among those appended together. */
export function produceResponseFrom(answer: AppendAnswer, ordinal = 0): ProduceResponse {
  const met = { writeConcernTimeout: undefined };
  if (!isCommitted(answer)) {
    return { offset: 0n, timestampMs: 0n, duplicate: false, uncommitted: true, ...met };
  }
  return {
    offset: BigInt(answer.offset + ordinal),
    timestampMs: BigInt(answer.timestampMs),
    duplicate: answer.isDuplicate === true,
    ...met,
  };
}

/**
 * The answer to one record that is committed, but not on as many disks as asked for in time: in a
 * message of its own that is no failure.
 *
 * @throws the error, if it is another.
 */
export function tooFewCopiesFrom(thrown: unknown): ProduceResponse {
  const error = ProglogError.from(thrown);
  if (error.code !== "write-concern-timeout") throw thrown;
  const { offset = 0, timestampMs = 0, acks = 0 } = error.fields;
  return {
    offset: BigInt(Number(offset)),
    timestampMs: BigInt(Number(timestampMs)),
    duplicate: false,
    writeConcernTimeout: { acks: Number(acks), detail: error.message },
  };
}

/** The answer to GetOutcome. */
export function outcomeToWire(outcome: AppendOutcome): GetOutcomeResponse {
  const nothing = { offset: 0n, count: 0, timestampMs: 0n };
  switch (outcome.type) {
    case "never":
      return { outcome: WireOutcome.NEVER, ...nothing };
    case "unknown":
      return { outcome: WireOutcome.UNSPECIFIED, ...nothing };
    case "applied": {
      const { offset, count, timestampMs } = outcome;
      const [at, when] = [BigInt(offset), BigInt(timestampMs)];
      return { outcome: WireOutcome.APPLIED, offset: at, count, timestampMs: when };
    }
  }
}

/** What another node says; a value that is not known says nothing. */
export function outcomeFromWire(wire: GetOutcomeResponse): AppendOutcome {
  switch (wire.outcome) {
    case WireOutcome.APPLIED: {
      const offset = offsetFrom(wire.offset, "offset");
      const timestampMs = offsetFrom(wire.timestampMs, "timestamp_ms");
      return { type: "applied", offset, count: wire.count, timestampMs };
    }
    case WireOutcome.NEVER:
      return { type: "never" };
    default:
      return { type: "unknown" };
  }
}

function serverFrom(member: MemberStatus, leaderId: string | undefined): Server {
  const { id, name, rpcAddr, httpAddr, voter } = member;
  return { id, name, rpcAddr, httpAddr, voter, isLeader: id === leaderId };
}

/** The members, as GetServers lists them. */
export function serversFrom(status: ClusterStatus): Server[] {
  return status.members.map((member) => serverFrom(member, status.leader?.id));
}
