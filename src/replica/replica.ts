/**
 * A replica: one node's copy of the log and the loop that runs it.
 *
 * Events go into the pure core one at a time; its effects are carried out in order before the next
 * event is looked at. All state changes happen inside `#dispatch`: what arrives while it runs
 * waits its turn. Nothing is sent before what it promises is durable (outbox.ts).
 *
 * It stops for good (`failed`) on a failed disk or a broken invariant: it then sends nothing,
 * acknowledges nothing, and what was pending is of unknown outcome.
 */
import { ProglogError } from "../common/errors.js";
import type { Clock, Timer } from "../common/clock.js";
import type { Random } from "../common/random.js";
import type { Append } from "../machine/command.js";
import type { Producer, Settlement } from "../machine/producers.js";
import type { Applied, Input, StateMachine } from "../machine/state-machine.js";
import type {
  ConfigurationChange,
  Effect,
  Entry,
  Event,
  Member,
  Message,
  NodeId,
  Persist,
  Raft,
  RaftStatus,
} from "../raft/index.js";
import { hasQuorum } from "../raft/index.js";
import type { CheckpointStore } from "../storage/checkpoint.js";
import type { CommitLog } from "../storage/commit-log.js";
import type { Disk } from "../storage/disk.js";
import type { StoredHardState } from "../storage/raft-log-recovery.js";
import type { RaftLog } from "../storage/raft-log.js";
import { AddressBook } from "./address-book.js";
import { Changes } from "./changes.js";
import { Checkpointer } from "./checkpointer.js";
import { decodeEntry, frameOf, numberCommand, parseConfiguration } from "./entry-frame.js";
import { DiskWatch } from "./disk-watch.js";
import { CopyWaits, memberDisksOf } from "./copy-waits.js";
import { DurableWaits } from "./durable-waits.js";
import { Outbox } from "./outbox.js";
import type { AppendDone } from "./proposals.js";
import { Proposals, refusalError } from "./proposals.js";
import { Reads, cannotConfirm } from "./reads.js";
import type { SegmentAnswer, SegmentRequest } from "./segment-exchange.js";
import { answerSegment } from "./segment-exchange.js";
import type { SnapshotPart, SnapshotRequest } from "./snapshot-parts.js";
import { sendSnapshot } from "./snapshot-sending.js";
import type { Transport } from "./transport.js";

/** What the replica tells of itself in logs: an event name and fields. */
export interface ReplicaLogger {
  debug(fields: object, event: string): void;
  info(fields: object, event: string): void;
  warn(fields: object, event: string): void;
  error(fields: object, event: string): void;
}

export interface ReplicaOptions {
  /** Length of a tick: the core counts these. */
  readonly tickMs: number;
  /** Ticks of the least election timeout, as the core has them. */
  readonly electionTicks: number;
  /** Bytes of records taken in and not answered; beyond it `overloaded`. */
  readonly pendingBytesMax: number;
  readonly entryBytesMax: number;
  /** Appends that wait for more copies than a majority. */
  readonly copyWaitsMax: number;
  /** Bytes applied between checkpoints. */
  readonly checkpointBytes: number;
  /** Bytes of Raft log below the checkpoint that are kept for slow followers. */
  readonly keepBytes: number;
  /** Below so many free bytes writes are refused. */
  readonly diskFreeBytesMin: number;
  /** How often the free bytes are looked at. */
  readonly diskCheckMs: number;
}

export const replicaDefaults: ReplicaOptions = Object.freeze({
  tickMs: 15,
  electionTicks: 40,
  pendingBytesMax: 64 * 1024 * 1024,
  entryBytesMax: 1024 * 1024,
  checkpointBytes: 64 * 1024 * 1024,
  keepBytes: 64 * 1024 * 1024,
  diskFreeBytesMin: 64 * 1024 * 1024,
  copyWaitsMax: 1024,
  diskCheckMs: 1000,
});

