/**
 * All of a node but its sockets: replica, services and membership, over ports that are handed in.
 *
 * The agent gives it gRPC, a real disk and real time; the simulator gives it its own of each and
 * runs the same code. Nothing here makes a clock, a disk or a socket.
 */
import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { Random } from "../common/random.js";
import type { Joined } from "../membership/joining.js";
import { join } from "../membership/joining.js";
import { Promotion } from "../membership/promotion.js";
import type { Logger } from "../observability/logger.js";
import type { Member } from "../raft/index.js";
import { raftDefaults } from "../raft/index.js";
import { openReplica } from "../replica/open-replica.js";
import type { Replica } from "../replica/replica.js";
import { replicaDefaults } from "../replica/replica.js";
import { Scrub } from "../replica/scrub.js";
import type { SegmentSource } from "../replica/segment-exchange.js";
import { SegmentRepair } from "../replica/segment-repair.js";
import type { SnapshotSource } from "../replica/snapshot-parts.js";
import { SnapshotReceiving } from "../replica/snapshot-receiving.js";
import type { Transport } from "../replica/transport.js";
import { Cluster } from "../service/cluster.js";
import type { PeerCalls } from "../service/peer-calls.js";
import { ReplicatedLog } from "../service/replicated-log.js";
import { commitLogDefaults } from "../storage/commit-log.js";
import { DamageError } from "../storage/damage.js";
import { raftLogDefaults } from "../storage/raft-log.js";
import type { NodeDirectory } from "./node-directory.js";
import type { NodeOptions } from "./options.js";

/** Ticks in a heartbeat: fine enough that election timeouts seldom collide. */
const ticksPerHeartbeat = 4;
const promotionIntervalMs = 200;
const addressCheckMs = 1000;
const mebibyte = 1024 * 1024;

/** Told of what a node's metrics count. */
export interface NodeObserver {
  damageFound(): void;
  /** A sealed segment was found damaged, by whomever. */
  segmentDamaged(): void;
  segmentRepaired(): void;
  /** Members have different segments that are each sound. */
  segmentsDiffer(): void;
  /** @param outcome "applied", or the error's code. */
  appended(seconds: number, outcome: string, count: number): void;
}

export interface NodeCoreParts {
  readonly directory: NodeDirectory;
  /** The node as others are told of it. */
  readonly self: Member;
  readonly transport: Transport;
  readonly peers: PeerCalls;
  readonly snapshots: SnapshotSource;
  readonly segments: SegmentSource;
  /** All addresses that one of `--join` stands for. */
  readonly resolve: (address: string) => Promise<readonly string[]>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly observer: NodeObserver;
  readonly options: NodeOptions;
}

/** All records of one append, which is one entry. */
export function appendBytesMax(options: Pick<NodeOptions, "maxRecordBytes">): number {
  return Math.max(4 * mebibyte, options.maxRecordBytes + mebibyte);
}

export class NodeCore {
  /** Resolves if the node must stop: disk, invariant, or a refusal that no retry can change. */
  readonly failed: Promise<Error>;
  readonly replica: Replica;
  readonly log: ReplicatedLog;
  readonly cluster: Cluster;
  readonly #parts: NodeCoreParts;
  readonly #promotion: Promotion;
  readonly #stopping = new AbortController();
  #introduced: readonly Member[] = [];
  #reportFailure: (error: Error) => void = () => undefined;

  /** Opens what lies in the directory, and starts nothing. @throws DamageError, DiskError */
  static async open(parts: NodeCoreParts): Promise<NodeCore> {
    const replica = await openNodeReplica(parts);
    try {
      checkCluster(replica, parts.directory.identity.clusterId);
      await parts.directory.noteLog();
    } catch (error) {
      await replica.close();
      throw error;
    }
    return new NodeCore(parts, replica);
  }

