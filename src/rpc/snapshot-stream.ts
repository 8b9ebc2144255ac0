/**
 * Snapshots over gRPC, both sides of Raft/FetchSnapshot: parts in order, with back-pressure.
 *
 * It knows nothing of what is in them. A receiver that stops early cancels the call, and a sender
 * whose receiver is gone is told by its signal: neither leaves a stream behind.
 */
import type { ClientReadableStream, ServerWritableStream, ServiceError } from "@grpc/grpc-js";

import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { FetchSnapshotRequest, FetchSnapshotResponse } from "../gen/raft/v1/raft.js";
import { RaftService } from "../gen/raft/v1/raft.js";
import type { PeerAsking } from "./segment-call.js";
import { dial, peerError } from "./segment-call.js";

/**
 * Sends a snapshot, part by part. `write` resolves when there is room for the next part, and
 * rejects, as the signal aborts, when the receiver is gone.
 */
export type SnapshotHandler = (
  request: FetchSnapshotRequest,
  write: (part: FetchSnapshotResponse) => Promise<void>,
  signal: AbortSignal,
) => Promise<void>;

export interface SnapshotReading extends PeerAsking {
  readonly clock: Clock;
  readonly idleMsMax: number;
}

/** Reads the parts that a peer sends. See PeerTransport.fetchSnapshot. */
export async function* readSnapshot(
  request: FetchSnapshotRequest,
  reading: SnapshotReading,
): AsyncGenerator<FetchSnapshotResponse, void, undefined> {
  const { peer, clock, idleMsMax, signal } = reading;
  const { channel, metadata } = dial(reading);
  const { path, requestSerialize, responseDeserialize } = RaftService.fetchSnapshot;
  const call: ClientReadableStream<FetchSnapshotResponse> = channel.client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    request,
    metadata,
  );
  // Leaving the loop makes grpc-js report the cancellation as an error that nobody awaits.
  call.on("error", () => undefined);
  let isIdle = false;
  const cancel = (): void => {
    call.cancel();
  };
  signal.addEventListener("abort", cancel, { once: true });
  try {
    const parts = call[Symbol.asyncIterator]() as AsyncIterator<FetchSnapshotResponse>;
    for (;;) {
      const timer = clock.setTimer(idleMsMax, () => {
        isIdle = true;
        cancel();
      });
      const next = await parts.next().finally(() => {
        timer.cancel();
      });
      if (next.done === true) return;
      yield next.value;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw isIdle
      ? new ProglogError("unavailable", `Node ${peer.id} stopped sending its snapshot.`)
      : peerError(error as ServiceError);
  } finally {
    signal.removeEventListener("abort", cancel);
    cancel();
    await channel.drop();
  }
}

/** Runs a handler for a call whose handshake holds, and ends the call. Never rejects. */
export async function sendSnapshot(
  call: ServerWritableStream<FetchSnapshotRequest, FetchSnapshotResponse>,
  handler: SnapshotHandler,
  fail: (error: ProglogError) => void,
): Promise<void> {
  const gone = new AbortController();
  const stop = (): void => {
    gone.abort(new ProglogError("unavailable", "The receiver of the snapshot is gone."));
  };
  call.on("cancelled", stop);
  call.on("close", stop);
  const write = async (part: FetchSnapshotResponse): Promise<void> => {
    gone.signal.throwIfAborted();
    if (call.write(part)) return;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        call.off("drain", go);
        gone.signal.removeEventListener("abort", go);
        resolve();
      };
      call.on("drain", go);
      gone.signal.addEventListener("abort", go);
    });
    gone.signal.throwIfAborted();
  };
  try {
    await handler(call.request, write, gone.signal);
    call.end();
  } catch (error) {
    if (!gone.signal.aborted) fail(ProglogError.from(error));
  }
}
