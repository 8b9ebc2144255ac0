/**
 * The dashboard as it is served: its headers, what is in its files, and what its numbers mean.
 * How it looks and works in a browser is the business of test/cluster/dashboard.test.ts.
 */
import { execFile } from "node:child_process";
import { request } from "node:http";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

import { describe, expect, test } from "vitest";

import { assetsModule } from "../../scripts/dashboard.js";
import { encodeRecords } from "../../src/common/record.js";
import { dashboardAssets } from "../../src/http/dashboard-assets.js";
import { relayingLog } from "../../src/http/dashboard-routes.js";
import type { AppendReceipt, CommittedAppend } from "../../src/service/api.js";
import { filesUnder, read, root } from "../tidy/tree.js";
import { call, expectProblem, jsonOf, post, startGateway } from "./harness.js";
import { MemoryLog, MemoryNode } from "./memory-services.js";

const sources = filesUnder("src/http/dashboard").filter((path) => !path.endsWith(".json"));
const page = dashboardAssets["index.html"] ?? "";

describe("the dashboard's files", () => {
  test("are what their sources make; if not, run `npx tsx scripts/dashboard.ts`", () => {
    expect(read("src/http/dashboard-assets.ts") === assetsModule()).toBe(true);
  });

  test("have scripts that pass the type checker", { timeout: 120_000 }, async () => {
    const compiler = join(root, "node_modules/typescript/bin/tsc");
    const options = [compiler, "-p", join(root, "src/http/dashboard/tsconfig.json")];
    await promisify(execFile)(process.execPath, options);
  });

  test("are below 40 000 bytes together", () => {
    const bytes = Object.values(dashboardAssets).map((text) => Buffer.byteLength(text));
    expect(bytes.reduce((sum, length) => sum + length)).toBeLessThan(40_000);
  });

  test("name no other address", () => {
    const names = /(?:https?:)?\/\/[a-z0-9-]+\.[a-z]|@import|url\(/i;
    const known = /"http:\/\/www\.w3\.org\/2000\/svg"/g;
    for (const [name, text] of Object.entries(dashboardAssets)) {
      expect(text.replace(known, ""), name).not.toMatch(names);
    }
  });

  test("hold no script or style within the page", () => {
    expect(page).not.toMatch(/<style|\sstyle=|\son[a-z]+=|javascript:/i);
    const scripts = [...page.matchAll(/<script([^>]*)>([\s\S]*?)<\/script>/g)];
    expect(scripts.map(([, , body]) => body)).toEqual([""]);
  });

  test("set text only as text, and keep nothing in the browser", () => {
    const markup = /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function/;
    const kept = /cookie|localStorage|sessionStorage|indexedDB/i;
    for (const path of sources) expect(read(path), path).not.toMatch(markup);
    for (const path of sources) expect(read(path), path).not.toMatch(kept);
  });
});

describe("GET /", () => {
  test("answers with the page, and each file that it names is served", async () => {
    const gateway = await startGateway();
    const response = await call(gateway, "/");
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
    const html = await response.text();
    expect(html).toBe(page);
    const named = [...html.matchAll(/(?:src|href)="(dashboard\/[^"]+)"/g)].map(([, path]) => path);
    const imported = Object.entries(dashboardAssets).flatMap(([, text]) =>
      [...text.matchAll(/from\s*"\.\/([^"]+)"/g)].map(([, name]) => `dashboard/${name}`),
    );
    expect(named.length).toBeGreaterThan(3);
    for (const path of new Set([...named, ...imported])) {
      const file = await call(gateway, `/${path}`);
      expect(file.status, path).toBe(200);
      expect(file.headers.get("content-type")).not.toContain("octet-stream");
      expect(file.headers.get("content-security-policy")).toContain("default-src 'none'");
    }
  });

  test("lets the page run and reach only what comes from its node", async () => {
    const { headers } = await call(await startGateway(), "/");
    const policy = (headers.get("content-security-policy") ?? "").split("; ");
    for (const rule of [
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "connect-src 'self'",
      "frame-ancestors 'none'",
      "require-trusted-types-for 'script'",
    ]) {
      expect(policy).toContain(rule);
    }
    expect(headers.get("content-security-policy")).not.toMatch(/unsafe|\*|https?:|data:/);
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("referrer-policy")).toBe("no-referrer");
    expect(headers.get("set-cookie")).toBeNull();
  });

  test("has a strong tag, and answers 304 to who holds it", async () => {
    const gateway = await startGateway();
    for (const path of ["/", "/dashboard/main.js"]) {
      const { headers } = await call(gateway, path);
      const tag = headers.get("etag") ?? "";
      expect(tag).toMatch(/^"[\w-]{43}"$/);
      expect(headers.get("cache-control")).toBe("no-cache");
      const again = await call(gateway, path, { headers: { "if-none-match": `"x", ${tag}` } });
      expect(again.status).toBe(304);
      expect(again.headers.get("etag")).toBe(tag);
      expect(await again.text()).toBe("");
      const other = await call(gateway, path, { headers: { "if-none-match": '"x"' } });
      expect(other.status).toBe(200);
      const head = await call(gateway, path, { method: "HEAD" });
      expect(Number(head.headers.get("content-length"))).toBeGreaterThan(1000);
      expect(await head.text()).toBe("");
    }
  });

  test("serves no file that is not the dashboard's", async () => {
    const gateway = await startGateway();
    for (const name of ["index.html", "tsconfig.json", "__proto__", "..%2Fgateway.js", "x.js"]) {
      await expectProblem(await call(gateway, `/dashboard/${name}`), 404, "not-found");
    }
    const wrong = await call(gateway, "/", { method: "POST" });
    await expectProblem(wrong, 405, "method-not-allowed");
    const asked = await call(gateway, "/dashboard/append");
    expect(asked.headers.get("allow")).toBe("POST");
  });
});

