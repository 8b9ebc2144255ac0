/**
 * Plants every mutant in turn and runs the simulator on it until a seed sees it; then runs the
 * code as it is on all those seeds, and more, which must all be clean.
 *
 * A mutant is given its seed of last time first (kills.json), then seeds from 1 on, for so many
 * seconds. Ends with 1 if a mutant survives, or the code as it is does not.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { planOf } from "../simulation/plan.js";
import { blindSpots } from "./blind-spots.js";
import { mutants } from "./mutants.js";
import { editsOf } from "./mutant.js";
import type { Edit, Mutant } from "./mutant.js";
import { tableOf, withTable } from "./table.js";
import type { Kill } from "./table.js";
import { Workshop } from "./workshop.js";
import type { Trial } from "./workshop.js";

const help = `Usage: npm run test:mutants -- [options]

  --only A,B       mutants whose names contain one of these
  --seeds A..B     seeds after the one of last time (default 1..500)
  --steps K        steps of a run (default 20000)
  --seconds S      how long a mutant is sought (default 60)
  --jobs N         processes (default one for each processor)
  --blind          those that no seed has shown yet, instead
  --cold           forgets the seeds of last time
  --write          writes the table to docs/testing.md, and the seeds for the next time
`;

const { values: options } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    seeds: { type: "string", default: "1..500" },
    steps: { type: "string", default: "20000" },
    seconds: { type: "string", default: "60" },
    jobs: { type: "string", default: String(availableParallelism()) },
    blind: { type: "boolean", default: false },
    cold: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const killsPath = join(import.meta.dirname, "kills.json");
const docsPath = join(import.meta.dirname, "../../docs/testing.md");
const steps = Number(options.steps);
const [seedFrom = 1, seedTo = 500] = options.seeds.split("..").map(Number);

type Known = Readonly<Record<string, Trial>>;

function knownKills(): Known {
  return JSON.parse(readFileSync(killsPath, "utf8")) as Known;
}

/** Smaller arenas, and what is sought in them too: their runs cost a fraction of one of nodes. */
const arenas = {
  cores: { runsAtATime: 150, steps: 4000, isOf: (file: string) => file.startsWith("src/raft/") },
  "raft-log": {
    runsAtATime: 10,
    steps: 30,
    isOf: (file: string) => file.startsWith("src/storage/raft-"),
  },
} as const;

/**
 * The seed of last time, then storms and others by turns: most mutants show in storms. Between them
 * bugs of the core are sought on cores alone, and those of the Raft log on a log alone: what takes
 * a rare order of many events is found there a hundred times as fast.
 */
function* trialsFor(hint: Trial | undefined, file = ""): Generator<Trial, void, undefined> {
  if (hint !== undefined && !options.cold) yield hint;
  const arena = (["cores", "raft-log"] as const).find((name) => arenas[name].isOf(file));
  let arenaSeed = seedFrom;
  const all = Array.from({ length: seedTo - seedFrom + 1 }, (_, at) => seedFrom + at);
  const isStorm = (seed: number): boolean => planOf(seed).faults.has("usurpers");
  const storms = all.filter(isStorm);
  const others = all.filter((seed) => !isStorm(seed));
  for (let at = 0; at < others.length; at += 1) {
    for (const seed of [storms[at], others[at]]) {
      if (seed !== undefined) yield { arena: "nodes", seed, steps };
    }
    if (arena === undefined) continue;
    const { runsAtATime, steps: arenaSteps } = arenas[arena];
    for (let run = 0; run < runsAtATime; run += 1) {
      yield { arena, seed: arenaSeed, steps: arenaSteps };
      arenaSeed += 1;
    }
  }
}

/** Runs seeds until one sees the mutant or the time is up. */
async function hunt(workshop: Workshop, mutant: Mutant, hint: Trial | undefined): Promise<Kill> {
  try {
    workshop.plant(editsOf(mutant));
  } catch (error) {
    process.stdout.write(`${mutant.name} does not apply: ${(error as Error).message}\n`);
    return { mutant, runs: 0, seconds: 0 };
  }
  const startMs = performance.now();
  const secondsSoFar = (): number => (performance.now() - startMs) / 1000;
  let runs = 0;
  for (const trial of trialsFor(hint, mutant.file)) {
    if (secondsSoFar() > Number(options.seconds)) break;
    const result = await workshop.run(trial);
    runs += 1;
    if (result?.invariant === undefined) continue;
    if (mutant.tuning !== undefined && !(await isClean(workshop, mutant.tuning, trial))) {
      workshop.plant(editsOf(mutant));
      continue;
    }
    const { invariant, message = "" } = result;
    const found = { invariant, message, stepCount: result.steps };
    return { mutant, runs, seconds: secondsSoFar(), trial, ...found };
  }
  return { mutant, runs, seconds: secondsSoFar() };
}

