/** The package as a user gets it: packed, installed in an empty directory, and run. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { afterAll, beforeAll, expect, test } from "vitest";

import { root } from "../tidy/tree.js";
import { report, until } from "./poll.js";
import { freePort } from "./ports.js";

const run = promisify(execFile);
let directory: string;
let app: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "proglog-package-"));
  app = join(directory, "app");
  mkdirSync(app);
  await run("npm", ["pack", "--silent", "--pack-destination", directory], { cwd: root });
  const [tarball = ""] = readdirSync(directory).filter((name) => name.endsWith(".tgz"));
  await run("npm", ["init", "-y"], { cwd: app });
  const flags = ["--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"];
  await run("npm", ["install", ...flags, join(directory, tarball)], { cwd: app, timeout: 170_000 });
});

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

test("the commands of the installed package start a node, append to it, and read it", async () => {
  const http = `127.0.0.1:${await freePort()}`;
  const rpc = `127.0.0.1:${await freePort()}`;
  const env = {
    ...process.env,
    ...{ PROGLOG_HTTP_ADDR: http, PROGLOG_RPC_ADDR: rpc, PROGLOG_SERVER: rpc },
  };
  const inApp = { cwd: app, env };
  const about = readFileSync(join(root, "package.json"), "utf8");
  const { version } = JSON.parse(about) as { readonly version: string };
  expect((await run("npx", ["proglog-node", "--version"], inApp)).stdout.trim()).toBe(version);
  const command = join(app, "node_modules", ".bin", "proglog-node");
  const node = spawn(command, [], { ...inApp, stdio: "ignore" });
  const ended = once(node, "exit");
  try {
    const produced = await until("an append", async () => {
      return (await run("npx", ["proglog", "produce", "hello"], inApp)).stdout;
    });
    expect(produced).toBe("0\n");
    expect((await run("npx", ["proglog", "consume"], inApp)).stdout).toBe("hello\n");
  } finally {
    node.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
  }
});

test("a program finds every door of the package", async () => {
  const program = `
    const { Client, startNode } = await import("proglog");
    const { HttpClient } = await import("proglog/http");
    const { TestCluster } = await import("proglog/testing");
    console.log([Client, startNode, HttpClient, TestCluster].map((door) => typeof door).join());`;
  const flags = ["--input-type=module", "-e", program];
  const { stdout } = await run(process.execPath, flags, { cwd: app });
  expect(stdout.trim()).toBe("function,function,function,function");
});

test("what is packed is the program, its types and its papers, and no more", async () => {
  const { stdout } = await run("npm", ["pack", "--dry-run", "--json"], { cwd: root });
  const [packed] = JSON.parse(stdout) as [
    { readonly size: number; readonly files: readonly { readonly path: string }[] },
  ];
  const rooms = new Set(packed.files.map(({ path }) => path.split("/")[0]));
  expect([...rooms].sort()).toEqual(
    ["CHANGELOG.md", "LICENSE", "README.md", "bin", "dist", "package.json", "proto"].sort(),
  );
  report(`${packed.files.length} files, ${Math.round(packed.size / 1024)} KiB packed`);
});
