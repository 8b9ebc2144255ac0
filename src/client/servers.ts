/**
 * Who is there, who leads, and whom to ask next.
 *
 * A client starts from the addresses it was given, asks any of them for the members, and asks
 * again when a call fails, when what it knows is old, or when a leader falls silent. What it
 * believes may be wrong: every node relays writes and serves reads, so that a wrong belief costs
 * time, never an answer.
 *
 * Invariants: the addresses first given are never forgotten; a node that failed is passed over for
 * a while that is bounded, and still asked if all others failed too.
 */
import type { Clock } from "../common/clock.js";
import type { LeaderHint } from "../common/errors.js";
import type { Random } from "../common/random.js";
import { backoffMs, randomInteger } from "../common/random.js";
import { isAddress } from "./address.js";

/** A member of the cluster, as some node named it. */
export interface ServerInfo {
  readonly id: string;
  readonly name: string;
  readonly rpcAddr: string;
  readonly httpAddr: string;
  /** False for a learner: it serves reads like the others. */
  readonly voter: boolean;
  readonly isLeader: boolean;
}

export interface ServersParts {
  readonly seeds: readonly string[];
  /** False: only the seeds are dialled. */
  readonly discovery: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly refreshMs: number;
  /** Asks a node for the members. */
  readonly ask: (address: string, timeoutMs: number) => Promise<readonly ServerInfo[]>;
  /** Told which addresses are worth a connection, when that changes. */
  readonly onMembers: (addresses: ReadonlySet<string>) => void;
}

/** Nodes asked at once for the members. */
const askedMax = 5;
/** Members that are believed at most: a cluster is small. */
const membersMax = 256;
const askTimeouts = { leastMs: 600, mostMs: 5000 };
/**
 * While a leader is suspected: a node that was asked before the election may itself wait for the
 * old leader's answer, and only a new question finds out.
 */
const suspectAskMs = 300;
const coolDown = { baseMs: 200, maxMs: 5000 };

interface Failing {
  readonly count: number;
  readonly untilMs: number;
}

export class Servers {
  readonly #parts: ServersParts;
  #members: readonly ServerInfo[] = [];
  #leader: string | undefined;
  readonly #failing = new Map<string, Failing>();
  #refreshing: Promise<boolean> | undefined;
  #refreshedMs: number | undefined;
  #silentRounds = 0;

  constructor(parts: ServersParts) {
    this.#parts = parts;
  }

