/**
 * Questions and appends to other nodes, over gRPC.
 *
 * Channels are kept by address, so that a question does not pay for a connection; those that are
 * not used are closed. Appends have streams and connections of their own (relay-stream.ts): bulk
 * must not delay a question. Every call has a deadline and fails with a ProglogError.
 */
import { credentials as channelCredentials, Metadata } from "@grpc/grpc-js";
import type { ChannelCredentials } from "@grpc/grpc-js";

import type { Clock, Timer } from "../common/clock.js";
import type { LeaderHint } from "../common/errors.js";
import { ProglogError } from "../common/errors.js";
import { ClusterServiceService as methods } from "../gen/cluster/v1/cluster.js";
import { LogService as logMethods } from "../gen/log/v1/log.js";
import type { Producer } from "../machine/producers.js";
import type {
  AppendAnswer,
  AppendOutcome,
  AppendReceipt,
  AppendRequest,
  ClusterStatus,
  CommittedAppend,
  JoinReceipt,
  JoinRequest,
  MemberStatus,
  NodeIdentity,
} from "../service/api.js";
import { isPatient } from "../service/api.js";
import type { PeerCalls } from "../service/peer-calls.js";
import { formatAddress, requireAddress } from "./addresses.js";
import { forwardedKey, localKey } from "./call-gate.js";
import { memberFromWire, memberToWire } from "./cluster-service.js";
import { fromServiceError } from "./grpc-errors.js";
import type { HeldChannel } from "./held-channel.js";
import { holdChannel } from "./held-channel.js";
import { clientChannelOptions, messageBytesMaxDefault } from "./http2-window.js";
import { outcomeFromWire } from "./log-messages.js";
import type { RelayLimits } from "./relay-stream.js";
import { RelayStream } from "./relay-stream.js";

export interface PeerCallOptions extends RelayLimits {
  /** Deadline of a question. */
  readonly callMsMax: number;
  /** Deadline of join and addMember: the leader dials back and commits before it answers. */
  readonly changeMsMax: number;
  /** Addresses whose connections are kept at once; the one unused for longest goes first. */
  readonly addressesMax: number;
  /** A connection unused for so long is closed. */
  readonly idleMsMax: number;
}

export const peerCallDefaults: PeerCallOptions = Object.freeze({
  callMsMax: 2000,
  changeMsMax: 10_000,
  addressesMax: 64,
  idleMsMax: 60_000,
  relayCountMax: 16_384,
  relayBytesMax: 32 * 1024 * 1024,
  relayConnectMsMax: 2000,
  relayTimeoutMs: 10_000,
  messageBytesMax: messageBytesMaxDefault,
});

export interface PeerCallParts {
  readonly clock: Clock;
  readonly options?: Partial<PeerCallOptions>;
  /** How nodes are dialled; plain text if undefined. Asked at each connection. */
  readonly credentials?: () => ChannelCredentials;
}

interface UnaryMethod<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (request: Request) => Buffer;
  readonly responseDeserialize: (wire: Buffer) => Response;
}

interface CallTerms {
  readonly kind: "read" | "write";
  readonly msMax: number;
  readonly isLocal?: boolean;
  readonly isForwarded?: boolean;
}

/** What is kept for an address. */
interface Peer {
  channel: HeldChannel | undefined;
  relay: RelayStream | undefined;
  patientRelay: RelayStream | undefined;
  callsInFlight: number;
  usedMs: number;
}

export class GrpcPeerCalls implements PeerCalls {
  readonly #clock: Clock;
  readonly #options: PeerCallOptions;
  readonly #credentials: () => ChannelCredentials;
  readonly #peers = new Map<string, Peer>();
  readonly #closing = new Set<Promise<void>>();
  #sweep: Timer | undefined;
  #isClosed = false;

  constructor(parts: PeerCallParts) {
    this.#clock = parts.clock;
    this.#options = { ...peerCallDefaults, ...parts.options };
    this.#credentials = parts.credentials ?? (() => channelCredentials.createInsecure());
  }

