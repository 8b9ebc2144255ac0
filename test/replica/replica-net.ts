/**
 * Whole replicas (core, both logs, state machine) over an in-memory transport and simulated disks,
 * on the real clock: for tests of the loop itself.
 */
import { systemClock } from "../../src/common/system.js";
import type { Random } from "../../src/common/random.js";
import { encodeRecords } from "../../src/common/record.js";
import type { ProglogError } from "../../src/common/errors.js";
import type { Member, Message } from "../../src/raft/index.js";
import { raftDefaults } from "../../src/raft/index.js";
import { openReplica } from "../../src/replica/open-replica.js";
import type { Appended } from "../../src/replica/proposals.js";
import type { Replica, ReplicaOptions } from "../../src/replica/replica.js";
import { replicaDefaults } from "../../src/replica/replica.js";
import type { SnapshotPart, SnapshotRequest } from "../../src/replica/snapshot-parts.js";
import { SnapshotReceiving } from "../../src/replica/snapshot-receiving.js";
import type { Transport } from "../../src/replica/transport.js";
import type { Checkpoint, CheckpointStore } from "../../src/storage/checkpoint.js";
import { commitLogDefaults } from "../../src/storage/commit-log.js";
import { raftLogDefaults } from "../../src/storage/raft-log.js";
import { SimulatedDisk, scheduleOn } from "../../src/testing/simulated-disk.js";

/** A small linear congruential generator: the same seed gives the same choices. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const hex = (): string => Math.floor(next() * 16).toString(16);
  return {
    next,
    uuid: () => "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, hex),
  };
}

class MemoryTransport implements Transport {
  receive: (message: Message) => void = () => undefined;
  readonly #net: ReplicaNet;
  readonly #heard = new Map<string, number>();

  constructor(net: ReplicaNet) {
    this.#net = net;
  }

  send(message: Message): boolean {
    return this.#net.deliver(message);
  }

  setPeers(): void {
    // Every node of the net can reach every other.
  }

  onMessage(receive: (message: Message) => void): void {
    this.receive = (message) => {
      this.#heard.set(message.from, systemClock.now());
      receive(message);
    };
  }

  onUnreachable(): void {
    // Nothing is in flight for longer than a turn.
  }

  lastContact(peer: string): number | undefined {
    return this.#heard.get(peer);
  }

  async close(): Promise<void> {
    // Holds nothing.
  }
}

/** A checkpoint store that is durable at once: what survives a crash is its last whole save. */
class MemoryCheckpoints implements CheckpointStore {
  saved: Checkpoint | undefined;
  #isClosed = false;

  async load(): Promise<Checkpoint | undefined> {
    this.#isClosed = false;
    return this.saved;
  }

  async save(checkpoint: Checkpoint): Promise<void> {
    if (this.#isClosed) throw new Error("the checkpoint store is closed");
    this.saved = checkpoint;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }
}

interface Host {
  disk: SimulatedDisk;
  checkpoints: MemoryCheckpoints;
  transport: MemoryTransport;
  replica: Replica | undefined;
}

export class ReplicaNet {
  readonly members: readonly Member[];
  readonly #hosts = new Map<string, Host>();
  readonly #random: Random;
  readonly #options: ReplicaOptions;
  readonly #cut = new Set<string>();
  /** A transfer of a snapshot breaks after so many parts. */
  snapshotPartsMax = Infinity;
  /** Asked for each message: one that does not pass is lost. */
  passes: (message: Message) => boolean = () => true;
  /** Told +1 and -1 as a transfer of a snapshot begins and ends. */
  onFetch: (change: 1 | -1) => void = () => undefined;
  /** Awaited before each part of a snapshot is handed over. */
  beforePart: () => Promise<void> = async () => undefined;
  /** Parts of snapshots sent so far. */
  snapshotParts = 0;

  constructor(count: number, seed: number, options: Partial<ReplicaOptions> = {}) {
    this.#random = seededRandom(seed);
    this.#options = { ...replicaDefaults, tickMs: 5, diskFreeBytesMin: 0, ...options };
    this.members = Array.from({ length: count }, (_, ordinal) => ({
      id: `n${String(ordinal + 1)}`,
      name: `n${String(ordinal + 1)}`,
      rpcAddr: `127.0.0.1:${String(ordinal + 1)}`,
      httpAddr: `127.0.0.1:${String(1000 + ordinal)}`,
    }));
    for (const member of this.members) {
      const disk = new SimulatedDisk({
        random: this.#random,
        schedule: scheduleOn(systemClock),
        latencyMsMax: 0,
      });
      const transport = new MemoryTransport(this);
      const checkpoints = new MemoryCheckpoints();
      this.#hosts.set(member.id, { disk, checkpoints, transport, replica: undefined });
    }
  }

