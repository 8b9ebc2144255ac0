/**
 * A client of a simulated cluster: the `Client` of the package, with the simulated network in the
 * place of gRPC's channels, and virtual time in the place of the real one.
 *
 * Producers, consumers and the search for the leader are the production code itself, so retries,
 * order, deadlines and errors are those that a program will meet. Only the few methods of `Client`
 * that hold channels of their own are written again here. While one of them is awaited, time moves.
 */
import { Client } from "../client/client.js";
import type { ClientStatus, ConsumeOptions, ReadOptions } from "../client/client.js";
import { checkFrom, Consumer, isReadRetryable } from "../client/consumer.js";
import type { Consistency } from "../client/consumer.js";
import type { BatchReceipt } from "../client/frame.js";
import { Hold, Operations, unlessAborted } from "../client/operations.js";
import { resolveClientOptions, resolveProducerLimits } from "../client/options.js";
import type { ClientOptions, ResolvedOptions } from "../client/options.js";
import { Producer } from "../client/producer.js";
import type {
  AppendOptions,
  ProduceOptions,
  ProducerOptions,
  Receipt,
} from "../client/producer.js";
import { ConsumedRecord } from "../client/record.js";
import type { RecordInput, RecordValue } from "../client/record.js";
import { Servers } from "../client/servers.js";
import { closedError } from "../client/wire-errors.js";
import { sleep } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import { backoffMs } from "../common/random.js";
import type { SeededRandom } from "./seeded-random.js";
import { SimulatedChannels } from "./simulated-channel.js";
import type { SimulatedChannel } from "./simulated-channel.js";
import type { SimulatedNetwork } from "./simulated-network.js";
import { SimulatedProcess } from "./simulated-process.js";
import type { VirtualTime } from "./virtual-time.js";

/** As of `Client`; time and chance are the simulation's. */
export type TestClientOptions = Partial<Omit<ClientOptions, "clock" | "random">>;

export interface TestClientParts {
  readonly time: VirtualTime;
  readonly network: SimulatedNetwork;
  readonly random: SeededRandom;
  /** Its place on the network. */
  readonly host: string;
  /** rpc addresses of the nodes, where the options name none. */
  readonly servers: readonly string[];
  readonly onClose: () => void;
}

const backoff = { baseMs: 25, maxMs: 1000 };
const tryMs = { baseMs: 1000, maxMs: 8000 };
const offsetMax = Number.MAX_SAFE_INTEGER;

/** A producer whose calls move time while they are awaited. */
class TestProducer extends Producer {
  readonly #time: VirtualTime;

  constructor(time: VirtualTime, ...parts: ConstructorParameters<typeof Producer>) {
    super(...parts);
    this.#time = time;
  }

  override async produce(value: RecordValue, options?: ProduceOptions): Promise<Receipt> {
    return this.#time.wait(super.produce(value, options));
  }

  override async produceBatch(
    records: readonly (RecordInput | RecordValue)[],
    options?: AppendOptions,
  ): Promise<BatchReceipt> {
    return this.#time.wait(super.produceBatch(records, options));
  }

  override async ready(options?: { readonly signal?: AbortSignal | undefined }): Promise<void> {
    await this.#time.wait(super.ready(options));
  }

  override async flush(): Promise<void> {
    await this.#time.wait(super.flush());
  }
}

export class TestClient extends Client {
  /** Its place on the network: a partition may name it. */
  readonly host: string;
  readonly #parts: TestClientParts;
  readonly #options: ResolvedOptions;
  readonly #process: SimulatedProcess;
  readonly #channels: SimulatedChannels;
  readonly #servers: Servers;
  readonly #hold = new Hold();
  readonly #operations: Operations;
  readonly #producers = new Set<Producer>();

