/**
 * Reads the Raft log's files at a start: what is held, where it lies, and whether it is whole.
 *
 * It changes nothing on disk. Damage below what was durable stops it; a torn tail is reported for
 * the opener to zero.
 */
import { assert } from "../common/assert.js";
import { DamageError } from "./damage.js";
import type { Disk } from "./disk.js";
import { readWholeFile } from "./disk.js";
import { EntryPlaces } from "./entry-places.js";
import type { FrameHeader } from "./frame.js";
import { frameBody, frameBytesOf, frameKinds } from "./frame.js";
import type { ScannedFile } from "./raft-file.js";
import {
  checkEnd,
  raftFileHeaderBytes,
  raftFileName,
  readRaftFileHeader,
  scanRaftFile,
  sequenceOf,
} from "./raft-file.js";

/** Term and vote as stored; the vote is empty if there is none. */
export interface StoredHardState {
  readonly term: number;
  readonly vote: string;
}

export interface FoundFile {
  readonly sequence: number;
  readonly path: string;
  readonly bytes: number;
  readonly salt: number;
  /** Highest entry index written to it, 0 if none. */
  lastIndex: number;
  /** Where its frames end. */
  end: number;
}

export interface FoundLog {
  /** In use, oldest first; the last one is the active file. */
  readonly files: FoundFile[];
  /** Files after the active one that hold nothing yet, oldest first. */
  readonly unused: { readonly sequence: number; readonly path: string }[];
  hardState: StoredHardState;
  readonly places: EntryPlaces;
  /** Configuration entries that are held, oldest first: index and the frame's body. */
  readonly configurations: { readonly index: number; readonly body: Buffer }[];
  /** Bytes of a torn tail in the active file, to be zeroed; 0 if there is none. */
  tornBytes: number;
  /** Highest position of the active file known durable when its frames were written. */
  barrier: number;
}

/** @throws DamageError, DiskError */
export async function findRaftLog(disk: Disk, directory: string): Promise<FoundLog> {
  const found: FoundLog = {
    files: [],
    unused: [],
    hardState: { term: 0, vote: "" },
    places: new EntryPlaces(),
    configurations: [],
    tornBytes: 0,
    barrier: raftFileHeaderBytes,
  };
  const sequences = (await disk.list(directory))
    .map(sequenceOf)
    .filter((sequence) => sequence !== undefined);
  let previous: { readonly path: string; readonly scanned: ScannedFile } | undefined;
  for (const [ordinal, sequence] of sequences.entries()) {
    const path = `${directory}/${raftFileName(sequence)}`;
    checkOrder(path, sequence, sequences[ordinal - 1]);
    const bytes = await readWholeFile(disk, path);
    const { salt } = readRaftFileHeader(path, bytes, sequence);
    const scanned = scanRaftFile(path, bytes, salt);
    const first = scanned.frames[0]?.header;
    if (first === undefined) {
      checkEnd(path, scanned, undefined);
      found.unused.push({ sequence, path });
      continue;
    }
    const [empty] = found.unused;
    if (empty !== undefined) {
      throw new DamageError(path, 0, `the file before it, ${empty.path}, is empty`);
    }
    if (first.kind !== frameKinds.hardState) {
      throw new DamageError(path, raftFileHeaderBytes, "the file does not start with a hard state");
    }
    if (previous !== undefined) checkEnd(previous.path, previous.scanned, first.key);
    const file = { sequence, path, bytes: bytes.length, salt, lastIndex: 0, end: scanned.end };
    found.files.push(file);
    replay(found, path, bytes, scanned);
    previous = { path, scanned };
  }
  if (previous !== undefined) judgeActive(found, previous.path, previous.scanned);
  return found;
}

function judgeActive(found: FoundLog, path: string, scanned: ScannedFile): void {
  checkEnd(path, scanned, undefined);
  for (const { header } of scanned.frames) found.barrier = Math.max(found.barrier, header.barrier);
  if (scanned.hasRemains) found.tornBytes = (found.files.at(-1)?.bytes ?? 0) - scanned.end;
}

/** Files follow each other without a gap: none may be missing (rule R-D8). */
function checkOrder(path: string, sequence: number, before: number | undefined): void {
  if (before === undefined || sequence === before + 1) return;
  throw new DamageError(path, 0, `the file before it, ${raftFileName(before + 1)}, is missing`);
}

function replay(found: FoundLog, path: string, bytes: Buffer, scanned: ScannedFile): void {
  const player = new Replay(found);
  for (const { header, position } of scanned.frames) player.frame(path, bytes, header, position);
}

/** Plays frames in the order they were written, as the node did when it wrote them. */
class Replay {
  readonly #found: FoundLog;

  constructor(found: FoundLog) {
    this.#found = found;
  }

  frame(path: string, bytes: Buffer, header: FrameHeader, position: number): void {
    const { places, configurations, files } = this.#found;
    switch (header.kind) {
      case frameKinds.hardState: {
        const vote = frameBody(bytes, position, header).toString();
        if (header.term < this.#found.hardState.term) {
          throw new DamageError(path, position, "the term falls");
        }
        this.#found.hardState = { term: header.term, vote };
        return;
      }
      case frameKinds.truncate:
        this.#truncate(header.key);
        return;
      case frameKinds.barrier:
        return;
      default:
    }
    const index = header.key;
    if (!places.isEmpty && (index > places.lastIndex + 1 || index < places.firstIndex)) {
      throw new DamageError(
        path,
        position,
        `entry ${String(index)} does not follow the one before`,
      );
    }
    this.#truncate(index);
    const file = files.at(-1);
    assert(file !== undefined, "a frame lies in a file");
    const { sequence } = file;
    places.set(index, { sequence, position, bytes: frameBytesOf(header), term: header.term });
    file.lastIndex = Math.max(file.lastIndex, index);
    if (header.kind === frameKinds.configuration) {
      configurations.push({ index, body: Buffer.from(frameBody(bytes, position, header)) });
    }
  }

  #truncate(from: number): void {
    const { places, configurations } = this.#found;
    places.truncateSuffix(from);
    while ((configurations.at(-1)?.index ?? 0) >= from) configurations.pop();
  }
}
