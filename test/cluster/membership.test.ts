/**
 * Nodes that come in with --join; and starts that cannot be: they end with one line and exit code 1.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, expect, test } from "vitest";

import { Run, TestCluster } from "./harness.js";
import type { Exit } from "./harness.js";
import { produce } from "./http-client.js";
import type { StatusMember } from "./http-client.js";
import { report, until } from "./poll.js";
import { freePort } from "./ports.js";
import { showLogsOnFailure } from "./show-logs.js";
import { heldBy, Workload } from "./workload.js";

let cluster: TestCluster;
const scratch = mkdtempSync(join(tmpdir(), "proglog-starts-"));
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = await TestCluster.start();
});

afterAll(async () => {
  await cluster?.close();
  rmSync(scratch, { recursive: true, force: true });
});

async function memberOf(name: string): Promise<StatusMember | undefined> {
  const { members } = await (await cluster.leader()).status();
  return members.find((member) => member.name === name);
}

test("a fourth node joins as a learner and serves every offset; with a fifth both vote", async () => {
  const before = (await heldBy(cluster.node(0))).map(({ value }) => value);
  const workload = new Workload(cluster);
  workload.start({ writers: 4, readers: 2 });
  try {
    await workload.untilMore(300);
    const start = performance.now();
    const fourth = await cluster.prepare();
    fourth.start();
    await until("the fourth node to have caught up", async () => {
      const member = await memberOf(fourth.name);
      return member?.alive === true && member.lag !== null && member.lag < 100 ? true : undefined;
    });
    report(`the fourth node is level ${Math.round(performance.now() - start)} ms after its start`);
    // Four voters would need three of them, and survive no more losses than three voters do.
    expect(await memberOf(fourth.name)).toMatchObject({ role: "learner", voter: false });
    await workload.untilMore(50);

    const fifth = await cluster.prepare();
    fifth.start();
    await cluster.untilVoters(5);
    report(`five voters ${Math.round(performance.now() - start)} ms after the fourth's start`);
    await workload.untilMore(50);
  } finally {
    await workload.end();
  }
  await workload.check(before);
});

test("a joined node is a member again after SIGKILL, by its own command line", async () => {
  const fourth = cluster.node(3);
  const ids = (await fourth.status()).members.map(({ id }) => id).sort();
  await fourth.kill9();
  fourth.restart();
  await cluster.untilVoters(5);
  expect((await fourth.status()).members.map(({ id }) => id).sort()).toEqual(ids);
  const result = await produce(fourth.httpUrl, "through the fourth node");
  expect(result.kind).toBe("acknowledged");
});

interface Refusal {
  readonly exit: Exit;
  readonly lines: readonly string[];
}

/** Starts a node that must refuse, and gives what it said. */
async function refusedStart(name: string, args: readonly string[]): Promise<Refusal> {
  const logPath = join(scratch, `${name}.log`);
  const run = new Run(args, logPath, {});
  try {
    const exit = await until("the refusal", async () => run.ended);
    const lines = readFileSync(logPath, "utf8").trimEnd().split("\n");
    return { exit, lines: lines.filter((line) => !line.startsWith("{")) };
  } finally {
    run.signal("SIGKILL");
  }
}

async function startArgs(options: {
  dataDir: string;
  httpAddr?: string;
  rpcAddr?: string;
}): Promise<string[]> {
  return [
    "start",
    ...["--data-dir", options.dataDir],
    ...["--http-addr", options.httpAddr ?? `127.0.0.1:${await freePort()}`],
    ...["--rpc-addr", options.rpcAddr ?? `127.0.0.1:${await freePort()}`],
  ];
}

function expectOneLine({ exit, lines }: Refusal, names: RegExp): void {
  expect(exit, lines.join("\n")).toEqual({ code: 1, signal: null });
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(names);
  expect(lines[0]).not.toMatch(/\bat .*:\d+:\d+/);
}

test("a second start on the same directory fails with one line and exit code 1", async () => {
  const { dataDir } = cluster.node(0);
  const refusal = await refusedStart("second", await startArgs({ dataDir }));
  expectOneLine(refusal, /directory.*(?:lock|in use|another process)/i);
  const result = await produce(cluster.node(0).httpUrl, "the first goes on");
  expect(result.kind).toBe("acknowledged");
});

test.each(["http", "rpc"] as const)(
  "an %s port in use fails the start with one line and exit code 1",
  async (kind) => {
    const port = await freePort();
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(port, "127.0.0.1", resolve));
    try {
      const address = `127.0.0.1:${port}`;
      const refusal = await refusedStart(
        `port-${kind}`,
        await startArgs({ dataDir: join(scratch, `port-${kind}`), [`${kind}Addr`]: address }),
      );
      expectOneLine(refusal, new RegExp(`127\\.0\\.0\\.1:${port}`));
    } finally {
      holder.close();
    }
  },
);

test("a directory that is a file fails the start with one line and exit code 1", async () => {
  const dataDir = join(scratch, "a-file");
  writeFileSync(dataDir, "not a directory");
  const refusal = await refusedStart("file", await startArgs({ dataDir }));
  expectOneLine(refusal, /--data-dir/);
});

test("a directory with somebody else's files in it is not taken over", async () => {
  const dataDir = join(scratch, "foreign");
  mkdirSync(dataDir);
  writeFileSync(join(dataDir, "letter.txt"), "mine");
  const run = new Run(await startArgs({ dataDir }), join(scratch, "foreign.log"), {});
  await until("a start or a refusal", async () => {
    if (run.ended !== undefined) return true;
    return readFileSync(join(scratch, "foreign.log"), "utf8").length > 0 ? true : undefined;
  });
  run.signal("SIGTERM");
  await run.exit();
  expect(readFileSync(join(dataDir, "letter.txt"), "utf8")).toBe("mine");
});

test("a wrong option fails the start with exit code 2 and names the option", async () => {
  const args = [...(await startArgs({ dataDir: join(scratch, "usage") })), "--unheard-of", "1"];
  const { exit, lines } = await refusedStart("usage", args);
  expect(exit).toEqual({ code: 2, signal: null });
  expect(lines.join("\n")).toMatch(/unheard-of/);
});
