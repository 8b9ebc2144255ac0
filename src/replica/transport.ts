/**
 * The transport port: how a replica's messages reach its peers.
 *
 * It may lose, double, delay and reorder messages, never alter them, and delivers only what comes
 * from a node that proved, when the stream opened, that it is of the same cluster and is who it
 * says. It never blocks: what can't be sent soon is dropped, and Raft sends again.
 */
import type { Member, Message, NodeId } from "../raft/message.js";

/** Where a peer can be dialled. */
export type Peer = Member;

export interface Transport {
  /**
   * Sends a message, or drops it: if the peer is not known, not connected, or its queue is full.
   *
   * Messages that carry entries travel apart from the small ones (votes, heartbeats, responses),
   * so that bulk never delays an election. Order holds within each of the two.
   *
   * @returns False if it was dropped; the core then probes again (`unreachable`).
   */
  send(message: Message): boolean;
  /** The peers to stay connected to, from now on; streams to others are closed. */
  setPeers(peers: readonly Peer[]): void;
  /** Called for each message that arrives, in order per stream. Set once, before `start`. */
  onMessage(receive: (message: Message) => void): void;
  /** Called when the streams to a peer break: what was in flight is lost. */
  onUnreachable(report: (peer: NodeId) => void): void;
  /** Monotonic milliseconds of the last thing heard from the peer; undefined if never. */
  lastContact(peer: NodeId): number | undefined;
  close(): Promise<void>;
}
