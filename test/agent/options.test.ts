/**
 * Holds the option table to its own rules and docs/options.md to the table, both ways.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { UsageError, formatBytes, mebibyte } from "../../src/agent/option-table.js";
import {
  completeOptions,
  environmentNameOf,
  flagOf,
  nodeOptions,
  optionKeys,
  optionTable,
  parseOption,
} from "../../src/agent/options.js";

describe("the option table", () => {
  test("has defaults that its own rules accept", () => {
    const defaults = completeOptions({}, "host-1");
    for (const key of optionKeys) {
      const value = defaults[key];
      if (value !== undefined) expect(optionTable[key].parse(value), key).toEqual(value);
    }
  });

  test("states the default that stands", () => {
    const defaults = completeOptions({}, "host-1");
    for (const key of optionKeys) {
      const { defaultText, unit } = optionTable[key];
      const value = defaults[key];
      if (typeof value !== "number") continue;
      const isBytes = unit === "bytes" || unit === "bytes per second";
      expect(defaultText, key).toBe(isBytes ? formatBytes(value) : String(value));
    }
  });

  test("names the unit last in keys that have one", () => {
    for (const key of optionKeys) {
      const { unit } = optionTable[key];
      if (unit === "bytes") expect(key).toMatch(/Bytes(Max|Min)?$/);
      if (unit === "bytes per second") expect(key).toMatch(/BytesPerSecond$/);
      if (unit === "milliseconds") expect(key).toMatch(/Ms$/);
    }
  });

  test("derives flags and environment names from keys", () => {
    expect(flagOf("electionTimeoutMs")).toBe("election-timeout-ms");
    expect(environmentNameOf("electionTimeoutMs")).toBe("PROGLOG_ELECTION_TIMEOUT_MS");
  });
});

describe("a value", () => {
  const refused: readonly (readonly [Parameters<typeof parseOption>[0], unknown])[] = [
    ["nodeName", "-a"],
    ["nodeName", "a b"],
    ["nodeName", "a".repeat(64)],
    ["httpAddr", "5000"],
    ["httpAddr", ":5000"],
    ["httpAddr", "::1:5000"],
    ["httpAddr", "127.0.0.1:65536"],
    ["advertiseHttpAddr", "127.0.0.1:0"],
    ["join", "a:1,,b:2"],
    ["join", "a:0"],
    ["join", [1]],
    ["bootstrap", "yes"],
    ["voters", "4"],
    ["voters", 11],
    ["heartbeatMs", "60ms"],
    ["heartbeatMs", "1e2"],
    ["heartbeatMs", 60.5],
    ["heartbeatMs", ""],
    ["maxRecordBytes", "1MB"],
    ["maxRecordBytes", "1.5MiB"],
    ["maxRecordBytes", "0"],
    ["maxRecordBytes", "17MiB"],
    ["segmentBytes", null],
    ["followerWrites", "drop"],
    ["logLevel", "loud"],
  ];

  test.each(refused)("%s refuses %j, with its name", (key, given) => {
    expect(() => parseOption(key, given, `--${flagOf(key)}`)).toThrow(UsageError);
    expect(() => parseOption(key, given, `--${flagOf(key)}`)).toThrow(`--${flagOf(key)} `);
  });

  test("is bytes with or without a unit", () => {
    for (const given of ["2097152", "2MiB", "2 MiB", "2048KiB", 2 * mebibyte]) {
      expect(parseOption("maxRecordBytes", given, "")).toBe(2 * mebibyte);
    }
  });

  test("of zero is zero", () => {
    expect(parseOption("raftLogKeepBytes", "0", "")).toBe(0);
    expect(completeOptions({ tailCacheBytes: 0 }, "h").tailCacheBytes).toBe(0);
  });

  test("is a list of addresses without repeats; empty text is none", () => {
    expect(parseOption("join", "a:1, [::1]:2,a:1", "")).toEqual(["a:1", "[::1]:2"]);
    expect(parseOption("join", "", "")).toEqual([]);
  });

  test("refused names the value and the range", () => {
    expect(() => parseOption("voters", "4", "--voters")).toThrow(
      `--voters can't be "4"; it takes integer (odd, 1 to 9).`,
    );
  });
});

describe("options together", () => {
  test("bootstrap unless there is something to join", () => {
    expect(completeOptions({}, "h").bootstrap).toBe(true);
    expect(completeOptions({ join: [] }, "h").bootstrap).toBe(true);
    expect(completeOptions({ join: ["a:1"] }, "h").bootstrap).toBe(false);
    expect(completeOptions({ join: ["a:1"], bootstrap: true }, "h").bootstrap).toBe(true);
  });

  test("take the node's name from the host, made fit", () => {
    expect(completeOptions({}, "db-1.example").nodeName).toBe("db-1.example");
    expect(completeOptions({}, "-ä").nodeName).toBe("node");
    expect(completeOptions({}, "x".repeat(80)).nodeName).toHaveLength(63);
  });

  test("refuse an election timeout under 5 heartbeats", () => {
    expect(() => completeOptions({ electionTimeoutMs: 299 }, "h")).toThrow("at least 5 times");
    expect(completeOptions({ electionTimeoutMs: 300 }, "h").electionTimeoutMs).toBe(300);
  });

  test("refuse files too small for a record", () => {
    const maxRecordBytes = 16 * mebibyte;
    expect(() => completeOptions({ maxRecordBytes }, "h")).toThrow("--raft-log-file-bytes");
    const given = { maxRecordBytes, raftLogFileBytes: 32 * mebibyte };
    expect(completeOptions(given, "h").maxRecordBytes).toBe(maxRecordBytes);
    expect(() => completeOptions({ ...given, segmentBytes: mebibyte }, "h")).toThrow(
      "--segment-bytes (1MiB) must be at least 16MiB",
    );
  });

  test("refuse one address for both servers, but for free ports", () => {
    const both = (addr: string): unknown => completeOptions({ httpAddr: addr, rpcAddr: addr }, "h");
    expect(() => both("127.0.0.1:7000")).toThrow("can't both be");
    expect(() => both("127.0.0.1:0")).not.toThrow();
  });

  test("of a program are checked like flags", () => {
    expect(nodeOptions({ httpAddr: "127.0.0.1:0" }, "h").httpAddr).toBe("127.0.0.1:0");
    expect(() => nodeOptions({ voters: 2 }, "h")).toThrow("voters can't be 2");
    expect(() => nodeOptions({ votes: 3 } as never, "h")).toThrow("There is no option votes.");
  });
});

test("docs/options.md says what the option table says, and no more", () => {
  const path = join(import.meta.dirname, "..", "..", "docs", "options.md");
  const rows = readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line.startsWith("| `--"))
    .map((line) => line.split("|").map((cell) => cell.trim()))
    .map((cells) => cells.slice(1, -1));
  const expected = optionKeys.map((key) => {
    const row = optionTable[key];
    return [
      `\`--${flagOf(key)}\``,
      `\`${environmentNameOf(key)}\``,
      row.isNotInFile === true ? "none" : `\`${key}\``,
      row.type,
      row.unit ?? "",
      row.range,
      row.defaultText,
      row.doc,
    ];
  });
  expect(rows).toEqual(expected);
});
