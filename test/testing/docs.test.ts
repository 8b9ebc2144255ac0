/**
 * The snippets of docs/testing-your-program.md, run as printed, and its tables held to the code:
 * every method that a user is given is named there.
 */
import { expect, test } from "vitest";

import { TestCluster } from "../../src/testing/index.js";
import { read } from "../tidy/tree.js";

const page = read("docs/testing-your-program.md");

const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (
  ...parts: string[]
) => (...values: unknown[]) => Promise<void>;

const blocks = [...page.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map((found, at) => ({
  text: found[1] ?? "",
  at,
}));

const printed = [
  [
    [0, "kept"],
    [1, "waits for the next leader"],
  ],
  [],
  [["TimeoutError", expect.any(Number)]],
];

test.each(blocks)("snippet $at of the page runs as printed", async ({ text, at }) => {
  const lines: unknown[][] = [];
  const tests: (() => Promise<void>)[] = [];
  const given = {
    TestCluster,
    console: { log: (...line: unknown[]) => lines.push(line) },
    test: (_name: string, run: () => Promise<void>) => tests.push(run),
  };
  const body = text.replace(/^import .*$/gm, "");
  await new AsyncFunction(...Object.keys(given), body)(...Object.values(given));
  for (const run of tests) await run();
  expect(lines).toEqual(printed[at]);
  expect(tests).toHaveLength(at === 1 ? 3 : 0);
});

test("the page names every method of a cluster and of a node", async () => {
  expect(blocks).toHaveLength(printed.length);
  const cluster = await TestCluster.start({ nodes: 1 });
  const [node] = cluster.nodes;
  // What the cluster itself asks of a node is no user's business.
  const inner = ["constructor", "life", "end", "close"];
  const names = [cluster, node].flatMap((thing) =>
    Object.getOwnPropertyNames(Object.getPrototypeOf(thing)),
  );
  const missing = names.filter(
    (name) => !inner.includes(name) && !new RegExp(`\`(\\w+\\()?.*\\b${name}\\b`).test(page),
  );
  expect(missing).toEqual([]);
  await cluster.close();
});
