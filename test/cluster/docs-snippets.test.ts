/**
 * The commands of README.md and docs/http.md, run as printed: against the cluster that the README's
 * own command starts, with nothing but ports and directory replaced.
 *
 * Where the document prints an answer, the answer must have that form: the same fields with values
 * of the same types, and the same values where they do not depend on the day.
 */
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, describe, expect, test } from "vitest";

import { read, root } from "../tidy/tree.js";
import { clusterStatus } from "./http-client.js";
import { until } from "./poll.js";
import { freePorts } from "./ports.js";

const nodeCount = 3;
/** Ports as the documents print them. */
const printedHttpPort = 5000;
/** How long a command that follows the log is watched, seconds: curl ends it with 28. */
const followSeconds = 1;
const curlTimedOut = 28;

interface Snippet {
  readonly command: string;
  /** JSON that the document prints as its answer. */
  readonly answer: string | undefined;
}

/** Fenced blocks of a document: language and text. */
function blocksOf(path: string): { readonly language: string; readonly text: string }[] {
  return [...read(path).matchAll(/^```([a-z]+)\n([\s\S]*?)^```$/gm)].map((found) => ({
    language: found[1] ?? "",
    text: found[2] ?? "",
  }));
}

/** Each line of `sh` that calls curl; a `json` block after it is the answer of its last line. */
function fencedSnippets(path: string): Snippet[] {
  const blocks = blocksOf(path);
  return blocks.flatMap(({ language, text }, at) => {
    if (language !== "sh") return [];
    const commands = text.split("\n").filter((line) => line.startsWith("curl "));
    const next = blocks[at + 1];
    const answer = next?.language === "json" ? next.text : undefined;
    return commands.map((command, nth) => ({
      command,
      answer: nth === commands.length - 1 ? answer : undefined,
    }));
  });
}

/** The same of indented code: the answer is the line below, if it is JSON. */
function indentedSnippets(path: string): Snippet[] {
  const lines = read(path).split("\n");
  return lines.flatMap((line, at) => {
    if (!line.startsWith("    curl ")) return [];
    const next = lines[at + 1]?.trim() ?? "";
    return [{ command: line.trim(), answer: next.startsWith("{") ? next : undefined }];
  });
}

/** A command with a placeholder, `…`, is for the reader to complete. */
function isComplete({ command }: Snippet): boolean {
  return !command.includes("…");
}

/** Values that are the same whenever a document's commands are run in their order. */
const fixedKeys = new Set(["offset", "message", "count", "code", "status", "outcome", "title"]);

/** What of an answer the document fixes: a fixed value, a type, or the same of each field. */
function formOf(value: unknown, key = ""): unknown {
  if (fixedKeys.has(key)) return value;
  if (Array.isArray(value)) return value.map((item) => formOf(item));
  if (typeof value !== "object" || value === null) return `a ${typeof value}`;
  const entries = Object.entries(value).map(([name, field]) => [name, formOf(field, name)]);
  return Object.fromEntries(entries) as unknown;
}

/** A list printed as `[…]` stands for any list. */
function formOfAnswer(answer: unknown, printed: unknown): unknown {
  const form = formOf(answer) as Record<string, unknown>;
  for (const [name, value] of Object.entries(printed as object)) {
    if (JSON.stringify(value) === '["…"]') form[name] = formOf(value);
  }
  return form;
}

/** The cluster of the README's own command, on ports and in a directory of the test's. */
class ReadmeCluster {
  readonly directory: string;
  readonly baseHttpPort: number;
  readonly #child: ChildProcess;
  #output = "";
  readonly #exit: Promise<number | null>;

