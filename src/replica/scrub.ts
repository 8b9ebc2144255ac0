/**
 * Reads all sealed segments again and again, slowly, and compares them with those of the others:
 * damage is found while the other copies are still good, and not first by a reader.
 *
 * Of each segment it checks the bytes against the checksum with which they were written, then that
 * checksum against another member's. It changes nothing itself: damage goes to the repair, and so
 * does a segment of which a majority of all members has another one. Where there is no such
 * majority it chooses nobody's side, and says what each of them has.
 */
import { crc32 } from "node:zlib";

import type { Clock } from "../common/clock.js";
import { sleep } from "../common/clock.js";
import type { Member } from "../raft/index.js";
import type { CommitLog } from "../storage/commit-log.js";
import { DamageError } from "../storage/damage.js";
import type { SegmentRef } from "../storage/segment.js";
import { storeName } from "../storage/segment.js";
import type { ReplicaLogger } from "./replica.js";
import type { SegmentSource, SegmentVote } from "./segment-exchange.js";
import { askMembers, checksumText, isSameSegment, majorityAgainst } from "./segment-exchange.js";

export interface ScrubParts {
  readonly commitLog: CommitLog;
  readonly source: SegmentSource;
  /** This node's name, for the log. */
  readonly name: string;
  /** The other members, as they can be dialled. */
  readonly members: () => readonly Member[];
  readonly clock: Clock;
  readonly logger: ReplicaLogger;
  readonly signal: AbortSignal;
  /** 0 reads nothing, ever. */
  readonly bytesPerSecond: number;
  /** From the end of a pass to the start of the next. */
  readonly restMs: number;
  /** Makes a segment what a majority has. */
  readonly onOutvoted: (baseOffset: number, damage: DamageError) => void;
  readonly onMismatch: () => void;
}

const readBytes = 256 * 1024;

export class Scrub {
  readonly #parts: ScrubParts;
  /** Whom to ask next: all in turn. */
  #turn = 0;

  constructor(parts: ScrubParts) {
    this.#parts = parts;
  }

  start(): void {
    if (this.#parts.bytesPerSecond > 0) void this.#run();
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { clock, logger, restMs, signal } = this.#parts;
    while (!signal.aborted) {
      try {
        await this.#pass();
        await sleep(clock, restMs, signal);
      } catch (error) {
        if (signal.aborted) return;
        logger.warn({ error: (error as Error).message }, "scrub-failed");
        await sleep(clock, restMs, signal).catch(() => undefined);
      }
    }
  }

  async #pass(): Promise<void> {
    const { commitLog, clock, logger, signal } = this.#parts;
    const startMs = clock.now();
    let count = 0;
    let last = -1;
    for (;;) {
      const ref = commitLog.sealedSegments().find(({ baseOffset }) => baseOffset > last);
      if (ref === undefined) break;
      last = ref.baseOffset;
      count += 1;
      if (await this.#isWhole(ref)) await this.#compare(ref);
      signal.throwIfAborted();
    }
    const seconds = Math.round((clock.now() - startMs) / 1000);
    logger.debug({ segments: count, seconds }, "scrubbed");
  }

  /** Whoever reads the damage of a segment tells the repair of it. */
  async #isWhole(ref: SegmentRef): Promise<boolean> {
    const { commitLog, clock, bytesPerSecond, signal } = this.#parts;
    const { baseOffset } = ref;
    let checksum = 0;
    try {
      for (let position = 0; position < ref.bytes;) {
        const bytes = Math.min(readBytes, ref.bytes - position);
        const data = await commitLog.readRaw(baseOffset, position, bytes);
        checksum = crc32(data, checksum);
        position += data.length;
        await sleep(clock, (1000 * data.length) / bytesPerSecond, signal);
      }
    } catch (error) {
      if (error instanceof DamageError) return false;
      throw error;
    }
    const isWhole = checksum === ref.checksum;
    if (!isWhole) await commitLog.findDamage(baseOffset);
    return isWhole;
  }

  async #compare(ref: SegmentRef): Promise<void> {
    const { members, signal, source } = this.#parts;
    const all = members();
    this.#turn += 1;
    for (let step = 0; step < all.length; step += 1) {
      const member = all[(this.#turn + step) % all.length];
      if (member === undefined) return;
      const request = { baseOffset: ref.baseOffset, position: 0, bytes: 0 };
      const answer = await source(member, request, signal).catch(() => undefined);
      if (answer?.ref === undefined) continue;
      if (!isSameSegment(answer.ref, ref)) await this.#judge(ref, all);
      return;
    }
  }

  /** Two that are sound in themselves are different: all are asked. */
  async #judge(own: SegmentRef, all: readonly Member[]): Promise<void> {
    const { commitLog, onMismatch, onOutvoted } = this.#parts;
    const votes = await askMembers(this.#parts, all, own.baseOffset);
    const now = commitLog.sealedSegment(own.baseOffset);
    const differs = votes.some(({ ref }) => !isSameSegment(ref, own));
    // It may have been repaired meanwhile, here or there.
    if (now === undefined || !isSameSegment(now, own) || !differs) return;
    onMismatch();
    const agreeing = majorityAgainst(own, votes, all.length + 1);
    const isOutvoted = agreeing.length > 0;
    this.#tell(own, votes, isOutvoted);
    if (!isOutvoted) return;
    const what = "a majority of the members has another segment";
    onOutvoted(own.baseOffset, new DamageError(storeName(own.baseOffset), 0, what));
  }

  #tell(own: SegmentRef, votes: readonly SegmentVote[], isOutvoted: boolean): void {
    const { logger, name } = this.#parts;
    const checksums = [{ member: { name }, ref: own }, ...votes].map(
      ({ member, ref }) => [member.name, checksumText(ref)] as const,
    );
    logger.error(
      {
        segment: storeName(own.baseOffset),
        checksums: Object.fromEntries(checksums),
        isOutvoted,
      },
      "scrub-mismatch",
    );
  }
}
