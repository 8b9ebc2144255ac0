/** Short ways to bring a cluster of cores where a test begins. */
import type { Effect, Message, RaftOptions } from "../../src/raft/index.js";
import { configurationOf, Network } from "./network.js";

export interface ClusterOptions {
  readonly voters: number;
  readonly learners?: number;
  readonly spare?: number;
  readonly raft?: Partial<RaftOptions>;
}

/** Nodes "1", "2", ...: voters first, then learners, then nodes outside the configuration. */
export function clusterOf({ voters, learners = 0, spare = 0, raft = {} }: ClusterOptions): Network {
  const ids = Array.from({ length: voters + learners + spare }, (_, at) => String(at + 1));
  return new Network({
    ids,
    configuration: configurationOf(ids.slice(0, voters), ids.slice(voters, voters + learners)),
    random: (id) => ({ next: () => Number(id) / 10, uuid: () => "" }),
    raft,
  });
}

/** A cluster of which node 1 leads term 1 and nothing is under way. */
export function ledCluster(options: ClusterOptions): Network {
  const network = clusterOf(options);
  elect(network, "1");
  return network;
}

/** Lets a node campaign until it leads: the others have long heard of no leader. */
export function elect(network: Network, id: string): void {
  for (let round = 0; round < 5 && network.core(id).role !== "leader"; round += 1) {
    for (const other of network.ids) {
      const { core } = network.node(other);
      if (other !== id && core !== null && core.role !== "leader") forget(network, other);
    }
    network.campaign(id);
    network.stabilize();
  }
}

/** Ticks a follower until its leader is no longer fresh. */
function forget(network: Network, id: string): void {
  network.tick(id, 10);
  // Whoever has waited longer than its neighbours may begin a poll: nobody is to hear it.
  network.take({ from: id, type: "voteRequest" });
}

/** What crossed the wire and is of one type. */
export function sentOf<Type extends Message["type"]>(
  network: Network,
  type: Type,
): Extract<Message, { type: Type }>[] {
  return network.wire.filter(
    (message): message is Extract<Message, { type: Type }> => message.type === type,
  );
}

/** The latest answer to a request. */
export function lastAnswer(network: Network): Effect | undefined {
  return network.answers.at(-1);
}

/** Moves votes, and nothing else, until a node leads; its first append has not left the wire. */
export function winOnly(network: Network, id: string, among: readonly string[]): void {
  for (const other of among) if (other !== id) forget(network, other);
  network.campaign(id);
  for (let round = 0; round < 6; round += 1) {
    for (const other of among) network.persist(other);
    for (const message of network.take({ type: "vote" })) {
      if (among.includes(message.to)) network.deliver(message);
    }
  }
}
