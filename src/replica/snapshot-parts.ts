/**
 * What a snapshot is made of on its way between two nodes: a checkpoint, then the segments that
 * the receiver lacks, in pieces. Sealed segments are the same bytes on every node, so any member
 * can send them, and a broken transfer goes on where it stopped.
 */
import type { Member } from "../raft/index.js";
import type { Checkpoint, ProducerRow } from "../storage/checkpoint.js";
import type { SegmentRef } from "../storage/segment.js";

/** What the receiver holds of a segment: its first bytes. */
export interface HeldSegment {
  readonly baseOffset: number;
  readonly bytes: number;
  /** CRC-32 of these bytes. */
  readonly checksum: number;
}

export interface SnapshotRequest {
  /** Least applied index of use to the receiver. */
  readonly indexMin: number;
  readonly held: readonly HeldSegment[];
}

export interface SegmentChunk {
  readonly baseOffset: number;
  readonly position: number;
  readonly data: Buffer;
}

export type SnapshotPart =
  | { readonly kind: "checkpoint"; readonly checkpoint: Checkpoint }
  | { readonly kind: "chunk"; readonly chunk: SegmentChunk };

/** Asks a peer for a snapshot. */
export type SnapshotSource = (
  peer: Member,
  request: SnapshotRequest,
  signal: AbortSignal,
) => AsyncIterable<SnapshotPart>;

/** The checkpoint as bytes. Producers may be many: theirs are lists without names. */
export function encodeCheckpoint(checkpoint: Checkpoint): Buffer {
  const producers = checkpoint.producers.map(({ id, appends }) => [
    id,
    ...appends.map(({ sequence, offset, count, timestampMs }) => [
      ...[sequence, offset, count, timestampMs],
    ]),
  ]);
  return Buffer.from(JSON.stringify({ ...checkpoint, producers }));
}

/** @returns undefined if the bytes are not a checkpoint. */
export function decodeCheckpoint(bytes: Buffer): Checkpoint | undefined {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  const areNumbers = ["appliedIndex", "appliedTerm", "configurationIndex", "endOffset"]
    .concat(["timestampMs", "segmentBytes"])
    .every((name) => isCount(fields[name]));
  const areTexts = ["configuration", "clusterId"].every((name) => typeof fields[name] === "string");
  const { segments, producers } = fields;
  if (!areNumbers || !areTexts || !Array.isArray(segments)) return undefined;
  if (!segments.every(isRef) || !Array.isArray(producers)) return undefined;
  const rows = producers.map(producerOf);
  if (rows.includes(undefined)) return undefined;
  return { ...(value as Checkpoint), producers: rows as ProducerRow[] };
}

function producerOf(value: unknown): ProducerRow | undefined {
  const [id, ...appends] = Array.isArray(value) ? (value as unknown[]) : [];
  if (typeof id !== "string" || appends.length === 0) return undefined;
  const rows: ProducerRow["appends"][number][] = [];
  for (const append of appends) {
    if (!Array.isArray(append) || append.length !== 4 || !append.every(isCount)) return undefined;
    const [sequence = 0, offset = 0, count = 0, timestampMs = 0] = append as number[];
    rows.push({ sequence, offset, count, timestampMs });
  }
  return { id, appends: rows };
}

function isRef(value: unknown): value is SegmentRef {
  if (typeof value !== "object" || value === null) return false;
  const ref = value as Record<string, unknown>;
  return ["baseOffset", "endOffset", "bytes", "checksum"].every((name) => isCount(ref[name]));
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
