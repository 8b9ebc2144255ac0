/**
 * docs/errors.md against the table of codes in src/common/errors.ts: each code has one row, each
 * row is a code, and the columns that a program may rest on are the same.
 */
import { describe, expect, test } from "vitest";

import { errorTable } from "../../src/common/errors.js";
import { read } from "../tidy/tree.js";

/** Names of google.rpc.Code by number. */
const grpcNames = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
];

interface Row {
  readonly code: string;
  /** HTTP, gRPC, retryable, outcome. */
  readonly facts: readonly string[];
  readonly when: string;
  readonly advice: string;
}

const rows: readonly Row[] = read("docs/errors.md")
  .split("\n")
  .filter((line) => /^\| `[a-z-]+` \| \d{3} \|/.test(line))
  .map((line) => {
    const cells = line.split("|").map((cell) => cell.trim());
    const [, code = "", http = "", grpc = "", retryable = "", outcome = ""] = cells;
    const [when = "", advice = ""] = cells.slice(6);
    return {
      code: code.replaceAll("`", ""),
      facts: [http, grpc, retryable, outcome],
      when,
      advice,
    };
  });

describe("docs/errors.md", () => {
  test("has a row for each code, in the order of the table, and no other", () => {
    expect(rows.map(({ code }) => code)).toEqual(Object.keys(errorTable));
  });

  test.each(Object.entries(errorTable))("says of %s what the table says", (code, entry) => {
    const row = rows.find((candidate) => candidate.code === code);
    const grpcName = grpcNames[entry.grpc];
    const { retryable, outcome } = entry;
    expect(row?.facts).toEqual([
      String(entry.http),
      grpcName,
      retryable ? "yes" : "no",
      outcome ?? "–",
    ]);
  });

  test("says of each code when it occurs and what to do, or that it is reserved", () => {
    const silent = rows.filter(
      ({ when, advice }) => when === "" || (advice === "" && !when.startsWith("reserved")),
    );
    expect(silent).toEqual([]);
  });
});
