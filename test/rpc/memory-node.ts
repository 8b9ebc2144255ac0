/**
 * A node's two services in memory, with the semantics of src/service/api.ts: what the gRPC server
 * is tested against. Its states (held commits, a next error, a leader elsewhere) are set from
 * outside.
 */
import { randomUUID } from "node:crypto";

import { ProglogError } from "../../src/common/errors.js";
import type { LeaderHint } from "../../src/common/errors.js";
import { countRecords, decodeRecord, recordPosition } from "../../src/common/record.js";
import type { LogRecord, RecordBatch } from "../../src/common/record.js";
import { Producers } from "../../src/machine/producers.js";
import type { Producer } from "../../src/machine/producers.js";
import type { Member } from "../../src/raft/message.js";
import type {
  AppendOutcome,
  AppendReceipt,
  AppendRequest,
  CommittedAppend,
  ClusterService,
  ClusterStatus,
  JoinReceipt,
  JoinRequest,
  ListPage,
  ListRequest,
  LogService,
  MemberStatus,
  NodeIdentity,
  Readiness,
  ReadOptions,
  StreamRequest,
} from "../../src/service/api.js";
import type { PeerCalls } from "../../src/service/peer-calls.js";

const timestampMs = 1_700_000_000_000;
const recordBytesMax = 8 * 1024 * 1024;

/** Wakes whoever waits when something has changed. */
class Changes {
  #waiters = new Set<() => void>();

  notify(): void {
    const waiters = this.#waiters;
    this.#waiters = new Set();
    for (const wake of waiters) wake();
  }

  /** Resolves at the next change, when the time is up, or when the signal aborts. */
  async next(limits: { waitMs?: number; signal?: AbortSignal | undefined } = {}): Promise<void> {
    if (limits.signal?.aborted === true) return;
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(finish);
        limits.signal?.removeEventListener("abort", finish);
        resolve();
      };
      const timer = limits.waitMs === undefined ? undefined : setTimeout(finish, limits.waitMs);
      limits.signal?.addEventListener("abort", finish);
      this.#waiters.add(finish);
    });
  }
}

export class MemoryLog implements LogService {
  readonly batches: RecordBatch[] = [];
  readonly producers = new Producers([]);
  /** Every request that came, in order, with what it was asked to do. */
  readonly requests: (AppendRequest & { readonly relay: boolean })[] = [];
  startOffset = 0;
  endOffset = 0;
  /** Generators that have not ended. */
  openStreams = 0;
  /** Batches that readers took out of the log. */
  batchesRead = 0;
  /** Thrown by the next calls, in order. */
  readonly errors: Error[] = [];
  /** Where the leader is, if not here. */
  leader: LeaderHint | undefined;
  peers: PeerCalls | undefined;
  #isHeld = false;
  readonly #changes = new Changes();

