/**
 * A fourth node comes in with --join; and starts that cannot be end with one line and exit code 1.
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

test("a fourth node joins as a learner, becomes a voter and serves every offset", async () => {
  const workload = new Workload(cluster);
  workload.start({ writers: 4 });
  try {
    await workload.untilMore(500);
    const fourth = await cluster.prepare();
    const start = performance.now();
    fourth.start();
    const seen: string[] = [];
    await until("the fourth node to be a voter", async () => {
      const status = await (await cluster.leader()).status();
      const member = status.members.find(({ name }) => name === fourth.name);
      const state = stateOf(member);
      if (seen.at(-1) !== state) seen.push(state);
      return member?.voter === true ? true : undefined;
    });
    report(`${seen.join(" → ")} within ${Math.round(performance.now() - start)} ms`);
    // It is never first seen as a voter that was not a learner before it had the log.
    expect(seen.at(-1)).toBe("voter");
    await cluster.untilVoters(4);
    await workload.untilMore(50);
  } finally {
    await workload.end();
  }
  await workload.check();
  const [first, , , fourth] = await Promise.all(cluster.nodes.map(heldBy));
  expect(fourth).toEqual(first);
});

function stateOf(member: StatusMember | undefined): string {
  if (member === undefined) return "absent";
  return member.voter ? "voter" : "learner";
}

test("the fourth node is a member again after SIGKILL, by its own command line", async () => {
  const fourth = cluster.node(3);
  const members = (await (await cluster.leader()).status()).members.map(({ id }) => id).sort();
  await fourth.kill9();
  fourth.restart();
  await cluster.untilVoters(4);
  expect((await fourth.status()).members.map(({ id }) => id).sort()).toEqual(members);
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
  expectOneLine(refusal, /lock|another process|in use/i);
  expect(refusal.lines[0]).toContain(dataDir);
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
  expectOneLine(refusal, /a-file/);
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
  const args = [...(await startArgs({ dataDir: join(scratch, "usage") })), "--no-such-option", "1"];
  const { exit, lines } = await refusedStart("usage", args);
  expect(exit).toEqual({ code: 2, signal: null });
  expect(lines.join("\n")).toMatch(/no-such-option/);
});
