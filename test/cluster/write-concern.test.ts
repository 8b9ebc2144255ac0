/** Write concern on real processes: who waits, for what, and who does not. */
import { afterAll, beforeAll, expect, test } from "vitest";

import { TestCluster } from "./harness.js";
import { ask, post, problemOf, produce, readAll } from "./http-client.js";
import type { NodeProcess } from "./harness.js";
import { until } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";

let cluster: TestCluster;
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = await TestCluster.start();
});

afterAll(async () => {
  await cluster?.close();
});

async function followers(): Promise<NodeProcess[]> {
  const leader = await cluster.leader();
  return cluster.nodes.filter((node) => node !== leader);
}

test("w=3 with one of three nodes down blocks that client alone, and completes when it returns", async () => {
  const [down, up] = await followers();
  if (down === undefined || up === undefined) throw new Error("there are two followers");
  await down.kill9();
  let isAnswered = false;
  const body = { message: "patient", w: 3, timeoutMs: 60_000 };
  const patient = post(up.httpUrl, body, { timeoutMs: 60_000 }).then((answer) => {
    isAnswered = true;
    return answer;
  });
  const seen = await until("the record of the waiting client", async () => {
    const records = await readAll(up.httpUrl);
    return records.find(({ message }) => message === "patient");
  });
  for (let nth = 0; nth < 20; nth += 1) {
    const result = await produce(up.httpUrl, `meanwhile ${nth}`);
    expect(result.kind).toBe("acknowledged");
  }
  expect(isAnswered).toBe(false);
  const late = await post(up.httpUrl, { message: "in vain", w: "all", timeoutMs: 300 });
  expect(late.status).toBe(504);
  expect(problemOf(late)).toMatchObject({
    ...{ code: "write-concern-timeout", outcome: "applied", retryable: false },
    ...{ offset: seen.offset + 21, acks: 2 },
  });
  down.restart();
  const answer = await patient;
  expect(answer.status).toBe(201);
  expect(answer.body).toMatchObject({ offset: seen.offset });
  // What the node missed came to it in order: the later records are not there before the earlier.
  await cluster.untilLevel();
  const logs = await Promise.all(cluster.nodes.map(async (node) => readAll(node.httpUrl)));
  for (const log of logs) expect(log).toEqual(logs[0]);
  expect(logs[0]?.map(({ offset }) => offset)).toEqual(logs[0]?.map((_, at) => at));
});

test("a node that missed records shows none of the later ones before the earlier", async () => {
  const [down, up] = await followers();
  if (down === undefined || up === undefined) throw new Error("there are two followers");
  await down.kill9();
  for (let nth = 0; nth < 200; nth += 1) await produce(up.httpUrl, `missed ${nth}`);
  const whole = await readAll(up.httpUrl);
  down.restart();
  await until("the node to have caught up", async () => {
    const answer = await ask(`${down.httpUrl}/Data?consistency=local&limit=10000`);
    if (answer.status !== 200) throw new Error(answer.text);
    const { messages } = answer.body as { messages: unknown[] };
    // Whatever it shows while it catches up is the log's beginning, without a gap.
    expect(messages).toEqual(whole.slice(0, messages.length));
    return messages.length === whole.length ? true : undefined;
  });
});

test("w=1 answers at once though no other node answers, with committed false", async () => {
  const leader = await cluster.leader();
  const others = await followers();
  for (const other of others) other.stop();
  try {
    const answer = await post(leader.httpUrl, { message: "hasty", w: 1 });
    expect(answer.status).toBe(202);
    expect(answer.body).toEqual({ committed: false });
    const local = await ask(`${leader.httpUrl}/Data?from=-1&consistency=local`);
    expect(JSON.stringify(local.body)).not.toContain("hasty");
  } finally {
    for (const other of others) other.cont();
  }
  await cluster.untilVoters(3);
});

test("more copies than there are members are refused, and nothing is appended", async () => {
  const leader = await cluster.leader();
  const before = (await readAll(leader.httpUrl)).length;
  for (const w of [4, 0]) {
    const answer = await post(leader.httpUrl, { message: "never", w });
    expect(answer.status).toBe(422);
    expect(problemOf(answer)).toMatchObject({
      ...{ code: "write-concern-unsatisfiable", outcome: "not_applied" },
    });
  }
  const after = await readAll(leader.httpUrl);
  expect(after.some(({ message }) => message === "never")).toBe(false);
  expect(after.length).toBeGreaterThanOrEqual(before);
});
