/**
 * What a node can be asked, without a protocol: the REST gateway and the gRPC server both speak
 * to these two interfaces and to nothing below them.
 *
 * Every failure is a ProglogError. Every wait ends: by its own deadline or by its signal.
 */
import type { LeaderHint } from "../common/errors.js";
import type { LogRecord, RecordBatch } from "../common/record.js";
import type { Producer } from "../machine/producers.js";
import type { Member } from "../raft/message.js";

/**
 * How many members are to hold an append on their disks before it is answered: a majority of the
 * voters (the default), a number of members, or all. 1 is the leader alone: then the answer comes
 * before the commit, and the append may still be lost. Any other number is at least a majority.
 */
export type WriteConcern = "majority" | "all" | number;

/** Records to append as one: all of them, with consecutive offsets, or none. */
export interface AppendRequest {
  /** Encoded records (common/record.ts); at least one. Checked by the service. */
  readonly records: Buffer;
  /** Append only if the first record would get exactly this offset. */
  readonly expectedOffset?: number;
  /** Makes a retry safe: repeated with this, the append is applied once at most. */
  readonly producer?: Producer;
  /** How long to wait for the answer; undefined means the node's default. */
  readonly timeoutMs?: number;
  readonly writeConcern?: WriteConcern;
  /** True if another node relayed this request: it is then never relayed again. */
  readonly forwarded?: boolean;
}

export interface AppendReceipt {
  /** Offset of the first record. */
  readonly offset: number;
  readonly count: number;
  readonly timestampMs: number;
  /** True if its producer's sequence was in the log before: this is where. */
  readonly isDuplicate?: true;
}

/** The leader's disk alone has the append: it has no offset yet, and may be lost. */
export interface Uncommitted {
  readonly isCommitted: false;
}

/** Uncommitted only for a write concern of 1. */
export type AppendAnswer = AppendReceipt | Uncommitted;

/** An append whose answer is a receipt. */
export type CommittedAppend = AppendRequest & { readonly writeConcern?: "majority" | "all" };

export function isCommitted(answer: AppendAnswer): answer is AppendReceipt {
  return !("isCommitted" in answer);
}

/** True if an append may wait for more than its commit: such must not keep others from theirs. */
export function isPatient(writeConcern: WriteConcern | undefined): boolean {
  return writeConcern === "all" || (typeof writeConcern === "number" && writeConcern > 1);
}

/** What became of an append; nothing that comes later changes it. */
export type AppendOutcome =
  | ({ readonly type: "applied" } & Omit<AppendReceipt, "isDuplicate">)
  /** It is not in the log and never will be, also if a copy of it is still on its way. */
  | { readonly type: "never" }
  /** It was so long ago that nothing is remembered of it. */
  | { readonly type: "unknown" };

/** `linearizable` confirms a miss with the leader; `local` answers it from this node alone. */
export type Consistency = "linearizable" | "local";

export interface ReadOptions {
  readonly consistency?: Consistency;
  readonly signal?: AbortSignal;
}

/** Where a range starts: an offset, an end of the log, -N from its end, or a time. */
export type RangeStart =
  | { readonly kind: "offset"; readonly offset: number }
  | { readonly kind: "earliest" }
  | { readonly kind: "latest" }
  | { readonly kind: "before-end"; readonly count: number }
  | { readonly kind: "timestamp"; readonly timestampMs: number };

export interface ListRequest extends ReadOptions {
  readonly from: RangeStart;
  /** Most records, 1 to 10 000. */
  readonly limit: number;
  /** Most bytes of encoded records; the first record is returned whatever its size. */
  readonly bytesMax: number;
}

export interface ListPage {
  readonly records: readonly LogRecord[];
  /** First offset of the log. */
  readonly startOffset: number;
  /** Offset after the last committed record here; confirmed if the page reaches it. */
  readonly endOffset: number;
  /** Offset to ask for next. */
  readonly next: number;
}

export interface StreamRequest extends ReadOptions {
  readonly from: RangeStart;
  /** Keep going at the end of the log, until the signal aborts. */
  readonly follow: boolean;
}

export interface ProduceTerms {
  readonly relay?: boolean;
}

