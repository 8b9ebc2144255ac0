/**
 * The simulated cluster of a run: nodes with their disks on one network, in one virtual time.
 */
import { crc32 } from "node:zlib";

import type { NodeOptions } from "../../src/agent/options.js";
import type { Logger } from "../../src/observability/logger.js";
import { SeededRandom } from "../../src/testing/seeded-random.js";
import { SimulatedDisk } from "../../src/testing/simulated-disk.js";
import { SimulatedNetwork } from "../../src/testing/simulated-network.js";
import { SimulatedNode } from "../../src/testing/simulated-node.js";
import type { EventOwner, SimulatedEvent } from "../../src/testing/simulation.js";
import { Simulation } from "../../src/testing/simulation.js";
import type { Plan } from "./plan.js";
import type { Trace } from "./trace.js";

/** A broken promise: what the run is for. */
export class Violation extends Error {
  readonly invariant: string;

  constructor(invariant: string, message: string) {
    super(message);
    this.name = "Violation";
    this.invariant = invariant;
  }
}

/** Events of a node's disk: they are not lost with a process, but a paused one hears them later. */
class DiskOwner implements EventOwner {
  node: SimulatedNode | undefined;
  readonly isGone = false;

  get isPaused(): boolean {
    return this.node?.isPaused === true;
  }

  withhold(event: SimulatedEvent): void {
    this.node?.process?.withhold(event);
  }
}

export class World {
  readonly plan: Plan;
  readonly simulation = new Simulation(setImmediate);
  readonly network: SimulatedNetwork;
  readonly nodes: SimulatedNode[] = [];
  readonly trace: Trace;
  /** Clock rates by node. */
  readonly rates = new Map<string, number>();
  /** What faults were injected, by kind. */
  readonly injected = new Map<string, number>();
  /** Errors that ended nodes by themselves since the last look. */
  readonly failures: { readonly node: SimulatedNode; readonly error: Error }[] = [];
  /** The node whose disk was damaged; what it says of damage is right. */
  damaged: SimulatedNode | undefined;
  /** Nodes of which sealed segments were damaged. */
  readonly flipped = new Set<string>();
  /** Segments that were repaired. */
  repairedCount = 0;
  violation: Violation | undefined;
  /** The highest end of the log that a client was told of. */
  endOffsetSeen = 0;
  readonly #diskOwners = new Map<EventOwner, SimulatedNode>();
  #incarnation = 0;

  constructor(plan: Plan, trace: Trace) {
    this.plan = plan;
    this.trace = trace;
    this.network = new SimulatedNetwork(this.simulation, new SeededRandom(plan.seed, "network"));
    this.network.faults = plan.link;
    for (let at = 1; at <= plan.nodeCount; at += 1) this.#addNode(`n${String(at)}`);
  }

