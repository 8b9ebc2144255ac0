/**
 * The dashboard in a real browser, on real nodes: what it shows, what it does, who can use it.
 *
 * What the page says on its console and where it asks are held against what is expected: a page
 * that works but breaks its own policy, or asks elsewhere, is broken.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import { BrowserPage, chromium } from "./browser.js";
import { contrastFaults } from "./contrast.js";
import { TestCluster } from "./harness.js";
import type { NodeProcess } from "./harness.js";
import { ask, post, produce, readAll } from "./http-client.js";
import { until } from "./poll.js";
import { showLogsOnFailure } from "./show-logs.js";

const hostile =
  '</textarea></script><script>document.title = "owned"</script>' +
  `<img src=x onerror="document.title='owned'"> \u202egnp.exe \u0007 ${"W".repeat(5000)}`;

let cluster: TestCluster;
let page: BrowserPage;
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  if (chromium === undefined) return;
  cluster = await TestCluster.start();
  page = await BrowserPage.open(chromium);
});

beforeEach((context) => {
  if (chromium === undefined) context.skip("there is no Chromium on the PATH");
});

afterAll(async () => {
  await page?.close();
  await cluster?.close();
});

/** Opens a node's dashboard and waits until it shows the cluster. */
async function open(node: NodeProcess, width = 1280, scheme: "light" | "dark" = "light") {
  await page.look({ width, height: 900, scheme });
  await page.goto(`${node.httpUrl}/`);
  await page.until(`document.querySelectorAll("#members tr").length === 3`);
  page.said.length = 0;
  page.asked.length = 0;
}

/** Keeps a picture to be looked at, where a directory for them is named. */
async function keep(name: string): Promise<void> {
  const directory = process.env["DASHBOARD_PICTURES"];
  if (directory === undefined) return;
  mkdirSync(directory, { recursive: true });
  await page.screenshot(join(directory, `${name}.png`));
}

async function click(selector: string): Promise<void> {
  await page.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);
}

/** Puts text into a field as if it were typed there. */
async function fill(selector: string, text: string): Promise<void> {
  await page.evaluate(`(() => {
    const field = document.querySelector(${JSON.stringify(selector)});
    field.focus();
    field.select();
  })()`);
  await page.type(text);
}

/** Waits until the element's text has what is wanted, and returns it. */
async function shows(selector: string, wanted: RegExp): Promise<string> {
  return until(`${selector} to show ${String(wanted)}`, async () => {
    const text = (await page.text(selector)).replaceAll("\u202f", "");
    if (!wanted.test(text)) throw new Error(`it shows ${text}`);
    return text;
  });
}

