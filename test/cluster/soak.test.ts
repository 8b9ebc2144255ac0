/**
 * Five real nodes under every fault that needs no root, writers and readers at work all the
 * time: what they were told must be true of the logs in the end, and the cluster comes back.
 *
 * PROGLOG_SOAK_SECONDS sets how long (default 60), PROGLOG_SOAK_SEED what is chosen. Linux only: it
 * tells links apart by what Linux shows of sockets.
 */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

import { afterAll, beforeAll, expect, test } from "vitest";

import { check } from "../history/check.js";
import { textOf } from "../history/history.js";
import type { FinalLog, History } from "../history/history.js";
import { Chance } from "../history/random.js";
import { faultKinds, Nemesis } from "./faults.js";
import type { DiaryLine } from "./faults.js";
import { readAll } from "./http-client.js";
import { report, until } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";
import { nameOfMessage } from "./soak/messages.js";
import { LinkedCluster } from "./soak/peer-links.js";
import { SoakWorkload } from "./soak/soak-workload.js";
import { availabilityOf, listOf, outcomesOf } from "./soak/summary.js";
import type { Span } from "./soak/summary.js";
import { Watch } from "./soak/watch.js";

const seconds = Number(process.env["PROGLOG_SOAK_SECONDS"] ?? 60);
const seed = Number(process.env["PROGLOG_SOAK_SEED"] ?? Math.floor(Math.random() * 1_000_000));
const replay =
  `PROGLOG_SOAK_SEED=${seed} PROGLOG_SOAK_SECONDS=${seconds} ` +
  "npx vitest run test/cluster/soak.test.ts";
const nodeCount = 5;
/** Longer than any fault, with the elections after it. */
const strangeGapMs = 10_000;

/** Small files and frequent checkpoints, so that nodes that were away are sent snapshots. */
const flags = [
  ...["--checkpoint-bytes", "1MiB", "--raft-log-keep-bytes", "0", "--raft-log-file-bytes", "1MiB"],
  ...["--segment-bytes", "1MiB", "--max-record-bytes", "64KiB", "--tail-cache-bytes", "256KiB"],
];

let linked: LinkedCluster;
showLogsOnFailure(() => linked?.cluster);

const isLinux = process.platform === "linux";

beforeAll(async () => {
  if (!isLinux) return;
  linked = await LinkedCluster.start(nodeCount, flags);
});

afterAll(async () => {
  await linked?.close();
});

test.runIf(isLinux)(
  `keeps every promise through ${seconds} s of faults of every kind`,
  async () => {
    const watch = new Watch(linked.cluster);
    const nemesis = new Nemesis(linked, watch, new Chance(seed));
    const workload = new SoakWorkload(linked.nodes, seed);
    let logs: FinalLog[] = [];
    try {
      workload.start({ writers: 10, tails: 5, readers: 5 });
      await untilAcknowledged(workload);
      const startMs = performance.now();
      await nemesis.run(seconds * 1000);
      const endMs = performance.now();
      const gapMs = summarize(nemesis, workload, { startMs, endMs });
      expect(nemesis.complaints).toEqual([]);
      await recover(workload, endMs);
      await Promise.all([workload.end(), watch.end()]);
      report(`${watch.leaderCount} terms had a leader, the last was ${watch.highestTerm}`);
      logs = await finalLogs();
      report(`${lateCount(workload, logs)} appends of unknown fate are in the log`);
      expect(check(workload.recorder.history(logs))).toEqual([]);
      expect(workload.ackTimesMs.length).toBeGreaterThan(seconds);
      // No promise is broken, but somebody should see why.
      if (gapMs > strangeGapMs) keep(workload.recorder.history(logs), nemesis.diary);
      if (seconds >= 60) {
        const missing = faultKinds.filter((kind) => nemesis.counts.get(kind) === 0);
        expect(missing).toEqual([]);
      }
    } catch (error) {
      keep(workload.recorder.history(logs), nemesis.diary);
      throw error;
    } finally {
      await nemesis.mend();
      await Promise.all([workload.end(), watch.end()]);
    }
  },
  (seconds + 240) * 1000,
);

