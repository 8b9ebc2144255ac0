/**
 * The log as clients use it, without a replica: every answer is a member's.
 *
 * Writes go to the leader, over the relay that nodes use among themselves. Reads go to all members
 * in turn; what one cannot answer another is asked, and a stream goes on elsewhere at the offset
 * where it broke. The rules of a node's own log (replicated-log.ts) hold here too: a hit is
 * answered by any member at once, and a miss, or the end of a range, is confirmed with the leader.
 *
 * It must never send a write again that may have been applied, nor let a client see `not-leader`:
 * there is nowhere to send it.
 */
import type { Clock } from "../common/clock.js";
import { sleep } from "../common/clock.js";
import type { LeaderHint } from "../common/errors.js";
import { ProglogError } from "../common/errors.js";
import type { LogRecord, RecordBatch } from "../common/record.js";
import { decodeBatch, decodeRecord } from "../common/record.js";
import type { Producer } from "../machine/producers.js";
import type {
  AppendAnswer,
  AppendOutcome,
  AppendReceipt,
  AppendRequest,
  CommittedAppend,
  Consistency,
  ListPage,
  ListRequest,
  LogService,
  RangeStart,
  ReadOptions,
  StreamRequest,
} from "./api.js";
import { isCommitted } from "./api.js";
import type { MemberReads } from "./member-reads.js";
import type { PeerCalls } from "./peer-calls.js";
import type { RemoteMember, RemoteMembers } from "./remote-members.js";
import { checkConcern } from "./write-concern.js";

export interface RemoteLogParts {
  readonly members: RemoteMembers;
  readonly peers: Pick<PeerCalls, "produce" | "outcome">;
  readonly reads: MemberReads;
  readonly clock: Clock;
  /** What answers are said to come from. */
  readonly nodeName: string;
  /** How long an append, or a read, is waited for unless the request says otherwise. */
  readonly requestTimeoutMs: number;
}

/** Leaders to which one append is offered. */
const leadersMax = 3;
/** Time between two looks for a member to read from, while there is none. */
const noMemberPauseMs = 100;
/** An offset that no record ever has: asking for it finds where the log ends. */
const beyondEnd = Number.MAX_SAFE_INTEGER;

/** What another member may answer better. */
const othersMayKnow: ReadonlySet<string> = new Set([
  "unavailable",
  "cannot-confirm",
  "data-damaged",
  "overloaded",
  "internal",
]);

/** A call to one member: aborted when its caller goes, or the member. */
interface Attempt {
  readonly member: RemoteMember;
  readonly signal: AbortSignal;
  /** What is left of the caller's time. */
  readonly timeoutMs: number;
}

interface Range {
  readonly from: number;
  /** Infinity to follow. */
  readonly end: number;
  readonly signal: AbortSignal | undefined;
}

export class RemoteLog implements LogService {
  readonly #parts: RemoteLogParts;

  constructor(parts: RemoteLogParts) {
    this.#parts = parts;
  }

  async produce(request: CommittedAppend): Promise<AppendReceipt>;
  async produce(request: AppendRequest): Promise<AppendAnswer>;
  async produce(request: AppendRequest): Promise<AppendAnswer> {
    const { peers, members, requestTimeoutMs } = this.#parts;
    checkConcern(request);
    const timeoutMs = request.timeoutMs ?? requestTimeoutMs;
    const append = { ...request, timeoutMs, forwarded: true };
    const answer = await this.#onLeader((leader) => peers.produce(leader, append));
    if (isCommitted(answer)) members.noteEnd(answer.offset + answer.count);
    return answer;
  }

  /** Asking twice is asking once: what is decided stays decided. */
  async outcome(producer: Producer): Promise<AppendOutcome> {
    return this.#onLeader((leader) => this.#parts.peers.outcome(leader, producer));
  }

