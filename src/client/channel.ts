/**
 * A gRPC channel to one node that can be dropped at once, and calls that always end.
 *
 * grpc-js closes a channel politely: it sends what is left and waits for the other side to hang
 * up. A node that is stopped, or cut off, never does, and would keep the program alive. Here the
 * channel's sockets are known, and destroyed with it.
 *
 * The socket that grpc-js itself dials is known only once it is connected, and grpc-js waits for it
 * as long as the system does: minutes, where a host swallows packets. So the address is tried with
 * a socket of our own first, for a bounded time; grpc-js dials what answered a moment ago.
 */
import { connect } from "node:net";
import type { Socket } from "node:net";

import { ChannelCredentials } from "@grpc/grpc-js";
import type { CallCredentials, ChannelOptions, ServiceError } from "@grpc/grpc-js";

import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import { ClusterServiceClient } from "../gen/cluster/v1/cluster.js";
import { LogClient } from "../gen/log/v1/log.js";
import { dialTarget, hostAndPort } from "./address.js";
import { fromServiceError, neverSent, wasNeverSent } from "./wire-errors.js";

type CreateConnector = ChannelCredentials["_createSecureConnector"];
type SecureConnector = ReturnType<CreateConnector>;
type Target = Parameters<CreateConnector>[0];

const mebibyte = 1024 * 1024;

/**
 * Reconnects stay below 500 ms: a node that restarted is found at once. Pings find a node that
 * hangs while a stream to it is open. Whoever retries here knows what is safe to send again.
 */
const channelOptions: ChannelOptions = {
  "grpc.max_receive_message_length": 64 * mebibyte,
  "grpc.max_send_message_length": 64 * mebibyte,
  "grpc.initial_reconnect_backoff_ms": 50,
  "grpc.max_reconnect_backoff_ms": 500,
  "grpc.enable_http_proxy": 0,
  "grpc.use_local_subchannel_pool": 1,
  "grpc-node.flow_control_window": mebibyte,
  "grpc.dns_min_time_between_resolutions_ms": 1000,
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_retries": 0,
  "grpc.keepalive_time_ms": 2000,
  "grpc.keepalive_timeout_ms": 2000,
  "grpc.keepalive_permit_without_calls": 0,
};

/** How long an address may take to accept a connection. */
const dialMsMax = 3000;

/** Credentials that pass all to others, and keep hold of the sockets opened with them. */
class HeldCredentials extends ChannelCredentials {
  readonly #inner = ChannelCredentials.createInsecure();
  readonly #address: string;
  readonly #clock: Clock;
  readonly #sockets = new Set<Socket>();
  #isReleased = false;

  constructor(address: string, clock: Clock) {
    super();
    this.#address = address;
    this.#clock = clock;
  }

  override _isSecure(): boolean {
    return this.#inner._isSecure();
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    target: Target,
    options: ChannelOptions,
    callCredentials?: CallCredentials,
  ): SecureConnector {
    const inner = this.#inner._createSecureConnector(target, options, callCredentials);
    return {
      connect: (socket) => {
        this.#hold(socket);
        return inner.connect(socket);
      },
      waitForReady: async () => {
        await this.#tryDial();
        await inner.waitForReady();
      },
      getCallCredentials: () => inner.getCallCredentials(),
      destroy: () => {
        inner.destroy();
      },
    };
  }

  /** Resolves if the address accepts a connection. */
  async #tryDial(): Promise<void> {
    if (this.#isReleased) throw new Error("The channel is dropped.");
    await new Promise<void>((resolve, reject) => {
      const socket = connect(hostAndPort(this.#address));
      const timer = this.#clock.setTimer(dialMsMax, () => {
        socket.destroy(new Error(`${this.#address} accepts no connection`));
      });
      this.#hold(socket);
      socket.once("connect", () => {
        resolve();
        socket.destroy();
      });
      socket.once("error", reject);
      socket.once("close", () => {
        timer.cancel();
        reject(new Error("The channel is dropped."));
      });
    });
  }

  #hold(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    if (this.#isReleased) socket.destroy();
  }

  /** Destroys the sockets, also those that come later; resolves when they are gone. */
  async release(): Promise<void> {
    this.#isReleased = true;
    const gone = [...this.#sockets].map(
      (socket) =>
        new Promise<void>((resolve) => {
          socket.once("close", () => {
            resolve();
          });
          socket.destroy();
        }),
    );
    await Promise.all(gone);
  }
}

