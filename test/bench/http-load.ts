/**
 * Drives a node with POST /Data over keep-alive connections, one request in flight on each.
 *
 * Plain sockets and the least of HTTP parsing, so that the client costs little of the processors
 * that it shares with the nodes.
 */
import { connect } from "node:net";
import type { Socket } from "node:net";
import { performance } from "node:perf_hooks";

import type { Load, Meter } from "./load.js";

export interface HttpLoadOptions {
  readonly httpAddr: string;
  readonly connections: number;
  readonly valueBytes: number;
}

const headEnd = "\r\n\r\n";

export class HttpLoad implements Load {
  readonly #options: HttpLoadOptions;
  readonly #request: Buffer;
  readonly #sockets: Socket[] = [];
  #isOver = false;
  #inFlight = 0;
  #drained: (() => void) | undefined;

  constructor(options: HttpLoadOptions) {
    this.#options = options;
    const body = JSON.stringify({ message: "a".repeat(options.valueBytes) });
    this.#request = Buffer.from(
      `POST /Data HTTP/1.1\r\nHost: ${options.httpAddr}\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${body.length}${headEnd}${body}`,
    );
  }

  async start(meter: Meter): Promise<void> {
    const colon = this.#options.httpAddr.lastIndexOf(":");
    const host = this.#options.httpAddr.slice(0, colon);
    const port = Number(this.#options.httpAddr.slice(colon + 1));
    for (let at = 0; at < this.#options.connections; at += 1) {
      const socket = connect(port, host);
      socket.setNoDelay(true);
      this.#sockets.push(socket);
      await new Promise<void>((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("error", reject);
      });
      this.#drive(socket, meter);
    }
  }

  async end(): Promise<void> {
    this.#isOver = true;
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    for (const socket of this.#sockets) socket.destroy();
  }

  #drive(socket: Socket, meter: Meter): void {
    let issuedMs = 0;
    let text = "";
    const issue = (): void => {
      issuedMs = performance.now();
      this.#inFlight += 1;
      socket.write(this.#request);
    };
    const give = (): void => {
      this.#inFlight -= 1;
      if (this.#isOver && this.#inFlight === 0) this.#drained?.();
    };
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      if (!isWhole(text)) return;
      if (text.startsWith("HTTP/1.1 201")) meter.acknowledged(issuedMs, 1);
      else meter.failed(new Error(text));
      text = "";
      give();
      if (!this.#isOver) issue();
    });
    socket.on("error", (error) => {
      meter.failed(error);
      give();
    });
    issue();
  }
}

/** True if the text holds a head and as many bytes of a body as it says. */
function isWhole(text: string): boolean {
  const end = text.indexOf(headEnd);
  if (end < 0) return false;
  const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end));
  return text.length >= end + headEnd.length + Number(length?.[1] ?? 0);
}