  /** Asks the leader, and the next one where the first certainly did nothing. */
  async #onLeader<T>(ask: (leader: LeaderHint) => Promise<T>): Promise<T> {
    let leader = this.#parts.members.leader ?? (await this.#findLeader(undefined));
    for (let tried = 1; ; tried += 1) {
      try {
        return await ask(leader);
      } catch (thrown) {
        const error = ProglogError.from(thrown);
        if (!isRefusedUnseen(error)) throw error;
        if (tried === leadersMax) throw this.#noLeader(error);
        leader = await this.#findLeader(leader, error);
      }
    }
  }

  /** The leader, or the one after `former`, which refused. @throws ProglogError if none leads. */
  async #findLeader(former: LeaderHint | undefined, refusal?: ProglogError): Promise<LeaderHint> {
    const { members } = this.#parts;
    const named = refusal?.leader;
    if (named !== undefined && named.rpcAddr !== "" && named.id !== former?.id) return named;
    await members.refresh(former?.id);
    const { leader } = members;
    if (leader === undefined) throw this.#noLeader(refusal);
    if (leader.id !== former?.id || leader.rpcAddr !== former.rpcAddr) return leader;
    throw refusal?.code === "unavailable" ? refusal : this.#noLeader(refusal);
  }

  #noLeader(cause: ProglogError | undefined): ProglogError {
    return noLeaderError(this.#parts.members, cause);
  }

  async read(
    offset: number,
    options: ReadOptions & { readonly waitMs?: number } = {},
  ): Promise<LogRecord> {
    const { waitMs = 0, consistency = "linearizable", signal } = options;
    if (waitMs > 0) {
      const record = await this.#await(offset, waitMs, signal);
      if (record !== undefined) return record;
    }
    const record = await this.#ask(signal, ({ member, ...limits }) =>
      this.#parts.reads.read(member.rpcAddr, { offset, consistency, ...limits }),
    );
    this.#parts.members.noteEnd(offset + 1);
    return record;
  }

  /** The record at an offset, as soon as a member has it; undefined when the time is over. */
  async #await(
    offset: number,
    waitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<LogRecord | undefined> {
    const over = new AbortController();
    const end = (): void => over.abort();
    const timer = this.#parts.clock.setTimer(waitMs, end);
    signal?.addEventListener("abort", end, { once: true });
    if (signal?.aborted === true) end();
    try {
      const range = { from: offset, end: Infinity, signal: over.signal };
      for await (const { records, timestampMs } of this.#batches(range)) {
        return { ...decodeRecord(records, 0), offset, timestampMs };
      }
      return undefined;
    } finally {
      timer.cancel();
      signal?.removeEventListener("abort", end);
    }
  }

  async list(request: ListRequest): Promise<ListPage> {
    const { limit, bytesMax, signal, consistency = "linearizable" } = request;
    return this.#ask(signal, async (attempt) => {
      let end = isFromEnd(request.from) ? await this.#endAt(attempt, consistency) : undefined;
      let from = await this.#startAt(attempt, request.from, end);
      const page = new PageFill(from, { limit, bytesMax });
      for (;;) {
        try {
          await this.#fill(page, attempt);
        } catch (error) {
          const start = trimmedStart(error);
          const isMoved = request.from.kind === "earliest" && page.records.length === 0;
          if (!isMoved || start === undefined || start <= from) throw error;
          from = start;
          page.next = start;
          continue;
        }
        const isConfirmed = end !== undefined || consistency === "local";
        if (page.isFull || isConfirmed) break;
        end = await this.#endAt(attempt, consistency);
        if (page.next >= end) break;
      }
      this.#parts.members.noteEnd(Math.max(page.next === from ? 0 : page.next, end ?? 0));
      return { records: page.records, next: page.next, ...this.bounds() };
    });
  }

  /** Adds what the member has, up to its end or until the page is full. */
  async #fill(page: PageFill, { member, signal }: Attempt): Promise<void> {
    const range = { offset: page.next, follow: false, signal };
    for await (const batch of this.#parts.reads.batches(member.rpcAddr, range)) {
      for (const record of decodeBatch(batch)) if (!page.add(record)) return;
    }
    signal.throwIfAborted();
  }

  async *stream(request: StreamRequest): AsyncGenerator<RecordBatch, void, undefined> {
    const { follow, from, signal, consistency = "linearizable" } = request;
    let range: Range;
    try {
      range = await this.#ask(signal, async (attempt) => {
        const needsEnd = !follow || isFromEnd(from);
        const end = needsEnd ? await this.#endAt(attempt, consistency) : undefined;
        const start = await this.#startAt(attempt, from, end);
        return { from: start, end: follow ? Infinity : (end ?? start), signal };
      });
    } catch (error) {
      if (signal?.aborted === true) return;
      throw error;
    }
    yield* this.#batches(range);
  }

  /**
   * What lies in a range, from one member after the other if need be.
   *
   * @throws ProglogError the last refusal, if no member has given anything for the time that a
   *   request may take.
   */
  async *#batches(range: Range): AsyncGenerator<RecordBatch, void, undefined> {
    const { members, reads, clock, requestTimeoutMs } = this.#parts;
    const { end, signal } = range;
    let { from } = range;
    let tried = new Set<string>();
    let failingMs: number | undefined;
    const isLeft = (): boolean => signal?.aborted === true;
    while (from < end && !isLeft()) {
      const member = members.pick(tried);
      const attempt = new AbortController();
      const untie = member === undefined ? undefined : this.#tie(member, attempt, signal);
      try {
        if (member === undefined) throw noMember(members);
        // Up to a known end a member that is behind is waited for, so it is followed too.
        const request = { offset: from, follow: true, signal: attempt.signal };
        for await (const batch of reads.batches(member.rpcAddr, request)) {
          tried = new Set();
          failingMs = undefined;
          from = batch.offset + batch.count;
          members.noteEnd(from);
          yield batch;
          if (from >= end) return;
        }
        throw new ProglogError("unavailable", `Member ${member.name} ended the stream.`);
      } catch (thrown) {
        if (isLeft()) return;
        const error = ProglogError.from(thrown);
        if (!othersMayKnow.has(error.code)) throw error;
        failingMs ??= clock.now();
        if (clock.now() - failingMs > requestTimeoutMs) throw error;
        if (member !== undefined) tried.add(member.id);
      } finally {
        untie?.();
      }
      if (members.pick(tried) === undefined) {
        tried = new Set();
        await sleep(clock, noMemberPauseMs, signal).catch(() => undefined);
      }
    }
  }

  bounds(): { readonly startOffset: number; readonly endOffset: number } {
    const { members } = this.#parts;
    return { startOffset: members.freshest?.startOffset ?? 0, endOffset: members.endOffset };
  }

  position(): { readonly nodeName: string; readonly term: number; readonly endOffset: number } {
    const { members, nodeName } = this.#parts;
    return { nodeName, term: members.term, endOffset: members.endOffset };
  }

  /** Where the log ends: confirmed with the leader, or as far as the member itself has it. */
  async #endAt({ member, signal, timeoutMs }: Attempt, consistency: Consistency): Promise<number> {
    try {
      const request = { offset: beyondEnd, consistency, signal, timeoutMs };
      await this.#parts.reads.read(member.rpcAddr, request);
    } catch (thrown) {
      const endOffset = thrown instanceof ProglogError ? thrown.fields["endOffset"] : undefined;
      if (typeof endOffset === "number") return endOffset;
      throw thrown;
    }
    throw new ProglogError("internal", "There is a record where none can be.");
  }

  /** @param end The log's end, where the start depends on it. */
  async #startAt(attempt: Attempt, from: RangeStart, end = 0): Promise<number> {
    const { startOffset } = this.bounds();
    switch (from.kind) {
      case "offset":
        return from.offset;
      case "earliest":
        return startOffset;
      case "latest":
        return end;
      case "before-end":
        return Math.max(startOffset, end - from.count);
      case "timestamp":
        return this.#offsetAt(attempt, from.timestampMs, end);
    }
  }

  /** The first record from a time on, by halves: timestamps never run backwards along the log. */
  async #offsetAt(attempt: Attempt, timestampMs: number, end: number): Promise<number> {
    const { member, ...limits } = attempt;
    let [low, high] = [this.bounds().startOffset, end];
    while (low < high) {
      const offset = Math.floor((low + high) / 2);
      const request = { offset, consistency: "local", ...limits } as const;
      const record = await this.#parts.reads.read(member.rpcAddr, request).catch(trimmed);
      if (record === undefined || record.timestampMs < timestampMs) low = offset + 1;
      else high = offset;
    }
    return low;
  }

  /** Asks one member after the other, until one answers, or refuses for good. */
  async #ask<T>(
    signal: AbortSignal | undefined,
    ask: (attempt: Attempt) => Promise<T>,
  ): Promise<T> {
    const { members, clock, requestTimeoutMs } = this.#parts;
    const deadline = clock.now() + requestTimeoutMs;
    const tried = new Set<string>();
    let refusal: ProglogError | undefined;
    if (members.answeringCount === 0) await members.refresh();
    for (;;) {
      const member = members.pick(tried);
      const timeoutMs = deadline - clock.now();
      if (member === undefined || timeoutMs <= 0) throw refusal ?? noMember(members);
      tried.add(member.id);
      const attempt = new AbortController();
      const untie = this.#tie(member, attempt, signal);
      try {
        return await ask({ member, signal: attempt.signal, timeoutMs });
      } catch (thrown) {
        signal?.throwIfAborted();
        const error = ProglogError.from(thrown);
        if (!othersMayKnow.has(error.code)) throw error;
        // That a miss could not be confirmed says more than that a member did not answer.
        if (refusal?.code !== "cannot-confirm") refusal = error;
      } finally {
        untie();
      }
    }
  }

  /** Aborts the attempt when its caller goes, or the member. @returns Undoes it. */
  #tie(
    member: RemoteMember,
    attempt: AbortController,
    signal: AbortSignal | undefined,
  ): () => void {
    const leave = (): void => attempt.abort(signal?.reason);
    signal?.addEventListener("abort", leave, { once: true });
    if (signal?.aborted === true) leave();
    const untie = this.#parts.members.lease(member, attempt);
    return () => {
      untie();
      signal?.removeEventListener("abort", leave);
    };
  }
}

