/**
 * Three nodes whose links run through proxies that delay, reset and cut: the history stays true,
 * and the cluster serves again by itself when the links are whole.
 */
import { afterAll, beforeAll, expect, test } from "vitest";

import { TestCluster } from "./harness.js";
import { produce } from "./http-client.js";
import { briefly, report, until } from "./poll.js";
import { freePort } from "./ports.js";
import { showLogsOnFailure } from "./show-logs.js";
import { TcpProxy } from "./tcp-proxy.js";
import { Workload } from "./workload.js";

let cluster: TestCluster;
const proxies: TcpProxy[] = [];
showLogsOnFailure(() => cluster);

beforeAll(async () => {
  cluster = new TestCluster();
  for (let at = 0; at < 3; at += 1) {
    const proxyPort = await freePort();
    const node = await cluster.prepare(["--advertise-rpc-addr", `127.0.0.1:${proxyPort}`]);
    const target = Number(node.rpcAddr.slice(node.rpcAddr.lastIndexOf(":") + 1));
    proxies.push(await TcpProxy.listen(proxyPort, target));
    node.start();
  }
  await cluster.untilVoters(3);
});

afterAll(async () => {
  await cluster?.close();
  await Promise.all(proxies.map(async (proxy) => proxy.close()));
});

test("serves through delayed, reset and cut links, and keeps its history true", async () => {
  const workload = new Workload(cluster);
  workload.start({ writers: 8, readers: 2 });
  try {
    await workload.untilMore(100);

    for (const proxy of proxies) proxy.delay(20);
    await workload.untilMore(50);
    for (const proxy of proxies) proxy.delay(0);

    for (let round = 0; round < 20; round += 1) {
      proxies[round % 3]?.reset();
      await briefly(50);
    }
    await workload.untilMore(50);

    // Nobody reaches anybody: no write can be committed, and none may be lost.
    for (const proxy of proxies) proxy.cut();
    await until("every node to be without a leader", async () => {
      const all = await Promise.all(cluster.nodes.map(async (node) => node.status()));
      return all.every((status) => status.leader === null) ? true : undefined;
    });
    for (const proxy of proxies) proxy.heal();
    const start = performance.now();
    await cluster.untilVoters(3);
    report(`a leader ${Math.round(performance.now() - start)} ms after all links healed`);
    await workload.untilMore(50);
  } finally {
    for (const proxy of proxies) {
      proxy.delay(0);
      proxy.heal();
    }
    await workload.end();
  }
  report(workload.summary());
  await workload.check();
});

test("a follower that cannot be reached catches up when its link heals", async () => {
  const leader = await cluster.leader();
  const at = cluster.nodes.findIndex((node) => node !== leader);
  proxies[at]?.cut();
  for (let count = 0; count < 200; count += 1) {
    const result = await produce(leader.httpUrl, `without ${at}: ${count}`);
    expect(result.kind).toBe("acknowledged");
  }
  proxies[at]?.heal();
  await cluster.untilVoters(3);
  const end = await cluster.untilLevel();
  expect(end).toBeGreaterThanOrEqual(200);
});