  /** Addresses with something kept for them. */
  get addresses(): number {
    return this.#peers.size;
  }

  async identify(rpcAddr: string): Promise<NodeIdentity> {
    const { clusterId, member } = await this.#call(rpcAddr, methods.identify, {}, this.#read());
    return { clusterId: clusterId === "" ? null : clusterId, member: memberFromWire(member) };
  }

  async join(rpcAddr: string, { clusterId, member }: JoinRequest): Promise<JoinReceipt> {
    const request = { clusterId: clusterId ?? "", member: memberToWire(member) };
    const answer = await this.#call(rpcAddr, methods.join, request, this.#change());
    return { clusterId: answer.clusterId, members: answer.members.map(memberFromWire) };
  }

  async status(rpcAddr: string): Promise<ClusterStatus> {
    const terms = { ...this.#read(), isLocal: true };
    const { json } = await this.#call(rpcAddr, methods.getStatus, {}, terms);
    return parseStatus(json);
  }

  async addMember(rpcAddr: string, memberRpcAddr: string): Promise<MemberStatus> {
    const request = { rpcAddr: memberRpcAddr };
    const { member } = await this.#call(rpcAddr, methods.addMember, request, this.#change());
    const added = memberFromWire(member);
    const known = await this.status(rpcAddr).catch(() => undefined);
    const status = known?.members.find(({ id }) => id === added.id);
    // The change is made, whether or not its effect could be asked for: a new member is a learner.
    const unknown = { alive: true, matchIndex: null, lag: null, lastContactMs: null };
    return status ?? { ...added, ...unknown, role: "learner", voter: false };
  }

  async removeMember(rpcAddr: string, id: string): Promise<void> {
    await this.#call(rpcAddr, methods.removeMember, { id }, this.#change());
  }

  async promoteMember(rpcAddr: string, id: string): Promise<void> {
    await this.#call(rpcAddr, methods.promoteMember, { id }, this.#change());
  }

  async transferLeader(rpcAddr: string, id: string | undefined): Promise<void> {
    await this.#call(rpcAddr, methods.transferLeader, { id: id ?? "" }, this.#change());
  }

  async produce(leader: LeaderHint, request: CommittedAppend): Promise<AppendReceipt>;
  async produce(leader: LeaderHint, request: AppendRequest): Promise<AppendAnswer>;
  async produce(leader: LeaderHint, request: AppendRequest): Promise<AppendAnswer> {
    const peer = this.#peer(leader.rpcAddr);
    // Those that wait for more than the commit fill a stream of their own: the node at its other
    // end reads it only as long as it holds a bounded number of them.
    const relay = isPatient(request.writeConcern) ? "patientRelay" : "relay";
    peer[relay] ??= new RelayStream(requireAddress(leader.rpcAddr, "the leader's rpcAddr"), {
      clock: this.#clock,
      credentials: this.#credentials,
      limits: this.#options,
    });
    return await peer[relay].produce(request);
  }

  async outcome({ rpcAddr }: LeaderHint, { id, sequence }: Producer): Promise<AppendOutcome> {
    const request = { producerId: id, sequence: BigInt(sequence) };
    const terms = { ...this.#read(), msMax: this.#options.changeMsMax, isForwarded: true };
    return outcomeFromWire(await this.#call(rpcAddr, logMethods.getOutcome, request, terms));
  }

  /** Drops all connections; calls under way fail. May be called again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#sweep?.cancel();
    for (const address of [...this.#peers.keys()]) this.#drop(address);
    await Promise.all(this.#closing);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #read(): CallTerms {
    return { kind: "read", msMax: this.#options.callMsMax };
  }

  #change(): CallTerms {
    return { kind: "write", msMax: this.#options.changeMsMax };
  }

  async #call<Request, Response>(
    rpcAddr: string,
    method: UnaryMethod<Request, Response>,
    request: Request,
    terms: CallTerms,
  ): Promise<Response> {
    const peer = this.#peer(rpcAddr);
    peer.channel ??= holdChannel(
      requireAddress(rpcAddr, "rpcAddr"),
      this.#credentials(),
      clientChannelOptions(this.#options),
    );
    const { client } = peer.channel;
    const metadata = new Metadata();
    if (terms.isLocal === true) metadata.set(localKey, "1");
    if (terms.isForwarded === true) metadata.set(forwardedKey, "1");
    peer.callsInFlight += 1;
    try {
      return await new Promise<Response>((resolve, reject) => {
        const { path, requestSerialize, responseDeserialize } = method;
        const options = { deadline: this.#clock.wallNow() + terms.msMax };
        const answer = (error: Error | null, response?: Response): void => {
          if (error === null && response !== undefined) resolve(response);
          else reject(fromServiceError(error, terms.kind));
        };
        client.makeUnaryRequest(
          ...([path, requestSerialize, responseDeserialize] as const),
          ...([request, metadata, options, answer] as const),
        );
      });
    } finally {
      peer.callsInFlight -= 1;
      peer.usedMs = this.#clock.now();
    }
  }

  /** What is kept for an address, made if need be; the caller is about to use it. */
  #peer(rpcAddr: string): Peer {
    if (this.#isClosed) throw new ProglogError("unavailable", "The node is stopping.");
    const address = formatAddress(requireAddress(rpcAddr, "rpcAddr"));
    const known = this.#peers.get(address);
    if (known !== undefined) {
      known.usedMs = this.#clock.now();
      return known;
    }
    if (this.#peers.size >= this.#options.addressesMax) this.#dropOldest();
    const usedMs = this.#clock.now();
    const peer: Peer = {
      ...{ channel: undefined, relay: undefined, patientRelay: undefined },
      ...{ callsInFlight: 0, usedMs },
    };
    this.#peers.set(address, peer);
    this.#scheduleSweep();
    return peer;
  }

  /** @throws ProglogError `overloaded` if every address is in use. */
  #dropOldest(): void {
    let oldest: [string, Peer] | undefined;
    for (const entry of this.#peers) {
      if (isIdle(entry[1]) && (oldest === undefined || entry[1].usedMs < oldest[1].usedMs)) {
        oldest = entry;
      }
    }
    if (oldest === undefined) {
      throw new ProglogError("overloaded", "The node is talking to as many others as it can.");
    }
    this.#drop(oldest[0]);
  }

  #scheduleSweep(): void {
    if (this.#sweep !== undefined || this.#peers.size === 0 || this.#isClosed) return;
    this.#sweep = this.#clock.setTimer(this.#options.idleMsMax / 2, () => {
      this.#sweep = undefined;
      const usedMsMin = this.#clock.now() - this.#options.idleMsMax;
      for (const [address, peer] of [...this.#peers]) {
        if (isIdle(peer) && peer.usedMs <= usedMsMin) this.#drop(address);
      }
      this.#scheduleSweep();
    });
  }

  #drop(address: string): void {
    const peer = this.#peers.get(address);
    if (peer === undefined) return;
    this.#peers.delete(address);
    const { channel, relay, patientRelay } = peer;
    const closing = Promise.all([channel?.drop(), relay?.close(), patientRelay?.close()])
      .then(() => undefined)
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}

function isIdle(peer: Peer): boolean {
  return (
    peer.callsInFlight === 0 && peer.relay?.isIdle !== false && peer.patientRelay?.isIdle !== false
  );
}

/** @throws ProglogError `unavailable` if the text is not a status: the other node is not ours. */
function parseStatus(json: string): ClusterStatus {
  let status: unknown;
  try {
    status = JSON.parse(json);
  } catch (error) {
    throw new ProglogError("unavailable", "The node's status is not JSON.", { cause: error });
  }
  if (typeof status !== "object" || status === null || !("members" in status)) {
    throw new ProglogError("unavailable", "The node's status has no members.");
  }
  return status as ClusterStatus;
}
