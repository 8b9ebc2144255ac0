/**
 * `npm run sim`: runs seeds of the simulator, one in detail or many at a time.
 *
 * Many are spread over child processes, one seed at a time each; a failure prints what broke, the
 * last events around it, and the command that replays it. The exit code is 1 if anything failed.
 */
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";

import type { RunReport } from "./run.js";
import { runSeed } from "./run.js";
import { htmlOf } from "./html.js";
import type { SeedRun } from "./many.js";
import { replayCommand, runMany } from "./many.js";
import type { SeedResult } from "./summary.js";
import { Summary, resultOf } from "./summary.js";
import { formatEvent } from "./trace.js";

const help = `npm run sim -- [options]
  --seed N         one seed, with its last events
  --seeds A..B     all seeds from A to B
  --steps K        steps of the faulty phase (default 5000)
  --nodes N        3, 5 or 7 nodes; else the seed decides
  --until STEP     stop after this step, before anything is healed
  --events N       how many of the last events are printed (default 60 of a failure)
  --html FILE      write the run of --seed as a page
  --jobs N         processes (default one for each processor)
`;

const { values: options } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string" },
    steps: { type: "string", default: "5000" },
    nodes: { type: "string" },
    until: { type: "string" },
    events: { type: "string" },
    html: { type: "string" },
    jobs: { type: "string" },
    child: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const steps = wholeNumber("steps", options.steps);
const nodeCount = options.nodes === undefined ? undefined : wholeNumber("nodes", options.nodes);

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name} is a whole number`);
  return value;
}

function runOf(seed: number): SeedRun {
  return { seed, steps, nodeCount };
}

async function run({ seed, steps, nodeCount }: SeedRun, keepEvents: number): Promise<RunReport> {
  return runSeed({
    seed,
    steps,
    keepEvents,
    isRecorded: options.html !== undefined,
    ...(nodeCount === undefined ? {} : { nodeCount }),
    ...(options.until === undefined ? {} : { until: wholeNumber("until", options.until) }),
  });
}

/** What went wrong, in the words of somebody who has to find out why. */
function failureText(run: SeedRun, report: RunReport, eventCount: number): string {
  const { violation, plan, steps: step } = report;
  const lines = report.events.slice(-eventCount).map(formatEvent);
  lines.push(
    "",
    `seed ${plan.seed}, step ${step}: ${violation?.invariant ?? "no violation"}`,
    violation?.message ?? "",
    `${plan.nodeCount} nodes; faults: ${[...plan.faults].join(", ")}`,
    `replay: ${replayCommand(run)}`,
  );
  return lines.join("\n");
}

async function runOne(seed: number): Promise<boolean> {
  const eventCount = wholeNumber("events", options.events ?? "60");
  const report = await run(runOf(seed), options.html === undefined ? eventCount : Infinity);
  const hasFailed = report.violation !== undefined;
  if (hasFailed || options.events !== undefined) {
    process.stdout.write(`${failureText(runOf(seed), report, eventCount)}\n`);
  }
  if (options.html !== undefined) {
    writeFileSync(options.html, htmlOf(report, { replay: replayCommand(runOf(seed)) }));
  }
  const summary = new Summary();
  summary.add(resultOf(report));
  process.stdout.write(`${summary.text()}\ntrace hash ${report.hash}\n`);
  return !hasFailed;
}

/** A child: runs the seeds that it is sent, one at a time, and says how each went. */
function serve(): void {
  process.on("message", (asked: SeedRun) => {
    run(asked, 60).then(
      (report) => {
        const failure = report.violation === undefined ? undefined : failureText(asked, report, 60);
        const result: SeedResult = { ...resultOf(report), failure };
        process.send?.(result);
      },
      (error: unknown) => {
        process.stderr.write(`seed ${asked.seed}: ${String((error as Error).stack)}\n`);
        process.exit(1);
      },
    );
  });
}

async function runRange(from: number, to: number): Promise<boolean> {
  const jobs = options.jobs === undefined ? availableParallelism() : Number(options.jobs);
  const runs = Array.from({ length: to - from + 1 }, (_, at) => runOf(from + at));
  const startMs = performance.now();
  const summary = await runMany(runs, jobs, ({ failure }) => {
    if (failure !== undefined) process.stdout.write(`\n${failure}\n`);
  });
  const seconds = (performance.now() - startMs) / 1000;
  process.stdout.write(`${summary.text()}\n`);
  const rate = Math.round(summary.steps / seconds);
  process.stdout.write(`${seconds.toFixed(0)} s, ${rate} steps/s over ${jobs} processes\n`);
  return summary.failureCount === 0;
}

async function main(): Promise<boolean> {
  if (options.help || (options.seed === undefined && options.seeds === undefined)) {
    process.stdout.write(help);
    return true;
  }
  if (options.seed !== undefined) return runOne(wholeNumber("seed", options.seed));
  const [from = "", to = from] = (options.seeds ?? "").split("..");
  return runRange(wholeNumber("seeds", from), wholeNumber("seeds", to));
}

if (options.child) serve();
else process.exitCode = (await main()) ? 0 : 1;