  /** The members as last heard; empty before the first answer. */
  get members(): readonly ServerInfo[] {
    return this.#members.map((member) => ({
      ...member,
      isLeader: member.rpcAddr === this.#leader,
    }));
  }

  /** Address of the leader, as far as is known. */
  get leader(): string | undefined {
    return this.#leader;
  }

  /** Every address that may be dialled. */
  addresses(): string[] {
    const { seeds, discovery } = this.#parts;
    const members = discovery ? this.#members.map((member) => member.rpcAddr) : [];
    return [...new Set([...members, ...seeds])];
  }

  /** Takes a node's word for who leads. */
  learnLeader(hint: LeaderHint): void {
    if (isAddress(hint.rpcAddr)) this.#setLeader(hint.rpcAddr);
  }

  #setLeader(address: string | undefined): void {
    this.#leader = this.#parts.discovery ? address : undefined;
  }

  /** The node did not answer, or not as it should: it is passed over for a while. */
  failed(address: string): void {
    const { clock, random } = this.#parts;
    const count = (this.#failing.get(address)?.count ?? 0) + 1;
    const delayMs = coolDown.baseMs / 2 + backoffMs(random, count - 1, coolDown);
    this.#failing.set(address, { count, untilMs: clock.now() + delayMs });
    if (this.#leader === address) this.#leader = undefined;
  }

  /** The node answers, but cannot serve now: others are asked first for a moment. */
  passOver(address: string): void {
    const count = this.#failing.get(address)?.count ?? 0;
    this.#failing.set(address, { count, untilMs: this.#parts.clock.now() + coolDown.baseMs });
    if (this.#leader === address) this.#leader = undefined;
  }

  succeeded(address: string): void {
    this.#failing.delete(address);
  }

  #isCooling(address: string): boolean {
    return (this.#failing.get(address)?.untilMs ?? 0) > this.#parts.clock.now();
  }

  /** Whom to send writes: the leader, or anybody, who will relay them. */
  writeTarget(): string {
    const leader = this.#leader;
    if (leader !== undefined && !this.#isCooling(leader)) return leader;
    return this.#oneOf(this.addresses());
  }

  /** Whom to read from: any node but the leader if there is one; never `except` if there is. */
  readTarget(except?: string): string {
    const others = this.addresses().filter((address) => address !== except);
    const followers = others.filter(
      (address) => address !== this.#leader && this.#isMember(address) && !this.#isCooling(address),
    );
    if (followers.length > 0) return this.#oneOf(followers);
    return this.#oneOf(others.length > 0 ? others : this.addresses());
  }

  /** A seed may be another name of a member, and then of the leader: members are asked first. */
  #isMember(address: string): boolean {
    const { discovery } = this.#parts;
    if (!discovery || this.#members.length === 0) return true;
    return this.#members.some((member) => member.rpcAddr === address);
  }

  /** One that has not failed lately; else the one whose time is up first. */
  #oneOf(addresses: readonly string[]): string {
    const ready = addresses.filter((address) => !this.#isCooling(address));
    const chosen = ready[randomInteger(this.#parts.random, ready.length)];
    if (chosen !== undefined) return chosen;
    const byTime = [...addresses].sort((a, b) => this.#untilOf(a) - this.#untilOf(b));
    return byTime[0] ?? "";
  }

  #untilOf(address: string): number {
    return this.#failing.get(address)?.untilMs ?? 0;
  }

  /** True if nobody was asked lately. */
  get isStale(): boolean {
    const { clock, refreshMs } = this.#parts;
    return this.#refreshedMs === undefined || clock.now() - this.#refreshedMs >= refreshMs;
  }

  /**
   * Asks the nodes who is there; resolves as soon as one names a leader, or when all have had
   * their time. One round at a time: whoever asks meanwhile shares it. Never rejects.
   *
   * @param suspect A node that has fallen silent: it is not asked, and that it leads is no news.
   * @returns True if any node answered.
   */
  async refresh(suspect?: string): Promise<boolean> {
    this.#refreshing ??= this.#ask(suspect).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #ask(suspect: string | undefined): Promise<boolean> {
    const { ask, clock } = this.#parts;
    const patientMs = Math.min(askTimeouts.mostMs, askTimeouts.leastMs * 2 ** this.#silentRounds);
    const timeoutMs = suspect === undefined ? patientMs : suspectAskMs;
    const asked = this.#someToAsk(suspect);
    let answers = 0;
    let hasLeader = false;
    await new Promise<void>((resolve) => {
      let pending = asked.length;
      const finish = (): void => {
        pending -= 1;
        if (hasLeader || pending === 0) resolve();
      };
      for (const address of asked) {
        ask(address, timeoutMs).then(
          (members) => {
            answers += 1;
            if (!hasLeader) hasLeader = this.#adopt(members, suspect);
            finish();
          },
          (error: unknown) => {
            // One that is merely slow may be about to lead.
            if (error instanceof Error && error.cause !== undefined) this.failed(address);
            finish();
          },
        );
      }
    });
    if (answers > 0) this.#refreshedMs = clock.now();
    if (answers > 0) this.#silentRounds = 0;
    else if (suspect === undefined) this.#silentRounds = Math.min(this.#silentRounds + 1, 4);
    return answers > 0;
  }

  #someToAsk(suspect: string | undefined): string[] {
    const all = this.addresses();
    const others = all.filter((address) => address !== suspect);
    const left = others.length > 0 ? others : all;
    const asked: string[] = [];
    while (asked.length < askedMax && left.length > 0) {
      const chosen = this.#oneOf(left);
      asked.push(chosen);
      left.splice(left.indexOf(chosen), 1);
    }
    return asked;
  }

  /** @returns True if a leader is named. */
  #adopt(members: readonly ServerInfo[], suspect: string | undefined): boolean {
    const dialable = members.filter((member) => isAddress(member.rpcAddr)).slice(0, membersMax);
    if (dialable.length > 0) {
      this.#members = dialable;
      const addresses = new Set(this.addresses());
      for (const address of this.#failing.keys()) {
        if (!addresses.has(address)) this.#failing.delete(address);
      }
      this.#parts.onMembers(addresses);
    }
    const leader = dialable.find((member) => member.isLeader)?.rpcAddr;
    if (leader === undefined || (leader === suspect && this.#leader === suspect)) return false;
    this.#setLeader(leader);
    return true;
  }
}
