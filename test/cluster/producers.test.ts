/**
 * Safe retries against real processes: what was appended with a producer or a key is in the log once,
 * and each repeat is told where, whoever leads and wherever that node has its state from: the Raft
 * log, its own checkpoint, or a snapshot.
 *
 * The tests of the first group go on from one another.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { inspectDirectory } from "../../src/storage/inspect.js";
import { expectProblem } from "./error-table.js";
import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { ask, post, produce, readAll } from "./http-client.js";
import type { Answer, AskOptions } from "./http-client.js";
import { until } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";

/** Small enough that some megabytes leave nothing of what was before them in a Raft log. */
const tinyFlags = [
  ...["--checkpoint-bytes", "1MiB", "--raft-log-keep-bytes", "0", "--raft-log-file-bytes", "1MiB"],
  ...["--segment-bytes", "1MiB", "--max-record-bytes", "64KiB"],
];
const fillerBytes = 60 * 1024;
const fillerCount = 100;
/** Sequences of one producer that are remembered. */
const rememberedCount = 5;
const copies = 4;

/** A request that may be sent again. */
interface Repeatable {
  readonly path: string;
  readonly options: AskOptions;
  readonly values: readonly string[];
}

const json = { "content-type": "application/json" };

/** One request of each form; their values are unique. */
function requestsOf(name: string): Repeatable[] {
  const bytes = `${name} as bytes`;
  const message = `${name} with a sequence`;
  const keyed = `${name} with a key`;
  const messages = [0, 1, 2].map((nth) => `${name} in a batch ${nth}`);
  const id = `producer ${name}`;
  return [
    request({ message, producerId: id, sequence: 0 }, [message]),
    request({ messages, producerId: id, sequence: 7 }, messages),
    request({ message: keyed }, [keyed], `key ${name}`),
    {
      path: `/Data?producerId=${encodeURIComponent(id)}&sequence=9`,
      options: { method: "POST", headers: { "content-type": "text/plain" }, body: bytes },
      values: [bytes],
    },
  ];
}

function request(body: object, values: readonly string[], key?: string): Repeatable {
  const headers = key === undefined ? json : { ...json, "idempotency-key": key };
  return {
    path: "/Data",
    options: { method: "POST", headers, body: JSON.stringify(body) },
    values,
  };
}

/** Sends it until it is answered: what a client does whose request may be sent again. */
async function send(node: NodeProcess, { path, options }: Repeatable): Promise<Answer> {
  return until(`an answer by ${node.name}`, async () => {
    const answer = await ask(`${node.httpUrl}${path}`, { ...options, timeoutMs: 10_000 });
    if (answer.status === 200 || answer.status === 201) return answer;
    throw new Error(answer.text);
  });
}

/** Sends it four times at once, to the nodes in turn. */
async function sendCopies(nodes: readonly NodeProcess[], what: Repeatable): Promise<Answer[]> {
  return Promise.all(
    Array.from({ length: copies }, async (_, nth) => {
      const node = nodes[nth % nodes.length];
      if (node === undefined) throw new Error("there is no node");
      return send(node, what);
    }),
  );
}

/** A first answer with what was asked. */
interface Placed {
  readonly request: Repeatable;
  readonly receipt: object;
}

/** Sends requests that are new, each to all nodes at once: one of the copies is the first. */
async function place(nodes: readonly NodeProcess[], name: string): Promise<Placed[]> {
  const placed: Placed[] = [];
  for (const what of requestsOf(name)) {
    const answers = await sendCopies(nodes, what);
    // None, if the first was told in time of a slow machine that its outcome is unknown.
    expect(answers.filter(({ status }) => status === 201).length).toBeLessThanOrEqual(1);
    const { duplicate: _, ...receipt } = answers[0]?.body as { offset: number; duplicate?: true };
    for (const { status, body, headers } of answers) {
      expect(body).toEqual(status === 201 ? receipt : { ...receipt, duplicate: true });
      expect(headers.get("location")).toBe(`/Data?offset=${receipt.offset}`);
    }
    placed.push({ request: what, receipt });
  }
  return placed;
}

