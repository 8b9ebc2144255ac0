/**
 * Exactly once, on real processes: every append is sent as four copies at once through different
 * nodes, over HTTP and gRPC, while leaders are killed whose answers are cut off after the commit.
 *
 * One record each, all answers equal, in the order of each producer; every unknown outcome is
 * told, and what is told holds: also after checkpoints, a cut Raft log and a restart of all, and on
 * a node made from a snapshot alone. The tests go on from one another.
 *
 * PROGLOG_EXACTLY_ONCE_KILLS says how many leaders are killed (default 4).
 */
import { afterAll, beforeAll, expect, test } from "vitest";

import { inspectDirectory } from "../../src/storage/inspect.js";
import { check } from "../history/check.js";
import type { FinalLog } from "../history/history.js";
import { Chance } from "../history/random.js";
import { Front } from "./exactly-once/fronts.js";
import { chosenOf, expectRepeats } from "./exactly-once/repeats.js";
import { CopiesWorkload } from "./exactly-once/workload.js";
import type { SettledAppend } from "./exactly-once/workload.js";
import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { ask, produce } from "./http-client.js";
import { report, until } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";
import { heldBy } from "./workload.js";

const killCount = Number(process.env["PROGLOG_EXACTLY_ONCE_KILLS"] ?? 4);
const seed = Math.floor(Math.random() * 1_000_000);
/** Small enough that some megabytes leave nothing of what was before them in a Raft log. */
const flags = [
  ...["--checkpoint-bytes", "1MiB", "--raft-log-keep-bytes", "0", "--raft-log-file-bytes", "1MiB"],
  ...["--segment-bytes", "1MiB", "--max-record-bytes", "64KiB"],
];
const fillerBytes = 60 * 1024;
const fillerCount = 100;
/** Answers that a leader has given and nobody has heard, when it is killed: some two or more. */
const withheldBytesMin = 1_000;
/** Appends of each kind that are repeated; all of them are looked up in the logs. */
const repeatedMax = 80;

let cluster: TestCluster;
let workload: CopiesWorkload;
const fronts: Front[] = [];
const chance = new Chance(seed);
/** Index that holds all that was appended with a producer. */
let placedIndex = 0;
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = new TestCluster();
  // Redirected or relayed: it depends on who is asked.
  for (const writes of ["redirect", "forward", "redirect"]) {
    fronts.push(await Front.start(cluster, [...flags, "--follower-writes", writes]));
  }
  await cluster.untilVoters(3);
  workload = new CopiesWorkload(fronts, chance);
});

afterAll(async () => {
  await Promise.all(fronts.map(async (front) => front.close()));
  await cluster?.close();
});

/** Reads every node's log and holds it against all that clients were told. */
async function expectHistory(): Promise<void> {
  await cluster.untilLevel();
  const logs: FinalLog[] = [];
  for (const node of cluster.awake) logs.push({ node: node.name, records: await heldBy(node) });
  expect(check(workload.recorder.history(logs))).toEqual([]);
}

async function frontOfLeader(): Promise<Front> {
  const leader = await cluster.leader();
  const front = fronts.find(({ node }) => node === leader);
  if (front === undefined) throw new Error(`${leader.name} has no front`);
  return front;
}

const byKeys = { kind: "key", key: "delivered again and again" } as const;
const bySequences = { kind: "producer", id: "delivered again and again", sequence: 7 } as const;

test("repeated deliveries leave one record", async () => {
  const settled: SettledAppend[] = [];
  for (const append of [
    { identity: byKeys, values: ["a delivery with a key"] },
    { identity: bySequences, values: ["a delivery with a sequence"] },
    { identity: { ...bySequences, sequence: 8 }, values: ["one", "of", "three"] },
  ]) {
    for (let delivery = 0; delivery < 5; delivery += 1) {
      settled.push(await workload.settle("deliverer", append));
    }
  }
  const offsets = settled.map(({ outcome }) => outcome.type === "placed" && outcome.place.offset);
  expect(offsets).toEqual([0, 1, 2].flatMap((offset) => Array.from({ length: 5 }, () => offset)));
  // Repeats are no new appends: what is settled is settled once.
  workload.settled.splice(0, Infinity, ...settled.filter((_, nth) => nth % 5 === 0));
  await expectHistory();
});

/** How answers are kept from clients around the death of a leader. */
const ways = ["lost", "late", "reset", "of-all"] as const;

/** Kills the leader when it has given answers to what is committed that nobody has heard. */
async function killUnheard(way: (typeof ways)[number]): Promise<void> {
  const front = await frontOfLeader();
  const silent = way === "of-all" ? fronts : [front];
  for (const each of silent) {
    if (way === "lost") each.loseAnswers();
    else each.holdAnswers();
  }
  try {
    await until("answers that nobody hears", async () => {
      if (front.withheldBytes >= withheldBytesMin) return true;
      throw new Error(`${front.withheldBytes} bytes`);
    });
    if (way === "reset" || way === "of-all") for (const each of silent) each.reset();
    await front.node.kill9();
    // What is late is heard from a node that is dead, when another one leads.
    if (way === "late") await cluster.leader();
  } finally {
    for (const each of silent) each.heal();
  }
  // The next leader has to know what its predecessor told nobody.
  if (way === "reset") await workload.untilMore(8);
  front.node.restart();
}

