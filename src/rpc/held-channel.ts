/**
 * A gRPC channel that can be dropped at once.
 *
 * grpc-js closes a channel politely: it sends what is left and waits for the other side to hang
 * up. A peer that is stopped, or cut off, never does, so each redial would leave a socket behind.
 * Here the channel's sockets are known, and destroyed with it.
 */
import type { Socket } from "node:net";

import { ChannelCredentials, Client } from "@grpc/grpc-js";
import type { CallCredentials, ChannelOptions } from "@grpc/grpc-js";

import type { Address } from "./addresses.js";
import { dialTarget } from "./addresses.js";

type CreateConnector = ChannelCredentials["_createSecureConnector"];
type SecureConnector = ReturnType<CreateConnector>;
type Target = Parameters<CreateConnector>[0];

/** Credentials that pass all to others, and keep hold of the sockets opened with them. */
class HeldCredentials extends ChannelCredentials {
  readonly #inner: ChannelCredentials;
  readonly #sockets = new Set<Socket>();
  #isReleased = false;

  constructor(inner: ChannelCredentials) {
    super();
    this.#inner = inner;
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
      waitForReady: () => inner.waitForReady(),
      getCallCredentials: () => inner.getCallCredentials(),
      destroy: () => {
        inner.destroy();
      },
    };
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

export interface HeldChannel {
  readonly client: Client;
  /** Ends all calls and destroys the connection; resolves when the sockets are closed. */
  drop(): Promise<void>;
}

/** A channel of its own to an address; it connects when first called. */
export function holdChannel(
  address: Address,
  credentials: ChannelCredentials,
  options: ChannelOptions,
): HeldChannel {
  const held = new HeldCredentials(credentials);
  const client = new Client(dialTarget(address), held, options);
  return {
    client,
    drop: async () => {
      client.close();
      await held.release();
    },
  };
}
