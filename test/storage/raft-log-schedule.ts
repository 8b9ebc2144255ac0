/**
 * Random schedules for a Raft log on a disk that loses its power: one seed decides what is
 * appended, cut and given up, when the power fails and what that leaves, and where the disk rots.
 *
 * A run is a row of lives of one log. Each ends in a crash between two disk calls, or in the midst
 * of one; the next must find what was acknowledged, in the state that some prefix of what was
 * asked for leads to, with the configurations in force there. Rot in what a later write proves to
 * have been durable must be found and named, and never be taken for the end of the log.
 */
import { randomInteger } from "../../src/common/random.js";
import { DamageError } from "../../src/storage/damage.js";
import { raftFileHeaderBytes } from "../../src/storage/raft-file.js";
import type { RaftLog, RaftLogAppend } from "../../src/storage/raft-log.js";
import type { CrashMode, SimulatedDisk } from "../../src/testing/simulated-disk.js";
import { provenBytes } from "../simulation/durable-image.js";
import {
  JournalModel,
  append,
  configurationEntry,
  contents,
  entry,
  openLog,
} from "./raft-log-bench.js";
import type { OpenLog } from "./raft-log-bench.js";
import { randomFrom, settled, unevenDisk } from "./simulated.js";

/** What a run of a seed found; the message begins with the rule that is broken. */
export class ScheduleError extends Error {}

interface Issued {
  readonly steps: ((model: JournalModel) => void)[];
  isAcked: boolean;
}

const crashModes: readonly CrashMode[] = ["kill", "lose-unsynced", "keep-some", "tear", "tear"];

export class RaftLogSchedule {
  readonly #random: ReturnType<typeof randomFrom>;
  #disk: SimulatedDisk;
  /** What is surely held, as of the last start. */
  #model = new JournalModel();
  /** Asked for since, in order. */
  #issued: Issued[] = [];
  #term = 0;
  /** Frames are of one size: then what a torn write left fits behind what is written over it. */
  readonly #isUniform: boolean;
  /** Lives so far. */
  lives = 0;

  constructor(seed: number) {
    this.#random = randomFrom(seed);
    this.#disk = unevenDisk(seed);
    this.#isUniform = this.#random.next() < 0.5;
  }

  #pick(countMax: number): number {
    return randomInteger(this.#random, countMax);
  }

  /** Runs so many lives. @throws ScheduleError */
  async run(lives: number): Promise<void> {
    for (; this.lives < lives; this.lives += 1) {
      const opened = await this.#open();
      await this.#compare(opened);
      const isCutOff = this.#random.next() < 0.8;
      if (isCutOff) this.#hangAfter(this.#pick(40));
      void this.#work(opened.log, isCutOff);
      await settled(3);
      this.#disk = this.#disk.crash(crashModes[this.#pick(crashModes.length)] ?? "kill");
      this.#disk.onCall = undefined;
      if (this.#random.next() < 0.3) await this.#rot();
    }
  }

  #hangAfter(calls: number): void {
    const last = this.#disk.callCount + calls;
    this.#disk.onCall = (call) => ({ hangs: call.ordinal >= last });
  }

  async #openOn(disk: SimulatedDisk): Promise<OpenLog> {
    return openLog(disk, { fileBytes: 8192 }, this.#pick(1_000_000));
  }

