/**
 * Fetches a snapshot into a directory of its own, and puts it in force.
 *
 * Until it is in force nothing of the node's own is touched. Every segment is checked against the
 * checkpoint's checksum and synced before the core hears of it; a transfer that breaks leaves what
 * it has for the next one, from whatever member. Putting it in force can be cut off anywhere: the
 * older checkpoint then still finds its bytes, for segments are the same on every node (rule R-S3).
 */
import { crc32 } from "node:zlib";

import type { Member, NodeId } from "../raft/index.js";
import { StateMachine } from "../machine/state-machine.js";
import type { Checkpoint, CheckpointStore } from "../storage/checkpoint.js";
import type { CommitLog } from "../storage/commit-log.js";
import type { Disk, DiskFile } from "../storage/disk.js";
import { syncFile, writeAll } from "../storage/disk.js";
import type { SegmentRef } from "../storage/segment.js";
import { baseOffsetOf, storeName } from "../storage/segment.js";
import type { FetchedSnapshot, SnapshotPort } from "./replica.js";
import type { HeldSegment, SegmentChunk, SnapshotSource } from "./snapshot-parts.js";

/** Where a snapshot lies until it is in force. */
export const incomingDirectory = "incoming";
const readBytes = 1024 * 1024;

interface Incoming {
  readonly file: DiskFile;
  bytes: number;
  checksum: number;
}

export interface SnapshotReceivingParts {
  readonly disk: Disk;
  readonly commitLog: CommitLog;
  readonly checkpoints: CheckpointStore;
  readonly source: SnapshotSource;
  /**
   * Whom to ask, as they can be dialled, the one that offers it first: any member can send one.
   */
  readonly sources: (offering: NodeId) => readonly Member[];
  readonly signal: AbortSignal;
}

export class SnapshotReceiving implements SnapshotPort {
  readonly #parts: SnapshotReceivingParts;
  /** Transfers that failed since the last that did not: the next asks another member. */
  #failureCount = 0;

  constructor(parts: SnapshotReceivingParts) {
    this.#parts = parts;
  }

  async fetch(from: NodeId, indexMin: number): Promise<FetchedSnapshot | undefined> {
    const peers = this.#parts.sources(from);
    const peer = peers[this.#failureCount % peers.length];
    if (peer === undefined) return undefined;
    this.#failureCount += 1;
    const fetched = await this.#fetchFrom(peer, indexMin);
    if (fetched !== undefined) this.#failureCount = 0;
    return fetched;
  }

  async #fetchFrom(peer: Member, indexMin: number): Promise<FetchedSnapshot | undefined> {
    const { disk, source, signal } = this.#parts;
    await disk.makeDirectory(incomingDirectory);
    const incoming = await this.#openIncoming();
    let checkpoint: Checkpoint | undefined;
    try {
      const held = [...this.#ownSealed(), ...heldOf(incoming)];
      for await (const part of source(peer, { indexMin, held }, signal)) {
        if (part.kind === "checkpoint") checkpoint = part.checkpoint;
        else await this.#take(incoming, part.chunk);
      }
      if (checkpoint === undefined) return undefined;
      await this.#check(checkpoint, incoming);
    } finally {
      for (const { file } of incoming.values()) await file.close();
    }
    await disk.syncDirectory(incomingDirectory);
    return this.#fetched(checkpoint, new Set(incoming.keys()));
  }

  /** What an earlier transfer left. */
  async #openIncoming(): Promise<Map<number, Incoming>> {
    const { disk } = this.#parts;
    const incoming = new Map<number, Incoming>();
    for (const name of await disk.list(incomingDirectory)) {
      const path = `${incomingDirectory}/${name}`;
      const baseOffset = baseOffsetOf(name);
      if (baseOffset === undefined) {
        await disk.remove(path);
        continue;
      }
      const file = await disk.open(path);
      const bytes = await file.size();
      incoming.set(baseOffset, { file, bytes, checksum: await checksumOf(file, bytes) });
    }
    return incoming;
  }

  /** Sealed segments of the log in force need not be fetched again. */
  #ownSealed(): HeldSegment[] {
    return this.#parts.commitLog.state().segments.slice(0, -1);
  }

  async #take(incoming: Map<number, Incoming>, chunk: SegmentChunk): Promise<void> {
    const { disk } = this.#parts;
    const { baseOffset, position, data } = chunk;
    let segment = incoming.get(baseOffset);
    if (segment === undefined) {
      const file = await disk.create(`${incomingDirectory}/${storeName(baseOffset)}`);
      segment = { file, bytes: 0, checksum: 0 };
      incoming.set(baseOffset, segment);
    }
    if (position === 0 && segment.bytes > 0) {
      await segment.file.truncate(0);
      segment.bytes = 0;
      segment.checksum = 0;
    }
    if (position !== segment.bytes)
      throw new Error("a chunk of a snapshot does not follow the last");
    await writeAll(segment.file, position, data);
    segment.bytes += data.length;
    segment.checksum = crc32(data, segment.checksum);
  }

  /** Every segment that the checkpoint names is here or in force, whole; others are dropped. */
  async #check(checkpoint: Checkpoint, incoming: Map<number, Incoming>): Promise<void> {
    const { disk } = this.#parts;
    const own = new Map(this.#ownSealed().map((ref) => [ref.baseOffset, ref]));
    const named = new Set(checkpoint.segments.map((ref) => ref.baseOffset));
    for (const [baseOffset, { file }] of incoming) {
      if (named.has(baseOffset)) continue;
      await file.close();
      await disk.remove(`${incomingDirectory}/${storeName(baseOffset)}`);
      incoming.delete(baseOffset);
    }
    for (const ref of checkpoint.segments) {
      const fetched = incoming.get(ref.baseOffset);
      if (fetched === undefined && isSame(ref, own.get(ref.baseOffset))) continue;
      const isWhole = fetched !== undefined && (await fetched.file.size()) === ref.bytes;
      if (isWhole && isSame(ref, fetched)) {
        await syncFile(fetched.file);
        continue;
      }
      // It can't be gone on with: the next transfer starts this segment anew.
      await fetched?.file.truncate(0);
      throw new Error(`segment ${String(ref.baseOffset)} of the snapshot came damaged or short`);
    }
  }

  #fetched(checkpoint: Checkpoint, fetched: ReadonlySet<number>): FetchedSnapshot {
    const { disk, commitLog, checkpoints } = this.#parts;
    return {
      index: checkpoint.appliedIndex,
      term: checkpoint.appliedTerm,
      configuration: checkpoint.configuration,
      install: async () => {
        await commitLog.install(checkpoint, incomingDirectory, fetched);
        await checkpoints.save(checkpoint);
        await disk.removeTree(incomingDirectory);
        return new StateMachine(commitLog, checkpoint);
      },
    };
  }
}

function heldOf(incoming: ReadonlyMap<number, Incoming>): HeldSegment[] {
  return [...incoming].map(([baseOffset, { bytes, checksum }]) => ({
    baseOffset,
    bytes,
    checksum,
  }));
}

function isSame(
  ref: SegmentRef,
  other: { readonly bytes: number; readonly checksum: number } | undefined,
): boolean {
  return other?.bytes === ref.bytes && other.checksum === ref.checksum;
}

async function checksumOf(file: DiskFile, bytes: number): Promise<number> {
  let checksum = 0;
  for (let position = 0; position < bytes; position += readBytes) {
    checksum = crc32(await file.read(position, Math.min(readBytes, bytes - position)), checksum);
  }
  return checksum;
}
