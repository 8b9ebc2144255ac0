/**
 * The shipped image and compose file on a real Docker engine: what a person types, what a client on
 * the host sees, and what the containers may do.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import { ask, clusterStatus, post, produce, readAll } from "../cluster/http-client.js";
import type { Status } from "../cluster/http-client.js";
import { until } from "../cluster/poll.js";
import { Engine, whyNoEngine } from "./engine.js";
import { buildImage } from "./images.js";
import { Project } from "./project.js";
import type { Container } from "./project.js";

let engine: Engine | undefined;
let project: Project;
let gatewayUrl = "";
const acknowledged = new Map<number, string>();

const reason = whyNoEngine();
const isRequired = process.env["PROGLOG_REQUIRE_HOSTS"] === "1";

beforeAll(async () => {
  if (reason !== undefined && !isRequired) return;
  engine = await Engine.start();
  await buildImage(engine);
  project = new Project(engine, "log");
});

beforeEach((context) => {
  if (reason === undefined) return;
  const sentence = `this host cannot run it: ${reason}`;
  if (isRequired) throw new Error(sentence);
  context.skip(sentence);
});

afterEach(async ({ task }) => {
  if (task.result?.state !== "fail" || project === undefined) return;
  process.stderr.write(`${await project.logs()}\n`);
});

afterAll(async () => {
  await engine?.close();
});

function running(): Engine {
  if (engine === undefined) throw new Error("there is no engine");
  return engine;
}

/** Appends so many records through the gateway, each until it is acknowledged. */
async function append(count: number, label: string): Promise<void> {
  for (let at = 0; at < count; at += 1) {
    const message = `${label} ${at}`;
    await until("an append", async () => {
      const result = await produce(gatewayUrl, message, 5_000);
      if (result.kind !== "acknowledged") throw new Error(result.why);
      acknowledged.set(result.offset, message);
      return true;
    });
  }
}

/** Waits until all members are there, alive, with a leader and so many votes. */
async function untilMembers(memberCount: number, voterCount: number): Promise<Status> {
  return until(
    `${memberCount} members, ${voterCount} voters`,
    async () => {
      const status = await clusterStatus(gatewayUrl);
      const { members, leader, quorum } = status;
      const voters = members.filter(({ voter }) => voter);
      const isSo =
        members.length === memberCount && voters.length === voterCount && leader !== null && quorum;
      if (!isSo) throw new Error(JSON.stringify(status));
      return status;
    },
    { timeoutMs: 90_000, everyMs: 200 },
  );
}

/** Waits until every node's own copy has all that was acknowledged. */
async function untilAllHoldAll(): Promise<void> {
  for (const node of await project.nodes()) {
    const url = await running().reach(node.address, 5000);
    await until(`${node.hostname} to hold every record`, async () => {
      const page = await ask(`${url}/Data?from=latest&consistency=local`);
      const { endOffset } = page.body as { endOffset: number };
      return endOffset > Math.max(...acknowledged.keys()) ? true : undefined;
    });
    const held = new Map((await readAll(url)).map((record) => [record.offset, record.message]));
    for (const [offset, message] of acknowledged) expect(held.get(offset)).toBe(message);
  }
}

async function leadingContainer(): Promise<Container> {
  return until("the leader's container", async () => {
    const { leader } = await clusterStatus(gatewayUrl);
    return (await project.nodes()).find(({ hostname }) => hostname === leader?.name);
  });
}

