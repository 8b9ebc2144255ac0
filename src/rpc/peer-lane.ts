/**
 * One outgoing stream to one peer: dialled for ever, and bounded.
 *
 * It opens when it is made and again whenever it breaks, after a short random pause. It is up
 * when the peer has answered the handshake. Each try has a channel of its own, so that a name is
 * resolved anew and nothing of an old connection lingers.
 *
 * Invariants: at most one try is alive; `send` never waits; what is accepted and not yet handed
 * to the socket is at most `queueBytesMax` bytes (and the 1 MiB that grpc-js calls written before
 * it is).
 */
import type { ClientDuplexStream, Metadata } from "@grpc/grpc-js";

import type { Clock, Timer } from "../common/clock.js";
import type { Random } from "../common/random.js";
import type { ExchangeResponse } from "../gen/raft/v1/raft.js";
import { RaftService } from "../gen/raft/v1/raft.js";
import type { Message } from "../raft/message.js";
import type { Peer } from "../replica/transport.js";
import { parseAddress } from "./addresses.js";
import type { HeldChannel } from "./held-channel.js";
import type { Lane } from "./peer-handshake.js";

/** What this room asks of a logger: an event's name, and its fields. pino fits. */
export interface EventLogger {
  info(fields: object, event: string): void;
  warn(fields: object, event: string): void;
}

export interface LaneLimits {
  readonly queueBytesMax: number;
  readonly messageBytesMax: number;
  readonly backoffMsMin: number;
  readonly backoffMsMax: number;
  readonly handshakeMsMax: number;
}

/** What a lane needs of the transport it is part of. */
export interface LanePort {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: EventLogger;
  readonly limits: LaneLimits;
  /** The metadata that opens the stream; undefined as long as this node has no cluster. */
  greeting(peer: Peer, lane: Lane): Metadata | undefined;
  openChannel(address: NonNullable<ReturnType<typeof parseAddress>>): HeldChannel;
  encode(message: Message): Buffer;
  /** The stream was up and broke. */
  onBroken(peer: Peer): void;
}

interface Try {
  readonly channel: HeldChannel;
  readonly call: ClientDuplexStream<Buffer, ExchangeResponse>;
  /** When the peer answered the handshake. */
  upSinceMs: number | undefined;
  /** Bytes accepted and not yet written to the socket. */
  queuedBytes: number;
}

/** A stream that held for this long was a good one: the next pause is short again. */
const stableMs = 1000;

const identity = (wire: Buffer): Buffer => wire;

export class PeerLane {
  readonly #port: LanePort;
  readonly #peer: Peer;
  readonly #lane: Lane;
  #try: Try | undefined;
  /** Ends the pause before the next try, or a handshake that takes too long. */
  #timer: Timer | undefined;
  #failureCount = 0;
  #isClosed = false;
  /** Why it is down, as last logged: what repeats is said once. */
  #loggedReason: string | undefined;

  constructor(port: LanePort, peer: Peer, lane: Lane) {
    this.#port = port;
    this.#peer = peer;
    this.#lane = lane;
    this.#dial();
  }

  /** Sends, or drops: true if the message was handed to an open stream. */
  send(message: Message): boolean {
    const open = this.#try;
    if (open?.upSinceMs === undefined || !open.call.writable) return false;
    const { queueBytesMax, messageBytesMax } = this.#port.limits;
    if (open.queuedBytes >= queueBytesMax) return false;
    const wire = this.#port.encode(message);
    if (wire.length > messageBytesMax) {
      const fields = { peerId: this.#peer.id, type: message.type, bytes: wire.length };
      this.#port.logger.warn({ ...fields, messageBytesMax }, "peer-message-too-large");
      return false;
    }
    if (open.queuedBytes + wire.length > queueBytesMax) return false;
    open.queuedBytes += wire.length;
    open.call.write(wire, () => {
      open.queuedBytes -= wire.length;
    });
    return true;
  }

  /** Tries at once if it is pausing: the peer has just been heard from. */
  hurry(): void {
    if (this.#isClosed || this.#try !== undefined) return;
    this.#timer?.cancel();
    this.#dial();
  }

  /** Ends the stream for good; resolves when its sockets are closed. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    const open = this.#try;
    this.#try = undefined;
    open?.call.cancel();
    await open?.channel.drop();
  }

  #dial(): void {
    const greeting = this.#port.greeting(this.#peer, this.#lane);
    const address = parseAddress(this.#peer.rpcAddr);
    if (greeting === undefined || address === undefined || address.port === 0) {
      const reason = greeting === undefined ? "no cluster yet" : "not an address";
      this.#pause(reason);
      return;
    }
    const channel = this.#port.openChannel(address);
    const { path, responseDeserialize } = RaftService.exchange;
    const call = channel.client.makeBidiStreamRequest(
      path,
      identity,
      responseDeserialize,
      greeting,
    );
    const started: Try = { channel, call, upSinceMs: undefined, queuedBytes: 0 };
    this.#try = started;
    call.on("metadata", () => {
      this.#answered(started);
    });
    call.on("error", (error: Error) => {
      this.#lost(started, error.message);
    });
    call.on("end", () => {
      this.#lost(started, "ended by the peer");
    });
    call.resume();
    this.#timer = this.#port.clock.setTimer(this.#port.limits.handshakeMsMax, () => {
      this.#lost(started, "no answer to the handshake");
    });
  }

  #answered(started: Try): void {
    if (this.#try !== started) return;
    this.#timer?.cancel();
    started.upSinceMs = this.#port.clock.now();
    this.#loggedReason = undefined;
    this.#port.logger.info(this.#fields(), "peer-stream-up");
  }

  #lost(started: Try, reason: string): void {
    if (this.#try !== started) return;
    this.#timer?.cancel();
    this.#try = undefined;
    started.call.cancel();
    void started.channel.drop();
    const { upSinceMs } = started;
    if (upSinceMs !== undefined && this.#port.clock.now() - upSinceMs >= stableMs) {
      this.#failureCount = 0;
    }
    this.#pause(reason);
    if (upSinceMs !== undefined) this.#port.onBroken(this.#peer);
  }

  #pause(reason: string): void {
    if (reason !== this.#loggedReason) {
      this.#loggedReason = reason;
      this.#port.logger.warn({ ...this.#fields(), reason }, "peer-stream-down");
    }
    const { backoffMsMin, backoffMsMax } = this.#port.limits;
    const capMs = Math.min(backoffMsMax, backoffMsMin * 2 ** Math.min(this.#failureCount + 1, 20));
    this.#failureCount++;
    const delayMs = backoffMsMin + this.#port.random.next() * Math.max(0, capMs - backoffMsMin);
    this.#timer = this.#port.clock.setTimer(delayMs, () => {
      this.#dial();
    });
  }

  #fields(): object {
    const { id, name, rpcAddr } = this.#peer;
    return { peerId: id, peerName: name, rpcAddr, lane: this.#lane };
  }
}
