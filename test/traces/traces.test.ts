/**
 * Runs every script of this directory against the core and compares what it prints, to the letter.
 *
 * `npx vitest run test/traces -u` writes what is printed now; read the difference before you commit
 * it: a trace is the specification of a corner of the core.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { parseCommand, runScript } from "./datadriven.js";
import { TracedCluster } from "./traced-cluster.js";

const directory = import.meta.dirname;
const traces = readdirSync(directory).filter((name) => name.endsWith(".txt"));

describe("the trace", () => {
  test.each(traces)("%s prints what it says", async (name) => {
    const path = join(directory, name);
    const script = readFileSync(path, "utf8");
    const cluster = new TracedCluster();
    await expect(runScript(script, (command) => cluster.run(command))).toMatchFileSnapshot(path);
  });
});

describe("the runner", () => {
  test("puts the real output in the place of the expected one", () => {
    const script = "# why\nfirst a=1\n----\nwrong\nlines\n\nsecond\n";
    const ran = runScript(script, ({ name, options }) => [name, ...options.keys()]);
    expect(ran).toBe("# why\nfirst a=1\n----\nfirst\na\n\nsecond\n----\nsecond\n");
  });

  test("prints ok for a silent command", () => {
    expect(runScript("quiet\n", () => [])).toBe("quiet\n----\nok\n");
  });

  test("tells words from options", () => {
    const { name, words, options } = parseCommand("deliver drop from=1  to=2");
    expect({ name, words, from: options.get("from"), to: options.get("to") }).toEqual({
      name: "deliver",
      words: ["drop"],
      from: "1",
      to: "2",
    });
  });
});
