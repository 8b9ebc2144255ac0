/**
 * The page of a run: complete in itself, safe against what is in the run, and about what failed.
 *
 * The failing run is a good one that is told to have failed at its end: what breaks a promise is
 * not this file's business.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { beforeAll, describe, expect, test } from "vitest";

import { pageDataOf } from "./html-model.js";
import { htmlOf, scriptJson } from "./html.js";
import type { RunReport } from "./run.js";
import { runSeed } from "./run.js";
import { Violation } from "./world.js";

const steps = 3000;
const nasty = '</script><script>alert("x")</script><!-- <img src=x onerror=alert(1)> \u2028';

let good: RunReport;
let failed: RunReport;

/** The first run in which there is something of each kind to be shown. */
async function eventfulRun(): Promise<RunReport> {
  for (let seed = 1; seed < 100; seed += 1) {
    const run = await runSeed({
      seed,
      steps,
      until: steps,
      keepEvents: Infinity,
      isRecorded: true,
    });
    const hasMessages = run.events.filter(({ kind }) => kind === "message").length > 100;
    const hasLost = (run.recording?.lost.length ?? 0) > 0;
    if (run.violation === undefined && hasMessages && hasLost && run.acknowledged > 0) return run;
  }
  throw new Error("no seed has messages, lost ones among them, and acknowledged appends");
}

beforeAll(async () => {
  good = await eventfulRun();
  const { steps: step, virtualMs: atMs } = good;
  const events = [...good.events, { step, atMs, node: "n1", kind: "warn", text: nasty }];
  failed = { ...good, events, violation: new Violation("I3", `n1: ${nasty}`) };
});

/** Scripts of the page that run, without the data. */
function withoutData(page: string): string {
  return page.replace(/<script type="application\/json"[\s\S]*?<\/script>/, "");
}

test("a recording changes nothing in a run", async () => {
  const plain = await runSeed({ seed: good.plan.seed, steps, until: steps, keepEvents: 60 });
  expect(plain.hash).toBe(good.hash);
});

test("scriptJson leaves nothing that could end the element, and stays the same value", () => {
  const text = scriptJson({ nasty });
  expect(text).not.toMatch(/[<>&\u2028]/);
  expect(JSON.parse(text)).toEqual({ nasty });
});