  private constructor(parts: NodeCoreParts, replica: Replica) {
    this.#parts = parts;
    this.replica = replica;
    this.log = this.#openLog();
    this.cluster = this.#openCluster();
    const { clock, logger, options } = parts;
    this.#promotion = new Promotion({
      ...{ replica, clock, logger },
      votersMax: options.voters,
      intervalMs: promotionIntervalMs,
    });
    this.failed = new Promise((resolve) => {
      this.#reportFailure = resolve;
    });
    void replica.failed.then(this.#reportFailure);
  }

  get clusterId(): string | null {
    return this.#parts.directory.identity.clusterId;
  }

  /** Starts ticking, and joins a cluster or sees that the members know where this node is. */
  start(): void {
    this.replica.start(this.#snapshotReceiving());
    this.#promotion.start();
    this.#startRepair();
    // A node that was taken in and holds nothing yet asks again: it knows no member but by that.
    if (this.clusterId === null || this.#members().length === 0) {
      this.#join().catch((error: unknown) => {
        if (!this.#stopping.signal.aborted) this.#reportFailure(error as Error);
      });
    } else this.#watchAddress();
  }

  #openLog(): ReplicatedLog {
    const { peers, clock, self, options, logger, observer } = this.#parts;
    return new ReplicatedLog({
      ...{ replica: this.replica, peers, clock },
      nodeName: self.name,
      options: {
        recordBytesMax: options.maxRecordBytes,
        appendBytesMax: appendBytesMax(options),
        requestTimeoutMs: options.requestTimeoutMs,
        forwardsWrites: options.followerWrites === "forward",
      },
      onDamage: ({ file, position, what }) => {
        observer.damageFound();
        logger.error({ file, position, what }, "data-damaged");
      },
      onAppend: (seconds, outcome, count) => {
        observer.appended(seconds, outcome, count);
      },
    });
  }

  #openCluster(): Cluster {
    const { peers, transport, clock, self, options } = this.#parts;
    return new Cluster({
      ...{ replica: this.replica, peers, transport, clock, self },
      clusterId: () => this.clusterId,
      electionTimeoutMs: options.electionTimeoutMs,
    });
  }

  #snapshotReceiving(): SnapshotReceiving {
    const { directory, snapshots } = this.#parts;
    const { replica } = this;
    return new SnapshotReceiving({
      disk: directory.disk,
      commitLog: replica.commitLog,
      checkpoints: directory.checkpoints,
      source: snapshots,
      sources: (offering) => {
        const { self } = this.#parts;
        const members = this.#members().filter((member) => member.id !== self.id);
        const others = members.filter((member) => member.id !== offering);
        const known = members.find((member) => member.id === offering);
        const first = known === undefined ? replica.addresses.heard(offering) : known;
        const all = first === undefined ? others : [first, ...others];
        return all.map((member) => replica.addresses.current(member));
      },
      signal: this.#stopping.signal,
    });
  }

  /** Damaged sealed segments are fetched anew, and the scrub looks for more of them. */
  #startRepair(): void {
    const { segments: source, self, clock, logger, observer, options } = this.#parts;
    const { replica } = this;
    const { commitLog } = replica;
    const members = (): readonly Member[] =>
      this.#members()
        .filter(({ id }) => id !== self.id)
        .map((member) => replica.addresses.current(member));
    const common = { commitLog, source, members, clock, logger, signal: this.#stopping.signal };
    const repair = new SegmentRepair({
      ...common,
      bytesPerSecond: options.repairBytesPerSecond,
      onDamaged: () => {
        observer.segmentDamaged();
      },
      onRepaired: () => {
        observer.segmentRepaired();
      },
    });
    commitLog.onDamage((baseOffset, damage) => {
      repair.request(baseOffset, damage);
    });
    const scrub = new Scrub({
      ...common,
      name: self.name,
      bytesPerSecond: options.scrubBytesPerSecond,
      restMs: options.scrubRestMs,
      onOutvoted: (baseOffset, damage) => {
        repair.request(baseOffset, damage, { isOutvoted: true });
      },
      onMismatch: () => {
        observer.segmentsDiffer();
      },
    });
    scrub.start();
  }

  /** The members; as long as this node's log names none, those that it was told of. */
  #members(): readonly Member[] {
    const { voters, learners } = this.replica.status().configuration;
    return voters.length === 0 ? this.#introduced : [...voters, ...learners];
  }

  /** A new node: asks until it is taken in, then belongs to that cluster. */
  async #join(): Promise<void> {
    if (this.#parts.options.join.length === 0) return;
    const { clusterId } = await this.#ask();
    await this.#parts.directory.bindTo(clusterId);
  }

  /** Asks to be taken in, or to be known under its addresses; notes who the members are. */
  async #ask(): Promise<Joined> {
    const { clock, random, self, peers, resolve, logger, options } = this.#parts;
    const { clusterId } = this.replica;
    const joined = await join({
      ...{ clock, random, self, resolve, logger },
      // Killed between being taken in and noting it, a node still belongs where its log says.
      clusterId: this.clusterId ?? (clusterId === "" ? null : clusterId),
      addresses: () => [...options.join, ...this.#members().map((member) => member.rpcAddr)],
      ask: async (rpcAddr, request) => peers.join(rpcAddr, request),
      signal: this.#stopping.signal,
    });
    this.#introduced = joined.members;
    return joined;
  }

  /** A member that came back at another address has the configuration say so. */
  #watchAddress(): void {
    const { clock, logger } = this.#parts;
    const run = (): void => {
      if (this.#stopping.signal.aborted) return;
      this.#announceAddress()
        .catch((error: unknown) => {
          logger.debug({ error: ProglogError.from(error).message }, "address-not-updated");
        })
        .finally(() => {
          clock.setTimer(addressCheckMs, run);
        });
    };
    run();
  }

  async #announceAddress(): Promise<void> {
    const { self } = this.#parts;
    const listed = this.#members().find((member) => member.id === self.id);
    const isRight =
      listed === undefined ||
      (listed.rpcAddr === self.rpcAddr &&
        listed.httpAddr === self.httpAddr &&
        listed.name === self.name);
    if (isRight) return;
    if (this.replica.isLeader) {
      await this.cluster.join({ clusterId: this.clusterId, member: self });
      return;
    }
    // A member of a cluster of one has nobody to ask: it leads soon, and says so then.
    const others = this.#members().filter((member) => member.id !== self.id);
    if (others.length > 0) await this.#ask();
  }

  /** Takes no part in membership any more. */
  stopMembership(): void {
    this.#promotion.stop();
    this.#stopping.abort(new ProglogError("unavailable", "The node is stopping."));
  }

  /** A leader that stops lets another take over first: clients wait milliseconds, no timeout. */
  async handOver(): Promise<void> {
    const { role, configuration } = this.replica.status();
    if (role !== "leader" || configuration.voters.length < 2) return;
    try {
      await this.replica.transfer();
    } catch (error) {
      const fields = { error: ProglogError.from(error).message };
      this.#parts.logger.warn(fields, "leadership-not-handed-over");
    }
  }
}

