/**
 * Random schedules with every fault the core must bear; safety after every step, progress at the
 * end.
 *
 * `RAFT_SEED=42 npx vitest run test/raft/simulation.test.ts` replays one seed and prints what
 * happened; `RAFT_SEED_COUNT` and `RAFT_STEP_COUNT` make the runs longer.
 */
import { describe, expect, test } from "vitest";

import type { Tally } from "./simulation.js";
import { Simulation } from "./simulation.js";

const only = process.env["RAFT_SEED"];
const seedCount = Number(process.env["RAFT_SEED_COUNT"] ?? 200);
const stepCount = Number(process.env["RAFT_STEP_COUNT"] ?? 2000);
const linesMax = 60;

/** Runs one seed; a failure says how to see it again. */
function runSeed(seed: number): Tally {
  const lines: string[] = [];
  const isAlone = only !== undefined;
  const simulation = new Simulation(seed, isAlone ? (line) => lines.push(line) : undefined);
  try {
    simulation.run(stepCount);
    simulation.settle();
    return simulation.tally;
  } catch (error) {
    const replay = `RAFT_SEED=${seed} npx vitest run test/raft/simulation.test.ts`;
    const tail = lines.slice(-linesMax).join("\n");
    throw new Error(`seed ${seed}: ${String(error)}\nreplay: ${replay}\n${tail}`, {
      cause: error,
    });
  }
}

describe("a cluster under random faults", () => {
  const seeds =
    only === undefined ? Array.from({ length: seedCount }, (_, seed) => seed + 1) : [Number(only)];
  const total: Tally = {
    ...{ elections: 0, committed: 0, reads: 0, snapshots: 0, changes: 0, transfers: 0 },
    crashes: 0,
  };

  test("is safe at every step and agrees once it is healed", { timeout: 600_000 }, () => {
    for (const seed of seeds) {
      const tally = runSeed(seed);
      for (const key of Object.keys(total) as (keyof Tally)[]) total[key] += tally[key];
    }
  });

  test.runIf(only === undefined)("went through everything it is meant to", () => {
    for (const [what, count] of Object.entries(total)) {
      expect([what, count]).toEqual([what, expect.toSatisfy((n: number) => n > seedCount / 10)]);
    }
  });

  test("is the same run for the same seed", () => {
    const once = (): string => {
      const lines: string[] = [];
      const simulation = new Simulation(7, (line) => lines.push(line));
      try {
        simulation.run(500);
      } catch (error) {
        lines.push(String(error));
      }
      return lines.join("\n");
    };
    expect(once()).toBe(once());
  });
});
