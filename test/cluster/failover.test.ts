/**
 * How long writes are away when the leader goes: killed, and asked to stop.
 *
 * PROGLOG_FAILOVER_ROUNDS sets the number of kills (default 3; the target of a median below
 * 1.5 s is stated for 10).
 */
import { performance } from "node:perf_hooks";

import { afterAll, beforeAll, expect, test } from "vitest";

import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { ask, produce, readAll } from "./http-client.js";
import { median, report, until } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";

const rounds = Number(process.env["PROGLOG_FAILOVER_ROUNDS"] ?? 3);
/** The default: a follower waits for once to twice as long before it stands for election. */
const electionTimeoutMs = 600;

let cluster: TestCluster;
const acknowledged: string[] = [];
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = await TestCluster.start();
});

afterAll(async () => {
  await cluster?.close();
});

/** Time from now until a write begun after now is acknowledged by one of the others. */
async function writeAgain(survivors: readonly NodeProcess[], value: string): Promise<number> {
  const start = performance.now();
  let attempt = 0;
  await until(
    "a write to succeed again",
    async () => {
      const node = survivors[attempt % survivors.length];
      attempt += 1;
      const message = `${value} attempt ${attempt}`;
      const result = await produce(node?.httpUrl ?? "", message, 2_000);
      if (result.kind !== "acknowledged") throw new Error(result.why);
      acknowledged.push(message);
      return true;
    },
    { everyMs: 5 },
  );
  return performance.now() - start;
}

test(
  `writes succeed again soon after the leader was killed, ${rounds} times`,
  async () => {
    const times: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      await writeAgain(cluster.nodes, `before kill ${round}`);
      const leader = await cluster.leader();
      const survivors = cluster.nodes.filter((node) => node !== leader);
      await leader.kill9();
      times.push(await writeAgain(survivors, `after kill ${round}`));
      leader.restart();
      await cluster.untilVoters(3);
      await cluster.untilLevel();
    }
    const listed = times.map((time) => Math.round(time)).join(", ");
    report(`no write for ${listed} ms after a kill; median ${Math.round(median(times))} ms`);
    expect(Math.max(...times)).toBeLessThan(3 * 2 * electionTimeoutMs);
    expect(median(times)).toBeLessThan(2 * electionTimeoutMs);
  },
  60_000 + rounds * 20_000,
);

test("leadership moves to the node that is asked for", async () => {
  const leader = await cluster.leader();
  const { members } = await leader.status();
  const heir = members.find(({ name }) => name !== leader.name);
  const start = performance.now();
  const answer = await ask(`${leader.httpUrl}/cluster/leader`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ id: heir?.id }),
  });
  expect(answer.status, answer.text).toBe(202);
  await until(`${heir?.name ?? ""} to lead`, async () =>
    (await cluster.leader()).name === heir?.name ? true : undefined,
  );
  report(`leadership moved in ${Math.round(performance.now() - start)} ms`);
  await writeAgain(cluster.nodes, "after the transfer");
  await cluster.untilVoters(3);
});

test("SIGTERM on the leader hands over, and ends with exit code 0", async () => {
  const leader = await cluster.leader();
  const survivors = cluster.nodes.filter((node) => node !== leader);
  const ended = leader.terminate();
  const awayMs = await writeAgain(survivors, "after SIGTERM");
  const exit = await ended;
  report(`no write for ${Math.round(awayMs)} ms after SIGTERM on the leader`);
  expect(exit).toEqual({ code: 0, signal: null });
  // Without the handover nobody would lead before an election timeout has passed.
  expect(awayMs).toBeLessThan(electionTimeoutMs);
  leader.restart();
  await cluster.untilVoters(3);
});

test("SIGTERM on a follower ends it with exit code 0 and moves no leader", async () => {
  const { term } = await cluster.untilVoters(3);
  const [follower] = await cluster.followers();
  if (follower === undefined) throw new Error("there is no follower");
  expect(await follower.terminate()).toEqual({ code: 0, signal: null });
  const leader = await cluster.leader();
  expect((await leader.status()).term).toBe(term);
  follower.restart();
  await cluster.untilVoters(3);
});

test("every write acknowledged on the way is there on every node", async () => {
  await cluster.untilLevel();
  for (const node of cluster.nodes) {
    const held = new Set((await readAll(node.httpUrl)).map(({ message }) => message));
    expect(acknowledged.filter((message) => !held.has(message))).toEqual([]);
  }
});
