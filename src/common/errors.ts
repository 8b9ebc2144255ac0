/**
 * The world's faults: one table of codes, the same word in REST, gRPC and TypeScript.
 *
 * Invariant: every error that leaves a node is a ProglogError of this table; it says whether to
 * retry, and, for a write, what happened to it. docs/errors.md is checked against this table.
 */

/** What happened to a failed write. `null` where nothing was to be written. */
export type Outcome = "not_applied" | "unknown" | "applied";

interface CodeRow {
  /** HTTP status. */
  readonly http: number;
  /** gRPC status number (google.rpc.Code). */
  readonly grpc: number;
  /** Short and general: RFC 9457's title. */
  readonly title: string;
  readonly retryable: boolean;
  readonly outcome: Outcome | null;
}

const row = (
  http: number,
  grpc: number,
  retryable: boolean,
  outcome: Outcome | null,
  title: string,
): CodeRow => ({ http, grpc, retryable, outcome, title });

/** Every code: HTTP status, gRPC status, retryable, outcome, title. */
export const errorTable = {
  "invalid-request": row(400, 3, false, "not_applied", "The request is not valid"),
  unauthenticated: row(401, 16, false, "not_applied", "Who are you"),
  "permission-denied": row(403, 7, false, "not_applied", "You may not do this"),
  "not-found": row(404, 12, false, null, "There is nothing at this path"),
  "method-not-allowed": row(405, 12, false, null, "This path does not take that method"),
  "record-too-large": row(413, 3, false, "not_applied", "The record is too large"),
  "unsupported-media-type": row(415, 3, false, "not_applied", "That content type is not taken"),
  "write-concern-unsatisfiable": row(
    422,
    3,
    false,
    "not_applied",
    "No cluster of this size can do that",
  ),
  "not-leader": row(307, 9, true, "not_applied", "Another node leads"),
  "no-leader": row(503, 14, true, "not_applied", "There is no leader"),
  "no-quorum": row(503, 14, true, "not_applied", "There is no quorum"),
  "outcome-unknown": row(
    504,
    4,
    false,
    "unknown",
    "It is not known whether the record was applied",
  ),
  "write-concern-timeout": row(
    504,
    0,
    false,
    "applied",
    "Committed, but not on as many nodes as asked",
  ),
  "expected-offset-mismatch": row(412, 10, false, "not_applied", "The log has moved on"),
  "sequence-too-old": row(409, 10, false, "not_applied", "The sequence is no longer remembered"),
  "offset-out-of-range": row(404, 11, false, null, "There is no such record yet"),
  "offset-trimmed": row(410, 11, false, null, "The record has been trimmed"),
  "cannot-confirm": row(503, 14, true, null, "The end of the log cannot be confirmed"),
  overloaded: row(429, 8, true, "not_applied", "Too many requests in flight"),
  "disk-full": row(507, 8, true, "not_applied", "The disk is full"),
  "data-damaged": row(500, 15, true, null, "The data at this place is damaged on this node"),
  "member-unreachable": row(
    422,
    9,
    true,
    "not_applied",
    "The node does not answer at that address",
  ),
  "unsafe-change": row(409, 9, true, "not_applied", "The cluster cannot be changed so now"),
  "unknown-member": row(404, 5, false, "not_applied", "There is no such member"),
  "wrong-cluster": row(409, 9, false, "not_applied", "The node belongs to another cluster"),
  unavailable: row(503, 14, true, "not_applied", "The node is stopping or not ready"),
  internal: row(500, 13, false, "unknown", "The node failed"),
} as const satisfies Record<string, CodeRow>;

export type ErrorCode = keyof typeof errorTable;

/** A field of an error: what a program needs to act on it, such as `endOffset`. */
export type ErrorFields = Readonly<Record<string, string | number | boolean | LeaderHint | null>>;

/** The leader as the node that answers knows it. */
export interface LeaderHint {
  readonly id: string;
  readonly name: string;
  readonly rpcAddr: string;
  readonly httpAddr: string;
}

export interface ProglogErrorOptions {
  /** Overrides the table where a case differs from its code's rule. */
  readonly outcome?: Outcome | null;
  readonly retryable?: boolean;
  readonly fields?: ErrorFields;
  /** When a retry makes sense, milliseconds. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** A fault of the world, with what happened and what to do. */
export class ProglogError extends Error {
  override readonly name = "ProglogError";
  readonly code: ErrorCode;
  readonly outcome: Outcome | null;
  readonly retryable: boolean;
  readonly fields: ErrorFields;
  readonly retryAfterMs: number | undefined;

  /** @param detail A sentence that a person can act on; no stack, no path, no record's bytes. */
  constructor(code: ErrorCode, detail: string, options: ProglogErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    const rule: CodeRow = errorTable[code];
    this.code = code;
    this.outcome = options.outcome === undefined ? rule.outcome : options.outcome;
    this.retryable = options.retryable ?? rule.retryable;
    this.fields = options.fields ?? {};
    this.retryAfterMs = options.retryAfterMs;
  }

  get http(): number {
    return errorTable[this.code].http;
  }

  get grpc(): number {
    return errorTable[this.code].grpc;
  }

  get title(): string {
    return errorTable[this.code].title;
  }

  /** The leader that a `not-leader` names. */
  get leader(): LeaderHint | undefined {
    const leader = this.fields["leader"];
    return typeof leader === "object" && leader !== null ? leader : undefined;
  }

  /** Makes any thrown value a ProglogError: what is not one already becomes `internal`. */
  static from(error: unknown): ProglogError {
    if (error instanceof ProglogError) return error;
    return new ProglogError("internal", "The node failed to handle the request.", { cause: error });
  }
}

/** True if `text` is a code of the table. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(errorTable, text);
}
