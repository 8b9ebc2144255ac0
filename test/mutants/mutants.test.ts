/**
 * The planted bugs still apply: to code that is there, once each, and to rules that there are.
 * Whether the simulator sees them is `npm run test:mutants`'s to say.
 */
import { describe, expect, test } from "vitest";

import { read } from "../tidy/tree.js";
import { editsOf } from "./mutant.js";
import { blindSpots } from "./blind-spots.js";
import { mutants as seen } from "./mutants.js";

const mutants = [...seen, ...blindSpots];
const rules = new Set(
  read("docs/testing.md")
    .split("\n")
    .map((line) => /^\| (R-[A-Z]\d+) \|/.exec(line)?.[1]),
);

describe("the planted bugs", () => {
  test("are enough, each with a name of its own", () => {
    const names = mutants.map(({ name }) => name);
    expect(seen.length).toBeGreaterThanOrEqual(24);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => !/^[a-z]+(-[a-z0-9]+)*$/.test(name))).toEqual([]);
  });

  test.each(mutants)("$name is in the code once, and changes it", (mutant) => {
    for (const { file, find, replace } of editsOf(mutant)) {
      expect([file, read(file).split(find).length - 1]).toEqual([file, 1]);
      expect(replace).not.toBe(find);
    }
  });

  test.each(mutants)("$name breaks a rule that there is", ({ rule }) => {
    expect([...rules]).toContain(rule);
  });

  test("touch production code only", () => {
    const files = mutants.flatMap((mutant) => editsOf(mutant).map(({ file }) => file));
    expect(files.filter((file) => !file.startsWith("src/"))).toEqual([]);
  });

  test("leave out no family of rules", () => {
    const families = new Set([...rules].map((rule) => rule?.[2]).filter(Boolean));
    const covered = new Set(seen.map(({ rule }) => rule[2]));
    expect([...families].filter((family) => !covered.has(family))).toEqual([]);
  });
});