describe("the dashboard", () => {
  test("shows on every node who leads, and each member's role, health and lag", async () => {
    const leader = await cluster.leader();
    for (const node of cluster.nodes) {
      await open(node);
      await shows("h1", new RegExp(`^${node.name}$`));
      await shows("#state-title", /^Healthy$/);
      await shows("#fact-leader", new RegExp(`^${leader.name}$`));
      for (const [at, member] of cluster.nodes.entries()) {
        const role = member === leader ? "leader" : "follower";
        const row = `#members tr:nth-child(${at + 1})`;
        await shows(row, new RegExp(`^${member.name}[^]*${role}[^]*voter[^]*in reach[^]*\\d`));
        const link = await page.evaluate(`document.querySelector("${row} a")?.href ?? "none"`);
        expect(link).toBe(member === node ? "none" : `${member.httpUrl}/`);
      }
      await page.until(`document.title.includes("${node.name}: Healthy")`);
      expect(page.said).toEqual([]);
      expect(page.asked.filter((url) => !url.startsWith(node.httpUrl))).toEqual([]);
    }
  });

  test("shows a new leader by itself, and tells those who hear the page", async () => {
    const [follower] = await cluster.followers();
    const leader = await cluster.leader();
    if (follower === undefined) throw new Error("there is no follower");
    await open(follower);
    const { members } = await follower.status();
    const id = members.find(({ name }) => name === follower.name)?.id;
    const moved = await ask(`${leader.httpUrl}/cluster/leader`, {
      method: "POST",
      body: JSON.stringify({ id }),
    });
    expect(moved.status).toBe(202);
    await shows("#fact-leader", new RegExp(`^${follower.name}$`));
    await shows("#state-title", /^Healthy$/);
    await shows("#announcer", new RegExp(`${follower.name} leads`));
    await cluster.untilVoters(3);
  });

  test("stays within a phone's width with the longest names and addresses", async () => {
    await open(cluster.node(0), 360);
    await click("#pause");
    // The page asks a node whose answer is as long as an answer may be.
    const long = `"${"n".repeat(63)}"`;
    await page.evaluate(`(() => {
      const asked = window.fetch;
      window.fetch = async (path, init) => {
        const answer = await asked(path, init);
        if (path !== "cluster") return answer;
        const status = await answer.json();
        status.node.name = ${long};
        for (const member of status.members) {
          Object.assign(member, { name: ${long}, httpAddr: ${long} + ".example:5000" });
          Object.assign(member, { lag: 9007199254740991, lastContactMs: 123456, alive: false });
        }
        Object.assign(status.leader, { name: ${long} });
        Object.assign(status, { endOffset: 9007199254740991, term: 9007199254740991 });
        return new Response(JSON.stringify(status));
      };
    })()`);
    await shows("h1", /^n{63}$/);
    await shows("#members", /9007199254740991/);
    const overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    for (const width of [360, 768, 1280]) {
      await page.look({ width, height: 900 });
      await keep(`long-${width}`);
      expect(await page.evaluate(overflow), `at ${width}`).toBe(0);
    }
  });

  test("appends by keyboard on a follower, shows the record arrive, and reads it", async () => {
    const [follower] = await cluster.followers();
    if (follower === undefined) throw new Error("there is no follower");
    await open(follower);
    await fill("#message", "typed by hand");
    await page.press("Tab");
    await page.press("Tab");
    await page.type("my-key");
    await page.press("Enter");
    const offset = /offset (\d+)/.exec(await shows("#append-result", /^Appended at offset/))?.[1];
    await shows("#records tr:first-child", /my-key\s+typed by hand/);
    await click("#append-result button");
    await shows("#read-result", new RegExp(`${offset}[^]*my-key[^]*typed by hand`));
    await click(`#records button`);
    await shows("#records-note", new RegExp(`^Live\\. Newest at offset ${offset}`));
    expect(page.said).toEqual([]);
    const read = await ask(`${follower.httpUrl}/Data?offset=${offset}`);
    expect(read.body).toMatchObject({ message: "typed by hand", key: "my-key" });
  });

  test("keeps JSON as it was typed, and says what is not JSON", async () => {
    await open(cluster.node(0));
    await click("[value=json]");
    await fill("#message", '{"a": 9007199254740993');
    await click("#append-button");
    await shows("#message-fault", /^This is not JSON/);
    expect(await page.evaluate(`document.activeElement.id`)).toBe("message");
    await fill("#message", '{"a": 9007199254740993}');
    await click("#append-button");
    await shows("#append-result", /^Appended at offset/);
    await click("#append-result button");
    await shows("#read-result pre", /^\{"a":9007199254740993\}$/);
    expect(await page.evaluate(`document.querySelector("#message-fault").hidden`)).toBe(true);
  });

  test("reads before, after and the newest, and says what is not there", async () => {
    const node = cluster.node(1);
    const end = (await cluster.untilLevel()) - 1;
    await open(node);
    await fill("#offset", "first");
    await page.press("Enter");
    await shows("#read-fault", /whole number/);
    await fill("#offset", String(end + 1000));
    await page.press("Enter");
    await shows("#read-result", /no such (record|offset)|past the end|not there|range/i);
    await page.until(`document.querySelector("#fact-end").innerText !== "–"`);
    await click("#read-newest");
    await shows("#read-result", new RegExp(`^Offset\\s+${end}\\s`));
    await click("#read-before");
    await shows("#read-result", new RegExp(`^Offset\\s+${end - 1}\\s`));
    await click("#read-after");
    await shows("#read-result", new RegExp(`^Offset\\s+${end}\\s`));
  });

  test("shows a hostile record as text, and stays within a phone's width", async () => {
    const node = cluster.node(2);
    await post(node.httpUrl, {
      message: hostile,
      key: "<b>".repeat(60),
      headers: { "<i>": "<u>" },
    });
    for (const width of [1280, 360, 320]) {
      await open(node, width, width === 360 ? "dark" : "light");
      await shows("#records tr:first-child", /<script>document\.title[^]*\\u202Egnp\.exe \\u0007/i);
      await click("#records button");
      await shows("#read-result pre", /W{5000}/);
      const overflow =
        "document.documentElement.scrollWidth - document.documentElement.clientWidth";
      expect(await page.evaluate(overflow), `at ${width}`).toBe(0);
      await keep(`hostile-${width}`);
    }
    expect(await page.evaluate("document.title")).not.toContain("owned");
    expect(await page.evaluate(`document.querySelectorAll("main img, main script").length`)).toBe(
      0,
    );
    expect(page.said).toEqual([]);
  });

  test("draws the rate and, on the leader, the latency of appends", async () => {
    const leader = await cluster.leader();
    await open(leader);
    await until("both to be measured", async () => {
      await produce(leader.httpUrl, "to be measured");
      const shown = await Promise.all(
        ["#rate-now", "#p50-now", "#p99-now"].map((id) => page.text(id)),
      );
      return shown.every((text) => /[1-9]/.test(text)) ? true : undefined;
    });
    await page.until(`document.querySelector("#rate-plot .line").getAttribute("d").includes("L")`);
    await page.until(`document.querySelector("#latency-plot .p99").getAttribute("d") !== ""`);
    await click("summary");
    await shows("#value-rows", /^\d\d:\d\d:\d\d\s+[\d.]+\s+[\d.]+ (µs|ms|s)/);
    const label = await page.evaluate(`document.querySelector("#rate-plot svg").ariaLabel`);
    expect(label).toMatch(/records per second/);
    const follower = cluster.nodes.find((node) => node !== leader);
    if (follower === undefined) throw new Error("there is no follower");
    await open(follower);
    await shows("#latency-note", new RegExp(`See ${leader.name}`));
  });

  test("pauses, resumes, and holds a hundred records at most", async () => {
    const node = cluster.node(0);
    await open(node);
    await page.until(`document.querySelectorAll("#records tr").length > 0`);
    await click("#pause");
    await shows("#records-note", /^Paused/);
    const messages = Array.from({ length: 10_000 }, (_, at) => `record ${at}`);
    await post(node.httpUrl, { messages });
    const end = await cluster.untilLevel();
    await shows("#fact-end", new RegExp(`^${end}$`));
    expect(await page.text("#records")).not.toContain("record 9999");
    await click("#pause");
    await shows("#records tr:first-child", /record 9999$/);
    expect(await page.evaluate(`document.querySelectorAll("#records tr").length`)).toBe(100);
    await shows("#pause", /^Pause$/);
  });

  test("appends once where the answer is lost and the button pressed again", async () => {
    const [node] = await cluster.followers();
    if (node === undefined) throw new Error("there is no follower");
    await open(node);
    await fill("#message", "sent twice");
    await page.loseNextAnswer("/dashboard/append");
    await click("#append-button");
    await page.answerLost();
    await shows("#append-result", /No answer came[^]*is safe/);
    await click("#append-button");
    await shows("#append-result", /^Had been appended at offset \d+/);
    const values = (await readAll(node.httpUrl)).map(({ message }) => message);
    expect(values.filter((value) => value === "sent twice")).toHaveLength(1);
  });
});

