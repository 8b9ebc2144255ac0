/**
 * The table of rules in docs/testing.md: every rule is there once, in order, and every test that a
 * row names exists.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { filesUnder, read, root } from "../tidy/tree.js";

/** How many rules each family has. */
const families = { E: 12, R: 9, C: 6, P: 9, S: 8, M: 9, Q: 5, T: 3, D: 9 };

const rules = Object.entries(families).flatMap(([family, count]) =>
  Array.from({ length: count }, (_, at) => `R-${family}${at + 1}`),
);

const rows = read("docs/testing.md")
  .split("\n")
  .flatMap((line) => {
    const [, rule, , guards] = line.split("|").map((cell) => cell.trim());
    return rule !== undefined && /^R-[A-Z]\d+$/.test(rule) ? [{ rule, guards: guards ?? "" }] : [];
  });

/** `path` or `path` "name of the test". */
function guardsOf(text: string): { readonly path: string; readonly name: string | undefined }[] {
  return [...text.matchAll(/`(test\/[^`]+)`(?: "([^"]+)")?/g)].map((found) => ({
    path: found[1] ?? "",
    name: found[2],
  }));
}

describe("the rules of docs/testing.md", () => {
  test("are all there, once and in order", () => {
    expect(rows.map(({ rule }) => rule)).toEqual(rules);
  });

  test.each(rows)("$rule is guarded by tests that exist", ({ guards }) => {
    const named = guardsOf(guards);
    expect(named.length).toBeGreaterThan(0);
    for (const { path, name } of named) {
      expect([path, existsSync(join(root, path))]).toEqual([path, true]);
      if (name !== undefined) expect(read(path)).toContain(`"${name}"`);
    }
  });

  test("name tests and traces, nothing else", () => {
    const paths = rows.flatMap(({ guards }) => guardsOf(guards).map(({ path }) => path));
    expect(
      paths.filter((path) => !/(\.test\.ts|^test\/traces\/[a-z0-9_]+\.txt)$/.test(path)),
    ).toEqual([]);
  });

  test("leave out no trace", () => {
    const text = read("docs/testing.md");
    const traces = filesUnder("test/traces").filter((path) => path.endsWith(".txt"));
    const unnamed = traces.filter((path) => !text.includes(`\`${path}\``));
    expect(unnamed).toEqual([]);
  });
});
