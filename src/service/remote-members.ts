/**
 * The members of a cluster as a process outside of it knows them: who they are, who answers, who
 * leads.
 *
 * Each member is asked for what it knows itself, again and again, and the names to join are looked
 * up anew, so that a cluster whose addresses have all changed is found again. What is known may be
 * old: whoever acts on it is told by the member that it asks.
 *
 * Invariants: members of one cluster only, the first that answered; a list of members is never
 * replaced by an older one; questions under way are at most one an address.
 */
import type { Clock, Timer } from "../common/clock.js";
import { sleep } from "../common/clock.js";
import type { LeaderHint } from "../common/errors.js";
import { ProglogError } from "../common/errors.js";
import type { ClusterStatus, MemberStatus } from "./api.js";
import type { PeerCalls } from "./peer-calls.js";
import { waitForCall } from "./waiting.js";

export interface RemoteMembersOptions {
  /** Time between two questions to a member. */
  readonly askMs: number;
  /** The same while no leader is known. */
  readonly urgentAskMs: number;
  /** Time between two look-ups of the names to join; `askMs` while no member answers. */
  readonly resolveMs: number;
  /** Longest wait for news of a leader. */
  readonly refreshMs: number;
}

export const remoteMembersDefaults: RemoteMembersOptions = Object.freeze({
  askMs: 500,
  urgentAskMs: 100,
  resolveMs: 5000,
  refreshMs: 1000,
});

export interface RemoteMembersParts {
  readonly peers: Pick<PeerCalls, "status">;
  /** rpc addresses of any members; a name may stand for many. */
  readonly join: readonly string[];
  /** All addresses that one of them stands for. */
  readonly resolve: (address: string) => Promise<readonly string[]>;
  readonly clock: Clock;
  readonly logger: {
    info(fields: object, event: string): void;
    warn(fields: object, event: string): void;
  };
  readonly options?: Partial<RemoteMembersOptions>;
}

/** A member to read from. */
export interface RemoteMember {
  readonly id: string;
  readonly name: string;
  readonly rpcAddr: string;
}

/** What is kept of a member. */
interface Known extends RemoteMember {
  /** The last thing it said; undefined if it was never heard. */
  status: ClusterStatus | undefined;
  isAnswering: boolean;
  /** Answers in a row in which it knew no leader while another member did. */
  strayCount: number;
  /** What is being read from it. */
  readonly leases: Set<AbortController>;
}

/** So many answers without a leader, while others have one, make a member one to leave. */
const strayCountMax = 3;
/** A member with more to apply is still catching up: it is read from only if there is no other. */
const behindCountMax = 1000;
/** Time between two rounds of questions that are asked because somebody waits. */
const roundPauseMs = 50;
/** Addresses asked in one look-up. */
const joinAddressesMax = 64;

