/**
 * What members tell each other of their sealed segments: what they hold, and bytes of it.
 *
 * Sealed segments are the same bytes on every node, so any member can answer, and whoever asks can
 * tell by the checksums whether what came is right: nobody is taken at their word.
 */
import type { Member } from "../raft/index.js";
import type { CommitLog } from "../storage/commit-log.js";
import type { SegmentRef } from "../storage/segment.js";

/** Bytes of one answer. */
export const segmentReadBytesMax = 1024 * 1024;

export interface SegmentRequest {
  readonly baseOffset: number;
  readonly position: number;
  /** At most `segmentReadBytesMax`; 0 asks only what is held. */
  readonly bytes: number;
}

export interface SegmentAnswer {
  /** Undefined if there is no such segment, or it is still being written. */
  readonly ref: SegmentRef | undefined;
  /** Bytes from the position on, as they lie in the store, checked by nobody. */
  readonly data: Buffer;
}

/** Asks a member. @throws ProglogError */
export type SegmentSource = (
  peer: Member,
  request: SegmentRequest,
  signal: AbortSignal,
) => Promise<SegmentAnswer>;

/** The answer of this node. @throws DamageError, ProglogError */
export async function answerSegment(
  commitLog: CommitLog,
  { baseOffset, position, bytes }: SegmentRequest,
): Promise<SegmentAnswer> {
  const ref = commitLog.sealedSegment(baseOffset);
  const wanted = Math.min(bytes, segmentReadBytesMax, (ref?.bytes ?? 0) - position);
  if (ref === undefined || wanted <= 0) return { ref, data: Buffer.alloc(0) };
  return { ref, data: await commitLog.readRaw(baseOffset, position, wanted) };
}

/** What one member says that a segment is. */
export interface SegmentVote {
  readonly member: Member;
  readonly ref: SegmentRef;
}

/** Asks all of them at once what they hold of a segment; who does not answer has no say. */
export async function askMembers(
  { source, signal }: { readonly source: SegmentSource; readonly signal: AbortSignal },
  members: readonly Member[],
  baseOffset: number,
): Promise<SegmentVote[]> {
  const votes = await Promise.all(
    members.map(async (member) => {
      const request = { baseOffset, position: 0, bytes: 0 };
      const answer = await source(member, request, signal).catch(() => undefined);
      return answer?.ref === undefined ? [] : [{ member, ref: answer.ref }];
    }),
  );
  return votes.flat();
}

export function isSameSegment(one: SegmentRef, other: SegmentRef): boolean {
  return (
    one.baseOffset === other.baseOffset &&
    one.endOffset === other.endOffset &&
    one.bytes === other.bytes &&
    one.checksum === other.checksum
  );
}

/**
 * The members that agree with each other against this node.
 *
 * @param own What this node holds.
 * @param votes What the other members hold.
 * @param memberCount All members, this node and those that did not answer included.
 * @returns Empty unless they are more than half of all members.
 */
export function majorityAgainst(
  own: SegmentRef,
  votes: readonly SegmentVote[],
  memberCount: number,
): readonly SegmentVote[] {
  for (const { ref } of votes) {
    const agreeing = votes.filter((vote) => isSameSegment(vote.ref, ref));
    if (2 * agreeing.length > memberCount && !isSameSegment(ref, own)) return agreeing;
  }
  return [];
}

/** A checksum as people compare it. */
export function checksumText(ref: SegmentRef): string {
  return ref.checksum.toString(16).padStart(8, "0");
}
