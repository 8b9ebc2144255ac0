/** ReadSegment between real peers: what is asked and answered, refused, bounded and called off. */
import { randomUUID } from "node:crypto";

import { afterEach, describe, expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import type { SegmentAnswer, SegmentRequest } from "../../src/replica/segment-exchange.js";
import { segmentHandler, segmentSource } from "../../src/rpc/segment-wire.js";
import type { PeerNodeOptions } from "./peer-net.js";
import { startNode } from "./peer-net.js";

type Node = Awaited<ReturnType<typeof startNode>>;
const cleanups: (() => Promise<void>)[] = [];
const never = new AbortController().signal;
const request: SegmentRequest = { baseOffset: 2 ** 40, position: 7, bytes: 100 };
const ref = { baseOffset: 2 ** 40, endOffset: 2 ** 40 + 9, bytes: 5000, checksum: 0xfedcba98 };

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function node(options: PeerNodeOptions = {}): Promise<Node> {
  const started = await startNode(options);
  cleanups.push(() => started.stop());
  return started;
}

async function ask(from: Node, to: Node, signal = never): Promise<SegmentAnswer> {
  return segmentSource(from.transport)(to.member, request, signal);
}

async function failure(work: Promise<unknown>): Promise<ProglogError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ProglogError);
  return error as ProglogError;
}

describe("asking for a segment", () => {
  test("gives what is held and the bytes, to the request as it was asked", async () => {
    const asked: SegmentRequest[] = [];
    const data = Buffer.from("bytes of a segment");
    const a = await node();
    const b = await node({
      segments: segmentHandler(async (received) => {
        asked.push(received);
        return { ref, data };
      }),
    });
    expect(await ask(a, b)).toEqual({ ref, data });
    expect(asked).toEqual([request]);
  });

  test("says so where there is none", async () => {
    const a = await node();
    const b = await node({
      segments: segmentHandler(async () => ({ ref: undefined, data: Buffer.alloc(0) })),
    });
    expect(await ask(a, b)).toEqual({ ref: undefined, data: Buffer.alloc(0) });
  });

  test("refuses bytes that came damaged, or were not asked for", async () => {
    const a = await node();
    const handler = segmentHandler(async () => ({ ref, data: Buffer.alloc(50) }));
    const damaged = await node({
      segments: async (received) => ({ ...(await handler(received)), checksum: 1 }),
    });
    expect((await failure(ask(a, damaged))).message).toMatch(/came damaged/);
    const long = await node({
      segments: segmentHandler(async () => ({ ref, data: Buffer.alloc(101) })),
    });
    expect((await failure(ask(a, long))).message).toMatch(/came damaged/);
  });

  test("fails with the peer's code, or if it is of another cluster, or not there", async () => {
    const a = await node();
    const b = await node({
      segments: () => Promise.reject(new ProglogError("data-damaged", "It is damaged here, too.")),
    });
    const error = await failure(ask(a, b));
    expect([error.code, error.message]).toEqual(["data-damaged", "It is damaged here, too."]);
    const other = await node({ clusterId: randomUUID() });
    expect((await failure(ask(a, other))).code).toBe("permission-denied");
    // A peer of the release before does not know the call.
    expect((await failure(ask(a, await node()))).code).toBe("unavailable");
    await b.stop();
    expect((await failure(ask(a, b))).code).toBe("unavailable");
  });

  test("is bounded in time, ends when its signal aborts, and when the transport closes", async () => {
    const b = await node({ segments: () => new Promise(() => undefined) });
    const hasty = await node({ options: { segmentMsMax: 100 } });
    expect((await failure(ask(hasty, b))).code).toBe("unavailable");
    const a = await node();
    const stopping = new AbortController();
    const reason = new Error("enough");
    const asking = ask(a, b, stopping.signal);
    stopping.abort(reason);
    await expect(asking).rejects.toBe(reason);
    const last = failure(ask(a, b));
    await a.transport.close();
    expect((await last).code).toBe("unavailable");
  });

  test("is told to come back while as many others as can be are served", async () => {
    let go: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    const a = await node();
    let served = 0;
    const b = await node({
      segments: segmentHandler(async () => {
        served += 1;
        await held;
        return { ref, data: Buffer.alloc(0) };
      }),
    });
    const first = Array.from({ length: 4 }, async () => ask(a, b));
    while (served < 4) await new Promise((resolve) => setTimeout(resolve, 5));
    expect((await failure(ask(a, b))).message).toMatch(/as many segments as it can/);
    go();
    expect(await Promise.all(first)).toHaveLength(4);
    expect((await ask(a, b)).ref).toEqual(ref);
  });
});
