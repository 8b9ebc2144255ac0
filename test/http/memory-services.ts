/**
 * A whole log and cluster in memory, with the semantics of src/service/api.ts: what the gateway
 * is tested against. Its states (no leader, no quorum, disk full, trimmed) are set from outside.
 */
import { randomUUID } from "node:crypto";

import { ProglogError } from "../../src/common/errors.js";
import type { LeaderHint } from "../../src/common/errors.js";
import { countRecords, decodeBatch, encodeRecords } from "../../src/common/record.js";
import type { LogRecord, RecordBatch, RecordContent } from "../../src/common/record.js";
import { Producers } from "../../src/machine/producers.js";
import type { Producer } from "../../src/machine/producers.js";
import type { Member } from "../../src/raft/message.js";
import type {
  AppendOutcome,
  AppendAnswer,
  AppendReceipt,
  CommittedAppend,
  WriteConcern,
  AppendRequest,
  ClusterService,
  ClusterStatus,
  JoinReceipt,
  JoinRequest,
  ListPage,
  ListRequest,
  LogService,
  MemberStatus,
  NodeIdentity,
  RangeStart,
  Readiness,
  ReadOptions,
  StreamRequest,
} from "../../src/service/api.js";

export type MemoryState = "leading" | "following" | "no-leader" | "no-quorum" | "disk-full";

const batchCountMax = 500;

/** The state that both services share. */
export class MemoryNode {
  readonly id = randomUUID();
  readonly name: string;
  readonly members = new Map<string, Member>();
  /** Addresses at which a node would answer. */
  readonly dialable = new Map<string, Member>();
  readonly records: LogRecord[] = [];
  readonly producers = new Producers([]);
  state: MemoryState = "leading";
  leader: LeaderHint | null = null;
  term = 1;
  startOffset = 0;
  httpAddr = "";
  /** Streams whose generator has not ended. */
  openStreams = 0;
  openReads = 0;
  /** The offset at which this node's copy is damaged, for streams. */
  failStreamsAt = Infinity;
  #commitsPaused = false;
  readonly #waiters = new Set<() => void>();

  constructor(name = "one") {
    this.name = name;
    this.members.set(this.id, { id: this.id, name, rpcAddr: "127.0.0.1:1", httpAddr: "" });
  }

  /** Of the appends, as they were asked for. */
  readonly writeConcerns: (WriteConcern | undefined)[] = [];

  get endOffset(): number {
    return this.records.length;
  }

  follow(leader: LeaderHint): void {
    this.state = "following";
    this.leader = leader;
  }

  lead(): LeaderHint {
    this.state = "leading";
    this.leader = { id: this.id, name: this.name, rpcAddr: "127.0.0.1:1", httpAddr: this.httpAddr };
    return this.leader;
  }

  trim(startOffset: number): void {
    this.startOffset = startOffset;
  }

  pauseCommits(): void {
    this.#commitsPaused = true;
  }

  resumeCommits(): void {
    this.#commitsPaused = false;
    this.changed();
  }

  /** Appends without asking anybody. */
  add(...contents: readonly RecordContent[]): void {
    this.push(encodeRecords(contents), contents.length);
  }

  push(records: Buffer, count: number): AppendReceipt {
    const last = this.records.at(-1)?.timestampMs ?? 0;
    const batch = {
      offset: this.endOffset,
      count,
      records,
      timestampMs: Math.max(last, Date.now()),
    };
    this.records.push(...decodeBatch(batch));
    this.changed();
    return { offset: batch.offset, count, timestampMs: batch.timestampMs };
  }

  get commitsPaused(): boolean {
    return this.#commitsPaused;
  }

  /** Reads, appends and streams that wait for something to happen. */
  get waiting(): number {
    return this.#waiters.size;
  }

  changed(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  /** Waits until `holds`; false after `timeoutMs`. */
  async until(holds: () => boolean, timeoutMs?: number, signal?: AbortSignal): Promise<boolean> {
    if (holds()) return true;
    signal?.throwIfAborted();
    return await new Promise<boolean>((resolve, reject) => {
      const finish = (): void => {
        this.#waiters.delete(check);
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      const check = (): void => {
        if (!holds()) return;
        finish();
        resolve(true);
      };
      const abort = (): void => {
        finish();
        reject(signal?.reason as Error);
      };
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => {
              finish();
              resolve(false);
            }, timeoutMs);
      this.#waiters.add(check);
      signal?.addEventListener("abort", abort, { once: true });
    });
  }
}

export class MemoryLog implements LogService {
  readonly #node: MemoryNode;

  constructor(node: MemoryNode) {
    this.#node = node;
  }

