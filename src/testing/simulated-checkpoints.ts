/**
 * Checkpoints on a simulated disk: one file, replaced as a whole, with a checksum.
 *
 * It stands in for LevelDB, which knows only real files, and promises what the port asks and no
 * more: after a crash the old checkpoint or the new one is there, whole.
 */
import { crc32 } from "node:zlib";

import { decodeCheckpoint, encodeCheckpoint } from "../replica/snapshot-parts.js";
import type { Checkpoint, CheckpointStore } from "../storage/checkpoint.js";
import { DamageError } from "../storage/damage.js";
import type { Disk } from "../storage/disk.js";
import { DiskError, readWholeFile, replaceFile } from "../storage/disk.js";

export const checkpointFile = "checkpoint.json";

export class SimulatedCheckpoints implements CheckpointStore {
  readonly #disk: Disk;
  readonly #onSave: (checkpoint: Checkpoint, bytes: Buffer) => void;
  #saving: Promise<void> = Promise.resolve();

  /** @param onSave Told of each checkpoint before it is written, and of its bytes. */
  constructor(
    disk: Disk,
    onSave: (checkpoint: Checkpoint, bytes: Buffer) => void = () => undefined,
  ) {
    this.#disk = disk;
    this.#onSave = onSave;
  }

  async load(): Promise<Checkpoint | undefined> {
    let bytes: Buffer;
    try {
      bytes = await readWholeFile(this.#disk, checkpointFile);
    } catch (error) {
      if (error instanceof DiskError && error.fault === "not-found") return undefined;
      throw error;
    }
    const body = bytes.subarray(4);
    const checkpoint = bytes.length > 4 ? decodeCheckpoint(body) : undefined;
    if (checkpoint === undefined || bytes.readUInt32LE(0) !== crc32(body)) {
      throw new DamageError(checkpointFile, 0, "the checkpoint is damaged");
    }
    return checkpoint;
  }

  async save(checkpoint: Checkpoint): Promise<void> {
    const body = encodeCheckpoint(checkpoint);
    this.#onSave(checkpoint, body);
    const bytes = Buffer.alloc(4 + body.length);
    bytes.writeUInt32LE(crc32(body), 0);
    body.copy(bytes, 4);
    const saving = this.#saving.then(async () => replaceFile(this.#disk, checkpointFile, bytes));
    this.#saving = saving.catch(() => undefined);
    await saving;
  }

  async close(): Promise<void> {
    await this.#saving;
  }
}
