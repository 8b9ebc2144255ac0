/**
 * Builds a node and runs it: the only place that knows all the parts.
 *
 * It starts in steps, each of which leaves behind how to undo it; a start that fails, and a stop,
 * undo them in reverse. Nothing else in src makes a clock, a disk or a socket of its own.
 */
import { join } from "node:path";

import type { Clock } from "../common/clock.js";
import type { Random } from "../common/random.js";
import { systemClock, systemRandom } from "../common/system.js";
import { HttpGateway } from "../http/gateway.js";
import type { Logger } from "../observability/logger.js";
import type { NodeReading } from "../observability/metrics.js";
import { Metrics } from "../observability/metrics.js";
import type { Member } from "../raft/index.js";
import type { Replica } from "../replica/replica.js";
import type { Address } from "../rpc/addresses.js";
import { formatAddress } from "../rpc/addresses.js";
import { GrpcPeerCalls } from "../rpc/peer-calls.js";
import { PeerTransport } from "../rpc/peer-transport.js";
import { addRaftService } from "../rpc/raft-service.js";
import { RpcServer } from "../rpc/server.js";
import { segmentHandler, segmentSource } from "../rpc/segment-wire.js";
import { snapshotHandler, snapshotSource } from "../rpc/snapshot-wire.js";
import { DamageError } from "../storage/damage.js";
import { DiskError } from "../storage/disk.js";
import { LevelCheckpointStore } from "../storage/level-checkpoint.js";
import { NodeDisk } from "../storage/node-disk.js";
import { advertised, resolveAll, withPort } from "./addressing.js";
import type { NodeObserver } from "./node-core.js";
import { NodeCore, appendBytesMax } from "./node-core.js";
import { NodeDirectory } from "./node-directory.js";
import type { NodeOptions } from "./options.js";
import type { RunningNode } from "./running-node.js";
import { StartError } from "./start-error.js";

const mebibyte = 1024 * 1024;

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

/** Why a node that ran had to stop, for a person. */
function stopError(error: Error): Error {
  if (!(error instanceof DiskError)) return error;
  const { cause } = error;
  const code = cause instanceof Error && "code" in cause ? ` (${String(cause.code)})` : "";
  const remedy = "Start the node again; if it fails again, replace the disk and the node.";
  return new Error(`The disk failed: ${error.message}${code}. ${remedy}`, { cause: error });
}

class Node implements RunningNode {
  readonly failed: Promise<Error>;
  readonly #options: NodeOptions;
  readonly #logger: Logger;
  readonly #ports: Ports;
  readonly #disk: NodeDisk;
  /** How to undo each step taken, oldest first. */
  readonly #undo: (() => Promise<void> | void)[] = [];
  #directory: NodeDirectory | undefined;
  #self: Member = { id: "", name: "", rpcAddr: "", httpAddr: "" };
  #closed: Promise<void> | undefined;
  #reportFailure: (error: Error) => void = () => undefined;

  constructor(options: NodeOptions, logger: Logger, ports: Ports) {
    this.#options = options;
    this.#logger = logger;
    this.#ports = ports;
    this.#disk = new NodeDisk(options.dataDir);
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
    return this.#disk.rootDirectory;
  }

  async start(): Promise<void> {
    const directory = await NodeDirectory.open({
      disk: this.#disk,
      openCheckpoints: async () =>
        LevelCheckpointStore.open(join(this.#disk.rootDirectory, "checkpoint")),
      random: this.#ports.random,
      isFounding: this.#options.bootstrap,
    });
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
    const metrics = new Metrics(() => readingOf(core.replica));
    const core = await this.#openCore(directory, transport, metrics);
    await this.#listen(core, { transport, metrics }, { http, rpc });
    core.start();
    void core.failed.then((error) => {
      this.#reportFailure(stopError(error));
    });
    this.#undo.push(async () => core.handOver());
    this.#undo.push(() => {
      core.stopMembership();
    });
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
    return Math.max(8 * mebibyte, appendBytesMax(this.#options) + mebibyte);
  }

  async #openCore(
    directory: NodeDirectory,
    transport: PeerTransport,
    observer: NodeObserver,
  ): Promise<NodeCore> {
    const peers = new GrpcPeerCalls({
      clock: this.#ports.clock,
      options: { messageBytesMax: this.#messageBytesMax },
    });
    const core = await NodeCore.open({
      ...this.#ports,
      ...{ directory, transport, peers },
      self: this.#self,
      snapshots: snapshotSource(transport),
      segments: segmentSource(transport),
      resolve: resolveAll,
      logger: this.#logger,
      observer,
      options: this.#options,
    });
    this.#undo.push(async () => core.replica.close());
    this.#undo.push(async () => peers.close());
    transport.onPeerAddress((member) => {
      core.replica.hearAddress(member);
    });
    return core;
  }

  async #listen(
    core: NodeCore,
    { transport, metrics }: { readonly transport: PeerTransport; readonly metrics: Metrics },
    at: { readonly http: Address; readonly rpc: Address },
  ): Promise<void> {
    const { clock } = this.#ports;
    const options = this.#options;
    const services = {
      log: core.log,
      cluster: core.cluster,
      metrics: async () => metrics.text(),
    };
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
        const handler = snapshotHandler((request) => core.replica.snapshot(request));
        const segments = segmentHandler(async (request) => core.replica.segment(request));
        addRaftService(server, transport, handler, segments);
      },
    });
    this.#undo.push(async () => rpcServer.close());
    // Peers' streams end with the transport; a server waits for its streams when it closes.
    this.#undo.push(async () => transport.close());
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
