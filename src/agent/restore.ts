/**
 * Makes the data directory of a new cluster of one node out of a backup.
 *
 * What it leaves on the disk is what a node leaves that has taken a checkpoint: an identity, a Raft
 * log that holds a term and no entries, the commit log, and the checkpoint that names it. The
 * records go through the state machine, as entries after the founder's two, so that offsets,
 * timestamps and segments come out as they do on any node.
 *
 * Invariants: nothing is written before the whole backup was verified; the identity, which says
 * that there is a Raft log and a checkpoint, is durable first, and the checkpoint last, so that a
 * node refuses a directory in which a restore was cut off, wherever that was. What is restored is
 * another cluster: its nodes and those of the old one never merge.
 */
import { assert } from "../common/assert.js";
import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { Random } from "../common/random.js";
import { encodeSettings } from "../machine/command.js";
import { StateMachine } from "../machine/state-machine.js";
import type { Configuration } from "../raft/index.js";
import type { BackupSummary } from "../storage/backup-file.js";
import { BackupReader } from "../storage/backup-file.js";
import type { Checkpoint, CheckpointStore } from "../storage/checkpoint.js";
import { emptyCheckpoint } from "../storage/checkpoint.js";
import type { CommitLogState } from "../storage/commit-log.js";
import { CommitLog, commitLogDefaults, emptyCommitLog } from "../storage/commit-log.js";
import type { Disk, DiskFile } from "../storage/disk.js";
import { syncFile } from "../storage/disk.js";
import { writeIdentity } from "../storage/identity.js";
import { RaftLog, raftLogDefaults } from "../storage/raft-log.js";
import { storeName } from "../storage/segment.js";
import { UsageError } from "./option-table.js";

/** Term of all that is restored; the node's first election is for the next one. */
const restoredTerm = 1;
/** Handed to the commit log before it is synced: bounds what is in memory. */
const syncBytes = 16 * 1024 * 1024;
/** Room for the checkpoint and the indexes. */
const spareBytes = 4 * 1024 * 1024;
/** Names that an empty directory may have: the lock, and what a new file system holds. */
const emptyNames: ReadonlySet<string> = new Set(["lock", "lost+found"]);

export interface RestoreParts {
  /** The directory to make. */
  readonly disk: Disk;
  /** Opens the checkpoints that lie in it; called once it is locked. */
  readonly openCheckpoints: () => Promise<CheckpointStore>;
  readonly backup: DiskFile;
  readonly clock: Clock;
  readonly random: Random;
  readonly nodeName: string;
  /** Where the node will be reached, as far as that is known: at its start it says so itself. */
  readonly rpcAddr?: string | undefined;
  readonly httpAddr?: string | undefined;
  /** The segment size of the new cluster. */
  readonly segmentBytes: number;
  readonly raftLogFileBytes: number;
  /** Told how far it is: bytes of the backup that were verified, or restored. */
  readonly onProgress?: (step: "verify" | "restore", bytes: number, bytesAll: number) => void;
  /** Asked to stop: what was made is removed. */
  readonly signal?: AbortSignal;
}

/** What was made. */
export interface Restored {
  readonly backup: BackupSummary;
  readonly nodeId: string;
  readonly clusterId: string;
}

/**
 * Restores; what it made is removed again if it fails.
 *
 * @throws UsageError if the directory is not empty; DamageError for a backup that is not whole;
 *   ProglogError `disk-full`; DiskError; the signal's reason.
 */
export async function restore(parts: RestoreParts): Promise<Restored> {
  const { disk, random } = parts;
  // Before the long part, and again once nobody else can add anything.
  await checkEmpty(disk);
  const backup = await verify(parts);
  const lock = await disk.lock();
  try {
    await checkEmpty(disk);
    await checkRoom(parts, backup);
    const ids = { nodeId: random.uuid(), clusterId: random.uuid() };
    try {
      await build(parts, ids);
    } catch (error) {
      await removeAll(disk);
      throw error;
    }
    return { backup, ...ids };
  } finally {
    await lock.release();
  }
}

async function checkEmpty(disk: Disk): Promise<void> {
  const names = (await disk.list("")).filter((name) => !emptyNames.has(name));
  if (names.length === 0) return;
  throw new UsageError("The directory to restore into is not empty; choose another --data-dir.");
}

/** A log without room waits for some, which is right for a node and wrong here. */
async function checkRoom(parts: RestoreParts, backup: BackupSummary): Promise<void> {
  // The Raft log keeps one file ready beside the one in use.
  const needed = backup.bytes + 2 * parts.raftLogFileBytes + spareBytes;
  const free = await parts.disk.freeBytes();
  if (free >= needed) return;
  const detail = `${String(needed)} bytes are needed to restore, ${String(free)} are free`;
  throw new ProglogError("disk-full", `${detail}; make room, or choose another --data-dir.`);
}

/** Reads the backup through. */
async function verify(parts: RestoreParts): Promise<BackupSummary> {
  const reader = await BackupReader.open(parts.backup);
  const { summary } = reader;
  // The commit log could not say where it starts.
  if (summary.count === 0 && summary.startOffset > 0) {
    throw new UsageError("The backup holds no records and does not start at offset 0.");
  }
  let bytes = 0;
  for await (const { frame } of reader.frames()) {
    bytes += frame.length;
    parts.signal?.throwIfAborted();
    parts.onProgress?.("verify", bytes, summary.bytes);
  }
  return summary;
}