/** Waits for so many more acknowledged writes. */
async function untilAcknowledged(workload: SoakWorkload, more = 100): Promise<void> {
  const goal = workload.ackTimesMs.length + more;
  await until(`${more} more acknowledged writes`, async () => {
    return workload.ackTimesMs.length >= goal ? true : undefined;
  });
}

/** Everything is whole: one leader of all, and writes and reads as if nothing had been. */
async function recover(workload: SoakWorkload, healedMs: number): Promise<void> {
  await untilAcknowledged(workload, 1);
  const servedMs = performance.now() - healedMs;
  await linked.cluster.untilVoters(nodeCount);
  const wholeMs = performance.now() - healedMs;
  await untilAcknowledged(workload);
  await workload.untilFollowed();
  report(`healed: a write after ${Math.round(servedMs)} ms, whole after ${Math.round(wholeMs)} ms`);
}

async function finalLogs(): Promise<FinalLog[]> {
  await linked.cluster.untilLevel();
  const logs: FinalLog[] = [];
  for (const node of linked.nodes) {
    const held = await readAll(node.httpUrl);
    const records = held.map(({ offset, message }) => ({ offset, value: nameOfMessage(message) }));
    logs.push({ node: node.name, records });
  }
  return logs;
}

/** How many appends of unknown fate took effect: how hard the run was for the checker. */
function lateCount({ recorder }: SoakWorkload, logs: readonly FinalLog[]): number {
  const held = new Set(logs[0]?.records.map((record) => record.value));
  return recorder.appends.filter(({ outcome, values }) => {
    return outcome.type === "unknown" && values.some((value) => held.has(value));
  }).length;
}

/** Reports what happened; returns the longest time without an acknowledgement. */
function summarize(nemesis: Nemesis, workload: SoakWorkload, span: Span): number {
  const outcomes = outcomesOf(workload.recorder);
  const { share, gap } = availabilityOf(workload.ackTimesMs, span);
  const faultCount = [...nemesis.counts.values()].reduce((sum, count) => sum + count, 0);
  report(`seed ${seed}, ${seconds} s; again: ${replay}`);
  report(`${faultCount} faults: ${listOf(nemesis.counts)}`);
  report(`writes and reads: ${listOf(new Map(Object.entries(outcomes)))}`);
  report(`writes not acknowledged: ${listOf(workload.refusals)}`);
  report(`reads not answered: ${listOf(workload.readFailures)}`);
  report(
    `acknowledgements in ${(share * 100).toFixed(1)} % of the seconds, ` +
      `longest gap ${Math.round(gap.endMs - gap.startMs)} ms, in which came:`,
  );
  const { startMs } = span;
  const isInGap = ({ atMs }: DiaryLine): boolean => {
    return atMs > gap.startMs - 2_000 && atMs < gap.endMs;
  };
  for (const line of nemesis.diary.filter(isInGap)) report(textOfLine(line, startMs));
  return gap.endMs - gap.startMs;
}

function textOfLine({ atMs, what }: DiaryLine, startMs: number): string {
  return `${((atMs - startMs) / 1000).toFixed(2)} s: ${what}`;
}

/** Keeps what is needed to understand a failure. */
function keep(history: History, diary: readonly DiaryLine[]): void {
  const directory = mkdtempSync(join(tmpdir(), `proglog-soak-${seed}-`));
  writeFileSync(join(directory, "history.json"), textOf(history));
  const lines = diary.map((line) => `${textOfLine(line, diary[0]?.atMs ?? 0)}\n`);
  writeFileSync(join(directory, "faults.txt"), lines.join(""));
  for (const node of linked.nodes) {
    writeFileSync(join(directory, `${node.name}.log`), node.log(64 * 1024 * 1024));
  }
  process.stderr.write(`seed ${seed}; kept in ${directory}; again: ${replay}\n`);
}
