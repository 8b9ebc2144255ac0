/**
 * The command line of `proglog` in this process: what is understood, what is refused, what goes
 * where. Nothing is dialled: a command that got so far as to ask for a client has been understood.
 */
import { PassThrough, Readable, Writable } from "node:stream";

import { describe, expect, test } from "vitest";

import type { Client } from "../../src/client/client.js";
import type { ClientOptions } from "../../src/client/options.js";
import { ProglogError } from "../../src/common/errors.js";
import { systemClock, systemRandom } from "../../src/common/system.js";
import { runTalk } from "../../src/cli/talk/command-line.js";
import { talkCommands } from "../../src/cli/talk/commands.js";
import { complaintOf } from "../../src/cli/talk/complaint.js";
import { exitCodeMeanings, exitCodeOf, exitCodes } from "../../src/cli/talk/exit-codes.js";
import { read } from "../tidy/tree.js";

interface Heard {
  readonly code: number;
  readonly complaints: readonly string[];
  /** What a client was asked for with; undefined if none was. */
  readonly connection: ClientOptions | undefined;
}

/** Runs a line up to the point where it would dial. */
async function hear(args: readonly string[], env: Record<string, string> = {}): Promise<Heard> {
  const complaints: string[] = [];
  let connection: ClientOptions | undefined;
  const never = new Promise<never>(() => undefined);
  const code = await runTalk(args, {
    ...{ env, version: "0", hostname: "here", clock: systemClock, random: systemRandom },
    stdin: Readable.from([]),
    stdout: new PassThrough(),
    terminals: { stdin: false, stderr: false },
    complain: (line) => void complaints.push(line),
    writeError: () => expect.unreachable(),
    listenForStop: () => ({ asked: never, forced: never }),
    exit: () => expect.unreachable(),
    connect: async (options) => {
      connection = options;
      throw new ProglogError("unavailable", "That is far enough.");
    },
  });
  return { code, complaints, connection };
}

describe("wrong usage", () => {
  test.each([
    [[], "Name a command."],
    [["prodcue"], "Unknown command: prodcue."],
    [["produce", "--keys", "1", "x"], "Unknown argument: keys."],
    [["produce", "--key", "1", "--key", "2", "x"], "--key is given 2 times; give it once."],
    [["produce", "--key"], "--key needs a value."],
    [["produce", "--header", "novalue", "x"], `--header can't be "novalue"; it takes name=value.`],
    [["produce", "--header", "=v", "x"], `--header can't be "=v"; it takes name=value.`],
    [["produce", "--header", "a=1", "--header", "a=2", "x"], `--header names "a" twice.`],
    [["produce", "--expected-offset", "-1", "x"], `--expected-offset can't be "-1"`],
    [["produce", "--value-json", "{"], `"{" is not JSON.`],
    [["consume", "--from", "middle"], `--from can't be "middle"; it takes an offset, earliest`],
    [["consume", "--from", "2026-02-30T12:00:00Z"], "or an RFC 3339 time"],
    [["consume", "--from", "2026-01-31T12:00:00"], "or an RFC 3339 time"],
    [["consume", "--limit", "0"], `--limit can't be "0"; it takes an integer from 1`],
    [["consume", "--raw", "--json"], "Give --raw or --json, not both."],
    [["members", "fly"], `members can't "fly"; it can add, remove or promote.`],
    [["members", "add"], "members add needs a node's rpc address."],
    [["members", "add", "n1"], `members add can't take "n1"; it takes host:port.`],
    [["members", "remove"], "members remove needs a member's id or name."],
    [["bench", "--in-flight", "0"], `--in-flight can't be "0"`],
    [["status", "--timeout", "10"], `--timeout can't be "10"; it takes a time from 1ms to 24h`],
    [["status", "--server", "10.0.0.1"], `--server can't be "10.0.0.1"; it takes host:port.`],
    [["status", "--server", "a:1,,b:2"], `--server can't be ""; it takes host:port.`],
  ])("%j is one line with a hint, exit 2, and nothing is dialled", async (args, message) => {
    const { code, complaints, connection } = await hear(args);
    expect({ code, connection }).toEqual({ code: exitCodes.usage, connection: undefined });
    expect(complaints).toHaveLength(1);
    expect(complaints[0]).toContain(message);
    expect(complaints[0]).toMatch(/^[^\n]* See proglog --help\.$/);
  });

  test("in the environment is refused alike", async () => {
    const { code, complaints } = await hear(["status"], { PROGLOG_SERVER: "nowhere" });
    expect(code).toBe(exitCodes.usage);
    expect(complaints[0]).toContain(`PROGLOG_SERVER can't be "nowhere"`);
  });
});

