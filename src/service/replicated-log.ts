/**
 * The log as clients use it, over one node's replica.
 *
 * A hit is answered from this node at once: a committed record never changes. Only a miss, or the
 * end of a range, needs the leader's word (ReadIndex), and only then is anything waited for.
 */
import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { LogRecord, RecordBatch } from "../common/record.js";
import { countRecords, decodeBatch, decodeRecord } from "../common/record.js";
import type { AppendDone } from "../replica/proposals.js";
import type { Replica } from "../replica/replica.js";
import { DamageError } from "../storage/damage.js";
import type { Producer } from "../machine/producers.js";
import type {
  AppendAnswer,
  AppendOutcome,
  AppendReceipt,
  AppendRequest,
  CommittedAppend,
  ListPage,
  ListRequest,
  LogService,
  ProduceTerms,
  RangeStart,
  ReadOptions,
  StreamRequest,
} from "./api.js";
import { leaderHint, noLeaderError, notLeaderError } from "./leader.js";
import { decidedOutcome, knownOutcome } from "./outcome.js";
import type { PeerCalls } from "./peer-calls.js";
import { waitFor, waitForCall } from "./waiting.js";
import { checkConcern, copiesOf, whenCopied } from "./write-concern.js";

export interface ReplicatedLogOptions {
  /** Value, key and headers of one record. */
  readonly recordBytesMax: number;
  /** All records of one append. */
  readonly appendBytesMax: number;
  /** How long an append, or a confirmation, is waited for unless the request says otherwise. */
  readonly requestTimeoutMs: number;
  /** True: a node that does not lead relays appends. */
  readonly forwardsWrites: boolean;
}

/** The framing of a record (lengths of key and headers) is not counted as its bytes. */
const framingBytesMax = 4096;
/** No append is waited for longer: what it holds meanwhile outlives even its client. */
const timeoutMsMax = 600_000;
const streamReadBytes = 256 * 1024;

export class ReplicatedLog implements LogService {
  readonly #replica: Replica;
  readonly #peers: PeerCalls;
  readonly #clock: Clock;
  readonly #nodeName: string;
  readonly #options: ReplicatedLogOptions;
  readonly #onDamage: (error: DamageError) => void;
  readonly #onAppend: (seconds: number, outcome: string, count: number) => void;

  constructor(parts: {
    readonly replica: Replica;
    readonly peers: PeerCalls;
    readonly clock: Clock;
    readonly nodeName: string;
    readonly options: ReplicatedLogOptions;
    /** Told of damaged data that a read came across. */
    readonly onDamage: (error: DamageError) => void;
    /** Told of each append that this node led, when it ends: "applied", or the error's code. */
    readonly onAppend?: (seconds: number, outcome: string, count: number) => void;
  }) {
    this.#replica = parts.replica;
    this.#peers = parts.peers;
    this.#clock = parts.clock;
    this.#nodeName = parts.nodeName;
    this.#options = parts.options;
    this.#onDamage = parts.onDamage;
    this.#onAppend = parts.onAppend ?? (() => undefined);
  }

