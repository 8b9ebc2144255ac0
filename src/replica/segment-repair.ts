/**
 * Repairs sealed segments that turned out to be damaged, while the node runs, from other members.
 *
 * One at a time, at a bounded rate, again and again until it is done. What is sound at home is
 * copied, and only damaged frames are asked for, of all members in turn
 * (storage/segment-rebuild.ts). It must never put anything in force whose checksum is not the one
 * that the segment was written with, or the one that a majority of the members has.
 */
import type { Clock, Timer } from "../common/clock.js";
import { sleep } from "../common/clock.js";
import type { Member } from "../raft/index.js";
import type { CommitLog } from "../storage/commit-log.js";
import { DamageError } from "../storage/damage.js";
import { DiskError } from "../storage/disk.js";
import type { SegmentRef } from "../storage/segment.js";
import { storeName } from "../storage/segment.js";
import type { Rebuilt, SegmentCopy } from "../storage/segment-rebuild.js";
import { SegmentDiffersError, rebuildSegment } from "../storage/segment-rebuild.js";
import type { ReplicaLogger } from "./replica.js";
import type { SegmentSource } from "./segment-exchange.js";
import { askMembers, majorityAgainst, segmentReadBytesMax } from "./segment-exchange.js";

export interface SegmentRepairParts {
  readonly commitLog: CommitLog;
  readonly source: SegmentSource;
  /** The other members, as they can be dialled. */
  readonly members: () => readonly Member[];
  readonly clock: Clock;
  readonly logger: ReplicaLogger;
  readonly signal: AbortSignal;
  readonly bytesPerSecond: number;
  /** Told of each damaged segment once, when it is found. */
  readonly onDamaged: () => void;
  readonly onRepaired: () => void;
}

/** First and longest wait before a repair that failed is tried again. */
const retryMsMin = 200;
const retryMsMax = 30_000;
const ownReadBytes = 256 * 1024;

interface Work {
  readonly foundMs: number;
  dueMs: number;
  attempts: number;
  /** Why the last attempt failed: told once. */
  reason: string;
  /** What is here is sound, and a majority has something else. */
  readonly isOutvoted: boolean;
}

export class SegmentRepair {
  readonly #parts: SegmentRepairParts;
  readonly #works = new Map<number, Work>();
  #timer: Timer | undefined;
  #isBusy = false;

