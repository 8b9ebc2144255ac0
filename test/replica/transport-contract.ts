/**
 * What any transport must do, real or simulated: one suite, run on both.
 */
import { afterEach, describe, expect, test } from "vitest";

import type { Entry, Member, Message, NodeId } from "../../src/raft/message.js";
import type { Transport } from "../../src/replica/transport.js";
import { controlFrame, frameKinds } from "../../src/storage/frame.js";

export interface TransportNode {
  readonly member: Member;
  /** The current transport; another one after a restart. */
  readonly transport: Transport;
  /** What was delivered, in order. */
  readonly received: Message[];
  /** Peers that were reported unreachable, in order. */
  readonly unreachable: NodeId[];
}

/** Some nodes whose transports can reach each other; `setPeers` has not been called. */
export interface TransportNet {
  readonly nodes: readonly TransportNode[];
  /** Takes a node away, as if its process had died. */
  stop(node: TransportNode): Promise<void>;
  /** Brings it back at the same address, with a new transport. */
  start(node: TransportNode): Promise<void>;
  /** Lets a little time go by. */
  step(): Promise<void>;
  close(): Promise<void>;
}

/** Lets time go by until a condition holds. */
export async function until(
  net: Pick<TransportNet, "step">,
  condition: () => boolean,
  what: string,
): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(`never came true: ${what}`);
    await net.step();
  }
}

/** A small message, told apart by its number. */
export function heartbeat(from: TransportNode, to: TransportNode, round: number): Message {
  return appendOf(from, to, { round, entries: [] });
}

/** A message with one entry whose body has so many bytes. */
export function bulk(
  from: TransportNode,
  to: TransportNode,
  round: number,
  bodyBytes = 100,
): Message {
  const body = Buffer.alloc(bodyBytes, round & 0xff);
  const data = controlFrame(frameKinds.records, { key: 1, term: 1 }, body);
  return appendOf(from, to, { round, entries: [{ index: 1, term: 1, kind: "command", data }] });
}

function appendOf(
  from: TransportNode,
  to: TransportNode,
  fields: { readonly round: number; readonly entries: readonly Entry[] },
): Message {
  return {
    type: "appendRequest",
    from: from.member.id,
    to: to.member.id,
    term: 1,
    prevIndex: 0,
    prevTerm: 0,
    commitIndex: 0,
    ...fields,
  };
}

function roundsOf(messages: readonly Message[], isBulk: boolean): number[] {
  return messages.flatMap((message) =>
    message.type === "appendRequest" && message.entries.length > 0 === isBulk
      ? [message.round]
      : [],
  );
}

/** Connects all, and waits until each has heard each other on both lanes. */
export async function connect(net: TransportNet): Promise<void> {
  const members = net.nodes.map((node) => node.member);
  for (const node of net.nodes) node.transport.setPeers(members);
  for (const from of net.nodes) {
    for (const to of net.nodes) {
      if (from === to) continue;
      for (const message of [heartbeat(from, to, 0), bulk(from, to, 0)]) {
        await until(net, () => from.transport.send(message), "a stream is up");
      }
    }
  }
  const expected = (net.nodes.length - 1) * 2;
  for (const node of net.nodes) {
    await until(net, () => node.received.length === expected, "the first messages arrive");
    node.received.length = 0;
  }
}

export function transportContract(
  name: string,
  makeNet: (count: number) => Promise<TransportNet>,
): void {
  describe(`transport contract: ${name}`, () => {
    let net: TransportNet | undefined;
    afterEach(async () => {
      await net?.close();
      net = undefined;
    });

    async function pair(): Promise<{ net: TransportNet; a: TransportNode; b: TransportNode }> {
      net = await makeNet(2);
      const [a, b] = net.nodes;
      if (a === undefined || b === undefined) throw new Error("a net of two has two nodes");
      return { net, a, b };
    }

    test("delivers unaltered and in order, each lane for itself", async () => {
      const { net, a, b } = await pair();
      await connect(net);
      const sent: Message[] = [];
      for (let round = 1; round <= 300; round++) {
        const message = round % 3 === 0 ? bulk(a, b, round, round * 10) : heartbeat(a, b, round);
        expect(a.transport.send(message)).toBe(true);
        sent.push(message);
      }
      await until(net, () => b.received.length === sent.length, "all arrive");
      expect(roundsOf(b.received, true)).toEqual(roundsOf(sent, true));
      expect(roundsOf(b.received, false)).toEqual(roundsOf(sent, false));
      const byRound = (x: Message, y: Message): number =>
        x.type === "appendRequest" && y.type === "appendRequest" ? x.round - y.round : 0;
      expect([...b.received].sort(byRound)).toEqual(sent);
    });

    test("delivers both ways, among three", async () => {
      net = await makeNet(3);
      await connect(net);
      for (const from of net.nodes) {
        for (const to of net.nodes) {
          if (from !== to) expect(from.transport.send(heartbeat(from, to, 7))).toBe(true);
        }
      }
      for (const node of net.nodes) {
        await until(net, () => node.received.length === 2, "each hears the two others");
        const others = net.nodes.filter((other) => other !== node).map((other) => other.member.id);
        expect(node.received.map((message) => message.from).sort()).toEqual(others.sort());
      }
    });

    test("drops what is for a node that is no peer", async () => {
      const { net, a, b } = await pair();
      expect(a.transport.send(heartbeat(a, b, 1))).toBe(false);
      await connect(net);
      a.transport.setPeers([a.member]);
      expect(a.transport.send(heartbeat(a, b, 2))).toBe(false);
      expect(b.transport.send(heartbeat(b, a, 3))).toBe(true);
      await until(net, () => a.received.length === 1, "the other direction still works");
      expect(b.received).toEqual([]);
    });

    test("reports a peer that goes away, and drops what is for it", async () => {
      const { net, a, b } = await pair();
      await connect(net);
      await net.stop(b);
      await until(net, () => a.unreachable.includes(b.member.id), "it is reported");
      await until(net, () => !a.transport.send(heartbeat(a, b, 1)), "small ones are dropped");
      await until(net, () => !a.transport.send(bulk(a, b, 1)), "large ones are dropped");
    });

    test("connects again when the peer comes back at its address", async () => {
      const { net, a, b } = await pair();
      await connect(net);
      await net.stop(b);
      await until(net, () => a.unreachable.length > 0, "it is reported");
      await net.start(b);
      await connect(net);
      expect(a.transport.send(bulk(a, b, 9))).toBe(true);
      await until(net, () => b.received.length === 1, "it arrives");
    });

    test("knows when it last heard from a peer", async () => {
      const { net, a, b } = await pair();
      expect(a.transport.lastContact(b.member.id)).toBeUndefined();
      await connect(net);
      const before = a.transport.lastContact(b.member.id) ?? Number.NaN;
      const hasMoved = (): boolean => (a.transport.lastContact(b.member.id) ?? 0) > before;
      await net.step();
      expect(hasMoved()).toBe(false);
      expect(b.transport.send(heartbeat(b, a, 1))).toBe(true);
      await until(net, hasMoved, "a message moves it");
    });

    test("is silent once closed", async () => {
      const { net, a, b } = await pair();
      await connect(net);
      await a.transport.close();
      await a.transport.close();
      expect(a.transport.send(heartbeat(a, b, 1))).toBe(false);
      a.transport.setPeers([b.member]);
      expect(a.transport.send(heartbeat(a, b, 1))).toBe(false);
      await until(net, () => b.unreachable.includes(a.member.id), "the peer notices");
      expect(a.received).toEqual([]);
    });
  });
}
