/**
 * The network between simulated nodes: Raft messages, calls and snapshots over links that lose,
 * double, delay, reorder and cut.
 *
 * A link is one way from one host to another. Raft messages pass the real codec, so that nothing
 * is shared and what is on the wire is known when it leaves. What holds for real streams holds
 * here: nothing reaches a node that is not the one meant, or is of another cluster; when a stream
 * breaks its sender hears of it, sooner or later; a cut swallows without a word.
 */
import { ProglogError } from "../common/errors.js";
import type { Member, Message, NodeId } from "../raft/index.js";
import type { Peer, Transport } from "../replica/transport.js";
import { decodeMessage, encodeMessage } from "../rpc/raft-codec.js";
import type { SeededRandom } from "./seeded-random.js";
import type { SimulatedProcess } from "./simulated-process.js";
import type { Simulation } from "./simulation.js";

/** How a link behaves. */
export interface LinkFaults {
  readonly lossRate: number;
  readonly duplicateRate: number;
  readonly delayMsMin: number;
  readonly delayMsMax: number;
  /** Share of messages that take `longDelayMs` more. */
  readonly longDelayRate: number;
  readonly longDelayMs: number;
  /** False: messages arrive in the order in which they left. */
  readonly reorders: boolean;
  /** Arrivals are late to the next multiple of this: many come in one instant. 0 for none. */
  readonly gridMs?: number;
}

export const goodLink: LinkFaults = Object.freeze({
  lossRate: 0,
  duplicateRate: 0,
  delayMsMin: 0.1,
  delayMsMax: 1,
  longDelayRate: 0,
  longDelayMs: 0,
  reorders: false,
});

/** What runs at a host. */
export interface Endpoint {
  readonly process: SimulatedProcess;
  readonly self: Member;
  readonly clusterId: () => string | null;
  readonly transport: SimulatedTransport;
}

/** What is told of the network as it happens: for checks and for traces. */
export interface NetworkObserver {
  sent(message: Message, wire: Buffer): void;
  delivered(message: Message, wire: Buffer): void;
  lost(message: Message, why: "cut" | "loss" | "down" | "refused"): void;
}

/** How long a stream over a cut link seems to be up. */
const keepAliveMs = 3000;
const reconnectMsMax = 300;
/** How often whom a node has not heard of is dialled. */
const greetingMs = 1000;

interface Link {
  isCut: boolean;
  /** True once the sender knows that its stream is broken. */
  isBroken: boolean;
  lastArrivalMs: number;
}

export class SimulatedNetwork {
  readonly simulation: Simulation;
  readonly random: SeededRandom;
  faults: LinkFaults = goodLink;
  observer: NetworkObserver | undefined;
  /** By host: the address's first part. */
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #links = new Map<string, Link>();

  constructor(simulation: Simulation, random: SeededRandom) {
    this.simulation = simulation;
    this.random = random;
  }

  attach(host: string, endpoint: Endpoint): void {
    this.#endpoints.set(host, endpoint);
    endpoint.process.onEnd(() => {
      if (this.#endpoints.get(host) === endpoint) this.#endpoints.delete(host);
      this.#breakStreams(host);
    });
  }

  endpoint(host: string): Endpoint | undefined {
    return this.#endpoints.get(host);
  }

  /** Cuts the way from one host to another; the way back is another link. */
  cut(from: string, to: string): void {
    const link = this.#link(from, to);
    if (link.isCut) return;
    link.isCut = true;
    const delayMs = this.random.between(0, keepAliveMs);
    this.simulation.schedule(delayMs, () => {
      if (link.isCut) this.#break(from, to);
    });
  }

  isCut(from: string, to: string): boolean {
    return this.#link(from, to).isCut;
  }

  /** Ends all cuts. */
  heal(): void {
    for (const link of this.#links.values()) link.isCut = false;
  }

  /** Sends a message on its way. @returns False if the sender knows that there is no stream. */
  send(sender: Endpoint, peer: Peer, message: Message): boolean {
    const from = hostOf(sender.self.rpcAddr);
    const to = hostOf(peer.rpcAddr);
    const link = this.#link(from, to);
    if (link.isBroken) {
      this.#reconnect(link, to);
      return false;
    }
    const wire = encodeMessage(message);
    this.observer?.sent(message, wire);
    if (link.isCut || this.random.chance(this.faults.lossRate)) {
      this.observer?.lost(message, link.isCut ? "cut" : "loss");
      return true;
    }
    const copies = this.random.chance(this.faults.duplicateRate) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      this.simulation.schedule(this.#delayMs(link), () => {
        this.#deliver(sender, to, message, wire);
      });
    }
    return true;
  }

