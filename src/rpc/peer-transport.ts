/**
 * The transport between real nodes: Raft messages over gRPC streams.
 *
 * To each peer go two streams on connections of their own, one for entries and one for all that
 * must not wait behind them; from each peer come two, taken from whichever dialled last. A
 * message is delivered in the turn of the event loop in which it arrives. The address book is
 * not kept here: what handshakes teach is reported, and `setPeers` says whom to dial.
 *
 * Invariants: nothing is delivered from a stream whose handshake was refused; a message that
 * can't be decoded ends its stream and changes no state; every queue has a bound.
 */
import { credentials as channelCredentials, Metadata, status } from "@grpc/grpc-js";
import type {
  ChannelCredentials,
  ChannelOptions,
  ServerDuplexStream,
  ServerUnaryCall,
  ServerWritableStream,
} from "@grpc/grpc-js";

import { assert } from "../common/assert.js";
import type { Clock } from "../common/clock.js";
import { sleep } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { Random } from "../common/random.js";
import type {
  ExchangeResponse,
  FetchSnapshotRequest,
  FetchSnapshotResponse,
  ReadSegmentRequest,
  ReadSegmentResponse,
} from "../gen/raft/v1/raft.js";
import type { Member, Message, NodeId } from "../raft/message.js";
import type { Peer, Transport } from "../replica/transport.js";
import type { Address } from "./addresses.js";
import type { PeerAsking } from "./segment-call.js";
import { holdChannel } from "./held-channel.js";
import { clientChannelOptions } from "./http2-window.js";
import type { Handshake, Lane, Refusal } from "./peer-handshake.js";
import { handshakeMetadata, isRefusal, lanes, readHandshake } from "./peer-handshake.js";
import type { EventLogger, LaneLimits, LanePort } from "./peer-lane.js";
import { PeerLane } from "./peer-lane.js";
import { MessageEncoder, decodeMessage } from "./raft-codec.js";
import { readSegment } from "./segment-call.js";
import { readSnapshot } from "./snapshot-stream.js";

type InboundCall = ServerDuplexStream<Buffer, ExchangeResponse>;
type InboundStream =
  InboundCall | ServerWritableStream<FetchSnapshotRequest, FetchSnapshotResponse>;
/** A call whose handshake can be checked. */
export type GreetedCall = InboundStream | ServerUnaryCall<ReadSegmentRequest, ReadSegmentResponse>;

export interface PeerTransportOptions extends LaneLimits {
  /** Streams from peers at one time; one more is refused. */
  readonly inboundCountMax: number;
  /** Longest wait for the next part of a snapshot. */
  readonly snapshotIdleMsMax: number;
  /** Longest wait for a piece of a segment. */
  readonly segmentMsMax: number;
}

export const peerTransportDefaults: PeerTransportOptions = Object.freeze({
  queueBytesMax: 16 * 1024 * 1024,
  messageBytesMax: 8 * 1024 * 1024,
  backoffMsMin: 50,
  backoffMsMax: 500,
  handshakeMsMax: 3000,
  inboundCountMax: 256,
  snapshotIdleMsMax: 30_000,
  segmentMsMax: 3000,
});

export interface PeerTransportParts {
  /** This node as others are to know it. Asked at each handshake: its addresses may change. */
  readonly self: () => Member;
  /** Undefined as long as the node is in no cluster: it then neither dials nor is dialled. */
  readonly clusterId: () => string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: EventLogger;
  readonly options?: Partial<PeerTransportOptions>;
  /** How peers are dialled; plain text if undefined. Asked at each try: certificates turn over. */
  readonly credentials?: () => ChannelCredentials;
  /**
   * Checks that the caller's certificate is that of the node it says it is.
   *
   * @returns Why not, as a sentence; undefined if it is.
   */
  readonly verifyPeer?: (
    context: ReturnType<InboundCall["getAuthContext"]>,
    from: NodeId,
  ) => string | undefined;
}

/** How long `close` waits for sockets to go. */
const closeMsMax = 1000;

export class PeerTransport implements Transport {
  readonly #parts: PeerTransportParts;
  readonly #options: PeerTransportOptions;
  readonly #port: LanePort;
  readonly #peers = new Map<NodeId, { readonly peer: Peer; readonly lanes: Map<Lane, PeerLane> }>();
  /** Current streams from peers, by node and lane. */
  readonly #inbound = new Map<string, { readonly from: NodeId; readonly call: InboundCall }>();
  readonly #contactMs = new Map<NodeId, number>();
  readonly #closing = new AbortController();
  #receive: ((message: Message) => void) | undefined;
  #reportUnreachable: ((peer: NodeId) => void) | undefined;
  #reportAddress: ((member: Member) => void) | undefined;

