/**
 * A TCP proxy in the test process that stands before one node: it can cut, delay, throttle,
 * swallow and reset, for all who dial or for one, in both directions or in one.
 *
 * Cut: bytes and ends of connections are held, as behind a dead link; after `heal` all that was
 * held goes on. Delay: each chunk arrives so much later, in order. Throttle: so many bytes a
 * second. Swallow: connections are taken and stay open, and what is sent is gone; `heal` resets
 * them, for a stream with a hole in it is none. Reset: open connections end with RST.
 */
import { createConnection, createServer } from "node:net";
import type { Server, Socket } from "node:net";

import { TcpPipe } from "./tcp-pipe.js";
import type { PipeRule } from "./tcp-pipe.js";

/** Seen from the node behind the proxy: `in` is what it is sent. */
export type Direction = "in" | "out";

/** Which connections, and which way, a change is about; all of them where nothing is said. */
export interface Scope {
  readonly from?: string;
  readonly direction?: Direction;
}

export interface TcpProxyOptions {
  /** Who dialled, by the socket that it dialled with. A caller without a name is sent away. */
  readonly nameOf?: (client: Socket) => string | undefined;
}

const passing: PipeRule = {
  isCut: false,
  isSwallowed: false,
  delayMs: 0,
  bytesPerSecond: Infinity,
};

const anybody = "anybody";

class Link {
  readonly from: string;
  readonly in: TcpPipe;
  readonly out: TcpPipe;
  readonly #client: Socket;
  readonly #target: Socket;

  constructor(from: string, client: Socket, target: Socket, onGone: (link: Link) => void) {
    this.from = from;
    this.#client = client;
    this.#target = target;
    this.in = new TcpPipe(client, target);
    this.out = new TcpPipe(target, client);
    for (const socket of [client, target]) {
      socket.setNoDelay(true);
      socket.once("close", () => {
        if (client.destroyed && target.destroyed) onGone(this);
      });
    }
  }

  /** True if bytes were swallowed: what follows them means nothing. */
  get isSpoilt(): boolean {
    return this.in.swallowedBytes + this.out.swallowedBytes > 0;
  }

  reset(): void {
    this.#client.resetAndDestroy();
    this.#target.resetAndDestroy();
  }
}

export class TcpProxy {
  readonly port: number;
  readonly #server: Server;
  readonly targetPort: number;
  readonly #nameOf: (client: Socket) => string | undefined;
  readonly #links = new Set<Link>();
  /** Rules by direction and who dialled; of who is not named, those of anybody. */
  readonly #rules = { in: new Map<string, PipeRule>(), out: new Map<string, PipeRule>() };

  private constructor(server: Server, targetPort: number, options: TcpProxyOptions) {
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("it listens nowhere");
    this.#server = server;
    this.port = address.port;
    this.targetPort = targetPort;
    this.#nameOf = options.nameOf ?? (() => anybody);
    server.on("connection", (client) => {
      this.#take(client);
    });
  }

  /** Listens on `port` and passes everything to `targetPort`, both of 127.0.0.1. */
  static async listen(
    port: number,
    targetPort: number,
    options: TcpProxyOptions = {},
  ): Promise<TcpProxy> {
    const server = createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, "127.0.0.1", resolve);
    });
    return new TcpProxy(server, targetPort, options);
  }

  /** Bytes that passed on the connections that are open. */
  get passedBytes(): { readonly in: number; readonly out: number } {
    const links = [...this.#links];
    return {
      in: links.reduce((sum, link) => sum + link.in.passedBytes, 0),
      out: links.reduce((sum, link) => sum + link.out.passedBytes, 0),
    };
  }

  /** Bytes that were swallowed on the connections that are open. */
  get swallowedBytes(): number {
    const links = [...this.#links];
    return links.reduce((sum, link) => sum + link.in.swallowedBytes + link.out.swallowedBytes, 0);
  }

  /** Bytes that wait on the connections that are open, in a cut for instance. */
  get heldBytes(): { readonly in: number; readonly out: number } {
    const links = [...this.#links];
    return {
      in: links.reduce((sum, link) => sum + link.in.heldBytes, 0),
      out: links.reduce((sum, link) => sum + link.out.heldBytes, 0),
    };
  }

  /** Nothing passes; nobody is told. */
  cut(scope: Scope = {}): void {
    this.#change({ isCut: true }, scope);
  }

  /** From now on each chunk arrives so much later, in order. */
  delay(delayMs: number, scope: Scope = {}): void {
    this.#change({ delayMs }, scope);
  }

  throttle(bytesPerSecond: number, scope: Scope = {}): void {
    this.#change({ bytesPerSecond }, scope);
  }

  /** What is sent is taken and gone: the half-open connection of a host that has vanished. */
  swallow(scope: Scope = {}): void {
    this.#change({ isSwallowed: true }, scope);
  }

  /** Ends cuts and swallowing, for all and both ways; delays and throttles stay. */
  heal(): void {
    for (const link of this.#links) if (link.isSpoilt) link.reset();
    for (const rules of [this.#rules.in, this.#rules.out]) {
      for (const [from, rule] of rules) {
        rules.set(from, { ...rule, isCut: false, isSwallowed: false });
      }
    }
    this.#apply();
  }

  /** Ends all open connections with RST, or those of one who dialled. */
  reset(from?: string): void {
    for (const link of [...this.#links]) {
      if (from === undefined || link.from === from) link.reset();
    }
  }

  async close(): Promise<void> {
    this.reset();
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }

  #take(client: Socket): void {
    client.on("error", () => {
      client.destroy();
    });
    const from = this.#nameOf(client);
    if (from === undefined) {
      client.resetAndDestroy();
      return;
    }
    const target = createConnection({ port: this.targetPort, host: "127.0.0.1" });
    const link = new Link(from, client, target, (gone) => {
      this.#links.delete(gone);
    });
    this.#links.add(link);
    this.#applyTo(link);
  }

  #change(change: Partial<PipeRule>, { from, direction }: Scope): void {
    for (const way of ["in", "out"] as const) {
      if (direction !== undefined && way !== direction) continue;
      const rules = this.#rules[way];
      if (from === undefined) {
        for (const [name, rule] of rules) rules.set(name, { ...rule, ...change });
      }
      const name = from ?? anybody;
      rules.set(name, { ...this.#ruleOf(way, name), ...change });
    }
    this.#apply();
  }

  #ruleOf(way: Direction, from: string): PipeRule {
    return this.#rules[way].get(from) ?? this.#rules[way].get(anybody) ?? passing;
  }

  #apply(): void {
    for (const link of this.#links) this.#applyTo(link);
  }

  #applyTo(link: Link): void {
    link.in.rule = this.#ruleOf("in", link.from);
    link.out.rule = this.#ruleOf("out", link.from);
  }
}
