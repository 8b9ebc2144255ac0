/**
 * Clients of a simulated cluster: they append, read, give up waiting, follow hints or go wrong, and
 * note all of it for the checker. Every record's value is unique, so that it can be told apart.
 */
import { ProglogError } from "../../src/common/errors.js";
import { encodeRecords } from "../../src/common/record.js";
import type { NodeCore } from "../../src/agent/node-core.js";
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

/** One logical write. */
interface Write {
  readonly values: readonly string[];
  readonly expectedOffset: number | undefined;
  readonly producer: Producer | undefined;
  /** Its attempts in the history. */
  readonly attempts: number[];
}

export class SimulatedClient {
  readonly #world: World;
  readonly #history: HistoryRecorder;
  readonly #random: SeededRandom;
  readonly #process: SimulatedProcess;
  readonly name: string;
  #target = "";
  #valueCount = 0;
  #sequence = 0;
  #isStopped = false;

  constructor(world: World, history: HistoryRecorder, name: string) {
    this.#world = world;
    this.#history = history;
    this.name = name;
    this.#random = new SeededRandom(world.plan.seed, name);
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

  async #call<T>(work: (core: NodeCore) => Promise<T>, timeoutMs: number): Promise<T> {
    const lost = (): ProglogError => new ProglogError("outcome-unknown", "No answer came.");
    const caller = { host: this.name, process: this.#process, timeoutMs, lost };
    return this.#world.network.call(caller, this.#target, async (at) =>
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
    const { idempotentRate, conditionalRate } = this.#world.plan.clients;
    const isConditional = this.#random.chance(conditionalRate);
    const write: Write = {
      values: this.#newValues(),
      expectedOffset: isConditional ? this.#guessEnd() : undefined,
      producer: this.#random.chance(idempotentRate) ? this.#nextSequence() : undefined,
      attempts: [],
    };
    if (write.producer === undefined) return (await this.#attempt(write)) === "done";
    return this.#insist(write);
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
  async #settle({ producer, values, attempts }: Write): Promise<boolean> {
    if (producer === undefined) return false;
    this.#retarget();
    const invokedAt = this.#now;
    try {
      const outcome = await this.#call(
        async ({ log }) => log.outcome(producer),
        this.#world.plan.clients.timeoutMs,
      );
      this.#world.note(this.name, "outcome", JSON.stringify({ ...producer, ...outcome }));
      const returnedAt = this.#now;
      if (outcome.type === "applied") {
        const attempt = this.#history.beginAppend({
          ...{ client: this.name, values, invokedAt, producer },
        });
        const { offset } = outcome;
        this.#history.endAppend(attempt, { returnedAt, outcome: { type: "ok", offset } });
        return true;
      }
      for (const attempt of outcome.type === "never" ? attempts : []) {
        this.#history.endAppend(attempt, { returnedAt, outcome: { type: "rejected" } });
      }
    } catch (thrown) {
      if (!(thrown instanceof ProglogError)) throw thrown;
    }
    return false;
  }

  async #attempt({
    values,
    expectedOffset,
    producer,
    attempts,
  }: Write): Promise<"done" | "again" | "failed"> {
    const { timeoutMs } = this.#world.plan.clients;
    const terms = {
      ...(expectedOffset === undefined ? {} : { expectedOffset }),
      ...(producer === undefined ? {} : { producer }),
    };
    const started = { client: this.name, values, invokedAt: this.#now, ...terms };
    const attempt = this.#history.beginAppend(started);
    attempts.push(attempt);
    const records = encodeRecords(values.map((value) => ({ value: Buffer.from(value) })));
    const relay = this.#random.chance(0.3);
    const request = { records, timeoutMs: timeoutMs * this.#random.between(0.5, 1.5), ...terms };
    try {
      const { offset, count } = await this.#call(
        async ({ log }) => log.produce(request, { relay }),
        timeoutMs * this.#random.between(0.5, 2),
      );
      this.#history.endAppend(attempt, { returnedAt: this.#now, outcome: { type: "ok", offset } });
      this.#world.endOffsetSeen = Math.max(this.#world.endOffsetSeen, offset + count);
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