async function openNodeReplica(parts: NodeCoreParts): Promise<Replica> {
  const { directory, self, options, clock, random, logger, transport } = parts;
  const { nodeId, clusterId, isFounding, hasLog } = directory.identity;
  const founding =
    isFounding && clusterId !== null
      ? { settings: { clusterId, segmentBytes: options.segmentBytes }, member: self }
      : undefined;
  const tickMs = Math.max(1, Math.round(options.heartbeatMs / ticksPerHeartbeat));
  const electionTicks = Math.max(1, Math.round(options.electionTimeoutMs / tickMs));
  return openReplica({
    ...{ nodeId, transport, clock, random, logger },
    disk: directory.disk,
    checkpoints: directory.checkpoints,
    raftOptions: { ...raftDefaults, electionTicks, heartbeatTicks: ticksPerHeartbeat },
    raftLogOptions: {
      ...raftLogDefaults,
      fileBytes: options.raftLogFileBytes,
      mustExist: hasLog,
    },
    commitLogOptions: { ...commitLogDefaults, tailCacheBytes: options.tailCacheBytes },
    options: {
      ...replicaDefaults,
      ...{ tickMs, electionTicks },
      pendingBytesMax: options.pendingBytesMax,
      checkpointBytes: options.checkpointBytes,
      keepBytes: options.raftLogKeepBytes,
      diskFreeBytesMin: options.diskFreeBytesMin,
    },
    ...(founding === undefined ? {} : { founding }),
  });
}

function checkCluster(replica: Replica, clusterId: string | null): void {
  if (replica.clusterId === "" || clusterId === null || clusterId === replica.clusterId) return;
  const what = `the identity is of cluster ${clusterId}, the log of ${replica.clusterId}`;
  throw new DamageError("identity.json", 0, what);
}
