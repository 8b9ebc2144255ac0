/**
 * The cluster as people and nodes use it: who is in it, who comes in, who leads.
 *
 * Changes are the leader's: a node that does not lead asks it. A node is dialled back before it is
 * taken in, so that a wrong address is an error and not a member that never answers.
 */
import type { Clock } from "../common/clock.js";
import { sleep } from "../common/clock.js";
import type { LeaderHint } from "../common/errors.js";
import { ProglogError } from "../common/errors.js";
import type { ConfigurationChange, Member } from "../raft/index.js";
import type { Replica } from "../replica/replica.js";
import type { Transport } from "../replica/transport.js";
import type {
  ClusterService,
  ClusterStatus,
  JoinReceipt,
  JoinRequest,
  MemberStatus,
  NodeIdentity,
  Readiness,
} from "./api.js";
import { leaderHint, noLeaderError } from "./leader.js";
import type { PeerCalls } from "./peer-calls.js";

export interface ClusterParts {
  readonly replica: Replica;
  readonly peers: PeerCalls;
  readonly transport: Transport;
  readonly clock: Clock;
  /** This node, with the addresses it tells others. */
  readonly self: Member;
  readonly clusterId: () => string | null;
  /** Least election timeout: how long silence means nothing. */
  readonly electionTimeoutMs: number;
}

/** How long a change waits for another to be committed. */
const changePatienceMs = 8000;
const changeRetryMs = 50;

export class Cluster implements ClusterService {
  readonly #parts: ClusterParts;

  constructor(parts: ClusterParts) {
    this.#parts = parts;
  }

  identify(): NodeIdentity {
    return { clusterId: this.#parts.clusterId(), member: this.#parts.self };
  }

  async status(): Promise<ClusterStatus> {
    const leader = leaderHint(this.#parts.replica);
    if (leader === undefined || this.#parts.replica.isLeader) return this.localStatus();
    try {
      const status = await this.#parts.peers.status(leader.rpcAddr);
      // Of this node's own state it knows better than the leader.
      const { node, appliedIndex, startOffset, endOffset } = this.localStatus();
      return { ...status, node, appliedIndex, startOffset, endOffset, source: "leader" };
    } catch {
      return this.localStatus();
    }
  }

  localStatus(): ClusterStatus {
    const { replica, self } = this.#parts;
    const raft = replica.status();
    const { hasQuorum } = replica.contact();
    const { startOffset, endOffset } = replica.commitLog;
    return {
      clusterId: this.#parts.clusterId(),
      node: { id: self.id, name: self.name },
      term: raft.term,
      leader: leaderHint(replica) ?? null,
      quorum: hasQuorum,
      readOnly: !hasQuorum || (replica.isLeader && replica.isDiskLow),
      commitIndex: raft.commitIndex,
      appliedIndex: replica.appliedIndex,
      startOffset,
      endOffset,
      source: replica.isLeader ? "leader" : "local",
      members: this.#members(),
    };
  }

  #members(): MemberStatus[] {
    const { configuration } = this.#parts.replica.status();
    const voters = configuration.voters.map((member) => this.#memberStatus(member, true));
    const learners = configuration.learners.map((member) => this.#memberStatus(member, false));
    return [...voters, ...learners];
  }

  #memberStatus(member: Member, voter: boolean): MemberStatus {
    const { replica, transport, clock, self, electionTimeoutMs } = this.#parts;
    const raft = replica.status();
    const { id, name, rpcAddr, httpAddr } = replica.addresses.current(member);
    const isSelf = id === self.id;
    const heard = transport.lastContact(id);
    const lastContactMs = isSelf ? 0 : heard === undefined ? null : clock.now() - heard;
    const follower = raft.followers.find((candidate) => candidate.id === id);
    const matchIndex = isSelf ? raft.durableIndex : (follower?.matchIndex ?? null);
    const isLeader = raft.leaderId === id;
    return {
      ...{ id, name, rpcAddr, httpAddr, voter, matchIndex },
      role: isLeader ? "leader" : voter ? "follower" : "learner",
      alive: isSelf || (lastContactMs !== null && lastContactMs <= 2 * electionTimeoutMs),
      lag: matchIndex === null ? null : Math.max(0, raft.commitIndex - matchIndex),
      lastContactMs: lastContactMs === null ? null : Math.round(lastContactMs),
    };
  }

  readiness(): Readiness {
    const { replica, clusterId } = this.#parts;
    const { leaderId, commitIndex, isReady } = replica.status();
    const behind = commitIndex - replica.appliedIndex;
    const isCaughtUp = (leaderId !== null || isReady) && commitIndex > 0 && behind < 1000;
    const checks = [
      { name: "cluster", ok: clusterId() !== null, detail: clusterId() ?? "not joined yet" },
      { name: "leader", ok: leaderId !== null, detail: leaderId === null ? "not known" : "known" },
      { name: "caught-up", ok: isCaughtUp, detail: `${String(behind)} entries behind` },
    ];
    return { ready: checks.every((check) => check.ok), checks };
  }

  async join(request: JoinRequest): Promise<JoinReceipt> {
    const { replica } = this.#parts;
    if (!replica.isLeader && leaderHint(replica) === undefined) await this.#findMoved(request);
    const leader = this.#otherLeader();
    if (leader !== undefined) return this.#parts.peers.join(leader.rpcAddr, request);
    const clusterId = this.#ownCluster(request);
    const known = this.#find(request.member.id);
    if (known === undefined) {
      await this.#dialBack(request.member);
      await this.#change({ type: "addLearner", member: request.member });
    } else if (hasMoved(known, request.member)) {
      await this.#dialBack(request.member);
      await this.#change({ type: "update", member: request.member });
    }
    const { configuration } = this.#parts.replica.status();
    return { clusterId, members: [...configuration.voters, ...configuration.learners] };
  }

  /**
   * Without a leader nobody can write down where a member is now. But whoever hears of it can
   * answer it there: members that have all moved find each other so, and elect one.
   */
  async #findMoved(request: JoinRequest): Promise<void> {
    const { replica, clusterId } = this.#parts;
    const { member } = request;
    const known = this.#find(member.id);
    const isOurs = request.clusterId !== null && request.clusterId === clusterId();
    if (!isOurs || known === undefined) return;
    if (!hasMoved(replica.addresses.current(known), member)) return;
    await this.#dialBack(member);
    replica.hearAddress(member);
  }

  /** undefined if this node leads. @throws ProglogError if nobody does. */
  #otherLeader(): LeaderHint | undefined {
    const { replica } = this.#parts;
    if (replica.isLeader) return undefined;
    const leader = leaderHint(replica);
    if (leader === undefined) throw noLeaderError(replica);
    return leader;
  }

  #ownCluster({ clusterId: theirs, member }: JoinRequest | NodeIdentity): string {
    const ours = this.#parts.clusterId();
    if (ours === null) throw noLeaderError(this.#parts.replica);
    if (theirs === null || theirs === ours) return ours;
    const ids = `Node ${member.name} belongs to cluster ${theirs}, this is cluster ${ours}`;
    const detail = `${ids}; clusters never merge. Start it with an empty data directory.`;
    throw new ProglogError("wrong-cluster", detail, { fields: { clusterId: ours } });
  }

  #find(id: string): Member | undefined {
    const { voters, learners } = this.#parts.replica.status().configuration;
    return [...voters, ...learners].find((member) => member.id === id);
  }

