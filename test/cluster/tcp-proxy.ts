/**
 * A TCP proxy in the test process that stands before one node: it can cut, delay and reset.
 *
 * Cut: bytes of open connections are held and new connections wait, as behind a dead link; after
 * `heal` all that was held goes on. Delay: each chunk arrives so much later. Reset: open
 * connections end with RST.
 */
import { createConnection, createServer } from "node:net";
import type { Server, Socket } from "node:net";

interface Link {
  readonly client: Socket;
  readonly target: Socket;
}

export class TcpProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #targetPort: number;
  readonly #links = new Set<Link>();
  /** Connections that came while the link was cut. */
  readonly #waiting = new Set<Socket>();
  #isCut = false;
  #delayMs = 0;

  private constructor(server: Server, port: number, targetPort: number) {
    this.#server = server;
    this.port = port;
    this.#targetPort = targetPort;
    server.on("connection", (client) => {
      client.on("error", () => {
        client.destroy();
      });
      if (this.#isCut) {
        this.#waiting.add(client);
        client.pause();
      } else {
        this.#join(client);
      }
    });
  }

  /** Listens on `port` and passes everything to `targetPort`, both of 127.0.0.1. */
  static async listen(port: number, targetPort: number): Promise<TcpProxy> {
    const server = createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, "127.0.0.1", resolve);
    });
    return new TcpProxy(server, port, targetPort);
  }

  /** Nothing passes in either direction; nobody is told. */
  cut(): void {
    this.#isCut = true;
    for (const { client, target } of this.#links) {
      client.pause();
      target.pause();
    }
  }

  heal(): void {
    this.#isCut = false;
    for (const { client, target } of this.#links) {
      client.resume();
      target.resume();
    }
    for (const client of this.#waiting) this.#join(client);
    this.#waiting.clear();
  }

  /** From now on each chunk arrives so much later, in order. */
  delay(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  /** Ends all open connections with RST. */
  reset(): void {
    for (const { client, target } of this.#links) {
      client.resetAndDestroy();
      target.resetAndDestroy();
    }
    for (const client of this.#waiting) client.resetAndDestroy();
    this.#links.clear();
    this.#waiting.clear();
  }

  async close(): Promise<void> {
    this.reset();
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }

  #join(client: Socket): void {
    if (client.destroyed) return;
    const target = createConnection({ port: this.#targetPort, host: "127.0.0.1" });
    const link = { client, target };
    this.#links.add(link);
    client.setNoDelay(true);
    target.setNoDelay(true);
    this.#pass(client, target, link);
    this.#pass(target, client, link);
    client.resume();
  }

  #pass(from: Socket, to: Socket, link: Link): void {
    from.on("data", (chunk: Buffer) => {
      if (this.#delayMs === 0) {
        if (!to.destroyed && !to.write(chunk)) this.#holdBack(from, to);
        return;
      }
      setTimeout(() => {
        if (!to.destroyed) to.write(chunk);
      }, this.#delayMs);
    });
    const end = (): void => {
      this.#links.delete(link);
      from.destroy();
      to.destroy();
    };
    from.on("error", end);
    from.on("close", end);
  }

  #holdBack(from: Socket, to: Socket): void {
    from.pause();
    to.once("drain", () => {
      if (!this.#isCut) from.resume();
    });
  }
}