type Answer<Response> = (error: ServiceError | null, response: Response) => void;

/** A unary method of a service, bound to its request. */
type SendUnary<Service, Response> = (
  service: Service,
  answer: Answer<Response>,
) => { cancel(): void };

/** How long a call may take, and what else ends it. */
export interface CallLimits {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** The connection to one node. */
export class NodeChannel {
  readonly address: string;
  readonly client: LogClient;
  readonly #clock: Clock;
  readonly #credentials: HeldCredentials;
  #cluster: ClusterServiceClient | undefined;

  constructor(address: string, clock: Clock) {
    this.address = address;
    this.#clock = clock;
    this.#credentials = new HeldCredentials(address, clock);
    this.client = new LogClient(dialTarget(address), this.#credentials, channelOptions);
  }

  /**
   * Calls a unary read.
   *
   * @throws ProglogError; the signal's reason if it aborts first.
   */
  async ask<Response>(send: SendUnary<LogClient, Response>, limits: CallLimits): Promise<Response> {
    return this.#call((answer) => send(this.client, answer), limits, "read");
  }

  /**
   * Calls a method of the cluster service, over the same connection.
   *
   * @throws ProglogError, `outcome-unknown` for a write that may have come to something; the
   *   signal's reason if it aborts first.
   */
  async askCluster<Response>(
    send: SendUnary<ClusterServiceClient, Response>,
    limits: CallLimits,
    kind: "read" | "write",
  ): Promise<Response> {
    this.#cluster ??= new ClusterServiceClient(dialTarget(this.address), this.#credentials, {
      channelOverride: this.client.getChannel(),
    });
    const cluster = this.#cluster;
    return this.#call((answer) => send(cluster, answer), limits, kind);
  }

  async #call<Response>(
    send: (answer: Answer<Response>) => { cancel(): void },
    limits: CallLimits,
    kind: "read" | "write",
  ): Promise<Response> {
    const { timeoutMs, signal } = limits;
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const end = (finish: () => void): void => {
        timer.cancel();
        signal?.removeEventListener("abort", abort);
        finish();
      };
      const abort = (): void => {
        end(() => reject(signal?.reason as Error));
        call.cancel();
      };
      const timer = this.#clock.setTimer(timeoutMs, () => {
        const waited = String(Math.round(timeoutMs));
        const detail = `The node at ${this.address} did not answer in ${waited} ms.`;
        const code = kind === "read" ? "unavailable" : "outcome-unknown";
        end(() => reject(new ProglogError(code, detail)));
        call.cancel();
      });
      const call = send((error, response) => {
        end(() => {
          if (error === null) resolve(response);
          else if (kind === "write" && wasNeverSent(error)) reject(neverSent(error));
          else reject(fromServiceError(error, kind));
        });
      });
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /** Ends all calls and destroys the connection; resolves when the sockets are closed. */
  async drop(): Promise<void> {
    this.client.close();
    await this.#credentials.release();
  }
}

/** The channels of a client, one for each address, made when first asked for. */
export class Channels {
  readonly #clock: Clock;
  readonly #channels = new Map<string, NodeChannel>();
  readonly #dropped = new Set<Promise<void>>();
  #isClosed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws ProglogError `unavailable` once closed. */
  to(address: string): NodeChannel {
    if (this.#isClosed) throw new ProglogError("unavailable", "The client is closed.");
    const known = this.#channels.get(address);
    if (known !== undefined) return known;
    const channel = new NodeChannel(address, this.#clock);
    this.#channels.set(address, channel);
    return channel;
  }

  /** Drops the channels to nodes that are not members any more. */
  keepOnly(addresses: ReadonlySet<string>): void {
    for (const [address, channel] of this.#channels) {
      if (addresses.has(address)) continue;
      this.#channels.delete(address);
      this.#drop(channel);
    }
  }

  #drop(channel: NodeChannel): void {
    const dropped = channel.drop().finally(() => this.#dropped.delete(dropped));
    this.#dropped.add(dropped);
  }

  /** Resolves when every socket is closed. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const channel of this.#channels.values()) this.#drop(channel);
    this.#channels.clear();
    await Promise.all(this.#dropped);
  }
}
