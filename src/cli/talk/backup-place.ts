/**
 * Where a backup lies: a path as a person types it, made fit for the disk port.
 *
 * A backup is written beside its final name and takes that name only when it is durable, so what
 * has the name is whole; it takes the place of an older backup, and of nothing else.
 */
import { statSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";

import { UsageError } from "../../agent/option-table.js";
import { ProglogError } from "../../common/errors.js";
import { BackupReader } from "../../storage/backup-file.js";
import { DamageError } from "../../storage/damage.js";
import type { Disk, DiskFault, DiskFile } from "../../storage/disk.js";
import { DiskError } from "../../storage/disk.js";
import { NodeDisk } from "../../storage/node-disk.js";

export interface BackupPlace {
  /** The directory that it lies in. */
  readonly disk: Disk;
  readonly name: string;
}

/** The file of a command's line as yargs split it. @throws UsageError */
export function fileOf(split: Readonly<Record<string, unknown>>): string {
  const given = split["file"];
  // A dash alone comes as a switch: there is no backup by way of a pipe.
  if (typeof given === "string" && given !== "") return given;
  throw new UsageError("Name the backup's file; a pipe can't be one.");
}

/** The longest name leaves room for the draft's. */
const namePattern = /^[A-Za-z0-9._-]{1,250}$/;

/** The place of a backup that is to be written. @throws UsageError */
export function placeOf(path: string): BackupPlace {
  if (statSync(resolve(path), { throwIfNoEntry: false })?.isDirectory() === true) {
    throw new UsageError(`A backup is a file; ${resolve(path)} is a directory.`);
  }
  const name = basename(resolve(path));
  if (!namePattern.test(name)) {
    const wanted = "letters, digits, dots, dashes and underscores";
    throw new UsageError(`The name of a backup is made of ${wanted}, not ${JSON.stringify(name)}.`);
  }
  return { disk: new NodeDisk(dirname(resolve(path))), name };
}

/** Opens a backup, also by a link to it. @throws UsageError if there is none, or no file. */
export async function openBackup(path: string): Promise<DiskFile> {
  let real: string;
  try {
    real = await realpath(path);
  } catch {
    throw new UsageError(`There is no file ${path}.`);
  }
  const { disk, name } = placeOf(real);
  return telling(path, async () => disk.open(name));
}

/**
 * Writes a backup under its draft's name, then gives it its own.
 *
 * @throws UsageError if something else has the name; DiskError; what `write` throws, after the
 *   draft was removed.
 */
export async function keepBackup<T>(
  { disk, name }: BackupPlace,
  write: (file: DiskFile) => Promise<T>,
): Promise<T> {
  await checkReplaceable(disk, name);
  const draft = `${name}.part`;
  // Left by one that was killed.
  if ((await disk.list("")).includes(draft)) await disk.remove(draft);
  const file = await disk.create(draft);
  try {
    const written = await write(file);
    await file.close();
    await disk.rename(draft, name);
    await disk.syncDirectory("");
    return written;
  } catch (error) {
    await file.close().catch(() => undefined);
    await disk.remove(draft).catch(() => undefined);
    throw error;
  }
}

/** A slip of the hand must not cost a file that is no backup. */
async function checkReplaceable(disk: Disk, name: string): Promise<void> {
  if (!(await disk.list("")).includes(name)) return;
  const file = await disk.open(name);
  try {
    await BackupReader.open(file);
  } catch (error) {
    if (!(error instanceof DamageError)) throw error;
    throw new UsageError(`${name} is there already and is no whole backup; choose another name.`);
  } finally {
    await file.close();
  }
}

const faults: Readonly<Record<DiskFault, string>> = {
  full: "the disk is full",
  "not-found": "its directory is not there",
  exists: "something else has its name",
  locked: "another process uses it",
  denied: "its owner or mode does not allow it",
  io: "the disk failed",
};

/** Runs something; a failure of the disk is told in a sentence that names the place. */
export async function telling<T>(what: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    const sentence = `${what} can't be used: ${faults[error.fault]} (${error.message}).`;
    // No node was asked to write anything.
    throw new ProglogError(error.code, sentence, { outcome: null, cause: error });
  }
}
