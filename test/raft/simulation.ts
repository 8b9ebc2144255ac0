/**
 * Random schedules for a cluster of cores: one seed decides the cluster's size, every fault and
 * every order of events. A second run with the same seed is the same run.
 *
 * A run has two phases. In the first anything may happen and only safety is asked for; then all is
 * healed, and within a bounded time there must be one leader, equal logs and an answered read.
 */
import type { Random } from "../../src/common/random.js";
import { randomInteger } from "../../src/common/random.js";
import type { ConfigurationChange, Message } from "../../src/raft/index.js";
import { configurationOf, member, Network } from "./network.js";

/** A small generator (mulberry32), so that a seed means the same run everywhere. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return {
    next: () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
    },
    uuid: () => "00000000-0000-4000-8000-000000000000",
  };
}

/** What a run went through; a run that saw nothing proves nothing. */
export interface Tally {
  elections: number;
  committed: number;
  reads: number;
  snapshots: number;
  changes: number;
  transfers: number;
  crashes: number;
}

/** Which faults a seed has: whole classes on or off finds more than a little of each. */
interface Faults {
  readonly dropRate: number;
  readonly duplicateRate: number;
  readonly isReordering: boolean;
  readonly isSlowDisk: boolean;
  readonly hasCrashes: boolean;
  readonly hasPartitions: boolean;
  /** Ticks at a time: many, and elections come before what was sent has arrived. */
  readonly ticksMax: number;
  /** Share of the moves that are faults; the more, the shorter each lasts. */
  readonly faultRate: number;
  /** What is under way on a link that is cut comes when it heals, late, instead of never. */
  readonly isHeld: boolean;
  readonly hasChanges: boolean;
  readonly hasCompaction: boolean;
  readonly hasTransfers: boolean;
}

/** How often a seed asks for each thing, by weight: what is rare in one run is common in another. */
type Requests = Readonly<Record<"propose" | "read" | "change" | "transfer" | "compact", number>>;

export class Simulation {
  readonly network: Network;
  readonly tally: Tally;
  readonly #random: Random;
  readonly #faults: Faults;
  readonly #requests: Requests;
  readonly #ids: readonly string[];
  #nextId = 1;

