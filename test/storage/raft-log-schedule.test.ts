/**
 * Random schedules for a Raft log (raft-log-schedule.ts).
 *
 * `RAFT_LOG_SEED=42 npx vitest run test/storage/raft-log-schedule.test.ts` replays one seed.
 */
import { expect, test } from "vitest";

import { RaftLogSchedule } from "./raft-log-schedule.js";

const only = process.env["RAFT_LOG_SEED"];
const seedCount = Number(process.env["RAFT_LOG_SEED_COUNT"] ?? 60);
const seeds =
  only === undefined ? Array.from({ length: seedCount }, (_, at) => at + 1) : [Number(only)];

test("finds what it acknowledged after every crash, and names what rots", async () => {
  for (const seed of seeds) {
    const schedule = new RaftLogSchedule(seed);
    await schedule.run(30).catch((error: unknown) => {
      const replay = `RAFT_LOG_SEED=${seed} npx vitest run test/storage/raft-log-schedule.test.ts`;
      const what = `seed ${seed}, life ${schedule.lives}: ${String(error)}`;
      throw new Error(`${what}\nreplay: ${replay}`, { cause: error });
    });
    expect(schedule.lives).toBe(30);
  }
}, 120_000);
