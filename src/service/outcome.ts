/**
 * What became of an append whose answer was lost: applied at an offset, or never.
 *
 * "Never" is made true before it is said: as long as nothing is decided, a copy of the append may
 * still be on its way, so the leader takes the sequence with a void append; whatever comes later
 * under it adds nothing. What is decided in applied entries is final, and any node may say it.
 */
import { ProglogError } from "../common/errors.js";
import type { LeaderHint } from "../common/errors.js";
import type { Producer, Settlement } from "../machine/producers.js";
import type { Appended } from "../replica/proposals.js";
import type { Replica } from "../replica/replica.js";
import type { AppendOutcome } from "./api.js";

const noRecords = Buffer.alloc(0);

/** The outcome as far as this node can tell by itself; undefined if the leader has to be asked. */
export function knownOutcome(replica: Replica, producer: Producer): AppendOutcome | undefined {
  return outcomeOf(replica.settlementOf(producer));
}

/**
 * Decides on the leader.
 *
 * @throws ProglogError no-leader, cannot-confirm, overloaded, disk-full, unavailable.
 */
export async function decidedOutcome(
  replica: Replica,
  producer: Producer,
  timeoutMs: number,
): Promise<AppendOutcome> {
  const known = knownOutcome(replica, producer);
  if (known !== undefined) return known;
  const result = await new Promise<Appended | ProglogError>((resolve) => {
    replica.propose({ records: noRecords, count: 0, producer }, timeoutMs, resolve);
  });
  if (!(result instanceof ProglogError)) {
    return result.count === 0 ? { type: "never" } : { type: "applied", ...placeOf(result) };
  }
  // The producer has gone on while this was on its way: that decided it.
  const decided = knownOutcome(replica, producer);
  if (decided !== undefined) return decided;
  throw result.outcome === "unknown" ? undecidedError(result) : result;
}

/** What a node that does not lead, and cannot reach who does, has to say. */
export function undecidedError(cause: unknown, leader?: LeaderHint): ProglogError {
  const who = leader === undefined ? "The leader" : `The leader ${leader.name}`;
  const detail = `${who} did not decide in time what became of the append; ask again.`;
  return new ProglogError("cannot-confirm", detail, { cause });
}

function outcomeOf(settlement: Settlement): AppendOutcome | undefined {
  switch (settlement) {
    case "open":
      return undefined;
    case "never":
      return { type: "never" };
    case "forgotten":
      return { type: "unknown" };
    default:
      return { type: "applied", ...placeOf(settlement) };
  }
}

function placeOf({ offset, count, timestampMs }: Appended): Omit<Appended, "isDuplicate"> {
  return { offset, count, timestampMs };
}