export class RemoteMembers {
  readonly #parts: RemoteMembersParts;
  readonly #options: RemoteMembersOptions;
  readonly #members = new Map<string, Known>();
  /** When an address was last asked, and who is asked now. */
  readonly #askedMs = new Map<string, number>();
  readonly #asking = new Map<string, Promise<void>>();
  readonly #listeners = new Set<() => void>();
  readonly #refused = new Set<string>();
  #newest: ClusterStatus | undefined;
  #resolvedMs = -Infinity;
  #resolving: Promise<void> | undefined;
  /** A round of questions to all that somebody waits for. */
  #round: Promise<void> | undefined;
  #roundEndMs = -Infinity;
  #term = 0;
  #endOffset = 0;
  #turn = 0;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(parts: RemoteMembersParts) {
    this.#parts = parts;
    this.#options = { ...remoteMembersDefaults, ...parts.options };
  }

  /** Begins to ask; until the first answer nothing is known. */
  start(): void {
    this.#tick();
  }

  /** Ends it; what is read from members is aborted. May be called again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    for (const member of this.#members.values()) abandon(member, "The gateway is stopping.");
    await Promise.allSettled(this.#asking.values());
  }

  get clusterId(): string | null {
    return this.#newest?.clusterId ?? null;
  }

  /** Highest term heard of. */
  get term(): number {
    return this.#term;
  }

  /** Offset after the last record known to be committed. */
  get endOffset(): number {
    return this.#endOffset;
  }

  /** A record was acknowledged, or read, below this offset. */
  noteEnd(endOffset: number): void {
    this.#endOffset = Math.max(this.#endOffset, endOffset);
  }

  get count(): number {
    return this.#members.size;
  }

  get answeringCount(): number {
    return this.#answering().length;
  }

  /** True if a member that answers has a quorum in reach. */
  get hasQuorum(): boolean {
    return this.#answering().some(({ status }) => status?.quorum === true);
  }

  /** Who leads, as the members that answer know it. */
  get leader(): LeaderHint | undefined {
    let best: ClusterStatus | undefined;
    for (const { status } of this.#answering()) {
      if (status === undefined || status.leader === null) continue;
      if (best === undefined || status.term > best.term) best = status;
    }
    const leader = best?.leader ?? undefined;
    // A leader that is gone is named by its followers until they miss it.
    const known = leader === undefined ? undefined : this.#members.get(leader.id);
    return known?.isAnswering === true ? leader : undefined;
  }

  /** The freshest word of the members that answer; then the last one that was heard. */
  get freshest(): ClusterStatus | undefined {
    let best: ClusterStatus | undefined;
    for (const { status } of this.#answering()) {
      if (status !== undefined && (best === undefined || isNewer(status, best))) best = status;
    }
    return best ?? this.#newest;
  }

  /**
   * A member to read from, the next in turn, and not one of those.
   *
   * Those that follow the leader come first, those that do not answer last.
   */
  pick(besides: ReadonlySet<string>): RemoteMember | undefined {
    const all = [...this.#members.values()].filter(({ id }) => !besides.has(id));
    const answering = all.filter((member) => member.isAnswering);
    const fit = answering.filter(isFit);
    const candidates = fit.length > 0 ? fit : answering.length > 0 ? answering : all;
    this.#turn += 1;
    return candidates[this.#turn % Math.max(1, candidates.length)];
  }

  /**
   * Ties what is read from a member to it: aborted when the member goes.
   *
   * @returns Unties it.
   */
  lease(member: RemoteMember, controller: AbortController): () => void {
    const leases = this.#members.get(member.id)?.leases;
    if (leases === undefined || this.#isClosed) controller.abort(gone(member, "is gone"));
    leases?.add(controller);
    return () => leases?.delete(controller);
  }

  /**
   * Asks all members now; resolves when a leader other than `besides` is known, all have answered,
   * or the wait is over. All who come meanwhile share the answers, and there is a pause between two
   * rounds: however many wait for a leader, the members are not asked more often for it.
   */
  async refresh(besides?: string): Promise<void> {
    const isShared = this.#round !== undefined;
    await this.#newsOf(besides);
    // A round that was under way may be older than what made the caller ask.
    if (isShared && !this.#hasNews(besides)) await this.#newsOf(besides);
  }

  async #newsOf(besides: string | undefined): Promise<void> {
    const { clock } = this.#parts;
    this.#round ??= this.#askAll().finally(() => {
      this.#round = undefined;
      this.#roundEndMs = clock.now();
    });
    const asked = this.#round;
    const listen = (listener: () => void): (() => void) => {
      const hear = (): void => {
        if (this.#hasNews(besides)) listener();
      };
      this.#listeners.add(hear);
      void asked.then(listener);
      return () => this.#listeners.delete(hear);
    };
    await waitForCall(clock, listen, { timeoutMs: this.#options.refreshMs });
  }

  #hasNews(besides: string | undefined): boolean {
    return this.leader !== undefined && this.leader.id !== besides;
  }

  async #askAll(): Promise<void> {
    const { clock } = this.#parts;
    const pauseMs = this.#roundEndMs + roundPauseMs - clock.now();
    if (pauseMs > 0) await sleep(clock, pauseMs);
    const asked = [...this.#members.values()].map(async ({ rpcAddr }) => {
      // A question under way may be older than what made the caller ask.
      await this.#asking.get(rpcAddr);
      await this.#ask(rpcAddr);
    });
    if (this.answeringCount === 0) asked.push(this.#askJoined());
    await Promise.all(asked);
  }

  #tick(): void {
    if (this.#isClosed) return;
    const { clock } = this.#parts;
    const now = clock.now();
    const { askMs, urgentAskMs, resolveMs } = this.#options;
    const dueMs = now - (this.leader === undefined ? urgentAskMs : askMs);
    for (const { rpcAddr } of this.#members.values()) {
      if ((this.#askedMs.get(rpcAddr) ?? -Infinity) <= dueMs) void this.#ask(rpcAddr);
    }
    const resolveDueMs = now - (this.answeringCount === 0 ? askMs : resolveMs);
    if (this.#resolvedMs <= resolveDueMs) void this.#askJoined();
    this.#timer = clock.setTimer(urgentAskMs, () => {
      this.#tick();
    });
  }

  /** Looks the names up, and asks at every address that no known member has. */
  async #askJoined(): Promise<void> {
    this.#resolving ??= this.#resolveAndAsk().finally(() => {
      this.#resolving = undefined;
    });
    await this.#resolving;
  }

  async #resolveAndAsk(): Promise<void> {
    const { join, resolve, clock } = this.#parts;
    this.#resolvedMs = clock.now();
    const found = await Promise.all(join.map(async (name) => resolve(name).catch(() => [])));
    const known = new Set([...this.#members.values()].map(({ rpcAddr }) => rpcAddr));
    const strangers = [...new Set(found.flat())].filter((address) => !known.has(address));
    const asked = strangers.slice(0, joinAddressesMax);
    await Promise.all(asked.map(async (address) => this.#ask(address)));
    for (const address of [...this.#askedMs.keys()]) {
      if (!known.has(address) && !asked.includes(address)) this.#askedMs.delete(address);
    }
  }

  #ask(rpcAddr: string): Promise<void> {
    const underway = this.#asking.get(rpcAddr);
    if (underway !== undefined) return underway;
    if (this.#isClosed) return Promise.resolve();
    this.#askedMs.set(rpcAddr, this.#parts.clock.now());
    const asked = this.#parts.peers
      .status(rpcAddr)
      .then(
        (status) => this.#hear(rpcAddr, status),
        () => this.#miss(rpcAddr),
      )
      .finally(() => {
        this.#asking.delete(rpcAddr);
        for (const listener of [...this.#listeners]) listener();
      });
    this.#asking.set(rpcAddr, asked);
    return asked;
  }

  #hear(rpcAddr: string, status: ClusterStatus): void {
    if (this.#isClosed) return;
    const { clusterId } = status;
    // A node that is yet to be taken in knows nothing of the cluster.
    if (clusterId === null) {
      this.#miss(rpcAddr);
      return;
    }
    if (this.clusterId !== null && clusterId !== this.clusterId) {
      this.#refuse(rpcAddr, clusterId);
      return;
    }
    if (this.#newest === undefined) {
      this.#parts.logger.info({ address: rpcAddr, clusterId }, "cluster-found");
    }
    if (this.#newest === undefined || !isNewer(this.#newest, status)) this.#adopt(status);
    this.#term = Math.max(this.#term, status.term);
    this.noteEnd(status.endOffset);
    const member = this.#members.get(status.node.id);
    if (member?.rpcAddr !== rpcAddr) {
      this.#missOthersAt(rpcAddr, status.node.id);
      if (member === undefined) return;
    }
    member.status = status;
    this.#answered(member);
    this.#checkStray(member);
  }

  /** Another cluster's node has taken an address: its word counts for nothing here. */
  #refuse(address: string, clusterId: string): void {
    this.#miss(address);
    if (this.#refused.has(address) || this.#refused.size >= joinAddressesMax) return;
    this.#refused.add(address);
    const fields = { address, clusterId, ours: this.clusterId };
    this.#parts.logger.warn(fields, "cluster-refused");
  }

  #adopt(status: ClusterStatus): void {
    this.#newest = status;
    const listed = new Set(status.members.map(({ id }) => id));
    for (const [id, member] of [...this.#members]) {
      if (listed.has(id)) continue;
      this.#members.delete(id);
      abandon(member, "was removed");
      this.#parts.logger.info({ id, name: member.name }, "member-gone");
    }
    for (const { id, name, rpcAddr } of status.members) {
      const old = this.#members.get(id);
      if (old?.name === name && old.rpcAddr === rpcAddr) continue;
      const fresh = {
        status: undefined,
        isAnswering: false,
        strayCount: 0,
        leases: new Set<never>(),
      };
      this.#members.set(id, { ...(old ?? fresh), id, name, rpcAddr });
      this.#parts.logger.info({ id, name, rpcAddr }, "member-found");
    }
  }

  #answered(member: Known): void {
    if (member.isAnswering) return;
    member.isAnswering = true;
    const { id, name, rpcAddr } = member;
    this.#parts.logger.info({ id, name, rpcAddr }, "member-answers");
  }

  /** A member that has lost the leader, while another follows one, would hold its readers back. */
  #checkStray(member: Known): void {
    const isStray = member.status?.leader === null && this.leader !== undefined;
    member.strayCount = isStray ? member.strayCount + 1 : 0;
    if (member.strayCount >= strayCountMax) abandon(member, "has lost the leader");
  }

  #miss(rpcAddr: string): void {
    this.#missOthersAt(rpcAddr, undefined);
  }

  /** Whoever was known at the address does not answer there. */
  #missOthersAt(rpcAddr: string, answeringId: string | undefined): void {
    for (const member of this.#members.values()) {
      if (member.rpcAddr !== rpcAddr || member.id === answeringId || !member.isAnswering) continue;
      member.isAnswering = false;
      abandon(member, "does not answer");
      const { id, name } = member;
      this.#parts.logger.warn({ id, name, rpcAddr }, "member-silent");
    }
  }

  #answering(): Known[] {
    return [...this.#members.values()].filter((member) => member.isAnswering);
  }
}

/** The statuses of members nobody of whom answers: as last heard, and none alive. */
export function withoutContact(status: ClusterStatus): ClusterStatus {
  const members: MemberStatus[] = status.members.map((member) => ({
    ...member,
    role: member.voter ? "follower" : "learner",
    alive: false,
    matchIndex: null,
    lag: null,
    lastContactMs: null,
  }));
  const lost = { leader: null, quorum: false, readOnly: true, source: "local" } as const;
  return { ...status, ...lost, members };
}

function isNewer(a: ClusterStatus, b: ClusterStatus): boolean {
  if (a.term !== b.term) return a.term > b.term;
  return a.commitIndex > b.commitIndex;
}

function isFit({ status, strayCount }: Known): boolean {
  if (status === undefined || status.leader === null || strayCount > 0) return false;
  return status.commitIndex - status.appliedIndex < behindCountMax;
}

function abandon(member: Known, why: string): void {
  for (const lease of [...member.leases]) lease.abort(gone(member, why));
  member.leases.clear();
}

function gone({ name }: RemoteMember, why: string): ProglogError {
  return new ProglogError("unavailable", `Member ${name} ${why}.`, { outcome: null });
}