/** Sends requests that are in the log: all copies are told where, and nothing is added. */
async function expectRepeats(
  nodes: readonly NodeProcess[],
  placed: readonly Placed[],
): Promise<void> {
  for (const { request: what, receipt } of placed) {
    for (const { status, body } of await sendCopies(nodes, what)) {
      expect([status, body]).toEqual([200, { ...receipt, duplicate: true }]);
    }
  }
  const [node] = nodes;
  const values = (await readAll(node?.httpUrl ?? "")).map(({ message }) => message);
  for (const value of placed.flatMap(({ request: what }) => what.values)) {
    expect(values.filter((held) => held === value)).toEqual([value]);
  }
}

const old = "producer that has gone on";

/** Appends with one sequence more than are remembered: 1 to 6. */
async function goOn(node: NodeProcess): Promise<void> {
  for (let sequence = 1; sequence <= rememberedCount + 1; sequence += 1) {
    const answer = await post(node.httpUrl, { message: sequence, producerId: old, sequence });
    expect(answer.status, answer.text).toBe(201);
  }
}

/** Sequences 0 and 1 are below those that are remembered; 2 is not. */
async function expectForgotten(nodes: readonly NodeProcess[]): Promise<void> {
  for (const node of nodes) {
    for (const sequence of [0, 1]) {
      const answer = await post(node.httpUrl, { message: sequence, producerId: old, sequence });
      expectProblem(answer, "sequence-too-old");
    }
    const kept = await post(node.httpUrl, { message: 2, producerId: old, sequence: 2 });
    expect(kept.status, kept.text).toBe(200);
  }
}

/** First entry in the Raft log of a node that has ended. */
async function firstEntryOf(node: NodeProcess): Promise<number> {
  const { lines, faults } = await inspectDirectory(node.dataDir);
  expect(faults).toEqual([]);
  const [, first] = /^Raft log: entries (\d+) to \d+/m.exec(lines.join("\n")) ?? [];
  return Number(first);
}

/** The outcomes that the nodes in turn tell, once they can. */
async function outcomesOf(
  nodes: readonly NodeProcess[],
  sequences: readonly number[],
): Promise<unknown[]> {
  const outcomes: unknown[] = [];
  for (const sequence of sequences) {
    const node = nodes[sequence % nodes.length];
    if (node === undefined) throw new Error("there is no node");
    const path = `/Data/outcome?producerId=asks&sequence=${sequence}`;
    outcomes.push(
      await until(`the outcome by ${node.name}`, async () => {
        const answer = await ask(`${node.httpUrl}${path}`, { timeoutMs: 10_000 });
        if (answer.status === 200) return answer.body;
        throw new Error(answer.text);
      }),
    );
  }
  return outcomes;
}

async function killAll(nodes: readonly NodeProcess[]): Promise<void> {
  await Promise.all(nodes.map(async (node) => node.kill9()));
}

async function restartAll(cluster: TestCluster): Promise<void> {
  for (const node of cluster.nodes) node.restart();
  await cluster.untilVoters(cluster.nodes.length);
}

async function fill(node: NodeProcess): Promise<void> {
  const message = "x".repeat(fillerBytes);
  for (let nth = 0; nth < fillerCount; nth += 1) {
    expect((await produce(node.httpUrl, message)).kind).toBe("acknowledged");
  }
}

