/**
 * Makes voters of learners that have caught up (thesis §4.2.1): the leader's work.
 *
 * Never more than `votersMax`, and an odd number: an even one needs a larger quorum and survives
 * no more. So from an odd number two are promoted, one after the other, or none.
 */
import type { Clock, Timer } from "../common/clock.js";
import type { Configuration } from "../raft/index.js";
import type { Replica } from "../replica/replica.js";

export interface PromotionParts {
  readonly replica: Replica;
  readonly clock: Clock;
  readonly votersMax: number;
  readonly intervalMs: number;
  readonly logger: { info(fields: object, event: string): void };
}

export class Promotion {
  readonly #parts: PromotionParts;
  #timer: Timer | undefined;
  #isStopped = false;

  constructor(parts: PromotionParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#timer = this.#parts.clock.setTimer(this.#parts.intervalMs, () => {
      void this.#look().finally(() => {
        if (!this.#isStopped) this.start();
      });
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    const { replica, votersMax, logger } = this.#parts;
    const status = replica.status();
    if (!status.isReady) return;
    const caughtUp = status.configuration.learners.filter((learner) => {
      const follower = status.followers.find(({ id }) => id === learner.id);
      return follower?.state === "replicate" && follower.matchIndex >= status.commitIndex - 1;
    });
    const next = nextToPromote(
      status.configuration,
      caughtUp.map(({ id }) => id),
      votersMax,
    );
    if (next === undefined) return;
    try {
      await replica.changeConfiguration({ type: "promote", id: next });
      logger.info({ memberId: next }, "learner-promoted");
    } catch {
      // Refused, or leadership is gone: the next look decides anew.
    }
  }
}

/** The learner to promote now; undefined if the voters should stay as they are. */
export function nextToPromote(
  { voters }: Configuration,
  caughtUp: readonly string[],
  votersMax: number,
): string | undefined {
  if (voters.length >= votersMax) return undefined;
  const isEven = voters.length % 2 === 0;
  const canReachOdd = caughtUp.length >= 2 && voters.length + 2 <= votersMax;
  return isEven || canReachOdd ? caughtUp[0] : undefined;
}
