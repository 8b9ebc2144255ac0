/**
 * Snapshots between the replica's parts and their messages on the wire, both ways. Each chunk
 * carries a CRC-32, checked before it reaches the disk.
 */
import { crc32 } from "node:zlib";

import { ProglogError } from "../common/errors.js";
import type { FetchSnapshotRequest, FetchSnapshotResponse } from "../gen/raft/v1/raft.js";
import type { SnapshotPart, SnapshotRequest, SnapshotSource } from "../replica/snapshot-parts.js";
import { decodeCheckpoint, encodeCheckpoint } from "../replica/snapshot-parts.js";
import type { PeerTransport } from "./peer-transport.js";
import type { SnapshotHandler } from "./snapshot-stream.js";

/** Sends what the replica gives. */
export function snapshotHandler(
  read: (request: SnapshotRequest) => AsyncIterable<SnapshotPart>,
): SnapshotHandler {
  return async (message, write, signal) => {
    for await (const part of read(requestOf(message))) {
      signal.throwIfAborted();
      await write(partToWire(part));
    }
  };
}

/** Fetches from a peer over its transport. */
export function snapshotSource(transport: PeerTransport): SnapshotSource {
  return async function* fetch(peer, request, signal) {
    const held = request.held.map(({ baseOffset, bytes, checksum }) => ({
      baseOffset: BigInt(baseOffset),
      bytes: BigInt(bytes),
      checksum,
    }));
    const message = { group: 0, indexMin: BigInt(request.indexMin), held };
    for await (const part of transport.fetchSnapshot(peer, message, signal)) {
      yield partFromWire(part);
    }
  };
}

function requestOf(message: FetchSnapshotRequest): SnapshotRequest {
  const held = message.held.map(({ baseOffset, bytes, checksum }) => ({
    baseOffset: Number(baseOffset),
    bytes: Number(bytes),
    checksum,
  }));
  return { indexMin: Number(message.indexMin), held };
}

function partToWire(part: SnapshotPart): FetchSnapshotResponse {
  if (part.kind === "checkpoint") {
    return { part: { $case: "checkpoint", value: encodeCheckpoint(part.checkpoint) } };
  }
  const { baseOffset, position, data } = part.chunk;
  const value = {
    baseOffset: BigInt(baseOffset),
    position: BigInt(position),
    data,
    checksum: crc32(data),
  };
  return { part: { $case: "chunk", value } };
}

function partFromWire({ part }: FetchSnapshotResponse): SnapshotPart {
  switch (part?.$case) {
    case "checkpoint": {
      const checkpoint = decodeCheckpoint(part.value);
      if (checkpoint === undefined) throw damaged();
      return { kind: "checkpoint", checkpoint };
    }
    case "chunk": {
      const { baseOffset, position, data, checksum } = part.value;
      if (crc32(data) !== checksum) throw damaged();
      return {
        kind: "chunk",
        chunk: { baseOffset: Number(baseOffset), position: Number(position), data },
      };
    }
    case undefined:
      throw damaged();
  }
}

function damaged(): ProglogError {
  return new ProglogError("unavailable", "A part of a snapshot came damaged.");
}
