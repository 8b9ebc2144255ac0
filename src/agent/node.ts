/**
 * Builds a node and runs it: the only place that knows all the parts.
 *
 * It starts in steps, each of which leaves behind how to undo it; a start that fails, and a stop,
 * undo them in reverse. Nothing else in src makes a clock, a disk or a socket of its own.
 */
import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { Random } from "../common/random.js";
import { systemClock, systemRandom } from "../common/system.js";
import { HttpGateway } from "../http/gateway.js";
import { join } from "../membership/joining.js";
import { Promotion } from "../membership/promotion.js";
import type { Logger } from "../observability/logger.js";
import type { NodeReading } from "../observability/metrics.js";
import { Metrics } from "../observability/metrics.js";
import type { Member } from "../raft/index.js";
import { raftDefaults } from "../raft/index.js";
import { openReplica } from "../replica/open-replica.js";
import type { Replica } from "../replica/replica.js";
import { replicaDefaults } from "../replica/replica.js";
import { SnapshotReceiving } from "../replica/snapshot-receiving.js";
import type { Address } from "../rpc/addresses.js";
import { formatAddress } from "../rpc/addresses.js";
import { GrpcPeerCalls } from "../rpc/peer-calls.js";
import { PeerTransport } from "../rpc/peer-transport.js";
import { addRaftService } from "../rpc/raft-service.js";
import { RpcServer } from "../rpc/server.js";
import { snapshotHandler, snapshotSource } from "../rpc/snapshot-wire.js";
import { Cluster } from "../service/cluster.js";
import { ReplicatedLog } from "../service/replicated-log.js";
import { commitLogDefaults } from "../storage/commit-log.js";
import { DamageError } from "../storage/damage.js";
import { raftLogDefaults } from "../storage/raft-log.js";
import { advertised, resolveAll, withPort } from "./addressing.js";
import { NodeDirectory } from "./node-directory.js";
import type { NodeOptions } from "./options.js";
import type { RunningNode } from "./running-node.js";
import { StartError } from "./start-error.js";

/** Ticks in a heartbeat: fine enough that election timeouts seldom collide. */
const ticksPerHeartbeat = 4;
const promotionIntervalMs = 200;
const addressCheckMs = 1000;
const mebibyte = 1024 * 1024;

interface Services {
  readonly log: ReplicatedLog;
  readonly cluster: Cluster;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>;
}

interface Ports {
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * Starts a node; resolves when it answers, not when it has a leader.
 *
 * @throws StartError with the cause and the remedy in one line.
 */
export async function startNode(options: NodeOptions, logger: Logger): Promise<RunningNode> {
  const node = new Node(options, logger, { clock: systemClock, random: systemRandom });
  try {
    await node.start();
    return node;
  } catch (error) {
    await node.close();
    throw startError(error);
  }
}

function startError(error: unknown): StartError {
  if (error instanceof StartError) return error;
  if (error instanceof DamageError) {
    const where = `${error.file} at ${String(error.position)}: ${error.what}`;
    const remedy = "Nothing was changed; restore the file, or give the node an empty directory.";
    return new StartError(`The data directory is damaged: ${where}. ${remedy}`, { cause: error });
  }
  return new StartError(error instanceof Error ? error.message : String(error), { cause: error });
}

class Node implements RunningNode {
  readonly failed: Promise<Error>;
  readonly #options: NodeOptions;
  readonly #logger: Logger;
  readonly #ports: Ports;
  /** How to undo each step taken, oldest first. */
  readonly #undo: (() => Promise<void> | void)[] = [];
  readonly #stopping = new AbortController();
  #directory: NodeDirectory | undefined;
  #self: Member = { id: "", name: "", rpcAddr: "", httpAddr: "" };
  #closed: Promise<void> | undefined;
  #reportFailure: (error: Error) => void = () => undefined;

  constructor(options: NodeOptions, logger: Logger, ports: Ports) {
    this.#options = options;
    this.#logger = logger;
    this.#ports = ports;
    this.failed = new Promise((resolve) => {
      this.#reportFailure = resolve;
    });
  }

  get id(): string {
    return this.#self.id;
  }

