/**
 * One run: a cluster forms, clients work while faults happen, everything heals, and then the
 * cluster must come to rest, serve, and hold exactly what it acknowledged.
 */
import { decodeBatch } from "../../src/common/record.js";
import type { Message } from "../../src/raft/index.js";
import type { SimulatedNode } from "../../src/testing/simulated-node.js";
import { check } from "../history/check.js";
import type { FinalLog, History } from "../history/history.js";
import { HistoryRecorder } from "../history/history.js";
import { SimulatedClient } from "./clients.js";
import { Faults } from "./faults.js";
import { Invariants } from "./invariants.js";
import { planOf } from "./plan.js";
import type { Plan } from "./plan.js";
import { Recording } from "./recording.js";
import type { TraceEvent } from "./trace.js";
import { Trace } from "./trace.js";
import { Violation, World } from "./world.js";

export interface RunOptions {
  readonly seed: number;
  /** Steps in the faulty phase; healing and the checks take some more. */
  readonly steps: number;
  readonly nodeCount?: number;
  /** Ends the run after this step, before anything is healed. */
  readonly until?: number;
  /** Latest events that are kept for the report. */
  readonly keepEvents?: number;
  /** Records what a page of the run shows beyond its events. */
  readonly isRecorded?: boolean;
}

export interface RunReport {
  readonly plan: Plan;
  readonly steps: number;
  readonly virtualMs: number;
  readonly hash: string;
  readonly injected: ReadonlyMap<string, number>;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly rejected: number;
  readonly reads: number;
  readonly leaders: number;
  /** Sealed segments that were made whole from other nodes. */
  readonly repaired: number;
  readonly committedIndex: number;
  readonly violation: Violation | undefined;
  /** The latest events, oldest first. */
  readonly events: readonly TraceEvent[];
  /** What clients saw; the nodes' last logs are not part of it. */
  readonly history: History;
  readonly recording: Recording | undefined;
}

/** Virtual time that a healed cluster has to come to rest, and to serve. */
const restMs = 120_000;
const servedMin = 10;

export async function runSeed(options: RunOptions): Promise<RunReport> {
  const run = new Run(options);
  return run.run();
}

class Run {
  readonly #options: RunOptions;
  readonly #world: World;
  readonly #invariants: Invariants;
  readonly #faults: Faults;
  readonly #history = new HistoryRecorder();
  readonly #recording: Recording | undefined;
  readonly #writers: SimulatedClient[] = [];
  readonly #readers: SimulatedClient[] = [];
  /** The nodes that are to be whole in the end: all, or a quorum at first. */
  #whole: readonly SimulatedNode[] = [];

  constructor(options: RunOptions) {
    this.#options = options;
    const plan = planOf(options.seed, options.nodeCount);
    this.#world = new World(plan, new Trace(options.keepEvents ?? 300));
    this.#invariants = new Invariants(this.#world);
    this.#recording = options.isRecorded === true ? new Recording(this.#world) : undefined;
    this.#faults = new Faults(this.#world, () => this.#isFaultyPhaseOver);
    const { trace } = this.#world;
    this.#world.network.observer = {
      sent: (message, wire) => {
        trace.mix(wire.length * 31 + message.term);
        this.#recording?.sent(message);
        this.#checkSent(message);
      },
      delivered: (message, wire) => {
        trace.mix(wire.length);
        if (trace.isKeeping) trace.add(this.#eventOf(message));
      },
      lost: (message, why) => {
        this.#recording?.noteLost(message, why, this.#eventOf(message));
      },
    };
  }

