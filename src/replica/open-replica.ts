/**
 * Puts a replica together from what lies on its disk, or from nothing.
 *
 * Order: the checkpoint; the Raft log, which must reach back to it; the commit log, cut back to
 * it; then the core, as a follower. Committed entries after the checkpoint are played again once
 * a leader says how far they are committed. Nothing is changed before all of it makes sense.
 */
import type { Settings } from "../machine/command.js";
import { encodeSettings } from "../machine/command.js";
import { StateMachine } from "../machine/state-machine.js";
import type {
  Configuration,
  ConfigurationAt,
  LogImage,
  Member,
  RaftOptions,
} from "../raft/index.js";
import { Raft } from "../raft/index.js";
import type { Checkpoint } from "../storage/checkpoint.js";
import { emptyCheckpoint } from "../storage/checkpoint.js";
import type { CommitLogOptions } from "../storage/commit-log.js";
import { CommitLog } from "../storage/commit-log.js";
import { DamageError } from "../storage/damage.js";
import type { EntryPlaces } from "../storage/entry-places.js";
import { stampSlot } from "../storage/frame.js";
import type { OpenedRaftLog, RaftLogOptions } from "../storage/raft-log.js";
import { RaftLog } from "../storage/raft-log.js";
import { frameOf, parseConfiguration } from "./entry-frame.js";
import type { ReplicaParts } from "./replica.js";
import { Replica } from "./replica.js";

export interface OpenReplicaParts extends Omit<
  ReplicaParts,
  "raft" | "raftLog" | "commitLog" | "machine"
> {
  readonly nodeId: string;
  readonly raftOptions: RaftOptions;
  readonly raftLogOptions: RaftLogOptions;
  readonly commitLogOptions: CommitLogOptions;
  /** Set for the node that forms the cluster: written if the log is still empty. */
  readonly founding?: { readonly settings: Settings; readonly member: Member };
}

/** The founder's first entries: the configuration and the settings. */
const foundingCount = 2;

/** @throws DamageError, DiskError */
export async function openReplica(parts: OpenReplicaParts): Promise<Replica> {
  const { disk, clock, random, nodeId } = parts;
  let onFailed: (error: Error) => void = () => undefined;
  const failing = new Promise<never>((_resolve, reject) => {
    onFailed = reject;
  });
  failing.catch(() => undefined);
  const checkpoint = (await parts.checkpoints.load()) ?? emptyCheckpoint;
  const opened = await RaftLog.open({ disk, clock, random }, parts.raftLogOptions, onFailed);
  const image = await Promise.race([fitLog(opened, checkpoint), failing]);
  // A crash may have kept a part of the first entries; nothing was promised before all were there.
  if (parts.founding !== undefined && image.lastIndex < foundingCount) {
    await Promise.race([found(opened.log, parts.founding, clock.wallNow()), failing]);
    // The first entries are read back like any others.
    await opened.log.close();
    const { founding: _written, ...rest } = parts;
    return openReplica(rest);
  }
  const { segments, endOffset } = checkpoint;
  const commitLog = await CommitLog.open(
    disk,
    clock,
    { segments, endOffset },
    parts.commitLogOptions,
    onFailed,
  );
  const { term, vote } = opened.hardState;
  const raft = new Raft(
    {
      id: nodeId,
      hardState: { term, vote: vote === "" ? null : vote },
      log: image,
      configurations: configurationsOf(opened, checkpoint),
      appliedIndex: checkpoint.appliedIndex,
    },
    parts.raftOptions,
    random,
  );
  const machine = new StateMachine(commitLog, checkpoint);
  if (opened.tornBytes > 0) parts.logger.warn({ bytes: opened.tornBytes }, "torn-tail-zeroed");
  const replica = new Replica({ ...parts, raft, raftLog: opened.log, commitLog, machine });
  failing.catch((error: unknown) => {
    replica.ioFailed(error as Error);
  });
  return replica;
}

/**
 * How the Raft log and the checkpoint fit.
 *
 * A log that ends before the checkpoint, or holds another entry at its index, was overtaken by a
 * snapshot just before a crash: what it holds is void.
 */