  get name(): string {
    return this.#self.name;
  }

  get clusterId(): string | null {
    return this.#directory?.identity.clusterId ?? null;
  }

  get httpAddr(): string {
    return this.#self.httpAddr;
  }

  get rpcAddr(): string {
    return this.#self.rpcAddr;
  }

  get dataDirectory(): string {
    return this.#directory?.path ?? this.#options.dataDir;
  }

  async start(): Promise<void> {
    const { dataDir, bootstrap } = this.#options;
    const directory = await NodeDirectory.open(dataDir, this.#ports.random, bootstrap);
    this.#directory = directory;
    this.#undo.push(async () => directory.close());
    const http = await withPort(this.#options.httpAddr);
    const rpc = await withPort(this.#options.rpcAddr);
    this.#self = {
      id: directory.identity.nodeId,
      name: this.#options.nodeName,
      rpcAddr: await advertised(rpc, this.#options.advertiseRpcAddr),
      httpAddr: await advertised(http, this.#options.advertiseHttpAddr),
    };
    const transport = this.#openTransport();
    const replica = await this.#openReplica(directory, transport);
    const peers = new GrpcPeerCalls(this.#peerCallParts());
    this.#undo.push(async () => peers.close());
    const services = this.#services(replica, peers, transport);
    await this.#listen(services, { transport, replica }, { http, rpc });
    replica.start(this.#snapshotReceiving(directory, replica, transport));
    void replica.failed.then(this.#reportFailure);
    this.#undo.push(async () => this.#handOver(replica));
    this.#startMembership(replica, services.cluster, peers);
  }

  #openTransport(): PeerTransport {
    const { clock, random } = this.#ports;
    const transport = new PeerTransport({
      self: () => this.#self,
      clusterId: () => this.clusterId ?? undefined,
      clock,
      random,
      logger: this.#logger,
      options: { messageBytesMax: this.#messageBytesMax },
    });
    this.#undo.push(async () => transport.close());
    return transport;
  }

  /** Room for the largest append, which is one entry, with its frame and message around it. */
  get #messageBytesMax(): number {
    return Math.max(8 * mebibyte, this.#appendBytesMax + mebibyte);
  }

  get #appendBytesMax(): number {
    return Math.max(4 * mebibyte, this.#options.maxRecordBytes + mebibyte);
  }

  get #tickMs(): number {
    return Math.max(1, Math.round(this.#options.heartbeatMs / ticksPerHeartbeat));
  }

  get #electionTicks(): number {
    return Math.max(1, Math.round(this.#options.electionTimeoutMs / this.#tickMs));
  }

  async #openReplica(directory: NodeDirectory, transport: PeerTransport): Promise<Replica> {
    const options = this.#options;
    const { nodeId, clusterId, isFounding, hasLog } = directory.identity;
    const founding =
      isFounding && clusterId !== null
        ? { settings: { clusterId, segmentBytes: options.segmentBytes }, member: this.#self }
        : undefined;
    const electionTicks = this.#electionTicks;
    const replica = await openReplica({
      ...this.#ports,
      nodeId,
      transport,
      disk: directory.disk,
      checkpoints: directory.checkpoints,
      logger: this.#logger,
      raftOptions: { ...raftDefaults, electionTicks, heartbeatTicks: ticksPerHeartbeat },
      raftLogOptions: {
        ...raftLogDefaults,
        fileBytes: options.raftLogFileBytes,
        mustExist: hasLog,
      },
      commitLogOptions: { ...commitLogDefaults, tailCacheBytes: options.tailCacheBytes },
      options: {
        ...replicaDefaults,
        tickMs: this.#tickMs,
        electionTicks,
        pendingBytesMax: options.pendingBytesMax,
        checkpointBytes: options.checkpointBytes,
        keepBytes: options.raftLogKeepBytes,
        diskFreeBytesMin: options.diskFreeBytesMin,
      },
      ...(founding === undefined ? {} : { founding }),
    });
    this.#undo.push(async () => replica.close());
    const isOurs = replica.clusterId === "" || [null, replica.clusterId].includes(clusterId);
    if (!isOurs) {
      const ids = `${String(clusterId)}, the log of ${replica.clusterId}`;
      const what = `the identity is of cluster ${ids}`;
      throw new DamageError("identity.json", 0, what);
    }
    await directory.noteLog();
    transport.onPeerAddress((member) => {
      replica.hearAddress(member);
    });
    return replica;
  }

  #snapshotReceiving(
    directory: NodeDirectory,
    replica: Replica,
    transport: PeerTransport,
  ): SnapshotReceiving {
    return new SnapshotReceiving({
      disk: directory.disk,
      commitLog: replica.commitLog,
      checkpoints: directory.checkpoints,
      source: snapshotSource(transport),
      memberOf: (id) => {
        const { voters, learners } = replica.status().configuration;
        const member = [...voters, ...learners].find((candidate) => candidate.id === id);
        return member === undefined
          ? replica.addresses.heard(id)
          : replica.addresses.current(member);
      },
      signal: this.#stopping.signal,
    });
  }

  #peerCallParts(): ConstructorParameters<typeof GrpcPeerCalls>[0] {
    const { clock } = this.#ports;
    return { clock, options: { messageBytesMax: this.#messageBytesMax } };
  }

  #services(replica: Replica, peers: GrpcPeerCalls, transport: PeerTransport): Services {
    const { clock } = this.#ports;
    const metrics = new Metrics(() => readingOf(replica));
    const log = new ReplicatedLog({
      replica,
      peers,
      clock,
      nodeName: this.#self.name,
      options: {
        recordBytesMax: this.#options.maxRecordBytes,
        appendBytesMax: this.#appendBytesMax,
        requestTimeoutMs: this.#options.requestTimeoutMs,
        forwardsWrites: this.#options.followerWrites === "forward",
      },
      onDamage: ({ file, position, what }) => {
        metrics.damageFound();
        this.#logger.error({ file, position, what }, "data-damaged");
      },
      onAppend: (seconds, outcome, count) => {
        metrics.appended(seconds, outcome, count);
      },
    });
    const cluster = new Cluster({
      replica,
      peers,
      transport,
      clock,
      self: this.#self,
      clusterId: () => this.clusterId,
      electionTimeoutMs: this.#options.electionTimeoutMs,
    });
    return { log, cluster, metrics: async () => metrics.text() };
  }

  async #listen(
    services: Services,
    raft: { readonly transport: PeerTransport; readonly replica: Replica },
    at: { readonly http: Address; readonly rpc: Address },
  ): Promise<void> {
    const { clock } = this.#ports;
    const options = this.#options;
    const rpcServer = new RpcServer({
      ...services,
      clock,
      logger: this.#logger,
      options: {
        recordBytesMax: options.maxRecordBytes,
        messageBytesMax: this.#messageBytesMax,
        streamsMax: options.streamsMax,
      },
      addServices: (server) => {
        const handler = snapshotHandler((request) => raft.replica.snapshot(request));
        addRaftService(server, raft.transport, handler);
      },
    });
    this.#undo.push(async () => rpcServer.close());
    // Peers' streams end with the transport; a server waits for its streams when it closes.
    this.#undo.push(async () => raft.transport.close());
    await this.#bind("--rpc-addr", at.rpc, async () => rpcServer.listen(at.rpc.host, at.rpc.port));
    const gateway = new HttpGateway({
      ...services,
      clock,
      logger: this.#logger,
      options: {
        recordBytesMax: options.maxRecordBytes,
        bodyBytesMax: Math.max(4 * mebibyte, options.maxRecordBytes) + 64 * 1024,
        connectionsMax: options.httpConnectionsMax,
        streamsMax: options.streamsMax,
      },
    });
    this.#undo.push(async () => gateway.close());
    await this.#bind("--http-addr", at.http, async () =>
      gateway.listen(at.http.host, at.http.port),
    );
    rpcServer.setServing(true);
    this.#undo.push(() => {
      rpcServer.setServing(false);
    });
  }

  async #bind(flag: string, address: Address, listen: () => Promise<unknown>): Promise<void> {
    try {
      await listen();
    } catch (error) {
      const where = formatAddress(address);
      const why = "it is in use, or not this host's";
      const detail = `${where} can't be listened on: ${why}; choose another ${flag}.`;
      throw new StartError(detail, { cause: error });
    }
  }

  #startMembership(replica: Replica, cluster: Cluster, peers: GrpcPeerCalls): void {
    const { clock } = this.#ports;
    const promotion = new Promotion({
      replica,
      clock,
      votersMax: this.#options.voters,
      intervalMs: promotionIntervalMs,
      logger: this.#logger,
    });
    promotion.start();
    this.#undo.push(() => {
      promotion.stop();
      this.#stopping.abort(new ProglogError("unavailable", "The node is stopping."));
    });
    if (this.clusterId === null) {
      this.#join(replica, peers).catch((error: unknown) => {
        if (!this.#stopping.signal.aborted) this.#reportFailure(startError(error));
      });
    } else this.#watchAddress(replica, cluster, peers);
  }

