/**
 * The cluster as a gateway shows it: the leader is asked, or else what members last said stands.
 *
 * Changes are the leader's. The gateway itself is no member: it has no id and takes nobody in.
 */
import type { LeaderHint } from "../common/errors.js";
import { ProglogError } from "../common/errors.js";
import type {
  ClusterService,
  ClusterStatus,
  JoinReceipt,
  JoinRequest,
  MemberStatus,
  NodeIdentity,
  Readiness,
} from "./api.js";
import type { PeerCalls } from "./peer-calls.js";
import { noLeaderError } from "./remote-log.js";
import type { RemoteMembers } from "./remote-members.js";
import { withoutContact } from "./remote-members.js";

export interface RemoteClusterParts {
  readonly members: RemoteMembers;
  readonly peers: PeerCalls;
  readonly name: string;
}

export class RemoteCluster implements ClusterService {
  readonly #parts: RemoteClusterParts;

  constructor(parts: RemoteClusterParts) {
    this.#parts = parts;
  }

  identify(): NodeIdentity {
    const { members, name } = this.#parts;
    return { clusterId: members.clusterId, member: { id: "", name, rpcAddr: "", httpAddr: "" } };
  }

  async join(request: JoinRequest): Promise<JoinReceipt> {
    return this.#onLeader(({ rpcAddr }) => this.#parts.peers.join(rpcAddr, request));
  }

  async status(): Promise<ClusterStatus> {
    const { members, peers } = this.#parts;
    const { leader } = members;
    if (leader === undefined) await members.refresh();
    const current = leader ?? members.leader;
    if (current === undefined) return this.localStatus();
    try {
      return await peers.status(current.rpcAddr);
    } catch {
      await members.refresh(current.id);
      return this.localStatus();
    }
  }

  localStatus(): ClusterStatus {
    const { members, name } = this.#parts;
    const { freshest } = members;
    if (freshest === undefined) return nothingKnown(name);
    return members.answeringCount === 0 ? withoutContact(freshest) : freshest;
  }

  readiness(): Readiness {
    const { members } = this.#parts;
    const { count, answeringCount, leader } = members;
    const isFound = members.clusterId !== null;
    const answer = `${String(answeringCount)} of ${String(count)} members answer`;
    const checks = [
      { name: "cluster", ok: isFound, detail: members.clusterId ?? "not found yet" },
      { name: "members", ok: answeringCount > 0, detail: answer },
      {
        name: "leader",
        ok: leader !== undefined,
        detail: leader === undefined ? "the leader is not known" : "known",
      },
    ];
    return { ready: checks.every((check) => check.ok), checks };
  }

  async addMember(rpcAddr: string): Promise<MemberStatus> {
    return this.#onLeader((leader) => this.#parts.peers.addMember(leader.rpcAddr, rpcAddr));
  }

  async removeMember(id: string): Promise<void> {
    await this.#onLeader(({ rpcAddr }) => this.#parts.peers.removeMember(rpcAddr, id));
  }

  async promoteMember(id: string): Promise<void> {
    await this.#onLeader(({ rpcAddr }) => this.#parts.peers.promoteMember(rpcAddr, id));
  }

  async transferLeader(id: string | undefined): Promise<void> {
    const former = await this.#onLeader(async (leader) => {
      await this.#parts.peers.transferLeader(leader.rpcAddr, id);
      return leader;
    });
    // Who asks next is told of the new one.
    await this.#parts.members.refresh(former.id);
  }

  /** A node that leads no more asks the one that does; one that is gone is asked for no more. */
  async #onLeader<T>(ask: (leader: LeaderHint) => Promise<T>): Promise<T> {
    const { members } = this.#parts;
    if (members.leader === undefined) await members.refresh();
    const { leader } = members;
    if (leader === undefined) throw noLeaderError(members);
    try {
      return await ask(leader);
    } catch (thrown) {
      const error = ProglogError.from(thrown);
      if (error.code !== "unavailable" || error.outcome !== "not_applied") throw error;
      await members.refresh(leader.id);
      const next = members.leader;
      if (next === undefined || next.id === leader.id) throw noLeaderError(members, error);
      return await ask(next);
    }
  }
}

/** What there is to say before any member has answered. */
function nothingKnown(name: string): ClusterStatus {
  return {
    clusterId: null,
    node: { id: "", name },
    term: 0,
    leader: null,
    quorum: false,
    readOnly: true,
    commitIndex: 0,
    appliedIndex: 0,
    startOffset: 0,
    endOffset: 0,
    source: "local",
    members: [],
  };
}
