/**
 * The state that all sections of the core work on, and the few primitives they share.
 *
 * Durability: what a step changes (hard state, cut, entries) is gathered and leaves as one
 * `persist` at the step's end, under the token `stepToken`. A message that rests on it names
 * that token.
 *
 * Invariants, checked after every step (invariants.ts):
 *   snapshotIndex <= appliedIndex <= commitIndex <= lastIndex; durableIndex <= lastIndex;
 *   term never falls; one vote a term.
 */
import { assert } from "../common/assert.js";
import type { Random } from "../common/random.js";
import type { Effect, Persist } from "./effects.js";
import type { LogImage } from "./log.js";
import { RaftLog } from "./log.js";
import type { Configuration, Entry, HardState, Message, NodeId } from "./message.js";
import type { InflightLimits, Progress } from "./progress.js";

export type Role = "follower" | "preCandidate" | "candidate" | "leader";

export interface RaftOptions {
  /** Least ticks without a leader before a node campaigns; the timeout is drawn from [n, 2n). */
  readonly electionTicks: number;
  /** Ticks between heartbeats; at most a fifth of `electionTicks`. */
  readonly heartbeatTicks: number;
  /** Largest append, in bytes of entries; one entry may exceed it. */
  readonly appendBytesMax: number;
  /** In flight to one follower. */
  readonly inflight: InflightLimits;
  /** Proposed and not yet committed; beyond it proposals are refused (`overloaded`). */
  readonly uncommittedBytesMax: number;
  /** Entries kept in memory for followers; older ones are read back from disk. */
  readonly cacheBytesMax: number;
  /** A learner further behind than this is not promoted, in entries. */
  readonly promotionLagMax: number;
  /** Reads waiting for a quorum's word; beyond it reads are rejected. */
  readonly readCountMax: number;
}

export const raftDefaults: RaftOptions = Object.freeze({
  electionTicks: 40,
  heartbeatTicks: 4,
  appendBytesMax: 1024 * 1024,
  inflight: Object.freeze({ countMax: 16, bytesMax: 4 * 1024 * 1024 }),
  uncommittedBytesMax: 64 * 1024 * 1024,
  cacheBytesMax: 32 * 1024 * 1024,
  promotionLagMax: 128,
  readCountMax: 16_384,
});

/** What a node starts from: its durable image, or nothing. */
export interface InitialState {
  readonly id: NodeId;
  readonly hardState: HardState;
  readonly log: LogImage;
  /** Configurations of the snapshot and of the log's entries, oldest first. */
  readonly configurations: readonly ConfigurationAt[];
  /** The state machine's: where its checkpoint stands. */
  readonly appliedIndex: number;
}

/** A configuration and the index of the entry (or snapshot) that brought it. */
export interface ConfigurationAt {
  readonly index: number;
  readonly configuration: Configuration;
}

/** A read waiting for its round, or for its round's quorum (thesis §6.4). */
export interface PendingRead {
  readonly readId: number;
  /** null for one of this node's own. */
  readonly from: NodeId | null;
  readonly index: number;
  readonly round: number;
}

/** A persist handed out and not yet durable. */
export interface PendingPersist {
  readonly token: number;
  /** Last index it makes durable; lowered when a later step cuts below it. */
  lastIndex: number;
  readonly tick: number;
}

export interface Transfer {
  readonly id: number;
  readonly target: NodeId;
  readonly startTick: number;
  /** True once TimeoutNow is out. */
  asked: boolean;
}

export const noConfiguration: Configuration = { voters: [], learners: [] };

export class RaftState {
  readonly id: NodeId;
  readonly options: RaftOptions;
  readonly random: Random;
  readonly log: RaftLog;

  term: number;
  vote: NodeId | null;
  role: Role = "follower";
  leaderId: NodeId | null = null;

  commitIndex: number;
  appliedIndex: number;
  /** Highest index synced on this node. */
  durableIndex: number;

  /** All that may still matter: the last committed one, and those after it. */
  readonly configurations: ConfigurationAt[];

  /** Ticks since the start. */
  tickCount = 0;
  /** Tick of the last word from a leader, or of the last campaign. */
  electionTick = 0;
  /** Drawn anew for every wait (Raft §5.2). */
  electionTimeoutTicks = 0;