  /** A new node: asks until it is taken in, then belongs to that cluster. */
  async #join(replica: Replica, peers: GrpcPeerCalls): Promise<void> {
    if (this.#options.join.length === 0) return;
    const clusterId = await this.#ask(replica, peers);
    await this.#directory?.bindTo(clusterId);
  }

  async #ask(replica: Replica, peers: GrpcPeerCalls): Promise<string> {
    return join({
      ...this.#ports,
      self: this.#self,
      // Killed between being taken in and noting it, a node still belongs where its log says.
      clusterId: this.clusterId ?? (replica.clusterId === "" ? null : replica.clusterId),
      addresses: () => {
        const { voters, learners } = replica.status().configuration;
        return [...this.#options.join, ...[...voters, ...learners].map((member) => member.rpcAddr)];
      },
      resolve: resolveAll,
      ask: async (rpcAddr, request) => peers.join(rpcAddr, request),
      logger: this.#logger,
      signal: this.#stopping.signal,
    });
  }

  /** A member that came back at another address has the configuration say so. */
  #watchAddress(replica: Replica, cluster: Cluster, peers: GrpcPeerCalls): void {
    const look = async (): Promise<void> => {
      const { voters, learners } = replica.status().configuration;
      const listed = [...voters, ...learners].find((member) => member.id === this.id);
      const isRight =
        listed === undefined ||
        (listed.rpcAddr === this.#self.rpcAddr &&
          listed.httpAddr === this.#self.httpAddr &&
          listed.name === this.#self.name);
      if (isRight) return;
      const request = { clusterId: this.clusterId, member: this.#self };
      if (replica.isLeader) await cluster.join(request);
      else await this.#ask(replica, peers);
    };
    const run = (): void => {
      if (this.#stopping.signal.aborted) return;
      look()
        .catch((error: unknown) => {
          this.#logger.debug({ error: ProglogError.from(error).message }, "address-not-updated");
        })
        .finally(() => {
          this.#ports.clock.setTimer(addressCheckMs, run);
        });
    };
    run();
  }

  /** A leader that stops lets another take over first: clients wait milliseconds, no timeout. */
  async #handOver(replica: Replica): Promise<void> {
    const { role, configuration } = replica.status();
    if (role !== "leader" || configuration.voters.length < 2) return;
    try {
      await replica.transfer();
    } catch (error) {
      this.#logger.warn({ error: ProglogError.from(error).message }, "leadership-not-handed-over");
    }
  }

  async close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    for (let step = this.#undo.pop(); step !== undefined; step = this.#undo.pop()) {
      try {
        await step();
      } catch (error) {
        this.#logger.warn({ error: (error as Error).message }, "stop-step-failed");
      }
    }
  }
}

function readingOf(replica: Replica): NodeReading {
  const { term, role, leaderId, commitIndex, lastIndex } = replica.status();
  const { startOffset, endOffset } = replica.commitLog;
  const { appliedIndex, raftLogBytes, pendingAppendBytes, isDiskLow } = replica;
  return {
    ...{ term, commitIndex, lastIndex, startOffset, endOffset },
    ...{ appliedIndex, raftLogBytes, pendingAppendBytes, isDiskLow },
    isLeader: role === "leader",
    hasLeader: leaderId !== null,
    hasQuorum: replica.contact().hasQuorum,
  };
}
