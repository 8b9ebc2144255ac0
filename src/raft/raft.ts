/**
 * The core: one node of one Raft group as a pure state machine.
 *
 * `step(event)` returns effects; the same state, event and random numbers give the same effects.
 * There is no I/O, clock or promise inside: time is the `tick` event. The rules live in the
 * section files; here is only who handles what, and what is looked at before and after:
 * the term of a message before anything else (Raft §5.1), the invariants last.
 */
import { assertNever } from "../common/assert.js";
import type { Random } from "../common/random.js";
import { hasCommittedInTerm, maybeCommit } from "./commit.js";
import { handleChange, maybeLeaveOffice } from "./configuration.js";
import type { Effect, Event, Proposal } from "./effects.js";
import {
  checkQuorum,
  handleVoteRequest,
  handleVoteResponse,
  isLeaderFresh,
  noteOwnVoteDurable,
  tickElection,
} from "./election.js";
import { checkState, checkTransition, watermarkOf } from "./invariants.js";
import type { Configuration, Entry, Message, NodeId } from "./message.js";
import {
  handleRead,
  handleReadIndexRequest,
  handleReadIndexResponse,
  maybeConfirmRound,
  maybeStartRound,
  tickForwardedReads,
} from "./read-index.js";
import {
  answerStaleLeader,
  broadcastAppend,
  handleAppendRequest,
  handleAppendResponse,
  handleLoadFailed,
  handleLoaded,
  handleUnreachable,
  notifyCommit,
  tickHeartbeat,
} from "./replication.js";
import { becomeFollower } from "./roles.js";
import { handleSnapshotFetched, handleSnapshotOffer, handleSnapshotResponse } from "./snapshot.js";
import type { InitialState, RaftOptions, Role } from "./state.js";
import { RaftState } from "./state.js";
import { handleTimeoutNow, handleTransfer, maybeFinishTransfer, tickTransfer } from "./transfer.js";

/** How far a follower is, as its leader sees it. */
export interface FollowerStatus {
  readonly id: NodeId;
  readonly matchIndex: number;
  readonly state: "probe" | "replicate" | "snapshot";
  /** Ticks since it was last heard. */
  readonly silentTicks: number;
}

/** A glance at the core, for people and for the host's decisions. */
export interface RaftStatus {
  readonly id: NodeId;
  readonly role: Role;
  readonly term: number;
  readonly vote: NodeId | null;
  readonly leaderId: NodeId | null;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly durableIndex: number;
  readonly lastIndex: number;
  readonly snapshotIndex: number;
  readonly configuration: Configuration;
  readonly configurationIndex: number;
  /** True if this node leads and has committed an entry of its term. */
  readonly isReady: boolean;
  readonly followers: readonly FollowerStatus[];
}

export class Raft {
  readonly #state: RaftState;

