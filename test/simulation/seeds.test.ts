/**
 * The simulator's share of `npm test`: all kept seeds and a range of others, over all processors;
 * and that a run depends on nothing but its seed.
 */
import { execFile } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { expect, test } from "vitest";

import { keptSeeds } from "./kept-seeds.js";
import { runMany } from "./many.js";
import type { SeedRun } from "./many.js";

const seedCount = Number(process.env["PROGLOG_SIM_SEEDS"] ?? 200);
const steps = 20_000;

async function expectClean(runs: readonly SeedRun[]): Promise<string> {
  const failures: string[] = [];
  const summary = await runMany(runs, availableParallelism(), ({ failure }) => {
    if (failure !== undefined) failures.push(failure);
  });
  expect(failures.join("\n\n")).toBe("");
  return summary.text();
}

test("the seeds that once found a bug run clean", async () => {
  await expectClean(keptSeeds);
});

test(`seeds 1 to ${seedCount} run clean, ${steps} steps of faults each`, async () => {
  const runs = Array.from({ length: seedCount }, (_, at) => ({ seed: at + 1, steps }));
  const summary = await expectClean(runs);
  process.stdout.write(`${summary}\n`);
});

test("a seed gives the same trace in another process, in another time zone", async () => {
  const hashIn = async (zone: string): Promise<string | undefined> => {
    const args = ["--import", "tsx", join(import.meta.dirname, "sim.ts")];
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [...args, "--seed", "4", "--steps", "4000"],
      { env: { ...process.env, TZ: zone } },
    );
    return /trace hash (\w+)/.exec(stdout)?.[1];
  };
  const [here, there] = await Promise.all([hashIn("UTC"), hashIn("Pacific/Chatham")]);
  expect(here).toMatch(/^[0-9a-f]{8}$/);
  expect(there).toBe(here);
});