describe("for everybody", () => {
  test.each(["light", "dark"] as const)("text has the contrast of AA, %s", async (scheme) => {
    await open(cluster.node(0), 1280, scheme);
    await fill("#message", "seen");
    await click("#append-button");
    await shows("#append-result", /^Appended/);
    await click("#append-result button");
    await shows("#read-result pre", /seen/);
    expect(await page.evaluate(contrastFaults)).toEqual([]);
    await page.evaluate(`document.documentElement.classList.add("stale")`);
    await page.evaluate(`document.querySelector("#banner").hidden = false`);
    expect(await page.evaluate(contrastFaults)).toEqual([]);
  });

  test("each control, table, image and part of the page has a name", async () => {
    await open(cluster.node(0));
    await page.until(`document.querySelectorAll("#records tr").length > 0`);
    const nodes = await page.accessible();
    const named = [
      "button",
      "textbox",
      "link",
      "radio",
      "table",
      "image",
      "img",
      "region",
      "group",
    ];
    expect(nodes.filter(({ role, name }) => named.includes(role) && name === "")).toEqual([]);
    const roles = new Set(nodes.map(({ role }) => role));
    for (const role of ["banner", "main", "contentinfo", "table", "columnheader", "rowheader"]) {
      expect([...roles]).toContain(role);
    }
    const headings = nodes.filter(({ role }) => role === "heading").map(({ name }) => name);
    expect(headings).toEqual(expect.arrayContaining(["n1", "Members", "Append", "Read"]));
    expect(await page.evaluate("document.documentElement.lang")).toBe("en");
  });

  test("the keyboard reaches every control, and shows where it is", async () => {
    await open(cluster.node(0));
    await page.until(`document.querySelectorAll("#records tr").length > 0`);
    await click("#pause");
    await page.evaluate("document.activeElement.blur(), scrollTo(0, 0)");
    const wanted = new Set(["pause", "scroller", "message", "key", "append-button", "offset"]);
    for (const id of ["read-before", "read-after", "read-newest"]) wanted.add(id);
    for (let pressed = 0; pressed < 200 && wanted.size > 0; pressed += 1) {
      await page.press("Tab");
      const [id, outline] = (await page.evaluate(
        `[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]`,
      )) as [string, string];
      expect(outline, id).not.toBe("none");
      wanted.delete(id);
    }
    expect([...wanted]).toEqual([]);
  });

  test("nothing moves for who wants less motion", async () => {
    const moving = `document.getAnimations().length +
      [...document.querySelectorAll("*")].filter((element) => {
        const { animationName, transitionDuration } = getComputedStyle(element);
        return animationName !== "none" || parseFloat(transitionDuration) > 0;
      }).length`;
    await open(cluster.node(0));
    await page.until(`document.querySelectorAll("#records tr").length > 0`);
    expect(await page.evaluate(moving)).toBeGreaterThan(0);
    await page.look({ width: 1280, height: 900, isReducedMotion: true });
    expect(await page.evaluate(moving)).toBe(0);
  });
});