/** A page as it fills, by the rules of a node's own. */
class PageFill {
  readonly records: LogRecord[] = [];
  next: number;
  isFull = false;
  readonly #limit: number;
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(from: number, limits: { readonly limit: number; readonly bytesMax: number }) {
    this.next = from;
    this.#limit = limits.limit;
    this.#bytesMax = limits.bytesMax;
  }

  /** Takes the record; false once the page is full. */
  add(record: LogRecord): boolean {
    this.#bytes += record.value.length;
    const isOver = this.records.length > 0 && this.#bytes > this.#bytesMax;
    if (!isOver) {
      this.records.push(record);
      this.next = record.offset + 1;
    }
    this.isFull = isOver || this.records.length >= this.#limit || this.#bytes >= this.#bytesMax;
    return !this.isFull;
  }
}

/** True if the append went nowhere, and another leader may take it. */
function isRefusedUnseen({ code, outcome }: ProglogError): boolean {
  return outcome === "not_applied" && (code === "not-leader" || code === "unavailable");
}

/** True if the start depends on where the log ends. */
function isFromEnd(from: RangeStart): boolean {
  return from.kind === "latest" || from.kind === "before-end" || from.kind === "timestamp";
}

/** The log's first offset, if the error says that what was asked for lies before it. */
function trimmedStart(error: unknown): number | undefined {
  if (!(error instanceof ProglogError) || error.code !== "offset-trimmed") return undefined;
  const start = error.fields["startOffset"];
  return typeof start === "number" ? start : undefined;
}

/** A record that has been trimmed is older than all that are there. */
function trimmed(error: unknown): undefined {
  if (trimmedStart(error) === undefined) throw error;
}

/** What a write is told when nobody leads. */
export function noLeaderError(members: RemoteMembers, cause?: ProglogError): ProglogError {
  const options = { retryAfterMs: 1000, ...(cause === undefined ? {} : { cause }) };
  if (members.count === 0) return noMember(members);
  if (members.hasQuorum) {
    const detail = "There is no leader at the moment; an election is under way. Retry.";
    return new ProglogError("no-leader", detail, options);
  }
  const detail = "Too few voters can be reached to elect a leader; reads go on. Retry later.";
  return new ProglogError("no-quorum", detail, options);
}

function noMember(members: RemoteMembers): ProglogError {
  const detail =
    members.count === 0
      ? "No member of the cluster has answered yet; check --join."
      : "No member of the cluster answers; retry.";
  return new ProglogError("unavailable", detail, { retryAfterMs: 1000 });
}
