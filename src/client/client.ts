/**
 * The client: finds the leader and follows it, appends exactly once, reads from any node.
 *
 * It ties the parts together and owns their life. Whatever is under way ends when the client is
 * closed: what was to be written with an error that says what became of it, the rest with one
 * that says that the client is closed.
 */
import { sleep } from "../common/clock.js";
import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { ErrorFields } from "../common/errors.js";
import { backoffMs } from "../common/random.js";
import type { ConsumeResponse, GetServersResponse } from "../gen/log/v1/log.js";
import { Channels } from "./channel.js";
import type { CallLimits, NodeChannel } from "./channel.js";
import { ClusterAdmin } from "./cluster-admin.js";
import { checkFrom, Consumer, isReadRetryable, wireConsistency } from "./consumer.js";
import type { Consistency, From } from "./consumer.js";
import type { BatchReceipt } from "./frame.js";
import { Hold, Operations, unlessAborted } from "./operations.js";
import type { Operation } from "./operations.js";
import type { ClientOptions, ResolvedOptions } from "./options.js";
import { resolveClientOptions, resolveProducerLimits } from "./options.js";
import { Producer } from "./producer.js";
import type { AppendOptions, ProduceOptions, ProducerOptions, Receipt } from "./producer.js";
import { ConsumedRecord } from "./record.js";
import type { RecordInput, RecordValue } from "./record.js";
import { Servers } from "./servers.js";
import type { ServerInfo } from "./servers.js";
import { closedError } from "./wire-errors.js";

export interface ReadOptions {
  /** Default `linearizable`: "there is no such record" is confirmed with the leader. */
  readonly consistency?: Consistency | undefined;
  readonly signal?: AbortSignal | undefined;
  /** How long this is tried; default `readTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
}

export interface ConsumeOptions {
  /** An offset, `earliest` (default), `latest`, `-n` for the last n records, or a time. */
  readonly from?: From | undefined;
  /** Go on at the end of the log, for ever; default false: stop there. */
  readonly follow?: boolean | undefined;
  readonly consistency?: Consistency | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The cluster as a node names it. */
export interface ClientStatus {
  /** null while no node knows one. */
  readonly leader: ServerInfo | null;
  readonly servers: readonly ServerInfo[];
}

const backoff = { baseMs: 25, maxMs: 1000 };
/** One try of a read: the first is short, in case the node hangs. */
const tryMs = { baseMs: 1000, maxMs: 8000 };
/** How long `close()` waits for sockets to be gone. */
const closeMsMax = 1500;
const offsetMax = Number.MAX_SAFE_INTEGER;

export class Client implements AsyncDisposable {
  /** The cluster's own affairs: its status, its members, who leads. */
  readonly cluster: ClusterAdmin;
  readonly #options: ResolvedOptions;
  readonly #clock: Clock;
  readonly #channels: Channels;
  readonly #servers: Servers;
  readonly #hold = new Hold();
  readonly #operations: Operations;
  readonly #producers = new Set<Producer>();
  #own: Producer | undefined;
  #closed: Promise<void> | undefined;

