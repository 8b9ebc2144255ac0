/**
 * The data directory of a node: opened, locked, and bound to one identity and one cluster.
 *
 * Invariant: once bound to a cluster, or known to hold a log or a checkpoint, it stays so.
 */
import type { Random } from "../common/random.js";
import type { Checkpoint, CheckpointStore } from "../storage/checkpoint.js";
import { DamageError } from "../storage/damage.js";
import type { Disk, DiskLock } from "../storage/disk.js";
import { DiskError } from "../storage/disk.js";
import type { Identity } from "../storage/identity.js";
import { readIdentity, writeIdentity } from "../storage/identity.js";
import { StartError } from "./start-error.js";

export interface NodeDirectoryParts {
  readonly disk: Disk;
  /** Opens the checkpoints that lie in the directory; called once it is locked. */
  readonly openCheckpoints: () => Promise<CheckpointStore>;
  readonly random: Random;
  /** True if the node forms a new cluster, should the directory be empty. */
  readonly isFounding: boolean;
}

export class NodeDirectory {
  readonly disk: Disk;
  readonly checkpoints: CheckpointStore;
  readonly #lock: DiskLock;
  #identity: Identity;

  /** @throws StartError if another process holds it, or it can't be used; DamageError. */
  static async open(parts: NodeDirectoryParts): Promise<NodeDirectory> {
    const { disk, random, isFounding } = parts;
    const lock = await disk.lock().catch(cannotUse);
    try {
      const found = await readIdentity(disk);
      const identity = found ?? (await newIdentity(disk, random, isFounding));
      const checkpoints = await parts.openCheckpoints().catch(cannotUse);
      await disk.syncDirectory("");
      return new NodeDirectory(disk, lock, identity, checkpoints);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  private constructor(
    disk: Disk,
    lock: DiskLock,
    identity: Identity,
    checkpoints: CheckpointStore,
  ) {
    this.disk = disk;
    this.checkpoints = {
      load: async () => this.#loadCheckpoint(checkpoints),
      save: async (checkpoint) => this.#saveCheckpoint(checkpoints, checkpoint),
      close: async () => checkpoints.close(),
    };
    this.#lock = lock;
    this.#identity = identity;
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

  async #loadCheckpoint(checkpoints: CheckpointStore): Promise<Checkpoint | undefined> {
    const checkpoint = await checkpoints.load();
    if (checkpoint === undefined && this.#identity.hasCheckpoint) {
      throw new DamageError("checkpoint", 0, "the checkpoint is missing");
    }
    return checkpoint;
  }

  /** Noted before the Raft log lets go of what the checkpoint covers. */
  async #saveCheckpoint(checkpoints: CheckpointStore, checkpoint: Checkpoint): Promise<void> {
    await checkpoints.save(checkpoint);
    if (!this.#identity.hasCheckpoint) await this.#change({ hasCheckpoint: true });
  }

  async #change(change: Partial<Identity>): Promise<void> {
    const changing = this.#changing.then(async () => {
      const identity = { ...this.#identity, ...change };
      await writeIdentity(this.disk, identity);
      this.#identity = identity;
    });
    this.#changing = changing.catch(() => undefined);
    await changing;
  }

  /** One change of the file at a time. */
  #changing: Promise<void> = Promise.resolve();

  /** Lets go of the lock. The replica has closed the checkpoints, unless a start failed. */
  async close(): Promise<void> {
    await this.checkpoints.close();
    await this.#lock.release();
  }
}

async function newIdentity(disk: Disk, random: Random, isFounding: boolean): Promise<Identity> {
  const clusterId = isFounding ? random.uuid() : null;
  const identity: Identity = {
    nodeId: random.uuid(),
    clusterId,
    isFounding,
    hasLog: false,
    hasCheckpoint: false,
  };
  await writeIdentity(disk, identity);
  return identity;
}

/** The first calls on a directory show whether it can be used at all. */
function cannotUse(error: unknown): never {
  if (!(error instanceof DiskError)) throw error;
  throw new StartError(directoryFaults[error.fault], { cause: error });
}

const directoryFaults = {
  locked: "The data directory is in use by another process; stop it, or choose another --data-dir.",
  denied:
    "The data directory can't be written; check its owner and mode, or choose another --data-dir.",
  full: "The disk of the data directory is full; make room, then start again.",
  "not-found": "The data directory can't be made; check --data-dir.",
  exists: "The data directory can't be made: something else has its name; check --data-dir.",
  io: "The data directory can't be read or written; check the disk.",
} as const;