  async produce(request: CommittedAppend): Promise<AppendReceipt>;
  async produce(request: AppendRequest): Promise<AppendAnswer>;
  async produce(request: AppendRequest): Promise<AppendAnswer> {
    const node = this.#node;
    node.writeConcerns.push(request.writeConcern);
    if (request.writeConcern === 1) return { isCommitted: false };
    const count = countRecords(request.records, 8 * 1024 * 1024);
    const { expectedOffset, producer } = request;
    refuseWrite(node);
    if (node.commitsPaused) {
      const committed = await node.until(() => !node.commitsPaused, request.timeoutMs ?? 10_000);
      if (!committed) {
        const retryable = producer !== undefined;
        throw new ProglogError("outcome-unknown", "The commit took too long.", { retryable });
      }
    }
    const verdict = producer === undefined ? "new" : node.producers.find(producer);
    if (verdict === "too-old") {
      throw new ProglogError("sequence-too-old", "The sequence is not remembered any more.");
    }
    if (verdict !== "new" && verdict.count === 0) {
      throw new ProglogError("sequence-too-old", "The sequence is void.");
    }
    if (verdict !== "new") return { ...verdict, isDuplicate: true };
    if (expectedOffset !== undefined && expectedOffset !== node.endOffset) {
      throw new ProglogError("expected-offset-mismatch", "The log has moved on.", {
        fields: { expectedOffset, actualOffset: node.endOffset },
      });
    }
    const receipt = node.push(request.records, count);
    if (producer !== undefined) {
      node.producers.note(producer.id, { ...receipt, sequence: producer.sequence });
    }
    return receipt;
  }

  async outcome(producer: Producer): Promise<AppendOutcome> {
    const node = this.#node;
    refuseWrite(node);
    const settlement = node.producers.settlementOf(producer);
    if (settlement === "forgotten") return { type: "unknown" };
    if (settlement === "never") return { type: "never" };
    if (settlement !== "open") return { type: "applied", ...settlement };
    const nothing = { offset: node.endOffset, count: 0, timestampMs: 0 };
    node.producers.note(producer.id, { sequence: producer.sequence, ...nothing });
    return { type: "never" };
  }

  async read(
    offset: number,
    options: ReadOptions & { readonly waitMs?: number } = {},
  ): Promise<LogRecord> {
    const node = this.#node;
    this.#refuseTrimmed(offset);
    if (offset >= node.endOffset) {
      if (options.consistency !== "local") this.#confirm();
      node.openReads += 1;
      try {
        await node.until(() => offset < node.endOffset, options.waitMs ?? 0, options.signal);
      } finally {
        node.openReads -= 1;
      }
    }
    const record = node.records[offset];
    if (record === undefined) throw this.#outOfRange(offset);
    return record;
  }

  async list(request: ListRequest): Promise<ListPage> {
    const node = this.#node;
    if (request.consistency !== "local") this.#confirm();
    const from = this.#resolve(request.from);
    const records: LogRecord[] = [];
    let bytes = 0;
    for (const record of node.records.slice(from, from + request.limit)) {
      bytes += record.value.length;
      if (bytes > request.bytesMax && records.length > 0) break;
      records.push(record);
    }
    const { startOffset, endOffset } = node;
    return { records, startOffset, endOffset, next: from + records.length };
  }

  async *stream(request: StreamRequest): AsyncGenerator<RecordBatch, void, undefined> {
    const node = this.#node;
    node.openStreams += 1;
    try {
      if (request.consistency !== "local") this.#confirm();
      let at = this.#resolve(request.from);
      const end = request.follow ? Infinity : node.endOffset;
      while (at < end) {
        await node.until(() => at < node.endOffset, undefined, request.signal);
        request.signal?.throwIfAborted();
        if (at >= node.failStreamsAt) {
          throw new ProglogError("data-damaged", `Offset ${String(at)} is damaged here.`);
        }
        const batch = this.#batch(at, Math.min(end, at + batchCountMax, node.failStreamsAt));
        yield batch;
        at += batch.count;
      }
    } finally {
      node.openStreams -= 1;
    }
  }

  bounds(): { readonly startOffset: number; readonly endOffset: number } {
    return this.#node;
  }

  position(): { readonly nodeName: string; readonly term: number; readonly endOffset: number } {
    return { nodeName: this.#node.name, term: this.#node.term, endOffset: this.#node.endOffset };
  }

  #batch(from: number, to: number): RecordBatch {
    const records = this.#node.records.slice(from, to);
    const timestampMs = records[0]?.timestampMs ?? 0;
    return { offset: from, count: records.length, timestampMs, records: encodeRecords(records) };
  }

