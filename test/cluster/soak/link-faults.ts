/**
 * The ways in which links between nodes break: each as a choice of links and of what becomes of
 * what they carry. Nothing here ends a fault: `heal` of the links does.
 */
import type { Chance } from "../../history/random.js";
import type { NodeProcess } from "../harness.js";
import type { LinkedCluster } from "./peer-links.js";

export interface LinkScene {
  readonly linked: LinkedCluster;
  readonly chance: Chance;
  /** Who leads, as far as is known. */
  readonly leader: NodeProcess;
  /** The node that a fault of one node is about. */
  readonly victim: NodeProcess;
}

/** Each begins a fault and says what it is. */
export const linkFaults = {
  /** The leader alone, and all others together. */
  "isolate-leader": (scene: LinkScene): string => {
    divide(scene, (a, b) => a !== scene.leader && b !== scene.leader);
    return scene.leader.name;
  },
  /** Two sides, often the largest minority and the rest: the leader may well be in the minority. */
  partition: (scene: LinkScene): string => {
    const { linked, chance, victim } = scene;
    const count = linked.nodes.length;
    const others = chance.shuffled(linked.nodes).filter((node) => node !== victim);
    const size = chance.is(0.75) ? Math.floor((count - 1) / 2) : 1 + chance.below(count - 1);
    const side = [victim, ...others].slice(0, size);
    divide(scene, (a, b) => side.includes(a) === side.includes(b));
    return `${namesOf(side)} apart from the others`;
  },
  /** One that hears and is not heard, or is heard and does not hear. */
  "one-way": (scene: LinkScene): string => {
    const { linked, chance, victim } = scene;
    const isMute = chance.is(0.5);
    each(scene, (from, to) => {
      if ((isMute ? from : to) === victim) linked.cut(from, to);
    });
    return `${victim.name} is ${isMute ? "mute" : "deaf"}`;
  },
  /** Two halves, and one node that reaches both. */
  bridge: (scene: LinkScene): string => {
    const { linked, chance } = scene;
    const nodes = chance.shuffled(linked.nodes);
    const middle = nodes[0];
    const left = nodes.slice(1, 1 + Math.floor(nodes.length / 2));
    divide(scene, (a, b) => {
      return a === middle || b === middle || left.includes(a) === left.includes(b);
    });
    return `${middle?.name ?? ""} between ${namesOf(left)} and the others`;
  },
  /** Each reaches two neighbours only. */
  ring: (scene: LinkScene): string => {
    const nodes = scene.chance.shuffled(scene.linked.nodes);
    divide(scene, (a, b) => {
      const apart = Math.abs(nodes.indexOf(a) - nodes.indexOf(b));
      return apart === 1 || apart === nodes.length - 1;
    });
    return namesOf(nodes);
  },
  /** All links, or those of one node, each slow in its own way. */
  delay: (scene: LinkScene): string => {
    const { linked, chance, victim } = scene;
    const isAll = chance.is(0.5);
    each(scene, (from, to) => {
      const delayMs = chance.between(10, 150);
      if (isAll || from === victim || to === victim) linked.delay(from, to, delayMs);
    });
    return isAll ? "all links" : victim.name;
  },
  throttle: (scene: LinkScene): string => {
    const { linked, chance, victim } = scene;
    const bytesPerSecond = Math.round(chance.between(8, 128)) * 1024;
    each(scene, (from, to) => {
      if (from === victim || to === victim) linked.throttle(from, to, bytesPerSecond);
    });
    return `${victim.name}, ${bytesPerSecond} bytes a second`;
  },
  reset: ({ linked }: LinkScene): string => {
    linked.reset();
    return "all connections";
  },
  /** What is sent to one node is taken and gone, or what it sends as well. */
  "half-open": (scene: LinkScene): string => {
    const { linked, chance, victim } = scene;
    const isOneWay = chance.is(0.5);
    each(scene, (from, to) => {
      if (to === victim || (!isOneWay && from === victim)) linked.swallow(from, to);
    });
    return `${victim.name}, ${isOneWay ? "inwards" : "both ways"}`;
  },
};

export type LinkKind = keyof typeof linkFaults;
export const linkKinds = Object.keys(linkFaults) as readonly LinkKind[];

/** Cuts both ways between all that are not together. */
function divide(scene: LinkScene, areTogether: (a: NodeProcess, b: NodeProcess) => boolean): void {
  each(scene, (from, to) => {
    if (!areTogether(from, to)) scene.linked.cut(from, to);
  });
}

function each({ linked }: LinkScene, act: (from: NodeProcess, to: NodeProcess) => void): void {
  for (const from of linked.nodes) {
    for (const to of linked.nodes) if (from !== to) act(from, to);
  }
}

function namesOf(nodes: readonly NodeProcess[]): string {
  return nodes.map((node) => node.name).join(" ");
}