/** True if the code as it is, but for other limits, passes. */
async function isClean(
  workshop: Workshop,
  tuning: readonly Edit[],
  trial: Trial,
): Promise<boolean> {
  workshop.plant(tuning);
  const result = await workshop.run(trial);
  if (result !== undefined && result.invariant === undefined) return true;
  process.stdout.write(`seed ${trial.seed}: fails without the mutant: ${short(result?.message)}\n`);
  return false;
}

function say(kill: Kill): void {
  const { mutant, runs, seconds, trial, invariant, stepCount, message } = kill;
  const cost = `${runs} runs, ${seconds.toFixed(0)} s`;
  const what =
    trial === undefined
      ? "SURVIVES"
      : `${trial.arena}, seed ${trial.seed}, step ${stepCount ?? 0}: ${invariant ?? ""} (${short(message)})`;
  process.stdout.write(`${mutant.rule} ${mutant.name}: ${what}; ${cost}\n`);
}

function short(message: string | undefined): string {
  return (message ?? "").split("\n", 1)[0]?.slice(0, 160) ?? "";
}

/** All mutants, each by the next workshop that is free. */
async function huntAll(workshops: readonly Workshop[]): Promise<Kill[]> {
  const known = knownKills();
  const wanted = options.only.split(",");
  const sought = options.blind ? blindSpots : mutants;
  const chosen = sought.filter(({ name }) => wanted.some((part) => name.includes(part)));
  const kills = new Map<Mutant, Kill>();
  const waiting = [...chosen];
  const work = async (workshop: Workshop): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const kill = await hunt(workshop, next, known[next.name]);
      kills.set(next, kill);
      say(kill);
      if (options.write) keepSeeds([kill]);
    }
  };
  await Promise.all(workshops.map(work));
  return chosen.flatMap((mutant) => kills.get(mutant) ?? []);
}

/** The code as it is, on every seed that saw a mutant and as many more as the time allows. */
async function tryUnmutated(
  workshops: readonly Workshop[],
  kills: readonly Kill[],
): Promise<string[]> {
  const failures: string[] = [];
  const seen = new Set<string>();
  const keyOf = ({ arena, seed, steps: count }: Trial): string => `${arena} ${seed} ${count}`;
  const must = kills.flatMap(({ trial }) => trial ?? []);
  const trials = [...must, ...trialsFor(undefined)].filter((trial) => {
    const isNew = !seen.has(keyOf(trial));
    seen.add(keyOf(trial));
    return isNew;
  });
  const mustCount = new Set(must.map(keyOf)).size;
  const startMs = performance.now();
  let runs = 0;
  const work = async (workshop: Workshop): Promise<void> => {
    workshop.plant([]);
    for (let trial = trials.shift(); trial !== undefined; trial = trials.shift()) {
      const isUp = performance.now() - startMs > Number(options.seconds) * 1000;
      if (isUp && runs >= mustCount) return;
      runs += 1;
      const result = await workshop.run(trial);
      if (result !== undefined && result.invariant === undefined) continue;
      const what = result === undefined ? "does not end" : short(result.message);
      failures.push(`seed ${trial.seed}: ${result?.invariant ?? ""} ${what}`);
    }
  };
  await Promise.all(workshops.map(work));
  process.stdout.write(`the code as it is: ${runs} runs, ${failures.length} failed\n`);
  for (const failure of failures) process.stdout.write(`  ${failure}\n`);
  return failures;
}

/** Keeps the seeds for the next time; those of mutants that are no more are dropped. */
function keepSeeds(kills: readonly Kill[]): void {
  const known: Record<string, Trial> = { ...knownKills() };
  for (const { mutant, trial } of kills) if (trial !== undefined) known[mutant.name] = trial;
  const current = [...mutants, ...blindSpots].flatMap(({ name }) => {
    const trial = known[name];
    return trial === undefined ? [] : [[name, trial] as const];
  });
  writeFileSync(killsPath, `${JSON.stringify(Object.fromEntries(current), null, 2)}\n`);
}

async function main(): Promise<number> {
  if (options.help) {
    process.stdout.write(help);
    return 0;
  }
  const workshops = Array.from({ length: Number(options.jobs) }, () => new Workshop());
  const close = (): void => {
    for (const workshop of workshops) workshop.close();
  };
  process.once("exit", close);
  process.once("SIGINT", () => process.exit(130));
  process.once("SIGTERM", () => process.exit(143));
  const kills = await huntAll(workshops);
  const survivors = kills.filter(({ trial }) => trial === undefined);
  const failures = await tryUnmutated(workshops, kills);
  close();
  const killed = kills.length - survivors.length;
  process.stdout.write(`\n${tableOf(kills)}\n\n${killed} of ${kills.length} mutants killed\n`);
  for (const { mutant } of survivors) process.stdout.write(`survives: ${mutant.name}\n`);
  if (options.write && kills.length === mutants.length) {
    writeFileSync(docsPath, withTable(readFileSync(docsPath, "utf8"), tableOf(kills)));
  }
  return survivors.length + failures.length === 0 ? 0 : 1;
}

process.exitCode = await main();
