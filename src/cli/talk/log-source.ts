/**
 * Reads a stretch of a running cluster's log as it lies there: batch by batch, from one node after
 * the other, never a record decoded.
 *
 * Followers are asked first: a copy of the whole log is not what the leader is for. A stream that
 * breaks, falls silent or meets damage goes on at another node, at the next offset.
 * Invariant: batches follow each other without a gap or a repeat, from the offset asked for to just
 * before the end asked for.
 */
import { BatchReader } from "../../client/batch-reader.js";
import { Channels } from "../../client/channel.js";
import { Client } from "../../client/client.js";
import { isReadRetryable } from "../../client/consumer.js";
import { Hold } from "../../client/operations.js";
import type { Clock } from "../../common/clock.js";
import { sleep } from "../../common/clock.js";
import { ProglogError } from "../../common/errors.js";
import type { Random } from "../../common/random.js";
import { backoffMs } from "../../common/random.js";
import type { RecordBatch } from "../../common/record.js";
import { recordPosition } from "../../common/record.js";
import { Consistency } from "../../gen/log/v1/log.js";
import { GrpcPeerCalls } from "../../rpc/peer-calls.js";

export interface LogSourceParts {
  /** rpc addresses of some nodes. */
  readonly servers: readonly string[];
  /** False: only these are dialled. */
  readonly discovery?: boolean | undefined;
  /** How long the cluster is given to say who is there, and where the log ends. */
  readonly timeoutMs?: number | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** A stream that gives nothing for so long is left for another. */
const quietMs = 5000;
/** So long without a batch from anybody, and the copy is given up. */
const patienceMs = 60_000;
const backoff = { baseMs: 50, maxMs: 1000 };

export class LogSource {
  readonly #parts: LogSourceParts;
  readonly #client: Client;
  readonly #channels: Channels;
  readonly #calls: GrpcPeerCalls;
  /** Waiting for a node to come back must not end the program. */
  readonly #hold = new Hold();
  /** Where nodes were when one was last asked. */
  #known: readonly string[] = [];
  /** Nodes that failed since all had. */
  readonly #failed = new Set<string>();

