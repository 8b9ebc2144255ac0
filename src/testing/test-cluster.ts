/**
 * A cluster of whole nodes in one process, on simulated network, disks and clock, for the tests of
 * programs that use proglog.
 *
 * The nodes run the production code. What happens follows from the seed and from what the program
 * does: the same seed and program give the same run, to the last message.
 *
 * Invariant: time moves only while something of the cluster is awaited (virtual-time.ts); a cluster
 * that is closed, or left alone, holds nothing of the process.
 */
import { crc32 } from "node:zlib";

import { nodeOptions } from "../agent/options.js";
import type { NodeOptions } from "../agent/options.js";
import { sleep } from "../common/clock.js";
import { systemClock } from "../common/system.js";
import { SeededRandom } from "./seeded-random.js";
import { SimulatedNetwork, goodLink } from "./simulated-network.js";
import { TestClient } from "./test-client.js";
import type { TestClientOptions } from "./test-client.js";
import { TestNode } from "./test-node.js";
import { VirtualTime } from "./virtual-time.js";

/** How links behave, until they are told otherwise. */
export interface NetworkConditions {
  /** How long a message takes, from and to; default 0.1 to 1 ms. */
  readonly delayMs?: readonly [number, number];
  /** Share of messages that are lost; default 0. */
  readonly lossRate?: number;
  /** Share of Raft messages that arrive twice; default 0. */
  readonly duplicateRate?: number;
  /** True: messages may overtake each other. Default false. */
  readonly reorders?: boolean;
}

export interface TestClusterOptions {
  /** How many nodes, 1 to 9; default 3. Of an even number one is a learner, and does not vote. */
  readonly nodes?: number;
  /** Decides all that is left to chance; default 1. */
  readonly seed?: number;
  readonly network?: NetworkConditions;
  /** Longest that a call of a disk takes; each takes a random part of it. Default 1. */
  readonly diskLatencyMs?: number;
  /** As of a node (docs/options.md), where tests want other values. */
  readonly options?: Partial<
    Pick<
      NodeOptions,
      | "electionTimeoutMs"
      | "heartbeatMs"
      | "requestTimeoutMs"
      | "maxRecordBytes"
      | "followerWrites"
      | "diskFreeBytesMin"
    >
  >;
}

export interface UntilOptions {
  /** Virtual time; default 60 000. */
  readonly timeoutMs?: number;
}

/** Wrong use of a simulated cluster, or something that it was waited for in vain. */
export class TestClusterError extends Error {
  override readonly name = "TestClusterError";
}

const kibibyte = 1024;
const nodeCountMax = 9;
const waitMsMax = 60_000;
const pollMs = 5;
/** Events that are kept for the report of a failure. */
const eventsKept = 30;
const eventLengthMax = 200;

/** What a client or a node is to a partition: a place on the network. */
type Place = TestNode | TestClient;

export class TestCluster implements AsyncDisposable {
  readonly seed: number;
  readonly nodes: readonly TestNode[];
  readonly #nodeCount: number;
  readonly #time: VirtualTime;
  readonly #network: SimulatedNetwork;
  readonly #clients = new Set<TestClient>();
  #clientCount = 0;
  #events: string[] = [];
  #fingerprint = 0;
  #isClosed = false;