  constructor(ports: { readonly http: number; readonly rpc: number }) {
    this.directory = mkdtempSync(join(tmpdir(), "proglog-docs-"));
    this.baseHttpPort = ports.http;
    const own =
      `--base-http-port ${ports.http} --base-rpc-port ${ports.rpc} ` +
      `--data-dir ${join(this.directory, "data")}`;
    const env = Object.entries(process.env).filter(([name]) => !name.startsWith("PROGLOG_"));
    this.#child = spawn("sh", ["-c", `exec ${startCommand()} ${own}`], {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
      env: Object.fromEntries(env),
    });
    const keep = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString()).slice(-100_000);
    };
    this.#child.stdout?.on("data", keep);
    this.#child.stderr?.on("data", keep);
    this.#exit = new Promise((resolve) => {
      this.#child.once("exit", resolve);
    });
  }

  static async start(): Promise<ReadmeCluster> {
    const http = await freePorts(nodeCount);
    const cluster = new ReadmeCluster({ http, rpc: await freePorts(nodeCount) });
    await until("the README's cluster to form", async () => {
      if (cluster.#child.exitCode !== null) throw new Error(cluster.#output);
      return cluster.#output.includes("Ctrl-C stops all nodes") ? cluster.#output : undefined;
    });
    return cluster;
  }

  /** The port of the node that leads. */
  async leaderPort(): Promise<number> {
    return until("a leader", async () => {
      const { leader } = await clusterStatus(`http://127.0.0.1:${this.baseHttpPort}`, 1_000);
      return leader === null ? undefined : Number(leader.httpAddr.split(":")[1]);
    });
  }

  /** Runs a command of a document in the shell; resolves with its exit code and output. */
  async run(
    command: string,
    portOf: (printed: number) => number,
  ): Promise<{ readonly code: number; readonly output: string }> {
    const ours = command.replace(/127\.0\.0\.1:(500\d)\b/g, (_all, port: string) => {
      return `127.0.0.1:${portOf(Number(port))}`;
    });
    const follows = / -N /.test(ours);
    const bounded = ours.replace(/^curl /, `curl --max-time ${follows ? followSeconds : 15} `);
    return new Promise((resolve) => {
      execFile("sh", ["-c", bounded], { cwd: this.directory }, (error, output) => {
        const code = typeof error?.code === "number" ? error.code : error === null ? 0 : -1;
        resolve({ code: follows && code === curlTimedOut ? 0 : code, output });
      });
    });
  }

  /** Ctrl-C, and how the command ended. */
  async interrupt(): Promise<number | null> {
    this.#child.kill("SIGINT");
    return this.#exit;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode === null) {
      // Its nodes end with it: their channel to it closes.
      this.#child.kill("SIGKILL");
      await this.#exit;
    }
    await until("the nodes to let go of their directory", async () => {
      rmSync(this.directory, { recursive: true, force: true });
      return Promise.resolve(true);
    });
  }
}

/** What the README's first command does once all is installed and built. */
function startCommand(): string {
  const [first] = blocksOf("README.md");
  const [install, build, start] = first?.text.trim().split(" && ") ?? [];
  expect([first?.language, install, build]).toEqual(["sh", "npm ci", "npm run build"]);
  expect(start).toBe(`node bin/proglog-node.js cluster --nodes ${nodeCount}`);
  return start ?? "";
}

let cluster: ReadmeCluster | undefined;

afterEach(async () => {
  await cluster?.close();
  cluster = undefined;
});

async function check(snippet: Snippet, portOf: (printed: number) => number): Promise<void> {
  const { command, answer } = snippet;
  const result = await cluster?.run(command, portOf);
  expect([command, result?.code]).toEqual([command, 0]);
  if (answer === undefined) return;
  const printed: unknown = JSON.parse(answer.replaceAll("[…]", '["…"]'));
  const body = (result?.output ?? "").split("\r\n\r\n").at(-1) ?? "";
  const given: unknown = JSON.parse(body);
  expect([command, formOfAnswer(given, printed)]).toEqual([command, formOf(printed)]);
}

describe("the snippets", () => {
  test("of README.md work as printed, in their order, and Ctrl-C stops the cluster", async () => {
    const snippets = fencedSnippets("README.md");
    expect(snippets.length).toBeGreaterThanOrEqual(8);
    expect(snippets.filter((snippet) => !isComplete(snippet))).toEqual([]);
    cluster = await ReadmeCluster.start();
    const { baseHttpPort } = cluster;
    for (const snippet of snippets) {
      await check(snippet, (printed) => baseHttpPort + printed - printedHttpPort);
    }
    expect(await cluster.interrupt()).toBe(0);
  });

  test("of docs/http.md work as printed, asked of the leader", async () => {
    const path = "docs/http.md";
    const snippets = [...fencedSnippets(path), ...indentedSnippets(path)].filter(isComplete);
    expect(snippets.length).toBeGreaterThanOrEqual(5);
    cluster = await ReadmeCluster.start();
    writeFileSync(join(cluster.directory, "photo.png"), Buffer.from([0x89, 0x50, 0x4e, 0x47]));
    const port = await cluster.leaderPort();
    for (const snippet of snippets) await check(snippet, () => port);
  });
});