describe("the image", () => {
  test("has the package and its production dependencies, and no more", async () => {
    const list =
      "const { readdirSync: ls } = require('fs'); console.log(JSON.stringify([ls('/app'), ls('/app/node_modules')]))";
    const output = await running().docker([
      "run",
      "--rm",
      "--entrypoint",
      "node",
      "proglog",
      "-e",
      list,
    ]);
    const [files, modules] = JSON.parse(output) as [string[], string[]];
    expect(files.sort()).toEqual(
      ["LICENSE", "bin", "dist", "healthy.js", "node_modules", "package.json", "proto"].sort(),
    );
    expect(modules).toContain("level");
    for (const tool of ["typescript", "vitest", "eslint", "tsx"])
      expect(modules).not.toContain(tool);
  });

  test("runs as a user without rights on a root that cannot be written", async () => {
    const look =
      "const fs = require('fs'); const may = (path) => { try { fs.writeFileSync(path + '/x', ''); return true; } catch { return false; } };" +
      "console.log(JSON.stringify([process.getuid(), may('/app'), may('/tmp'), may('/data')]))";
    const words = ["run", "--rm", "--read-only", "--cap-drop", "ALL", "--entrypoint", "node"];
    const output = await running().docker([...words, "proglog", "-e", look]);
    expect(JSON.parse(output)).toEqual([1000, false, false, true]);
  });

  test("is one node by itself, which stops when it is told to", async () => {
    const id = await running().docker(["run", "--detach", "--read-only", "proglog"]);
    const address = await running().docker([
      ...["inspect", "--format", "{{.NetworkSettings.IPAddress}}", id],
    ]);
    const url = await running().reach(address, 5000);
    await until("an append", async () =>
      (await post(url, { message: 1 }, { timeoutMs: 2_000 })).status === 201 ? true : undefined,
    );
    await running().docker(["stop", "--time", "30", id]);
    const code = await running().docker(["inspect", "--format", "{{.State.ExitCode}}", id]);
    expect(code).toBe("0");
    await running().docker(["rm", "--volumes", id]);
  });
});

describe("docker-compose", () => {
  test("brings up three nodes and a gateway that is written to from the host", async () => {
    await project.scale(2);
    gatewayUrl = await running().reach("127.0.0.1", 5000);
    await untilMembers(3, 3);
    await append(500, "first");
    await project.untilHealthy();
    await untilAllHoldAll();
  });

  test("scales up under load, and new nodes serve every record", async () => {
    let isOver = false;
    const load = (async () => {
      for (let round = 0; !isOver; round += 1) await append(20, `load ${round}`);
    })();
    await project.scale(4);
    await untilMembers(5, 5);
    isOver = true;
    await load;
    await untilAllHoldAll();
  });

  test("goes on when the leader's container is killed, and takes it back", async () => {
    const leader = await leadingContainer();
    await running().docker(["kill", leader.id]);
    const start = performance.now();
    await append(1, "after the kill");
    expect(performance.now() - start).toBeLessThan(20_000);
    await append(50, "without the leader");
    await running().docker(["start", leader.id]);
    await untilMembers(5, 5);
    await untilAllHoldAll();
  });

  test("goes on while a container is paused", async () => {
    const leader = await leadingContainer();
    await running().docker(["pause", leader.id]);
    try {
      await append(50, "while paused");
    } finally {
      await running().docker(["unpause", leader.id]);
    }
    await untilAllHoldAll();
  });

  test("catches a container up that was disconnected", async () => {
    const [first] = (await project.nodes()).filter(({ service }) => service === "proglog-node");
    const id = first?.id ?? "";
    await running().docker(["network", "disconnect", "log_default", id]);
    await append(50, "while disconnected");
    await running().docker(["network", "connect", "--alias", "proglog-node", "log_default", id]);
    await untilAllHoldAll();
  });

  test("has the same cluster and log after all was stopped and started", async () => {
    const before = await clusterStatus(gatewayUrl);
    const places = await project.containers();
    await project.compose("stop");
    const codes = await Promise.all(
      (await project.containers()).map(async ({ id }) =>
        running().docker(["inspect", "--format", "{{.State.ExitCode}}", id]),
      ),
    );
    expect(codes).toEqual(codes.map(() => "0"));
    await project.startInPlace(places);
    const after = await untilMembers(5, 5);
    expect(after.clusterId).toBe(before.clusterId);
    expect(after.members.map(({ id }) => id).sort()).toEqual(
      before.members.map(({ id }) => id).sort(),
    );
    await append(20, "after the start");
    await untilAllHoldAll();
  });
});