  /**
   * Makes a cluster, and waits until all its nodes are members and one of them leads.
   *
   * @throws TestClusterError, UsageError for options that can't be.
   */
  static async start(options: TestClusterOptions = {}): Promise<TestCluster> {
    const cluster = new TestCluster(options);
    try {
      await cluster.#form();
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  /**
   * Runs a program with a cluster of its own, which is closed after it. What the program throws
   * then names the seed, how to replay it, and what happened last.
   */
  static async run<T>(
    options: TestClusterOptions,
    program: (cluster: TestCluster) => Promise<T>,
  ): Promise<T> {
    const cluster = await TestCluster.start(options);
    try {
      return await program(cluster);
    } catch (error) {
      throw cluster.#withReport(error);
    } finally {
      await cluster.close();
    }
  }

  private constructor(options: TestClusterOptions) {
    const { nodes: count = 3, seed = 1 } = options;
    if (!Number.isSafeInteger(seed)) {
      throw new TestClusterError(`seed is an integer, not ${String(seed)}.`);
    }
    if (!Number.isInteger(count) || count < 1 || count > nodeCountMax) {
      const range = `1 to ${String(nodeCountMax)}`;
      throw new TestClusterError(`nodes is a number from ${range}, not ${String(count)}.`);
    }
    this.seed = seed;
    this.#nodeCount = count;
    this.#time = new VirtualTime(
      (run) => systemClock.defer(run),
      (what, cause) => this.#error(what, cause),
    );
    this.#network = new SimulatedNetwork(this.#time.simulation, this.#random("network"));
    this.network(options.network ?? {});
    this.#network.observer = {
      sent: (message, wire) => this.#mix(crc32(wire) ^ message.term),
      delivered: (_message, wire) => this.#mix(wire.length),
      lost: () => undefined,
    };
    const names = Array.from({ length: count }, (_, nth) => `n${String(nth + 1)}`);
    this.nodes = names.map((name) => this.#newNode(name, names, options));
  }

  #random(stream: string): SeededRandom {
    return new SeededRandom(this.seed, stream);
  }

  #newNode(name: string, names: readonly string[], given: TestClusterOptions): TestNode {
    const isFounder = name === names[0];
    const options = nodeOptions(
      {
        voters: nodeCountMax,
        requestTimeoutMs: 5000,
        // Small files: a simulated disk holds them in memory.
        segmentBytes: 1024 * kibibyte,
        raftLogFileBytes: 2048 * kibibyte,
        raftLogKeepBytes: 1024 * kibibyte,
        checkpointBytes: 1024 * kibibyte,
        tailCacheBytes: 1024 * kibibyte,
        diskFreeBytesMin: 64 * kibibyte,
        ...given.options,
        nodeName: name,
        dataDir: "simulated",
        rpcAddr: `${name}:8400`,
        httpAddr: `${name}:5000`,
        bootstrap: isFounder,
        join: isFounder ? [] : names.map((other) => `${other}:8400`),
      },
      name,
    );
    return new TestNode({
      ...{ time: this.#time, network: this.#network, options },
      random: this.#random(`node ${name}`),
      diskRandom: this.#random(`disk ${name}`),
      diskLatencyMs: given.diskLatencyMs ?? 1,
      note: (node, what) => this.#note(node, what),
      error: (what, cause) => this.#error(what, cause),
    });
  }

