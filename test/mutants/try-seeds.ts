/**
 * A process in a copy of the tree: runs the seeds that it is sent, one at a time, and says what
 * each came to. What a run throws itself counts as found too: the code under it has gone wrong.
 */
import { Simulation as CoreSimulation } from "../raft/simulation.js";
import { runSeed } from "../simulation/run.js";
import { RaftLogSchedule } from "../storage/raft-log-schedule.js";
import type { Trial, TrialResult } from "./workshop.js";

/** A random schedule of cores alone; what its checker finds begins with the invariant's name. */
function attemptCores({ seed, steps }: Trial): TrialResult {
  let done = 0;
  try {
    const simulation = new CoreSimulation(seed);
    for (; done < steps; done += 1) simulation.run(1);
    simulation.settle();
    return { steps };
  } catch (error) {
    const { message } = error as Error;
    const invariant = /^(I\d+):/.exec(message)?.[1];
    const isUnsettled = message.startsWith("no agreement");
    return { steps: done, invariant: invariant ?? (isUnsettled ? "rest" : "assertion"), message };
  }
}

/** A row of lives of a Raft log; what is found begins with the rule or the invariant. */
async function attemptRaftLog({ seed, steps }: Trial): Promise<TrialResult> {
  const schedule = new RaftLogSchedule(seed);
  try {
    await schedule.run(steps);
    return { steps };
  } catch (error) {
    const { message } = error as Error;
    const invariant = /^([IR]-?\w+):/.exec(message)?.[1] ?? "assertion";
    return { steps: schedule.lives, invariant, message };
  }
}

async function attempt(trial: Trial): Promise<TrialResult> {
  if (trial.arena === "cores") return attemptCores(trial);
  if (trial.arena === "raft-log") return attemptRaftLog(trial);
  const { seed, steps } = trial;
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
