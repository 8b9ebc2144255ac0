/**
 * How many disks an append is to be on before it is answered (write concern).
 *
 * It decides when the answer comes, never what is committed: whatever was asked for, a committed
 * record is on a majority, and nobody else waits for it. Below a majority there is only 1.
 */
import { ProglogError } from "../common/errors.js";
import type { CopyCount } from "../replica/copy-waits.js";
import type { Appended } from "../replica/proposals.js";
import type { Replica } from "../replica/replica.js";
import type { AppendRequest, WriteConcern } from "./api.js";

/** The leader's disk alone, what the commit needs, or more. */
type Copies = "leader" | "majority" | CopyCount;

/** What a message between nodes holds. No cluster has so many members. */
const copiesMax = 2 ** 32 - 1;

/**
 * What can be said without knowing the members. Every node that takes an append in looks, also one
 * that only relays it: on the wire 0 means a majority, and what does not fit ends the stream.
 *
 * @throws ProglogError invalid-request, write-concern-unsatisfiable.
 */
export function checkConcern({ writeConcern, expectedOffset }: AppendRequest): void {
  if (writeConcern === undefined || typeof writeConcern === "string") return;
  if (!Number.isSafeInteger(writeConcern)) {
    const detail = 'A write concern is a number of members, "majority" or "all".';
    throw new ProglogError("invalid-request", detail);
  }
  if (writeConcern < 1) throw unsatisfiable("A write concern is 1 at least.");
  if (writeConcern > copiesMax) throw unsatisfiable("No cluster has so many members.");
  if (writeConcern === 1 && expectedOffset !== undefined) {
    const detail = "With a write concern of 1 the answer comes before expectedOffset is decided.";
    throw new ProglogError("invalid-request", detail);
  }
}

/**
 * What the leader has to wait for.
 *
 * @throws ProglogError write-concern-unsatisfiable, overloaded.
 */
export function copiesOf(replica: Replica, writeConcern: WriteConcern = "majority"): Copies {
  if (writeConcern === "majority") return "majority";
  const { voters, learners } = replica.status().configuration;
  const memberCount = voters.length + learners.length;
  const majority = majorityOf(voters);
  if (typeof writeConcern === "number") {
    if (writeConcern > memberCount) {
      const wanted = `${String(writeConcern)} copies were asked for`;
      throw unsatisfiable(`${wanted}, and the cluster has ${String(memberCount)} members.`);
    }
    if (writeConcern === 1 && majority > 1) return "leader";
    if (writeConcern <= majority) return "majority";
  }
  if (replica.copies.isFull) {
    throw new ProglogError("overloaded", "Too many appends wait for their copies; retry.");
  }
  return writeConcern;
}

/** @throws ProglogError write-concern-timeout: the append is committed all the same. */
export async function whenCopied(
  replica: Replica,
  copies: CopyCount,
  deadline: number,
  receipt: Appended,
): Promise<Appended> {
  // It is committed: so many have it, also where this node does not lead any more and can't tell.
  const committedOn = majorityOf(replica.status().configuration.voters);
  return new Promise((resolve, reject) => {
    replica.copies.add(replica.appliedIndex, copies, deadline, ({ isMet, acks }) => {
      if (isMet) resolve(receipt);
      else reject(tooFewCopies(copies, Math.max(acks, committedOn), receipt));
    });
  });
}

function tooFewCopies(copies: CopyCount, acks: number, receipt: Appended): ProglogError {
  const { offset, count, timestampMs } = receipt;
  const wanted = copies === "all" ? "all members" : `${String(copies)} members`;
  const detail =
    `The append is committed at offset ${String(offset)}, ` +
    `but was not on the disks of ${wanted} in time; ${String(acks)} are known to have it.`;
  const fields = { offset, count, timestampMs, acks };
  return new ProglogError("write-concern-timeout", detail, { fields });
}

function majorityOf(voters: readonly unknown[]): number {
  return Math.floor(voters.length / 2) + 1;
}

function unsatisfiable(detail: string): ProglogError {
  return new ProglogError("write-concern-unsatisfiable", detail);
}