  /** Appends wait from now on, as without a quorum. */
  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    this.#changes.notify();
  }

  async outcome(producer: Producer): Promise<AppendOutcome> {
    const error = this.errors.shift();
    if (error !== undefined) throw error;
    const settlement = this.producers.settlementOf(producer);
    if (settlement === "forgotten") return { type: "unknown" };
    if (settlement === "never" || settlement === "open") return { type: "never" };
    return { type: "applied", ...settlement };
  }

  async produce(
    request: CommittedAppend,
    options: { readonly relay?: boolean } = {},
  ): Promise<AppendReceipt> {
    this.requests.push({ ...request, relay: options.relay === true });
    const error = this.errors.shift();
    if (error !== undefined) throw error;
    const { leader, peers } = this;
    if (leader !== undefined) {
      const mayRelay = options.relay === true && request.forwarded !== true;
      if (mayRelay && peers !== undefined) return await peers.produce(leader, request);
      throw new ProglogError("not-leader", `Node ${leader.name} leads.`, { fields: { leader } });
    }
    const count = countRecords(request.records, recordBytesMax);
    while (this.#isHeld) await this.#changes.next();
    const { expectedOffset, producer } = request;
    const verdict = producer === undefined ? "new" : this.producers.find(producer);
    if (verdict === "too-old") {
      throw new ProglogError("sequence-too-old", "The sequence is not remembered any more.");
    }
    if (verdict !== "new") {
      const { offset, count: appended, timestampMs: takenMs } = verdict;
      return { offset, count: appended, timestampMs: takenMs, isDuplicate: true };
    }
    if (expectedOffset !== undefined && expectedOffset !== this.endOffset) {
      throw new ProglogError("expected-offset-mismatch", "The log has moved on.", {
        fields: { expectedOffset, actualOffset: this.endOffset },
      });
    }
    const offset = this.endOffset;
    if (producer !== undefined) {
      const { id, sequence } = producer;
      this.producers.note(id, { sequence, offset, count, timestampMs });
    }
    this.batches.push({ offset, count, timestampMs, records: Buffer.from(request.records) });
    this.endOffset += count;
    this.#changes.notify();
    return { offset, count, timestampMs };
  }

  async read(
    offset: number,
    options: ReadOptions & { readonly waitMs?: number } = {},
  ): Promise<LogRecord> {
    const error = this.errors.shift();
    if (error !== undefined) throw error;
    this.#refuseTrimmed(offset);
    const { waitMs = 0, signal } = options;
    if (offset >= this.endOffset && waitMs > 0) {
      const endMs = Date.now() + waitMs;
      while (offset >= this.endOffset && Date.now() < endMs && signal?.aborted !== true) {
        await this.#changes.next({ waitMs: endMs - Date.now(), signal });
      }
      signal?.throwIfAborted();
    }
    if (offset >= this.endOffset) throw this.#outOfRange(offset);
    return this.at(offset);
  }

  /** The record at an offset that is there. */
  at(offset: number): LogRecord {
    const batch = this.batches.findLast((candidate) => candidate.offset <= offset);
    if (batch === undefined) throw new Error(`nothing at ${offset}`);
    const position = recordPosition(batch.records, offset - batch.offset);
    return { ...decodeRecord(batch.records, position), offset, timestampMs };
  }

  async list(_request: ListRequest): Promise<ListPage> {
    throw new Error("gRPC has no lists");
  }

  async *stream(request: StreamRequest): AsyncGenerator<RecordBatch, void, undefined> {
    this.openStreams += 1;
    try {
      const { from, follow, signal } = request;
      let at = from.kind === "offset" ? from.offset : 0;
      this.#refuseTrimmed(at);
      if (at > this.endOffset) throw this.#outOfRange(at);
      const end = follow ? Infinity : this.endOffset;
      while (at < end) {
        while (at >= this.endOffset) {
          await this.#changes.next({ signal });
          signal?.throwIfAborted();
        }
        signal?.throwIfAborted();
        const batch = this.#batchFrom(at);
        this.batchesRead += 1;
        yield batch;
        at = batch.offset + batch.count;
      }
    } finally {
      this.openStreams -= 1;
    }
  }

  #batchFrom(offset: number): RecordBatch {
    let low = 0;
    for (let high = this.batches.length - 1; low < high;) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.batches[middle]?.offset ?? Infinity) <= offset) low = middle;
      else high = middle - 1;
    }
    const batch = this.batches[low];
    if (batch === undefined) throw new Error("the log is empty");
    if (batch.offset === offset) return batch;
    const skipped = offset - batch.offset;
    const records = batch.records.subarray(recordPosition(batch.records, skipped));
    return { ...batch, offset, count: batch.count - skipped, records };
  }

  bounds(): { readonly startOffset: number; readonly endOffset: number } {
    return { startOffset: this.startOffset, endOffset: this.endOffset };
  }

  position(): { readonly nodeName: string; readonly term: number; readonly endOffset: number } {
    return { nodeName: "one", term: 1, endOffset: this.endOffset };
  }

  #refuseTrimmed(offset: number): void {
    const { startOffset } = this;
    if (offset >= startOffset) return;
    throw new ProglogError("offset-trimmed", `The log starts at ${startOffset}.`, {
      fields: { startOffset },
    });
  }

  #outOfRange(offset: number): ProglogError {
    const { endOffset } = this;
    return new ProglogError("offset-out-of-range", `There is no record at ${offset}.`, {
      fields: { endOffset },
    });
  }
}