  constructor(parts: PeerTransportParts) {
    this.#parts = parts;
    this.#options = { ...peerTransportDefaults, ...parts.options };
    const { queueBytesMax, messageBytesMax } = this.#options;
    assert(queueBytesMax >= messageBytesMax, "the largest message fits the queue to a peer");
    const encoder = new MessageEncoder();
    this.#port = {
      encode: (message) => encoder.encode(message),
      clock: parts.clock,
      random: parts.random,
      logger: parts.logger,
      limits: this.#options,
      greeting: (peer, lane) => this.#greeting(peer, lane),
      openChannel: (address) => this.#openChannel(address),
      onBroken: (peer) => this.#reportUnreachable?.(peer.id),
    };
  }

  onMessage(receive: (message: Message) => void): void {
    this.#receive = receive;
  }

  onUnreachable(report: (peer: NodeId) => void): void {
    this.#reportUnreachable = report;
  }

  /** Called at each handshake accepted from a peer, with the addresses it gives itself. */
  onPeerAddress(report: (member: Member) => void): void {
    this.#reportAddress = report;
  }

  lastContact(peer: NodeId): number | undefined {
    return this.#contactMs.get(peer);
  }

  send(message: Message): boolean {
    const lane = this.#peers.get(message.to)?.lanes.get(laneOf(message));
    return lane?.send(message) ?? false;
  }

  setPeers(peers: readonly Peer[]): void {
    if (this.#closing.signal.aborted) return;
    const wanted = new Map(peers.map((peer) => [peer.id, peer]));
    wanted.delete(this.#parts.self().id);
    for (const [id, held] of this.#peers) {
      if (wanted.get(id)?.rpcAddr === held.peer.rpcAddr) continue;
      for (const lane of held.lanes.values()) void lane.close();
      this.#peers.delete(id);
      if (!wanted.has(id)) this.#forgetContact(id);
    }
    for (const [id, peer] of wanted) {
      if (this.#peers.has(id)) continue;
      const opened = lanes.map((lane) => [lane, new PeerLane(this.#port, peer, lane)] as const);
      this.#peers.set(id, { peer, lanes: new Map(opened) });
    }
  }

  /** Takes a stream from a peer, or refuses it: the server's side of Raft/Exchange. */
  accept(call: InboundCall): void {
    // Without a listener of ours, what grpc-js reports about a broken stream would be thrown.
    call.on("error", () => undefined);
    const outcome = this.checkHandshake(call);
    if (isRefusal(outcome)) {
      endWith(call, outcome);
      return;
    }
    const { from, lane = "control" } = outcome;
    const key = `${from.id} ${lane}`;
    const older = this.#inbound.get(key);
    if (older === undefined && this.#inbound.size >= this.#options.inboundCountMax) {
      endWith(call, { code: status.RESOURCE_EXHAUSTED, details: "Too many streams from peers." });
      return;
    }
    const stream = { from: from.id, call };
    this.#inbound.set(key, stream);
    if (older !== undefined) {
      endWith(older.call, { code: status.ABORTED, details: "A newer stream took its place." });
    }
    const isCurrent = (): boolean => this.#inbound.get(key) === stream;
    const forget = (): void => {
      if (!isCurrent()) return;
      this.#inbound.delete(key);
      this.#forgetContact(from.id);
    };
    call.on("data", (wire: Buffer) => {
      if (isCurrent() && !this.#deliver(wire, outcome, call)) forget();
    });
    call.on("end", () => {
      forget();
      call.end();
    });
    call.on("cancelled", forget);
    call.on("close", forget);
    call.sendMetadata(new Metadata());
    this.#contactMs.set(from.id, this.#parts.clock.now());
    this.#reportAddress?.(from);
    for (const outgoing of this.#peers.get(from.id)?.lanes.values() ?? []) outgoing.hurry();
  }

  /** Checks who calls, by metadata and certificate: the handshake, or why the call is refused. */
  checkHandshake(call: GreetedCall): Handshake | Refusal {
    if (this.#closing.signal.aborted) {
      return { code: status.UNAVAILABLE, details: "The node is stopping." };
    }
    const local = { self: this.#parts.self(), clusterId: this.#parts.clusterId() };
    const outcome = readHandshake(call.metadata, local);
    const reason = isRefusal(outcome)
      ? outcome.details
      : this.#parts.verifyPeer?.(call.getAuthContext(), outcome.from.id);
    if (reason === undefined) return outcome;
    this.#parts.logger.warn({ address: call.getPeer(), reason }, "peer-refused");
    return isRefusal(outcome) ? outcome : { code: status.PERMISSION_DENIED, details: reason };
  }

  /**
   * Fetches a snapshot from a peer. The call is cancelled when the loop over it ends for
   * whatever reason, the signal aborts, the transport closes, or no part comes for too long.
   *
   * @throws ProglogError with the peer's code, or `unavailable` if it can't be reached.
   */
  async *fetchSnapshot(
    peer: Peer,
    request: FetchSnapshotRequest,
    signal: AbortSignal,
  ): AsyncGenerator<FetchSnapshotResponse, void, undefined> {
    yield* readSnapshot(request, {
      ...this.#asking(peer, signal),
      clock: this.#parts.clock,
      idleMsMax: this.#options.snapshotIdleMsMax,
    });
  }

  /**
   * Asks a peer what it holds of a segment. Cancelled as `fetchSnapshot` is.
   *
   * @throws ProglogError with the peer's code, or `unavailable` if it can't be reached.
   */
  async readSegment(
    peer: Peer,
    request: ReadSegmentRequest,
    signal: AbortSignal,
  ): Promise<ReadSegmentResponse> {
    const deadlineMs = this.#parts.clock.wallNow() + this.#options.segmentMsMax;
    return readSegment(request, { ...this.#asking(peer, signal), deadlineMs });
  }

  #asking(peer: Peer, signal: AbortSignal): PeerAsking {
    return {
      peer,
      metadata: this.#greeting(peer, undefined),
      openChannel: (address) => this.#openChannel(address),
      signal: AbortSignal.any([signal, this.#closing.signal]),
    };
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new ProglogError("unavailable", "The node is stopping."));
    for (const { call } of this.#inbound.values()) {
      endWith(call, { code: status.UNAVAILABLE, details: "The node is stopping." });
    }
    this.#inbound.clear();
    const outgoing = [...this.#peers.values()].flatMap((held) => [...held.lanes.values()]);
    this.#peers.clear();
    this.#contactMs.clear();
    const waiting = new AbortController();
    const late = sleep(this.#parts.clock, closeMsMax, waiting.signal).catch(() => undefined);
    await Promise.race([Promise.all(outgoing.map((lane) => lane.close())), late]);
    waiting.abort();
  }

  /** @returns False if the message could not be decoded: its stream has been ended. */
  #deliver(wire: Buffer, handshake: Handshake, call: InboundCall): boolean {
    const { from, to } = handshake;
    let message: Message;
    try {
      message = decodeMessage(wire, { from: from.id, to });
    } catch (error) {
      const reason = ProglogError.from(error).message;
      this.#parts.logger.warn({ peerId: from.id, reason }, "peer-message-malformed");
      endWith(call, { code: status.INVALID_ARGUMENT, details: reason });
      return false;
    }
    this.#contactMs.set(from.id, this.#parts.clock.now());
    this.#receive?.(message);
    return true;
  }

  /** Contacts are kept of peers and of those that have a stream here: no others. */
  #forgetContact(id: NodeId): void {
    const isHeard = [...this.#inbound.values()].some((stream) => stream.from === id);
    if (!isHeard && !this.#peers.has(id)) this.#contactMs.delete(id);
  }

  #greeting(peer: Peer, lane: Lane | undefined): Metadata | undefined {
    const clusterId = this.#parts.clusterId();
    if (clusterId === undefined) return undefined;
    return handshakeMetadata({ clusterId, from: this.#parts.self(), to: peer.id, lane });
  }

  #openChannel(address: Address): ReturnType<typeof holdChannel> {
    const credentials = this.#parts.credentials?.() ?? channelCredentials.createInsecure();
    const options: ChannelOptions = {
      ...clientChannelOptions({ messageBytesMax: this.#options.messageBytesMax }),
      // Streams here are never idle for long: a peer that is cut off should show within seconds.
      "grpc.keepalive_time_ms": 1000,
      "grpc.keepalive_timeout_ms": 2000,
    };
    return holdChannel(address, credentials, options);
  }
}

/** Which stream a message goes on. */
function laneOf(message: Message): Lane {
  const isBulk =
    message.type === "snapshotOffer" ||
    (message.type === "appendRequest" && message.entries.length > 0);
  return isBulk ? "bulk" : "control";
}

/** Ends a server's call with a status, as grpc-js wants it told. */
export function endWith(call: InboundStream, refusal: Refusal): void {
  call.emit("error", refusal);
}