  async produce(request: CommittedAppend, options?: ProduceTerms): Promise<AppendReceipt>;
  async produce(request: AppendRequest, options?: ProduceTerms): Promise<AppendAnswer>;
  async produce(request: AppendRequest, options: ProduceTerms = {}): Promise<AppendAnswer> {
    const count = this.#check(request);
    if (!this.#replica.isLeader) return this.#produceElsewhere(request, options.relay ?? false);
    const { records, expectedOffset, producer } = request;
    const timeoutMs = this.#timeoutMs(request);
    const startMs = this.#clock.now();
    const copies = copiesOf(this.#replica, request.writeConcern);
    return new Promise((resolve, reject) => {
      const append = { records, count, expectedOffset, producer };
      const onDurable = copies === "leader" ? () => resolve({ isCommitted: false }) : undefined;
      const done: AppendDone = (result) => {
        const seconds = (this.#clock.now() - startMs) / 1000;
        if (result instanceof ProglogError) {
          this.#onAppend(seconds, result.code, 0);
          reject(result);
          return;
        }
        this.#onAppend(seconds, "applied", count);
        if (copies === "majority" || copies === "leader") resolve(result);
        else whenCopied(this.#replica, copies, startMs + timeoutMs, result).then(resolve, reject);
      };
      this.#replica.propose(append, timeoutMs, done, onDurable);
    });
  }

  #check(request: AppendRequest): number {
    const { records, expectedOffset, timeoutMs } = request;
    const { appendBytesMax, recordBytesMax } = this.#options;
    if (records.length > appendBytesMax) {
      const limit = String(appendBytesMax);
      const detail = `The append has ${String(records.length)} bytes; the limit is ${limit}.`;
      throw new ProglogError("record-too-large", detail, { fields: { bytesMax: appendBytesMax } });
    }
    const count = countRecords(records, recordBytesMax + framingBytesMax);
    if (count === 0) throw invalid("An append holds at least one record.");
    if (expectedOffset !== undefined && !isOffset(expectedOffset)) {
      throw invalid("expectedOffset is an integer from 0 to 2^53-1.");
    }
    if (timeoutMs !== undefined && !(timeoutMs > 0)) throw invalid("timeoutMs is above 0.");
    checkConcern(request);
    return count;
  }

  #timeoutMs({ timeoutMs = this.#options.requestTimeoutMs }: AppendRequest): number {
    return Math.min(timeoutMs, timeoutMsMax);
  }

  async #produceElsewhere(request: AppendRequest, relay: boolean): Promise<AppendAnswer> {
    const leader = leaderHint(this.#replica);
    if (leader === undefined) throw noLeaderError(this.#replica);
    const mayRelay = relay || this.#options.forwardsWrites;
    if (!mayRelay || request.forwarded === true) throw notLeaderError(leader);
    const timeoutMs = this.#timeoutMs(request);
    return this.#peers.produce(leader, { ...request, timeoutMs, forwarded: true });
  }

  async outcome(
    producer: Producer,
    options: { readonly forwarded?: boolean } = {},
  ): Promise<AppendOutcome> {
    const known = knownOutcome(this.#replica, producer);
    if (known !== undefined) return known;
    if (this.#replica.isLeader) {
      return decidedOutcome(this.#replica, producer, this.#options.requestTimeoutMs);
    }
    const leader = leaderHint(this.#replica);
    if (leader === undefined || options.forwarded === true) throw noLeaderError(this.#replica);
    return this.#peers.outcome(leader, producer);
  }

  async read(
    offset: number,
    options: ReadOptions & { readonly waitMs?: number } = {},
  ): Promise<LogRecord> {
    if (!isOffset(offset)) throw invalid("An offset is an integer from 0 to 2^53-1.");
    const { waitMs, signal } = options;
    if (waitMs !== undefined && waitMs > 0) await this.#waitForOffset(offset, waitMs, signal);
    if (offset >= this.#end && options.consistency !== "local") await this.#confirm(signal);
    if (offset >= this.#end) throw outOfRange(offset, this.#end);
    this.#checkStart(offset);
    const [batch] = await this.#readBatches(offset, 1);
    if (batch === undefined) throw outOfRange(offset, this.#end);
    const { timestampMs } = batch;
    return { ...decodeRecord(batch.records, 0), offset, timestampMs };
  }

  get #end(): number {
    return this.#replica.commitLog.endOffset;
  }

  #checkStart(offset: number): void {
    const { startOffset } = this.#replica.commitLog;
    if (offset >= startOffset) return;
    const start = `The log starts at offset ${String(startOffset)}`;
    const detail = `${start}; ${String(offset)} has been trimmed.`;
    throw new ProglogError("offset-trimmed", detail, { fields: { startOffset } });
  }

  async #waitForOffset(
    offset: number,
    waitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const deadline = this.#clock.now() + waitMs;
    while (offset >= this.#end) {
      const timeoutMs = deadline - this.#clock.now();
      if (timeoutMs <= 0) return;
      const end = await this.#waitForRecords({ timeoutMs, signal });
      if (end !== "done") return;
    }
  }

  async #waitForRecords(limits: Parameters<typeof waitForCall>[2]): ReturnType<typeof waitForCall> {
    return waitForCall(this.#clock, (listener) => this.#replica.onApplied(listener), limits);
  }

  /** Waits until this node holds all that was acknowledged before the call. */
  async #confirm(signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted !== true) {
      const timeoutMs = this.#options.requestTimeoutMs;
      const end = await waitFor(this.#clock, this.#replica.confirm(), { timeoutMs, signal });
      if (end === "done") return;
    }
    throw new ProglogError("cannot-confirm", "The leader did not confirm the log's end in time.");
  }

  async #readBatches(offset: number, bytesMax: number): Promise<RecordBatch[]> {
    try {
      return await this.#replica.commitLog.read(offset, bytesMax);
    } catch (error) {
      if (!(error instanceof DamageError)) throw error;
      // The damage may lie further on: what is sound before it is served, and not named.
      if (bytesMax > 1) return this.#readBatches(offset, 1);
      this.#onDamage(error);
      const detail = `The data at offset ${String(offset)} is damaged on this node; ask another.`;
      throw new ProglogError("data-damaged", detail, { cause: error });
    }
  }

  async list(request: ListRequest): Promise<ListPage> {
    const { limit, bytesMax, signal } = request;
    const isConfirmed = request.consistency !== "local";
    let hasConfirmed = false;
    if (isConfirmed && isFromEnd(request.from)) {
      await this.#confirm(signal);
      hasConfirmed = true;
    }
    const from = await this.#startOf(request.from);
    this.#checkStart(from);
    const records: LogRecord[] = [];
    let bytes = 0;
    let next = from;
    for (;;) {
      if (next >= this.#end && isConfirmed && !hasConfirmed) {
        await this.#confirm(signal);
        hasConfirmed = true;
      }
      if (next >= this.#end || records.length >= limit || bytes >= bytesMax) break;
      for (const batch of await this.#readBatches(
        next,
        Math.min(bytesMax - bytes, streamReadBytes),
      )) {
        for (const record of decodeBatch(batch)) {
          bytes += record.value.length;
          const isOver = records.length >= limit || (records.length > 0 && bytes > bytesMax);
          if (isOver) return this.#page(records, next);
          records.push(record);
          next = record.offset + 1;
        }
      }
    }
    return this.#page(records, next);
  }

  #page(records: readonly LogRecord[], next: number): ListPage {
    return { records, next, ...this.bounds() };
  }

  async *stream(request: StreamRequest): AsyncGenerator<RecordBatch, void, undefined> {
    const { follow, signal } = request;
    const isConfirmed = request.consistency !== "local";
    if (isConfirmed && (!follow || isFromEnd(request.from))) {
      try {
        await this.#confirm(signal);
      } catch (error) {
        if (signal?.aborted === true) return;
        throw error;
      }
    }
    const endOffset = follow ? Infinity : this.#end;
    let offset = await this.#startOf(request.from);
    this.#checkStart(offset);
    const isOver = (): boolean => offset >= endOffset || signal?.aborted === true;
    while (!isOver()) {
      if (offset >= this.#end) {
        if ((await this.#waitForRecords({ signal })) === "aborted") return;
        continue;
      }
      for (const batch of await this.#readBatches(offset, streamReadBytes)) {
        if (isOver()) return;
        yield batch;
        offset = batch.offset + batch.count;
      }
    }
  }

  async #startOf(from: RangeStart): Promise<number> {
    const { commitLog } = this.#replica;
    switch (from.kind) {
      case "offset":
        if (!isOffset(from.offset)) throw invalid("An offset is an integer from 0 to 2^53-1.");
        return from.offset;
      case "earliest":
        return commitLog.startOffset;
      case "latest":
        return commitLog.endOffset;
      case "before-end":
        return Math.max(commitLog.startOffset, commitLog.endOffset - from.count);
      case "timestamp":
        return commitLog.offsetAt(from.timestampMs);
    }
  }

  bounds(): { readonly startOffset: number; readonly endOffset: number } {
    const { startOffset, endOffset } = this.#replica.commitLog;
    return { startOffset, endOffset };
  }

  position(): { readonly nodeName: string; readonly term: number; readonly endOffset: number } {
    return { nodeName: this.#nodeName, term: this.#replica.term, endOffset: this.#end };
  }
}

/** True if the start depends on where the log ends. */
function isFromEnd(from: RangeStart): boolean {
  return from.kind === "latest" || from.kind === "before-end" || from.kind === "timestamp";
}

function isOffset(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function invalid(detail: string): ProglogError {
  return new ProglogError("invalid-request", detail);
}

function outOfRange(offset: number, endOffset: number): ProglogError {
  const end = `the log ends before ${String(endOffset)}`;
  const detail = `There is no record at offset ${String(offset)}; ${end}.`;
  return new ProglogError("offset-out-of-range", detail, { fields: { endOffset } });
}