  /** Opens a stream with nothing to say yet: the other end learns who this is, and where. */
  greet(sender: Endpoint, id: NodeId, host: string): void {
    const link = this.#link(hostOf(sender.self.rpcAddr), host);
    if (link.isCut || this.random.chance(this.faults.lossRate)) return;
    this.simulation.schedule(this.#delayMs(link), () => {
      const target = this.#endpoints.get(host);
      const isMeant = target?.self.id === id && !link.isCut;
      if (!isMeant || target.clusterId() !== sender.clusterId()) return;
      this.simulation.schedule(
        0,
        () => {
          target.transport.greeted(sender.self);
        },
        target.process,
      );
    });
  }

  #reconnect(link: Link, to: string): void {
    if (link.isCut || !this.#endpoints.has(to)) return;
    this.simulation.schedule(this.random.between(0, reconnectMsMax), () => {
      if (!link.isCut && this.#endpoints.has(to)) link.isBroken = false;
    });
  }

  #delayMs(link: Link): number {
    const { gridMs = 0 } = this.faults;
    const delayMs = this.#anyDelayMs(link);
    if (gridMs === 0) return delayMs;
    const { nowMs } = this.simulation;
    return Math.ceil((nowMs + delayMs) / gridMs) * gridMs - nowMs;
  }

  #anyDelayMs(link: Link): number {
    const { delayMsMin, delayMsMax, longDelayRate, longDelayMs, reorders } = this.faults;
    let delayMs = this.random.between(delayMsMin, delayMsMax);
    if (this.random.chance(longDelayRate)) delayMs += this.random.exponential(longDelayMs);
    if (reorders) return delayMs;
    const { nowMs } = this.simulation;
    link.lastArrivalMs = Math.max(link.lastArrivalMs, nowMs + delayMs);
    return link.lastArrivalMs - nowMs;
  }

  #deliver(sender: Endpoint, host: string, message: Message, wire: Buffer): void {
    const target = this.#endpoints.get(host);
    if (target === undefined || this.#link(hostOf(sender.self.rpcAddr), host).isCut) {
      this.observer?.lost(message, target === undefined ? "down" : "cut");
      return;
    }
    const clusterId = sender.clusterId();
    const isMeant = target.self.id === message.to && clusterId !== null;
    if (!isMeant || target.clusterId() !== clusterId) {
      this.observer?.lost(message, "refused");
      return;
    }
    // In the receiver's process: a paused one gets it when it goes on.
    this.simulation.schedule(
      0,
      () => {
        // The receiver's own copy: it stamps its places into the frames.
        const ends = { from: message.from, to: message.to };
        this.observer?.delivered(message, wire);
        target.transport.receive(decodeMessage(Buffer.from(wire), ends), sender.self);
      },
      target.process,
    );
  }

  /** A process has ended: whoever had a stream to it, or from it, hears of it soon. */
  #breakStreams(host: string): void {
    for (const other of this.#endpoints.keys()) {
      if (other === host) continue;
      this.simulation.schedule(this.random.between(0, 5), () => {
        this.#break(other, host);
      });
      this.#link(host, other).isBroken = false;
    }
  }

  #break(from: string, to: string): void {
    const link = this.#link(from, to);
    if (link.isBroken) return;
    link.isBroken = true;
    const sender = this.#endpoints.get(from);
    if (sender === undefined) return;
    this.simulation.schedule(
      0,
      () => {
        sender.transport.broken(to);
      },
      sender.process,
    );
  }

  #link(from: string, to: string): Link {
    const key = `${from}>${to}`;
    let link = this.#links.get(key);
    if (link === undefined) {
      link = { isCut: false, isBroken: false, lastArrivalMs: 0 };
      this.#links.set(key, link);
    }
    return link;
  }

  /**
   * Runs something at a host, as a call over the network does: there and back, each way with the
   * link's faults. Both ends' processes may be paused or end meanwhile.
   *
   * @throws ProglogError `unavailable` if it was not delivered, else what `lost` makes of an
   *   answer that never came.
   */
  async call<T>(caller: Caller, host: string, work: (at: Endpoint) => Promise<T>): Promise<T> {
    const { process, timeoutMs } = caller;
    return new Promise<T>((resolve, reject) => {
      const timer = process.setTimer(timeoutMs, () => {
        reject(caller.lost());
      });
      const answer = (settle: () => void): void => {
        this.#travel(host, caller.host, () => {
          this.simulation.schedule(
            0,
            () => {
              timer.cancel();
              settle();
            },
            process,
          );
        });
      };
      this.#travel(caller.host, host, () => {
        const target = this.#endpoints.get(host);
        if (target === undefined) {
          const error = new ProglogError("unavailable", `Nothing answers at ${host}.`);
          answer(() => {
            reject(error);
          });
          return;
        }
        this.#serve(target, work, caller, (outcome) => {
          answer(() => {
            if ("error" in outcome) reject(outcome.error);
            else resolve(outcome.value);
          });
        });
      });
    });
  }

  /** Does the work in the target's process; if that ends first, the caller's stream breaks. */
  #serve<T>(
    target: Endpoint,
    work: (at: Endpoint) => Promise<T>,
    caller: Caller,
    finish: (outcome: { readonly value: T } | { readonly error: unknown }) => void,
  ): void {
    const forget = target.process.onEnd(() => {
      finish({ error: caller.lost() });
    });
    this.simulation.schedule(
      0,
      () => {
        work(target)
          .then(
            (value) => {
              finish({ value });
            },
            (error: unknown) => {
              finish({ error });
            },
          )
          .finally(forget);
      },
      target.process,
    );
  }

  /** A request or an answer on its way; lost ones never arrive. */
  #travel(from: string, to: string, arrive: () => void): void {
    const link = this.#link(from, to);
    if (from !== to && (link.isCut || this.random.chance(this.faults.lossRate))) return;
    this.simulation.schedule(this.#delayMs(link), arrive);
  }
}