interface Ids {
  readonly nodeId: string;
  readonly clusterId: string;
}

async function build(parts: RestoreParts, ids: Ids): Promise<void> {
  const { disk } = parts;
  const whole = { isFounding: false, hasLog: true, hasCheckpoint: true };
  await writeIdentity(disk, { ...ids, ...whole });
  await layTerm(parts);
  const checkpoint = await layRecords(parts, ids);
  const checkpoints = await parts.openCheckpoints();
  try {
    // Its directory's name must not be what a power cut takes.
    await disk.syncDirectory("");
    await checkpoints.save(checkpoint);
  } finally {
    await checkpoints.close();
  }
}

/** A Raft log that knows its term and holds no entries: the checkpoint covers them. */
async function layTerm(parts: RestoreParts): Promise<void> {
  const { disk, clock, random, raftLogFileBytes: fileBytes } = parts;
  const failing = new Failing();
  const options = { ...raftLogDefaults, fileBytes };
  const { log } = await RaftLog.open({ disk, clock, random }, options, failing.onFailed);
  try {
    const hardState = { term: restoredTerm, vote: "" };
    const appended = new Promise<void>((resolve) => {
      log.append({ hardState, frames: [] }, resolve);
    });
    await failing.unless(appended);
  } finally {
    await log.close();
  }
}

/** The records as entries 3 and up; all of them are durable in the commit log when it resolves. */
async function layRecords(parts: RestoreParts, ids: Ids): Promise<Checkpoint> {
  const { backup, signal, onProgress } = parts;
  const reader = await BackupReader.open(backup);
  const { endOffset, bytes: bytesAll } = reader.summary;
  const failing = new Failing();
  const log = await openAt(parts, reader.origin.startOffset, failing);
  try {
    const machine = new StateMachine(log, { ...emptyCheckpoint, ...log.state() });
    found(machine, parts, ids);
    let bytes = 0;
    let unsynced = 0;
    for await (const { header, frame } of reader.frames()) {
      signal?.throwIfAborted();
      const index = machine.appliedIndex + 1;
      const applied = machine.apply({ index, term: restoredTerm, kind: "command", frame });
      assert(applied.offset === header.key, "a record gets the offset that it had");
      assert(applied.timestampMs === header.timestampMs, "a record keeps its time");
      bytes += frame.length;
      unsynced += frame.length;
      onProgress?.("restore", bytes, bytesAll);
      if (unsynced < syncBytes) continue;
      await failing.unless(log.sync());
      unsynced = 0;
    }
    await failing.unless(log.sync());
    const checkpoint = machine.capture();
    assert(checkpoint.endOffset === endOffset, "all that was saved is restored");
    return checkpoint;
  } finally {
    await log.close();
  }
}

/** An empty commit log that starts at an offset: above 0, a segment without records says so. */
async function openAt(
  { disk, clock }: RestoreParts,
  startOffset: number,
  failing: Failing,
): Promise<CommitLog> {
  const options = { ...commitLogDefaults, tailCacheBytes: 0 };
  let state: CommitLogState = emptyCommitLog;
  if (startOffset > 0) {
    const place = { baseOffset: startOffset, endOffset: startOffset };
    state = { segments: [{ ...place, bytes: 0, checksum: 0 }], endOffset: startOffset };
    await disk.makeDirectory(options.directory);
    const store = await disk.create(`${options.directory}/${storeName(startOffset)}`);
    await syncFile(store);
    await store.close();
  }
  return CommitLog.open(disk, clock, state, options, failing.onFailed);
}

/** What a founder's first two entries say. */
function found(machine: StateMachine, parts: RestoreParts, { nodeId, clusterId }: Ids): void {
  // No address is better than a guess: a guess may be a node of the old cluster, and clients that
  // ask for the leader would write there.
  const { nodeName: name, rpcAddr = "", httpAddr = "", segmentBytes, clock } = parts;
  const member = { id: nodeId, name, rpcAddr, httpAddr };
  const members: Configuration = { voters: [member], learners: [] };
  const configuration = JSON.stringify(members);
  machine.apply({ index: 1, term: restoredTerm, kind: "configuration", configuration });
  const frame = encodeSettings({ clusterId, segmentBytes }, clock.wallNow());
  machine.apply({ index: 2, term: restoredTerm, kind: "command", frame });
}

/** A half-made directory helps nobody; if it can't be removed, a node refuses it. */
async function removeAll(disk: Disk): Promise<void> {
  try {
    const names = (await disk.list("")).filter((name) => !emptyNames.has(name));
    // The identity goes last: until then the directory is refused.
    const identity = names.filter((name) => name.startsWith("identity"));
    for (const name of names) if (!identity.includes(name)) await disk.removeTree(name);
    await disk.syncDirectory("");
    for (const name of identity) await disk.removeTree(name);
    await disk.syncDirectory("");
  } catch {
    // What made the restore fail is what is told.
  }
}

/** Hears of a log's failure, after which the log calls nobody back. */
class Failing {
  readonly onFailed: (error: Error) => void;
  readonly #failure: Promise<never>;

  constructor() {
    let reject: (error: Error) => void = () => undefined;
    this.#failure = new Promise<never>((_resolve, rejectFailure) => {
      reject = rejectFailure;
    });
    this.#failure.catch(() => undefined);
    this.onFailed = reject;
  }

  /** What the promise comes to, or the failure if that is first. */
  async unless<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.#failure]);
  }
}
