/**
 * Errors of nodes in trouble, and of clusters that meet, produced on real nodes over HTTP and gRPC:
 * status, code, whether to retry, and what became of the write; and that the trouble passes.
 *
 * Not here: `offset-trimmed`, because nothing trims the log yet; `internal`, because no request
 * brings a sound node to it; and the reserved codes of docs/errors.md.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

import { afterEach, describe, expect, test } from "vitest";

import {
  clusterClient,
  expectFailure,
  expectProblem,
  expectRpcError,
  logClient,
} from "./error-table.js";
import { NodeProcess, TestCluster } from "./harness.js";
import type { ClusterOptions } from "./harness.js";
import { ask, post, problemOf, produce, readAll } from "./http-client.js";
import type { Answer } from "./http-client.js";
import { until } from "./poll.js";
import { freePort } from "./ports.js";
import { Collected } from "./rpc-client.js";
import type { Message } from "./rpc-client.js";
import { showLogsOnFailure } from "./show-logs.js";

const gibibyte = 2 ** 30;
const clusters: TestCluster[] = [];

afterEach(async () => {
  await Promise.all(clusters.splice(0).map(async (cluster) => cluster.close()));
});
// Hooks run last come first: the logs are shown before their clusters are closed.
for (const at of [0, 1]) showLogsOnFailure(() => clusters[at]);

async function started(options: ClusterOptions): Promise<TestCluster> {
  const cluster = await TestCluster.start(options);
  clusters.push(cluster);
  return cluster;
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}

/** A stopped node's directory and ports in the hands of a node with other flags, started. */
async function restartedWith(
  cluster: TestCluster,
  node: NodeProcess,
  flags: readonly string[],
): Promise<NodeProcess> {
  const next = new NodeProcess({
    name: node.name,
    directory: cluster.directory,
    httpPort: portOf(node.httpAddr),
    rpcPort: portOf(node.rpcAddr),
    join: [],
    flags,
  });
  cluster.nodes.splice(cluster.nodes.indexOf(node), 1, next);
  next.start();
  await cluster.untilVoters(1);
  return next;
}

async function heldMessages(node: NodeProcess): Promise<string[]> {
  return (await readAll(node.httpUrl)).map(({ message }) => String(message));
}

async function addMember(node: NodeProcess, rpcAddr: string): Promise<Answer> {
  return ask(`${node.httpUrl}/cluster/members`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ rpcAddr }),
  });
}

/** A text's record, and the text of one that came over gRPC. */
function recordOf(text: string): Message {
  return { value: Buffer.from(text) };
}
function textOf({ record }: Message): string {
  return (record as { readonly value: Buffer }).value.toString();
}

describe("changes of members that cannot be", () => {
  test("wrong-cluster: a node of another cluster is not taken in, and neither is harmed", async () => {
    const [ours, theirs] = await Promise.all([
      started({ nodeCount: 1 }),
      started({ nodeCount: 1 }),
    ]);
    const nodes = [ours.node(0), theirs.node(0)] as const;
    const [node, stranger] = nodes;
    const before = await Promise.all(nodes.map(async (each) => each.status()));
    const [{ clusterId }, other] = before as [(typeof before)[0], (typeof before)[0]];
    expect(clusterId).not.toBe(other.clusterId);

    const problem = expectProblem(await addMember(node, stranger.rpcAddr), "wrong-cluster");
    expect(problem["clusterId"]).toBe(clusterId);
    const client = clusterClient(node.rpcAddr);
    const request = { rpc_addr: stranger.rpcAddr };
    await expectRpcError(client, { name: "AddMember", request }, "wrong-cluster");
    const [member] = other.members;
    const join = { cluster_id: other.clusterId, member: { ...member, rpc_addr: stranger.rpcAddr } };
    await expectRpcError(client, { name: "Join", request: join }, "wrong-cluster");
    client.close();

    for (const [at, each] of nodes.entries()) {
      expect((await produce(each.httpUrl, `mine ${at}`)).kind).toBe("acknowledged");
      const after = await each.status();
      expect(after).toMatchObject({ clusterId: before[at]?.clusterId, term: before[at]?.term });
      expect(after.members.map(({ id }) => id)).toEqual(before[at]?.members.map(({ id }) => id));
      expect(await heldMessages(each)).toEqual([`mine ${at}`]);
    }
  });

  test("unsafe-change: the last voter is not removed, however often it is asked", async () => {
    const cluster = await started({ nodeCount: 1 });
    const node = cluster.node(0);
    const id = (await node.status()).members[0]?.id ?? "";
    const differs = { retryable: false };
    const answer = await ask(`${node.httpUrl}/cluster/members/${id}`, { method: "DELETE" });
    expectProblem(answer, "unsafe-change", differs);
    const client = clusterClient(node.rpcAddr);
    const call = { name: "RemoveMember", request: { id }, differs };
    await expectRpcError(client, call, "unsafe-change");
    // The only voter leads already, and there is nobody to hand over to.
    const transfer = { name: "TransferLeader", request: { id }, differs };
    await expectRpcError(client, transfer, "unsafe-change");
    const handover = await ask(`${node.httpUrl}/cluster/leader`, { method: "POST", body: "{}" });
    expectProblem(handover, "unsafe-change", differs);
    client.close();
    expect((await node.status()).members).toMatchObject([{ id, voter: true, role: "leader" }]);
    expect((await produce(node.httpUrl, "still here")).kind).toBe("acknowledged");
  });

  test("unsafe-change: a node at another member's address waits until that one is removed", async () => {
    const cluster = await started({ nodeCount: 1 });
    const first = cluster.node(0);
    const second = await cluster.prepare();
    second.start();
    const { id } = await until("the second node to be a member", async () => {
      const { members } = await first.status();
      return members.find(({ name, alive }) => name === second.name && alive);
    });
    await second.kill9();

    const newcomer = new NodeProcess({
      name: "newcomer",
      directory: cluster.directory,
      httpPort: await freePort(),
      rpcPort: portOf(second.rpcAddr),
      join: [first.rpcAddr],
      flags: [],
    });
    cluster.nodes.push(newcomer);
    newcomer.start();
    await newcomer.untilAnswering();
    // Not in any cluster, it is up and not ready: the other way to be unavailable.
    const ready = await ask(`${newcomer.httpUrl}/readyz`);
    expectProblem(ready, "unavailable", { outcome: null });
    expect(ready.headers.get("retry-after")).toMatch(/^\d+$/);

    const differs = { retryable: false };
    expectProblem(await addMember(first, newcomer.rpcAddr), "unsafe-change", differs);
    const client = clusterClient(first.rpcAddr);
    const call = { name: "AddMember", request: { rpc_addr: newcomer.rpcAddr }, differs };
    await expectRpcError(client, call, "unsafe-change");
    client.close();

    const removed = await ask(`${first.httpUrl}/cluster/members/${id}`, { method: "DELETE" });
    expect(removed.status).toBe(204);
    await until("the newcomer to be ready", async () => {
      const { status } = await ask(`${newcomer.httpUrl}/readyz`);
      return status === 200 ? true : undefined;
    });
    const names = (await first.status()).members.map(({ name }) => name);
    expect(names).toEqual([first.name, newcomer.name]);
  });
});