/** Fetches what a follower lacks; resolves when it lies durable and ready to be taken. */
export interface SnapshotPort {
  /** @returns undefined if it could not be had now. */
  fetch(from: NodeId, indexMin: number): Promise<FetchedSnapshot | undefined>;
}

/** A snapshot on this node's disk, not yet in force. */
export interface FetchedSnapshot {
  readonly index: number;
  readonly term: number;
  readonly configuration: string;
  /** Puts it in force: commit log and checkpoint are the snapshot's when it resolves. */
  install(): Promise<StateMachine>;
}

/** All that a replica is made of; open-replica.ts puts it together. */
export interface ReplicaParts {
  readonly raft: Raft;
  readonly raftLog: RaftLog;
  readonly commitLog: CommitLog;
  readonly machine: StateMachine;
  readonly checkpoints: CheckpointStore;
  readonly transport: Transport;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: ReplicaLogger;
  readonly options: ReplicaOptions;
}

/** Why nobody can be asked: for the choice between `no-leader` and `no-quorum`. */
export interface Contact {
  readonly leaderId: NodeId | null;
  /** True if enough voters were heard of late to elect a leader. */
  readonly hasQuorum: boolean;
}

const readBytesMax = 1024 * 1024;

export class Replica {
  /** Resolves if the node must stop: the disk has failed, or an invariant is broken. */
  readonly failed: Promise<Error>;
  /** Waits for more durable copies of what was applied than its commit needed. */
  readonly copies: CopyWaits;
  readonly #parts: ReplicaParts;
  readonly #raft: Raft;
  #machine: StateMachine;
  readonly #outbox: Outbox;
  readonly #proposals: Proposals;
  readonly #reads: Reads;
  readonly #checkpointer: Checkpointer;
  readonly #changes: Changes;
  readonly #durable: DurableWaits;
  readonly #diskWatch: DiskWatch;
  readonly #listeners = new Set<() => void>();
  readonly #appliedListeners = new Set<() => void>();
  #events: Event[] = [];
  #isStepping = false;
  #applyTo = 0;
  #isApplying = false;
  #durableToken = 0;
  #isPersistedDue = false;
  #timer: Timer | undefined;
  #isStopped = false;
  #hadLeadership = false;
  /** While a snapshot is put in force nothing is applied, and later persists wait. */
  #installing: Promise<void> | undefined;
  #reportFailure: (error: Error) => void = () => undefined;

