/**
 * Sends snapshots: the newest checkpoint of this node and the bytes that it names.
 *
 * The commit log only grows, so what a checkpoint names can be read while appends go on; memory
 * stays at one chunk a receiver.
 */
import { crc32 } from "node:zlib";

import { ProglogError } from "../common/errors.js";
import type { Checkpoint } from "../storage/checkpoint.js";
import type { CommitLog } from "../storage/commit-log.js";
import type { SegmentRef } from "../storage/segment.js";
import type { HeldSegment, SnapshotPart, SnapshotRequest } from "./snapshot-parts.js";

const chunkBytes = 256 * 1024;

/** The parts of a snapshot, in order. */
export async function* sendSnapshot(
  commitLog: CommitLog,
  checkpoint: Checkpoint | undefined,
  request: SnapshotRequest,
): AsyncGenerator<SnapshotPart, void, undefined> {
  if (checkpoint === undefined || checkpoint.appliedIndex < request.indexMin) {
    const detail = "This node has no checkpoint as new as that yet; retry, or ask another.";
    throw new ProglogError("unavailable", detail);
  }
  yield { kind: "checkpoint", checkpoint };
  const held = new Map(request.held.map((segment) => [segment.baseOffset, segment]));
  for (const ref of checkpoint.segments) {
    let position = resumeAt(ref, held.get(ref.baseOffset));
    const isSentWhole = position === 0;
    let checksum = 0;
    while (position < ref.bytes) {
      const bytes = Math.min(chunkBytes, ref.bytes - position);
      const data = await commitLog.readRaw(ref.baseOffset, position, bytes);
      yield { kind: "chunk", chunk: { baseOffset: ref.baseOffset, position, data } };
      position += data.length;
      checksum = crc32(data, checksum);
    }
    if (isSentWhole && checksum !== ref.checksum) {
      // The receiver would find out as well; here it is repaired.
      await commitLog.findDamage(ref.baseOffset);
      throw new ProglogError("data-damaged", "A segment is damaged on this node; ask another.");
    }
  }
}

/** The first byte that the receiver lacks: what it holds is checked as a whole at its end. */
function resumeAt(ref: SegmentRef, held: HeldSegment | undefined): number {
  if (held === undefined || held.bytes > ref.bytes) return 0;
  if (held.bytes === ref.bytes && held.checksum !== ref.checksum) return 0;
  return held.bytes;
}
