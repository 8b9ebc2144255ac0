/**
 * The Raft service on a gRPC server: Exchange into the transport, FetchSnapshot and ReadSegment to
 * handlers.
 *
 * The definition is the generated one, but hands Exchange's messages over as bytes: what can't be
 * decoded must end the stream with a reason and a log line, not with grpc-js's INTERNAL.
 */
import { Metadata, status } from "@grpc/grpc-js";
import type {
  handleBidiStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  Server,
  StatusObject,
} from "@grpc/grpc-js";

import { InvariantError } from "../common/assert.js";
import { ProglogError } from "../common/errors.js";
import type {
  ExchangeResponse,
  FetchSnapshotRequest,
  FetchSnapshotResponse,
  ReadSegmentRequest,
  ReadSegmentResponse,
} from "../gen/raft/v1/raft.js";
import { RaftService } from "../gen/raft/v1/raft.js";
import { isRefusal } from "./peer-handshake.js";
import type { PeerTransport } from "./peer-transport.js";
import { endWith } from "./peer-transport.js";
import { errorCodeKey } from "./segment-call.js";
import type { SegmentHandler } from "./segment-wire.js";
import type { SnapshotHandler } from "./snapshot-stream.js";
import { sendSnapshot } from "./snapshot-stream.js";

const identity = (wire: Buffer): Buffer => wire;

/** raft.v1.Raft, with Exchange's requests as the bytes on the wire (raft-codec.ts). */
export const raftServiceDefinition = {
  exchange: {
    ...RaftService.exchange,
    requestSerialize: identity,
    requestDeserialize: identity,
  },
  fetchSnapshot: RaftService.fetchSnapshot,
  readSegment: RaftService.readSegment,
} as const;

/** Snapshots sent at one time; a peer that asks for one more is told to come back. */
const snapshotCountMax = 4;

/** The same for pieces of segments. */
const segmentCountMax = 4;

/**
 * Adds the Raft service to a server.
 *
 * @param snapshots Sends snapshots; without it FetchSnapshot is not implemented here.
 * @param segments Says what is held of a segment; without it ReadSegment is not implemented.
 */
export function addRaftService(
  server: Server,
  transport: PeerTransport,
  snapshots?: SnapshotHandler,
  segments?: SegmentHandler,
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
        call.emit("error", statusOf(error));
      }).finally(() => {
        snapshotCount--;
      });
    }
  };
  const readSegment = segmentService(transport, segments);
  server.addService(raftServiceDefinition, { exchange, fetchSnapshot, readSegment });
}

function segmentService(
  transport: PeerTransport,
  segments: SegmentHandler | undefined,
): handleUnaryCall<ReadSegmentRequest, ReadSegmentResponse> {
  let count = 0;
  return (call, answer) => {
    const outcome = transport.checkHandshake(call);
    if (isRefusal(outcome)) {
      answer(outcome);
    } else if (segments === undefined) {
      answer({ code: status.UNIMPLEMENTED, details: "This node sends no segments." });
    } else if (count >= segmentCountMax) {
      const details = "The node is sending as many segments as it can.";
      answer({ code: status.RESOURCE_EXHAUSTED, details });
    } else {
      count++;
      segments(call.request)
        .then(
          (response) => {
            answer(null, response);
          },
          (error: unknown) => {
            answer(statusOf(ProglogError.from(error)));
          },
        )
        .finally(() => {
          count--;
        });
    }
  };
}

/** An error as grpc-js wants it told, its code in a trailer. */
function statusOf(error: ProglogError): Pick<StatusObject, "code" | "details" | "metadata"> {
  if (error.cause instanceof InvariantError) throw error.cause;
  const metadata = new Metadata();
  metadata.set(errorCodeKey, error.code);
  // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- they are its numbers
  const code: status = error.grpc;
  return { code, details: error.message, metadata };
}