/** Who makes a call. */
export interface Caller {
  readonly host: string;
  readonly process: SimulatedProcess;
  readonly timeoutMs: number;
  /** The error if no answer comes. */
  readonly lost: () => ProglogError;
}

/** The host of an address. */
export function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(":"));
}

/** The transport port of one process on the simulated network. */
export class SimulatedTransport implements Transport {
  readonly #network: SimulatedNetwork;
  readonly #endpoint: () => Endpoint;
  readonly #contactMs = new Map<NodeId, number>();
  readonly #known = new Map<NodeId, Member>();
  #peers = new Map<NodeId, Peer>();
  #receive: (message: Message) => void = () => undefined;
  #unreachable: (peer: NodeId) => void = () => undefined;
  #heard: (member: Member) => void = () => undefined;
  #isClosed = false;
  #isGreeting = false;

  /** @param endpoint Where this transport is attached; asked when it is used. */
  constructor(network: SimulatedNetwork, endpoint: () => Endpoint) {
    this.#network = network;
    this.#endpoint = endpoint;
  }

  send(message: Message): boolean {
    const peer = this.#peers.get(message.to);
    const endpoint = this.#endpoint();
    if (peer === undefined || this.#isClosed || endpoint.clusterId() === null) return false;
    return this.#network.send(endpoint, peer, message);
  }

  setPeers(peers: readonly Peer[]): void {
    this.#peers = new Map(peers.map((peer) => [peer.id, peer]));
    if (this.#isGreeting) return;
    this.#isGreeting = true;
    this.#greet();
  }

  /** Dials whom it has not heard of lately, again and again: so it is known where this node is. */
  #greet(): void {
    const endpoint = this.#endpoint();
    const { process } = endpoint;
    if (this.#isClosed || process.isGone) return;
    for (const { id, rpcAddr } of this.#peers.values()) {
      const silentMs = process.now() - (this.#contactMs.get(id) ?? -Infinity);
      if (silentMs > greetingMs) this.#network.greet(endpoint, id, hostOf(rpcAddr));
    }
    process.setTimer(greetingMs, () => {
      this.#greet();
    });
  }

  /** A peer has dialled. */
  greeted(from: Member): void {
    if (this.#isClosed || this.#known.get(from.id) === from) return;
    this.#known.set(from.id, from);
    this.#heard(from);
  }

  onMessage(receive: (message: Message) => void): void {
    this.#receive = receive;
  }

  onUnreachable(report: (peer: NodeId) => void): void {
    this.#unreachable = report;
  }

  /** Called when a peer connects, with the addresses it gives itself. */
  onPeerAddress(report: (member: Member) => void): void {
    this.#heard = report;
  }

  lastContact(peer: NodeId): number | undefined {
    return this.#contactMs.get(peer);
  }

  receive(message: Message, from: Member): void {
    if (this.#isClosed) return;
    this.#contactMs.set(from.id, this.#endpoint().process.now());
    this.greeted(from);
    this.#receive(message);
  }

  /** The stream to a host broke. */
  broken(host: string): void {
    if (this.#isClosed) return;
    for (const peer of this.#peers.values()) {
      if (hostOf(peer.rpcAddr) === host) this.#unreachable(peer.id);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }
}
