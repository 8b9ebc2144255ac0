/**
 * What a node would find after losing its power now: read straight from the durable bytes of its
 * simulated disk, by a reader of its own, so that the code under test does not judge itself.
 */
import { frameBytesOf, frameKinds, isBodyValid, readHeader } from "../../src/storage/frame.js";
import { raftFileHeaderBytes, sequenceOf } from "../../src/storage/raft-file.js";
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
}

export function durableImage(disk: SimulatedDisk): DurableImage {
  const terms = new Map<number, number>();
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
      if (header.kind === frameKinds.hardState) {
        term = header.term;
        const body = at + 64 + header.preambleBytes;
        vote = bytes.subarray(body, body + header.bodyBytes).toString();
      } else if (header.kind === frameKinds.truncate) forgetFrom(terms, header.key);
      else if (header.kind !== frameKinds.barrier) {
        forgetFrom(terms, header.key);
        terms.set(header.key, header.term);
      }
      at += frameBytesOf(header);
    }
  }
  return { term, vote, terms, checkpointIndex: checkpointIndexOf(disk) };
}

function forgetFrom(terms: Map<number, number>, index: number): void {
  if (!terms.has(index)) return;
  for (const held of [...terms.keys()]) if (held >= index) terms.delete(held);
}

function durableNames(disk: SimulatedDisk, directory: string): string[] {
  const node = disk.fileSystem.findDurable(directory);
  return node instanceof SimulatedDirectory ? [...node.durable.keys()].sort() : [];
}

function checkpointIndexOf(disk: SimulatedDisk): number {
  const bytes = disk.durableBytes(checkpointFile);
  if (bytes === undefined || bytes.length <= 4) return 0;
  try {
    const value = JSON.parse(bytes.subarray(4).toString()) as { readonly appliedIndex: number };
    return value.appliedIndex;
  } catch {
    return 0;
  }
}
