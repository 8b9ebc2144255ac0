/**
 * A node's gRPC server: the Log service for clients, membership, health, reflection, and whatever
 * the agent adds for peers, all on one port.
 *
 * Invariants: everything a client can make grow has a limit (options.ts); `close()` ends within
 * its bound, and leaves no socket and no timer behind.
 */
import { EventEmitter } from "node:events";
import { createServer } from "node:net";

import { Server, ServerCredentials } from "@grpc/grpc-js";

import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { ClusterService, LogService } from "../service/api.js";
import type { Address } from "./addresses.js";
import { formatAddress } from "./addresses.js";
import type { RpcLogger } from "./call-gate.js";
import { CallGate } from "./call-gate.js";
import { addClusterService } from "./cluster-service.js";
import { addReflection, Health } from "./health.js";
import { enlargeServerWindow, serverChannelOptions } from "./http2-window.js";
import { addLogService } from "./log-service.js";
import type { RpcOptions } from "./options.js";
import { resolveRpcOptions } from "./options.js";

export interface RpcServerSettings {
  readonly log: LogService;
  readonly cluster: ClusterService;
  readonly clock: Clock;
  readonly logger: RpcLogger;
  readonly options?: Partial<RpcOptions>;
  /** How clients and peers are taken; plain text if undefined. */
  readonly credentials?: ServerCredentials;
  /** Adds further services, such as Raft for the peers. */
  readonly addServices?: (server: Server) => void;
}

export class RpcServer {
  readonly #server: Server;
  readonly #gate: CallGate;
  readonly #health: Health;
  readonly #clock: Clock;
  readonly #logger: RpcLogger;
  readonly #options: RpcOptions;
  readonly #credentials: ServerCredentials;
  #closed: Promise<void> | undefined;

  /** @throws ProglogError `invalid-request` if an option is out of range. */
  constructor(settings: RpcServerSettings) {
    const { log, cluster, clock, logger } = settings;
    const options = resolveRpcOptions(settings.options);
    this.#clock = clock;
    this.#logger = logger;
    this.#options = options;
    this.#credentials = settings.credentials ?? ServerCredentials.createInsecure();
    this.#gate = new CallGate(options, logger);
    this.#server = new Server({
      ...serverChannelOptions(options),
      "grpc.max_concurrent_streams": options.streamsPerConnectionMax,
    });
    addLogService(this.#server, { log, cluster, clock, options, gate: this.#gate });
    addClusterService(this.#server, cluster, this.#gate);
    this.#health = new Health(this.#server, this.#gate);
    addReflection(this.#server, this.#gate);
    settings.addServices?.(this.#server);
  }

  /** Streams open now. */
  get streams(): number {
    return this.#gate.streams;
  }

  /**
   * Starts to listen; port 0 takes any free one. The server says SERVING only once told so.
   *
   * @throws ProglogError `unavailable` that names the address, if it can't be bound.
   */
  async listen(host: string, port: number): Promise<Address> {
    const address = formatAddress({ host, port });
    const bound = await this.#bind({ host, port }).catch((error: unknown) => {
      const message = error instanceof Error ? error.message : String(error);
      throw new ProglogError("unavailable", bindFailure(message, address), { cause: error });
    });
    enlargeServerWindow(this.#server, (reason) =>
      this.#logger.warn({ reason }, "rpc_small_window"),
    );
    this.#boundConnections();
    this.#logger.info({ host, port: bound }, "rpc_listening");
    return { host, port: bound };
  }

  async #bind({ host, port }: Address): Promise<number> {
    // grpc-js writes a line of its own to stderr when it can't bind; so this is found out before.
    if (port !== 0) await tryBind({ host, port });
    return await new Promise<number>((resolve, reject) => {
      const address = formatAddress({ host, port });
      this.#server.bindAsync(address, this.#credentials, (error, boundPort) => {
        if (error === null) resolve(boundPort);
        else reject(error);
      });
    });
  }

  /** What the health service says, for the whole server and each service. */
  setServing(serving: boolean): void {
    if (this.#closed === undefined) this.#health.setServing(serving);
  }

  /**
   * Stops: says NOT_SERVING, ends streams with `unavailable`, lets calls under way finish, and
   * cuts what is left after `closeTimeoutMs`. May be called again.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#health.setServing(false);
    this.#gate.close();
    await new Promise<void>((resolve) => {
      const timer = this.#clock.setTimer(this.#options.closeTimeoutMs, () => {
        this.#logger.warn({ streams: this.#gate.streams }, "rpc_close_cut_calls");
        this.#server.forceShutdown();
        resolve();
      });
      this.#server.tryShutdown(() => {
        timer.cancel();
        // Also after a polite end: grpc-js keeps idle sessions until told to drop them.
        this.#server.forceShutdown();
        resolve();
      });
    });
  }

  /** grpc-js has no limit of connections; its listeners are Node's servers, which have one. */
  #boundConnections(): void {
    const http2Servers: unknown = Reflect.get(this.#server, "http2Servers");
    if (!(http2Servers instanceof Map)) return;
    for (const listener of http2Servers.keys()) {
      if (!(listener instanceof EventEmitter)) continue;
      Reflect.set(listener, "maxConnections", this.#options.connectionsMax);
    }
  }
}

/** Rejects with the reason if the address can't be listened at. */
async function tryBind({ host, port }: Address): Promise<void> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once("error", reject);
    probe.listen({ host, port }, () => probe.close(() => resolve()));
  });
}

function bindFailure(message: string, address: string): string {
  if (message.includes("EADDRINUSE")) {
    return `The rpc address ${address} is in use. Stop what listens there, or choose another port.`;
  }
  if (message.includes("EACCES")) {
    return `The rpc address ${address} may not be used. Choose a port from 1024.`;
  }
  if (message.includes("EADDRNOTAVAIL") || message.includes("ENOTFOUND")) {
    return `The rpc address ${address} is not one of this host's. Choose another address.`;
  }
  return `The rpc address ${address} can't be bound: ${message}.`;
}
