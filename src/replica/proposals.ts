/**
 * Appends on their way: gathered into entries, followed until they are applied, and answered once.
 *
 * Every append ends in exactly one answer, and every answer says what happened: applied at an
 * offset; not applied, because it was refused before it reached a log, or another entry took its
 * place, or its condition did not hold; or unknown, because its time ran out, or leadership was
 * lost, after it was in a log.
 */
import { present } from "../common/assert.js";
import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { Append } from "../machine/command.js";
import { conditionBytesMax, conditionBytesOf, encodeAppends } from "../machine/command.js";
import type { Applied, Dropped } from "../machine/state-machine.js";
import type { Proposal, Refusal } from "../raft/index.js";

/** Where an append's records went. */
export interface Appended {
  readonly offset: number;
  readonly count: number;
  readonly timestampMs: number;
  /** True if it was in the log before: this is where. */
  readonly isDuplicate?: true;
}

/** Told once what became of an append. */
export type AppendDone = (result: Appended | ProglogError) => void;

interface Pending {
  readonly append: Append;
  readonly done: AppendDone;
  /** Told when this node's disk has it, if that comes before the end. */
  readonly onDurable: (() => void) | undefined;
  deadline: number;
  /** Ordinal of its first record in its entry. */
  firstRecord: number;
  isDone: boolean;
}

/** The appends of one entry. */
interface Group {
  readonly pending: readonly Pending[];
  /** Set once the entry has its place. */
  index: number;
  term: number;
}

export interface ProposalLimits {
  /** Bytes of records taken in and not answered. */
  readonly pendingBytesMax: number;
  /** Bytes of records in one entry; a single append may exceed it. */
  readonly entryBytesMax: number;
}

/** What an append costs in memory beside its records, roughly: many small ones are bounded too. */
const overheadBytes = 256;

export class Proposals {
  readonly #clock: Clock;
  readonly #limits: ProposalLimits;
  #waiting: Pending[] = [];
  #pendingBytes = 0;
  /** No append's time runs out before this. */
  #nextDeadline = Infinity;
  #nextId = 1;
  /** Handed to the core, not yet given a place. */
  readonly #proposed = new Map<number, Group>();
  /** In the log: by index. */
  readonly #placed = new Map<number, Group>();
  /** Of those, the ones with an append that is told when it is durable here; by index, rising. */
  #untold: Group[] = [];

  constructor(clock: Clock, limits: ProposalLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Appends taken in and not answered. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0 && this.#proposed.size === 0 && this.#placed.size === 0;
  }