export interface LogService {
  /**
   * Appends records; resolves when they are committed and applied, and on as many disks as the
   * write concern says.
   *
   * On a node that does not lead it relays to the leader if `--follower-writes forward` or
   * `relay` asks for it; else it fails with `not-leader`, which carries the leader.
   *
   * @throws ProglogError invalid-request, record-too-large, not-leader, no-leader, no-quorum,
   *   outcome-unknown, expected-offset-mismatch, overloaded, disk-full, unavailable,
   *   write-concern-unsatisfiable, write-concern-timeout (fields offset, count, timestampMs, acks).
   */
  produce(request: CommittedAppend, options?: ProduceTerms): Promise<AppendReceipt>;
  produce(request: AppendRequest, options?: ProduceTerms): Promise<AppendAnswer>;
  /**
   * Says what became of an append with this producer. If nothing is decided yet this decides it:
   * the sequence is then void, and so are the producer's lower ones. On any node.
   *
   * @throws ProglogError no-leader, no-quorum, cannot-confirm, overloaded, disk-full, unavailable.
   */
  outcome(producer: Producer, options?: { readonly forwarded?: boolean }): Promise<AppendOutcome>;
  /**
   * Reads the record at an offset. A hit is answered from this node at once.
   *
   * @param waitMs Wait so long for the record to come instead of failing.
   * @throws ProglogError offset-out-of-range (fields endOffset), offset-trimmed (fields
   *   startOffset), cannot-confirm, data-damaged.
   */
  read(offset: number, options?: ReadOptions & { readonly waitMs?: number }): Promise<LogRecord>;
  /** Reads a page. A default page does not end below a record acknowledged before it was asked. */
  list(request: ListRequest): Promise<ListPage>;
  /**
   * Reads batches from a place on, as fast as the caller takes them; the first batch starts
   * exactly at the place asked for. Without `follow` it ends at the end of the log as confirmed
   * when it was asked.
   */
  stream(request: StreamRequest): AsyncGenerator<RecordBatch, void, undefined>;
  /** Where the log starts and ends on this node, now. */
  bounds(): { readonly startOffset: number; readonly endOffset: number };
  /** For the headers of every answer. */
  position(): { readonly nodeName: string; readonly term: number; readonly endOffset: number };
}

export type MemberRole = "leader" | "follower" | "learner";

export interface MemberStatus {
  readonly id: string;
  readonly name: string;
  readonly role: MemberRole;
  readonly voter: boolean;
  readonly rpcAddr: string;
  readonly httpAddr: string;
  readonly alive: boolean;
  /** null where only the leader knows and this node does not lead. */
  readonly matchIndex: number | null;
  /** Entries behind the leader's commit index. */
  readonly lag: number | null;
  readonly lastContactMs: number | null;
}

/** The body of GET /cluster. */
export interface ClusterStatus {
  readonly clusterId: string | null;
  readonly node: { readonly id: string; readonly name: string };
  readonly term: number;
  readonly leader: LeaderHint | null;
  readonly quorum: boolean;
  /** True if writes are refused now: no quorum, or the disk is full. */
  readonly readOnly: boolean;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly startOffset: number;
  readonly endOffset: number;
  /** Who knew this: the leader, or this node alone because it has no contact with a leader. */
  readonly source: "leader" | "local";
  readonly members: readonly MemberStatus[];
}

export interface Readiness {
  readonly ready: boolean;
  /** One line per check, such as "leader: known". */
  readonly checks: readonly {
    readonly name: string;
    readonly ok: boolean;
    readonly detail: string;
  }[];
}

/** Who answers at an address. */
export interface NodeIdentity {
  /** null while the node belongs to no cluster. */
  readonly clusterId: string | null;
  readonly member: Member;
}

/** A node's wish to be taken in. */
export interface JoinRequest {
  /** null on a first start; else the cluster the node belongs to already. */
  readonly clusterId: string | null;
  readonly member: Member;
}

export interface JoinReceipt {
  readonly clusterId: string;
  /** All members, so that the joiner knows whom to hear. */
  readonly members: readonly Member[];
}

export interface ClusterService {
  identify(): NodeIdentity;
  /**
   * Takes a node in as a learner, after dialling it back; fine if it is a member already.
   * On a node that does not lead it asks the leader.
   *
   * @throws ProglogError wrong-cluster, member-unreachable, unsafe-change, no-leader.
   */
  join(request: JoinRequest): Promise<JoinReceipt>;
  status(): Promise<ClusterStatus>;
  /** The same without asking the leader. */
  localStatus(): ClusterStatus;
  readiness(): Readiness;
  /**
   * @throws ProglogError member-unreachable, unsafe-change, wrong-cluster, no-leader,
   *   not-leader.
   */
  addMember(rpcAddr: string): Promise<MemberStatus>;
  /** @throws ProglogError unknown-member, unsafe-change, no-leader. */
  removeMember(id: string): Promise<void>;
  /** Makes a learner a voter. @throws ProglogError unknown-member, unsafe-change, no-leader. */
  promoteMember(id: string): Promise<void>;
  /** @throws ProglogError unknown-member, unsafe-change, no-leader. */
  transferLeader(id: string | undefined): Promise<void>;
}