  /** Answers to this campaign: by node, granted or not. */
  readonly votes = new Map<NodeId, boolean>();
  /** Token under which this candidate's own vote becomes durable. */
  ownVoteToken = 0;
  /** True if this campaign was asked for by a leadership transfer. */
  transferCampaign = false;

  /** Leader only: all other members. */
  readonly progress = new Map<NodeId, Progress>();
  /** Leader only: index of its first entry, the no-op. */
  termStartIndex = 0;
  uncommittedBytes = 0;
  transfer: Transfer | null = null;

  readRound = 0;
  confirmedRound = 0;
  /** In order of their rounds. */
  readonly pendingReads: PendingRead[] = [];
  /** Waiting for a round to start: for the one under way to end, or for an own-term commit. */
  readonly waitingReads: { readonly readId: number; readonly from: NodeId | null }[] = [];
  /** A follower's own reads, asked of the leader: by id, the tick. */
  readonly forwardedReads = new Map<number, number>();

  /** Index of the snapshot being fetched; 0 if none is. */
  fetchingSnapshot = 0;

  nextToken = 1;
  durableToken = 0;
  /** Tick at which something last became durable. */
  persistedTick = 0;
  readonly pendingPersists: PendingPersist[] = [];
  /** Token of the latest persist that holds a hard state. */
  hardStateToken = 0;
  hasFailed = false;

  /** Last term in which a refusal brought the next campaign forward. */
  #shortenedTerm = -1;
  #effects: Effect[] = [];
  #hardStateChanged = false;
  #truncateFrom: number | undefined;
  #newEntries: Entry[] = [];
  #snapshot: Persist["snapshot"];

  constructor(initial: InitialState, options: RaftOptions, random: Random) {
    assert(initial.id !== "", "a node has an id");
    this.id = initial.id;
    this.options = options;
    this.random = random;
    this.log = new RaftLog(initial.log);
    this.term = initial.hardState.term;
    this.vote = initial.hardState.vote;
    this.commitIndex = initial.appliedIndex;
    this.appliedIndex = initial.appliedIndex;
    this.durableIndex = initial.log.lastIndex;
    this.configurations = [...initial.configurations];
    assert(initial.appliedIndex >= initial.log.snapshotIndex, "the checkpoint covers what is gone");
    assert(initial.appliedIndex <= initial.log.lastIndex, "the log reaches the checkpoint");
    assert(this.term >= this.log.lastTerm, "the term is at least the log's last");
  }

  get configuration(): Configuration {
    return this.configurations.at(-1)?.configuration ?? noConfiguration;
  }

  /** Index of the entry that brought the effective configuration. */
  get configurationIndex(): number {
    return this.configurations.at(-1)?.index ?? 0;
  }

  get isVoter(): boolean {
    return isIn(this.configuration.voters, this.id);
  }

  /** Token under which this step's changes will be durable. */
  get stepToken(): number {
    return this.nextToken;
  }

  /** Sends a message once `after` is durable. */
  send(message: Message, after = 0): void {
    assert(message.to !== this.id, "no node sends to itself");
    this.#effects.push({ type: "send", message, after: after <= this.durableToken ? 0 : after });
  }

  emit(effect: Effect): void {
    this.#effects.push(effect);
  }

  /** Sets term and vote; durable under this step's token. */
  setHardState(term: number, vote: NodeId | null): void {
    assert(term >= this.term, "the term never falls");
    assert(
      term > this.term || this.vote === null || this.vote === vote,
      "a vote is not changed within its term",
    );
    if (term === this.term && vote === this.vote) return;
    this.term = term;
    this.vote = vote;
    this.#hardStateChanged = true;
    this.hardStateToken = this.stepToken;
  }

  /** Appends entries that follow the last; durable under this step's token. */
  appendEntries(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    this.log.append(entries);
    this.#newEntries.push(...entries);
    for (const entry of entries) {
      if (entry.kind !== "configuration") continue;
      assert(entry.configuration !== undefined, "a configuration entry has a configuration");
      this.configurations.push({ index: entry.index, configuration: entry.configuration });
      this.emitConfigured();
    }
  }

  emitConfigured(): void {
    const { configuration, configurationIndex } = this;
    this.emit({ type: "configured", configuration, index: configurationIndex });
  }

