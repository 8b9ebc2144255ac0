/**
 * How a node's process ends, whatever the node does: told by a node that does as the test says.
 */
import { EventEmitter } from "node:events";

import { describe, expect, test } from "vitest";

import type { RunningNode } from "../../src/agent/running-node.js";
import { StartError } from "../../src/agent/start-error.js";
import { runCommandLine } from "../../src/cli/command-line.js";
import { listenForStop } from "../../src/cli/stop-request.js";
import type { Surroundings } from "../../src/cli/surroundings.js";
import type { Clock } from "../../src/common/clock.js";

/** A clock whose timers run when the test says. */
class HandClock implements Clock {
  readonly timers: { readonly delayMs: number; readonly fire: () => void }[] = [];

  now(): number {
    return 0;
  }

  wallNow(): number {
    return 0;
  }

  setTimer(delayMs: number, fire: () => void): { cancel: () => void } {
    this.timers.push({ delayMs, fire });
    return { cancel: () => undefined };
  }

  defer(): void {}
}

interface Scene {
  readonly signals: EventEmitter & { connected?: boolean };
  readonly clock: HandClock;
  readonly complaints: string[];
  readonly exit: Promise<number>;
}

function begin(startNode: Surroundings["startNode"], isChild = false): Scene {
  const signals: Scene["signals"] = new EventEmitter();
  signals.connected = isChild;
  const clock = new HandClock();
  const complaints: string[] = [];
  const exit = runCommandLine(["--log-level", "silent", "--shutdown-timeout-ms", "2000"], {
    env: {},
    hostname: "h",
    version: "0",
    clock,
    isTerminal: false,
    readFile: () => "",
    print: () => undefined,
    complain: (line) => void complaints.push(line),
    listenForStop: () => listenForStop(signals),
    onUncaught: () => undefined,
    exit: () => undefined,
    nodeProgram: ["unused"],
    startNode,
    startGateway: async () => never,
  });
  return { signals, clock, complaints, exit };
}

function runningNode(parts: Partial<RunningNode>): RunningNode {
  return {
    id: "1",
    name: "h",
    clusterId: null,
    httpAddr: "127.0.0.1:1",
    rpcAddr: "127.0.0.1:2",
    dataDirectory: "d",
    close: async () => undefined,
    failed: new Promise(() => undefined),
    ...parts,
  };
}

const never = new Promise<never>(() => undefined);

async function untilListening(signals: EventEmitter): Promise<void> {
  await expect.poll(() => signals.listenerCount("SIGTERM")).toBe(1);
}

describe("a node's process", () => {
  test.each(["SIGTERM", "SIGINT"])("closes the node and exits 0 at %s", async (signal) => {
    let closed = 0;
    const close = async (): Promise<void> => void (closed += 1);
    const { signals, exit, complaints } = begin(async () => runningNode({ close }));
    await untilListening(signals);
    signals.emit(signal);
    expect(await exit).toBe(0);
    expect(closed).toBe(1);
    expect(complaints).toEqual([]);
  });

  test("closes the node once it has started if the signal comes before", async () => {
    let started: (node: RunningNode) => void = () => undefined;
    let closed = 0;
    const starting = new Promise<RunningNode>((resolve) => (started = resolve));
    const { signals, exit } = begin(async () => starting);
    await untilListening(signals);
    signals.emit("SIGTERM");
    started(runningNode({ close: async () => void (closed += 1) }));
    expect(await exit).toBe(0);
    expect(closed).toBe(1);
  });

  test("exits 1 at a second signal while the node still closes", async () => {
    const { signals, exit } = begin(async () => runningNode({ close: async () => never }));
    await untilListening(signals);
    signals.emit("SIGINT");
    signals.emit("SIGINT");
    expect(await exit).toBe(1);
  });

  test("exits 1, with a word, if the node does not close in time", async () => {
    const scene = begin(async () => runningNode({ close: async () => never }));
    await untilListening(scene.signals);
    scene.signals.emit("SIGTERM");
    await expect.poll(() => scene.clock.timers.length).toBe(1);
    expect(scene.clock.timers[0]?.delayMs).toBe(2000);
    scene.clock.timers[0]?.fire();
    expect(await scene.exit).toBe(1);
    expect(scene.complaints).toEqual([expect.stringContaining("did not stop in 2000 ms")]);
  });

  test("closes the node and exits 1 if the node has to stop by itself", async () => {
    let closed = 0;
    const failed = Promise.resolve(new Error("fdatasync failed"));
    const close = async (): Promise<void> => void (closed += 1);
    const { exit, complaints } = begin(async () => runningNode({ close, failed }));
    expect(await exit).toBe(1);
    expect(closed).toBe(1);
    expect(complaints).toEqual(["The node had to stop: fdatasync failed"]);
  });

  test("exits 1 with the cause and the remedy in one line if the node can't start", async () => {
    const { exit, complaints } = begin(async () => {
      throw new StartError("127.0.0.1:5000 is in use;\nchoose another --http-addr.");
    });
    expect(await exit).toBe(1);
    expect(complaints).toEqual(["127.0.0.1:5000 is in use; choose another --http-addr."]);
  });

  test("stops when the command that started it has gone", async () => {
    const { signals, exit } = begin(async () => runningNode({}), true);
    await untilListening(signals);
    signals.emit("disconnect");
    expect(await exit).toBe(0);
  });
});