  /**
   * Connects when first used.
   *
   * @throws ProglogError `invalid-request` that names the option.
   */
  constructor(options: ClientOptions) {
    this.#options = resolveClientOptions(options);
    const { clock, random, discovery, refreshMs, servers: seeds } = this.#options;
    this.#clock = clock;
    this.#channels = new Channels(clock);
    this.#operations = new Operations(this.#hold);
    this.#servers = new Servers({
      ...{ seeds, discovery, clock, random, refreshMs },
      ask: async (address, timeoutMs) => this.#askServers(address, timeoutMs),
      onMembers: (addresses) => this.#channels.keepOnly(addresses),
    });
    this.cluster = new ClusterAdmin({
      ...{ servers: this.#servers, channels: this.#channels, operations: this.#operations },
      ...{ clock, random, timeoutMs: this.#options.readTimeoutMs },
    });
  }

  /**
   * Makes a client, and waits until a node has answered.
   *
   * @throws ProglogError `unavailable` if none does within `readTimeoutMs`.
   */
  static async connect(
    options: ClientOptions & { readonly signal?: AbortSignal | undefined },
  ): Promise<Client> {
    const { signal, ...rest } = options;
    const client = new Client(rest);
    try {
      await client.status({ signal });
      return client;
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  /**
   * Appends a record, once; resolves when it is durable on a majority of the voters.
   *
   * @throws ProglogError; its `outcome` says what became of the record.
   */
  async produce(
    value: RecordValue,
    options: Omit<ProduceOptions, "sequence"> = {},
  ): Promise<Receipt> {
    return this.#producer().produce(value, options);
  }

  /**
   * Appends records as one: all of them, with consecutive offsets, or none.
   *
   * @throws ProglogError; its `outcome` says what became of all of them.
   */
  async produceBatch(
    records: readonly (RecordInput | RecordValue)[],
    options: Omit<AppendOptions, "sequence"> = {},
  ): Promise<BatchReceipt> {
    return this.#producer().produceBatch(records, options);
  }

  /** Resolves when there is room in the buffer of `produce`. */
  async ready(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await this.#producer().ready(options);
  }

  /** Resolves when all that was handed to `produce` before has its answer, whatever it is. */
  async flush(): Promise<void> {
    await this.#own?.flush();
  }

  /**
   * A producer of its own: with a name that outlives the program, or with other limits.
   *
   * @throws ProglogError `invalid-request`; `unavailable` if the client is closed.
   */
  producer(options: ProducerOptions = {}): Producer {
    if (this.#operations.isClosed) throw closedError("not_applied");
    const { requestTimeoutMs, clock, random } = this.#options;
    const producer = new Producer(options, resolveProducerLimits(this.#options, options), {
      ...{ requestTimeoutMs, clock, random },
      servers: this.#servers,
      channels: this.#channels,
      hold: this.#hold,
      onClose: () => this.#producers.delete(producer),
    });
    this.#producers.add(producer);
    return producer;
  }

  #producer(): Producer {
    this.#own ??= this.producer();
    return this.#own;
  }

  /**
   * Reads the record at an offset, from any node.
   *
   * @throws ProglogError `offset-out-of-range` (field `endOffset`), `offset-trimmed` (field
   *   `startOffset`), and what lasts for `timeoutMs`; the signal's reason.
   */
  async read(offset: number, options: ReadOptions = {}): Promise<ConsumedRecord> {
    if (!Number.isSafeInteger(offset) || offset < 0) {
      throw new ProglogError("invalid-request", "An offset is an integer from 0 to 2^53-1.");
    }
    const { consistency = "linearizable", timeoutMs = this.#options.readTimeoutMs } = options;
    const operation = this.#operations.begin(options.signal);
    try {
      return await this.#readUntil(
        this.#clock.now() + timeoutMs,
        operation.signal,
        (channel, limits) => readRecord(channel, { offset, consistency }, limits),
      );
    } finally {
      operation.end();
    }
  }

  /** The offset that the next record will get: one above the newest. */
  async endOffset(options: ReadOptions = {}): Promise<number> {
    const { consistency = "linearizable", timeoutMs = this.#options.readTimeoutMs } = options;
    const operation = this.#operations.begin(options.signal);
    try {
      const deadlineMs = this.#clock.now() + timeoutMs;
      return await this.#findEnd(consistency, operation.signal, deadlineMs);
    } finally {
      operation.end();
    }
  }

  /**
   * Reads the log in order: `for await (const record of client.consume({ follow: true }))`.
   *
   * A loop that is slower than the log slows only itself. When a node fails, another is read from
   * the next offset on, for ever.
   *
   * @throws ProglogError what no retry can mend, such as `offset-trimmed`; the signal's reason.
   */
  async *consume(options: ConsumeOptions = {}): AsyncGenerator<ConsumedRecord, void, undefined> {
    const { from = "earliest", follow = false, consistency = "linearizable" } = options;
    checkFrom(from);
    const operation = this.#operations.begin(options.signal);
    try {
      const { clock, random } = this.#options;
      const consumer = new Consumer(
        {
          ...{ servers: this.#servers, channels: this.#channels, clock, random },
          findEnd: async (level, signal) => this.#findEnd(level, signal, Infinity),
          timeOf: async (offset, signal) => this.#timeOf(offset, signal),
          holds: async (address, offset, signal) => this.#holds(address, offset, signal),
        },
        { from, follow, consistency, signal: operation.signal },
      );
      yield* consumer.records();
    } finally {
      operation.end();
    }
  }

  /**
   * Asks who is there and who leads.
   *
   * @throws ProglogError `unavailable` if no node answers in time; the signal's reason.
   */
  async status(options: Omit<ReadOptions, "consistency"> = {}): Promise<ClientStatus> {
    const { timeoutMs = this.#options.readTimeoutMs } = options;
    const operation = this.#operations.begin(options.signal);
    try {
      const deadlineMs = this.#clock.now() + timeoutMs;
      for (let attempt = 0; ; attempt += 1) {
        const isAnswered = await this.#unlessEnded(this.#servers.refresh(), operation, deadlineMs);
        if (isAnswered) break;
        if (this.#clock.now() >= deadlineMs) throw this.#noAnswer();
        await this.#rest(attempt, operation.signal);
      }
    } finally {
      operation.end();
    }
    const servers = this.#servers.members;
    return { leader: servers.find((server) => server.isLeader) ?? null, servers };
  }

  /**
   * Ends all that is under way and lets every connection go; always within two seconds, however
   * the nodes are. What was handed to `produce` and has no answer is rejected: await it, or
   * `flush()`, before.
   */
  async close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#hold.take();
    this.#operations.close();
    await Promise.all([...this.#producers].map(async (producer) => producer.close()));
    await new Promise<void>((resolve) => {
      const timer = this.#clock.setTimer(closeMsMax, resolve);
      void this.#channels.close().then(() => {
        timer.cancel();
        resolve();
      });
    });
    this.#hold.release();
  }

  async #askServers(address: string, timeoutMs: number): Promise<readonly ServerInfo[]> {
    const { servers } = await this.#channels
      .to(address)
      .ask<GetServersResponse>((client, answer) => client.getServers({}, answer), { timeoutMs });
    return servers;
  }

  /** Tries a read on one node after the other. @throws ProglogError; the signal's reason. */
  async #readUntil<T>(
    deadlineMs: number,
    signal: AbortSignal,
    ask: (channel: NodeChannel, limits: CallLimits) => Promise<T>,
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
      const leftMs = Math.max(1, deadlineMs - this.#clock.now());
      const timeoutMs = Math.min(leftMs, tryMs.maxMs, tryMs.baseMs * 2 ** Math.min(attempt, 10));
      try {
        const answer = await ask(this.#channels.to(address), { timeoutMs, signal });
        this.#servers.succeeded(address);
        return answer;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof ProglogError) || !isReadRetryable(error)) throw error;
        // A try that was cut short by the deadline says less than the one before it.
        if (this.#clock.now() >= deadlineMs) throw last ?? error;
        this.#servers.failed(address);
        avoided = address;
        last = error;
      }
      if (attempt > 0) await this.#rest(attempt, signal);
    }
  }

  async #rest(attempt: number, signal: AbortSignal): Promise<void> {
    await sleep(this.#clock, backoffMs(this.#options.random, attempt, backoff), signal);
  }

  async #findEnd(
    consistency: Consistency,
    signal: AbortSignal,
    deadlineMs: number,
  ): Promise<number> {
    return this.#readUntil(deadlineMs, signal, async (channel, limits) => {
      try {
        const last = await readRecord(channel, { offset: offsetMax, consistency }, limits);
        return last.offset + 1;
      } catch (error) {
        const fields: ErrorFields = error instanceof ProglogError ? error.fields : {};
        const { endOffset } = fields;
        if (typeof endOffset === "number") return endOffset;
        throw error;
      }
    });
  }

  async #timeOf(offset: number, signal: AbortSignal): Promise<number | undefined> {
    const request = { offset, consistency: "linearizable" } as const;
    try {
      const { timestampMs } = await this.#readUntil(Infinity, signal, (channel, limits) =>
        readRecord(channel, request, limits),
      );
      return timestampMs;
    } catch (error) {
      if (error instanceof ProglogError && error.code === "offset-trimmed") return undefined;
      throw error;
    }
  }

  async #holds(address: string, offset: number, signal: AbortSignal): Promise<boolean> {
    const limits = { timeoutMs: tryMs.baseMs, signal };
    try {
      await readRecord(this.#channels.to(address), { offset, consistency: "local" }, limits);
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

  /** @throws ProglogError `unavailable` at the deadline; the signal's reason. */
  async #unlessEnded<T>(
    promise: Promise<T>,
    { signal }: Operation,
    deadlineMs: number,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = (finish: () => void): void => {
        timer.cancel();
        signal.removeEventListener("abort", abort);
        finish();
      };
      const abort = (): void => end(() => reject(signal.reason as Error));
      const leftMs = Math.max(0, deadlineMs - this.#clock.now());
      const timer = this.#clock.setTimer(leftMs, () => end(() => reject(this.#noAnswer())));
      signal.addEventListener("abort", abort, { once: true });
      if (signal.aborted) abort();
      promise.then(
        (value) => end(() => resolve(value)),
        (error: unknown) => end(() => reject(error)),
      );
    });
  }
}

/** @throws ProglogError; the signal's reason. */
async function readRecord(
  channel: NodeChannel,
  { offset, consistency }: { readonly offset: number; readonly consistency: Consistency },
  limits: CallLimits,
): Promise<ConsumedRecord> {
  const request = { offset: BigInt(offset), consistency: wireConsistency(consistency) };
  const { record } = await channel.ask<ConsumeResponse>(
    (client, answer) => client.consume(request, answer),
    limits,
  );
  if (record === undefined) {
    throw new ProglogError("internal", "The node answered without a record.", { outcome: null });
  }
  const { key, headers, value, json } = record;
  return new ConsumedRecord({
    ...{ value, headers },
    offset: Number(record.offset),
    timestampMs: Number(record.timestampMs),
    ...(key === "" ? {} : { key }),
    ...(json ? { json } : {}),
  });
}
