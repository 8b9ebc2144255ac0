/**
 * A process in a copy of the tree: runs the seeds that it is sent, one at a time, and says what
 * each came to. What a run throws itself counts as found too: the code under it has gone wrong.
 */
import { runSeed } from "../simulation/run.js";
import type { Trial, TrialResult } from "./workshop.js";

async function attempt({ seed, steps }: Trial): Promise<TrialResult> {
  try {
    const report = await runSeed({ seed, steps, keepEvents: 0 });
    const { invariant, message } = report.violation ?? {};
    return { steps: report.steps, invariant, message };
  } catch (error) {
    return { steps: 0, invariant: "crash", message: String((error as Error).stack) };
  }
}

process.on("message", (trial: Trial) => {
  void attempt(trial).then((result) => process.send?.(result));
});
