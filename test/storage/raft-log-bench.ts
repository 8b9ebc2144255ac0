/**
 * A Raft log under test: short ways to append and to read everything back, and a model of what a
 * journal of frames must hold.
 */
import { controlFrame, frameBody, frameKinds, readHeader } from "../../src/storage/frame.js";
import type { FrameKind } from "../../src/storage/frame.js";
import type { Disk } from "../../src/storage/disk.js";
import type { StoredHardState } from "../../src/storage/raft-log-recovery.js";
import { RaftLog } from "../../src/storage/raft-log.js";
import type { OpenedRaftLog, RaftLogAppend, RaftLogOptions } from "../../src/storage/raft-log.js";
import { manualClock, randomFrom } from "./simulated.js";
import type { ManualClock } from "./simulated.js";

export const smallFiles: RaftLogOptions = {
  directory: "raft",
  fileBytes: 8192,
  groupBytesMax: 2048,
  fullRetryMs: 500,
  mustExist: false,
};

let opening = 0;

export interface OpenLog extends OpenedRaftLog {
  readonly failures: Error[];
  readonly clock: ManualClock;
}

/** @param seed Of the salts of its files; another one each time by default. */
export async function openLog(
  disk: Disk,
  options: Partial<RaftLogOptions> = {},
  seed = (opening += 1),
): Promise<OpenLog> {
  const failures: Error[] = [];
  const clock = manualClock();
  const random = randomFrom(seed);
  const ports = { disk, clock, random };
  const opened = await RaftLog.open(ports, { ...smallFiles, ...options }, (error) => {
    failures.push(error);
  });
  return { ...opened, failures, clock };
}

/** A records entry with a text in it. */
export function entry(index: number, term: number, text = `entry ${String(index)}`) {
  return { index, term, frame: frameWith(frameKinds.records, index, term, text) };
}

export function configurationEntry(index: number, term: number, text: string) {
  return { index, term, frame: frameWith(frameKinds.configuration, index, term, text) };
}

function frameWith(kind: FrameKind, key: number, term: number, text: string): Buffer {
  return controlFrame(kind, { key, term }, Buffer.from(text));
}

/** Entries `from` to `to` of a term. */
export function entries(from: number, to: number, term: number) {
  return Array.from({ length: to - from + 1 }, (_, at) => entry(from + at, term));
}

/** Resolves when durable; never after a failure. */
export async function append(log: RaftLog, what: RaftLogAppend): Promise<void> {
  await new Promise<void>((resolve) => {
    log.append(what, resolve);
  });
}

/** `index/term text` of each entry that is held. */
export async function contents(log: RaftLog): Promise<string[]> {
  const held: string[] = [];
  for (let index = log.places.firstIndex; index <= log.places.lastIndex;) {
    const frames = await log.read(index, 4096);
    if (frames.length === 0) throw new Error(`entry ${String(index)} can't be read`);
    for (const frame of frames) {
      held.push(textOf(frame));
      index += 1;
    }
  }
  return held;
}

export function textOf(frame: Buffer): string {
  const header = readHeader(frame, 0);
  if (header === undefined) return "damaged";
  const body = frameBody(frame, 0, header).toString();
  return `${String(header.key)}/${String(header.term)} ${body}`;
}

/** What the frames of a journal add up to. */
export class JournalModel {
  hardState: StoredHardState = { term: 0, vote: "" };
  entries: string[] = [];
  #firstIndex = 1;

  /** The steps of an append, in the order in which they become durable. */
  static steps(what: RaftLogAppend): ((model: JournalModel) => void)[] {
    const { hardState, truncateFrom, frames } = what;
    const steps: ((model: JournalModel) => void)[] = [];
    if (hardState !== undefined) {
      steps.push((model) => {
        model.hardState = hardState;
      });
    }
    if (truncateFrom !== undefined) {
      steps.push((model) => {
        model.entries.length = Math.max(0, truncateFrom - model.#firstIndex);
      });
    }
    for (const { index, frame } of frames) {
      const text = textOf(frame);
      steps.push((model) => {
        if (model.entries.length === 0) model.#firstIndex = index;
        model.entries.length = index - model.#firstIndex;
        model.entries.push(text);
      });
    }
    return steps;
  }

  get firstIndex(): number {
    return this.#firstIndex;
  }

  get lastIndex(): number {
    return this.#firstIndex + this.entries.length - 1;
  }

  /** Hard state and entries from an index on, as one text to compare. */
  textFrom(index: number): string {
    const { term, vote } = this.hardState;
    const held = this.entries.slice(Math.max(0, index - this.#firstIndex));
    return [`${String(term)} for ${vote}`, ...held].join("\n");
  }
}