describe("a node that is stopping", () => {
  test("unavailable: a stream that follows is told to go elsewhere", async () => {
    const cluster = await started({ nodeCount: 1 });
    const node = cluster.node(0);
    await produce(node.httpUrl, "first");
    const client = logClient(node.rpcAddr);
    const followed = new Collected(client.read("ConsumeStream", { offset: 0 }));
    await followed.untilCount(1);
    expect(await node.terminate()).toEqual({ code: 0, signal: null });
    const error = await until("the stream to end", async () => followed.error);
    expectFailure(error, "unavailable");
    client.close();
  });
});

describe("a disk with too little room", () => {
  test("disk-full: writes are refused, reads go on, and room makes it well", async (context) => {
    const { bavail, bsize } = await statfs(tmpdir());
    context.skip(bavail * bsize >= 1024 * gibibyte, "no limit is above this disk's free space");
    const cluster = await started({ nodeCount: 1 });
    const roomy = cluster.node(0);
    expect((await produce(roomy.httpUrl, "before")).kind).toBe("acknowledged");
    await roomy.terminate();

    const full = await restartedWith(cluster, roomy, ["--disk-free-bytes-min", "1024GiB"]);
    const client = logClient(full.rpcAddr);
    expectProblem(await post(full.httpUrl, { message: "refused over HTTP" }), "disk-full");
    const request = { record: recordOf("refused over gRPC") };
    await expectRpcError(client, { name: "Produce", request }, "disk-full");
    const batch = { messages: [1, 2] };
    expectProblem(await post(full.httpUrl, batch), "disk-full");

    expect(await heldMessages(full)).toEqual(["before"]);
    expect((await ask(`${full.httpUrl}/Data?offset=0`)).body).toMatchObject({ message: "before" });
    expect(textOf(await client.call("Consume", { offset: 0 }))).toBe("before");
    expect(await full.status()).toMatchObject({ readOnly: true, endOffset: 1 });
    client.close();
    await full.terminate();

    const again = await restartedWith(cluster, full, []);
    expect((await produce(again.httpUrl, "after")).kind).toBe("acknowledged");
    expect(await heldMessages(again)).toEqual(["before", "after"]);
  });
});