describe("POST /dashboard/append", () => {
  test("appends as POST /Data does", async () => {
    const gateway = await startGateway();
    const headers = { "content-type": "application/json", "idempotency-key": "k" };
    const send = async (body: string): Promise<Response> =>
      await call(gateway, "/dashboard/append", { method: "POST", headers, body });
    const first = await send('{"message":9007199254740993,"key":"k"}');
    expect(first.status).toBe(201);
    expect(await jsonOf(first)).toMatchObject({ offset: 0 });
    expect(await jsonOf(await send('{"message":1}'))).toMatchObject({ offset: 0, duplicate: true });
    expect(await (await call(gateway, "/Data?offset=0")).text()).toContain("9007199254740993");
    await expectProblem(await send("{"), 400, "invalid-request");
    expect((await post(gateway, { message: "by the other path" })).status).toBe(201);
  });

  test("relays to the leader, and changes nothing else of the log", async () => {
    const relays: (boolean | undefined)[] = [];
    class Watched extends MemoryLog {
      override async produce(
        appended: CommittedAppend,
        options?: { readonly relay?: boolean },
      ): Promise<AppendReceipt> {
        relays.push(options?.relay);
        return await super.produce(appended);
      }
    }
    const log = relayingLog(new Watched(new MemoryNode()));
    await log.produce({ records: encodeRecords([{ value: Buffer.from("a") }]) });
    expect(relays).toEqual([true]);
    expect((await log.read(0)).value.toString()).toBe("a");
    expect(log.bounds()).toMatchObject({ startOffset: 0, endOffset: 1 });
    expect(log.position()).toMatchObject({ endOffset: 1 });
  });

  test("takes nothing from a page of another origin", async () => {
    const gateway = await startGateway();
    const statusFrom = async (origin: string): Promise<number> =>
      await new Promise((resolve, reject) => {
        const headers = { origin, "content-type": "text/plain" };
        const url = `${gateway.url}/dashboard/append`;
        const sent = request(url, { method: "POST", headers }, (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        });
        sent.on("error", reject).end("x");
      });
    expect(await statusFrom("http://evil.example")).toBe(403);
    expect(await statusFrom("null")).toBe(403);
    expect(gateway.node.endOffset).toBe(0);
    expect(await statusFrom(gateway.url)).toBe(201);
  });
});

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- its own project checks its types
type PlainModule = Record<string, any>;

/** A module of the page that needs no page. */
async function moduleOf(name: string): Promise<PlainModule> {
  const url = pathToFileURL(join(root, "src/http/dashboard", name)).href;
  return (await import(/* @vite-ignore */ url)) as PlainModule;
}

describe("what the plots show", () => {
  const metrics = (counts: readonly number[]): string =>
    ["0.001", "0.01", "+Inf"]
      .map((le, at) => `proglog_append_seconds_bucket{le="${le}",outcome="applied"} ${counts[at]}`)
      .concat(
        'proglog_append_seconds_bucket{le="0.001",outcome="no-leader"} 77',
        'proglog_append_seconds_sum{outcome="applied"} 9',
      )
      .join("\n");

  test("latencies are of acknowledged appends, between two answers", async () => {
    const { latencyOf, percentile } = await moduleOf("samples.js");
    const before = latencyOf(metrics([5, 5, 5]));
    const after = latencyOf(metrics([15, 25, 25]));
    expect(before).toEqual({ bounds: [0.001, 0.01, Infinity], counts: [5, 5, 5] });
    expect(percentile(before, after, 0.5)).toBeCloseTo(0.001);
    expect(percentile(before, after, 0.75)).toBeCloseTo(0.0055);
    expect(percentile(before, after, 1)).toBeCloseTo(0.01);
    const slow = latencyOf(metrics([5, 5, 6]));
    expect(percentile(before, slow, 0.5), "what is above all bounds counts as the last").toBe(0.01);
  });

  test("nothing is made up: idle, restarted, unknown and unasked times are gaps", async () => {
    const { latencyOf, percentile, Samples } = await moduleOf("samples.js");
    const some = latencyOf(metrics([5, 5, 5]));
    expect(percentile(some, some, 0.5)).toBeNull();
    expect(percentile(some, latencyOf(metrics([1, 1, 1])), 0.5)).toBeNull();
    expect(percentile(undefined, some, 0.5)).toBeNull();
    const samples = new Samples();
    const at = (atMs: number, endOffset: number): void => {
      samples.add({ atMs, endOffset, latency: undefined });
    };
    at(0, 10);
    at(1000, 30);
    at(60_000, 5000);
    at(61_000, 0);
    at(62_000, 7);
    const rates = (samples.points as { rate: number | null }[]).map(({ rate }) => rate);
    expect(rates).toEqual([null, 20, null, null, 7]);
  });

  test("five minutes are kept, and no more", async () => {
    const { Samples, stepsOf } = await moduleOf("samples.js");
    const samples = new Samples();
    const latency = { bounds: [1], counts: [0] };
    for (let at = 0; at < 1000; at += 1) samples.add({ atMs: at * 1000, endOffset: at, latency });
    expect(samples.points.length).toBe(301);
    const steps = stepsOf(samples.points, 10_000) as { atMs: number; rate: number }[];
    expect(steps.length).toBe(31);
    expect(steps[0]).toMatchObject({ atMs: 990_000, rate: 1 });
  });

  test("a scale ends at a round number that nothing is above", async () => {
    const { niceAbove } = await moduleOf("samples.js");
    expect([0, 0.3, 1, 1.1, 20, 21, 5001].map((value) => niceAbove(value))).toEqual([
      1, 0.5, 1, 2, 20, 50, 10_000,
    ]);
  });
});