  constructor(initial: InitialState, options: RaftOptions, random: Random) {
    this.#state = new RaftState(initial, options, random);
    // A node always starts as a follower, also with its own vote in this term: what it had not
    // synced as a leader is gone, and would be named a second time (rule R-E11).
    this.#state.resetElectionTimer();
    checkState(this.#state);
  }

  /** The entry, if it is still in memory. */
  entry(index: number): Entry | undefined {
    return this.#state.log.entry(index);
  }

  /** Term of a held entry, or of the snapshot's last. */
  termAt(index: number): number | undefined {
    return this.#state.log.termAt(index);
  }

  get role(): Role {
    return this.#state.role;
  }

  get term(): number {
    return this.#state.term;
  }

  get leaderId(): NodeId | null {
    return this.#state.leaderId;
  }

  get commitIndex(): number {
    return this.#state.commitIndex;
  }

  get durableIndex(): number {
    return this.#state.durableIndex;
  }

  status(): RaftStatus {
    const state = this.#state;
    const { id, role, term, vote, leaderId, commitIndex, appliedIndex, durableIndex } = state;
    const { configuration, configurationIndex, log, tickCount } = state;
    return {
      ...{ id, role, term, vote, leaderId, commitIndex, appliedIndex, durableIndex },
      ...{ configuration, configurationIndex },
      lastIndex: log.lastIndex,
      snapshotIndex: log.snapshotIndex,
      isReady: hasCommittedInTerm(state),
      followers: [...state.progress].map(([follower, progress]) => ({
        id: follower,
        matchIndex: progress.matchIndex,
        state: progress.state,
        silentTicks: tickCount - progress.heardTick,
      })),
    };
  }

  /**
   * Handles one event.
   *
   * @returns What the host must do, in order (effects.ts holds the contract).
   * @throws InvariantError if the state became impossible: the host must stop at once.
   */
  step(event: Event): Effect[] {
    const state = this.#state;
    if (state.hasFailed) return [];
    const before = watermarkOf(state);
    const { leaderId } = state;
    this.#handle(event);
    if (state.hasFailed) return [];
    checkTransition(before, state);
    checkState(state);
    const hasChanged =
      state.role !== before.role || state.term !== before.term || state.leaderId !== leaderId;
    if (hasChanged) state.emit({ type: "stateChanged" });
    return state.takeEffects();
  }

  #handle(event: Event): void {
    const state = this.#state;
    switch (event.type) {
      case "tick":
        this.#tick();
        return;
      case "receive":
        this.#receive(event.message);
        return;
      case "propose":
        this.#propose(event.proposals);
        return;
      case "changeConfiguration":
        handleChange(state, event.id, event.change);
        return;
      case "read":
        handleRead(state, event.readId);
        return;
      case "transfer":
        handleTransfer(state, event.id, event.target);
        return;
      case "persisted":
        this.#persisted(event.token);
        return;
      case "applied":
        this.#applied(event.index);
        return;
      case "loaded":
        handleLoaded(state, event.peer, event.entries);
        return;
      case "loadFailed":
        handleLoadFailed(state, event.peer);
        return;
      case "unreachable":
        handleUnreachable(state, event.peer);
        return;
      case "snapshotFetched":
        handleSnapshotFetched(state, event);
        return;
      case "snapshotFailed":
        state.fetchingSnapshot = 0;
        return;
      case "compact":
        state.log.truncatePrefix(Math.min(event.index, state.appliedIndex, state.durableIndex));
        return;
      case "ioFailed":
        state.hasFailed = true;
        return;
      default:
        assertNever(event, "the event");
    }
  }

