/**
 * Waits for committed entries to be durable on more members than a majority (write concern).
 *
 * Only the leader knows how far the others' disks are, and only while it leads. Nobody else waits
 * for these waits: an entry they are about is committed and applied already.
 *
 * Invariants: every wait ends once: met, at its deadline, when leadership is lost, or when the
 * node stops; there are at most `countMax`.
 */
import type { Clock } from "../common/clock.js";
import type { NodeId, RaftStatus } from "../raft/index.js";

/** How many durable copies: a number, or all members there are. */
export type CopyCount = number | "all";

/** How the wait ended, and how many members hold the entry durably. */
export interface CopiesHeld {
  readonly isMet: boolean;
  readonly acks: number;
}

/** What the leader knows of the members' disks. */
export interface MemberDisks {
  readonly memberIds: readonly NodeId[];
  /** The last durable entry of a member; 0 if that is not known. */
  readonly durableIndex: (id: NodeId) => number;
}

interface Wait {
  readonly index: number;
  readonly deadline: number;
  readonly done: (held: CopiesHeld) => void;
}

export class CopyWaits {
  readonly #clock: Clock;
  readonly #countMax: number;
  /** Undefined on a node that does not lead. */
  readonly #disks: () => MemberDisks | undefined;
  /** By count: in the order of their entries, for what is asked later is applied later. */
  readonly #waits = new Map<CopyCount, Wait[]>();
  #count = 0;
  /** No wait's time runs out before this. */
  #nextDeadline = Infinity;

  constructor(clock: Clock, countMax: number, disks: () => MemberDisks | undefined) {
    this.#clock = clock;
    this.#countMax = countMax;
    this.#disks = disks;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  get isFull(): boolean {
    return this.#count >= this.#countMax;
  }

  /**
   * Waits for copies of an entry that is applied here.
   *
   * @param deadline Monotonic milliseconds.
   * @param done Told exactly once; perhaps before this returns.
   */
  add(index: number, copies: CopyCount, deadline: number, done: Wait["done"]): void {
    const disks = this.#disks();
    const acks = disks === undefined ? 0 : acksOf(disks, index);
    if (disks !== undefined && acks >= neededOf(copies, disks)) {
      done({ isMet: true, acks });
      return;
    }
    if (disks === undefined || this.isFull || deadline <= this.#clock.now()) {
      done({ isMet: false, acks });
      return;
    }
    const waits = this.#waits.get(copies) ?? [];
    this.#waits.set(copies, waits);
    waits.push({ index, deadline, done });
    this.#count += 1;
    this.#nextDeadline = Math.min(this.#nextDeadline, deadline);
  }

  /** A member's disk may have got further, the members may be others, or the leader no leader. */
  wake(): void {
    if (this.isEmpty) return;
    const disks = this.#disks();
    if (disks === undefined) {
      this.close();
      return;
    }
    const sorted = disks.memberIds.map(disks.durableIndex).sort((one, other) => other - one);
    for (const [copies, waits] of this.#waits) {
      // The count-th largest index is durable on that many members.
      const upTo = sorted[neededOf(copies, disks) - 1] ?? 0;
      let met = 0;
      while ((waits[met]?.index ?? Infinity) <= upTo) met += 1;
      if (met === 0) continue;
      for (const wait of this.#take(copies, waits, (_, at) => at < met)) {
        wait.done({ isMet: true, acks: acksOf(disks, wait.index) });
      }
    }
  }

  /** Ends the waits whose time has run out. */
  expire(): void {
    const now = this.#clock.now();
    if (now < this.#nextDeadline) return;
    this.#end((wait) => wait.deadline <= now);
  }

  /** Ends all waits. */
  close(): void {
    this.#end(() => true);
  }

  #end(isOver: (wait: Wait) => boolean): void {
    const disks = this.#disks();
    const ended: Wait[] = [];
    for (const [copies, waits] of this.#waits) ended.push(...this.#take(copies, waits, isOver));
    this.#nextDeadline = Infinity;
    for (const { deadline } of [...this.#waits.values()].flat()) {
      this.#nextDeadline = Math.min(this.#nextDeadline, deadline);
    }
    for (const { index, done } of ended) {
      done({ isMet: false, acks: disks === undefined ? 0 : acksOf(disks, index) });
    }
  }

  #take(copies: CopyCount, waits: Wait[], isTaken: (wait: Wait, at: number) => boolean): Wait[] {
    const taken = waits.filter(isTaken);
    if (taken.length === 0) return taken;
    const left = waits.filter((wait, at) => !isTaken(wait, at));
    if (left.length > 0) this.#waits.set(copies, left);
    else this.#waits.delete(copies);
    this.#count -= taken.length;
    return taken;
  }
}

/** What a leader knows; undefined on a node that does not lead. */
export function memberDisksOf(status: RaftStatus): MemberDisks | undefined {
  const { role, id, configuration, durableIndex, followers } = status;
  if (role !== "leader") return undefined;
  const matches = new Map(followers.map((follower) => [follower.id, follower.matchIndex]));
  const members = [...configuration.voters, ...configuration.learners];
  return {
    memberIds: members.map((member) => member.id),
    durableIndex: (member) => (member === id ? durableIndex : (matches.get(member) ?? 0)),
  };
}

function neededOf(copies: CopyCount, { memberIds }: MemberDisks): number {
  return copies === "all" ? memberIds.length : copies;
}

function acksOf({ memberIds, durableIndex }: MemberDisks, index: number): number {
  return memberIds.filter((id) => durableIndex(id) >= index).length;
}
