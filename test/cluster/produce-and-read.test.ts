/**
 * The main promise on three real processes: what is posted to any node is read from every node,
 * the same and in one order. Also the two ways in which a node that does not lead takes a write.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { Run, TestCluster } from "./harness.js";
import { ask, clusterStatus, post, problemOf, produce, readAll } from "./http-client.js";
import { report, until } from "./poll.js";
import { freePorts } from "./ports.js";
import { showLogsOnFailure } from "./show-logs.js";
import { anyOf } from "./workload.js";

const recordCount = 10_000;
const clientCount = 32;

let cluster: TestCluster | undefined;
showLogsOnFailure(() => cluster);

describe("three nodes started one by one", () => {
  let nodes: TestCluster;

  beforeAll(async () => {
    const start = performance.now();
    cluster = nodes = await TestCluster.start();
    report(`three voters and a leader ${Math.round(performance.now() - start)} ms after start`);
  });

  afterAll(async () => {
    await nodes?.close();
  });

  test("hold 10 000 records posted through random nodes, identical and in one order", async () => {
    const posted = new Map<number, string>();
    const start = performance.now();
    let next = 0;
    const client = async (): Promise<void> => {
      while (next < recordCount) {
        const value = `record ${next} ${"é".repeat(next % 50)}`;
        next += 1;
        const result = await produce(anyOf(nodes.nodes).httpUrl, value);
        if (result.kind !== "acknowledged") throw new Error(`${value}: ${result.why}`);
        posted.set(result.offset, value);
      }
    };
    await Promise.all(Array.from({ length: clientCount }, client));
    const seconds = (performance.now() - start) / 1000;
    report(`${Math.round(recordCount / seconds)} posts/s through random nodes, redirects followed`);

    expect(posted.size).toBe(recordCount);
    for (const node of nodes.nodes) {
      const records = await readAll(node.httpUrl);
      expect(records.length).toBe(recordCount);
      const wrong = records.findIndex(
        ({ offset, message }, at) => offset !== at || message !== posted.get(at),
      );
      expect(wrong, `${node.name} gives another record`).toBe(-1);
    }
  });

  test("keep a message as it was posted", async () => {
    const messages = [
      "text",
      "",
      0,
      -1.5,
      true,
      null,
      [],
      { deep: { list: [1, "two", null] } },
      'snow ☃ and \u0000 and "quotes"',
    ];
    for (const message of messages) {
      const written = await post(anyOf(nodes.nodes).httpUrl, { message });
      expect(written.status).toBe(201);
      const { offset } = written.body as { offset: number };
      for (const node of nodes.nodes) {
        const read = await ask(`${node.httpUrl}/Data?offset=${offset}`);
        expect(read.status).toBe(200);
        expect((read.body as { message: unknown }).message).toEqual(message);
      }
    }
  });

  test("give a batch consecutive offsets", async () => {
    const messages = ["first", "second", "third"];
    const written = await post(anyOf(nodes.nodes).httpUrl, { messages });
    expect(written.status).toBe(201);
    const { offset, count } = written.body as { offset: number; count: number };
    expect(count).toBe(3);
    for (const node of nodes.nodes) {
      const records = await readAll(node.httpUrl, offset);
      expect(records.slice(0, 3)).toMatchObject(
        messages.map((message, at) => ({ message, offset: offset + at })),
      );
    }
  });

  test("show an acknowledged write on every node at once", async () => {
    for (let round = 0; round < 50; round += 1) {
      const result = await produce(anyOf(nodes.nodes).httpUrl, `round ${round}`);
      if (result.kind !== "acknowledged") throw new Error(result.why);
      for (const node of nodes.nodes) {
        const read = await ask(`${node.httpUrl}/Data?offset=${result.offset}`);
        expect(read.status, `${node.name} at ${result.offset}: ${read.text}`).toBe(200);
      }
    }
  });

  test("redirect a write from a follower to a place that takes it", async () => {
    const leader = await nodes.leader();
    for (const follower of await nodes.followers()) {
      const refused = await post(follower.httpUrl, { message: "moved" }, { follow: false });
      expect(refused.status).toBe(307);
      const problem = problemOf(refused);
      expect(problem).toMatchObject({
        code: "not-leader",
        retryable: true,
        outcome: "not_applied",
        leader: { name: leader.name, httpAddr: leader.httpAddr },
      });
      const location = refused.headers.get("location") ?? "";
      expect(location).toBe(`${leader.httpUrl}/Data`);
      const taken = await ask(location, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ message: "moved" }),
        follow: false,
      });
      expect(taken.status).toBe(201);
    }
  });

  test("keep path and query in a redirect", async () => {
    const leader = await nodes.leader();
    const [follower] = await nodes.followers();
    const refused = await ask(`${follower?.httpUrl ?? ""}/data?key=a%20b`, {
      method: "POST",
      headers: { "content-type": "text/plain" },
      body: "raw",
      follow: false,
    });
    expect(refused.status).toBe(307);
    expect(refused.headers.get("location")).toBe(`${leader.httpUrl}/data?key=a%20b`);
  });
});

describe("with --follower-writes forward", () => {
  let nodes: TestCluster;

  beforeAll(async () => {
    cluster = nodes = await TestCluster.start({ flags: ["--follower-writes", "forward"] });
  });

  afterAll(async () => {
    await nodes?.close();
  });

  test("a follower answers 201 for the leader", async () => {
    for (const follower of await nodes.followers()) {
      const answer = await post(follower.httpUrl, { message: follower.name }, { follow: false });
      expect(answer.status, answer.text).toBe(201);
      const { offset } = answer.body as { offset: number };
      for (const node of nodes.nodes) {
        const read = await ask(`${node.httpUrl}/Data?offset=${offset}`);
        expect(read.body).toMatchObject({ message: follower.name, offset });
      }
    }
  });

  test("a follower relays many writes at once and loses none", async () => {
    const [follower] = await nodes.followers();
    if (follower === undefined) throw new Error("there is no follower");
    const before = await nodes.untilLevel();
    const results = await Promise.all(
      Array.from({ length: 500 }, async (_, at) => produce(follower.httpUrl, `relayed ${at}`)),
    );
    const offsets = results.map((result) => (result.kind === "acknowledged" ? result.offset : -1));
    expect([...offsets].sort((a, b) => a - b)).toEqual(offsets.map((_, at) => before + at));
  });
});

test("`proglog-node cluster` brings up three nodes, says who leads, and stops them all", async () => {
  const directory = mkdtempSync(join(tmpdir(), "proglog-command-"));
  const logPath = join(directory, "out.log");
  const httpPort = await freePorts(3);
  const rpcPort = await freePorts(3);
  const start = performance.now();
  const run = new Run(
    [
      "cluster",
      ...["--nodes", "3", "--data-dir", join(directory, "data")],
      ...["--base-http-port", String(httpPort), "--base-rpc-port", String(rpcPort)],
    ],
    logPath,
    {},
  );
  try {
    const bases = [0, 1, 2].map((at) => `http://127.0.0.1:${httpPort + at}`);
    const leader = await until("a leader that all three name", async () => {
      if (run.ended !== undefined) throw new Error(readFileSync(logPath, "utf8"));
      const all = await Promise.all(bases.map(async (base) => clusterStatus(base, 1_000)));
      const [first] = all;
      const agreed = all.every(
        (status) => status.leader != null && status.leader.name === first?.leader?.name,
      );
      return agreed ? (first?.leader ?? undefined) : undefined;
    });
    const electedMs = performance.now() - start;
    report(`proglog-node cluster has a leader ${Math.round(electedMs)} ms after its start`);
    const written = await produce(bases[1] ?? "", "through the second node");
    expect(written.kind).toBe("acknowledged");
    await until("the command to name the leader", async () =>
      readFileSync(logPath, "utf8").includes(leader.name) ? true : undefined,
    );
    await until("three voters", async () => {
      const status = await clusterStatus(bases[0] ?? "");
      return status.members.filter((member) => member.voter).length === 3 ? true : undefined;
    });
    run.signal("SIGINT");
    expect(await run.exit()).toEqual({ code: 0, signal: null });
    for (const base of bases) await expect(clusterStatus(base, 1_000)).rejects.toThrow();
  } catch (error) {
    process.stderr.write(`${readFileSync(logPath, "utf8").slice(-6_000)}\n`);
    throw error;
  } finally {
    run.signal("SIGTERM");
    await run.exit();
    rmSync(directory, { recursive: true, force: true });
  }
});