  /** What is broken is noted, and ends the run after this step: not in the midst of a node's work. */
  #checkSent(message: Message): void {
    try {
      this.#invariants.sent(message);
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
    }
  }

  #eventOf(message: Message): TraceEvent {
    const { nodes, simulation } = this.#world;
    const named = (id: string): string =>
      nodes.find((node) => node.life?.self.id === id)?.name ?? id.slice(0, 8);
    const { stepCount: step, nowMs: atMs } = simulation;
    const { type, term } = message;
    const from = named(message.from);
    return {
      step,
      atMs,
      node: named(message.to),
      kind: "message",
      text: describe(message, type, term, from),
      from,
      type,
      ...this.#recording?.departureOf(message),
    };
  }

  get #isFaultyPhaseOver(): boolean {
    return this.#world.simulation.stepCount >= this.#options.steps;
  }

  async run(): Promise<RunReport> {
    const unhandled = (error: unknown): void => {
      this.#world.violation ??= new Violation(
        "crash",
        `unhandled rejection: ${String((error as Error).stack)}`,
      );
    };
    process.on("unhandledRejection", unhandled);
    try {
      this.#startNodes();
      this.#startClients();
      this.#faults.start();
      await this.#advance(() => this.#isFaultyPhaseOver);
      if (this.#options.until === undefined) await this.#finish();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.#world.violation ??= error;
    } finally {
      process.removeListener("unhandledRejection", unhandled);
    }
    return this.#report();
  }

  #startNodes(): void {
    for (const node of this.#world.nodes) {
      // The founder first, as a person would; the others whenever.
      const delayMs = node.name === "n1" ? 0 : this.#world.network.random.between(0, 500);
      this.#world.simulation.schedule(delayMs, () => {
        node.start();
      });
    }
  }

  #startClients(): void {
    const { writers, readers } = this.#world.plan.clients;
    for (let at = 1; at <= writers; at += 1) this.#newClient(this.#writers, `w${String(at)}`);
    for (let at = 1; at <= readers; at += 1) this.#newClient(this.#readers, `r${String(at)}`);
    for (const client of this.#writers) this.#watch(client.write());
    for (const client of this.#readers) this.#watch(client.read());
  }

  #newClient(clients: SimulatedClient[], name: string): void {
    clients.push(new SimulatedClient(this.#world, this.#history, name));
  }

  /** Work of clients that is under way. */
  #workCount = 0;

  #watch(work: Promise<void>): void {
    this.#workCount += 1;
    work.then(
      () => {
        this.#workCount -= 1;
      },
      (error: unknown) => {
        const { message, stack } = error as Error;
        this.#world.violation ??= new Violation(
          "client",
          `a client failed: ${message}\n${stack ?? ""}`,
        );
      },
    );
  }

  /** Runs until it is over, with all invariants looked at after every step. */
  async #advance(isOver: () => boolean): Promise<void> {
    const { simulation, trace } = this.#world;
    const { until = Infinity } = this.#options;
    await simulation.run(() => {
      const node = this.#world.nodeOf(simulation.lastOwner);
      trace.mix(Math.round(simulation.nowMs * 1000));
      this.#recording?.look();
      if (node !== undefined) this.#invariants.check(node);
      if (this.#world.failures.length > 0) this.#faults.tend();
      if (this.#world.violation !== undefined) throw this.#world.violation;
      return isOver() || simulation.stepCount >= until;
    });
  }

  async #finish(): Promise<void> {
    this.#world.note("", "heal", "everything");
    this.#whole = this.#world.nodes;
    this.#faults.heal();
    this.#world.network.faults = { ...this.#world.plan.link, lossRate: 0, longDelayRate: 0 };
    this.#world.network.renewStreams();
    for (const client of [...this.#writers, ...this.#readers]) client.stop();
    if (this.#world.plan.healsQuorumFirst) await this.#serveWithQuorum();
    this.#restartAll();
    await this.#settle("come to rest");
    await this.#serve();
    if (this.#world.plan.clients.copiesRate > 0) await this.#repeat();
    await this.#judge();
  }

  /** The second mode of liveness: a quorum is whole and must serve, the rest stays broken. */
  async #serveWithQuorum(): Promise<void> {
    this.#whole = this.#faults.breakMinority();
    const names = this.#whole.map(({ name }) => name).join(" ");
    this.#world.note("", "heal", `a quorum first: ${names}`);
    this.#restartAll();
    await this.#settle("come to rest with a quorum");
    await this.#serve();
    this.#whole = this.#world.nodes;
    this.#world.network.heal();
  }

  /** Every second what is down is started; what cannot be is replaced, as a person would. */
  #restartAll(): void {
    const tended = this.#whole;
    for (const node of tended) this.#faults.look(node);
    this.#world.simulation.schedule(1000, () => {
      // Others are whole now: a round of its own looks after them.
      if (this.#whole === tended) this.#restartAll();
    });
  }

  async #settle(what: string): Promise<void> {
    const { simulation } = this.#world;
    const deadlineMs = simulation.nowMs + restMs;
    let lookMs = 0;
    await this.#advance(() => {
      if (simulation.nowMs < lookMs) return false;
      lookMs = simulation.nowMs + 50;
      const lack = this.#lack();
      if (lack === undefined) return true;
      if (simulation.nowMs > deadlineMs) {
        const seconds = String(restMs / 1000);
        this.#world.violate(
          "F4",
          `The healed cluster did not ${what} within ${seconds} s: ${lack}.`,
        );
      }
      return false;
    });
  }

  /** What keeps the cluster from being at rest; undefined if nothing does. */
  #lack(): string | undefined {
    if (this.#workCount > 0) return "clients have not ended";
    const leader = this.#world.leader();
    if (leader?.life === undefined) return "there is no leader";
    const { configuration, commitIndex, isReady, lastIndex } = leader.life.core.replica.status();
    if (!isReady) return "the leader has committed nothing in its term";
    if (commitIndex < lastIndex) return `entries up to ${String(lastIndex)} are not committed`;
    const members = [...configuration.voters, ...configuration.learners];
    for (const node of this.#whole) {
      const { life } = node;
      if (life === undefined) return `${node.name} is down`;
      if (!members.some((member) => member.id === life.self.id)) return `${node.name} is no member`;
      const { appliedIndex } = life.core.replica;
      if (appliedIndex !== commitIndex) {
        return `${node.name} has applied ${String(appliedIndex)} of ${String(commitIndex)}`;
      }
    }
    return undefined;
  }

  /** A cluster at rest serves: some writes and reads must end well, of each client. */
  async #serve(): Promise<void> {
    const { simulation } = this.#world;
    const deadlineMs = simulation.nowMs + restMs;
    const before = this.#counts();
    const [writer] = this.#writers;
    const [reader] = this.#readers;
    if (writer === undefined || reader === undefined) return;
    let isDone = false;
    const work = async (): Promise<void> => {
      while (this.#counts().acknowledged < before.acknowledged + servedMin) await writer.append();
      while (this.#counts().reads < before.reads + servedMin) await reader.readOnce();
      isDone = true;
    };
    this.#watch(work());
    await this.#advance(() => {
      if (simulation.nowMs > deadlineMs) {
        this.#world.violate("F4", "The healed cluster does not serve writes and reads.");
      }
      return isDone;
    });
  }

  /** All nodes are killed; when they are back, each tells of what is remembered what was told. */
  async #repeat(): Promise<void> {
    this.#world.note("", "heal", "all nodes start again, and are asked again");
    for (const node of this.#world.nodes) node.crash("kill");
    await this.#settle("come to rest after a restart of all");
    let isDone = false;
    const work = async (): Promise<void> => {
      for (const writer of this.#writers) {
        for (const { host } of this.#world.nodes) await writer.repeat(host);
      }
      isDone = true;
    };
    this.#watch(work());
    await this.#advance(() => isDone);
  }

  /** F1 to F3, and the order in time of all that clients saw. */
  async #judge(): Promise<void> {
    // A request that was long on its way may come in while the logs are read.
    for (let isStill = false; !isStill;) {
      await this.#settle("come to rest for the last look");
      const before = this.#endOffsets();
      const logs = await this.#readLogs();
      isStill = this.#endOffsets() === before;
      if (isStill) this.#judgeLogs(logs);
    }
  }

  #endOffsets(): string {
    const ends = this.#world.nodes.map((node) => node.life?.core.replica.commitLog.endOffset);
    return ends.join(" ");
  }

  async #readLogs(): Promise<FinalLog[]> {
    const logs: FinalLog[] = [];
    for (const node of this.#world.nodes) {
      let log: FinalLog | undefined;
      const reading = this.#readLog(node).then((read) => {
        log = read;
      });
      this.#watch(reading);
      await this.#advance(() => log !== undefined);
      if (log !== undefined) logs.push(log);
    }
    return logs;
  }

  #judgeLogs(logs: readonly FinalLog[]): void {
    const [first] = check(this.#history.history(logs));
    if (first !== undefined) this.#world.violate(first.kind, first.message);
  }

  async #readLog(node: SimulatedNode): Promise<FinalLog> {
    const records: { offset: number; value: string }[] = [];
    const commitLog = node.life?.core.replica.commitLog;
    if (commitLog === undefined) throw new Error(`${node.name} is down`);
    let offset = commitLog.startOffset;
    while (offset < commitLog.endOffset) {
      try {
        for (const batch of await commitLog.read(offset, 64 * 1024)) {
          for (const record of decodeBatch(batch)) {
            records.push({ offset: record.offset, value: record.value.toString() });
          }
          offset = batch.offset + batch.count;
        }
      } catch (error) {
        const isExcused = this.#world.mayBeDamaged(node.name);
        if ((error as Error).name !== "DamageError" || !isExcused) throw error;
        if (await this.#isRepaired(node, offset)) continue;
        // Named, and not served: what is damaged here is whole on the others.
        return { node: node.name, records, mayLag: true };
      }
    }
    return { node: node.name, records };
  }

  /** What is sealed comes back from the others; only of the active segment there is no copy yet. */
  async #isRepaired(node: SimulatedNode, offset: number): Promise<boolean> {
    const { simulation } = this.#world;
    const commitLog = node.life?.core.replica.commitLog;
    const segments = commitLog?.sealedSegments() ?? [];
    const isSealed = segments.some((ref) => ref.baseOffset <= offset && offset < ref.endOffset);
    if (commitLog === undefined || !isSealed) return false;
    const deadlineMs = simulation.nowMs + restMs;
    while (simulation.nowMs < deadlineMs) {
      await new Promise<void>((resolve) => {
        simulation.schedule(200, resolve);
      });
      const isWhole = await commitLog.read(offset, 1).then(
        () => true,
        () => false,
      );
      if (isWhole) return true;
    }
    const seconds = String(restMs / 1000);
    const what = `offset ${offset} of ${node.name} is still damaged after ${seconds} s`;
    return this.#world.violate("R-D9", `A sealed segment is not repaired: ${what}.`);
  }

  #counts(): { acknowledged: number; unknown: number; rejected: number; reads: number } {
    const counts = { acknowledged: 0, unknown: 0, rejected: 0, reads: this.#history.reads.length };
    for (const { outcome } of this.#history.appends) {
      if (outcome.type === "ok") counts.acknowledged += 1;
      else counts[outcome.type] += 1;
    }
    return counts;
  }

  #report(): RunReport {
    const { plan, simulation, trace, injected, violation } = this.#world;
    return {
      plan,
      steps: simulation.stepCount,
      virtualMs: simulation.nowMs,
      hash: trace.hash,
      injected,
      ...this.#counts(),
      leaders: this.#invariants.leaderCount,
      repaired: this.#world.repairedCount,
      committedIndex: this.#invariants.committedIndex,
      violation,
      events: trace.events,
      history: this.#history.history([]),
      recording: this.#recording,
    };
  }
}

function describe(message: object, type: string, term: number, from: string): string {
  const shown = Object.entries(message)
    .filter(([key]) => !["type", "from", "to", "term", "entries"].includes(key))
    .map(([key, value]) => `${key} ${String(value)}`)
    .join(", ");
  const entries = (message as { readonly entries?: readonly object[] }).entries;
  const count = entries === undefined ? "" : ` ${String(entries.length)} entries,`;
  return `${type} from ${from} in term ${String(term)}:${count} ${shown}`;
}
