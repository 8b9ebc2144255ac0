/**
 * Two of three nodes away, killed or hanging: the survivor says so at once, goes on giving what
 * it holds, never answers a miss that it cannot confirm, and needs no help when they return.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { ask, post, problemOf, produce } from "./http-client.js";
import { report, until } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";
import { heldBy, Workload } from "./workload.js";

const refusals = ["no-quorum", "no-leader"];
/** Longest that "at once" may take on a busy machine; the default write timeout is 10 s. */
const atOnceMs = 1_000;

let cluster: TestCluster;
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = await TestCluster.start();
  for (let at = 0; at < 20; at += 1) {
    const result = await produce(cluster.node(at % 3).httpUrl, `given ${at}`);
    expect(result.kind).toBe("acknowledged");
  }
  await cluster.untilLevel();
});

afterAll(async () => {
  await cluster?.close();
});

/** Waits until the survivor has noticed, and says how long it took to refuse then. */
async function untilRefused(survivor: NodeProcess): Promise<void> {
  const start = performance.now();
  let attempt = 0;
  await until(`${survivor.name} to notice the loss`, async () => {
    attempt += 1;
    const answer = await post(
      survivor.httpUrl,
      { message: `unnoticed ${survivor.name} ${start} ${attempt}`, timeoutMs: 2_000 },
      { follow: false, timeoutMs: 5_000 },
    );
    return answer.status === 503 ? true : undefined;
  });
  report(`${survivor.name} refuses writes ${Math.round(performance.now() - start)} ms on`);
}

async function expectReadOnly(survivor: NodeProcess, endOffset: number): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const refused = await post(survivor.httpUrl, { message: "refused" }, { follow: false });
    const problem = problemOf(refused);
    expect(refused.status).toBe(503);
    expect(refusals).toContain(problem.code);
    expect(problem).toMatchObject({ retryable: true, outcome: "not_applied" });
    expect(refused.headers.get("retry-after")).toMatch(/^\d+$/);
    expect(refused.elapsedMs).toBeLessThan(atOnceMs);
  }
  for (let offset = 0; offset < 20; offset += 1) {
    const hit = await ask(`${survivor.httpUrl}/Data?offset=${offset}`);
    expect(hit.status).toBe(200);
    expect(hit.elapsedMs).toBeLessThan(atOnceMs);
  }
  const miss = await ask(`${survivor.httpUrl}/Data?offset=${endOffset + 1_000}`);
  expect(miss.status).toBe(503);
  expect(problemOf(miss)).toMatchObject({
    code: "cannot-confirm",
    retryable: true,
    outcome: null,
  });
  const local = await ask(`${survivor.httpUrl}/Data?offset=${endOffset + 1_000}&consistency=local`);
  expect(local.status).toBe(404);
  expect(problemOf(local).code).toBe("offset-out-of-range");
  const list = await ask(`${survivor.httpUrl}/Data?consistency=local`);
  expect(list.status).toBe(200);
  const unconfirmed = await ask(`${survivor.httpUrl}/Data`);
  expect(unconfirmed.status).toBe(503);
  expect(problemOf(unconfirmed).code).toBe("cannot-confirm");
  await until(`${survivor.name} to show itself as read-only`, async () => {
    const { quorum, readOnly, leader } = await survivor.status();
    return !quorum && readOnly && leader === null ? true : undefined;
  });
}

const losses = [
  { signal: "SIGKILL", survivorLeads: true },
  { signal: "SIGKILL", survivorLeads: false },
  { signal: "SIGSTOP", survivorLeads: true },
  { signal: "SIGSTOP", survivorLeads: false },
] as const;

describe.each(losses)("with two of three gone by $signal", ({ signal, survivorLeads }) => {
  const who = survivorLeads ? "the leader" : "a follower";

  test(`${who} left alone is read-only, and all is well when they return`, async () => {
    const endOffset = await cluster.untilLevel();
    const leader = await cluster.leader();
    const survivor = survivorLeads ? leader : cluster.nodes.find((node) => node !== leader);
    if (survivor === undefined) throw new Error("there is no survivor");
    const before = await heldBy(survivor);
    const lost = cluster.nodes.filter((node) => node !== survivor);
    if (signal === "SIGKILL") await Promise.all(lost.map(async (node) => node.kill9()));
    else for (const node of lost) node.stop();

    try {
      await untilRefused(survivor);
      await expectReadOnly(survivor, endOffset);
    } finally {
      for (const node of lost) {
        if (signal === "SIGKILL") node.restart();
        else node.cont();
      }
    }
    const start = performance.now();
    await cluster.untilVoters(3);
    await until("a write to succeed again", async () => {
      const result = await produce(survivor.httpUrl, `after ${signal} ${String(survivorLeads)}`);
      return result.kind === "acknowledged" ? true : undefined;
    });
    report(`all is well ${Math.round(performance.now() - start)} ms after their return`);
    await cluster.untilLevel();
    const logs = await Promise.all(cluster.nodes.map(heldBy));
    for (const log of logs) {
      expect(log).toEqual(logs[0]);
      expect(log.slice(0, before.length)).toEqual(before);
      expect(log.some(({ value }) => value === "refused")).toBe(false);
    }
  });
});

test("a leader that hung for a while neither loses nor doubles anything", async () => {
  const before = (await heldBy(cluster.node(0))).map(({ value }) => value);
  const workload = new Workload(cluster);
  workload.start({ writers: 4, readers: 2 });
  try {
    await workload.untilMore(50);
    const leader = await cluster.leader();
    leader.stop();
    await until("another leader", async () => {
      const [other] = cluster.awake;
      const status = await other?.status(1_000);
      return status?.leader != null && status.leader.name !== leader.name ? true : undefined;
    });
    leader.cont();
    await cluster.untilVoters(3);
    await workload.untilMore(50);
  } finally {
    await workload.end();
  }
  report(workload.summary());
  await workload.check(before);
});
