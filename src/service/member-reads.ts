/**
 * The port through which a gateway reads from members: implemented over gRPC in rpc/.
 *
 * A member answers for itself: what one read says of the log's end holds for that member, unless
 * the read is linearizable. Every call ends: by its answer, its time or its signal.
 */
import type { LogRecord, RecordBatch } from "../common/record.js";
import type { Consistency } from "./api.js";

export interface MemberRead {
  readonly offset: number;
  readonly consistency: Consistency;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface MemberRange {
  readonly offset: number;
  /** Stay at the end of the log for what comes, until the signal aborts. */
  readonly follow: boolean;
  readonly signal: AbortSignal;
}

export interface MemberReads {
  /**
   * Reads one record.
   *
   * @throws ProglogError what the member says; `unavailable` if it does not answer.
   */
  read(rpcAddr: string, request: MemberRead): Promise<LogRecord>;
  /**
   * Reads what the member has from an offset on, no faster than the caller takes it; the first
   * batch starts exactly there.
   *
   * @throws ProglogError what the member says; `unavailable` if the stream breaks.
   */
  batches(rpcAddr: string, request: MemberRange): AsyncGenerator<RecordBatch, void, undefined>;
}
