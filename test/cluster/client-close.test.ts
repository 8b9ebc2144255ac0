/**
 * Closing a client of real nodes: in each state, within two seconds, and the program ends by
 * itself soon after, without a rejection that nobody heard and without a handle that is left.
 */
import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

import { afterAll, beforeAll, expect, test } from "vitest";

import { TestCluster } from "./harness.js";
import { report, until } from "./poll.js";
import { freePort } from "./ports.js";
import { showLogsOnFailure } from "./show-logs.js";

const root = join(import.meta.dirname, "..", "..");
const program = join(root, "test", "client", "program.ts");
const nodeCount = 3;
/** From the call of `close()` to the end of the process. */
const endMsMax = 2_000;

let cluster: TestCluster;
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = await TestCluster.start({ nodeCount });
});

afterAll(async () => {
  await cluster?.close();
});

interface Ending {
  readonly closeMs: number;
  readonly endings: readonly string[];
  readonly left: readonly string[];
}

/** The program in one state, to its own end. */
class ClosingProgram {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<{ readonly code: number | null; readonly atMs: number }>;
  #output = "";
  #errors = "";
  #saidAtMs = Infinity;

  constructor(state: string, servers: readonly string[]) {
    const tsx = join(root, "node_modules", "tsx", "dist", "loader.mjs");
    const words = ["--import", tsx, program, state, servers.join(",")];
    this.#child = spawn(process.execPath, words);
    this.#child.stdout.on("data", (chunk: Buffer) => {
      this.#output += chunk.toString();
      if (this.#output.includes("{")) this.#saidAtMs = Math.min(this.#saidAtMs, performance.now());
    });
    this.#child.stderr.on("data", (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
    this.#ended = new Promise((resolve) => {
      this.#child.once("exit", (code) => {
        resolve({ code, atMs: performance.now() });
      });
    });
  }

  async untilAsking(): Promise<void> {
    await until("the program to ask", async () =>
      this.#output.includes("stop") ? true : undefined,
    );
  }

  tell(): void {
    this.#child.stdin.write("go\n");
  }

  /** Waits for its end, and sees that it was a good one. */
  async check(state: string): Promise<Ending> {
    const killer = setTimeout(() => this.#child.kill("SIGKILL"), 30_000);
    const { code, atMs } = await this.#ended;
    clearTimeout(killer);
    const line = this.#output.split("\n").find((text) => text.startsWith("{")) ?? "{}";
    const ending = JSON.parse(line) as Ending;
    expect({ code, errors: this.#errors }).toEqual({ code: 0, errors: "" });
    expect(ending).toMatchObject({ left: [] });
    expect(ending.endings.filter((how) => /unhandled|untyped/.test(how))).toEqual([]);
    // The program speaks as soon as it has closed.
    const endMs = Math.round(ending.closeMs + atMs - this.#saidAtMs);
    report(`${state}: closed in ${ending.closeMs} ms, ended ${endMs} ms after the call`);
    expect(endMs).toBeLessThan(endMsMax);
    return ending;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

function servers(): string[] {
  return cluster.nodes.map((node) => node.rpcAddr);
}

test.each([
  ["unused", []],
  ["idle", []],
  ["producing", ["outcome-unknown unknown"]],
  ["consuming", ["unavailable null", "unavailable null"]],
  ["streaming", ["unavailable null"]],
] as const)("a program whose client is %s ends by itself", async (state, endings) => {
  const running = new ClosingProgram(state, servers());
  try {
    const ending = await running.check(state);
    // An append may just have been answered, and the next not be under way.
    const sure = ending.endings.map((how) =>
      state === "producing"
        ? how.replace("unavailable not_applied", "outcome-unknown unknown")
        : how,
    );
    expect([...sure].sort()).toEqual([...endings].sort());
  } finally {
    running.kill();
  }
});

test.each(["connecting", "back-off"])("a program that is %s to nobody ends", async (state) => {
  const running = new ClosingProgram(state, [`127.0.0.1:${await freePort()}`]);
  try {
    const { endings } = await running.check(`${state}, nobody there`);
    expect(endings.filter((how) => !how.startsWith("unavailable"))).toEqual([]);
    expect(endings).toHaveLength(3);
  } finally {
    running.kill();
  }
});

test("a program that produces and follows ends while the leader is paused", async () => {
  const leader = await cluster.leader();
  const running = new ClosingProgram("told", servers());
  try {
    await running.untilAsking();
    leader.stop();
    running.tell();
    const { endings } = await running.check("leader paused");
    // A record that is not there yet: nobody can say so, or another leader does.
    expect(endings).toHaveLength(3);
  } finally {
    running.kill();
    leader.cont();
  }
  await cluster.untilVoters(nodeCount);
});

test("a program that produces and follows ends when all nodes are dead", async () => {
  const running = new ClosingProgram("told", servers());
  try {
    await running.untilAsking();
    await Promise.all(cluster.nodes.map(async (node) => node.kill9()));
    running.tell();
    const { endings } = await running.check("all nodes dead");
    expect(endings.filter((how) => how.startsWith("fulfilled"))).toEqual([]);
    expect(endings).toHaveLength(3);
  } finally {
    running.kill();
    for (const node of cluster.nodes) if (!node.isRunning) node.restart();
  }
  await cluster.untilVoters(nodeCount);
});
