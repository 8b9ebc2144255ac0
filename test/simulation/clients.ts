/**
 * Clients of a simulated cluster: they append, read, give up waiting, follow hints or go wrong, and
 * note all of it for the checker. Every record's value is unique, so that it can be told apart.
 */
import { ProglogError } from "../../src/common/errors.js";
import { encodeRecords } from "../../src/common/record.js";
import type { NodeCore } from "../../src/agent/node-core.js";
import type { AppendOutcome, AppendReceipt } from "../../src/service/api.js";
import { SeededRandom } from "../../src/testing/seeded-random.js";
import type { CallEndpoint } from "../../src/testing/simulated-calls.js";
import { hostOf } from "../../src/testing/simulated-network.js";
import { SimulatedProcess } from "../../src/testing/simulated-process.js";
import type { HistoryRecorder, Producer, ReadResult } from "../history/history.js";
import type { World } from "./world.js";

/** Spread of the pauses after an error, so that a cluster without a leader is not hammered. */
const errorPauseMs = 100;

/** How often an append that may be repeated is sent. */
const attemptsMax = 6;
/** Most copies of an append that are sent at once. */
const copiesMax = 4;
/** Appends of a producer that nodes remember. */
const rememberedCount = 5;
/** Producers that have been silent for longer than a day are forgotten. */
const rememberedMs = 23 * 60 * 60 * 1000;
/** How often a cluster at rest is asked for what it must be able to tell. */
const patienceCount = 30;

/** One logical write. */
interface Write {
  readonly values: readonly string[];
  readonly expectedOffset: number | undefined;
  readonly producer: Producer | undefined;
  /** Its attempts in the history. */
  readonly attempts: number[];
  /** Where it is, once that was told. */
  place?: Place;
  /** How many attempts were told to be the first. */
  firstCount: number;
  /** True once it was told that it never will be in the log. */
  isVoid: boolean;
}

type Place = Omit<AppendReceipt, "isDuplicate">;

/** How an attempt, or a copy with all its attempts, ended. */
type Ended = "done" | "again" | "failed";

export class SimulatedClient {
  readonly #world: World;
  readonly #history: HistoryRecorder;
  readonly #random: SeededRandom;
  /** Chance of its own for copies, so that who sends none does what it always did. */
  readonly #copies: SeededRandom;
  readonly #process: SimulatedProcess;
  readonly name: string;
  #target = "";
  #valueCount = 0;
  #sequence = 0;
  /** The newest writes with a producer: as many as nodes remember. */
  readonly #newest: Write[] = [];
  #isStopped = false;

  constructor(world: World, history: HistoryRecorder, name: string) {
    this.#world = world;
    this.#history = history;
    this.name = name;
    this.#random = new SeededRandom(world.plan.seed, name);
    this.#copies = new SeededRandom(world.plan.seed, `copies of ${name}`);
    this.#process = new SimulatedProcess(world.simulation);
    this.#retarget();
  }

  /** Goes on until it is stopped. */
  async write(): Promise<void> {
    while (!this.#isStopped) {
      await this.#pause();
      const isDone = await this.append();
      if (!isDone) await this.#sleep(this.#random.exponential(errorPauseMs));
    }
  }

  async read(): Promise<void> {
    while (!this.#isStopped) {
      await this.#pause();
      await this.readOnce();
    }
  }

  stop(): void {
    this.#isStopped = true;
  }