async function fitLog(opened: OpenedRaftLog, checkpoint: Checkpoint): Promise<LogImage> {
  const { places } = opened.log;
  const { appliedIndex, appliedTerm } = checkpoint;
  if (opened.hardState.term < appliedTerm) {
    const what = `the hard state is lost: the checkpoint is of term ${String(appliedTerm)}`;
    throw new DamageError("raft", 0, what);
  }
  if (places.isEmpty) return atCheckpoint(checkpoint);
  if (places.firstIndex > appliedIndex + 1) {
    const missing = `entries ${String(appliedIndex + 1)} to ${String(places.firstIndex - 1)}`;
    throw new DamageError("raft", 0, `${missing} are neither in the log nor in the checkpoint`);
  }
  if (places.firstIndex <= appliedIndex && places.at(appliedIndex)?.term !== appliedTerm) {
    await new Promise<void>((resolve) => {
      opened.log.append({ truncateFrom: 1, frames: [] }, resolve);
    });
    return atCheckpoint(checkpoint);
  }
  if (places.firstIndex === 1) return imageOf(places, 0, 0);
  if (places.firstIndex === appliedIndex + 1) return imageOf(places, appliedIndex, appliedTerm);
  return imageOf(places, places.firstIndex, places.at(places.firstIndex)?.term ?? 0);
}

function atCheckpoint({ appliedIndex, appliedTerm }: Checkpoint): LogImage {
  const termRuns: LogImage["termRuns"] = [];
  return {
    snapshotIndex: appliedIndex,
    snapshotTerm: appliedTerm,
    lastIndex: appliedIndex,
    termRuns,
  };
}

/** The log from an index on; what lies at it is known, but counts as gone. */
function imageOf(places: EntryPlaces, snapshotIndex: number, snapshotTerm: number): LogImage {
  const runs = places.termRuns();
  const termRuns = runs
    .filter(
      (_run, ordinal) => (runs[ordinal + 1]?.index ?? places.lastIndex + 1) > snapshotIndex + 1,
    )
    .map((run) => ({ index: Math.max(run.index, snapshotIndex + 1), term: run.term }))
    .filter((run) => run.index <= places.lastIndex);
  return { snapshotIndex, snapshotTerm, lastIndex: places.lastIndex, termRuns };
}

/** The checkpoint's configuration, and those of the entries after it. */
function configurationsOf(opened: OpenedRaftLog, checkpoint: Checkpoint): ConfigurationAt[] {
  const found: ConfigurationAt[] = [];
  if (checkpoint.configurationIndex > 0) {
    const configuration = parse(checkpoint.configuration);
    found.push({ index: checkpoint.configurationIndex, configuration });
  }
  for (const { index, body } of opened.configurations) {
    if (index <= checkpoint.configurationIndex || index > opened.log.places.lastIndex) continue;
    found.push({ index, configuration: parse(body.toString()) });
  }
  return found;
}

function parse(text: string): Configuration {
  const configuration = parseConfiguration(text);
  if (configuration === undefined) {
    throw new DamageError("raft", 0, "a configuration can't be read");
  }
  return configuration;
}

/** The first entries of a cluster: who is in it, and what all must agree on (rule R-M9). */
async function found(
  log: RaftLog,
  { settings, member }: { readonly settings: Settings; readonly member: Member },
  timestampMs: number,
): Promise<void> {
  const configuration: Configuration = { voters: [member], learners: [] };
  const data = Buffer.alloc(0);
  const first = frameOf({ index: 1, term: 1, kind: "configuration", configuration, data });
  const second = encodeSettings(settings, timestampMs);
  stampSlot(second, 2, 1);
  await new Promise<void>((resolve) => {
    log.append(
      {
        hardState: { term: 1, vote: "" },
        truncateFrom: 1,
        frames: [
          { index: 1, term: 1, frame: first },
          { index: 2, term: 1, frame: second },
        ],
      },
      resolve,
    );
  });
}