  /**
   * Takes an append in, or refuses it at once (`overloaded`).
   *
   * @param onDurable Told at most once, before `done`, when this node's own disk holds the append.
   * @returns True if it is the first since the last `take`: the caller then arranges the next.
   */
  add(append: Append, timeoutMs: number, done: AppendDone, onDurable?: () => void): boolean {
    const bytes = append.records.length + overheadBytes;
    if (this.#pendingBytes > 0 && this.#pendingBytes + bytes > this.#limits.pendingBytesMax) {
      const limit = String(this.#limits.pendingBytesMax);
      done(new ProglogError("overloaded", `More than ${limit} bytes wait to be committed; retry.`));
      return false;
    }
    this.#pendingBytes += bytes;
    const deadline = this.#clock.now() + timeoutMs;
    this.#nextDeadline = Math.min(this.#nextDeadline, deadline);
    const pending = { append, done, onDurable, deadline, firstRecord: 0, isDone: false };
    this.#waiting.push(pending);
    return this.#waiting.length === 1;
  }

  /** Makes entries of all that has come in: what arrived together is one entry. */
  take(): Proposal[] {
    const waiting = this.#waiting.filter((pending) => !pending.isDone);
    this.#waiting = [];
    const proposals: Proposal[] = [];
    let from = 0;
    while (from < waiting.length) {
      const group = this.#groupFrom(waiting, from);
      from += group.length;
      const id = this.#nextId;
      this.#nextId += 1;
      let records = 0;
      for (const pending of group) {
        pending.firstRecord = records;
        records += pending.append.count;
      }
      this.#proposed.set(id, { pending: group, index: 0, term: 0 });
      const appends = group.map((pending) => pending.append);
      proposals.push({ id, data: encodeAppends(appends, this.#clock.wallNow()) });
    }
    return proposals;
  }

  #groupFrom(waiting: readonly Pending[], from: number): Pending[] {
    const group: Pending[] = [];
    let bytes = 0;
    let conditionBytes = 0;
    for (let at = from; at < waiting.length; at += 1) {
      const pending = present(waiting[at], "at is in range");
      bytes += pending.append.records.length;
      conditionBytes += conditionBytesOf(pending.append);
      const isFull = bytes > this.#limits.entryBytesMax || conditionBytes > conditionBytesMax;
      // A void append is an entry of its own: appends of one are told apart by their first record.
      const isVoid = pending.append.count === 0;
      if (group.length > 0 && (isFull || isVoid)) break;
      group.push(pending);
      if (isVoid) break;
    }
    return group;
  }

  /** The core gave the entry a place. */
  accepted(id: number, index: number, term: number): boolean {
    const group = this.#proposed.get(id);
    if (group === undefined) return false;
    this.#proposed.delete(id);
    group.index = index;
    group.term = term;
    // An entry that stood here before was cut from this log. That proves nothing: another node may
    // hold it still, and lead again with it. Only what is applied here decides.
    for (const pending of this.#placed.get(index)?.pending ?? []) {
      this.#finish(pending, unknownOutcome(pending));
    }
    this.#placed.set(index, group);
    if (group.pending.some(({ onDurable }) => onDurable !== undefined)) this.#untold.push(group);
    return true;
  }

  /**
   * This node, which leads, has the log durable up to an index. A former leader's log may hold
   * other entries there: see `leadershipLost`.
   */
  durable(index: number): void {
    while (this.#untold[0] !== undefined && this.#untold[0].index <= index) {
      const group = this.#untold.shift();
      for (const { isDone, onDurable } of group?.pending ?? []) if (!isDone) onDurable?.();
    }
  }

  /** The core refused the entry: nothing of it is in any log. */
  rejected(id: number, reason: Refusal): boolean {
    const group = this.#proposed.get(id);
    if (group === undefined) return false;
    this.#proposed.delete(id);
    for (const pending of group.pending) this.#finish(pending, refusalError(reason));
    return true;
  }

  /** An entry was applied: its appends are answered. */
  applied(index: number, term: number, result: Applied): void {
    const group = this.#placed.get(index);
    if (group === undefined) return;
    if (group.term !== term) {
      this.#superseded(index);
      return;
    }
    this.#placed.delete(index);
    let droppedCount = 0;
    let nextDrop = 0;
    for (const pending of group.pending) {
      const drop = result.dropped[nextDrop];
      if (drop?.firstRecord === pending.firstRecord) {
        nextDrop += 1;
        droppedCount += drop.count;
        this.#finish(pending, answerOf(pending, drop));
        continue;
      }
      const offset = result.offset + pending.firstRecord - droppedCount;
      const { count } = pending.append;
      this.#finish(pending, { offset, count, timestampMs: result.timestampMs });
    }
  }

  /** Another entry was committed at the index: what was proposed there never will be. */
  #superseded(index: number): void {
    const group = this.#placed.get(index);
    if (group === undefined) return;
    this.#placed.delete(index);
    for (const pending of group.pending) {
      const detail = "Leadership changed before the record was committed; it was not applied.";
      this.#finish(pending, new ProglogError("no-leader", detail));
    }
  }

  /** Everything up to the index came by snapshot: what was proposed there is of unknown fate. */
  overtaken(index: number): void {
    for (const [placed, group] of this.#placed) {
      if (placed > index) continue;
      this.#placed.delete(placed);
      for (const pending of group.pending) this.#finish(pending, unknownOutcome(pending));
    }
  }

  /**
   * Leadership is lost: what is in the log may still be committed by the next leader, and this
   * node will see it; that is awaited for a little, then the outcome is unknown.
   */
  leadershipLost(graceMs: number): void {
    this.#untold = [];
    const deadline = this.#clock.now() + graceMs;
    this.#nextDeadline = Math.min(this.#nextDeadline, deadline);
    for (const group of this.#placed.values()) {
      for (const pending of group.pending) pending.deadline = Math.min(pending.deadline, deadline);
    }
  }

  /** Answers the appends whose time has run out. */
  expire(): void {
    const now = this.#clock.now();
    if (now < this.#nextDeadline) return;
    let next = Infinity;
    const check = (pending: Pending, error: (pending: Pending) => ProglogError): void => {
      if (pending.deadline <= now) this.#finish(pending, error(pending));
      else if (!pending.isDone) next = Math.min(next, pending.deadline);
    };
    for (const pending of this.#waiting) check(pending, () => refusalError("overloaded"));
    for (const group of this.#placed.values()) {
      for (const pending of group.pending) check(pending, unknownOutcome);
    }
    this.#nextDeadline = next;
  }

  /** Ends everything: the node stops. */
  close(): void {
    for (const pending of this.#waiting) this.#finish(pending, stopping());
    for (const group of this.#proposed.values()) {
      for (const pending of group.pending) this.#finish(pending, unknownOutcome(pending));
    }
    for (const group of this.#placed.values()) {
      for (const pending of group.pending) this.#finish(pending, unknownOutcome(pending));
    }
    this.#waiting = [];
    this.#untold = [];
    this.#proposed.clear();
    this.#placed.clear();
  }

  #finish(pending: Pending, result: Appended | ProglogError): void {
    if (pending.isDone) return;
    pending.isDone = true;
    this.#pendingBytes -= pending.append.records.length + overheadBytes;
    pending.done(result);
  }
}

/** With a producer it may be sent again: it is applied once at most. */
function unknownOutcome({ append }: Pending): ProglogError {
  return new ProglogError(
    "outcome-unknown",
    "The record was appended but its commit was not seen in time; it may yet be applied.",
    { retryable: append.producer !== undefined },
  );
}

function stopping(): ProglogError {
  return new ProglogError("unavailable", "The node is stopping; the record was not applied.");
}

/** The answer to an append that added nothing. */
function answerOf(pending: Pending, { why }: Dropped): Appended | ProglogError {
  switch (why.type) {
    case "mismatch":
      return mismatch(pending, why.actualOffset);
    case "duplicate": {
      const { offset, count, timestampMs } = why.original;
      return { offset, count, timestampMs, isDuplicate: true };
    }
    case "void":
      return new ProglogError(
        "sequence-too-old",
        "Somebody asked what became of this sequence and was told that it is not in the log.",
      );
    case "too-old":
      return new ProglogError(
        "sequence-too-old",
        "The producer has gone on, and what became of this sequence is no longer remembered.",
      );
  }
}

function mismatch(pending: Pending, actualOffset: number): ProglogError {
  const expected = String(pending.append.expectedOffset);
  return new ProglogError(
    "expected-offset-mismatch",
    `The record would have got offset ${String(actualOffset)}, not ${expected}.`,
    { fields: { actualOffset } },
  );
}

/** What a refusal of the core means to a client: nothing was applied. */
export function refusalError(reason: Refusal): ProglogError {
  switch (reason) {
    case "overloaded":
      return new ProglogError("overloaded", "Too much waits to be committed; retry.");
    case "transferring":
      return new ProglogError("no-leader", "Leadership is being handed over; retry.");
    case "not-leader":
    case "leadership-lost":
      return new ProglogError("no-leader", "This node does not lead any more; retry.");
    case "unknown-member":
      return new ProglogError("unknown-member", "There is no member with that id.");
    case "already-member":
      return new ProglogError("unsafe-change", "The node is a member already.", {
        retryable: false,
      });
    case "address-taken":
      return new ProglogError("unsafe-change", "Another member has that address.", {
        retryable: false,
      });
    default: {
      const retryable = !finalRefusals.has(reason);
      return new ProglogError("unsafe-change", changeRefusals[reason], { retryable });
    }
  }
}

/** Refused for what was asked, not for when: trying again changes nothing. */
const finalRefusals = new Set<Refusal>(["no-voter-left", "not-voter", "is-leader", "superseded"]);

const changeRefusals = {
  "change-pending": "Another change of the members is not committed yet; retry.",
  "no-commit-in-term": "The leader is new and has committed nothing yet; retry.",
  "not-voter": "That member does not vote.",
  "no-voter-left": "No voter would be left.",
  "no-live-quorum": "The voters that answer now would not be a quorum of what would be left.",
  lagging: "The learner has not caught up yet; retry.",
  "is-leader": "That member leads already.",
  "transfer-aborted": "The member did not take over in time; the leader goes on.",
  superseded: "A later request named another member.",
} as const satisfies Partial<Record<Refusal, string>>;