describe("in trouble", () => {
  test("says that there is no leader, goes on reading, and recovers by itself", async () => {
    const survivor = cluster.node(0);
    const others = cluster.nodes.filter((node) => node !== survivor);
    await open(survivor, 360);
    await page.until(`document.querySelectorAll("#records tr").length > 0`);
    await Promise.all(others.map(async (node) => node.kill9()));
    try {
      await shows("#state-title", /^No (leader|quorum)/);
      await shows("#fact-writes", /^refused$/);
      await shows("#members-caption", /n1/);
      await shows("#members tr:nth-child(2)", /not in reach[^]*unknown$/);
      await fill("#message", "refused");
      await click("#append-button");
      await shows("#append-result", /Nothing was appended\.$/);
      await fill("#offset", "0");
      await page.press("Enter");
      await shows("#read-result", /^Offset\s+0\s/);
      await shows("#announcer", /No (leader|quorum)/);
      await keep("no-leader-360");
    } finally {
      for (const node of others) node.restart();
    }
    await cluster.untilVoters(3);
    await shows("#state-title", /^Healthy$/);
    await click("#append-button");
    await shows("#append-result", /^Appended at offset/);
    await shows("#records tr:first-child", /refused$/);
  });

  test("says that its node is gone, marks what is old, and recovers by itself", async () => {
    const node = cluster.node(1);
    await open(node);
    await page.until(`document.querySelectorAll("#records tr").length > 0`);
    await node.kill9();
    try {
      await shows("#banner", /Connection lost\.[^]*What is shown is from \d\d:\d\d:\d\d/);
      await shows("#freshness", /^As of/);
      await shows("#records-note", /^Connecting/);
      expect(await page.evaluate("document.title")).toMatch(/^No answer/);
      expect(await page.evaluate(`document.documentElement.className`)).toBe("stale");
      await fill("#message", "to nobody");
      await click("#append-button");
      await shows("#append-result", /^No answer came/);
      await keep("lost-1280");
    } finally {
      node.restart();
    }
    await cluster.untilVoters(3);
    await click("#retry");
    await shows("#freshness", /^Live$/);
    await page.until(`document.querySelector("#banner").hidden`);
    expect(await page.evaluate(`document.documentElement.className`)).toBe("");
    const result = await produce(node.httpUrl, "after all");
    expect(result.kind).toBe("acknowledged");
    await shows("#records tr:first-child", /after all$/);
  });
});
