/**
 * The command line as it is typed: real processes, exit codes, and what is printed where.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, describe, expect, test } from "vitest";

import { proglogNode } from "./proglog-node.js";

const root = join(import.meta.dirname, "..", "..");
const directory = mkdtempSync(join(tmpdir(), "proglog-cli-"));
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

const hint = " See proglog-node --help.\n";

describe("help", () => {
  test("is as recorded, with the examples first", async () => {
    const { code, stdout, stderr } = await proglogNode(["--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    await expect(stdout).toMatchFileSnapshot(join(root, "test", "golden", "help.txt"));
    expect(stdout.indexOf("Examples:")).toBeLessThan(stdout.indexOf("Usage:"));
  });

  test("of the version is the package's", async () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    expect(await proglogNode(["--version"])).toEqual({
      code: 0,
      stdout: `${version}\n`,
      stderr: "",
    });
  });
});

describe("wrong usage", () => {
  test.each([
    [["--http-port", "1"], "Unknown argument: http-port."],
    [["stat"], "Unknown argument: stat."],
    [["--http-addr"], "--http-addr needs a value."],
    [["--http-addr", "5000"], `--http-addr can't be "5000"; it takes host:port (port 0 to 65535).`],
    [["--no-join"], "--join can't be false"],
    [["--bootstrap=maybe"], `--bootstrap can't be "maybe"; it takes true or false.`],
    [["config", "--voters", "3", "--voters", "5"], "--voters is given 2 times; give it once."],
    [["cluster", "--nodes", "10"], `--nodes can't be "10"; it takes 1 to 9.`],
    [["cluster", "--base-http-port", "8401"], "must be at least --nodes (3) apart."],
  ])("%j is one line with a hint, and exit 2", async (args, message) => {
    const { code, stdout, stderr } = await proglogNode(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`proglog-node: `);
    expect(stderr).toContain(message);
    expect(stderr.endsWith(hint)).toBe(true);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  });

  test("in the environment is refused alike", async () => {
    const { code, stderr } = await proglogNode(["config"], { PROGLOG_VOTERS: "2" });
    expect(code).toBe(2);
    expect(stderr).toContain(`PROGLOG_VOTERS can't be "2"`);
  });
});

describe("config", () => {
  test("prints each value and where it came from", async () => {
    const file = join(directory, "node.yaml");
    writeFileSync(file, "segmentBytes: 128MiB\nheartbeatMs: 50\n");
    const { code, stdout, stderr } = await proglogNode(
      ["config", "--node-name", "a", "--no-bootstrap", "--config", file],
      { PROGLOG_HEARTBEAT_MS: "40", PROGLOG_PORT: "tcp://10.0.0.1:8400", PROGLOG_X: "1" },
    );
    expect(code).toBe(0);
    const rows = stdout.split("\n").map((line) => line.split(/ {2,}/));
    expect(rows).toContainEqual(["node-name", "a", "flag --node-name"]);
    expect(rows).toContainEqual(["bootstrap", "false", "flag --bootstrap"]);
    expect(rows).toContainEqual(["heartbeat-ms", "40", "environment PROGLOG_HEARTBEAT_MS"]);
    expect(rows).toContainEqual(["segment-bytes", "128 MiB", `file ${file}`]);
    expect(rows).toContainEqual(["http-addr", "127.0.0.1:5000", "default"]);
    expect(stderr).toBe("proglog-node: There is no option PROGLOG_X; it is passed over.\n");
  });

  test("prints JSON for programs", async () => {
    const { stdout } = await proglogNode(["config", "--json", "--join", "b:1", "--join", "c:1"]);
    expect(JSON.parse(stdout)).toMatchObject({
      join: { value: ["b:1", "c:1"], source: "flag", name: "--join" },
      bootstrap: { value: false, source: "default" },
      advertiseRpcAddr: { value: null, source: "default" },
      segmentBytes: { value: 64 * 1024 * 1024, source: "default" },
    });
  });
});