  constructor(parts: ReplicaParts) {
    this.#parts = parts;
    this.#raft = parts.raft;
    this.#machine = parts.machine;
    this.#outbox = new Outbox((message) => {
      this.#transmit(message);
    });
    const { pendingBytesMax, entryBytesMax } = parts.options;
    this.#proposals = new Proposals(parts.clock, { pendingBytesMax, entryBytesMax });
    this.copies = new CopyWaits(parts.clock, parts.options.copyWaitsMax, () =>
      memberDisksOf(this.#raft.status()),
    );
    this.#reads = new Reads(parts.random);
    this.#changes = new Changes(parts.clock);
    this.#durable = new DurableWaits(() => this.#raft.durableIndex);
    this.#diskWatch = new DiskWatch({
      ...parts,
      intervalMs: parts.options.diskCheckMs,
      freeBytesMin: parts.options.diskFreeBytesMin,
      onFailed: (error) => {
        this.#fail(error);
      },
    });
    this.#checkpointer = new Checkpointer({
      ...parts,
      capture: () => this.#machine.capture(),
      whenDurable: async (index) => this.#durable.until(index),
      compact: (index) => {
        this.#dispatch({ type: "compact", index });
      },
    });
    this.#applyTo = this.#machine.appliedIndex;
    this.failed = new Promise((resolve) => {
      this.#reportFailure = resolve;
    });
  }

  #snapshots: SnapshotPort | undefined;

  /** Where the members are; fed by handshakes. */
  readonly addresses = new AddressBook((id) => this.#isHeard(id));

  /** A member was heard at an address: dial it there from now on. */
  hearAddress(member: Member): void {
    if (this.addresses.hear(member)) this.#followConfiguration();
  }

  /** The parts of a snapshot for a peer, from the newest checkpoint. @throws ProglogError */
  async *snapshot(request: SnapshotRequest): AsyncGenerator<SnapshotPart, void, undefined> {
    const checkpoint = await this.#checkpointer.atLeast(request.indexMin);
    yield* sendSnapshot(this.#parts.commitLog, checkpoint, request);
  }

  /** What this node holds of a sealed segment: for a peer. @throws DamageError, ProglogError */
  async segment(request: SegmentRequest): Promise<SegmentAnswer> {
    return answerSegment(this.#parts.commitLog, request);
  }

  /** Starts ticking and listening. */
  start(snapshots?: SnapshotPort): void {
    const { transport, clock, options } = this.#parts;
    this.#snapshots = snapshots;
    transport.onMessage((message) => {
      this.#dispatch({ type: "receive", message });
    });
    transport.onUnreachable((peer) => {
      this.#dispatch({ type: "unreachable", peer });
    });
    this.#followConfiguration();
    const tick = (): void => {
      if (this.#isStopped) return;
      this.#timer = clock.setTimer(options.tickMs, tick);
      this.#dispatch({ type: "tick" });
      this.#outbox.tick();
      this.#proposals.expire();
      this.#changes.expire();
      this.copies.expire();
      if (this.addresses.isOutdated) this.#followConfiguration();
    };
    this.#timer = clock.setTimer(options.tickMs, tick);
    this.#diskWatch.start();
  }

  get commitLog(): CommitLog {
    return this.#parts.commitLog;
  }

  get appliedIndex(): number {
    return this.#machine.appliedIndex;
  }

  get term(): number {
    return this.#raft.term;
  }

  /** Term of an entry that is held, or of the last one before those; undefined otherwise. */
  termAt(index: number): number | undefined {
    return this.#raft.termAt(index);
  }

  get isLeader(): boolean {
    return this.#raft.role === "leader";
  }

  /** The cluster's id as the log says; empty before the founder's settings are applied. */
  get clusterId(): string {
    return this.#machine.clusterId;
  }

  /** What became of an append with a producer, as of what is applied here. */
  settlementOf(producer: Producer): Settlement {
    return this.#machine.settlementOf(producer);
  }

  /** Bytes of the Raft log's files. */
  get raftLogBytes(): number {
    return this.#parts.raftLog.bytes;
  }

  /** Bytes of appends taken in and not answered. */
  get pendingAppendBytes(): number {
    return this.#proposals.pendingBytes;
  }

  get isDiskLow(): boolean {
    const { commitLog, raftLog } = this.#parts;
    return this.#diskWatch.isLow || commitLog.isFull || raftLog.isFull;
  }

  status(): RaftStatus {
    return this.#raft.status();
  }

  contact(): Contact {
    const { leaderId } = this.#raft;
    if (leaderId !== null) return { leaderId, hasQuorum: true };
    const { id, configuration } = this.#raft.status();
    const isHeard = (voter: NodeId): boolean => voter === id || this.#isHeard(voter);
    return { leaderId, hasQuorum: hasQuorum(configuration.voters, isHeard) };
  }

  /** True within twice the least election timeout: every live voter polls, or answers, in that. */
  #isHeard(id: NodeId): boolean {
    const { clock, transport, options } = this.#parts;
    const since = clock.now() - 2 * options.electionTicks * options.tickMs;
    return (transport.lastContact(id) ?? -Infinity) >= since;
  }

  /** Calls back when role, term, leader or members change. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls back when records were applied, once for all that were applied together. */
  onApplied(listener: () => void): () => void {
    this.#appliedListeners.add(listener);
    return () => this.#appliedListeners.delete(listener);
  }

  /**
   * Appends records, if this node leads.
   *
   * What comes in one turn of the event loop becomes one entry.
   *
   * @param done Told exactly once; perhaps before this returns, if it is refused.
   * @param onDurable Told at most once, and before `done`, when this node's own disk holds it.
   */
  propose(append: Append, timeoutMs: number, done: AppendDone, onDurable?: () => void): void {
    if (this.#isStopped) {
      done(new ProglogError("unavailable", "The node is stopping; the record was not applied."));
    } else if (!this.isLeader) {
      done(refusalError("not-leader"));
    } else if (this.isDiskLow) {
      done(new ProglogError("disk-full", "The leader's disk is full; make room, then retry."));
    } else if (this.#proposals.add(append, timeoutMs, done, onDurable)) {
      this.#parts.clock.defer(() => {
        this.#proposeTaken();
      });
    }
  }

  /** Proposes all that came in in one turn. */
  #proposeTaken(): void {
    try {
      const proposals = this.#proposals.take();
      if (proposals.length > 0) this.#dispatch({ type: "propose", proposals });
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  /**
   * Resolves when this node holds every record that was acknowledged before the call.
   *
   * @throws ProglogError cannot-confirm
   */
  async confirm(): Promise<void> {
    if (this.#isStopped) throw cannotConfirm();
    await this.#reads.wait(() => {
      this.#parts.clock.defer(() => {
        const readId = this.#reads.take();
        if (readId !== undefined) this.#dispatch({ type: "read", readId });
      });
    });
  }

  /** Changes the members; resolves when the change is committed. @throws ProglogError */
  async changeConfiguration(change: ConfigurationChange): Promise<void> {
    await this.#request((id) => ({ type: "changeConfiguration", id, change }));
  }

  /** Hands leadership over; resolves when another node leads. @throws ProglogError */
  async transfer(target?: NodeId): Promise<void> {
    await this.#request((id) => ({
      type: "transfer",
      id,
      ...(target === undefined ? {} : { target }),
    }));
  }

  async #request(event: (id: number) => Event): Promise<void> {
    if (this.#isStopped) throw new ProglogError("unavailable", "The node is stopping.");
    await new Promise<void>((resolve, reject) => {
      const id = this.#changes.add((result) => {
        if (result === "done") resolve();
        else reject(result);
      });
      this.#dispatch(event(id));
    });
  }

  #dispatch(event: Event): void {
    this.#events.push(event);
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      for (let at = 0; at < this.#events.length; at += 1) {
        const next = this.#events[at];
        if (next === undefined || this.#isStopped) continue;
        for (const effect of this.#raft.step(next)) this.#carryOut(effect);
        if (next.type === "receive" || next.type === "persisted") this.copies.wake();
      }
    } catch (error) {
      this.#fail(error as Error);
    } finally {
      this.#events = [];
      this.#isStepping = false;
    }
  }

  #carryOut(effect: Effect): void {
    switch (effect.type) {
      case "persist":
        this.#persist(effect);
        return;
      case "send":
        this.#outbox.put(effect.message, effect.after);
        return;
      case "load":
        void this.#load(effect.peer, effect.from, effect.bytesMax);
        return;
      case "apply":
        this.#applyTo = effect.to;
        this.#apply();
        return;
      case "readReady":
        this.#reads.ready(effect.readId, effect.index, this.appliedIndex);
        return;
      case "readRejected":
        this.#reads.rejected(effect.readId);
        return;
      case "accepted":
        if (!this.#proposals.accepted(effect.id, effect.index, effect.term)) {
          this.#changes.accepted(effect.id, effect.index, effect.term);
        }
        return;
      case "rejected":
        if (!this.#proposals.rejected(effect.id, effect.reason)) {
          this.#changes.finish(effect.id, refusalError(effect.reason));
        }
        return;
      case "transferred":
        this.#changes.finish(effect.id, "done");
        return;
      case "fetchSnapshot":
        this.#fetchSnapshot(effect.from, effect.index);
        return;
      case "configured":
        this.#followConfiguration();
        return;
      case "stateChanged":
        this.#stateChanged();
        return;
    }
  }

  #persist(persist: Persist): void {
    const { hardState, truncateFrom, entries, token, snapshot } = persist;
    for (const entry of entries) numberCommand(entry);
    const append = {
      frames: entries.map((entry) => ({
        index: entry.index,
        term: entry.term,
        frame: frameOf(entry),
      })),
      ...(hardState === undefined
        ? {}
        : { hardState: { term: hardState.term, vote: hardState.vote ?? "" } }),
      ...(truncateFrom === undefined ? {} : { truncateFrom }),
    };
    if (snapshot === undefined && this.#installing === undefined) {
      this.#parts.raftLog.append(append, () => {
        this.#persisted(token);
      });
      return;
    }
    this.#persistInOrder(append, persist);
  }

  /** A snapshot takes more than one write: later persists wait until it is in force. */
  #persistInOrder(append: Parameters<RaftLog["append"]>[0], persist: Persist): void {
    const before = this.#installing ?? Promise.resolve();
    // As of this token: when its turn comes, newer ones may already wait behind it.
    const { term, vote } = this.#raft.status();
    const hardState = { term, vote: vote ?? "" };
    const install = before.then(async () => {
      if (persist.snapshot !== undefined) await this.#installSnapshot(persist.snapshot, hardState);
      else await this.#appendNow(append);
      this.#persisted(persist.token);
    });
    this.#installing = install;
    install.then(
      () => {
        if (this.#installing !== install) return;
        this.#installing = undefined;
        this.#apply();
      },
      (error: unknown) => {
        this.#fail(error as Error);
      },
    );
  }

  async #appendNow(append: Parameters<RaftLog["append"]>[0]): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#parts.raftLog.append(append, resolve);
    });
  }

  /** The hard state first, then commit log and checkpoint, then the Raft log lets go (R-S3). */
  async #installSnapshot(
    snapshot: NonNullable<Persist["snapshot"]>,
    hardState: StoredHardState,
  ): Promise<void> {
    const fetched = this.#fetched;
    this.#fetched = undefined;
    if (fetched?.index !== snapshot.index) {
      throw new Error("the snapshot that the core takes is not the one that was fetched");
    }
    // Through the log's queue in any case: what was persisted before must be durable before this
    // token is, and the checkpoint must not name a term that the hard state does not.
    await this.#appendNow({ hardState, frames: [] });
    // What a checkpoint waits for was persisted before, so it is durable now. The core, which holds
    // the snapshot's log already, says so only once this is over: waiting for it would never end.
    this.#durable.setAllDurable(true);
    await this.#checkpointer.pause();
    this.#durable.setAllDurable(false);
    this.#machine = await fetched.install();
    this.#checkpointer.resume();
    const truncateFrom = snapshot.keepsSuffix ? undefined : 1;
    if (truncateFrom !== undefined) await this.#appendNow({ truncateFrom, frames: [] });
    this.#applyTo = Math.max(this.#applyTo, snapshot.index);
    this.#proposals.overtaken(snapshot.index);
    this.#changes.overtaken(snapshot.index);
    this.#afterApply();
  }

  #fetched: FetchedSnapshot | undefined;

  /** The transfer under way; the leader offers again while it runs, and once it is over. */
  #fetching: Promise<void> | undefined;

  #fetchSnapshot(from: NodeId, index: number): void {
    // A transfer writes where the one before it left its files: not while these are put in force.
    if (this.#installing !== undefined) {
      this.#dispatch({ type: "snapshotFailed" });
      return;
    }
    this.#fetching ??= this.#fetch(from, index).finally(() => {
      this.#fetching = undefined;
    });
  }

  async #fetch(from: NodeId, index: number): Promise<void> {
    try {
      const fetched = await this.#snapshots?.fetch(from, index);
      const configuration = parseConfiguration(fetched?.configuration ?? "");
      if (fetched !== undefined && configuration !== undefined) {
        this.#fetched = fetched;
        const { index: at, term } = fetched;
        this.#dispatch({ type: "snapshotFetched", index: at, term, configuration });
        return;
      }
    } catch (error) {
      this.#parts.logger.warn({ from, error: (error as Error).message }, "snapshot-fetch-failed");
    }
    this.#dispatch({ type: "snapshotFailed" });
  }

  /** Many appends share a sync: the core hears of them once. */
  #persisted(token: number): void {
    this.#durableToken = Math.max(this.#durableToken, token);
    if (this.#isPersistedDue) return;
    this.#isPersistedDue = true;
    queueMicrotask(() => {
      this.#isPersistedDue = false;
      const event = { type: "persisted", token: this.#durableToken } as const;
      if (this.#isStopped) {
        // Nothing leaves any more, but the last checkpoint may wait for this.
        this.#raft.step(event);
      } else {
        this.#outbox.release(this.#durableToken);
        this.#dispatch(event);
        if (this.isLeader) this.#proposals.durable(this.#raft.durableIndex);
      }
      this.#durable.wake();
    });
  }

  #transmit(message: Message): void {
    if (this.#isStopped || this.#parts.transport.send(message)) return;
    // A dropped append leaves a gap: the core is to find out anew where the logs meet.
    if (message.type !== "appendRequest" || message.entries.length === 0) return;
    const peer = message.to;
    this.#parts.clock.defer(() => {
      this.#dispatch({ type: "unreachable", peer });
    });
  }

  /** Reads entries back for a slow peer. */
  async #load(peer: NodeId, from: number, bytesMax: number): Promise<void> {
    let entries: Entry[];
    try {
      entries = await this.#readEntries(from, bytesMax);
    } catch (error) {
      this.#parts.logger.error({ from, error: (error as Error).message }, "raft-log-damaged");
      this.#dispatch({ type: "loadFailed", peer });
      return;
    }
    this.#dispatch({ type: "loaded", peer, entries });
  }

  async #readEntries(from: number, bytesMax: number): Promise<Entry[]> {
    const frames = await this.#parts.raftLog.read(from, bytesMax);
    const entries: Entry[] = [];
    for (const frame of frames) {
      const decoded = decodeEntry(frame, 0);
      if (decoded === undefined) break;
      entries.push(decoded.entry);
    }
    return entries;
  }

  /** Applies what is committed: from memory at once, else from disk, a stretch at a time. */
  #apply(): void {
    try {
      this.#applyCommitted();
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #applyCommitted(): void {
    if (this.#isApplying || this.#isStopped || this.#installing !== undefined) return;
    const from = this.#machine.appliedIndex;
    while (this.#machine.appliedIndex < this.#applyTo) {
      if (this.#parts.commitLog.isBehind) {
        this.#applyLater();
        break;
      }
      const entry = this.#raft.entry(this.#machine.appliedIndex + 1);
      if (entry === undefined) {
        void this.#applyFromDisk();
        break;
      }
      this.#applyEntry(entry);
    }
    if (this.#machine.appliedIndex > from) this.#afterApply();
  }

  #behindTimer: Timer | undefined;

  /** The commit log's file is behind: goes on when it has caught up a little. */
  #applyLater(): void {
    this.#behindTimer ??= this.#parts.clock.setTimer(1, () => {
      this.#behindTimer = undefined;
      this.#apply();
    });
  }

  async #applyFromDisk(): Promise<void> {
    this.#isApplying = true;
    const machine = this.#machine;
    try {
      const entries = await this.#readEntries(machine.appliedIndex + 1, readBytesMax);
      // A snapshot may have taken the place of what was being read.
      const isCurrent = this.#installing === undefined && this.#machine === machine;
      if (isCurrent && !this.#isStopped) this.#applyRead(entries);
    } catch (error) {
      if (this.#installing === undefined && this.#machine === machine) this.#fail(error as Error);
    } finally {
      this.#isApplying = false;
    }
    this.#apply();
  }

  #applyRead(entries: readonly Entry[]): void {
    if (entries.length === 0) throw new Error("a committed entry is not held any more");
    for (const entry of entries) {
      const isNext = entry.index === this.#machine.appliedIndex + 1;
      if (isNext && entry.index <= this.#applyTo) this.#applyEntry(entry);
    }
    this.#afterApply();
  }

  #applyEntry(entry: Entry): void {
    const applied: Applied = this.#machine.apply(inputOf(entry));
    this.#proposals.applied(entry.index, entry.term, applied);
    this.#changes.applied(entry.index, entry.term);
    this.#checkpointer.applied(entry.data.length);
  }

  #afterApply(): void {
    const index = this.#machine.appliedIndex;
    this.#dispatch({ type: "applied", index });
    this.#reads.applied(index);
    for (const listener of this.#appliedListeners) listener();
  }

  #followConfiguration(): void {
    const { id, configuration } = this.#raft.status();
    const members = [...configuration.voters, ...configuration.learners];
    const peers = this.addresses.peers(members);
    this.#parts.transport.setPeers(peers.filter((member) => member.id !== id));
    for (const listener of this.#listeners) listener();
  }

  #stateChanged(): void {
    const { role, term, leaderId } = this.#raft;
    this.#parts.logger.info({ role, term, leaderId }, "raft-state");
    if (this.#hadLeadership && role !== "leader") {
      const { electionTicks, tickMs } = this.#parts.options;
      this.#proposals.leadershipLost(electionTicks * tickMs);
      this.copies.close();
      this.#changes.leadershipLost(electionTicks * tickMs);
    }
    this.#hadLeadership = role === "leader";
    for (const listener of this.#listeners) listener();
  }

  #fail(error: Error): void {
    // Told also while the node stops: what waits for the disk then must not wait for ever.
    this.#reportFailure(error);
    if (this.#isStopped) return;
    this.#parts.logger.error({ error: error.message, stack: error.stack }, "replica-failed");
    this.#raft.step({ type: "ioFailed" });
    this.#halt();
  }

  /** The disk room calls this when a write or a sync has failed: final (ADR-0004). */
  ioFailed(error: Error): void {
    this.#fail(error);
  }

  #halt(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#diskWatch.stop();
    this.#behindTimer?.cancel();
    this.#outbox.clear();
    this.#proposals.close();
    this.copies.close();
    this.#reads.close();
    this.#changes.close();
  }

  /** Stops: a last checkpoint, then both logs are closed. The transport is the caller's. */
  async close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  #closed: Promise<void> | undefined;

  async #close(): Promise<void> {
    const hasFailed = this.#isStopped;
    this.#halt();
    await this.#fetching;
    // After a failure the Raft log answers nothing, and an install that waits for it never ends.
    const { raftLog } = this.#parts;
    if (!hasFailed && !raftLog.isFull) {
      await Promise.race([this.#installing?.catch(() => undefined), this.failed]);
    }
    await raftLog.close();
    await new Promise<void>((resolve) => {
      this.#parts.clock.defer(resolve);
    });
    this.#durable.close();
    if (!hasFailed) await this.#checkpointer.finish();
    await this.#parts.commitLog.close();
    await this.#parts.checkpoints.close();
  }
}

function inputOf(entry: Entry): Input {
  const { index, term } = entry;
  switch (entry.kind) {
    case "noop":
      return { index, term, kind: "noop" };
    case "configuration": {
      const configuration = JSON.stringify(entry.configuration);
      return { index, term, kind: "configuration", configuration };
    }
    case "command":
      return { index, term, kind: "command", frame: entry.data };
  }
}
