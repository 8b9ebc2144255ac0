/**
 * How long the quick start's command takes to be of use, and that it ends without a trace.
 *
 * The promise is a leader within 3 s on a quiet machine of two cores. How fast the machine is now
 * is measured beside it, by the shortest run that the same program has: `--version`.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

import { afterAll, expect, test } from "vitest";

import { Run } from "./harness.js";
import { clusterStatus } from "./http-client.js";
import { median, report, until } from "./poll.js";
import { freePorts } from "./ports.js";

const promisedMs = 3_000;
const nodeCount = 3;
const scratch = mkdtempSync(join(tmpdir(), "proglog-startup-"));
const logPath = join(scratch, "cluster.log");
const runs: Run[] = [];

afterAll(async () => {
  // The nodes end by themselves when their command is gone.
  for (const run of runs) if (run.ended === undefined) run.signal("SIGKILL");
  await until("all nodes to end", async () => (nodePids().some(isAlive) ? undefined : true));
  rmSync(scratch, { recursive: true, force: true });
});

/** What the command said. */
function said(): string {
  return readFileSync(logPath, "utf8");
}

function nodePids(): number[] {
  return [...said().matchAll(/ pid (\d+) /g)].map((found) => Number(found[1]));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Time that the program takes to say its version. */
async function versionMs(): Promise<number> {
  const start = performance.now();
  const run = new Run(["--version"], join(scratch, "version.log"), {});
  expect(await run.exit()).toEqual({ code: 0, signal: null });
  return performance.now() - start;
}

test("three nodes have a leader within ten times what --version takes, or 3 s", async () => {
  const programMs = median([await versionMs(), await versionMs(), await versionMs()]);
  const http = await freePorts(nodeCount);
  const rpc = await freePorts(nodeCount);
  const start = performance.now();
  const run = new Run(
    [
      ...["cluster", "--nodes", String(nodeCount)],
      ...["--data-dir", join(scratch, "data")],
      ...["--base-http-port", String(http), "--base-rpc-port", String(rpc)],
    ],
    logPath,
    {},
  );
  runs.push(run);
  const url = `http://127.0.0.1:${http}`;
  await until("a leader", async () => (await clusterStatus(url, 1_000)).leader ?? undefined);
  const leaderMs = performance.now() - start;
  await until("the command to say so", async () =>
    said().includes("nodes vote") ? true : undefined,
  );
  const formedMs = performance.now() - start;
  report(`--version ${Math.round(programMs)} ms (median of 3)`);
  report(`a leader after ${Math.round(leaderMs)} ms, all vote after ${Math.round(formedMs)} ms`);
  const pids = await until("the nodes' ids", async () => {
    const all = nodePids();
    return all.length === nodeCount ? all : undefined;
  });
  expect(pids.every(isAlive)).toBe(true);

  run.signal("SIGTERM");
  expect(await run.exit()).toEqual({ code: 0, signal: null });
  expect(pids.filter(isAlive)).toEqual([]);
  expect(isAlive(run.pid)).toBe(false);
  // Last, so that a slow start ends as it should all the same.
  expect(leaderMs).toBeLessThan(Math.max(promisedMs, 10 * programMs));
});
