import { randomUUID } from "node:crypto";

import { afterEach, describe, expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import type { FetchSnapshotResponse } from "../../src/gen/raft/v1/raft.js";
import type { SnapshotHandler } from "../../src/rpc/snapshot-stream.js";
import { until } from "../replica/transport-contract.js";
import type { PeerNodeOptions } from "./peer-net.js";
import { pause, startNode } from "./peer-net.js";

type Node = Awaited<ReturnType<typeof startNode>>;
const net = { step: () => pause() };
const cleanups: (() => Promise<void>)[] = [];
const request = { group: 0, indexMin: 5n, held: [{ baseOffset: 1n, bytes: 2n, checksum: 3 }] };
const never = new AbortController().signal;

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function node(options: PeerNodeOptions = {}): Promise<Node> {
  const started = await startNode(options);
  cleanups.push(() => started.stop());
  return started;
}

function chunk(position: number, bytes = 10): FetchSnapshotResponse {
  const value = {
    baseOffset: 0n,
    position: BigInt(position),
    data: Buffer.alloc(bytes, position),
    checksum: 0,
  };
  return { part: { $case: "chunk", value } };
}

async function all(from: Node, to: Node): Promise<FetchSnapshotResponse[]> {
  const parts: FetchSnapshotResponse[] = [];
  for await (const part of from.transport.fetchSnapshot(to.member, request, never)) {
    parts.push(part);
  }
  return parts;
}

async function failure(work: Promise<unknown>): Promise<ProglogError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ProglogError);
  return error as ProglogError;
}

/** A sender without end, which notes how far it came and how it was stopped. */
function endless(partBytes: number): {
  readonly handler: SnapshotHandler;
  readonly state: { sent: number; stopped: unknown };
} {
  const state: { sent: number; stopped: unknown } = { sent: 0, stopped: undefined };
  const handler: SnapshotHandler = async (_request, write, signal) => {
    try {
      for (;;) {
        await write(chunk(state.sent % 256, partBytes));
        state.sent++;
        if (state.sent > 100_000) throw new Error("nobody stopped it");
      }
    } catch (error) {
      state.stopped = signal.aborted ? signal.reason : error;
      throw error;
    }
  };
  return { handler, state };
}

describe("fetching a snapshot", () => {
  test("gives the parts in order, to the request as it was asked", async () => {
    const asked: unknown[] = [];
    const a = await node();
    const b = await node({
      snapshots: async (received, write) => {
        asked.push(received);
        await write({ part: { $case: "checkpoint", value: Buffer.from("state") } });
        for (let position = 0; position < 100; position++) await write(chunk(position));
      },
    });
    const parts = await all(a, b);
    expect(asked).toEqual([request]);
    expect(parts[0]).toEqual({ part: { $case: "checkpoint", value: Buffer.from("state") } });
    expect(parts.slice(1)).toEqual(Array.from({ length: 100 }, (_, position) => chunk(position)));
  });

  test("waits for a slow receiver, and is cancelled when the receiver stops", async () => {
    const { handler, state } = endless(64 * 1024);
    const a = await node();
    const b = await node({ snapshots: handler });
    let received = 0;
    for await (const _part of a.transport.fetchSnapshot(b.member, request, never)) {
      received++;
      if (received === 1) {
        for (let count = 0; count < 40; count++) await pause();
        // Windows and stream buffers hold a few MiB; an endless sender would be far beyond.
        expect(state.sent).toBeLessThan(200);
      }
      if (received === 3) break;
    }
    await until(net, () => state.stopped !== undefined, "the sender is told");
    expect(state.stopped).toBeInstanceOf(ProglogError);
  });

  test("ends when its signal aborts, and when the transport closes", async () => {
    const { handler, state } = endless(1024);
    const b = await node({ snapshots: handler });
    const a = await node();
    const aborting = new AbortController();
    const reason = new Error("enough");
    const loop = async (signal: AbortSignal, stop: () => void): Promise<void> => {
      for await (const _part of a.transport.fetchSnapshot(b.member, request, signal)) stop();
    };
    const aborted = loop(aborting.signal, () => {
      aborting.abort(reason);
    });
    await expect(aborted).rejects.toBe(reason);
    await until(net, () => state.stopped !== undefined, "the sender is told");
    const closed = failure(loop(never, () => void a.transport.close()));
    expect((await closed).code).toBe("unavailable");
  });

  test("fails with the sender's code", async () => {
    const a = await node();
    const b = await node({
      snapshots: () => Promise.reject(new ProglogError("data-damaged", "A segment is damaged.")),
    });
    const error = await failure(all(a, b));
    expect([error.code, error.message]).toEqual(["data-damaged", "A segment is damaged."]);
  });

  test("fails if the peer sends nothing for too long, or is not there", async () => {
    const a = await node({ options: { snapshotIdleMsMax: 100 } });
    const b = await node({ snapshots: () => new Promise(() => undefined) });
    expect((await failure(all(a, b))).message).toMatch(/stopped sending/);
    await b.stop();
    expect((await failure(all(a, b))).code).toBe("unavailable");
  });

  test("is refused by another node, another cluster, and one without snapshots", async () => {
    const a = await node();
    const b = await node({ snapshots: () => Promise.resolve() });
    const stranger = await node({ clusterId: randomUUID() });
    const fresh = await node({ clusterId: undefined });
    expect(await all(a, b)).toEqual([]);
    const swapped = { ...b.member, id: a.id };
    const parts = a.transport.fetchSnapshot(swapped, request, never);
    expect((await failure(parts.next())).message).toMatch(/answers at this address/);
    expect((await failure(all(stranger, b))).message).toMatch(/is of cluster/);
    expect((await failure(all(fresh, b))).message).toMatch(/not a member of a cluster yet/);
    expect((await failure(all(b, a))).message).toMatch(/sends no snapshots/);
  });

  test("one more than a node sends at a time is told to come back", async () => {
    const a = await node();
    const b = await node({
      snapshots: async (_request, write, signal) => {
        await write(chunk(0));
        await new Promise<void>((resolve) => {
          signal.addEventListener("abort", () => {
            resolve();
          });
        });
      },
    });
    const open = Array.from({ length: 4 }, () =>
      a.transport.fetchSnapshot(b.member, request, never),
    );
    for (const parts of open) expect((await parts.next()).done).toBe(false);
    expect((await failure(all(a, b))).message).toMatch(/as many snapshots as it can/);
    await Promise.all(open.map((parts) => parts.return()));
    const isFree = async (): Promise<boolean> => {
      const parts = a.transport.fetchSnapshot(b.member, request, never);
      const first = await parts.next().catch(() => undefined);
      await parts.return();
      return first?.done === false;
    };
    let hasRoom = false;
    for (let count = 0; count < 100 && !hasRoom; count++) hasRoom = await isFree();
    expect(hasRoom).toBe(true);
  });
});
