/**
 * Raft/ReadSegment over gRPC, the caller's side, and what it shares with snapshots: how a peer is
 * dialled for one call, and what its refusal means.
 *
 * A call has a connection of its own: it must never wait behind Raft's messages, nor they behind
 * its bytes.
 */
import { status } from "@grpc/grpc-js";
import type { Metadata, ServiceError } from "@grpc/grpc-js";

import { isErrorCode, ProglogError } from "../common/errors.js";
import type { ReadSegmentRequest, ReadSegmentResponse } from "../gen/raft/v1/raft.js";
import { RaftService } from "../gen/raft/v1/raft.js";
import type { Peer } from "../replica/transport.js";
import type { Address } from "./addresses.js";
import { requireAddress } from "./addresses.js";
import type { HeldChannel } from "./held-channel.js";

/** Trailer that carries the code of a ProglogError. */
export const errorCodeKey = "proglog-code";

/** Whom to ask, and how. */
export interface PeerAsking {
  readonly peer: Peer;
  /** The handshake; undefined if this node has no cluster. */
  readonly metadata: Metadata | undefined;
  readonly openChannel: (address: Address) => HeldChannel;
  readonly signal: AbortSignal;
}

/** Opens a connection to a peer; the caller drops it. @throws ProglogError */
export function dial({ peer, metadata, openChannel, signal }: PeerAsking): {
  readonly channel: HeldChannel;
  readonly metadata: Metadata;
} {
  const address = requireAddress(peer.rpcAddr, `The rpcAddr of node ${peer.id}`);
  if (metadata === undefined) {
    throw new ProglogError("unavailable", "The node is not a member of a cluster yet.");
  }
  signal.throwIfAborted();
  return { channel: openChannel(address), metadata };
}

/** What the end of a call to a peer says. */
export function peerError(error: Partial<ServiceError>): ProglogError {
  const [code] = error.metadata?.get(errorCodeKey) ?? [];
  const detail = error.details ?? "The call to a peer broke.";
  if (typeof code === "string" && isErrorCode(code)) return new ProglogError(code, detail);
  const isRefused =
    error.code === status.FAILED_PRECONDITION || error.code === status.PERMISSION_DENIED;
  const fallback = isRefused ? "permission-denied" : "unavailable";
  return new ProglogError(fallback, detail, { cause: error });
}

function cameToNothing(): ProglogError {
  return new ProglogError("unavailable", "The call to a peer ended without an answer.");
}

/** Asks a peer. See PeerTransport.readSegment. */
export async function readSegment(
  request: ReadSegmentRequest,
  asking: PeerAsking & { readonly deadlineMs: number },
): Promise<ReadSegmentResponse> {
  const { signal, deadlineMs } = asking;
  const { channel, metadata } = dial(asking);
  const { path, requestSerialize, responseDeserialize } = RaftService.readSegment;
  let cancel = (): void => undefined;
  try {
    return await new Promise<ReadSegmentResponse>((resolve, reject) => {
      const call = channel.client.makeUnaryRequest(
        ...([path, requestSerialize, responseDeserialize, request, metadata] as const),
        { deadline: deadlineMs },
        (error: ServiceError | null, response?: ReadSegmentResponse) => {
          if (error === null && response !== undefined) resolve(response);
          else reject(error === null ? cameToNothing() : peerError(error));
        },
      );
      cancel = () => {
        call.cancel();
      };
      signal.addEventListener("abort", cancel, { once: true });
    });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener("abort", cancel);
    await channel.drop();
  }
}
