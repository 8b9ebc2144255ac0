/**
 * Segments between members, as they are on the wire, both ways. Bytes carry a CRC-32 of their way;
 * whether they are the right ones the receiver finds out from the frames.
 */
import { crc32 } from "node:zlib";

import { ProglogError } from "../common/errors.js";
import type { ReadSegmentRequest, ReadSegmentResponse } from "../gen/raft/v1/raft.js";
import type { SegmentAnswer, SegmentRequest, SegmentSource } from "../replica/segment-exchange.js";
import type { PeerTransport } from "./peer-transport.js";

/** Answers what a peer asks of this node's segments. @throws ProglogError */
export type SegmentHandler = (request: ReadSegmentRequest) => Promise<ReadSegmentResponse>;

/** Answers what the replica says. */
export function segmentHandler(
  read: (request: SegmentRequest) => Promise<SegmentAnswer>,
): SegmentHandler {
  return async ({ baseOffset, position, bytes }) => {
    const request = { baseOffset: Number(baseOffset), position: Number(position), bytes };
    const { ref, data } = await read(request);
    const checksum = crc32(data);
    if (ref === undefined) return { segment: undefined, endOffset: 0n, data, checksum };
    const segment = {
      baseOffset: BigInt(ref.baseOffset),
      bytes: BigInt(ref.bytes),
      checksum: ref.checksum,
    };
    return { segment, endOffset: BigInt(ref.endOffset), data, checksum };
  };
}

/** Asks a peer over its transport. */
export function segmentSource(transport: PeerTransport): SegmentSource {
  return async (peer, { baseOffset, position, bytes }, signal) => {
    const request = {
      ...{ group: 0, bytes },
      baseOffset: BigInt(baseOffset),
      position: BigInt(position),
    };
    const { segment, endOffset, data, checksum } = await transport.readSegment(
      ...([peer, request, signal] as const),
    );
    if (crc32(data) !== checksum || data.length > bytes) {
      throw new ProglogError("unavailable", `Bytes of a segment came damaged from ${peer.name}.`);
    }
    if (segment === undefined) return { ref: undefined, data };
    const ref = {
      baseOffset: Number(segment.baseOffset),
      endOffset: Number(endOffset),
      bytes: Number(segment.bytes),
      checksum: segment.checksum,
    };
    return { ref, data };
  };
}
