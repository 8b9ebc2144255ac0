/**
 * What a run's page shows beyond the trace: how each node's state went, which links were cut, what
 * became of messages that were lost, and when each one left.
 *
 * It only looks: it draws no chance, schedules nothing and adds nothing to the trace, so a run with
 * a recording is the run without one.
 */
import type { Message, NodeId } from "../../src/raft/index.js";
import type { SimulatedNode } from "../../src/testing/simulated-node.js";
import type { TraceEvent } from "./trace.js";
import type { World } from "./world.js";

/** What a node is, as somebody sees it who looks at all of them. */
export interface NodeState {
  /** A role of Raft, or what keeps the node from having one: `down`, `starting` or `paused`. */
  readonly role: string;
  readonly term: number;
  readonly commitIndex: number;
  readonly lastIndex: number;
  /** Offset after the last record applied. */
  readonly endOffset: number;
}

export interface StateChange extends NodeState {
  readonly step: number;
  readonly atMs: number;
  readonly node: string;
}

/** All links that are cut from here on, each as `from>to`. */
export interface CutChange {
  readonly step: number;
  readonly atMs: number;
  readonly cuts: readonly string[];
}

/** When a message left. */
export interface Departure {
  readonly sentStep: number;
  readonly sentAtMs: number;
}

const down: NodeState = { role: "down", term: 0, commitIndex: 0, lastIndex: 0, endOffset: 0 };

export class Recording {
  readonly #world: World;
  readonly states: StateChange[] = [];
  readonly cuts: CutChange[] = [];
  readonly lost: TraceEvent[] = [];
  /** When each step was, in order: clients know times only. */
  readonly steps: { readonly step: number; readonly atMs: number }[] = [];
  /** Names of nodes by the ids that they ever had. */
  readonly names = new Map<NodeId, string>();
  readonly #last = new Map<SimulatedNode, NodeState>();
  readonly #departures = new WeakMap<object, Departure>();
  #lastCuts = "";

  constructor(world: World) {
    this.#world = world;
  }

  /** Notes what has changed; after each step. */
  look(): void {
    const { nodes, simulation } = this.#world;
    const { stepCount: step, nowMs: atMs } = simulation;
    this.steps.push({ step, atMs });
    for (const node of nodes) {
      const last = this.#last.get(node) ?? down;
      const state = this.#stateOf(node, last);
      if (isEqual(state, last) && this.#last.has(node)) continue;
      this.#last.set(node, state);
      this.states.push({ step, atMs, node: node.name, ...state });
    }
    this.#lookAtLinks(step, atMs);
  }

  #stateOf(node: SimulatedNode, last: NodeState): NodeState {
    const { life } = node;
    if (!node.isRunning) return { ...last, role: "down" };
    if (node.isPaused) return { ...last, role: "paused" };
    if (life === undefined) return { ...last, role: "starting" };
    this.names.set(life.self.id, node.name);
    const { replica } = life.core;
    const { role, term, commitIndex, lastIndex } = replica.status();
    return { role, term, commitIndex, lastIndex, endOffset: replica.commitLog.endOffset };
  }

  #lookAtLinks(step: number, atMs: number): void {
    const { nodes, network } = this.#world;
    const cuts: string[] = [];
    for (const { host: from } of nodes) {
      for (const { host: to } of nodes) {
        if (from !== to && network.isCut(from, to)) cuts.push(`${from}>${to}`);
      }
    }
    const text = cuts.join(" ");
    if (text === this.#lastCuts) return;
    this.#lastCuts = text;
    this.cuts.push({ step, atMs, cuts });
  }

  sent(message: Message): void {
    const { stepCount: sentStep, nowMs: sentAtMs } = this.#world.simulation;
    this.#departures.set(message, { sentStep, sentAtMs });
  }

  /** When a message left that has arrived. */
  departureOf(message: object): Departure | undefined {
    return this.#departures.get(message);
  }

  /** @param event The message as it would be noted had it arrived. */
  noteLost(message: Message, why: string, event: TraceEvent): void {
    const text = `${event.text}; lost: ${why}`;
    this.lost.push({ ...event, ...this.departureOf(message), kind: "lost", text });
  }
}

function isEqual(one: NodeState, other: NodeState): boolean {
  return (
    one.role === other.role &&
    one.term === other.term &&
    one.commitIndex === other.commitIndex &&
    one.lastIndex === other.lastIndex &&
    one.endOffset === other.endOffset
  );
}