  #addNode(name: string): void {
    const owner = new DiskOwner();
    const node: SimulatedNode = new SimulatedNode({
      simulation: this.simulation,
      network: this.network,
      random: new SeededRandom(this.plan.seed, `node ${name}`),
      disk: this.newDisk(owner),
      options: this.optionsOf(name, name === "n1"),
      logger: this.#loggerOf(name),
      clockRate: () => this.rates.get(name) ?? 1,
      onCheckpoint: (saving, { appliedIndex }, bytes) => {
        this.#checkCheckpoint(saving, appliedIndex, crc32(bytes));
      },
      onFailed: (failed, error) => {
        this.note(name, "ended", error.message);
        this.failures.push({ node: failed, error });
      },
    });
    owner.node = node;
    this.#diskOwners.set(owner, node);
    this.nodes.push(node);
  }

  /** I4: with the same entries applied, all nodes keep the same bytes, producers and all. */
  #checkCheckpoint(node: SimulatedNode, appliedIndex: number, checksum: number): void {
    const known = this.#checkpoints.get(appliedIndex) ?? checksum;
    this.#checkpoints.set(appliedIndex, known);
    if (known === checksum) return;
    const what = `its checkpoint at entry ${appliedIndex} is not what another node's was`;
    this.violation ??= new Violation("I4", `${node.name}: ${what}`);
  }

  readonly #checkpoints = new Map<number, number>();

  newDisk(owner?: EventOwner): SimulatedDisk {
    this.#incarnation += 1;
    return new SimulatedDisk({
      random: new SeededRandom(this.plan.seed, `disk ${String(this.#incarnation)}`),
      schedule: (delayMs, run) => {
        this.simulation.schedule(delayMs, run, owner);
      },
      latencyMsMax: this.plan.diskLatencyMsMax,
    });
  }

  /** Puts each one's disk into the other's place; both nodes end. */
  exchangeDisks(one: SimulatedNode, other: SimulatedNode): void {
    one.exchangeDisks(other);
    for (const [owner, owned] of this.#diskOwners) {
      const now = owned === one ? other : owned === other ? one : owned;
      this.#diskOwners.set(owner, now);
      if (owner instanceof DiskOwner) owner.node = now;
    }
  }

  /** The owner of a node's disk's events. */
  diskOwnerOf(node: SimulatedNode): EventOwner | undefined {
    for (const [owner, owned] of this.#diskOwners) if (owned === node) return owner;
    return undefined;
  }

  /** The node that an event belongs to. */
  nodeOf(owner: EventOwner | undefined): SimulatedNode | undefined {
    if (owner === undefined) return undefined;
    return this.#diskOwners.get(owner) ?? this.nodes.find((node) => node.process === owner);
  }

  optionsOf(name: string, isFounder: boolean): NodeOptions {
    const join = isFounder
      ? []
      : Array.from({ length: this.plan.nodeCount }, (_, at) => `n${String(at + 1)}:8400`);
    return {
      ...this.plan.options,
      nodeName: name,
      rpcAddr: `${name}:8400`,
      httpAddr: `${name}:5000`,
      bootstrap: isFounder,
      join,
    };
  }

  #loggerOf(name: string): Logger {
    const say =
      (level: string) =>
      (fields: object, event: string): void => {
        const text = `${event} ${JSON.stringify(fields)}`;
        this.note(name, level, text);
        // No fault takes a file away, or puts one where there was none.
        if (/not-found|: exists/.test(text)) this.violation ??= new Violation("files", text);
        if (event === "segment-damaged" && !this.mayBeDamaged(name)) {
          this.violation ??= new Violation(
            "damage",
            `${name} finds damage where none was: ${text}`,
          );
        }
        if (event === "segment-repaired") this.repairedCount += 1;
      };
    const logger: Logger = {
      debug: () => undefined,
      info: say("info"),
      warn: say("warn"),
      error: say("error"),
      child: () => logger,
    };
    return logger;
  }

  /** True for a node that may rightly say that something of its log is damaged. */
  mayBeDamaged(name: string): boolean {
    return this.damaged?.name === name || this.flipped.has(name);
  }

  /** Adds what happened to the trace. */
  note(node: string, kind: string, text: string): void {
    const { stepCount: step, nowMs: atMs } = this.simulation;
    this.trace.add({ step, atMs, node, kind, text });
  }

  /** Counts a fault, and notes it. */
  inject(kind: string, node: string, text: string): void {
    this.injected.set(kind, (this.injected.get(kind) ?? 0) + 1);
    this.note(node, "fault", `${kind}: ${text}`);
  }

  violate(invariant: string, message: string): never {
    this.violation ??= new Violation(invariant, message);
    throw this.violation;
  }

  /** The node that leads in the highest term, as far as nodes that run know. */
  leader(): SimulatedNode | undefined {
    let best: SimulatedNode | undefined;
    let bestTerm = 0;
    for (const node of this.nodes) {
      const replica = node.life?.core.replica;
      if (replica?.isLeader !== true || replica.term <= bestTerm) continue;
      best = node;
      bestTerm = replica.term;
    }
    return best;
  }
}
