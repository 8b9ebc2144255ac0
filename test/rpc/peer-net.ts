/**
 * Real peers on loopback for tests: each a gRPC server with the Raft service and a transport.
 */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { connect, createServer } from "node:net";

import { Server, ServerCredentials } from "@grpc/grpc-js";

import { systemClock, systemRandom } from "../../src/common/system.js";
import type { Member } from "../../src/raft/message.js";
import { enlargeServerWindow, serverChannelOptions } from "../../src/rpc/http2-window.js";
import { PeerTransport } from "../../src/rpc/peer-transport.js";
import type { PeerTransportOptions } from "../../src/rpc/peer-transport.js";
import { addRaftService } from "../../src/rpc/raft-service.js";
import type { SegmentHandler } from "../../src/rpc/segment-wire.js";
import type { SnapshotHandler } from "../../src/rpc/snapshot-stream.js";
import type { TransportNet, TransportNode } from "../replica/transport-contract.js";

export interface LoggedEvent {
  readonly event: string;
  readonly fields: Record<string, unknown>;
}

export interface PeerNode extends TransportNode {
  readonly transport: PeerTransport;
  readonly server: Server;
  readonly events: LoggedEvent[];
  readonly addresses: Member[];
}

export interface PeerNodeOptions {
  readonly id?: string;
  readonly clusterId?: string | undefined;
  readonly port?: number;
  readonly options?: Partial<PeerTransportOptions>;
  readonly snapshots?: SnapshotHandler;
  readonly segments?: SegmentHandler;
}

export const testClusterId = "11111111-1111-4111-8111-111111111111";

export const pause = (ms = 5): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

/** A node whose parts are replaced when it is started anew. */
class LoopbackNode implements PeerNode {
  readonly received: PeerNode["received"] = [];
  readonly unreachable: string[] = [];
  readonly events: LoggedEvent[] = [];
  readonly addresses: Member[] = [];
  readonly id: string;
  readonly #options: PeerNodeOptions;
  #port: number;
  #server: Server | undefined;
  #transport: PeerTransport | undefined;

  constructor(options: PeerNodeOptions) {
    this.#options = options;
    this.id = options.id ?? randomUUID();
    this.#port = options.port ?? 0;
  }

  get server(): Server {
    if (this.#server === undefined) throw new Error("the node is not started");
    return this.#server;
  }

  get transport(): PeerTransport {
    if (this.#transport === undefined) throw new Error("the node is not started");
    return this.#transport;
  }

  get member(): Member {
    const rpcAddr = `127.0.0.1:${String(this.#port)}`;
    return { id: this.id, name: `n${this.id.slice(0, 4)}`, rpcAddr, httpAddr: "127.0.0.1:5000" };
  }

  async start(): Promise<void> {
    const { clusterId, options } = this.#options;
    const log = (fields: object, event: string): void => {
      this.events.push({ event, fields: { ...fields } });
    };
    const transport = new PeerTransport({
      self: () => this.member,
      clusterId: () => ("clusterId" in this.#options ? clusterId : testClusterId),
      clock: systemClock,
      random: systemRandom,
      logger: { info: log, warn: log },
      ...(options === undefined ? {} : { options }),
    });
    transport.onMessage((message) => this.received.push(message));
    transport.onUnreachable((peer) => this.unreachable.push(peer));
    transport.onPeerAddress((member) => this.addresses.push(member));
    const server = new Server(serverChannelOptions());
    addRaftService(server, transport, this.#options.snapshots, this.#options.segments);
    this.#port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(this.member.rpcAddr, ServerCredentials.createInsecure(), (error, port) => {
        if (error === null) resolve(port);
        else reject(error);
      });
    });
    enlargeServerWindow(server, (reason) => {
      throw new Error(reason);
    });
    this.#server = server;
    this.#transport = transport;
  }

  async stop(): Promise<void> {
    this.server.forceShutdown();
    await this.transport.close();
  }
}

export interface PeerNet extends TransportNet {
  readonly nodes: readonly LoopbackNode[];
}

export async function startNode(options: PeerNodeOptions = {}): Promise<LoopbackNode> {
  const node = new LoopbackNode(options);
  await node.start();
  return node;
}

export async function makePeerNet(count: number, options: PeerNodeOptions = {}): Promise<PeerNet> {
  const nodes = await Promise.all(Array.from({ length: count }, () => startNode(options)));
  const isOurs = (node: TransportNode): LoopbackNode => {
    const found = nodes.find((other) => other === node);
    if (found === undefined) throw new Error("the node is of this net");
    return found;
  };
  return {
    nodes,
    stop: (node) => isOurs(node).stop(),
    start: (node) => isOurs(node).start(),
    step: () => pause(),
    close: async () => {
      await Promise.all(nodes.map((node) => node.stop()));
    },
  };
}

/** A TCP proxy that can stop reading, as a stopped process does, without closing anything. */
export async function startProxy(targetPort: number): Promise<{
  readonly port: number;
  setStalled(isStalled: boolean): void;
  /** Connections accepted and not yet closed by the dialler. */
  openCount(): number;
  close(): Promise<void>;
}> {
  const sockets = new Set<Socket>();
  const dialled = new Set<Socket>();
  let isStalled = false;
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: false }, (near) => {
    const far = connect(targetPort, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        sockets.delete(from);
        dialled.delete(from);
        to.destroy();
      });
      from.on("data", (chunk) => {
        if (!to.write(chunk)) from.pause();
        if (isStalled) from.pause();
      });
      to.on("drain", () => {
        if (!isStalled) from.resume();
      });
    }
    dialled.add(near);
    if (isStalled) {
      near.pause();
      far.pause();
    } else {
      near.resume();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    setStalled: (stalled) => {
      isStalled = stalled;
      for (const socket of sockets) {
        if (stalled) socket.pause();
        else socket.resume();
      }
    },
    openCount: () => dialled.size,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