  get #now(): number {
    return this.#world.simulation.nowMs;
  }

  #retarget(): void {
    this.#target = this.#random.pick(this.#world.nodes).host;
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#process.setTimer(ms, resolve);
    });
  }

  async #pause(): Promise<void> {
    const { thinkMs, quietRate } = this.#world.plan.clients;
    await this.#sleep(this.#random.exponential(thinkMs));
    const second = Math.floor(this.#world.simulation.nowMs / 1000);
    if (new SeededRandom(this.#world.plan.seed, `quiet ${String(second)}`).chance(quietRate)) {
      await this.#sleep(1000);
    }
  }

  async #call<T>(
    work: (core: NodeCore) => Promise<T>,
    timeoutMs: number,
    target = this.#target,
  ): Promise<T> {
    const lost = (): ProglogError => new ProglogError("outcome-unknown", "No answer came.");
    const caller = { host: this.name, process: this.#process, timeoutMs, lost };
    return this.#world.network.call(caller, target, async (at) =>
      work((at as CallEndpoint).core()),
    );
  }

  #newValues(): string[] {
    const { batchMax, valueBytesMax } = this.#world.plan.clients;
    const count = this.#random.integer(1, batchMax);
    return Array.from({ length: count }, () => {
      this.#valueCount += 1;
      const value = `${this.name}-${String(this.#valueCount)}`;
      return value.padEnd(this.#random.integer(0, valueBytesMax), ".");
    });
  }

  /** One append, sent again as often as it is worth. @returns True if it was acknowledged. */
  async append(): Promise<boolean> {
    const { idempotentRate, conditionalRate, copiesRate } = this.#world.plan.clients;
    const isConditional = this.#random.chance(conditionalRate);
    const hasCopies = this.#copies.chance(copiesRate);
    const write: Write = {
      values: this.#newValues(),
      expectedOffset: isConditional ? this.#guessEnd() : undefined,
      producer: this.#random.chance(idempotentRate) || hasCopies ? this.#nextSequence() : undefined,
      ...{ attempts: [], firstCount: 0, isVoid: false },
    };
    if (write.producer === undefined) return (await this.#attempt(write)) === "done";
    this.#newest.push(write);
    if (this.#newest.length > rememberedCount) this.#newest.shift();
    return hasCopies ? this.#sendCopies(write) : this.#insist(write);
  }

  #nextSequence(): Producer {
    this.#sequence += this.#random.integer(1, 3);
    return { id: `p/${this.name}`, sequence: this.#sequence };
  }

  /** Sends an append that may be repeated: again after a failure, twice at once, or for nothing. */
  async #insist(write: Write): Promise<boolean> {
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const copies = this.#random.chance(0.1) ? 3 : 1;
      const ends = await Promise.all(
        Array.from({ length: copies }, async () => {
          if (copies > 1) this.#retarget();
          return this.#attempt(write);
        }),
      );
      if (ends.includes("done")) {
        if (this.#random.chance(0.05)) await this.#attempt(write);
        return true;
      }
      if (!ends.includes("again")) return false;
      // Asked early, copies of the append are still on their way.
      if (this.#random.chance(0.15)) return this.#settle(write);
      await this.#sleep(this.#random.exponential(errorPauseMs));
    }
    return this.#settle(write);
  }

  /** Asks what became of an append, and holds the log to the answer. @returns True if applied. */
  async #settle(write: Write): Promise<boolean> {
    this.#retarget();
    const outcome = await this.#askOutcome(write, this.#target);
    if (outcome?.type === "never") this.#reject(write);
    return outcome?.type === "applied";
  }

  /** What is said never to be in the log is not: no attempt of it may have put it there. */
  #reject({ attempts }: Write): void {
    const returnedAt = this.#now;
    for (const attempt of attempts) {
      this.#history.endAppend(attempt, { returnedAt, outcome: { type: "rejected" } });
    }
  }

  /** What a node says became of an append; an offset is noted as an answer. */
  async #askOutcome(write: Write, target: string): Promise<AppendOutcome | undefined> {
    const { producer, values } = write;
    if (producer === undefined) return undefined;
    const invokedAt = this.#now;
    try {
      const outcome = await this.#call(
        async ({ log }) => log.outcome(producer),
        this.#world.plan.clients.timeoutMs,
        target,
      );
      this.#world.note(this.name, "outcome", JSON.stringify({ ...producer, ...outcome }));
      const returnedAt = this.#now;
      if (outcome.type === "applied") {
        const attempt = this.#history.beginAppend({
          ...{ client: this.name, values, invokedAt, producer },
        });
        const { offset } = outcome;
        this.#history.endAppend(attempt, { returnedAt, outcome: { type: "ok", offset } });
        this.#notePlace(write, outcome);
      } else if (outcome.type === "never") this.#noteVoid(write);
      return outcome;
    } catch (thrown) {
      if (!(thrown instanceof ProglogError)) throw thrown;
    }
    return undefined;
  }

  /** All that are told where an append is are told the same. */
  #notePlace(write: Write, place: Place): void {
    write.place ??= place;
    const [first, told] = [textOf(write.place), textOf(place)];
    if (told !== first) this.#blame(write, `was told ${first}, and then ${told}`);
    if (write.isVoid) this.#blame(write, `was never to be in the log, and is there: ${told}`);
  }

  #noteVoid(write: Write): void {
    write.isVoid = true;
    if (write.place === undefined) return;
    this.#blame(write, `was told ${textOf(write.place)}, and then that it never will be there`);
  }

  #blame({ producer }: Write, what: string): never {
    const name = `${this.name}: the append ${JSON.stringify(producer)}`;
    return this.#world.violate("exactly-once", `${name} ${what}`);
  }

  /**
   * Sends copies of an append at once, to different nodes; each goes on by itself, and asks what
   * became of the append while others are on their way.
   */
  async #sendCopies(write: Write): Promise<boolean> {
    const hosts = this.#copies.shuffled(this.#world.nodes).map(({ host }) => host);
    const targets = Array.from(
      { length: this.#copies.integer(2, copiesMax) },
      (_, at) => hosts[at % hosts.length] ?? "",
    );
    const { id = "", sequence = 0 } = write.producer ?? {};
    this.#world.inject("copies", this.name, `${id}/${sequence} to ${targets.join(" ")}`);
    const ends = await Promise.all(targets.map(async (host) => this.#sendCopy(write, host)));
    if (write.place === undefined && !write.isVoid && ends.includes("again")) {
      await this.#askOutcome(write, this.#anyHost());
    }
    if (write.isVoid) this.#reject(write);
    return write.place !== undefined;
  }

  /** Sends one copy until it is told something that stays, or it is enough. */
  async #sendCopy(write: Write, first: string): Promise<Ended> {
    let target = first;
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const end = await this.#attempt(write, target);
      if (end !== "again") return end;
      if (this.#copies.chance(0.2)) {
        const outcome = await this.#askOutcome(write, this.#anyHost());
        // In half the cases the copy goes on: what was said has to hold for it too.
        if (outcome !== undefined && this.#copies.chance(0.5)) return "done";
      }
      await this.#sleep(this.#copies.exponential(errorPauseMs));
      target = this.#target;
    }
    return "again";
  }

  #anyHost(): string {
    return this.#copies.pick(this.#world.nodes).host;
  }

  /** Sends again to a node what nodes remember, and asks it: the answers are those of old. */
  async repeat(host: string): Promise<void> {
    const now = await this.#newTimestamp();
    for (const write of this.#newest) {
      const { place, isVoid } = write;
      // A clock may have been put forward so far that nothing has to be remembered.
      if (place !== undefined && now - place.timestampMs > rememberedMs) continue;
      if (place === undefined && !isVoid) continue;
      const before = write.firstCount;
      const end = await this.#patiently(write, async () => this.#attempt(write, host, true));
      if (write.firstCount > before) this.#blame(write, `is in the log anew, says ${host}`);
      if ((end === "done") !== (place !== undefined))
        this.#blame(write, `is now ${end} on ${host}`);
      const outcome = await this.#patiently(
        write,
        async () => (await this.#askOutcome(write, host)) ?? "again",
      );
      const type = place === undefined ? "never" : "applied";
      if (outcome.type !== type) this.#blame(write, `is ${type}; ${host} says ${outcome.type}`);
    }
  }

  /** The time of the log, by an append that is not remembered: each try is another one. */
  async #newTimestamp(): Promise<number> {
    for (let nth = 0; nth < patienceCount; nth += 1) {
      const write: Write = {
        ...{ values: this.#newValues(), expectedOffset: undefined, producer: undefined },
        ...{ attempts: [], firstCount: 0, isVoid: false },
      };
      await this.#attempt(write, this.#target, true);
      if (write.place !== undefined) return write.place.timestampMs;
      await this.#sleep(errorPauseMs);
    }
    return this.#world.violate("F4", `${this.name} cannot append to a cluster at rest`);
  }

  /** Does it again until there is an answer: a cluster at rest gives one. */
  async #patiently<T>(write: Write, work: () => Promise<T | "again">): Promise<T> {
    for (let nth = 0; nth < patienceCount; nth += 1) {
      const answer = await work();
      if (answer !== "again") return answer;
      await this.#sleep(errorPauseMs);
    }
    return this.#blame(write, "gets no answer from a cluster at rest");
  }

  async #attempt(
    write: Write,
    target = this.#target,
    relay = this.#random.chance(0.3),
  ): Promise<Ended> {
    const { values, expectedOffset, producer, attempts } = write;
    const { timeoutMs } = this.#world.plan.clients;
    const terms = {
      ...(expectedOffset === undefined ? {} : { expectedOffset }),
      ...(producer === undefined ? {} : { producer }),
    };
    const started = { client: this.name, values, invokedAt: this.#now, ...terms };
    const attempt = this.#history.beginAppend(started);
    attempts.push(attempt);
    const records = encodeRecords(values.map((value) => ({ value: Buffer.from(value) })));
    const request = { records, timeoutMs: timeoutMs * this.#random.between(0.5, 1.5), ...terms };
    try {
      const receipt = await this.#call(
        async ({ log }) => log.produce(request, { relay }),
        timeoutMs * this.#random.between(0.5, 2),
        target,
      );
      const { offset, count } = receipt;
      this.#history.endAppend(attempt, { returnedAt: this.#now, outcome: { type: "ok", offset } });
      this.#world.endOffsetSeen = Math.max(this.#world.endOffsetSeen, offset + count);
      if (receipt.isDuplicate !== true) write.firstCount += 1;
      if (write.firstCount > 1) this.#blame(write, "was twice told to be the first");
      this.#notePlace(write, receipt);
      return "done";
    } catch (error) {
      return this.#appendFailed(attempt, error);
    }
  }

  #appendFailed(attempt: number, thrown: unknown): "again" | "failed" {
    if (!(thrown instanceof ProglogError)) throw thrown;
    const type = thrown.outcome === "not_applied" ? "rejected" : "unknown";
    this.#history.endAppend(attempt, { returnedAt: this.#now, outcome: { type } });
    this.#follow(thrown);
    return type === "unknown" || thrown.retryable ? "again" : "failed";
  }

  /** Goes where the error says, or anywhere else. */
  #follow({ fields }: ProglogError): void {
    const leader = fields["leader"] as { readonly rpcAddr: string } | undefined;
    if (leader !== undefined && this.#random.chance(0.9)) this.#target = hostOf(leader.rpcAddr);
    else this.#retarget();
  }

  #guessEnd(): number {
    const end = this.#world.endOffsetSeen;
    return Math.max(0, end + this.#random.pick([0, 0, 0, -1, 1]));
  }

  /** One read, of what is there or just past it, from any node. */
  async readOnce(): Promise<void> {
    if (this.#random.chance(0.3)) this.#retarget();
    const end = this.#world.endOffsetSeen;
    const isNearEnd = this.#random.chance(0.6);
    const from = isNearEnd
      ? Math.max(0, end + this.#random.integer(-2, 1))
      : this.#random.integer(0, end);
    const consistency = this.#random.chance(0.8) ? "linearizable" : "local";
    const started = { client: this.name, node: this.#target, consistency, from } as const;
    const invokedAt = this.#now;
    const answered = (result: ReadResult): void => {
      this.#history.read({ ...started, invokedAt, returnedAt: this.#now, result });
    };
    try {
      const record = await this.#call(
        async ({ log }) => log.read(from, { consistency }),
        this.#world.plan.clients.timeoutMs,
      );
      answered({ type: "hit", offset: record.offset, values: [record.value.toString()] });
    } catch (thrown) {
      if (!(thrown instanceof ProglogError)) throw thrown;
      const endOffset = thrown.fields["endOffset"];
      if (thrown.code === "offset-out-of-range" && typeof endOffset === "number") {
        answered({ type: "miss", endOffset });
      } else this.#retarget();
    }
  }
}

/** Where an append is, for comparing. */
function textOf({ offset, count, timestampMs }: Place): string {
  return `${offset} to ${offset + count - 1} at ${timestampMs}`;
}
