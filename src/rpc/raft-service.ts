/**
 * The Raft service on a gRPC server: Exchange into the transport, FetchSnapshot to a handler.
 *
 * The definition is the generated one, but hands Exchange's messages over as bytes: what can't be
 * decoded must end the stream with a reason and a log line, not with grpc-js's INTERNAL.
 */
import { Metadata, status } from "@grpc/grpc-js";
import type { handleBidiStreamingCall, handleServerStreamingCall, Server } from "@grpc/grpc-js";

import { InvariantError } from "../common/assert.js";
import type {
  ExchangeResponse,
  FetchSnapshotRequest,
  FetchSnapshotResponse,
} from "../gen/raft/v1/raft.js";
import { RaftService } from "../gen/raft/v1/raft.js";
import { isRefusal } from "./peer-handshake.js";
import type { PeerTransport } from "./peer-transport.js";
import { endWith } from "./peer-transport.js";
import type { SnapshotHandler } from "./snapshot-stream.js";
import { errorCodeKey, sendSnapshot } from "./snapshot-stream.js";

const identity = (wire: Buffer): Buffer => wire;

/** raft.v1.Raft, with Exchange's requests as the bytes on the wire (raft-codec.ts). */
export const raftServiceDefinition = {
  exchange: {
    ...RaftService.exchange,
    requestSerialize: identity,
    requestDeserialize: identity,
  },
  fetchSnapshot: RaftService.fetchSnapshot,
} as const;

/** Snapshots sent at one time; a peer that asks for one more is told to come back. */
const snapshotCountMax = 4;

/**
 * Adds the Raft service to a server.
 *
 * @param snapshots Sends snapshots; without it FetchSnapshot is not implemented here.
 */
export function addRaftService(
  server: Server,
  transport: PeerTransport,
  snapshots?: SnapshotHandler,
): void {
  let snapshotCount = 0;
  const exchange: handleBidiStreamingCall<Buffer, ExchangeResponse> = (call) => {
    transport.accept(call);
  };
  const fetchSnapshot: handleServerStreamingCall<FetchSnapshotRequest, FetchSnapshotResponse> = (
    call,
  ) => {
    call.on("error", () => undefined);
    const outcome = transport.checkHandshake(call);
    if (isRefusal(outcome)) {
      endWith(call, outcome);
    } else if (snapshots === undefined) {
      endWith(call, { code: status.UNIMPLEMENTED, details: "This node sends no snapshots." });
    } else if (snapshotCount >= snapshotCountMax) {
      const details = "The node is sending as many snapshots as it can.";
      endWith(call, { code: status.RESOURCE_EXHAUSTED, details });
    } else {
      snapshotCount++;
      void sendSnapshot(call, snapshots, (error) => {
        if (error.cause instanceof InvariantError) throw error.cause;
        const metadata = new Metadata();
        metadata.set(errorCodeKey, error.code);
        call.emit("error", { code: error.grpc, details: error.message, metadata });
      }).finally(() => {
        snapshotCount--;
      });
    }
  };
  server.addService(raftServiceDefinition, { exchange, fetchSnapshot });
}