  /** Opens and starts a node; the first one founds the cluster. */
  async start(id: string): Promise<Replica> {
    const host = this.#host(id);
    const member = this.members.find((candidate) => candidate.id === id);
    if (member === undefined) throw new Error(`no member ${id}`);
    const settings = { clusterId: "c1", segmentBytes: 1024 * 1024 };
    const isFounder = id === this.members[0]?.id;
    const replica = await openReplica({
      nodeId: id,
      disk: host.disk,
      checkpoints: host.checkpoints,
      transport: host.transport,
      clock: systemClock,
      random: this.#random,
      logger: silent,
      raftOptions: raftDefaults,
      raftLogOptions: { ...raftLogDefaults, fileBytes: 256 * 1024 },
      commitLogOptions: { ...commitLogDefaults, tailCacheBytes: 64 * 1024 },
      options: this.#options,
      ...(isFounder ? { founding: { settings, member } } : {}),
    });
    host.replica = replica;
    replica.start(
      new SnapshotReceiving({
        disk: host.disk,
        commitLog: replica.commitLog,
        checkpoints: host.checkpoints,
        source: (peer, request) => this.#snapshotOf(peer.id, request),
        sources: (peer) => this.members.filter((candidate) => candidate.id === peer),
        signal: new AbortController().signal,
      }),
    );
    return replica;
  }

  /** Parts of a snapshot, copied as the wire would; breaks after `snapshotPartsMax` of them. */
  async *#snapshotOf(id: string, request: SnapshotRequest): AsyncGenerator<SnapshotPart> {
    let parts = 0;
    this.onFetch(1);
    try {
      for await (const part of this.replica(id).snapshot(request)) {
        if (parts >= this.snapshotPartsMax) throw new Error("the transfer broke");
        parts += 1;
        this.snapshotParts += 1;
        await this.beforePart();
        yield part;
      }
    } finally {
      this.onFetch(-1);
    }
  }

  /** Ends a node as a power cut would. */
  crash(id: string): void {
    const host = this.#host(id);
    const { replica } = host;
    host.replica = undefined;
    replica?.ioFailed(new Error("power is gone"));
    host.disk = host.disk.crash("lose-unsynced");
  }

  replica(id: string): Replica {
    const { replica } = this.#host(id);
    if (replica === undefined) throw new Error(`${id} is down`);
    return replica;
  }

  cut(id: string): void {
    this.#cut.add(id);
  }

  /** The disk of a node, to make trouble on; another one after a crash. */
  disk(id: string): SimulatedDisk {
    return this.#host(id).disk;
  }

  /** The last checkpoint that a node saved. */
  checkpoint(id: string): Checkpoint | undefined {
    return this.#host(id).checkpoints.saved;
  }

  /** True while the node runs. */
  isUp(id: string): boolean {
    return this.#host(id).replica !== undefined;
  }

  /** Ends a node as a stop that was asked for does. */
  async stop(id: string): Promise<void> {
    const host = this.#host(id);
    const { replica } = host;
    host.replica = undefined;
    await replica?.close();
  }

  heal(): void {
    this.#cut.clear();
  }

  deliver(message: Message): boolean {
    if (this.#cut.has(message.from) || this.#cut.has(message.to)) return true;
    if (!this.passes(message)) return true;
    const host = this.#hosts.get(message.to);
    if (host?.replica === undefined) return false;
    systemClock.defer(() => {
      if (host.replica !== undefined) host.transport.receive(structuredCopy(message));
    });
    return true;
  }

  /** The node that leads and can commit, once there is one. */
  async leader(): Promise<Replica> {
    return until(() => {
      for (const { replica } of this.#hosts.values()) {
        if (replica?.status().isReady === true) return replica;
      }
      return undefined;
    });
  }

  async close(): Promise<void> {
    for (const host of this.#hosts.values()) await host.replica?.close();
  }

  #host(id: string): Host {
    const host = this.#hosts.get(id);
    if (host === undefined) throw new Error(`no member ${id}`);
    return host;
  }
}

/** Entries are copied as the wire would: the receiver stamps its own places into the frames. */
function structuredCopy(message: Message): Message {
  if (message.type !== "appendRequest") return message;
  const entries = message.entries.map((entry) => ({ ...entry, data: Buffer.from(entry.data) }));
  return { ...message, entries };
}

const silent = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** Polls until there is a value; fails after 20 s. */
export async function until<T>(look: () => T | undefined): Promise<T> {
  const deadline = systemClock.now() + 20_000;
  for (;;) {
    const value = look();
    if (value !== undefined) return value;
    if (systemClock.now() > deadline) throw new Error("waited 20 s in vain");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Appends text records as one; resolves with where they went, or with the error. */
export async function append(
  replica: Replica,
  texts: readonly string[],
  expectedOffset?: number,
): Promise<Appended | ProglogError> {
  const records = encodeRecords(texts.map((text) => ({ value: Buffer.from(text) })));
  return new Promise((resolve) => {
    replica.propose({ records, count: texts.length, expectedOffset }, 5000, resolve);
  });
}