  async #form(): Promise<void> {
    const [founder, ...others] = this.nodes;
    founder?.launch();
    await this.until(() => founder?.status().role === "leader");
    for (const node of others) node.launch();
    // Voters are of an odd number: more would only make a quorum harder to have.
    const voterCount = this.nodes.length - ((this.nodes.length + 1) % 2);
    await this.until(() => {
      const voters = this.leader()?.life?.core.replica.status().configuration.voters;
      return voters?.length === voterCount;
    });
    await this.settle();
  }

  /** Virtual milliseconds since the cluster was made. */
  get nowMs(): number {
    return this.#time.nowMs;
  }

  /** What has happened so far as one number: equal after equal runs, and else hardly ever. */
  get fingerprint(): string {
    return this.#fingerprint.toString(16).padStart(8, "0");
  }

  /** The node that leads in the highest term, as far as nodes know; undefined if none does. */
  leader(): TestNode | undefined {
    let best: TestNode | undefined;
    let bestTerm = 0;
    for (const node of this.nodes) {
      const replica = node.life?.core.replica;
      if (replica?.isLeader !== true || replica.term <= bestTerm) continue;
      best = node;
      bestTerm = replica.term;
    }
    return best;
  }

  /** Nodes that run and do not lead. */
  followers(): TestNode[] {
    const leader = this.leader();
    return this.nodes.filter((node) => node.life !== undefined && node !== leader);
  }

  /** The node of this name, `n1` and so on. @throws TestClusterError if there is none. */
  node(name: string): TestNode {
    const node = this.nodes.find((other) => other.name === name);
    if (node !== undefined) return node;
    const names = this.nodes.map((other) => other.name).join(", ");
    throw this.#error(`There is no node ${JSON.stringify(name)}; there are ${names}`);
  }

  /** A client, as `new Client(…)` makes one. Without `servers` it knows all nodes. */
  client(options: TestClientOptions = {}): TestClient {
    this.#mustBeOpen();
    this.#clientCount += 1;
    const host = `client-${String(this.#clientCount)}`;
    const client: TestClient = new TestClient(
      {
        ...{ time: this.#time, network: this.#network, host },
        random: this.#random(host),
        servers: this.nodes.map((node) => node.rpcAddr),
        onClose: () => this.#clients.delete(client),
      },
      options,
    );
    this.#clients.add(client);
    return client;
  }

  /**
   * Cuts all links between the groups, in place of any cut before. Nodes that no group names are a
   * group of their own; clients that no group names reach all nodes.
   */
  partition(...groups: readonly (readonly Place[])[]): void {
    const named = groups.flat();
    for (const place of named) this.#mustKnow(place);
    const twice = named.find((place, nth) => named.indexOf(place) !== nth);
    if (twice !== undefined) throw this.#error(`${placeName(twice)} is in two groups`);
    const rest = this.nodes.filter((node) => !named.includes(node));
    const all = rest.length === 0 ? groups : [...groups, rest];
    this.#network.heal();
    for (const group of all) {
      for (const other of all) if (other !== group) this.#cutAll(group, other);
    }
    const text = all.map((group) => group.map(placeName).join(" ")).join(" | ");
    this.#note("", `partition ${text}`);
  }

  /** Cuts the way from one to another; the way back stays. */
  cut(from: Place, to: Place): void {
    for (const place of [from, to]) this.#mustKnow(place);
    this.#note("", `cut ${placeName(from)} > ${placeName(to)}`);
    this.#network.cut(from.host, to.host);
  }

  #cutAll(from: readonly Place[], to: readonly Place[]): void {
    for (const { host } of from) for (const other of to) this.#network.cut(host, other.host);
  }

  /** Ends all cuts. */
  heal(): void {
    this.#note("", "heal");
    this.#network.heal();
  }

  /** How all links behave from now on; what is left out is as by default. */
  network({ delayMs, lossRate, duplicateRate, reorders }: NetworkConditions): void {
    const [delayMsMin, delayMsMax] = delayMs ?? [goodLink.delayMsMin, goodLink.delayMsMax];
    const rates = [lossRate ?? 0, duplicateRate ?? 0];
    if (!(delayMsMin >= 0 && delayMsMax >= delayMsMin && Number.isFinite(delayMsMax))) {
      throw this.#error("delayMs is [least, most] in milliseconds");
    }
    if (rates.some((rate) => !(rate >= 0 && rate <= 1))) throw this.#error("A rate is from 0 to 1");
    this.#network.faults = {
      ...goodLink,
      ...{ delayMsMin, delayMsMax, lossRate: lossRate ?? 0, duplicateRate: duplicateRate ?? 0 },
      reorders: reorders ?? false,
    };
  }

  /** Lets so much virtual time pass. */
  async advance(ms: number): Promise<void> {
    if (!(ms >= 0 && ms < 2 ** 31)) {
      throw this.#error(`advance() takes milliseconds, not ${String(ms)}`);
    }
    await this.#time.advance(ms);
  }

  /**
   * Lets time pass until the condition holds.
   *
   * @throws TestClusterError if it does not hold in time; what the condition throws.
   */
  async until(
    isTrue: () => boolean | Promise<boolean>,
    { timeoutMs = waitMsMax }: UntilOptions = {},
  ): Promise<void> {
    const deadlineMs = this.nowMs + timeoutMs;
    while (!(await isTrue())) {
      if (this.nowMs >= deadlineMs) {
        throw this.#error(`What was waited for did not come in ${String(timeoutMs)} ms`);
      }
      await this.#time.wait(sleep(this.#time.clock, pollMs));
    }
  }

  /**
   * Lets time pass until one node leads, and each node that runs has applied all that it has.
   *
   * @throws TestClusterError that says what is missing.
   */
  async settle({ timeoutMs = waitMsMax }: UntilOptions = {}): Promise<void> {
    const deadlineMs = this.nowMs + timeoutMs;
    for (let lack = this.#lack(); lack !== undefined; lack = this.#lack()) {
      if (this.nowMs >= deadlineMs) {
        throw this.#error(`The cluster did not settle in ${String(timeoutMs)} ms: ${lack}`);
      }
      await this.#time.wait(sleep(this.#time.clock, pollMs));
    }
  }

  /** What keeps the cluster from being settled; undefined if nothing does. */
  #lack(): string | undefined {
    const leader = this.leader();
    if (leader?.life === undefined) return "no node leads";
    const { commitIndex, isReady, lastIndex } = leader.life.core.replica.status();
    if (!isReady || commitIndex < lastIndex) {
      return `${leader.name} leads, and not all it has is committed`;
    }
    for (const { name, state, life } of this.nodes) {
      if (state === "down" || state === "paused") continue;
      const applied = life?.core.replica.appliedIndex ?? 0;
      if (applied === commitIndex) continue;
      return `${name} has applied ${String(applied)} of ${String(commitIndex)} entries`;
    }
    return undefined;
  }

  /** A signal that aborts after so much virtual time: `AbortSignal.timeout` takes real time. */
  timeoutSignal(ms: number): AbortSignal {
    const controller = new AbortController();
    this.#time.clock.setTimer(ms, () => {
      controller.abort(new DOMException(`${String(ms)} virtual ms are over`, "TimeoutError"));
    });
    return controller.signal;
  }

  /** Ends everything: clients' calls are rejected, nodes are gone. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const client of [...this.#clients]) await client.close();
    for (const node of this.nodes) node.end();
    await this.#time.end(this.#error("The cluster is closed"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #mustBeOpen(): void {
    if (this.#isClosed) throw this.#error("The cluster is closed");
  }

  #mustKnow(place: Place): void {
    const isOurs =
      (place instanceof TestNode && this.nodes.includes(place)) ||
      (place instanceof TestClient && this.#clients.has(place));
    if (!isOurs) {
      throw this.#error("A partition takes nodes and open clients of this cluster, in arrays");
    }
  }

  #mix(value: number): void {
    const at = Math.round(this.nowMs * 1000);
    this.#fingerprint = Math.imul(this.#fingerprint ^ (value | 0), 0x01000193);
    this.#fingerprint = Math.imul(this.#fingerprint ^ (at | 0), 0x01000193) >>> 0;
  }

  #note(node: string, what: string): void {
    const at = `${(this.nowMs / 1000).toFixed(4)} s`;
    this.#mix(crc32(node + what));
    this.#events.push(`${at.padStart(12)}  ${node.padEnd(3)} ${what}`.slice(0, eventLengthMax));
    if (this.#events.length >= 2 * eventsKept) this.#events = this.#events.slice(-eventsKept);
  }

  get #replay(): string {
    const seconds = (this.nowMs / 1000).toFixed(3);
    const options = `{ nodes: ${String(this.#nodeCount)}, seed: ${String(this.seed)}, … }`;
    return `seed ${String(this.seed)}, at ${seconds} virtual seconds; replay with ${options}`;
  }

  #error(what: string, cause?: unknown): TestClusterError {
    const options = cause === undefined ? {} : { cause };
    return new TestClusterError(`${what} (${this.#replay}).`, options);
  }

  /** Adds to the error's text what is needed to see it again. */
  #withReport(error: unknown): unknown {
    if (!(error instanceof Error)) return error;
    const report = [this.#replay, "what happened last:", ...this.#events.slice(-eventsKept)];
    const { message, stack } = error;
    error.message = `${message}\n\n${report.join("\n")}\n`;
    if (stack !== undefined) error.stack = stack.replace(message, () => error.message);
    return error;
  }
}

function placeName(place: Place): string {
  return place instanceof TestNode ? place.name : place.host;
}
