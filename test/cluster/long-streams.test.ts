/**
 * A million records to readers that take them slowly: all of them, in order, and in as much memory
 * of the node as a thousand would need.
 *
 * One node, so that its memory is that of reading. Linux only, by /proc.
 */
import { setTimeout as pause } from "node:timers/promises";

import { afterAll, beforeAll, expect, test } from "vitest";

import { Client } from "../../src/client/client.js";
import { TestCluster } from "./harness.js";
import { report } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";
import { ResidentPeak } from "./tails/resident.js";

const recordCount = 1_000_000;
const batchCount = 5_000;
/** The log is some 120 MB, its lines some 190 MB: held as a whole they would show. */
const growthMebibytesMax = 80;

let cluster: TestCluster;
showLogsOnFailure(() => cluster);
const isLinux = process.platform === "linux";

beforeAll(async () => {
  if (!isLinux) return;
  // A small heap: what is garbage goes at once, and does not look like what is held.
  const options = process.env["NODE_OPTIONS"];
  process.env["NODE_OPTIONS"] = `${options ?? ""} --max-old-space-size=64 --max-semi-space-size=4`;
  try {
    cluster = await TestCluster.start({ nodeCount: 1 });
  } finally {
    if (options === undefined) delete process.env["NODE_OPTIONS"];
    else process.env["NODE_OPTIONS"] = options;
  }
  await using client = new Client({ servers: [cluster.node(0).rpcAddr] });
  const batch = Array.from({ length: batchCount }, () => "r".repeat(100));
  for (let count = 0; count < recordCount; count += batchCount) await client.produceBatch(batch);
});

afterAll(async () => {
  await cluster?.close();
});

/** Reads a stream slowly to the end of the log; calls with each line. */
async function readSlowly(
  accept: string,
  options: { readonly lastEventId?: string; readonly until: (line: string) => boolean },
): Promise<number> {
  const { lastEventId } = options;
  const headers = {
    accept,
    ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }),
  };
  const answer = await fetch(`${cluster.node(0).httpUrl}/Data?from=earliest`, { headers });
  expect(answer.status).toBe(200);
  const decoder = new TextDecoder();
  let rest = "";
  let lines = 0;
  let chunks = 0;
  for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    for (const line of parts) {
      lines += 1;
      // Leaving the loop cancels the body, and with it the stream.
      if (options.until(line)) return lines;
    }
    chunks += 1;
    if (chunks % 16 === 0) await pause(1);
  }
  return lines;
}

/** Expects offsets one after the other. */
function counter(from: number): { next: number; take(offset: number): void } {
  return {
    next: from,
    take(offset) {
      if (offset !== this.next) throw new Error(`offset ${offset} came, not ${this.next}`);
      this.next += 1;
    },
  };
}

/** Reads so many records as lines; returns the most that the node held meanwhile, in MiB. */
async function mostHeld(count: number): Promise<number> {
  const peak = new ResidentPeak(cluster.node(0).pid ?? 0);
  const seen = counter(0);
  try {
    await readSlowly("application/x-ndjson", {
      until: (line) => {
        seen.take(Number(/"offset":(\d+)/.exec(line)?.[1]));
        return seen.next === count;
      },
    });
  } finally {
    peak.end();
  }
  expect(seen.next).toBe(count);
  return peak.mebibytes;
}

test.runIf(isLinux)("lines: a million need no more memory than a fifth of them", async () => {
  const fifth = await mostHeld(recordCount / 5);
  const all = await mostHeld(recordCount);
  report(`at most ${Math.round(fifth)} MiB for a fifth, ${Math.round(all)} MiB for all`);
  expect(all - fifth).toBeLessThan(growthMebibytesMax);
});

test.runIf(isLinux)("events: the second half, from where the first was left", async () => {
  const half = recordCount / 2;
  const seen = counter(0);
  const until = (end: number) => (line: string) => {
    const id = /^id: ?(\d+)/.exec(line)?.[1];
    if (id !== undefined) seen.take(Number(id));
    return seen.next >= end;
  };
  await readSlowly("text/event-stream", { until: until(half) });
  expect(seen.next).toBe(half);
  await readSlowly("text/event-stream", {
    lastEventId: String(half - 1),
    until: until(recordCount),
  });
  expect(seen.next).toBe(recordCount);
});