describe("with redirects", () => {
  let cluster: TestCluster;
  const placed: Placed[] = [];
  /** Index that holds all that was placed. */
  let placedIndex = 0;
  showLogsOnFailure(() => cluster);

  beforeAll(async () => {
    cluster = await TestCluster.start({ flags: tinyFlags });
  });

  afterAll(async () => {
    await cluster?.close();
  });

  test("copies sent at once leave one record, and all are told its offset", async () => {
    placed.push(...(await place(cluster.nodes, "first")));
    await goOn(await cluster.leader());
    await expectRepeats(cluster.nodes, placed);
    await expectForgotten(cluster.nodes);
  });

  test("the next leader knows them", async () => {
    const leader = await cluster.leader();
    const survivors = cluster.nodes.filter((node) => node !== leader);
    await leader.kill9();
    await expectRepeats(survivors, placed);
    placed.push(...(await place(survivors, "second")));
    leader.restart();
    await cluster.untilVoters(3);
    await expectRepeats(cluster.nodes, placed);
    await expectForgotten(cluster.nodes);
  });

  test("an unknown outcome may be retried, and the retry finds the record", async () => {
    const leader = await cluster.leader();
    const body = { message: "unknown at first", producerId: "unknown", sequence: 0 };
    const followers = await cluster.followers();
    for (const node of followers) node.stop();
    try {
      const [known, unknown] = await Promise.all([
        post(leader.httpUrl, { ...body, timeoutMs: 200 }),
        post(leader.httpUrl, { message: "unknown for ever", timeoutMs: 200 }),
      ]);
      expectProblem(known, "outcome-unknown", { retryable: true });
      expectProblem(unknown, "outcome-unknown", { retryable: false });
    } finally {
      for (const node of followers) node.cont();
    }
    const { message } = body;
    const answers = await sendCopies(cluster.nodes, request(body, [message]));
    expect(new Set(answers.map((answer) => (answer.body as { offset: number }).offset)).size).toBe(
      1,
    );
    const values = (await readAll(cluster.node(0).httpUrl)).map((record) => record.message);
    expect(values.filter((value) => value === message)).toEqual([message]);
    await cluster.untilVoters(3);
  });

  test("an unknown outcome is told by any node, whoever leads", async () => {
    const leader = await cluster.leader();
    const followers = await cluster.followers();
    const sequences = [0, 1, 2, 3];
    for (const node of followers) node.stop();
    try {
      for (const sequence of sequences) {
        const body = { message: `asked ${sequence}`, producerId: "asks", sequence, timeoutMs: 100 };
        const answer = await post(leader.httpUrl, body);
        // Of the last ones a slow machine may notice that there is no quorum.
        expect([503, 504], answer.text).toContain(answer.status);
      }
    } finally {
      await leader.kill9();
      for (const node of followers) node.cont();
    }
    const outcomes = await outcomesOf(followers, sequences);
    leader.restart();
    await cluster.untilVoters(3);
    expect(await outcomesOf([...followers, leader], sequences)).toEqual(outcomes);
    const values = (await readAll(leader.httpUrl)).map(({ message }) => message);
    for (const [at, outcome] of outcomes.entries()) {
      const offset = values.indexOf(`asked ${at}`);
      const isApplied = (outcome as { outcome: string }).outcome === "applied";
      expect(outcome).toMatchObject(isApplied ? { offset, count: 1 } : { outcome: "never" });
      const late = { message: `asked ${at}`, producerId: "asks", sequence: at };
      const answer = await post(cluster.node(at % 3).httpUrl, late);
      if (isApplied) expect(answer.status, answer.text).toBe(200);
      else expectProblem(answer, "sequence-too-old");
    }
    expect((await readAll(leader.httpUrl)).length).toBe(values.length);
  });

  test("a client that retries while leaders are killed appends each value once", async () => {
    let isOver = false;
    const write = async (producerId: string): Promise<string[]> => {
      const values: string[] = [];
      for (let sequence = 0; !isOver; sequence += 1) {
        const message = `${producerId} ${sequence}`;
        const node = cluster.awake[sequence % cluster.awake.length];
        if (node === undefined) throw new Error("no node is awake");
        await until("the write to be answered", async () => {
          const { awake } = cluster;
          const any = awake[Math.floor(Math.random() * awake.length)] ?? node;
          const body = { message, producerId, sequence, timeoutMs: 1_000 };
          const answer = await post(any.httpUrl, body, { timeoutMs: 2_000 });
          return answer.status === 200 || answer.status === 201 ? true : undefined;
        });
        values.push(message);
      }
      return values;
    };
    const writers = ["w0", "w1", "w2", "w3"].map(write);
    try {
      for (let round = 0; round < 3; round += 1) {
        const before = await endOf(await cluster.leader());
        await until("writes before the kill", async () =>
          (await endOf(await cluster.leader())) > before + 40 ? true : undefined,
        );
        const leader = await cluster.leader();
        await leader.kill9();
        leader.restart();
        await cluster.untilVoters(3);
      }
    } finally {
      isOver = true;
    }
    const written = await Promise.all(writers);
    const held = (await readAll(cluster.node(0).httpUrl)).map(({ message }) => String(message));
    for (const [nth, values] of written.entries()) {
      expect(held.filter((value) => value.startsWith(`w${nth} `))).toEqual(values);
    }
  });

  test("nodes that are all killed know them again from their Raft logs", async () => {
    await killAll(cluster.nodes);
    for (const node of cluster.nodes) expect(await firstEntryOf(node)).toBe(1);
    await restartAll(cluster);
    await expectRepeats(cluster.nodes, placed);
    await expectForgotten(cluster.nodes);
    placedIndex = (await cluster.untilVoters(3)).commitIndex;
  });

  test("nodes that are all killed know them again from their checkpoints", async () => {
    await fill(await cluster.leader());
    await cluster.untilLevel();
    await killAll(cluster.nodes);
    for (const node of cluster.nodes) {
      expect(await firstEntryOf(node)).toBeGreaterThan(placedIndex);
    }
    await restartAll(cluster);
    await expectRepeats(cluster.nodes, placed);
    await expectForgotten(cluster.nodes);
  });

  test("a node that was built from a snapshot answers for them as the leader", async () => {
    // No node has the entries any more (the test before): the fourth can only get their effect.
    const fourth = await cluster.prepare();
    fourth.start();
    await until("the fourth node to have caught up", async () => {
      const { members } = await (await cluster.leader()).status();
      return members.find(({ name }) => name === fourth.name)?.lag === 0 ? true : undefined;
    });
    const leader = await cluster.leader();
    const gone = cluster.nodes.find((node) => node !== leader && node !== fourth);
    const { members } = await leader.status();
    const idOf = (node: NodeProcess | undefined): string | undefined =>
      members.find(({ name }) => name === node?.name)?.id;
    // With one voter less the learner takes its place.
    await gone?.kill9();
    await until("the member to be removed", async () => {
      const url = `${(await cluster.leader()).httpUrl}/cluster/members/${idOf(gone)}`;
      const { status, text } = await ask(url, { method: "DELETE" });
      if (status !== 204) throw new Error(text);
      return true;
    });
    await cluster.untilVoters(3);
    await until("the fourth node to lead", async () => {
      const current = await cluster.leader();
      if (current === fourth) return true;
      const body = JSON.stringify({ id: idOf(fourth) });
      const options = { method: "POST", headers: json, body };
      await ask(`${current.httpUrl}/cluster/leader`, options);
      return undefined;
    });
    await expectRepeats(cluster.awake, placed);
    await expectForgotten(cluster.awake);
    await expectRepeats([fourth], placed);
  });
});