describe("how a record is written out", () => {
  test("JSON keeps its digits, whatever comes after the message", async () => {
    const { recordOf } = await moduleOf("record-text.js");
    const gateway = await startGateway();
    const message = '{"a":9007199254740993,"b":[1.0,1e400],"timestamp":"x","key":","}';
    const headers = '{"timestamp":"y","z":"\\",\\"key\\":\\""}';
    await post(gateway, `{"message":${message},"key":"k\\"\\u2028","headers":${headers}}`);
    await post(gateway, '{"message":"9007199254740993"}');
    await post(gateway, '{"message":[9007199254740993]}');
    const shown = async (offset: number): Promise<unknown> =>
      recordOf(await (await call(gateway, `/Data?offset=${String(offset)}`)).text());
    expect(await shown(0)).toMatchObject({ offset: 0, message, form: "JSON", key: 'k"\u2028' });
    expect(await shown(0)).toMatchObject({
      headers: [
        ["timestamp", "y"],
        ["z", '","key":"'],
      ],
    });
    expect(await shown(1)).toMatchObject({ message: "9007199254740993", form: "text" });
    expect(await shown(2)).toMatchObject({ message: "[9007199254740993]", form: "JSON" });
    await call(gateway, "/Data", {
      method: "POST",
      headers: { "content-type": "image/png" },
      body: new Uint8Array([255, 0]),
    });
    expect(await shown(3)).toMatchObject({ message: "/wA=", form: "base64" });
  });

  test("what cannot be seen, or turns what follows, is written as its escape", async () => {
    const { visible } = await moduleOf("record-text.js");
    expect(visible("a\u0000b\u202egnp\u200b\ufeff\t\n\u{1f600}é")).toBe(
      "a\\u0000b\\u202Egnp\\u200B\\uFEFF\t\n\u{1f600}é",
    );
    expect(visible("\ud83dx\ude00")).toBe("\\uD83Dx\\uDE00");
    expect(visible("abcdef", 3)).toBe("abc");
  });
});

describe("what the page says of the cluster", () => {
  const member = { id: "a", name: "n1", alive: true };
  const healthy = {
    node: { id: "a", name: "n1" },
    leader: { id: "a", name: "n1", httpAddr: "h:1" },
    quorum: true,
    readOnly: false,
    source: "leader",
    members: [member, { id: "b", name: "n2", alive: true }],
  };
  test.each([
    ["Healthy", "good", {}],
    ["No leader, no quorum", "bad", { leader: null, quorum: false, readOnly: true }],
    ["No leader", "bad", { leader: null }],
    ["No quorum", "bad", { quorum: false, readOnly: true }],
    ["Read-only", "bad", { readOnly: true }],
    [
      "The leader does not answer",
      "warn",
      { source: "local", leader: { id: "b", name: "n2", httpAddr: "" } },
    ],
    ["1 of 2 not in reach", "warn", { members: [member, { id: "b", name: "n2", alive: false }] }],
  ])("%s", async (title, kind, change) => {
    const { verdictOf } = await moduleOf("cluster.js");
    expect(verdictOf({ ...healthy, ...change })).toMatchObject({ title, kind });
  });

  test("an address becomes a link only if it is a host and a port", async () => {
    const { dashboardOf } = await moduleOf("cluster.js");
    expect(dashboardOf("10.0.0.1:5000")).toBe("http://10.0.0.1:5000/");
    expect(dashboardOf("[::1]:5000")).toBe("http://[::1]:5000/");
    for (const address of ["", "a", "a@b:1", "a/b:1", "javascript:1//:1", "a:1/x", "a b:1"]) {
      expect(dashboardOf(address), address).toBeUndefined();
    }
  });
});
