/**
 * The data directory of a node: opened, locked, and bound to one identity and one cluster.
 *
 * Invariant: once bound to a cluster, or known to hold a log, it stays so.
 */
import { join } from "node:path";

import type { Random } from "../common/random.js";
import type { Disk, DiskLock } from "../storage/disk.js";
import { DiskError } from "../storage/disk.js";
import type { Identity } from "../storage/identity.js";
import { readIdentity, writeIdentity } from "../storage/identity.js";
import { LevelCheckpointStore } from "../storage/level-checkpoint.js";
import { NodeDisk } from "../storage/node-disk.js";
import { StartError } from "./start-error.js";

export class NodeDirectory {
  readonly disk: Disk;
  readonly path: string;
  readonly checkpoints: LevelCheckpointStore;
  readonly #lock: DiskLock;
  #identity: Identity;

  /** @throws StartError if another process holds it, or it can't be used; DamageError. */
  static async open(path: string, random: Random, isFounding: boolean): Promise<NodeDirectory> {
    const disk = new NodeDisk(path);
    const lock = await lockDirectory(disk);
    try {
      const found = await readIdentity(disk);
      const identity = found ?? (await newIdentity(disk, random, isFounding));
      const checkpoints = await LevelCheckpointStore.open(join(disk.rootDirectory, "checkpoint"));
      await disk.syncDirectory("");
      return new NodeDirectory({ disk, path: disk.rootDirectory, lock, identity, checkpoints });
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  private constructor(parts: {
    readonly disk: Disk;
    readonly path: string;
    readonly lock: DiskLock;
    readonly identity: Identity;
    readonly checkpoints: LevelCheckpointStore;
  }) {
    this.disk = parts.disk;
    this.path = parts.path;
    this.checkpoints = parts.checkpoints;
    this.#lock = parts.lock;
    this.#identity = parts.identity;
  }

  get identity(): Identity {
    return this.#identity;
  }

  /** Binds the directory to a cluster, for ever. */
  async bindTo(clusterId: string): Promise<void> {
    await this.#change({ clusterId });
  }

  /** Notes that the Raft log is there, with the first entries if this node forms the cluster. */
  async noteLog(): Promise<void> {
    const { hasLog, isFounding } = this.#identity;
    if (!hasLog || isFounding) await this.#change({ hasLog: true, isFounding: false });
  }

  async #change(change: Partial<Identity>): Promise<void> {
    const identity = { ...this.#identity, ...change };
    await writeIdentity(this.disk, identity);
    this.#identity = identity;
  }

  /** Lets go of the lock. The replica has closed the checkpoints, unless a start failed. */
  async close(): Promise<void> {
    await this.checkpoints.close();
    await this.#lock.release();
  }
}

async function newIdentity(disk: Disk, random: Random, isFounding: boolean): Promise<Identity> {
  const clusterId = isFounding ? random.uuid() : null;
  const identity: Identity = { nodeId: random.uuid(), clusterId, isFounding, hasLog: false };
  await writeIdentity(disk, identity);
  return identity;
}

async function lockDirectory(disk: Disk): Promise<DiskLock> {
  try {
    return await disk.lock();
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    throw new StartError(lockFaults[error.fault], { cause: error });
  }
}

const lockFaults = {
  locked: "The data directory is in use by another process; stop it, or choose another --data-dir.",
  denied:
    "The data directory can't be written; check its owner and mode, or choose another --data-dir.",
  full: "The disk of the data directory is full; make room, then start again.",
  "not-found": "The data directory can't be made; check --data-dir.",
  exists: "The data directory can't be made: something else has its name; check --data-dir.",
  io: "The data directory can't be read or written; check the disk.",
} as const;
