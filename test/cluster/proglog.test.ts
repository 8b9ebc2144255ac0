/**
 * The command `proglog` as it is typed, against a cluster of real processes: every command, what it
 * prints where, how it exits, and that a leader's death in the middle of a pipe loses nothing.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

import { Client } from "../../src/client/client.js";
import { root } from "../tidy/tree.js";
import { TestCluster } from "./harness.js";
import { briefly, until } from "./poll.js";
import { freePort } from "./ports.js";
import { showLogsOnFailure } from "./show-logs.js";

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await TestCluster.start({ nodeCount: 3 });
});

afterAll(async () => {
  await cluster.close();
});

showLogsOnFailure(() => cluster);

/** A command that runs. */
class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  readonly #out: Buffer[] = [];
  #err = "";

  constructor(program: string, args: readonly string[], servers = serversOf(cluster)) {
    const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("PROGLOG_"));
    this.child = spawn(program, args, {
      cwd: root,
      env: { ...Object.fromEntries(kept), PROGLOG_SERVER: servers },
      stdio: "pipe",
    });
    this.child.stdout?.on("data", (chunk: Buffer) => this.#out.push(chunk));
    this.child.stderr?.on("data", (chunk: Buffer) => (this.#err += chunk.toString()));
    // One that ends before it has read its input is no fault of the test.
    this.child.stdin?.on("error", () => undefined);
    this.ended = new Promise((resolve) => this.child.once("close", resolve));
    onTestFinished(() => void this.child.kill("SIGKILL"));
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#out);
  }

  get out(): string {
    return this.bytes.toString();
  }

  get lines(): string[] {
    return this.out.split("\n").slice(0, -1);
  }

  get err(): string {
    return this.#err;
  }

  /** Writes to its input, no faster than it reads. */
  async write(text: string): Promise<void> {
    if (this.child.stdin?.write(text) !== false) return;
    // One that ends early reads no more.
    await Promise.race([
      this.ended,
      new Promise((resolve) => this.child.stdin?.once("drain", resolve)),
    ]);
  }

  async end(): Promise<number | null> {
    this.child.stdin?.end();
    return this.ended;
  }
}

function serversOf({ nodes }: TestCluster): string {
  return nodes.map(({ rpcAddr }) => rpcAddr).join(",");
}

function begin(...args: string[]): Running {
  if (!existsSync(join(root, "dist"))) throw new Error("run `npm run build` first");
  return new Running(process.execPath, ["bin/proglog.js", ...args]);
}

/** Runs to the end with this input; fails unless it exits as said. */
async function run(code: number, args: readonly string[], input?: string): Promise<Running> {
  const running = begin(...args);
  if (input !== undefined) await running.write(input);
  expect([await running.end(), args, running.err]).toEqual([code, args, running.err]);
  return running;
}

/** The command in a shell's pipe. */
async function shell(line: string): Promise<Running> {
  const running = new Running("bash", ["-c", `proglog() { node bin/proglog.js "$@"; }; ${line}`]);
  await running.end();
  return running;
}

const numbered = (count: number, prefix: string): string[] =>
  Array.from({ length: count }, (_, nth) => `${prefix} ${nth}`);

async function endOffset(): Promise<number> {
  await using client = new Client({ servers: cluster.nodes.map(({ rpcAddr }) => rpcAddr) });
  return await client.endOffset();
}

describe("produce and consume", () => {
  test("values are appended in order; each offset is printed", async () => {
    const start = await endOffset();
    const { lines, err } = await run(0, ["produce", "one", "", "--", "-3"]);
    expect(lines.map(Number)).toEqual([start, start + 1, start + 2]);
    expect(err).toBe("");
    const read = await run(0, ["consume", "--from", String(start)]);
    expect(read.lines).toEqual(["one", "", "-3"]);
    expect((await run(0, ["consume", "--from", "-2", "--limit", "1"])).lines).toEqual([""]);
    expect((await run(0, ["consume", "--from", "latest"])).out).toBe("");
  });

  test("what belongs to a record comes back as JSON, bytes as base64", async () => {
    const flags = ["--key", "k", "--header", "a=1", "--header", "b=x=y"];
    const produced = await run(0, ["produce", "--json", ...flags, "hello"]);
    const receipt = JSON.parse(produced.out);
    expect(receipt).toEqual({ offset: expect.any(Number), timestamp: expect.any(String) });
    await run(0, ["produce", "--value-json", '{"n": 12345678901234567890}']);
    const bytes = await shell(`printf '\\377\\376' | proglog produce`);
    expect(bytes.err).toMatch(/^proglog: 1 record is in the log, at offset \d+\.\n$/);
    const from = String(receipt.offset);
    const read = await run(0, ["consume", "--from", from, "--json"]);
    const [first, second, third] = read.lines;
    expect(JSON.parse(first ?? "")).toEqual({
      ...receipt,
      message: "hello",
      key: "k",
      headers: { a: "1", b: "x=y" },
    });
    expect(second).toContain('"message":{"n":12345678901234567890}');
    expect(JSON.parse(third ?? "")).toMatchObject({ message: "//4=", encoding: "base64" });
    const raw = await run(0, ["consume", "--from", "-1", "--raw"]);
    expect(raw.bytes).toEqual(Buffer.from([0xff, 0xfe]));
  });

  test("20 000 lines through a pipe are 20 000 records, in order; so are 4 MB read by head", async () => {
    const start = await endOffset();
    const lines = numbered(20_000, "a line of some length, so that there is more than one append");
    const produced = await run(0, ["produce"], `${lines.join("\n")}\n`);
    expect(produced.err).toBe(
      `proglog: 20000 records are in the log, at offsets ${start} to ${start + 19_999}.\n`,
    );
    const read = await run(0, ["consume", "--from", String(start)]);
    expect(read.lines).toEqual(lines);
    const json = await run(0, ["consume", "--from", String(start), "--json"]);
    expect(json.lines.map((line) => JSON.parse(line).message)).toEqual(lines);
    for (const flags of ["", "--follow", "--json --follow"]) {
      const head = await shell(`proglog consume ${flags} | head -2; echo "\${PIPESTATUS[0]}"`);
      expect([flags, head.lines.length, head.lines[2], head.err]).toEqual([flags, 3, "0", ""]);
    }
    expect(await endOffset()).toBe(start + 20_000);
  });

  test("a line that is too long is refused by number; those before it are in the log", async () => {
    const start = await endOffset();
    const long = "x".repeat(5 * 1024 * 1024);
    const { err } = await run(1, ["produce"], `one\ntwo\n${long}\nfour\n`);
    expect(err).toMatch(/^proglog: Line 3: [^\n]*\(record-too-large\)[^\n]*\n$/);
    expect(err).toContain(`2 records are in the log, at offsets ${start} to ${start + 1};`);
    expect(await endOffset()).toBe(start + 2);
  });

  test("an offset that is not the expected one is exit 4, and appends nothing", async () => {
    const start = await endOffset();
    const right = ["produce", "--expected-offset", String(start), "a", "b"];
    expect((await run(0, right)).lines.map(Number)).toEqual([start, start + 1]);
    const { err } = await run(4, ["produce", "--expected-offset", String(start + 1), "c", "d"]);
    expect(err).toContain("expected-offset-mismatch");
    expect(await endOffset()).toBe(start + 2);
  });

  test("follow gives what comes until a signal, and then exits 0, quietly", async () => {
    const following = begin("consume", "--from", "latest", "--follow");
    await until("the follower to have begun", async () => {
      await run(0, ["produce", "knock"]);
      return following.lines.includes("knock") ? true : undefined;
    });
    await run(0, ["produce", "more"]);
    await until("the follower to see it", async () =>
      following.lines.at(-1) === "more" ? 1 : undefined,
    );
    following.child.kill("SIGINT");
    expect([await following.ended, following.err]).toEqual([0, ""]);
  });

  test("a signal ends the reading of input; what was read is in the log, and exit 130", async () => {
    const producing = begin("produce", "--json");
    await producing.write("one\ntwo\n");
    await until("two receipts", async () => (producing.lines.length === 2 ? true : undefined));
    producing.child.kill("SIGINT");
    expect(await producing.ended).toBe(130);
    expect(producing.err).toContain("Stopped by a signal: 2 records are in the log");
  });

  test("a slow reader slows the log's reading, and misses nothing", async () => {
    const slow = await shell("proglog consume --json | (sleep 1; wc -l)");
    expect(Number(slow.out)).toBe(await endOffset());
  });
});

describe("the cluster", () => {
  test("status is a table for people and the body of GET /cluster for programs", async () => {
    const { out } = await run(0, ["status"]);
    expect(out).toMatch(/^cluster {2}[0-9a-f-]{36}\nleader {3}n\d, in term \d+\nquorum {3}yes\n/);
    expect(out).toContain("NAME");
    const body = JSON.parse((await run(0, ["status", "--json"])).out);
    const shown = await (await fetch(`${cluster.node(0).httpUrl}/cluster`)).json();
    expect(Object.keys(body)).toEqual(Object.keys(shown as object));
    expect(body).toMatchObject({ clusterId: expect.any(String), quorum: true });
    const members = JSON.parse((await run(0, ["members", "--json"])).out);
    expect(members.map(({ name }: { name: string }) => name).sort()).toEqual(["n1", "n2", "n3"]);
  });

  test("leadership goes where it is told, by name", async () => {
    const [follower] = await cluster.followers();
    const name = follower?.name ?? "";
    const { out } = await run(0, ["transfer-leader", name, "--json"]);
    expect(JSON.parse(out)).toMatchObject({ leader: { name } });
    expect((await cluster.leader()).name).toBe(name);
    expect((await run(1, ["transfer-leader", name])).err).toContain("(unsafe-change)");
    expect((await run(0, ["transfer-leader"])).out).toMatch(/^n\d leads \([0-9a-f-]{36}\)\n$/);
  });

  test("a node comes in, votes, and goes", async () => {
    const node = await cluster.prepare();
    onTestFinished(async () => {
      if (node.isRunning) await node.kill9();
      cluster.nodes.pop();
    });
    const unreachable = await run(1, ["members", "add", `127.0.0.1:${await freePort()}`]);
    expect(unreachable.err).toContain("(member-unreachable)");
    node.start();
    const promoted = await until("the learner to catch up and be promoted", async () => {
      const running = begin("members", "promote", node.name, "--json");
      return (await running.end()) === 0 ? running : undefined;
    });
    expect(JSON.parse(promoted.out)).toMatchObject({ name: node.name, rpcAddr: node.rpcAddr });
    await cluster.untilVoters(4);
    const again = JSON.parse((await run(0, ["members", "add", node.rpcAddr, "--json"])).out);
    expect(again).toMatchObject({ name: node.name });
    expect((await run(1, ["members", "promote", node.name])).err).toContain("member already");
    await node.kill9();
    const { out } = await run(0, ["members", "remove", node.name]);
    expect(out).toBe(`removed ${node.name} (${again.id})\n`);
    expect((await run(1, ["members", "remove", node.name])).err).toContain("(unknown-member)");
    await cluster.untilVoters(3);
  });

  test("bench says that it appends, appends so many, and measures", async () => {
    const start = await endOffset();
    const { out, err } = await run(0, ["bench", "--records", "500", "--size", "10", "--json"]);
    expect(err).toBe("proglog: Appending 500 records of 10 bytes to the log; they stay in it.\n");
    const result = JSON.parse(out);
    expect(result).toMatchObject({ records: 500, size: 10, inFlight: 1000 });
    for (const name of ["recordsPerSecond", "p50Ms", "p99Ms"]) {
      expect(result[name]).toBeGreaterThan(0);
    }
    expect(await endOffset()).toBe(start + 500);
    const table = await run(0, ["bench", "--records", "20", "--in-flight", "1"]);
    expect(table.out).toMatch(/^records\/s {2}\d+\np50 .* ms\np99 .* ms\n$/);
  });

  test("completion prints a script, and completes", async () => {
    expect((await run(0, ["completion"])).out).toContain("proglog completion >>");
    const { lines } = await run(0, ["--get-yargs-completions", "proglog", "trans"]);
    expect(lines).toContain("transfer-leader");
  });
});

describe("without a cluster", () => {
  test.each([
    [["consume"]],
    [["consume", "--follow"]],
    [["produce", "x"]],
    [["status"]],
    [["members"]],
    [["transfer-leader"]],
    [["bench"]],
  ])("%j fails in time, with one line that says what to do", async (args) => {
    const address = `127.0.0.1:${await freePort()}`;
    const { err, out } = await run(1, [...args, "--server", address, "--timeout", "500ms"]);
    expect(out).toBe("");
    expect(err).toMatch(
      new RegExp(
        `^proglog: No node answers at ${address} \\(unavailable\\)\\. [^\\n]*--server.\n$`,
      ),
    );
  });
});

describe("a leader that is killed", () => {
  test("in the middle of a pipe: each line is in the log once, and in order", async () => {
    const start = await endOffset();
    const lines = numbered(6_000, "in the middle");
    const following = begin("consume", "--from", String(start), "--follow", "--limit", "6000");
    const producing = begin("produce", "--json", "--timeout", "60s");
    let killed: Promise<void> | undefined;
    for (const [nth, line] of lines.entries()) {
      await producing.write(`${line}\n`);
      if (nth % 50 === 0) await briefly(10);
      if (nth !== 2_000) continue;
      await until("some to be acknowledged", async () =>
        producing.lines.length > 0 ? 1 : undefined,
      );
      killed = cluster.leader().then(async (leader) => {
        await leader.kill9();
        leader.restart();
      });
    }
    await killed;
    expect([await producing.end(), producing.err]).toEqual([
      0,
      `proglog: 6000 records are in the log, at offsets ${start} to ${start + 5_999}.\n`,
    ]);
    const offsets = producing.lines.map((line) => JSON.parse(line).offset);
    expect(offsets).toEqual(lines.map((_, nth) => start + nth));
    expect(await following.ended).toBe(0);
    expect(following.lines).toEqual(lines);
    expect((await run(0, ["consume", "--from", String(start)])).lines).toEqual(lines);
    await cluster.untilVoters(3);
  });

  test("of most: writes are refused in time, reads of what is there go on", async () => {
    const [first, second] = await cluster.followers();
    await first?.kill9();
    await second?.kill9();
    // Until the loss is noticed, an append may reach the leader's log: its outcome is unknown then.
    const [survivor] = cluster.awake;
    await until("the loss to be noticed", async () =>
      (await survivor?.status())?.quorum === false ? true : undefined,
    );
    const refused = await run(1, ["produce", "x", "--timeout", "3s"]);
    expect(refused.err).toMatch(/^proglog: [^\n]*\((no-quorum|no-leader)\)[^\n]*\n$/);
    expect((await run(1, ["consume", "--timeout", "3s"])).err).toContain("consume --local");
    const local = await run(0, ["consume", "--local", "--limit", "1"]);
    expect(local.lines).toHaveLength(1);
    expect((await run(0, ["status"])).out).toContain("quorum   no");
    first?.restart();
    second?.restart();
    await cluster.untilVoters(3);
  });
});
