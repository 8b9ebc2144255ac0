/**
 * `proglog-node cluster` with real nodes: forms, reports, stops and comes back.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { until } from "../cluster/poll.js";
import { freePorts } from "../cluster/ports.js";

const root = join(import.meta.dirname, "..", "..");

/** One run of the command. */
class Command {
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
  stdout = "";
  stderr = "";

  constructor(args: readonly string[]) {
    if (!existsSync(join(root, "dist"))) throw new Error("run `npm run build` first");
    const bin = join(root, "bin", "proglog-node.js");
    const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("PROGLOG_"));
    this.child = spawn(process.execPath, [bin, "cluster", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      // What is one node's own must not reach the nodes.
      env: { ...Object.fromEntries(kept), PROGLOG_HTTP_ADDR: "127.0.0.1:1" },
    });
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    this.exit = new Promise((resolve) => {
      this.child.once("close", resolve);
    });
  }

  /** Waits for the text on standard output, and gives back the nodes' process ids. */
  async untilFormed(): Promise<number[]> {
    await until(
      `a cluster to form; said: ${this.stdout} ${this.stderr}`,
      async () => (this.stdout.includes("Ctrl-C stops all nodes") ? true : undefined),
      { timeoutMs: 60_000 },
    );
    return [...this.stdout.matchAll(/pid (\d+)/g)].map((found) => Number(found[1]));
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function untilGone(pids: readonly number[]): Promise<void> {
  await until(`${pids.join(", ")} to end`, async () => (pids.some(isAlive) ? undefined : true));
}

describe("a cluster on one machine", () => {
  let directory: string;
  let args: readonly string[];
  let pids: number[] = [];
  const commands: Command[] = [];

  const run = (): Command => {
    const command = new Command(args);
    commands.push(command);
    return command;
  };

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), "proglog-local-"));
    const http = await freePorts(3);
    const rpc = await freePorts(3);
    const ports = ["--base-http-port", String(http), "--base-rpc-port", String(rpc)];
    args = ["--nodes", "3", "--data-dir", directory, ...ports];
  });

  afterEach(async () => {
    for (const { child } of commands.splice(0)) {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    }
    // Nodes end by themselves when their command is gone.
    await untilGone(pids);
    pids = [];
    rmSync(directory, { recursive: true, force: true });
  });

  test(
    "forms, stops when asked, and is the same one the next time",
    { timeout: 150_000 },
    async () => {
      const first = run();
      pids = await first.untilFormed();
      expect(first.stdout).toMatch(/node-\d leads; 3 of 3 nodes vote\./);
      const [url = ""] = /http:\/\/127\.0\.0\.1:\d+/.exec(first.stdout) ?? [];
      const posted = await fetch(`${url}/Data`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: `{"message":"kept"}`,
      });
      expect(posted.status).toBe(201);
      first.child.kill("SIGTERM");
      expect(await first.exit).toBe(0);
      expect(first.stdout).toContain("All nodes have stopped.");
      expect(first.stderr).toBe("");
      expect(pids.filter(isAlive)).toEqual([]);

      const second = run();
      pids = await second.untilFormed();
      const read = await fetch(`${url}/Data?offset=0`);
      expect(await read.json()).toMatchObject({ message: "kept" });
      second.child.kill("SIGINT");
      expect(await second.exit).toBe(0);
      expect(readFileSync(join(directory, "node-1", "node.log"), "utf8")).toContain("node stopped");
    },
  );

  test(
    "reports a node that dies, goes on, and dies with its command",
    { timeout: 150_000 },
    async () => {
      const command = run();
      pids = await command.untilFormed();
      const [, , third = 0] = pids;
      process.kill(third, "SIGKILL");
      await until("the report", async () =>
        command.stderr.includes("node-3 stopped unasked (SIGKILL)") ? true : undefined,
      );
      expect(pids.filter(isAlive)).toHaveLength(2);
      command.child.kill("SIGKILL");
      await untilGone(pids);
    },
  );

  test("that can't run says why for each node and exits 1", { timeout: 150_000 }, async () => {
    pids = await run().untilFormed();
    const second = run();
    expect(await second.exit).toBe(1);
    for (const name of ["node-1", "node-2", "node-3"]) {
      expect(second.stderr).toContain(`${name} stopped unasked (code 1)`);
    }
    expect(second.stderr).toContain("in use by another process");
    expect(second.stderr).toContain("No node is left.");
  });
});
