/** The package as a program uses it: a node inside it, on free ports, closed when done. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test } from "vitest";

import { StartError, UsageError, startNode } from "../src/index.js";

const addresses = { httpAddr: "127.0.0.1:0", rpcAddr: "127.0.0.1:0" };

test("an embedded node takes a record, and holds it after it was closed and started again", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "proglog-embedded-"));
  try {
    const node = await startNode({ dataDir, ...addresses });
    const { clusterId } = node;
    await expect(startNode({ dataDir, ...addresses })).rejects.toBeInstanceOf(StartError);
    const posted = await posting(node.httpAddr, { message: { hello: 1 } });
    expect(posted).toMatchObject({ offset: 0 });
    await node.close();
    await node.close();

    const again = await startNode({ dataDir, ...addresses });
    expect(again.clusterId).toBe(clusterId);
    const read = await fetch(`http://${again.httpAddr}/Data?offset=0&wait=20s`);
    expect(await read.json()).toMatchObject({ offset: 0, message: { hello: 1 } });
    await again.close();
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});

test("a wrong option is refused before anything is touched", async () => {
  await expect(startNode({ voters: 2 })).rejects.toBeInstanceOf(UsageError);
});

/** Posts until the new node leads; at most 20 s. */
async function posting(httpAddr: string, body: object): Promise<unknown> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const response = await fetch(`http://${httpAddr}/Data`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (response.status === 201) return response.json();
    if (Date.now() > deadline) throw new Error(`not taken: ${await response.text()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test("an embedded node has a client, which ends with it", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "proglog-embedded-"));
  try {
    const node = await startNode({ dataDir, ...addresses });
    const { client } = node;
    expect(node.client).toBe(client);
    const { offset } = await client.produce("hello");
    expect((await client.read(offset)).text()).toBe("hello");
    await node.close();
    await expect(client.produce("late")).rejects.toThrow("closed");
    expect(() => node.client).toThrow("closed");
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});
