/**
 * A cluster whose nodes reach each other through proxies only, so that a test can break the link
 * from one node to another, one way if asked, while clients still reach all of them.
 *
 * Each node tells the others the address of a proxy before it. Who dialled is known by the process
 * that owns the dialling socket. Invariant: a node's own command line, also of a restart, names
 * proxies only.
 */
import type { Socket } from "node:net";

import { NodeProcess, TestCluster } from "../harness.js";
import { freePort } from "../ports.js";
import { ownerOf } from "../socket-owner.js";
import { TcpProxy } from "../tcp-proxy.js";
import type { Scope } from "../tcp-proxy.js";

type Change = (proxy: TcpProxy, scope: Scope) => void;

export class LinkedCluster {
  readonly cluster = new TestCluster();
  readonly #proxies = new Map<string, TcpProxy>();

  /** Starts n1, n2, …, all of which vote in the end. */
  static async start(nodeCount: number, flags: readonly string[]): Promise<LinkedCluster> {
    const linked = new LinkedCluster();
    try {
      for (let at = 0; at < nodeCount; at += 1) (await linked.#prepare(flags)).start();
      await linked.cluster.untilVoters(nodeCount);
    } catch (error) {
      process.stderr.write(`${linked.cluster.logs()}\n`);
      await linked.close();
      throw error;
    }
    return linked;
  }

  get nodes(): readonly NodeProcess[] {
    return this.cluster.nodes;
  }

  /** What `from` sends to `to` does not arrive. */
  cut(from: NodeProcess, to: NodeProcess): void {
    this.#change(from, to, (proxy, scope) => {
      proxy.cut(scope);
    });
  }

  /** What `from` sends to `to` is taken, and gone. */
  swallow(from: NodeProcess, to: NodeProcess): void {
    this.#change(from, to, (proxy, scope) => {
      proxy.swallow(scope);
    });
  }

  delay(from: NodeProcess, to: NodeProcess, delayMs: number): void {
    this.#change(from, to, (proxy, scope) => {
      proxy.delay(delayMs, scope);
    });
  }

  throttle(from: NodeProcess, to: NodeProcess, bytesPerSecond: number): void {
    this.#change(from, to, (proxy, scope) => {
      proxy.throttle(bytesPerSecond, scope);
    });
  }

  /** Ends all connections between nodes with RST. */
  reset(): void {
    for (const proxy of this.#proxies.values()) proxy.reset();
  }

  /** All links are whole and fast again. */
  heal(): void {
    for (const proxy of this.#proxies.values()) {
      proxy.delay(0);
      proxy.throttle(Infinity);
      proxy.heal();
    }
  }

  async close(): Promise<void> {
    await this.cluster.close();
    await Promise.all([...this.#proxies.values()].map(async (proxy) => proxy.close()));
  }

  async #prepare(flags: readonly string[]): Promise<NodeProcess> {
    const [httpPort, rpcPort, proxyPort] = [await freePort(), await freePort(), await freePort()];
    const name = `n${this.nodes.length + 1}`;
    const proxy = await TcpProxy.listen(proxyPort, rpcPort, {
      nameOf: (client) => this.#nameOf(client),
    });
    const join = [...this.#proxies.values()].map(({ port }) => `127.0.0.1:${port}`);
    this.#proxies.set(name, proxy);
    const node = new NodeProcess({
      ...{ name, httpPort, rpcPort, join },
      directory: this.cluster.directory,
      flags: ["--advertise-rpc-addr", `127.0.0.1:${proxyPort}`, ...flags],
    });
    this.cluster.nodes.push(node);
    return node;
  }

  #nameOf(client: Socket): string | undefined {
    if (client.remotePort === undefined) return undefined;
    const running = this.nodes.filter((node) => node.isRunning);
    const pids = running.map((node) => node.pid);
    const owner = ownerOf(client.remotePort, pids);
    return running.find((node) => node.pid === owner)?.name;
  }

  /** What goes one way goes in where `from` dialled, and out where `to` did. */
  #change(from: NodeProcess, to: NodeProcess, change: Change): void {
    change(this.#proxyOf(to), { from: from.name, direction: "in" });
    change(this.#proxyOf(from), { from: to.name, direction: "out" });
  }

  #proxyOf(node: NodeProcess): TcpProxy {
    const proxy = this.#proxies.get(node.name);
    if (proxy === undefined) throw new Error(`there is no proxy before ${node.name}`);
    return proxy;
  }
}
