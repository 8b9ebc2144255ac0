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
  isRaftFileHeader,
  raftFileHeaderBytes,
  raftFileName,
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
  /** Highest entry index written to it, 0 if none. */
  lastIndex: number;
  /** Where its frames end. */
  end: number;
}

export interface FoundLog {
  /** In use, oldest first; the last one is the active file. */
  readonly files: FoundFile[];
  /** Prepared or half-prepared files that hold nothing yet. */
  readonly unused: { readonly sequence: number; readonly path: string }[];
  readonly hardState: StoredHardState;
  readonly places: EntryPlaces;
  /** Configuration entries that are held, oldest first: index and the frame's body. */
  readonly configurations: { readonly index: number; readonly body: Buffer }[];
  /** Bytes of a torn tail in the active file, to be zeroed; 0 if there is none. */
  readonly tornBytes: number;
}

/** @throws DamageError, DiskError */
export async function findRaftLog(disk: Disk, directory: string): Promise<FoundLog> {
  const found: FoundLog & { tornBytes: number } = {
    files: [],
    unused: [],
    hardState: { term: 0, vote: "" },
    places: new EntryPlaces(),
    configurations: [],
    tornBytes: 0,
  };
  const replay = new Replay(found);
  const sequences = (await disk.list(directory))
    .map(sequenceOf)
    .filter((sequence) => sequence !== undefined);
  let previous: { readonly path: string; readonly scanned: ScannedFile } | undefined;
  for (const sequence of sequences) {
    const path = `${directory}/${raftFileName(sequence)}`;
    const bytes = await readWholeFile(disk, path);
    const scanned = scanRaftFile(bytes, sequence);
    if (scanned.frames.length === 0) {
      checkEnd(path, scanned, 0);
      found.unused.push({ sequence, path });
      continue;
    }
    checkOrder(path, sequence, found);
    if (!isRaftFileHeader(bytes, sequence)) {
      throw new DamageError(path, 0, "the file's header is damaged");
    }
    const first = scanned.frames[0]?.header;
    if (first?.kind !== frameKinds.hardState) {
      throw new DamageError(path, raftFileHeaderBytes, "the file does not start with a hard state");
    }
    if (previous !== undefined) checkEnd(previous.path, previous.scanned, first.key);
    found.files.push({ sequence, path, bytes: bytes.length, lastIndex: 0, end: scanned.end });
    replay.file(path, bytes, scanned);
    previous = { path, scanned };
  }
  if (previous !== undefined) {
    checkEnd(previous.path, previous.scanned, 0);
    if (previous.scanned.hasRemains) {
      found.tornBytes = (found.files.at(-1)?.bytes ?? 0) - previous.scanned.end;
    }
  }
  return found;
}

/** Files in use follow each other without a gap: none may be missing or doubled (rule R-D8). */
function checkOrder(path: string, sequence: number, found: FoundLog): void {
  const last = found.files.at(-1);
  if (last === undefined) return;
  if (sequence !== last.sequence + 1 || found.unused.length > 0) {
    const missing = raftFileName(last.sequence + 1);
    throw new DamageError(path, 0, `the file before it, ${missing}, is missing or empty`);
  }
}

/** Plays frames in the order they were written, as the node did when it wrote them. */
class Replay {
  readonly #found: FoundLog & { hardState: StoredHardState };

  constructor(found: FoundLog) {
    this.#found = found;
  }

  file(path: string, bytes: Buffer, scanned: ScannedFile): void {
    for (const { header, position } of scanned.frames) this.#frame(path, bytes, header, position);
  }

  #frame(path: string, bytes: Buffer, header: FrameHeader, position: number): void {
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
    places.set(index, {
      fileId: header.fileId,
      position,
      bytes: frameBytesOf(header),
      term: header.term,
    });
    const file = files.at(-1);
    assert(file !== undefined, "a frame lies in a file");
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