describe("what is understood", () => {
  test.each([
    ["the default", ["status"], {}, ["127.0.0.1:8400"]],
    ["the environment", ["status"], { PROGLOG_SERVER: "a:1, b:2" }, ["a:1", "b:2"]],
    [
      "a list",
      ["status", "--server", "a:1,[::1]:2"],
      { PROGLOG_SERVER: "c:3" },
      ["a:1", "[::1]:2"],
    ],
    ["a flag given twice", ["--server", "a:1", "status", "--server", "b:2"], {}, ["a:1", "b:2"]],
  ])("servers come from %s", async (_what, args, env: Record<string, string>, servers) => {
    const { connection } = await hear(args, env);
    expect(connection?.servers).toEqual(servers);
  });

  test.each([
    [["consume", "--from", "-10"]],
    [["consume", "--from", "latest", "-f", "--local"]],
    [["consume", "--from", "2026-01-31T12:00:00Z"]],
    [["consume", "--from", "2026-01-31t12:00:00.5+01:00"]],
    [["produce", "--header", "a=b", "value", "--header", "c=d=e", "", "--", "-1"]],
    [["members", "promote", "n1", "--json"]],
    [["transfer-leader"]],
  ])("%j", async (args) => {
    const { connection, code } = await hear(args);
    expect(connection).toBeDefined();
    expect(code).toBe(exitCodes.couldNot);
  });

  test("a timeout bounds reads and appends alike", async () => {
    const { connection } = await hear(["status", "--timeout", "1.5s", "--no-discovery"]);
    expect(connection).toMatchObject({
      ...{ readTimeoutMs: 1500, deliveryTimeoutMs: 1500 },
      discovery: false,
    });
  });
});

test("a record whose offset can't be printed is in the log: neither done nor safe to repeat", async () => {
  const complaints: string[] = [];
  const never = new Promise<never>(() => undefined);
  const full = Object.assign(new Error("no space left"), { code: "ENOSPC" });
  const client = {
    status: async () => Promise.resolve({}),
    ready: async () => Promise.resolve(),
    produce: async () => Promise.resolve({ offset: 7, timestampMs: 0, duplicate: false }),
    close: async () => Promise.resolve(),
  };
  const code = await runTalk(["produce", "x"], {
    ...{ env: {}, version: "0", hostname: "here", clock: systemClock, random: systemRandom },
    stdin: Readable.from([]),
    stdout: new Writable({ write: (_chunk, _encoding, done) => done(full) }),
    terminals: { stdin: false, stderr: false },
    complain: (line) => void complaints.push(line),
    writeError: () => expect.unreachable(),
    listenForStop: () => ({ asked: never, forced: never }),
    exit: () => expect.unreachable(),
    connect: async () => Promise.resolve(client as unknown as Client),
  });
  expect(code).toBe(exitCodes.outcomeUnknown);
  expect(complaints).toEqual([
    "1 record is in the log, at offset 7.",
    "Standard output can't be written: no space left.",
  ]);
});

describe("a complaint", () => {
  test("is one line: cause, code and remedy", () => {
    const error = new ProglogError("no-quorum", "There is\n no quorum.");
    expect(complaintOf(error)).toMatch(/^There is no quorum \(no-quorum\)\. \S.*\.$/);
    expect(complaintOf(new Error("plain"))).toBe("plain.");
  });

  test("has an exit code that says what became of what was asked", () => {
    const unknown = new ProglogError("no-quorum", "", { outcome: "unknown" });
    expect(exitCodeOf(unknown)).toBe(exitCodes.outcomeUnknown);
    expect(exitCodeOf(new ProglogError("outcome-unknown", ""))).toBe(exitCodes.outcomeUnknown);
    expect(exitCodeOf(new ProglogError("disk-full", ""))).toBe(exitCodes.couldNot);
    const differs = new ProglogError("expected-offset-mismatch", "");
    expect(exitCodeOf(differs)).toBe(exitCodes.offsetDiffers);
  });
});

describe("docs/cli.md", () => {
  const page = read("docs/cli.md");

  test("has the table of exit codes as it is", () => {
    const rows = [...page.matchAll(/^\| (\d+) \| (.+) \|$/gm)].map(([, code, text]) => [
      code,
      text,
    ]);
    expect(rows).toEqual(Object.entries(exitCodeMeanings));
  });

  test("has each command, and names each flag that it has", async () => {
    for (const { usage } of [...talkCommands, { usage: "completion" }]) {
      const [name = ""] = usage.split(" ");
      expect(page).toMatch(new RegExp(`^## .*\`${name}\``, "m"));
    }
  });
});