  async #open(): Promise<OpenLog> {
    try {
      return await this.#openOn(this.#disk);
    } catch (error) {
      throw new ScheduleError(`R-D3: does not start: ${(error as Error).message}`);
    }
  }

  /** What is found must be what some prefix of what was asked for leads to, all acks included. */
  async #compare({ log, hardState, configurations }: OpenLog): Promise<void> {
    const found = await contents(log);
    const { firstIndex } = log.places;
    const held = [`${String(hardState.term)} for ${hardState.vote}`, ...found].join("\n");
    const acked = this.#issued.filter((item) => item.isAcked).length;
    const states: string[] = [];
    let isHeld = false;
    const look = (): void => {
      const state = this.#model.textFrom(firstIndex);
      states.push(state);
      isHeld = state === held;
    };
    for (const { steps } of this.#issued.slice(0, acked))
      for (const step of steps) step(this.#model);
    look();
    for (const step of this.#issued.slice(acked).flatMap(({ steps }) => steps)) {
      if (isHeld) break;
      step(this.#model);
      look();
    }
    if (!isHeld) {
      throw new ScheduleError(
        `I10: what is found was never the state:\n${held}\nbut\n${states[0] ?? ""}`,
      );
    }
    this.#issued = [];
    const inForce = found.filter((text) => text.endsWith("configuration"));
    const known = configurations.filter(({ index }) => index >= firstIndex);
    if (known.map(({ body }) => body.toString()).join() !== inForce.map(bodyOf).join()) {
      throw new ScheduleError(
        `I11: ${String(known.length)} configurations, not ${String(inForce.length)}`,
      );
    }
  }

  async #work(log: RaftLog, isCutOff: boolean): Promise<void> {
    const model = new JournalModel();
    // The model of what will be: what is held now and all that is asked for from here on.
    for (const item of this.#replayOfHeld()) item(model);
    let durable = model.lastIndex;
    for (let round = 0; round < 12; round += 1) {
      const waiting: Promise<void>[] = [];
      for (let many = this.#pick(3); many >= 0; many -= 1) {
        const what = this.#nextAppend(model);
        const item: Issued = { steps: JournalModel.steps(what), isAcked: false };
        for (const step of item.steps) step(model);
        this.#issued.push(item);
        waiting.push(
          append(log, what).then(() => {
            item.isAcked = true;
          }),
        );
      }
      if (this.#random.next() < 0.7) {
        await Promise.all(waiting);
        durable = model.lastIndex;
      }
      // Only what is committed, and so durable, is ever given up, and that is never cut.
      if (this.#random.next() < 0.3) log.truncatePrefix(durable - 20 - this.#pick(30));
    }
    if (!isCutOff && this.#random.next() < 0.5) await log.close();
  }

  #replayOfHeld(): ((model: JournalModel) => void)[] {
    const { hardState, firstIndex, lastIndex } = this.#model;
    const frames = Array.from({ length: lastIndex - firstIndex + 1 }, (_, at) =>
      entry(firstIndex + at, 1),
    );
    return JournalModel.steps({ hardState, frames });
  }

  #nextAppend(model: JournalModel): RaftLogAppend {
    this.#term += 1;
    const term = this.#term;
    const hardState = { term, vote: `node ${String(term)}` };
    const { lastIndex } = model;
    const dice = this.#random.next();
    if (dice < 0.2) return { hardState, frames: [] };
    const isCut = dice < 0.4 && lastIndex > 6;
    const from = isCut ? lastIndex - this.#pick(3) : lastIndex + 1;
    const text = "x".repeat(this.#isUniform || this.#random.next() < 0.5 ? 200 : this.#pick(900));
    const frames = Array.from({ length: 1 + this.#pick(8) }, (_, at) =>
      this.#random.next() < 0.1
        ? configurationEntry(from + at, term, `${String(term)} configuration`)
        : entry(from + at, term, `${text} ${String(term)}`),
    );
    const cut = isCut ? { truncateFrom: from } : {};
    return dice < 0.7 ? { ...cut, frames } : { hardState, ...cut, frames };
  }

  /** Flips a bit of what was surely durable: a start must name it. The bit is put right again. */
  async #rot(): Promise<void> {
    const names = (await this.#disk.list("raft")).filter((name) => name.endsWith(".raft")).sort();
    const path = `raft/${names[this.#pick(names.length)] ?? ""}`;
    const proven = provenBytes(this.#disk.durableBytes(path) ?? Buffer.alloc(0));
    if (proven <= raftFileHeaderBytes) return;
    const position = raftFileHeaderBytes + this.#pick(proven - raftFileHeaderBytes);
    const bit = this.#pick(8);
    const before = await this.#imageOf();
    const fork = this.#disk.fork("lose-unsynced");
    fork.corrupt(path, position, bit);
    let after: string;
    try {
      after = await imageOf(await this.#openOn(fork));
    } catch (error) {
      if (error instanceof DamageError) return;
      throw error;
    }
    // What pads a frame, or was given up, may rot unseen.
    if (after === before) return;
    throw new ScheduleError(
      `R-D4: a bit of ${path} at ${String(position)} rots, and nobody says so`,
    );
  }

  async #imageOf(): Promise<string> {
    return imageOf(await this.#openOn(this.#disk.fork("lose-unsynced")));
  }
}

async function imageOf({ log, hardState }: OpenLog): Promise<string> {
  return [`${String(hardState.term)} ${hardState.vote}`, ...(await contents(log))].join("\n");
}

function bodyOf(text: string): string {
  return text.slice(text.indexOf(" ") + 1);
}