  #resolve(from: RangeStart): number {
    const node = this.#node;
    switch (from.kind) {
      case "offset":
        this.#refuseTrimmed(from.offset);
        if (from.offset > node.endOffset) throw this.#outOfRange(from.offset);
        return from.offset;
      case "earliest":
        return node.startOffset;
      case "latest":
        return node.endOffset;
      case "before-end":
        return Math.max(node.startOffset, node.endOffset - from.count);
      case "timestamp": {
        const at = node.records.findIndex((record) => record.timestampMs >= from.timestampMs);
        return at < 0 ? node.endOffset : Math.max(at, node.startOffset);
      }
    }
  }

  #confirm(): void {
    if (this.#node.state !== "no-leader") return;
    throw new ProglogError("cannot-confirm", "There is no leader to confirm the end of the log.");
  }

  #refuseTrimmed(offset: number): void {
    const { startOffset } = this.#node;
    if (offset >= startOffset) return;
    throw new ProglogError("offset-trimmed", `The log starts at ${String(startOffset)}.`, {
      fields: { startOffset },
    });
  }

  #outOfRange(offset: number): ProglogError {
    const { endOffset } = this.#node;
    return new ProglogError(
      "offset-out-of-range",
      `Offset ${String(offset)} is not there; the log ends at ${String(endOffset)}.`,
      { fields: { endOffset } },
    );
  }
}

function refuseWrite(node: MemoryNode): void {
  switch (node.state) {
    case "leading":
      return;
    case "following":
      throw new ProglogError("not-leader", `Node ${node.leader?.name ?? "?"} leads.`, {
        fields: { leader: node.leader },
      });
    case "no-leader":
      throw new ProglogError("no-leader", "An election is under way.");
    case "no-quorum":
      throw new ProglogError("no-quorum", "Fewer than half of the voters can be reached.");
    case "disk-full":
      throw new ProglogError("disk-full", "The disk of the leader is full.");
  }
}

/** Its methods are asynchronous by their interface, and know their answers at once. */
export class MemoryCluster implements ClusterService {
  readonly #node: MemoryNode;

  constructor(node: MemoryNode) {
    this.#node = node;
  }

  identify(): NodeIdentity {
    const { id, name, httpAddr } = this.#node;
    return { clusterId: "c1", member: { id, name, rpcAddr: "127.0.0.1:1", httpAddr } };
  }

  async join(request: JoinRequest): Promise<JoinReceipt> {
    this.#node.members.set(request.member.id, request.member);
    return { clusterId: "c1", members: [...this.#node.members.values()] };
  }

  async status(): Promise<ClusterStatus> {
    return this.localStatus();
  }

  localStatus(): ClusterStatus {
    const node = this.#node;
    return {
      clusterId: "c1",
      node: { id: node.id, name: node.name },
      term: node.term,
      leader: node.leader,
      quorum: node.state !== "no-quorum" && node.state !== "no-leader",
      readOnly: node.state !== "leading" && node.state !== "following",
      commitIndex: node.endOffset + 1,
      appliedIndex: node.endOffset + 1,
      startOffset: node.startOffset,
      endOffset: node.endOffset,
      source: node.state === "leading" ? "leader" : "local",
      members: [...node.members.values()].map((member) => this.#statusOf(member)),
    };
  }

  readiness(): Readiness {
    const ok = this.#node.state === "leading" || this.#node.state === "following";
    const detail = ok ? "a leader is known" : "no leader is known";
    return { ready: ok, checks: [{ name: "leader", ok, detail }] };
  }

  async addMember(rpcAddr: string): Promise<MemberStatus> {
    refuseWrite(this.#node);
    const member = this.#node.dialable.get(rpcAddr);
    if (member === undefined) {
      throw new ProglogError("member-unreachable", `Nothing answers at ${rpcAddr}.`);
    }
    this.#node.members.set(member.id, member);
    return this.#statusOf(member);
  }

  async removeMember(id: string): Promise<void> {
    refuseWrite(this.#node);
    this.#refuseUnknown(id);
    if (this.#node.members.size === 1) {
      throw new ProglogError("unsafe-change", "The last voter cannot be removed.");
    }
    this.#node.members.delete(id);
  }

  async promoteMember(id: string): Promise<void> {
    refuseWrite(this.#node);
    this.#refuseUnknown(id);
    throw new ProglogError("unsafe-change", "The node is a voter already.", { retryable: false });
  }

  async transferLeader(id: string | undefined): Promise<void> {
    refuseWrite(this.#node);
    if (id !== undefined) this.#refuseUnknown(id);
  }

  #refuseUnknown(id: string): void {
    if (this.#node.members.has(id)) return;
    throw new ProglogError("unknown-member", "There is no such member.");
  }

  #statusOf(member: Member): MemberStatus {
    const isSelf = member.id === this.#node.id;
    return {
      ...member,
      role: isSelf && this.#node.state === "leading" ? "leader" : "follower",
      voter: true,
      alive: true,
      matchIndex: null,
      lag: null,
      lastContactMs: null,
    };
  }
}
