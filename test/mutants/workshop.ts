/**
 * A copy of the tree in which one mutant at a time is planted, and the process that runs seeds
 * there. The tree itself is never touched.
 */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import type { Edit } from "./mutant.js";

const root = join(import.meta.dirname, "../..");
const copied = [
  "src",
  "test/simulation",
  "test/history",
  "test/raft",
  "test/storage",
  "test/mutants/try-seeds.ts",
  "tsconfig.json",
  "package.json",
];

/** A seed that slow hangs, or as good as: it says nothing. */
const seedSecondsMax = 60;

/**
 * Where a seed is run: on whole nodes (test/simulation), on cores alone (test/raft/simulation.ts),
 * or on a Raft log and its disk (test/storage/raft-log-schedule.ts).
 */
export type Arena = "nodes" | "cores" | "raft-log";

export interface Trial {
  readonly arena: Arena;
  readonly seed: number;
  readonly steps: number;
}

/** What a run of a seed came to. */
export interface TrialResult {
  /** Steps until the violation, or in all. */
  readonly steps: number;
  /** What was broken; undefined if nothing was. */
  readonly invariant?: string | undefined;
  readonly message?: string | undefined;
}

export class Workshop {
  readonly #directory: string;
  /** Files that differ from the tree now, with the text they have there. */
  readonly #changed = new Map<string, string>();
  #child: ChildProcess | undefined;

  constructor() {
    this.#directory = mkdtempSync(join(tmpdir(), "proglog-mutants-"));
    for (const path of copied) {
      const target = join(this.#directory, path);
      mkdirSync(dirname(target), { recursive: true });
      cpSync(join(root, path), target, { recursive: true });
    }
    symlinkSync(join(root, "node_modules"), join(this.#directory, "node_modules"));
  }

  /** Makes these edits in the place of those before; none: the code as it is. */
  plant(edits: readonly Edit[]): void {
    this.#end();
    for (const [file, text] of this.#changed) writeFileSync(join(this.#directory, file), text);
    this.#changed.clear();
    for (const edit of edits) this.#apply(edit);
  }

  #apply(edit: Edit): void {
    const path = join(this.#directory, edit.file);
    const text = readFileSync(path, "utf8");
    if (!this.#changed.has(edit.file)) this.#changed.set(edit.file, text);
    const parts = text.split(edit.find);
    if (parts.length !== 2) {
      throw new Error(`${edit.file} has the text ${parts.length - 1} times:\n${edit.find}`);
    }
    writeFileSync(path, parts.join(edit.replace));
  }

  /** Runs a seed on what is planted. @returns undefined if it did not end in time. */
  async run(trial: Trial): Promise<TrialResult | undefined> {
    const child = this.#process();
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined = undefined;
      const finish = (result: TrialResult | undefined): void => {
        clearTimeout(timer);
        child.off("message", finish);
        child.off("exit", onExit);
        resolve(result);
      };
      const onExit = (code: number | null): void => {
        this.#child = undefined;
        finish({ steps: 0, invariant: "crash", message: `the process ended with ${code ?? "-"}` });
      };
      timer = setTimeout(() => {
        this.#end();
        finish(undefined);
      }, seedSecondsMax * 1000);
      child.on("message", finish);
      child.on("exit", onExit);
      child.send(trial);
    });
  }

  #process(): ChildProcess {
    this.#child ??= fork(join(this.#directory, "test/mutants/try-seeds.ts"), {
      cwd: this.#directory,
      execArgv: ["--import", "tsx"],
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    return this.#child;
  }

  #end(): void {
    this.#child?.removeAllListeners();
    this.#child?.kill("SIGKILL");
    this.#child = undefined;
  }

  /** Ends the process and removes the copy. */
  close(): void {
    this.#end();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
