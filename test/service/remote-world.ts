/**
 * A cluster as a process outside of it meets it: members that answer, are silent or lie, behind the
 * two ports of a gateway. Tests set what each member knows; nothing here elects or replicates.
 */
import { ProglogError } from "../../src/common/errors.js";
import type { LeaderHint } from "../../src/common/errors.js";
import { decodeRecord, encodeRecords } from "../../src/common/record.js";
import type { LogRecord, RecordBatch } from "../../src/common/record.js";
import type {
  AppendOutcome,
  AppendReceipt,
  AppendRequest,
  ClusterStatus,
  JoinReceipt,
  MemberStatus,
  NodeIdentity,
} from "../../src/service/api.js";
import type { MemberRange, MemberRead, MemberReads } from "../../src/service/member-reads.js";
import type { PeerCalls } from "../../src/service/peer-calls.js";

export const clusterId = "c0ffee00-0000-4000-8000-000000000000";

export interface FakeMember {
  readonly id: string;
  readonly name: string;
  rpcAddr: string;
  readonly httpAddr: string;
  /** False: connections to it are refused. */
  isUp: boolean;
  clusterId: string | null;
  term: number;
  leaderId: string | null;
  commitIndex: number;
  /** Records that it holds. */
  endOffset: number;
  /** What it throws at the next reads, in order. */
  readonly readErrors: ProglogError[];
  /** What it throws at the next appends, in order. */
  readonly appendErrors: ProglogError[];
  /** Reads that it answered. */
  readCount: number;
  appendCount: number;
}

function unavailable(): ProglogError {
  return new ProglogError("unavailable", "Connection refused.");
}

/** Members m1, m2, …; m1 leads. Every record is its offset, at as many milliseconds. */
export class RemoteWorld implements PeerCalls, MemberReads {
  readonly members: FakeMember[] = [];
  /** The configuration that all members know, by id. */
  listed: string[] = [];
  readonly promoted: string[] = [];
  /** What the name `cluster:1` stands for. */
  resolved: string[] = [];
  startOffset = 0;
  openStreams = 0;
  readonly #waiting = new Set<() => void>();

  constructor(memberCount: number, endOffset = 10) {
    for (let at = 1; at <= memberCount; at += 1) {
      this.members.push({
        ...{ id: `id-${at}`, name: `m${at}`, rpcAddr: `10.0.0.${at}:8400` },
        ...{ httpAddr: `10.0.0.${at}:5000`, isUp: true, clusterId, term: 1, leaderId: "id-1" },
        ...{ commitIndex: endOffset + 1, endOffset, readErrors: [], appendErrors: [] },
        ...{ readCount: 0, appendCount: 0 },
      });
    }
    this.listed = this.members.map(({ id }) => id);
    this.resolved = this.members.map(({ rpcAddr }) => rpcAddr);
  }

  member(at: number): FakeMember {
    const member = this.members[at];
    if (member === undefined) throw new Error(`there is no member ${at}`);
    return member;
  }

  readonly resolve = async (name: string): Promise<string[]> =>
    name === "cluster:1" ? this.resolved : [name];

  /** All that are up elect it. */
  elect(leader: FakeMember): void {
    const term = Math.max(...this.members.map((member) => member.term)) + 1;
    for (const member of this.members) {
      if (member.isUp) Object.assign(member, { term, leaderId: leader.id });
    }
  }

  /** Records come to these members. */
  grow(count: number, members: readonly FakeMember[] = this.members): void {
    for (const member of members) {
      member.endOffset += count;
      member.commitIndex += count;
    }
    this.#wake();
  }

  kill(member: FakeMember): void {
    member.isUp = false;
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  #at(rpcAddr: string): FakeMember {
    const member = this.members.find((known) => known.rpcAddr === rpcAddr);
    if (member?.isUp !== true) throw unavailable();
    return member;
  }