  constructor(parts: SegmentRepairParts) {
    this.#parts = parts;
    parts.signal.addEventListener("abort", () => this.#timer?.cancel(), { once: true });
  }

  /** Segments that are known to be damaged. */
  get damagedCount(): number {
    return this.#works.size;
  }

  /** A segment was found damaged, or was outvoted: then it is made what the majority has. */
  request(
    baseOffset: number,
    { file, position, what }: DamageError,
    { isOutvoted }: { readonly isOutvoted: boolean } = { isOutvoted: false },
  ): void {
    const { clock, logger, signal, onDamaged } = this.#parts;
    if (signal.aborted || this.#works.has(baseOffset)) return;
    const [foundMs, dueMs] = [clock.now(), clock.now()];
    this.#works.set(baseOffset, { foundMs, dueMs, attempts: 0, reason: "", isOutvoted });
    logger.error({ file, position, what }, "segment-damaged");
    onDamaged();
    this.#schedule();
  }

  /** The next one is that which has been due for longest. */
  #schedule(): void {
    const { clock, signal } = this.#parts;
    this.#timer?.cancel();
    const [next] = [...this.#works].sort(([, one], [, other]) => one.dueMs - other.dueMs);
    if (next === undefined || this.#isBusy || signal.aborted) return;
    const [baseOffset, work] = next;
    this.#timer = clock.setTimer(Math.max(0, work.dueMs - clock.now()), () => {
      this.#isBusy = true;
      void this.#attempt(baseOffset, work).finally(() => {
        this.#isBusy = false;
        this.#schedule();
      });
    });
  }

  async #attempt(baseOffset: number, work: Work): Promise<void> {
    const { clock, logger, signal } = this.#parts;
    work.attempts += 1;
    try {
      const from = await this.#repair(baseOffset, work);
      this.#works.delete(baseOffset);
      const ms = Math.round(clock.now() - work.foundMs);
      const { attempts } = work;
      logger.warn({ segment: storeName(baseOffset), from, ms, attempts }, "segment-repaired");
      this.#parts.onRepaired();
    } catch (error) {
      const retryInMs = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(work.attempts - 1, 16));
      work.dueMs = clock.now() + retryInMs;
      // The next pass of the scrub counts the votes anew.
      if (work.isOutvoted) this.#works.delete(baseOffset);
      const reason = (error as Error).message;
      if (signal.aborted || reason === work.reason) return;
      work.reason = reason;
      const fields = { segment: storeName(baseOffset), error: reason, retryInMs };
      // Nobody has it whole: a person should know. All else may pass by itself.
      if (error instanceof DamageError) logger.error(fields, "segment-not-repaired");
      else logger.warn(fields, "segment-not-repaired");
    }
  }

  /** @returns How many bytes came from whom. */
  async #repair(
    baseOffset: number,
    { isOutvoted }: Work,
  ): Promise<Readonly<Record<string, number>>> {
    const { commitLog } = this.#parts;
    const ref = commitLog.sealedSegment(baseOffset);
    if (ref === undefined) throw new Error("the segment is still being written");
    const members = this.#parts.members();
    if (isOutvoted) return this.#adopt(ref, members);
    try {
      return await this.#rebuild(ref, [this.#ownCopy(ref), ...this.#copiesOf(ref, members)]);
    } catch (error) {
      if (!(error instanceof SegmentDiffersError)) throw error;
    }
    // Each frame here is valid, and one of them is not what was written.
    try {
      return await this.#rebuild(ref, this.#copiesOf(ref, members));
    } catch (error) {
      if (!(error instanceof SegmentDiffersError)) throw error;
      return await this.#adopt(ref, members);
    }
  }

  /** What a majority of the members has, if this node has something else and cannot prove it. */
  async #adopt(
    own: SegmentRef,
    members: readonly Member[],
  ): Promise<Readonly<Record<string, number>>> {
    const votes = await askMembers(this.#parts, members, own.baseOffset);
    const agreeing = majorityAgainst(own, votes, members.length + 1);
    const ref = agreeing[0]?.ref;
    // Where the records themselves end elsewhere, more than this segment is wrong.
    const fits = ref?.bytes === own.bytes && ref.endOffset === own.endOffset;
    if (ref === undefined || !fits) {
      throw new SegmentDiffersError("no majority of the members has the same segment");
    }
    const agreed = agreeing.map(({ member }) => member);
    return this.#rebuild(ref, this.#copiesOf(ref, agreed));
  }

  async #rebuild(
    ref: SegmentRef,
    copies: readonly SegmentCopy[],
  ): Promise<Readonly<Record<string, number>>> {
    const { commitLog, clock, bytesPerSecond } = this.#parts;
    let rebuilt: Rebuilt | undefined;
    await commitLog.replaceSegment(ref, async (draft, stopped) => {
      const signal = AbortSignal.any([stopped, this.#parts.signal]);
      const pace = async (bytes: number): Promise<void> =>
        sleep(clock, (1000 * bytes) / bytesPerSecond, signal);
      rebuilt = await rebuildSegment({ ref, draft, copies, pace, signal });
      return rebuilt.index;
    });
    return Object.fromEntries(rebuilt?.bytesOf ?? []);
  }

  #ownCopy({ baseOffset }: SegmentRef): SegmentCopy {
    const { commitLog } = this.#parts;
    return {
      name: "self",
      readBytes: ownReadBytes,
      read: async (position, bytes) => {
        try {
          return await commitLog.readRaw(baseOffset, position, bytes);
        } catch (error) {
          // What can't be read here is what others are asked for.
          if (error instanceof DamageError || error instanceof DiskError) return Buffer.alloc(0);
          throw error;
        }
      },
    };
  }

  #copiesOf(ref: SegmentRef, members: readonly Member[]): SegmentCopy[] {
    return members.map((member) => ({
      name: member.name,
      readBytes: segmentReadBytesMax,
      read: async (position, bytes) => this.#readFrom(member, ref, { position, bytes }),
    }));
  }

  async #readFrom(
    member: Member,
    { baseOffset }: SegmentRef,
    range: { readonly position: number; readonly bytes: number },
  ): Promise<Buffer> {
    const { source, signal } = this.#parts;
    const parts: Buffer[] = [];
    for (let read = 0; read < range.bytes;) {
      const bytes = Math.min(segmentReadBytesMax, range.bytes - read);
      const request = { baseOffset, position: range.position + read, bytes };
      const { ref, data } = await source(member, request, signal);
      if (ref === undefined) throw new Error("it does not hold the segment");
      if (data.length === 0) break;
      parts.push(data);
      read += data.length;
    }
    return Buffer.concat(parts);
  }
}