  constructor(seed: number, log?: (line: string) => void) {
    const random = seededRandom(seed);
    this.#random = random;
    const voters = ["1", "2", "3", "4", "5"].slice(0, [1, 2, 3, 3, 3, 4, 4, 5][this.#pick(8)]);
    const spare = ["6", "7"].slice(0, this.#pick(3));
    this.#ids = [...voters, ...spare];
    const maybe = (share: number): boolean => random.next() < share;
    this.#faults = {
      dropRate: maybe(0.7) ? random.next() * 0.3 : 0,
      duplicateRate: maybe(0.5) ? random.next() * 0.3 : 0,
      isReordering: maybe(0.6),
      isSlowDisk: maybe(0.6),
      hasCrashes: maybe(0.7),
      hasPartitions: maybe(0.6),
      ticksMax: maybe(0.5) ? 3 : 12,
      faultRate: maybe(0.5) ? 0.05 : 0.01,
      isHeld: maybe(0.5),
      hasChanges: maybe(0.6),
      hasCompaction: maybe(0.5),
      hasTransfers: maybe(0.5),
    };
    const weight = (isOn: boolean): number => (isOn ? (maybe(0.3) ? 0.8 : 0.1) : 0);
    this.#requests = {
      propose: 0.55,
      read: maybe(0.3) ? 0.8 : 0.25,
      change: weight(this.#faults.hasChanges),
      transfer: weight(this.#faults.hasTransfers) / 2,
      compact: weight(this.#faults.hasCompaction) / 2,
    };
    const none = { elections: 0, committed: 0, reads: 0, snapshots: 0 };
    this.tally = { ...none, changes: 0, transfers: 0, crashes: 0 };
    this.network = new Network({
      ids: this.#ids,
      configuration: configurationOf(voters),
      random: () => random,
      raft: { cacheBytesMax: maybe(0.5) ? 8 : 1_000_000, appendBytesMax: 24 },
      manual: { load: true, apply: maybe(0.5) },
      ...(log === undefined ? {} : { log }),
    });
  }

  #pick(countMax: number): number {
    return randomInteger(this.#random, countMax);
  }

  #any(): string {
    return this.#ids[this.#pick(this.#ids.length)] ?? "1";
  }

  /** A leader if there is one: most requests go to where they may succeed. */
  #likelyLeader(): string {
    const leaders = this.#ids.filter((id) => this.network.node(id).core?.role === "leader");
    if (leaders.length === 0 || this.#random.next() < 0.2) return this.#any();
    return leaders[this.#pick(leaders.length)] ?? this.#any();
  }

  /** Runs the first phase. */
  run(stepCount: number): void {
    for (let step = 0; step < stepCount; step += 1) this.#move();
  }

  #move(): void {
    const { network } = this;
    const dice = this.#random.next();
    if (dice < 0.004) this.#calm();
    else if (dice < 0.5) this.#deliverOne();
    else if (dice < 0.58) network.tick(this.#any(), 1 + this.#pick(this.#faults.ticksMax));
    else if (dice < (this.#faults.isSlowDisk ? 0.74 : 0.86)) {
      network.persist(this.#any(), 1 + this.#pick(4));
    } else if (dice < 0.89) this.#host();
    else if (dice < 1 - this.#faults.faultRate) this.#request();
    else this.#fault();
  }

  /** A quiet spell for some nodes: states that only follow from progress are reached, too. */
  #calm(): void {
    const { network } = this;
    const some = this.#ids.filter(() => this.#random.next() < 0.8);
    for (let round = this.#pick(30); round > 0; round -= 1) {
      for (const id of some) network.tick(id);
      for (const id of some) network.persist(id);
      for (const message of network.take({ count: 50 })) network.deliver(message);
      if (this.#random.next() < 0.5) this.#request();
      if (this.#random.next() < 0.5) this.#host();
    }
  }

  #deliverOne(): void {
    const { wire } = this.network;
    if (wire.length === 0) {
      this.network.tick(this.#any());
      return;
    }
    const start = this.#faults.isReordering ? this.#pick(wire.length) : 0;
    const isOpen = ({ from, to }: Message): boolean => this.network.isConnected(from, to);
    const at = this.#faults.isHeld
      ? wire.findIndex((held, index) => index >= start && isOpen(held))
      : start;
    const message = wire[at];
    if (message === undefined) return;
    const isKept = this.#random.next() < this.#faults.duplicateRate && wire.length < 200;
    if (!isKept) wire.splice(at, 1);
    if (this.#random.next() < this.#faults.dropRate) return;
    this.network.deliver(message);
  }

  /** What hosts do in their own time: apply, read entries back, fetch snapshots. */
  #host(): void {
    const id = this.#any();
    const { network } = this;
    const node = network.node(id);
    if (node.core === null) return;
    const way = this.#pick(4);
    if (way === 0) network.apply(id, node.applied + 1 + this.#pick(5));
    else if (way === 1) network.load(id, this.#random.next() < 0.1);
    else if (way === 2 && node.fetching !== null) {
      const from = this.#random.next() < 0.5 ? node.fetching.from : this.#any();
      if (from !== id) network.fetch(id, from);
    } else network.apply(id);
  }

  #request(): void {
    const { network } = this;
    const id = this.#likelyLeader();
    const number = this.#nextId;
    this.#nextId += 1;
    const { propose, read, change, transfer, compact } = this.#requests;
    let dice = this.#random.next() * (propose + read + change + transfer + compact);
    const isNext = (share: number): boolean => (dice -= share) < 0;
    if (isNext(propose)) network.propose(id, number, `x${number}`);
    else if (isNext(read)) network.read(this.#any(), number);
    else if (isNext(change)) {
      network.step(id, { type: "changeConfiguration", id: number, change: this.#change() });
    } else if (isNext(transfer)) {
      const target = this.#random.next() < 0.3 ? {} : { target: this.#any() };
      network.step(id, { type: "transfer", id: number, ...target });
    } else if (network.node(id).core !== null) {
      network.compact(id, network.node(id).applied - this.#pick(4));
    }
  }

  #change(): ConfigurationChange {
    const id = this.#any();
    const ways = ["addLearner", "promote", "promote", "demote", "remove", "update"] as const;
    const type = ways[this.#pick(ways.length)] ?? "promote";
    switch (type) {
      case "addLearner":
      case "update":
        return { type, member: member(id) };
      default:
        return { type, id };
    }
  }

  #fault(): void {
    const { network } = this;
    const id = this.#any();
    const dice = this.#random.next();
    if (dice < 0.25 && this.#faults.hasCrashes) {
      const node = network.node(id);
      if (node.core === null) network.start(id);
      else if (this.#random.next() < 0.4) {
        network.crash(id, this.#pick(node.queue.length + 1), this.#pick(6));
        this.tally.crashes += 1;
      }
    } else if (dice < 0.7) {
      for (const other of this.#ids) {
        const { core } = network.node(other);
        if (core === null && this.#random.next() < 0.5) network.start(other);
      }
    } else if (dice < 0.8 && this.#faults.hasPartitions) {
      const left = this.#ids.filter(() => this.#random.next() < 0.5);
      network.partition([left, this.#ids.filter((other) => !left.includes(other))]);
    } else if (dice < 0.95) network.partition([]);
    else network.step(id, { type: "unreachable", peer: this.#any() });
  }

  /** Heals everything, then gives the cluster a bounded time to agree. */
  settle(roundsMax = 400): void {
    const { network } = this;
    network.partition([]);
    for (const id of this.#ids) if (network.node(id).core === null) network.start(id);
    for (let round = 0; round < roundsMax; round += 1) {
      for (const id of this.#ids) network.tick(id);
      network.stabilize();
      if (round % 20 === 19 && this.#proposesAndAgrees()) break;
      if (round === roundsMax - 1) throw new Error(`no agreement: ${this.describe()}`);
    }
    this.#count();
  }

  #proposesAndAgrees(): boolean {
    const { network } = this;
    const leader = network.leader();
    if (leader === undefined) return false;
    const before = network.answers.length;
    const number = this.#nextId;
    this.#nextId += 2;
    network.propose(leader, number, "last");
    network.read(leader, number + 1);
    network.stabilize();
    const answers = network.answers.slice(before);
    const isRead = answers.some(
      (answer) => answer.type === "readReady" && answer.readId === number + 1,
    );
    const isTaken = answers.some((answer) => answer.type === "accepted" && answer.id === number);
    const { configuration, commitIndex, lastIndex } = network.core(leader).status();
    const chain = network.node(leader).memory.chainAt(lastIndex);
    const members = [...configuration.voters, ...configuration.learners];
    return (
      isRead &&
      isTaken &&
      commitIndex === lastIndex &&
      members.every(({ id }) => {
        const { memory, core, applied } = network.node(id);
        const isSame = memory.lastIndex === lastIndex && memory.chainAt(lastIndex) === chain;
        return isSame && core?.leaderId === leader && applied === lastIndex;
      })
    );
  }

  #count(): void {
    const { tally, network } = this;
    tally.elections = network.checker.leaders.size;
    tally.committed = network.checker.commitIndex;
    for (const answer of network.answers) {
      if (answer.type === "readReady") tally.reads += 1;
      if (answer.type === "transferred") tally.transfers += 1;
      if (answer.type === "configured") tally.changes += 1;
    }
    for (const { memory } of network.nodes.values()) {
      if (memory.base.index > 0) tally.snapshots += 1;
    }
  }

  describe(): string {
    return this.#ids
      .map((id) => {
        const { core, memory } = this.network.node(id);
        if (core === null) return `${id} is down`;
        const { commitIndex, lastIndex, followers } = core.status();
        const views = followers.map((f) => `${f.id}:${f.state}@${f.matchIndex}`).join(" ");
        const state = this.network.describeState(id);
        const log = memory.toString().slice(-200);
        return `${id} is ${state} commit=${commitIndex} last=${lastIndex} ${views} ..${log}`;
      })
      .join("\n");
  }
}