  #hint(id: string | null): LeaderHint | null {
    const leader = this.members.find((member) => member.id === id);
    if (leader === undefined) return null;
    const { name, rpcAddr, httpAddr } = leader;
    return { id: leader.id, name, rpcAddr, httpAddr };
  }

  async status(rpcAddr: string): Promise<ClusterStatus> {
    const node = this.#at(rpcAddr);
    const { id, name, term, commitIndex, endOffset, leaderId } = node;
    return {
      ...{ clusterId: node.clusterId, node: { id, name }, term, leader: this.#hint(leaderId) },
      ...{ quorum: leaderId !== null, readOnly: leaderId === null },
      ...{ commitIndex, appliedIndex: commitIndex, startOffset: this.startOffset, endOffset },
      source: leaderId === id ? "leader" : "local",
      members: this.listed.flatMap((listed) => {
        const member = this.members.find((known) => known.id === listed);
        return member === undefined ? [] : [memberStatus(member, member.id === leaderId)];
      }),
    };
  }

  async produce(leader: LeaderHint, request: AppendRequest): Promise<AppendReceipt> {
    const node = this.#at(leader.rpcAddr);
    const error = node.appendErrors.shift();
    if (error !== undefined) throw error;
    if (node.leaderId !== node.id) {
      const hint = this.#hint(node.leaderId);
      if (hint === null) throw new ProglogError("no-leader", "There is no leader.");
      throw new ProglogError("not-leader", "Another node leads.", { fields: { leader: hint } });
    }
    if (request.forwarded !== true) throw new Error("what a gateway sends is marked as relayed");
    node.appendCount += 1;
    const offset = node.endOffset;
    this.grow(1, [node]);
    return { offset, count: 1, timestampMs: offset };
  }

  async outcome({ rpcAddr }: LeaderHint): Promise<AppendOutcome> {
    const node = this.#at(rpcAddr);
    const error = node.appendErrors.shift();
    if (error !== undefined) throw error;
    if (node.leaderId !== node.id) throw new ProglogError("no-leader", "Another node leads.");
    return { type: "never" };
  }

  async read(rpcAddr: string, { offset, consistency }: MemberRead): Promise<LogRecord> {
    const node = this.#at(rpcAddr);
    const error = node.readErrors.shift();
    if (error !== undefined) throw error;
    node.readCount += 1;
    if (offset >= node.endOffset && consistency === "linearizable") this.#confirm(node);
    if (offset < this.startOffset) throw this.#trimmed();
    const { endOffset } = node;
    if (offset >= endOffset) {
      const detail = `The log ends before ${endOffset}.`;
      throw new ProglogError("offset-out-of-range", detail, { fields: { endOffset } });
    }
    const batch = batchAt(offset);
    return { ...decodeRecord(batch.records, 0), offset, timestampMs: batch.timestampMs };
  }

  /** The member comes to hold what the leader has, or there is no leader to ask. */
  #confirm(node: FakeMember): void {
    const leader = this.members.find(({ id }) => id === node.leaderId);
    if (leader?.isUp !== true) throw new ProglogError("cannot-confirm", "There is no leader.");
    node.endOffset = leader.endOffset;
  }

  #trimmed(): ProglogError {
    const { startOffset } = this;
    const detail = `The log starts at ${startOffset}.`;
    return new ProglogError("offset-trimmed", detail, { fields: { startOffset } });
  }

  async *batches(
    rpcAddr: string,
    { offset, follow, signal }: MemberRange,
  ): AsyncGenerator<RecordBatch, void, undefined> {
    const node = this.#at(rpcAddr);
    const error = node.readErrors.shift();
    if (error !== undefined) throw error;
    this.openStreams += 1;
    try {
      if (offset < this.startOffset) throw this.#trimmed();
      for (let at = offset; follow || at < node.endOffset; at += 1) {
        while (at >= node.endOffset && node.isUp && !signal.aborted) await this.#change(signal);
        signal.throwIfAborted();
        if (!node.isUp) throw unavailable();
        node.readCount += 1;
        yield batchAt(at);
      }
    } finally {
      this.openStreams -= 1;
    }
  }

  async #change(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake);
    });
  }

  async identify(): Promise<NodeIdentity> {
    throw new Error("a gateway identifies nobody");
  }

  async join(): Promise<JoinReceipt> {
    throw new Error("a gateway joins nothing");
  }

  async addMember(rpcAddr: string): Promise<MemberStatus> {
    return memberStatus(this.#at(rpcAddr), true);
  }

  async removeMember(rpcAddr: string, id: string): Promise<void> {
    this.#at(rpcAddr);
    this.listed = this.listed.filter((listed) => listed !== id);
  }

  async promoteMember(rpcAddr: string, id: string): Promise<void> {
    this.#at(rpcAddr);
    this.promoted.push(id);
  }

  async transferLeader(rpcAddr: string, id: string | undefined): Promise<void> {
    this.#at(rpcAddr);
    const heir = this.members.find((member) => member.id === id);
    if (heir !== undefined) this.elect(heir);
  }
}

function memberStatus(member: FakeMember, isLeader: boolean): MemberStatus {
  const { id, name, rpcAddr, httpAddr } = member;
  const known = { alive: true, matchIndex: null, lag: null, lastContactMs: null };
  const role = isLeader ? "leader" : "follower";
  return { ...{ id, name, rpcAddr, httpAddr }, role, voter: true, ...known };
}

function batchAt(offset: number): RecordBatch {
  const records = encodeRecords([{ value: Buffer.from(String(offset)) }]);
  return { offset, count: 1, timestampMs: offset, records };
}
