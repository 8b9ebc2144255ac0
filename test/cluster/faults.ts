/**
 * Breaks a cluster of real processes in every way that needs no root, one fault after the other,
 * and mends it again.
 *
 * A seed decides the kinds, the victims and the times, as far as real processes let it. Kinds are
 * dealt like cards, so that each comes before any comes twice. Invariants: whatever a fault
 * did is undone by `mend`, at the latest; a process that ends without being told to is noted.
 */
import { performance } from "node:perf_hooks";

import type { Chance } from "../history/random.js";
import type { NodeProcess } from "./harness.js";
import { ask } from "./http-client.js";
import { briefly } from "./poll.js";
import { linkFaults, linkKinds } from "./soak/link-faults.js";
import type { LinkKind } from "./soak/link-faults.js";
import type { LinkedCluster } from "./soak/peer-links.js";
import type { Watch } from "./soak/watch.js";

const processKinds = ["kill-leader", "kill-any", "pause", "terminate", "transfer"] as const;
export type FaultKind = (typeof processKinds)[number] | LinkKind;
export const faultKinds: readonly FaultKind[] = [...processKinds, ...linkKinds];

export interface DiaryLine {
  readonly atMs: number;
  readonly what: string;
}

/** How a fault is undone. */
type Undo = () => Promise<void>;

export class Nemesis {
  readonly counts = new Map<FaultKind, number>(faultKinds.map((kind) => [kind, 0]));
  /** What must never happen, and did. */
  readonly complaints: string[] = [];
  /** What was done when, for whoever has to understand a failure. */
  readonly diary: DiaryLine[] = [];
  readonly #linked: LinkedCluster;
  readonly #watch: Watch;
  readonly #chance: Chance;
  readonly #down = new Set<NodeProcess>();
  #deck: FaultKind[] = [];

  constructor(linked: LinkedCluster, watch: Watch, chance: Chance) {
    this.#linked = linked;
    this.#watch = watch;
    this.#chance = chance;
  }

  /** Begins a fault every 1 to 4 s for so long, and leaves everything whole. */
  async run(durationMs: number): Promise<void> {
    const endMs = performance.now() + durationMs;
    while (performance.now() < endMs && this.complaints.length === 0) {
      const begunMs = performance.now();
      const intervalMs = this.#chance.between(1_000, 4_000);
      const holdMs = intervalMs * this.#chance.between(0.5, 0.9);
      const undoes = await this.#strike();
      await briefly(Math.max(0, begunMs + holdMs - performance.now()));
      for (const undo of undoes) await undo();
      await briefly(Math.max(0, begunMs + intervalMs - performance.now()));
      this.#lookForTheDead();
    }
    await this.mend();
  }

  /** Undoes whatever may still be broken. */
  async mend(): Promise<void> {
    this.#linked.heal();
    for (const node of this.#linked.nodes) {
      if (node.isRunning) node.cont();
      else if (this.#down.delete(node)) node.restart();
    }
    await Promise.resolve();
    this.#lookForTheDead();
  }

  /** One fault; now and then one of a process and one of links together. */
  async #strike(): Promise<Undo[]> {
    const kind = this.#deal();
    const undo = await this.#begin(kind);
    if (!this.#chance.is(0.2)) return [undo];
    const others = isLinkKind(kind) ? processKinds : linkKinds;
    return [undo, await this.#begin(this.#chance.of<FaultKind>(others))];
  }

  #deal(): FaultKind {
    if (this.#deck.length === 0) this.#deck = this.#chance.shuffled(faultKinds);
    const kind = this.#deck.pop();
    if (kind === undefined) throw new Error("the deck was just filled");
    return kind;
  }

  async #begin(kind: FaultKind): Promise<Undo> {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    const any = this.#chance.of(this.#linked.nodes);
    const leader = this.#watch.leader ?? any;
    const victim = this.#chance.is(0.5) ? leader : any;
    if (isLinkKind(kind)) {
      const scene = { linked: this.#linked, chance: this.#chance, leader, victim };
      this.#note(`${kind}: ${linkFaults[kind](scene)}`);
      return async () => {
        this.#note(`${kind}: healed`);
        this.#linked.heal();
        return Promise.resolve();
      };
    }
    switch (kind) {
      case "kill-leader":
        return this.#kill(leader);
      case "kill-any":
        return this.#kill(any);
      case "pause":
        return this.#pause(victim);
      case "terminate":
        return this.#terminate(victim);
      case "transfer":
        return this.#transfer(leader, any);
    }
  }

  async #kill(node: NodeProcess): Promise<Undo> {
    this.#note(`SIGKILL ${node.name}`);
    if (!node.isRunning) return nothing;
    this.#down.add(node);
    await node.kill9();
    return async () => this.#restart(node);
  }

  async #pause(node: NodeProcess): Promise<Undo> {
    this.#note(`SIGSTOP ${node.name}`);
    if (!node.isRunning) return nothing;
    node.stop();
    return async () => {
      this.#note(`SIGCONT ${node.name}`);
      node.cont();
      return Promise.resolve();
    };
  }

  async #terminate(node: NodeProcess): Promise<Undo> {
    this.#note(`SIGTERM ${node.name}`);
    if (!node.isRunning) return nothing;
    this.#down.add(node);
    const ended = node.terminate();
    return async () => {
      const exit = await Promise.race([ended, briefly(terminateMsMax)]);
      if (exit === undefined) {
        this.#complain(`${node.name} did not end within ${terminateMsMax} ms of SIGTERM`);
        await node.kill9();
      } else if (exit.code !== 0) {
        this.#complain(`${node.name} ended with ${JSON.stringify(exit)} after SIGTERM`);
      }
      await this.#restart(node);
    };
  }

  async #restart(node: NodeProcess): Promise<void> {
    this.#note(`restart ${node.name}`);
    node.restart();
    this.#down.delete(node);
    return Promise.resolve();
  }

  /** Asks for it and does not insist: a cluster in trouble may well refuse. */
  async #transfer(leader: NodeProcess, heir: NodeProcess): Promise<Undo> {
    const status = await leader.status(1_000).catch(() => undefined);
    const id = status?.members.find((member) => member.name === heir.name)?.id;
    const answer = await ask(`${leader.httpUrl}/cluster/leader`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ id }),
      timeoutMs: 1_000,
    }).catch(() => undefined);
    this.#note(`transfer from ${leader.name} to ${heir.name}: ${answer?.status ?? "no answer"}`);
    return nothing;
  }

  #lookForTheDead(): void {
    for (const node of this.#linked.nodes) {
      if (!node.isRunning && !this.#down.has(node)) {
        this.#complain(`${node.name} ended, and nobody had ended it`);
      }
    }
  }

  #complain(complaint: string): void {
    this.complaints.push(complaint);
    this.#note(complaint);
  }

  #note(what: string): void {
    this.diary.push({ atMs: performance.now(), what });
  }
}

/** The default --shutdown-timeout-ms, and half as much for a busy machine. */
const terminateMsMax = 15_000;

async function nothing(): Promise<void> {
  return Promise.resolve();
}

function isLinkKind(kind: FaultKind): kind is LinkKind {
  return linkKinds.some((link) => link === kind);
}
