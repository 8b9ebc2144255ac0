/**
 * Checkpoints: when to take one, and in which order its parts become durable (rule R-S3).
 *
 * The commit log's bytes first, then the checkpoint that names them, then the Raft log lets go of
 * what it covers. A crash between any two leaves the older checkpoint in force and all that is
 * needed to go on from it. A checkpoint never names an entry that this node's own Raft log has not
 * made durable. Taking one blocks neither appends nor applying.
 */
import type { Checkpoint, CheckpointStore } from "../storage/checkpoint.js";
import type { CommitLog } from "../storage/commit-log.js";
import type { RaftLog } from "../storage/raft-log.js";

interface CheckpointerParts {
  readonly commitLog: CommitLog;
  readonly raftLog: RaftLog;
  readonly checkpoints: CheckpointStore;
  readonly options: { readonly checkpointBytes: number; readonly keepBytes: number };
  readonly logger: {
    debug(fields: object, event: string): void;
    error(fields: object, event: string): void;
  };
  capture(): Checkpoint;
  whenDurable(index: number): Promise<void>;
  compact(index: number): void;
}

export class Checkpointer {
  readonly #parts: CheckpointerParts;
  #bytes = 0;
  #running: Promise<void> | undefined;
  #isPaused = false;
  #savedIndex = -1;
  #saved: Checkpoint | undefined;

  constructor(parts: CheckpointerParts) {
    this.#parts = parts;
  }

  /** Counts what was applied; takes a checkpoint when it is enough. */
  applied(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < this.#parts.options.checkpointBytes) return;
    if (this.#running !== undefined || this.#isPaused) return;
    this.#bytes = 0;
    this.#start();
  }

  #start(): void {
    if (this.#running !== undefined) return;
    const running = this.#take();
    this.#running = running;
    running.then(
      () => {
        this.#running = undefined;
      },
      (error: unknown) => {
        // The log's own failure has stopped the node; the store's leaves the old one in force.
        this.#running = undefined;
        this.#parts.logger.error({ error: (error as Error).message }, "checkpoint-failed");
      },
    );
  }

  async #take(): Promise<void> {
    const { commitLog, raftLog, checkpoints, options, logger } = this.#parts;
    const checkpoint = this.#parts.capture();
    if (checkpoint.appliedIndex === this.#savedIndex) return;
    await commitLog.sync();
    await this.#parts.whenDurable(checkpoint.appliedIndex);
    await checkpoints.save(checkpoint);
    this.#savedIndex = checkpoint.appliedIndex;
    this.#saved = checkpoint;
    const index = Math.min(checkpoint.appliedIndex, raftLog.indexBehind(options.keepBytes));
    if (index > 0) {
      this.#parts.compact(index);
      raftLog.truncatePrefix(index);
    }
    const { appliedIndex, endOffset } = checkpoint;
    logger.debug({ appliedIndex, endOffset, compactedTo: index }, "checkpoint");
  }

  /** The newest one, at least as new as an index if that is applied: for a peer. */
  async atLeast(index: number): Promise<Checkpoint | undefined> {
    await this.#idle();
    if (this.#saved === undefined || this.#savedIndex < index) {
      if (this.#isPaused) return undefined;
      this.#start();
      await this.#idle();
    }
    return this.#saved;
  }

  async #idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => undefined);
  }

  /** Waits for the one under way and takes no more until `resume`. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    await this.#idle();
  }

  resume(): void {
    this.#isPaused = false;
  }

  /** Takes a last one at a clean stop: the next start has nothing to play again. */
  async finish(): Promise<void> {
    // Paused already: a snapshot was being taken, and its own checkpoint is the newest.
    if (this.#isPaused) return;
    await this.pause();
    try {
      await this.#take();
    } catch (error) {
      this.#parts.logger.error({ error: (error as Error).message }, "checkpoint-failed");
    }
  }
}