  #tick(): void {
    const state = this.#state;
    state.tickCount += 1;
    if (state.role !== "leader") {
      tickForwardedReads(state);
      tickElection(state);
      return;
    }
    checkQuorum(state);
    if (state.role !== "leader") return;
    tickTransfer(state);
    tickHeartbeat(state);
  }

  #propose(proposals: readonly Proposal[]): void {
    const state = this.#state;
    const entries: Entry[] = [];
    for (const { id, data } of proposals) {
      if (state.role !== "leader") {
        state.emit({ type: "rejected", id, reason: "not-leader" });
      } else if (state.transfer !== null) {
        state.emit({ type: "rejected", id, reason: "transferring" });
      } else if (
        state.uncommittedBytes > 0 &&
        state.uncommittedBytes + data.length > state.options.uncommittedBytesMax
      ) {
        state.emit({ type: "rejected", id, reason: "overloaded" });
      } else {
        const index = state.log.lastIndex + entries.length + 1;
        entries.push({ index, term: state.term, kind: "command", data });
        state.uncommittedBytes += data.length;
        state.emit({ type: "accepted", id, index, term: state.term });
      }
    }
    if (entries.length === 0) return;
    state.appendEntries(entries);
    broadcastAppend(state);
  }

  /** Durability moves: the leader's own part of a quorum, a candidate's own vote. */
  #persisted(token: number): void {
    const state = this.#state;
    while ((state.pendingPersists[0]?.token ?? Infinity) <= token) {
      const persist = state.pendingPersists.shift();
      if (persist === undefined) break;
      state.durableIndex = Math.max(state.durableIndex, persist.lastIndex);
    }
    state.durableToken = Math.max(state.durableToken, token);
    state.persistedTick = state.tickCount;
    noteOwnVoteDurable(state);
    this.#afterProgress();
  }

  #applied(index: number): void {
    const state = this.#state;
    // A snapshot may have overtaken what the host was applying.
    state.appliedIndex = Math.max(state.appliedIndex, index);
    state.log.evict(Math.min(state.appliedIndex, state.durableIndex), state.options.cacheBytesMax);
  }

  /** What may follow when a replica holds more: a commit, and all that waits for one. */
  #afterProgress(): void {
    const state = this.#state;
    if (state.role !== "leader") return;
    if (maybeCommit(state)) {
      notifyCommit(state);
      maybeLeaveOffice(state);
      maybeStartRound(state);
    }
    maybeFinishTransfer(state);
  }

  #receive(message: Message): void {
    const state = this.#state;
    if (message.to !== state.id) return;
    if (message.term > state.term && !this.#followTerm(message)) return;
    if (message.term < state.term) {
      this.#answerOldTerm(message);
      return;
    }
    switch (message.type) {
      case "voteRequest":
        handleVoteRequest(state, message);
        return;
      case "voteResponse":
        handleVoteResponse(state, message);
        return;
      case "appendRequest":
        handleAppendRequest(state, message);
        return;
      case "appendResponse":
        handleAppendResponse(state, message);
        maybeConfirmRound(state);
        this.#afterProgress();
        return;
      case "snapshotOffer":
        handleSnapshotOffer(state, message);
        return;
      case "snapshotResponse":
        handleSnapshotResponse(state, message);
        broadcastAppend(state);
        maybeConfirmRound(state);
        this.#afterProgress();
        return;
      case "readIndexRequest":
        handleReadIndexRequest(state, message);
        return;
      case "readIndexResponse":
        handleReadIndexResponse(state, message);
        return;
      case "timeoutNow":
        handleTimeoutNow(state, message);
        return;
      default:
        assertNever(message, "the message");
    }
  }

  /**
   * A higher term makes a follower of this node, before the message is handled (Raft §5.1).
   *
   * Not so a poll, nor its grant: they name a term that nobody is in yet. And not a vote request
   * while a leader is fresh (thesis §4.2.3): a removed or cut-off node must not depose it.
   *
   * @returns False if the message is to be dropped.
   */
  #followTerm(message: Message): boolean {
    const state = this.#state;
    switch (message.type) {
      case "voteRequest":
        if (message.preVote) {
          handleVoteRequest(state, message);
          return false;
        }
        if (isLeaderFresh(state) && !message.transfer) return false;
        becomeFollower(state, message.term, null);
        return true;
      case "voteResponse":
        if (message.preVote && message.granted) {
          handleVoteResponse(state, message);
          return false;
        }
        becomeFollower(state, message.term, null);
        return true;
      case "appendRequest":
      case "snapshotOffer":
        becomeFollower(state, message.term, message.from);
        return true;
      default:
        becomeFollower(state, message.term, null);
        return true;
    }
  }

  /** A message of an older term is refused where its sender needs to learn the newer one. */
  #answerOldTerm(message: Message): void {
    const state = this.#state;
    switch (message.type) {
      case "voteRequest":
        state.send(
          {
            type: "voteResponse",
            from: state.id,
            to: message.from,
            term: state.term,
            granted: false,
            preVote: message.preVote,
          },
          state.hardStateToken,
        );
        return;
      case "appendRequest":
      case "snapshotOffer":
        answerStaleLeader(state, message.from);
        return;
      default:
    }
  }
}