export const testClusterId = "c0ffee00-0000-4000-8000-000000000000";

export class MemoryCluster implements ClusterService {
  readonly self: Member;
  readonly members = new Map<string, Member>();
  /** Addresses at which a node would answer. */
  readonly dialable = new Map<string, Member>();
  readonly learners = new Set<string>();
  leaderId: string;
  readonly #log: MemoryLog;

  constructor(log: MemoryLog) {
    this.#log = log;
    this.self = {
      id: randomUUID(),
      name: "one",
      rpcAddr: "127.0.0.1:8400",
      httpAddr: "127.0.0.1:5000",
    };
    this.members.set(this.self.id, this.self);
    this.leaderId = this.self.id;
  }

  identify(): NodeIdentity {
    return { clusterId: testClusterId, member: this.self };
  }

  async join({ clusterId, member }: JoinRequest): Promise<JoinReceipt> {
    if (clusterId !== null && clusterId !== testClusterId) {
      throw new ProglogError("wrong-cluster", `This is ${testClusterId}, not ${clusterId}.`, {
        fields: { clusterId: testClusterId, otherClusterId: clusterId },
      });
    }
    this.#addLearner(member);
    return { clusterId: testClusterId, members: [...this.members.values()] };
  }

  async status(): Promise<ClusterStatus> {
    return { ...this.localStatus(), source: "leader" };
  }

  localStatus(): ClusterStatus {
    const { startOffset, endOffset } = this.#log.bounds();
    const leader = this.members.get(this.leaderId);
    return {
      clusterId: testClusterId,
      node: { id: this.self.id, name: this.self.name },
      term: 1,
      leader: leader ?? null,
      quorum: leader !== undefined,
      readOnly: leader === undefined,
      commitIndex: endOffset + 1,
      appliedIndex: endOffset + 1,
      startOffset,
      endOffset,
      source: "local",
      members: [...this.members.values()].map((member) => this.#statusOf(member)),
    };
  }

  readiness(): Readiness {
    return { ready: true, checks: [] };
  }

  async addMember(rpcAddr: string): Promise<MemberStatus> {
    const member = this.dialable.get(rpcAddr);
    if (member === undefined) {
      throw new ProglogError("member-unreachable", `Nothing answers at ${rpcAddr}.`);
    }
    this.#addLearner(member);
    return this.#statusOf(member);
  }

  async removeMember(id: string): Promise<void> {
    if (!this.members.delete(id)) throw new ProglogError("unknown-member", `No member ${id}.`);
  }

  async promoteMember(id: string): Promise<void> {
    if (!this.members.has(id)) throw new ProglogError("unknown-member", `No member ${id}.`);
    if (this.learners.delete(id)) return;
    throw new ProglogError("unsafe-change", `Member ${id} votes already.`, { retryable: false });
  }

  async transferLeader(id: string | undefined): Promise<void> {
    const others = [...this.members.keys()].filter((member) => member !== this.leaderId);
    const target = id ?? others[0];
    if (target === undefined) throw new ProglogError("unsafe-change", "There is nobody else.");
    if (!this.members.has(target)) throw new ProglogError("unknown-member", `No member ${target}.`);
    this.leaderId = target;
  }

  #addLearner(member: Member): void {
    if (!this.members.has(member.id)) this.learners.add(member.id);
    this.members.set(member.id, member);
  }

  #statusOf(member: Member): MemberStatus {
    const isLearner = this.learners.has(member.id);
    const isLeader = member.id === this.leaderId;
    return {
      ...member,
      role: isLeader ? "leader" : isLearner ? "learner" : "follower",
      voter: !isLearner,
      alive: true,
      matchIndex: 7,
      lag: 0,
      lastContactMs: 3,
    };
  }
}
