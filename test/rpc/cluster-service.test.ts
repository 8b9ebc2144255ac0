import { expect, onTestFinished, test } from "vitest";

import { systemClock } from "../../src/common/system.js";
import { GrpcPeerCalls } from "../../src/rpc/peer-calls.js";
import type { PeerCallOptions } from "../../src/rpc/peer-calls.js";
import type { GetStatusResponse } from "../../src/gen/cluster/v1/cluster.js";
import { ask, failureOf, marked, startLoopback, until } from "./loopback.js";
import { testClusterId } from "./memory-node.js";

const other = { id: "two", name: "two", rpcAddr: "127.0.0.1:8401", httpAddr: "127.0.0.1:5001" };

function peerCalls(options: Partial<PeerCallOptions> = {}): GrpcPeerCalls {
  const calls = new GrpcPeerCalls({ clock: systemClock, options });
  onTestFinished(() => calls.close());
  return calls;
}

test("a node says who it is", async () => {
  const { address, cluster } = await startLoopback();
  expect(await peerCalls().identify(address)).toEqual({
    clusterId: testClusterId,
    member: cluster.self,
  });
});

test("a node that joins learns of all members", async () => {
  const { address, cluster } = await startLoopback();
  const receipt = await peerCalls().join(address, { clusterId: null, member: other });
  expect(receipt).toEqual({ clusterId: testClusterId, members: [cluster.self, other] });
});

test("a node of another cluster is refused by both names", async () => {
  const { address } = await startLoopback();
  const join = peerCalls().join(address, { clusterId: "another", member: other });
  await expect(join).rejects.toMatchObject({
    code: "wrong-cluster",
    fields: { clusterId: testClusterId, otherClusterId: "another" },
  });
});

test("status is what the node knows itself; a tool is answered by the leader", async () => {
  const { address, cluster, clusterClient } = await startLoopback();
  expect(await peerCalls().status(address)).toEqual(cluster.localStatus());
  const { json } = await ask<GetStatusResponse>((answer) => clusterClient.getStatus({}, answer));
  expect(JSON.parse(json)).toMatchObject({ source: "leader" });
  const local = await ask<GetStatusResponse>((answer) =>
    clusterClient.getStatus({}, marked("proglog-local"), answer),
  );
  expect(JSON.parse(local.json)).toMatchObject({ source: "local" });
});

test("members are added, promoted, led by another, and removed", async () => {
  const { address, cluster } = await startLoopback();
  cluster.dialable.set(other.rpcAddr, other);
  const calls = peerCalls();
  expect(await calls.addMember(address, other.rpcAddr)).toMatchObject({
    ...other,
    role: "learner",
    voter: false,
  });
  await calls.promoteMember(address, "two");
  expect((await calls.status(address)).members.map(({ voter }) => voter)).toEqual([true, true]);
  await calls.transferLeader(address, undefined);
  expect(cluster.leaderId).toBe("two");
  await calls.transferLeader(address, cluster.self.id);
  expect(cluster.leaderId).toBe(cluster.self.id);
  await calls.removeMember(address, "two");
  expect([...cluster.members.keys()]).toEqual([cluster.self.id]);
  await expect(calls.removeMember(address, "two")).rejects.toMatchObject({
    code: "unknown-member",
  });
});

test("what is wrong with a request is said before anything is dialled", async () => {
  const { address, clusterClient } = await startLoopback();
  const calls = peerCalls();
  const invalid = { code: "invalid-request", outcome: "not_applied" };
  await expect(calls.addMember(address, "nonsense")).rejects.toMatchObject(invalid);
  await expect(calls.removeMember(address, "")).rejects.toMatchObject(invalid);
  const nameless = { clusterId: null, member: { ...other, id: "" } };
  await expect(calls.join(address, nameless)).rejects.toMatchObject(invalid);
  await expect(calls.identify("nonsense")).rejects.toMatchObject(invalid);
  const error = await failureOf(
    ask((answer) => clusterClient.join({ clusterId: "", member: undefined }, answer)),
  );
  expect(error.details).toBe("The member is missing.");
});

test("a node that is not there is unavailable, and was told nothing", async () => {
  const { server, address } = await startLoopback();
  await server.close();
  const add = peerCalls().addMember(address, other.rpcAddr);
  await expect(add).rejects.toMatchObject({ code: "unavailable", outcome: "not_applied" });
});

test("a node that does not answer in time leaves a change's outcome unknown", async () => {
  const { address, cluster } = await startLoopback();
  cluster.join = async () => new Promise(() => undefined);
  const join = peerCalls({ changeMsMax: 100 }).join(address, { clusterId: null, member: other });
  await expect(join).rejects.toMatchObject({ code: "outcome-unknown", outcome: "unknown" });
});

test("connections that are not used are closed", async () => {
  const first = await startLoopback();
  const second = await startLoopback();
  const calls = peerCalls({ idleMsMax: 50 });
  await calls.identify(first.address);
  await calls.identify(second.address);
  expect(calls.addresses).toBe(2);
  await until("both are closed", () => calls.addresses === 0);
  await calls.identify(first.address);
});

test("no more addresses are kept than the limit", async () => {
  const calls = peerCalls({ addressesMax: 2 });
  for (let ordinal = 0; ordinal < 4; ordinal += 1) {
    const { address } = await startLoopback();
    await calls.identify(address);
    expect(calls.addresses).toBeLessThanOrEqual(2);
  }
});

test("after close every call is refused", async () => {
  const { address } = await startLoopback();
  const calls = peerCalls();
  await calls.identify(address);
  await calls.close();
  await expect(calls.identify(address)).rejects.toMatchObject({ code: "unavailable" });
});