describe("the page", () => {
  test("is one file that names no other address", () => {
    const page = htmlOf(failed);
    expect(page).not.toMatch(/(?:https?:)?\/\/[a-z0-9-]+\.[a-z]/i);
    const others = /<[a-z][^>]*\s(?:src|href)=(?!"data:,")|@import|url\(/i;
    expect(withoutData(page)).not.toMatch(others);
    expect(page).toContain("default-src 'none'");
  });

  test("escapes what is in the run, in the markup and in the data", () => {
    const page = htmlOf(failed);
    expect(page).not.toContain("<script>alert");
    expect(page).not.toContain("<img");
    expect(page.match(/<script/g)).toHaveLength(2);
    expect(page).toContain("&lt;/script&gt;&lt;script&gt;alert(&quot;x&quot;)");
  });

  test("names the failing step, and has the events around it in data and table", () => {
    const page = htmlOf(failed, { replay: "npm run sim -- --seed 42" });
    expect(page).toMatch(/<h1>Seed \d+: I3 broken at step 3000<\/h1>/);
    expect(page).toContain("npm run sim -- --seed 42");
    const data = pageDataOf(failed, 40_000);
    expect(data.failingStep).toBe(steps);
    expect(data.events.step.at(-1)).toBe(steps);
    expect(data.kinds[data.events.kind.at(-1) ?? -1]).toBe("violation");
    const last = good.events.at(-1);
    expect(page).toContain(`<th scope="row">${String(last?.step)}</th>`);
    expect(page).toMatch(/<tr class="failing"><th scope="row">3000<\/th>/);
  });

  test("of a good run says that all held", () => {
    const page = htmlOf(good);
    expect(page).toMatch(/<h1>Seed \d+: all promises held<\/h1>/);
    expect(page).not.toContain('class="failing"');
  });

  test("keeps the last events where there are too many, and says so", () => {
    const data = pageDataOf(failed, 50);
    expect(data.events.step).toHaveLength(50);
    expect(data.events.step.at(-1)).toBe(steps);
    const nodes = new Set(data.states.node);
    expect(nodes.size, "each node's state is known from the first event on").toBe(data.nodeCount);
    expect(htmlOf(failed, { eventCountMax: 50 })).toMatch(/the last 50 of \d+, from step \d+/);
  });

  test("stays below ten megabytes whatever the run", () => {
    const event = { step: 1, atMs: 1, node: "n1", kind: "warn", text: "<".repeat(400) };
    const events = Array.from({ length: 5000 }, () => event);
    expect(htmlOf({ ...good, events }).length).toBeLessThan(10_000_000);
  });

  test("has messages with their departures, lost ones, states, and what clients did", () => {
    const { events, kinds, states, roles, names } = pageDataOf(good, 40_000);
    const has = (kind: string): number => events.kind.filter((at) => kinds[at] === kind).length;
    expect(has("heartbeat")).toBeGreaterThan(0);
    expect(has("fault")).toBe([...good.injected.values()].reduce((sum, count) => sum + count));
    expect(has("lost")).toBe(good.recording?.lost.length);
    expect(names).toContain("w1");
    expect(roles).toEqual(expect.arrayContaining(["down", "leader", "follower"]));
    expect(Math.max(...states.commit)).toBeGreaterThan(0);
    expect(Math.max(...states.end)).toBeGreaterThan(0);
    const messages = events.from.flatMap((from, at) => (from < 0 ? [] : [at]));
    const isLost = (at: number): boolean => kinds[events.kind[at] ?? -1] === "lost";
    const travelled = messages.filter((at) => !isLost(at));
    expect(travelled.every((at) => (events.stepsSince[at] ?? 0) > 0)).toBe(true);
  });
});

const browser = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
  .flatMap((name) => (process.env["PATH"] ?? "").split(":").map((path) => join(path, name)))
  .find((path) => existsSync(path));

/** Presses what there is to press, once the page is drawn. */
const presses = `
  const press = (id) => document.getElementById(id).click();
  for (const id of ["zoom-out", "zoom-in", "fault-before", "fault-after", "leader-after"]) press(id);
  const axis = document.getElementById("axis");
  for (const value of ["steps", "time", "events"]) {
    axis.value = value;
    axis.dispatchEvent(new Event("change"));
  }
  for (const box of document.querySelectorAll("#kind-list input")) { box.click(); box.click(); }
  for (const key of ["ArrowDown", "ArrowUp", "+", "-", "f", "F", "l", "L", "Home", "End", "x"]) {
    document.getElementById("scroller").dispatchEvent(new KeyboardEvent("keydown", { key }));
  }
  press("rows-before");
  if (document.getElementById("failing").hidden === false) press("failing");
  document.documentElement.dataset.pressed = "true";`;

/** The page as a browser has it after a while, and what it said on its console. */
async function opened(page: string, size: string): Promise<{ dom: string; said: string }> {
  const directory = mkdtempSync(join(tmpdir(), "page-"));
  try {
    const path = join(directory, "run.html");
    const after = `<script>addEventListener("load", () => { ${presses} });</script></body>`;
    writeFileSync(path, page.replace("</body>", after));
    const options = [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--enable-logging=stderr",
    ].concat(
      `--user-data-dir=${join(directory, "profile")}`,
      ...[`--window-size=${size}`, "--virtual-time-budget=3000", "--dump-dom", `file://${path}`],
    );
    const { stdout, stderr } = await promisify(execFile)(browser ?? "", options, {
      maxBuffer: 64 * 1024 * 1024,
      timeout: 60_000,
    });
    const said = stderr.split("\n").filter((line) => line.includes("CONSOLE"));
    return { dom: stdout, said: said.join("\n") };
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

describe("in a browser", { timeout: 90_000 }, () => {
  test.for([
    ["failed", "1400,900"],
    ["good", "500,800"],
  ] as const)("a %s run is drawn and can be moved in, at %s", async (run, context) => {
    const [which, size] = run;
    if (browser === undefined) context.skip("there is no Chromium on the PATH");
    const { dom, said } = await opened(htmlOf(which === "failed" ? failed : good), size);
    expect(said).toBe("");
    expect(dom).toMatch(/<p id="trouble"[^>]* hidden/);
    expect(Number(/data-drawn="(\d+)"/.exec(dom)?.[1])).toBeGreaterThan(0);
    expect(dom).toContain('data-pressed="true"');
    if (which === "failed") expect(dom).toMatch(/<p[^>]*>n?\w*: violation, step 3000/);
  });
});