  constructor(parts: TestClientParts, given: TestClientOptions) {
    const process = new SimulatedProcess(parts.time.simulation);
    const options = resolveClientOptions({
      ...given,
      servers: given.servers ?? parts.servers,
      clock: process,
      random: parts.random,
    });
    super(options);
    this.host = parts.host;
    this.#parts = parts;
    this.#options = options;
    this.#process = process;
    this.#channels = new SimulatedChannels({ network: parts.network, host: parts.host, process });
    // Waits are virtual: nothing has to keep the program alive.
    this.#hold.release();
    this.#operations = new Operations(this.#hold);
    const { servers: seeds, discovery, refreshMs, clock, random } = options;
    this.#servers = new Servers({
      ...{ seeds, discovery, clock, random, refreshMs },
      ask: async (address, timeoutMs) => this.#channels.at(address).servers(timeoutMs),
      onMembers: () => undefined,
    });
  }

  override producer(options: ProducerOptions = {}): Producer {
    if (this.#operations.isClosed) throw closedError("not_applied");
    const { requestTimeoutMs, clock, random } = this.#options;
    const limits = resolveProducerLimits(this.#options, options);
    const producer: Producer = new TestProducer(this.#parts.time, options, limits, {
      ...{ requestTimeoutMs, clock, random },
      servers: this.#servers,
      channels: this.#channels,
      hold: this.#hold,
      onClose: () => this.#producers.delete(producer),
    });
    this.#producers.add(producer);
    return producer;
  }

  override async read(offset: number, options: ReadOptions = {}): Promise<ConsumedRecord> {
    if (!Number.isSafeInteger(offset) || offset < 0) {
      throw new ProglogError("invalid-request", "An offset is an integer from 0 to 2^53-1.");
    }
    const { consistency = "linearizable" } = options;
    return this.#during(options, async (signal, deadlineMs) =>
      this.#readUntil(deadlineMs, signal, async (channel, timeoutMs) => {
        const record = await channel.read({ offset, consistency }, { timeoutMs, signal });
        return new ConsumedRecord(record);
      }),
    );
  }

  override async endOffset(options: ReadOptions = {}): Promise<number> {
    const { consistency = "linearizable" } = options;
    return this.#during(options, async (signal, deadlineMs) =>
      this.#findEnd(consistency, signal, deadlineMs),
    );
  }

  override async *consume(
    options: ConsumeOptions = {},
  ): AsyncGenerator<ConsumedRecord, void, undefined> {
    const { from = "earliest", follow = false, consistency = "linearizable" } = options;
    checkFrom(from);
    const operation = this.#operations.begin(options.signal);
    const leaving = new AbortController();
    const { clock, random } = this.#options;
    const consumer = new Consumer(
      {
        ...{ servers: this.#servers, channels: this.#channels, clock, random },
        findEnd: async (level, signal) => this.#findEnd(level, signal, Infinity),
        timeOf: async (offset, signal) => this.#timeOf(offset, signal),
        holds: async (address, offset, signal) => this.#holds(address, offset, signal),
      },
      {
        ...{ from, follow, consistency },
        signal: AbortSignal.any([operation.signal, leaving.signal]),
      },
    );
    const records = consumer.records();
    const kind = follow ? "follow" : "operation";
    try {
      for (;;) {
        const next = await this.#parts.time.wait(records.next(), kind);
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      operation.end();
      leaving.abort();
      await records.return();
    }
  }

  override async status(options: Omit<ReadOptions, "consistency"> = {}): Promise<ClientStatus> {
    return this.#during(options, async (signal, deadlineMs) => {
      for (let attempt = 0; ; attempt += 1) {
        if (await unlessAborted(this.#servers.refresh(), signal)) break;
        if (this.#process.now() >= deadlineMs) throw this.#noAnswer();
        await this.#rest(attempt, signal);
      }
      const servers = this.#servers.members;
      return { leader: servers.find((server) => server.isLeader) ?? null, servers };
    });
  }

  override async close(): Promise<void> {
    this.#operations.close();
    for (const producer of [...this.#producers]) await producer.close();
    this.#process.end();
    this.#parts.onClose();
  }

  /** Awaits a read, which ends with its signal or with this client. */
  async #during<T>(
    options: ReadOptions,
    work: (signal: AbortSignal, deadlineMs: number) => Promise<T>,
  ): Promise<T> {
    const { timeoutMs = this.#options.readTimeoutMs } = options;
    const operation = this.#operations.begin(options.signal);
    try {
      const deadlineMs = this.#process.now() + timeoutMs;
      return await this.#parts.time.wait(work(operation.signal, deadlineMs));
    } finally {
      operation.end();
    }
  }

  /** Tries a read on one node after the other, as `Client` does. */
  async #readUntil<T>(
    deadlineMs: number,
    signal: AbortSignal,
    ask: (channel: SimulatedChannel, timeoutMs: number) => Promise<T>,
  ): Promise<T> {
    let avoided: string | undefined;
    let last: ProglogError | undefined;
    for (let attempt = 0; ; attempt += 1) {
      if (this.#servers.members.length === 0) {
        await unlessAborted(this.#servers.refresh(), signal);
      } else if (this.#servers.isStale) {
        void this.#servers.refresh();
      }
      signal.throwIfAborted();
      const address = this.#servers.readTarget(avoided);
      const leftMs = Math.max(1, deadlineMs - this.#process.now());
      const timeoutMs = Math.min(leftMs, tryMs.maxMs, tryMs.baseMs * 2 ** Math.min(attempt, 10));
      try {
        const answer = await ask(this.#channels.at(address), timeoutMs);
        this.#servers.succeeded(address);
        return answer;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof ProglogError) || !isReadRetryable(error)) throw error;
        if (this.#process.now() >= deadlineMs) throw last ?? error;
        this.#servers.failed(address);
        avoided = address;
        last = error;
      }
      if (attempt > 0) await this.#rest(attempt, signal);
    }
  }

  async #rest(attempt: number, signal: AbortSignal): Promise<void> {
    await sleep(this.#process, backoffMs(this.#options.random, attempt, backoff), signal);
  }

  async #findEnd(
    consistency: Consistency,
    signal: AbortSignal,
    deadlineMs: number,
  ): Promise<number> {
    return this.#readUntil(deadlineMs, signal, async (channel, timeoutMs) => {
      try {
        const request = { offset: offsetMax, consistency };
        const last = await channel.read(request, { timeoutMs, signal });
        return last.offset + 1;
      } catch (error) {
        const endOffset = error instanceof ProglogError ? error.fields["endOffset"] : undefined;
        if (typeof endOffset === "number") return endOffset;
        throw error;
      }
    });
  }

  async #timeOf(offset: number, signal: AbortSignal): Promise<number | undefined> {
    const request = { offset, consistency: "linearizable" } as const;
    try {
      const record = await this.#readUntil(Infinity, signal, async (channel, timeoutMs) =>
        channel.read(request, { timeoutMs, signal }),
      );
      return record.timestampMs;
    } catch (error) {
      if (error instanceof ProglogError && error.code === "offset-trimmed") return undefined;
      throw error;
    }
  }

  async #holds(address: string, offset: number, signal: AbortSignal): Promise<boolean> {
    try {
      const request = { offset, consistency: "local" } as const;
      await this.#channels.at(address).read(request, { timeoutMs: tryMs.baseMs, signal });
      return true;
    } catch {
      signal.throwIfAborted();
      return false;
    }
  }

  #noAnswer(): ProglogError {
    const all = this.#servers.addresses().join(", ");
    return new ProglogError("unavailable", `No node answers at ${all}.`, { outcome: null });
  }
}
