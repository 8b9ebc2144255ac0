/**
 * Many seeds, spread over child processes, one seed at a time each.
 */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";

import type { SeedResult } from "./summary.js";
import { Summary } from "./summary.js";

const program = join(import.meta.dirname, "sim.ts");

/** One run to be made. */
export interface SeedRun {
  readonly seed: number;
  readonly steps: number;
  readonly nodeCount?: number | undefined;
}

/** The command that replays a run. */
export function replayCommand({ seed, steps, nodeCount }: SeedRun): string {
  const nodes = nodeCount === undefined ? "" : ` --nodes ${nodeCount}`;
  return `npm run sim -- --seed ${seed} --steps ${steps}${nodes}`;
}

/** Makes the runs; `onResult` hears of each as it ends. */
export async function runMany(
  runs: readonly SeedRun[],
  jobs: number,
  onResult: (result: SeedResult) => void = () => undefined,
): Promise<Summary> {
  const summary = new Summary();
  const waiting = [...runs];
  const work = async (): Promise<void> => {
    const execArgv = ["--import", "tsx"];
    const child = fork(program, ["--child"], { execArgv });
    try {
      for (let run = waiting.shift(); run !== undefined; run = waiting.shift()) {
        const result = await answerOf(child, run);
        summary.add(result);
        onResult(result);
      }
    } finally {
      child.kill();
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, runs.length) }, work));
  return summary;
}

async function answerOf(child: ChildProcess, run: SeedRun): Promise<SeedResult> {
  return new Promise((resolve, reject) => {
    const ended = (): void => {
      reject(new Error(`the process ended in a run; replay it: ${replayCommand(run)}`));
    };
    child.once("exit", ended);
    child.once("message", (result: SeedResult) => {
      child.removeListener("exit", ended);
      resolve(result);
    });
    child.send(run);
  });
}