async function endOf(node: NodeProcess): Promise<number> {
  return (await node.status()).endOffset;
}

describe("with followers that relay", () => {
  let cluster: TestCluster;
  showLogsOnFailure(() => cluster);

  beforeAll(async () => {
    cluster = await TestCluster.start({ flags: ["--follower-writes", "forward"] });
  });

  afterAll(async () => {
    await cluster?.close();
  });

  test("an unknown outcome may be retried, also where the leader fell silent", async () => {
    const leader = await cluster.leader();
    const survivors = cluster.nodes.filter((node) => node !== leader);
    const [asked] = survivors;
    const body = { message: "relayed to silence", producerId: "silence", sequence: 0 };
    // From here on the relay's stream is up: what goes into it may arrive.
    expect(await produce(asked?.httpUrl ?? "", "before")).toMatchObject({ offset: 0 });
    leader.stop();
    try {
      const answer = await post(asked?.httpUrl ?? "", { ...body, timeoutMs: 200 });
      expectProblem(answer, "outcome-unknown", { retryable: true });
      for (const { body: receipt } of await sendCopies(survivors, request(body, [body.message]))) {
        expect(receipt).toMatchObject({ offset: 1 });
      }
    } finally {
      leader.cont();
    }
    await cluster.untilVoters(3);
    await cluster.untilLevel();
    for (const node of cluster.nodes) {
      const held = (await readAll(node.httpUrl)).map(({ message }) => message);
      expect(held).toEqual(["before", body.message]);
    }
  });

  test("copies sent at once leave one record, also once another node leads", async () => {
    const placed = await place(cluster.nodes, "relayed");
    await goOn(cluster.node(0));
    await expectForgotten(cluster.nodes);
    await (await cluster.leader()).kill9();
    const survivors = cluster.awake;
    await expectRepeats(survivors, placed);
    await cluster.leader();
    await expectForgotten(survivors);
  });
});