describe("more appends than a node may hold", () => {
  const padding = "x".repeat(300 * 1024);
  const padded = (name: string): string => `${name} ${padding}`;

  test("overloaded: the rest is refused at once, and is in no log", async () => {
    // The leader leads on for 3 s without its followers: time enough for what comes here.
    const waiting = ["--election-timeout-ms", "3000", "--heartbeat-ms", "100"];
    const cluster = await started({ flags: ["--pending-bytes-max", "1MiB", ...waiting] });
    const leader = await cluster.leader();
    const client = logClient(leader.rpcAddr);
    expect((await produce(leader.httpUrl, "before")).kind).toBe("acknowledged");
    const others = await cluster.followers();
    for (const node of others) node.stop();

    const names = Array.from({ length: 8 }, (_, at) => `over HTTP ${at}`);
    const posts = names.map(async (name) => {
      const body = { message: padded(name), timeoutMs: 20_000 };
      return { name, answer: await post(leader.httpUrl, body, { follow: false }) };
    });
    // Nothing can be committed: whatever is answered first was refused because of what waits.
    const refused = await Promise.race(posts);
    expectProblem(refused.answer, "overloaded");
    expect(refused.answer.headers.get("retry-after")).toMatch(/^\d+$/);
    for (const at of [0, 1]) {
      const request = { record: recordOf(padded(`over gRPC ${at}`)), timeout_ms: 20_000 };
      await expectRpcError(client, { name: "Produce", request }, "overloaded");
    }
    client.close();

    for (const node of others) node.cont();
    const answers = await Promise.all(posts);
    const kept = answers.filter(({ answer }) => answer.status === 201);
    const dropped = answers.filter(
      ({ answer }) => answer.status !== 201 && problemOf(answer).outcome === "not_applied",
    );
    for (const { answer } of answers) {
      if (answer.status === 429) expectProblem(answer, "overloaded");
    }
    await cluster.untilVoters(3);
    expect((await produce(leader.httpUrl, "after")).kind).toBe("acknowledged");
    await cluster.untilLevel();
    for (const node of cluster.nodes) {
      const held = (await heldMessages(node)).map((message) => message.replace(` ${padding}`, ""));
      expect(held).toEqual(expect.arrayContaining(["before", "after"]));
      expect(held).toEqual(expect.arrayContaining(kept.map(({ name }) => name)));
      for (const { name } of dropped) expect(held).not.toContain(name);
      expect(held.filter((message) => message.startsWith("over gRPC"))).toEqual([]);
    }
  });
});

describe("a byte that the disk has changed", () => {
  const count = 60;
  const damagedOffset = 7;
  const messageAt = (offset: number): string => `record ${offset}: ${"y".repeat(50_000)}`;

  /** The commit log's first store, somewhere below the node's directory. */
  function firstStore(dataDir: string): string {
    const name = `${"0".repeat(20)}.log`;
    const paths = readdirSync(dataDir, { recursive: true, encoding: "utf8" });
    const found = paths.find((path) => basename(path) === name);
    if (found === undefined) throw new Error(`no ${name} in ${paths.join(", ")}`);
    return join(dataDir, found);
  }

  function flipByte(path: string, text: string): void {
    const bytes = readFileSync(path);
    const position = bytes.indexOf(text);
    if (position < 0) throw new Error(`${text} is not in ${path}`);
    const middle = position + 20_000;
    bytes.writeUInt8(bytes.readUInt8(middle) ^ 0x01, middle);
    writeFileSync(path, bytes);
  }

  test("data-damaged: that record is refused, all others are served as they were", async () => {
    const flags = ["--segment-bytes", "1MiB", "--checkpoint-bytes", "1MiB"];
    const cluster = await started({ nodeCount: 1, flags: [...flags, "--tail-cache-bytes", "0"] });
    const node = cluster.node(0);
    for (let offset = 0; offset < count; offset += 1) {
      expect(await produce(node.httpUrl, messageAt(offset))).toMatchObject({ offset });
    }
    expect(await node.terminate()).toEqual({ code: 0, signal: null });
    flipByte(firstStore(node.dataDir), `record ${damagedOffset}:`);
    node.restart();
    await cluster.untilVoters(1);

    const client = logClient(node.rpcAddr);
    for (let offset = 0; offset < count; offset += 1) {
      const answer = await ask(`${node.httpUrl}/Data?offset=${offset}`);
      if (offset === damagedOffset) {
        expectProblem(answer, "data-damaged");
        expect(problemOf(answer).detail).toContain(`offset ${offset} `);
        await expectRpcError(client, { name: "Consume", request: { offset } }, "data-damaged");
        continue;
      }
      expect(answer.status, `offset ${offset}`).toBe(200);
      expect(answer.body).toMatchObject({ offset, message: messageAt(offset) });
      expect(textOf(await client.call("Consume", { offset }))).toBe(messageAt(offset));
    }

    const page = await ask(`${node.httpUrl}/Data?from=0`);
    expect(expectProblem(page, "data-damaged").detail).toContain(`offset ${damagedOffset} `);
    const streamed = new Collected(client.read("ConsumeStream", { offset: 0 }));
    const error = await until("the stream to come to the damage", async () => streamed.error);
    expectFailure(error, "data-damaged");
    const sound = Array.from({ length: damagedOffset }, (_, offset) => messageAt(offset));
    expect(streamed.messages.map(textOf)).toEqual(sound);
    const rest = await readAll(node.httpUrl, damagedOffset + 1);
    expect(rest).toHaveLength(count - damagedOffset - 1);
    expect((await produce(node.httpUrl, "it goes on")).kind).toBe("acknowledged");
    client.close();
  });
});