  /** Cuts a conflicting suffix, with the configurations in it (thesis §4.1). */
  truncateSuffix(from: number): void {
    assert(from > this.commitIndex, "a committed entry is never cut");
    assert(this.#newEntries.length === 0, "a step cuts before it appends");
    this.log.truncateSuffix(from);
    this.#truncateFrom = from;
    this.#forgetDurable(from);
    const before = this.configurationIndex;
    while (this.configurationIndex >= from && this.configurations.length > 0) {
      this.configurations.pop();
    }
    if (this.configurationIndex !== before) this.emitConfigured();
  }

  /**
   * An index that was cut is not durable any more, and the persists under way that wrote it do
   * not make its successor durable: they are matched by token, not by index (the ABA case).
   */
  #forgetDurable(from: number): void {
    this.durableIndex = Math.min(this.durableIndex, from - 1);
    for (const pending of this.pendingPersists) {
      pending.lastIndex = Math.min(pending.lastIndex, from - 1);
    }
  }

  /** Puts a fetched snapshot in the place of the log up to its index (Raft §7). */
  installSnapshot(index: number, term: number, configuration: Configuration): void {
    const keepsSuffix = this.log.termAt(index) === term;
    if (keepsSuffix) {
      this.log.truncatePrefix(index);
      while ((this.configurations[1]?.index ?? index + 1) <= index) this.configurations.shift();
      if ((this.configurations[0]?.index ?? index + 1) <= index) this.configurations.shift();
      this.configurations.unshift({ index, configuration });
    } else {
      this.log.reset(index, term);
      this.#forgetDurable(1);
      this.configurations.length = 0;
      this.configurations.push({ index, configuration });
    }
    this.#snapshot = { index, term, keepsSuffix };
    this.commitIndex = index;
    this.appliedIndex = index;
    this.emitConfigured();
  }

  /** Token that makes everything up to an index durable; 0 if it is already. */
  tokenFor(index: number): number {
    if (index <= this.durableIndex) return 0;
    const pending = this.pendingPersists.find((persist) => persist.lastIndex >= index);
    return pending?.token ?? this.stepToken;
  }

  /** Draws the next election timeout: uniform in [electionTicks, 2 × electionTicks). */
  resetElectionTimer(): void {
    const { electionTicks } = this.options;
    this.electionTick = this.tickCount;
    this.electionTimeoutTicks = electionTicks + Math.floor(this.random.next() * electionTicks);
  }

  /**
   * A split vote is tried again soon: uniform in [¼, ¾) of electionTicks, if that is sooner. But
   * the next try has its whole time: a refusal may come of a longer log, from one voter, while the
   * votes that suffice are still on their way to slow disks.
   */
  shortenElectionTimer(): void {
    if (this.term <= this.#shortenedTerm + 1) return;
    this.#shortenedTerm = this.term;
    const { electionTicks } = this.options;
    const soon = Math.ceil(electionTicks / 4 + (this.random.next() * electionTicks) / 2);
    const elapsed = this.tickCount - this.electionTick;
    this.electionTimeoutTicks = Math.min(this.electionTimeoutTicks, elapsed + soon);
  }

  /** Ends a step: its changes as one persist, ahead of all messages. */
  takeEffects(): Effect[] {
    const effects = this.#effects;
    this.#effects = [];
    const persist = this.#takePersist();
    if (persist !== undefined) effects.unshift(persist);
    return effects;
  }

  #takePersist(): Persist | undefined {
    const entries = this.#newEntries;
    const truncateFrom = this.#truncateFrom;
    const snapshot = this.#snapshot;
    const hasHardState = this.#hardStateChanged;
    if (entries.length === 0 && truncateFrom === undefined && !hasHardState && !snapshot) {
      return undefined;
    }
    this.#newEntries = [];
    this.#truncateFrom = undefined;
    this.#snapshot = undefined;
    this.#hardStateChanged = false;
    const token = this.nextToken;
    this.nextToken += 1;
    // A snapshot is durable when the persist that takes it is (rule R-P1).
    const lastIndex = entries.at(-1)?.index ?? snapshot?.index ?? 0;
    this.pendingPersists.push({ token, lastIndex, tick: this.tickCount });
    return {
      type: "persist",
      token,
      entries,
      ...(hasHardState ? { hardState: { term: this.term, vote: this.vote } } : {}),
      ...(truncateFrom === undefined ? {} : { truncateFrom }),
      ...(snapshot === undefined ? {} : { snapshot }),
    };
  }
}

/** True if a member with this id is in the list. */
export function isIn(members: readonly { readonly id: NodeId }[], id: NodeId): boolean {
  return members.some((member) => member.id === id);
}