  /** Proves that the node answers where it says, and is who it says (rule R-M8). */
  async #dialBack(member: Member): Promise<void> {
    const identity = await this.#identifyAt(member.rpcAddr);
    this.#ownCluster(identity);
    if (identity.member.id === member.id) return;
    const found = `${identity.member.name} (${identity.member.id})`;
    const wanted = `${member.name} (${member.id})`;
    const who = `At ${member.rpcAddr} answers ${found}, not ${wanted}`;
    const detail = `${who}; check --advertise-rpc-addr.`;
    throw new ProglogError("member-unreachable", detail, { retryable: false });
  }

  async #identifyAt(rpcAddr: string): Promise<NodeIdentity> {
    try {
      return await this.#parts.peers.identify(rpcAddr);
    } catch (error) {
      const remedy = "check that it runs and can be reached from the leader";
      const detail = `No node answers at ${rpcAddr}; ${remedy}.`;
      throw new ProglogError("member-unreachable", detail, { cause: error });
    }
  }

  /** One change at a time: waits a little for another to be committed. */
  async #change(change: ConfigurationChange): Promise<void> {
    const { replica, clock } = this.#parts;
    const deadline = clock.now() + changePatienceMs;
    for (;;) {
      try {
        await replica.changeConfiguration(change);
        return;
      } catch (error) {
        const { code, retryable } = ProglogError.from(error);
        if (code !== "unsafe-change" || !retryable || clock.now() > deadline) throw error;
      }
      await sleep(clock, changeRetryMs);
    }
  }

  async addMember(rpcAddr: string): Promise<MemberStatus> {
    const leader = this.#otherLeader();
    if (leader !== undefined) return this.#parts.peers.addMember(leader.rpcAddr, rpcAddr);
    const identity = await this.#identifyAt(rpcAddr);
    const { member } = identity;
    await this.join({ clusterId: identity.clusterId, member });
    return this.#memberStatus(member, this.#isVoter(member.id));
  }

  #isVoter(id: string): boolean {
    const { voters } = this.#parts.replica.status().configuration;
    return voters.some((voter) => voter.id === id);
  }

  async removeMember(id: string): Promise<void> {
    const leader = this.#otherLeader();
    if (leader !== undefined) {
      await this.#parts.peers.removeMember(leader.rpcAddr, id);
      return;
    }
    await this.#change({ type: "remove", id });
  }

  async promoteMember(id: string): Promise<void> {
    const leader = this.#otherLeader();
    if (leader !== undefined) {
      await this.#parts.peers.promoteMember(leader.rpcAddr, id);
      return;
    }
    await this.#change({ type: "promote", id });
  }

  async transferLeader(id: string | undefined): Promise<void> {
    const leader = this.#otherLeader();
    if (leader !== undefined) {
      await this.#parts.peers.transferLeader(leader.rpcAddr, id);
      return;
    }
    await this.#parts.replica.transfer(id);
  }
}

function hasMoved(known: Member, now: Member): boolean {
  return (
    known.rpcAddr !== now.rpcAddr || known.httpAddr !== now.httpAddr || known.name !== now.name
  );
}
