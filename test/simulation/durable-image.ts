/**
 * What a node would find after losing its power now: read straight from the durable bytes of its
 * simulated disk, by a reader of its own, so that the code under test does not judge itself.
 */
import { crc32 } from "node:zlib";

import type { Configuration } from "../../src/raft/index.js";
import {
  frameBody,
  frameBytesOf,
  frameKinds,
  isBodyValid,
  readHeader,
} from "../../src/storage/frame.js";
import { raftFileHeaderBytes, sequenceOf } from "../../src/storage/raft-file.js";
import type { SegmentRef } from "../../src/storage/segment.js";
import { storeName } from "../../src/storage/segment.js";
import { checkpointFile } from "../../src/testing/simulated-checkpoints.js";
import type { SimulatedDisk } from "../../src/testing/simulated-disk.js";
import { SimulatedDirectory } from "../../src/testing/simulated-file-system.js";

export interface DurableImage {
  readonly term: number;
  readonly vote: string;
  /** Terms of the entries that are held, by index. */
  readonly terms: ReadonlyMap<number, number>;
  /** What the checkpoint covers. */
  readonly checkpointIndex: number;
  /** The end of the log: what a vote is asked and given by. */
  readonly lastIndex: number;
  readonly lastTerm: number;
  /** Ids of the voters of the last configuration that is held. */
  readonly voters: readonly string[];
}

/** What is read of a checkpoint. */
interface Covered {
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  readonly configuration: string;
  readonly segments: readonly SegmentRef[];
}

interface HeldConfiguration {
  readonly index: number;
  readonly voters: readonly string[];
}

export function durableImage(disk: SimulatedDisk): DurableImage {
  const terms = new Map<number, number>();
  const configurations: HeldConfiguration[] = [];
  let term = 0;
  let vote = "";
  for (const name of durableNames(disk, "raft")) {
    if (sequenceOf(name) === undefined) continue;
    const bytes = disk.durableBytes(`raft/${name}`);
    if (bytes === undefined || bytes.length < raftFileHeaderBytes) continue;
    const salt = Number(bytes.readBigUInt64BE(24));
    for (let at = raftFileHeaderBytes; ;) {
      const header = at + 64 <= bytes.length ? readHeader(bytes, at) : undefined;
      if (header?.fileId !== salt || !isBodyValid(bytes, at, header)) break;
      const body = frameBody(bytes, at, header).toString();
      if (header.kind === frameKinds.hardState) {
        term = header.term;
        vote = body;
      } else if (header.kind !== frameKinds.barrier) {
        const index = header.key;
        forgetFrom(terms, configurations, index);
        if (header.kind !== frameKinds.truncate) terms.set(index, header.term);
        if (header.kind === frameKinds.configuration) {
          configurations.push({ index, voters: votersOf(body) });
        }
      }
      at += frameBytesOf(header);
    }
  }
  const covered = coveredBy(disk);
  const { appliedIndex, appliedTerm } = covered;
  const held = terms.get(appliedIndex);
  const logEnd = Math.max(0, ...terms.keys());
  // As at a start: a log that a snapshot has overtaken is void.
  const isOvertaken = logEnd < appliedIndex || (held !== undefined && held !== appliedTerm);
  if (isOvertaken) terms.clear();
  const voters = isOvertaken ? undefined : configurations.at(-1)?.voters;
  const lastIndex = isOvertaken ? appliedIndex : logEnd;
  return {
    ...{ term, vote, terms, lastIndex },
    checkpointIndex: appliedIndex,
    lastTerm: terms.get(lastIndex) ?? appliedTerm,
    voters: voters ?? votersOf(covered.configuration),
  };
}

/**
 * How far a file of the Raft log was durable before its last frame was written: damage below is
 * told from a torn tail (docs/formats.md).
 */
export function provenBytes(bytes: Buffer): number {
  if (bytes.length < raftFileHeaderBytes) return 0;
  const salt = Number(bytes.readBigUInt64BE(24));
  let proven = 0;
  for (let at = raftFileHeaderBytes; ;) {
    const header = at + 64 <= bytes.length ? readHeader(bytes, at) : undefined;
    if (header?.fileId !== salt || !isBodyValid(bytes, at, header)) return proven;
    proven = Math.max(proven, header.barrier);
    at += frameBytesOf(header);
  }
}

function forgetFrom(
  terms: Map<number, number>,
  configurations: HeldConfiguration[],
  index: number,
): void {
  while ((configurations.at(-1)?.index ?? 0) >= index) configurations.pop();
  // Nearly always an entry follows the last one, and nothing is to be forgotten.
  if (!terms.has(index) && terms.has(index - 1)) return;
  for (const held of [...terms.keys()]) if (held >= index) terms.delete(held);
}

function votersOf(configuration: string): readonly string[] {
  if (configuration === "") return [];
  const { voters } = JSON.parse(configuration) as Configuration;
  return voters.map((voter) => voter.id);
}

/** A sealed segment, as the checkpoint names it. */
export interface SealedSegment {
  readonly path: string;
  readonly bytes: number;
  /** True if the file is what was written. */
  readonly isWhole: boolean;
}

/** The segments that are taken at their word at a start: all that are sealed by then. */
export function sealedSegments(disk: SimulatedDisk): SealedSegment[] {
  return coveredBy(disk)
    .segments.slice(0, -1)
    .map(({ baseOffset, bytes, checksum }) => {
      const path = `log/${storeName(baseOffset)}`;
      const held = disk.durableBytes(path)?.subarray(0, bytes) ?? Buffer.alloc(0);
      return { path, bytes, isWhole: held.length === bytes && crc32(held) === checksum };
    });
}

function durableNames(disk: SimulatedDisk, directory: string): string[] {
  const node = disk.fileSystem.findDurable(directory);
  return node instanceof SimulatedDirectory ? [...node.durable.keys()].sort() : [];
}

const nothing: Covered = { appliedIndex: 0, appliedTerm: 0, configuration: "", segments: [] };

function coveredBy(disk: SimulatedDisk): Covered {
  const bytes = disk.durableBytes(checkpointFile);
  if (bytes === undefined || bytes.length <= 4) return nothing;
  try {
    return JSON.parse(bytes.subarray(4).toString()) as Covered;
  } catch {
    return nothing;
  }
}