  /** @throws ProglogError `invalid-request` for what is no address. */
  constructor(parts: LogSourceParts) {
    const { servers, discovery = true, timeoutMs, clock, random } = parts;
    this.#parts = parts;
    this.#client = new Client({
      ...{ servers, discovery, clock, random },
      ...(timeoutMs === undefined ? {} : { readTimeoutMs: timeoutMs }),
    });
    this.#channels = new Channels(clock);
    this.#calls = new GrpcPeerCalls({ clock });
    this.#hold.take();
  }

  /**
   * The cluster that the nodes belong to.
   *
   * @throws ProglogError `wrong-cluster` if they are of two, `unavailable` if none answers.
   */
  async clusterId(): Promise<string> {
    const addresses = await this.#addresses();
    const found = new Set<string>();
    await Promise.all(
      addresses.map(async (address) => {
        const identity = await this.#calls.identify(address).catch(() => undefined);
        if (identity?.clusterId != null) found.add(identity.clusterId);
      }),
    );
    const [clusterId, other] = found;
    if (clusterId === undefined) {
      const detail = `No member of a cluster answers at ${addresses.join(", ")}.`;
      throw new ProglogError("unavailable", detail, { outcome: null });
    }
    if (other === undefined) return clusterId;
    const detail = `The nodes are of two clusters, ${clusterId} and ${other}; name those of one.`;
    throw new ProglogError("wrong-cluster", detail);
  }

  /**
   * Where the log starts and ends; the end is confirmed with the leader.
   *
   * @throws ProglogError what keeps the cluster from saying so.
   */
  async bounds(): Promise<{ readonly startOffset: number; readonly endOffset: number }> {
    const { signal } = this.#parts;
    const endOffset = await this.#client.endOffset({ signal });
    if (endOffset === 0) return { startOffset: 0, endOffset };
    try {
      await this.#client.read(0, { signal });
      return { startOffset: 0, endOffset };
    } catch (error) {
      if (!(error instanceof ProglogError) || error.code !== "offset-trimmed") throw error;
      const { startOffset } = error.fields;
      if (typeof startOffset !== "number") throw error;
      return { startOffset, endOffset };
    }
  }

  /**
   * The records from an offset up to the one before `endOffset`, all of which are there.
   *
   * @throws ProglogError what no other node can mend, or the last failure if nothing has come for
   *   a minute; the signal's reason.
   */
  async *batches(from: number, endOffset: number): AsyncGenerator<RecordBatch, void, undefined> {
    const { clock, random, signal } = this.#parts;
    let next = from;
    let heardMs = clock.now();
    for (let attempt = 0; next < endOffset; attempt += 1) {
      const address = await this.#choose();
      try {
        for await (const batch of this.#stream(address, next)) {
          const part = cutOut(batch, next, endOffset);
          if (part === undefined) throw leftOut(address, next);
          next = part.offset + part.count;
          yield part;
          attempt = 0;
          heardMs = clock.now();
          if (next >= endOffset) return;
        }
        throw leftOut(address, next);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof ProglogError) || !isReadRetryable(error)) throw error;
        if (clock.now() - heardMs >= patienceMs) throw error;
        this.#failed.add(address);
        if (attempt > 0) await sleep(clock, backoffMs(random, attempt, backoff), signal);
      }
    }
  }

  /** One stream's batches, until the node ends it or nothing comes. */
  async *#stream(address: string, offset: number): AsyncGenerator<RecordBatch, void, undefined> {
    const request = {
      offset: BigInt(offset),
      follow: false,
      consistency: Consistency.LINEARIZABLE,
    };
    const reader = new BatchReader(this.#channels.to(address), request);
    try {
      for (;;) {
        while (!reader.hasNext) await this.#next(reader, address);
        const batch = reader.take();
        if (batch === undefined) return;
        yield batch;
      }
    } finally {
      reader.cancel();
    }
  }

  /** Waits until the reader has something. */
  async #next(reader: BatchReader, address: string): Promise<void> {
    const { clock, signal } = this.#parts;
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const end = (finish: () => void): void => {
        timer.cancel();
        stop();
        signal.removeEventListener("abort", abort);
        finish();
      };
      const abort = (): void => end(() => reject(signal.reason as Error));
      const timer = clock.setTimer(quietMs, () => {
        const detail = `The node at ${address} sent nothing for ${String(quietMs)} ms.`;
        end(() => reject(new ProglogError("unavailable", detail, { outcome: null })));
      });
      signal.addEventListener("abort", abort, { once: true });
      const stop = reader.onNext(() => end(resolve));
    });
  }

  /** A node that has not failed lately, the leader last. */
  async #choose(): Promise<string> {
    const addresses = await this.#addresses();
    const left = addresses.filter((address) => !this.#failed.has(address));
    if (left.length === 0) this.#failed.clear();
    const [chosen] = left.length === 0 ? addresses : left;
    if (chosen === undefined) throw new ProglogError("unavailable", "No node is known.");
    return chosen;
  }

  /**
   * Followers, then the leader, then what was given: it may be the same nodes by other names.
   *
   * @throws ProglogError `unavailable` if no node has answered yet.
   */
  async #addresses(): Promise<readonly string[]> {
    const { servers, discovery = true, signal } = this.#parts;
    try {
      const status = await this.#client.status({ signal });
      if (!discovery) return servers;
      const members = [...status.servers].sort((a, b) => Number(a.isLeader) - Number(b.isLeader));
      this.#known = [...new Set([...members.map((member) => member.rpcAddr), ...servers])];
    } catch (error) {
      // Nodes that are all away for a moment come back where they were.
      if (this.#known.length === 0) throw error;
      signal.throwIfAborted();
    }
    return this.#known;
  }

  /** Lets every connection go. */
  async close(): Promise<void> {
    await Promise.all([this.#client.close(), this.#channels.close(), this.#calls.close()]);
    this.#hold.release();
  }
}

/** The part of a batch that lies in the range; undefined if its start is missing. */
export function cutOut(
  batch: RecordBatch,
  from: number,
  endOffset: number,
): RecordBatch | undefined {
  const batchEnd = batch.offset + batch.count;
  if (batch.offset > from || batchEnd <= from) return undefined;
  const end = Math.min(batchEnd, endOffset);
  if (batch.offset === from && batchEnd === end) return batch;
  const { records } = batch;
  const start = recordPosition(records, from - batch.offset);
  const stop = batchEnd === end ? records.length : recordPosition(records, end - batch.offset);
  return { ...batch, offset: from, count: end - from, records: records.subarray(start, stop) };
}

function leftOut(address: string, offset: number): ProglogError {
  const detail = `The node at ${address} did not give the record at offset ${String(offset)}.`;
  return new ProglogError("unavailable", detail, { outcome: null });
}