test(
  `${killCount} leaders are killed with their answers cut off: one record each, told alike`,
  async () => {
    workload.start();
    try {
      await workload.untilMore(20);
      for (let round = 0; round < killCount; round += 1) {
        await killUnheard(ways[round % ways.length] ?? "lost");
        await cluster.untilVoters(3);
        await workload.untilMore(20);
      }
    } finally {
      await workload.end();
    }
    reportWorkload();
    await cluster.untilVoters(3);
    await expectHistory();
    const { settled } = workload;
    // Each kill has cut off an answer to what was committed.
    const unheard = settled.filter(({ isUnheard }) => isUnheard);
    expect(unheard.length).toBeGreaterThanOrEqual(killCount);
    await expectRepeats(fronts, chosenOf(settled, repeatedMax));
    placedIndex = (await cluster.untilVoters(3)).commitIndex;
  },
  (killCount * 20 + 180) * 1000,
);

function reportWorkload(): void {
  const { settled, reasons, copyCount, outcomeCount } = workload;
  const unknown = settled.filter(({ unknownCount }) => unknownCount > 0);
  const placed = unknown.filter(({ outcome }) => outcome.type === "placed").length;
  const unheard = settled.filter(({ isUnheard }) => isUnheard).length;
  report(`seed ${seed}: ${settled.length} appends in ${copyCount} copies`);
  report(
    `${unknown.length} appends of unknown outcome: ${placed} were in the log, ` +
      `${unknown.length - placed} never were; ${outcomeCount} outcomes were told`,
  );
  report(`${unheard} appends whose first answer reached nobody`);
  report(`copies sent again: ${[...reasons].map(([why, count]) => `${why} ${count}`).join(", ")}`);
}

/** First entry in the Raft log of a node that has ended. */
async function firstEntryOf(node: NodeProcess): Promise<number> {
  const { lines, faults } = await inspectDirectory(node.dataDir);
  expect(faults).toEqual([]);
  const [, first] = /^Raft log: entries (\d+) to \d+/m.exec(lines.join("\n")) ?? [];
  return Number(first);
}

/** Appends so much that checkpoints are made, and the Raft log below them is let go. */
async function fill(): Promise<void> {
  const { httpUrl } = await cluster.leader();
  for (let nth = 0; nth < fillerCount; nth += 1) {
    const value = `filler ${nth} `.padEnd(fillerBytes, "x");
    const begun = { client: "filler", values: [value], invokedAt: performance.now() };
    const attempt = workload.recorder.beginAppend(begun);
    const result = await produce(httpUrl, value);
    if (result.kind !== "acknowledged") throw new Error(result.why);
    const outcome = { type: "ok", offset: result.offset } as const;
    workload.recorder.endAppend(attempt, { returnedAt: performance.now(), outcome });
  }
}

test("the same after checkpoints, with the Raft log cut, and a restart of all nodes", async () => {
  await fill();
  await cluster.untilLevel();
  await Promise.all(cluster.nodes.map(async (node) => node.kill9()));
  for (const node of cluster.nodes) expect(await firstEntryOf(node)).toBeGreaterThan(placedIndex);
  for (const node of cluster.nodes) node.restart();
  await cluster.untilVoters(3);
  await expectRepeats(fronts, chosenOf(workload.settled, repeatedMax));
  await expectHistory();
});

async function idOf(node: NodeProcess): Promise<string> {
  const { members } = await (await cluster.leader()).status();
  const member = members.find(({ name }) => name === node.name);
  if (member === undefined) throw new Error(`${node.name} is no member`);
  return member.id;
}

/** Makes a node the leader. */
async function giveLeadership(front: Front): Promise<void> {
  const id = await idOf(front.node);
  await until(`${front.node.name} to lead`, async () => {
    const leader = await cluster.leader();
    if (leader === front.node) return true;
    const headers = { "content-type": "application/json" };
    const options = { method: "POST", headers, body: JSON.stringify({ id }) };
    await ask(`${leader.httpUrl}/cluster/leader`, options);
    return undefined;
  });
}

test("the same on a node made from a snapshot alone, as a learner and as the leader", async () => {
  // No node has the entries any more (the test before): the fourth can only get their effect.
  const fourth = await Front.start(cluster, [...flags, "--follower-writes", "forward"]);
  fronts.push(fourth);
  await until("the fourth node to have caught up", async () => {
    const { members } = await (await cluster.leader()).status();
    return members.find(({ name }) => name === fourth.node.name)?.lag === 0 ? true : undefined;
  });
  const repeats = chosenOf(workload.settled, repeatedMax);
  await expectRepeats([fourth], repeats);

  // With one voter less the learner takes its place.
  const gone = await frontOfFollower(fourth);
  const goneId = await idOf(gone.node);
  await gone.node.kill9();
  await until("the member to be removed", async () => {
    const url = `${(await cluster.leader()).httpUrl}/cluster/members/${goneId}`;
    const { status, text } = await ask(url, { method: "DELETE" });
    if (status !== 204) throw new Error(text);
    return true;
  });
  await cluster.untilVoters(3);
  await giveLeadership(fourth);
  await expectRepeats(
    fronts.filter((front) => front !== gone),
    repeats,
  );
  expect(await cluster.leader()).toBe(fourth.node);
  await expectHistory();

  await fourth.node.kill9();
  expect(await firstEntryOf(fourth.node)).toBeGreaterThan(placedIndex);
});

/** A follower other than this one. */
async function frontOfFollower(other: Front): Promise<Front> {
  const leader = await frontOfLeader();
  const front = fronts.find((each) => each !== leader && each !== other);
  if (front === undefined) throw new Error("there is no follower");
  return front;
}
