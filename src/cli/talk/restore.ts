/**
 * `proglog restore FILE --data-dir DIR`: makes the data directory of a new cluster out of a backup.
 *
 * It runs without any node, writes nothing before the whole backup was verified, and never into a
 * directory that holds something. `proglog-node start --data-dir DIR` then leads the new cluster.
 */
import { join, resolve } from "node:path";

import { flagOf, nodeOptions, parseOption } from "../../agent/options.js";
import type { NodeOptions } from "../../agent/options.js";
import { UsageError } from "../../agent/option-table.js";
import type { Restored } from "../../agent/restore.js";
import { restore as restoreInto } from "../../agent/restore.js";
import { LevelCheckpointStore } from "../../storage/level-checkpoint.js";
import { NodeDisk } from "../../storage/node-disk.js";
import type { BackupSurroundings } from "./backup.js";
import { fileOf, openBackup, telling } from "./backup-place.js";
import { BackupProgress } from "./backup-progress.js";

const optionKeys = [
  "dataDir",
  "nodeName",
  "segmentBytes",
  "advertiseRpcAddr",
  "advertiseHttpAddr",
] as const satisfies readonly (keyof NodeOptions)[];

export interface RestoreOptions extends Partial<Pick<NodeOptions, (typeof optionKeys)[number]>> {
  readonly file: string;
  readonly dataDir: string;
  readonly json?: boolean;
}

/** Reads the command's own flags as yargs split them. @throws UsageError */
export function restoreOptions(split: Readonly<Record<string, unknown>>): RestoreOptions {
  const given: Record<string, unknown> = {};
  for (const key of optionKeys) {
    const flag = flagOf(key);
    if (split[flag] !== undefined) given[key] = parseOption(key, split[flag], `--${flag}`);
  }
  const { dataDir, ...rest } = given as Partial<NodeOptions>;
  if (dataDir === undefined) throw new UsageError("restore needs --data-dir.");
  return { ...rest, file: fileOf(split), dataDir, json: split["json"] === true };
}

export interface RestoreSurroundings extends BackupSurroundings {
  readonly hostname: string;
}

/**
 * Runs the command.
 *
 * @throws UsageError; DamageError for a backup that is not whole; ProglogError if the disk fails or
 *   has no room; the signal's reason. What it made is removed then.
 */
export async function restore(
  options: RestoreOptions,
  surroundings: RestoreSurroundings,
): Promise<Restored> {
  const { clock, random, signal, print, hostname, showProgress } = surroundings;
  const { file, json, ...given } = options;
  const { dataDir, nodeName, segmentBytes, raftLogFileBytes, ...addresses } = nodeOptions(
    given,
    hostname,
  );
  const disk = new NodeDisk(dataDir);
  const progress = new BackupProgress(clock, showProgress);
  const saved = await openBackup(file);
  try {
    const restored = await telling(dataDir, async () =>
      restoreInto({
        ...{ disk, clock, random, signal, nodeName, segmentBytes, raftLogFileBytes },
        rpcAddr: addresses.advertiseRpcAddr,
        httpAddr: addresses.advertiseHttpAddr,
        openCheckpoints: async () =>
          LevelCheckpointStore.open(join(disk.rootDirectory, "checkpoint")),
        backup: saved,
        onProgress: (step, bytes, bytesAll) => {
          const what = step === "verify" ? "Verifying the backup" : "Restoring";
          progress.at(what, bytes, bytesAll);
        },
      }),
    );
    print(json === true ? jsonOf(resolve(dataDir), restored) : textOf(dataDir, restored));
    return restored;
  } finally {
    progress.end();
    await saved.close();
  }
}

function jsonOf(dataDir: string, { backup, nodeId, clusterId }: Restored): string {
  const { startOffset, endOffset, count, takenMs } = backup;
  const takenAt = new Date(takenMs).toISOString();
  const source = { backupClusterId: backup.clusterId, takenAt };
  return JSON.stringify({ dataDir, clusterId, nodeId, startOffset, endOffset, count, ...source });
}

function textOf(dataDir: string, { backup, clusterId }: Restored): string {
  const { count, endOffset } = backup;
  const what = `${String(count)} records, the next offset is ${String(endOffset)}`;
  const next = `start it with proglog-node --data-dir ${dataDir}`;
  return `${dataDir}: ${what}, a new cluster ${clusterId}; ${next}`;
}
