/**
 * The programs in docs/examples and the snippets of the client's pages, run as printed against real
 * nodes, with nothing but addresses replaced.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import * as proglog from "../../src/index.js";
import { filesUnder, read, root } from "../tidy/tree.js";
import { TestCluster } from "./harness.js";
import { showLogsOnFailure } from "./show-logs.js";

let cluster: TestCluster;
let other: TestCluster;

beforeAll(async () => {
  cluster = await TestCluster.start({ nodeCount: 3 });
  other = await TestCluster.start({ nodeCount: 1 });
});

afterAll(async () => {
  await cluster.close();
  await other.close();
});

showLogsOnFailure(() => cluster);

const addresses = (of: TestCluster): string[] => of.nodes.map((node) => node.rpcAddr);

/** Runs a program of docs/examples to its end, and returns what it printed. */
async function runExample(name: string, args: readonly string[]): Promise<string[]> {
  const path = join(root, "docs", "examples", name);
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [path, ...args], { timeout: 30_000 }, (error, output, errors) => {
      if (error === null && errors === "") resolve(output.trim().split("\n"));
      else reject(new Error(`${name}: ${error?.message ?? ""}\n${output}\n${errors}`));
    });
  });
}

const ran = new Set<string>();

async function example(name: string, args: readonly string[]): Promise<string[]> {
  ran.add(name);
  return runExample(name, args);
}

describe("docs/examples", () => {
  test("produce-and-consume.mjs", async () => {
    const lines = await example("produce-and-consume.mjs", addresses(cluster));
    expect(lines[0]).toMatch(/^"hello" is at offset \d+$/);
    expect(lines.slice(2, 5).map((line) => line.split(" ").slice(1).join(" "))).toEqual([
      'order-1 {"order":1}',
      'order-2 {"order":2}',
      'order-3 {"order":3}',
    ]);
    expect(lines.at(-1)).toBe("followed: one more");
  });

  test("event-sourcing.mjs", async () => {
    const lines = await example("event-sourcing.mjs", addresses(cluster));
    expect(lines).toEqual(["3 withdrawals of 30 were paid; 10 is left"]);
  });

  test("exactly-once-pipe.mjs, run twice, and by two at once", async () => {
    const pipe = [addresses(cluster).join(","), addresses(other).join(",")];
    await using source = new proglog.Client({ servers: addresses(cluster) });
    await using target = new proglog.Client({ servers: addresses(other) });
    await example("exactly-once-pipe.mjs", pipe);
    const first = await source.endOffset();
    expect(await target.endOffset()).toBe(first);
    expect(await runExample("exactly-once-pipe.mjs", pipe)).toEqual(["copied 0 records"]);
    await Promise.all(Array.from({ length: 50 }, async (_, nth) => source.produce(`more ${nth}`)));
    await Promise.all([1, 2].map(async () => runExample("exactly-once-pipe.mjs", pipe)));
    const values = async (client: proglog.Client): Promise<string[]> => {
      const found: string[] = [];
      for await (const record of client.consume()) found.push(record.text());
      return found;
    };
    expect(await values(target)).toEqual(await values(source));
  });

  test("embedding.mjs, twice on one directory", async () => {
    const directory = mkdtempSync(join(tmpdir(), "proglog-example-"));
    try {
      const [first] = await example("embedding.mjs", [directory]);
      expect(first).toBe("this is run 1; the earlier ones:");
      const again = await runExample("embedding.mjs", [directory]);
      expect(again).toHaveLength(2);
      expect(again[0]).toBe("this is run 2; the earlier ones:");
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test("testing-with-faults.mjs", async () => {
    const lines = await example("testing-with-faults.mjs", []);
    expect(lines.filter((line) => /^(# |ℹ )(pass|fail) /.test(line)).map((line) => line.slice(2)))
      // Node's own runner counts them.
      .toEqual(["pass 4", "fail 0"]);
  });

  test("are all run, and named in docs/client.md", () => {
    const programs = filesUnder("docs/examples").map((path) => path.split("/").at(-1) ?? "");
    expect([...ran].sort()).toEqual(programs.sort());
    const page = read("docs/client.md");
    expect(programs.filter((name) => !page.includes(`(examples/${name})`))).toEqual([]);
    expect(existsSync(join(root, "dist", "index.js"))).toBe(true);
  });
});

const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (
  ...parts: string[]
) => (...values: unknown[]) => Promise<void>;

const pages = filesUnder("docs").filter((path) => /^docs\/client(-\w+)?\.md$/.test(path));

const blocks = pages.flatMap((page) =>
  [...read(page).matchAll(/^```js\n([\s\S]*?)^```$/gm)].map((found) => ({
    text: found[1] ?? "",
    opening: (found[1] ?? "").split("\n").find((line) => !/^(import|$)/.test(line)) ?? "",
  })),
);

describe("the client's pages", () => {
  test("has snippets", () => {
    expect(blocks.length).toBeGreaterThanOrEqual(6);
  });

  test.each(blocks)("$opening", async ({ text }) => {
    const lines: unknown[][] = [];
    const quiet = { log: (...line: unknown[]) => lines.push(line), error: expect.unreachable };
    const printed = /"127\.0\.0\.1:8400", "127\.0\.0\.1:8401", "127\.0\.0\.1:8402"/;
    const ours = addresses(cluster)
      .map((address) => JSON.stringify(address))
      .join(", ");
    const body = text.replace(/^import .*$/m, "").replace(printed, ours);
    const makesClient = body.includes("const client =");
    await using client = new proglog.Client({ servers: addresses(cluster) });
    await client.produce("there is a record");
    const given = { ...proglog, console: quiet, ...(makesClient ? {} : { client }) };
    await new AsyncFunction(...Object.keys(given), body)(...Object.values(given));
    if (body.includes("console.log(")) expect(lines.length).toBeGreaterThan(0);
    if (body.includes("again.duplicate")) expect(lines).toEqual([[true]]);
  });
});
