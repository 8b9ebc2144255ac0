/**
 * The port through which the services ask other nodes: implemented over gRPC in rpc/.
 *
 * Every call has a deadline of its own and fails with a ProglogError; one that could not be
 * delivered fails with `unavailable`, outcome `not_applied`.
 */
import type { LeaderHint } from "../common/errors.js";
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
} from "./api.js";

export interface PeerCalls {
  identify(rpcAddr: string): Promise<NodeIdentity>;
  join(rpcAddr: string, request: JoinRequest): Promise<JoinReceipt>;
  status(rpcAddr: string): Promise<ClusterStatus>;
  addMember(rpcAddr: string, memberRpcAddr: string): Promise<MemberStatus>;
  removeMember(rpcAddr: string, id: string): Promise<void>;
  promoteMember(rpcAddr: string, id: string): Promise<void>;
  transferLeader(rpcAddr: string, id: string | undefined): Promise<void>;
  /**
   * Relays an append to the leader over one stream for all; what comes in one turn goes in one
   * message. If the stream breaks after the request was sent, the outcome is `unknown`.
   */
  produce(leader: LeaderHint, request: CommittedAppend): Promise<AppendReceipt>;
  produce(leader: LeaderHint, request: AppendRequest): Promise<AppendAnswer>;
  /** Asks the leader what became of an append. */
  outcome(leader: LeaderHint, producer: Producer): Promise<AppendOutcome>;
}
