/**
 * Who leads, as this node knows it, and what to tell a client when nobody does.
 *
 * A hint may be stale: whoever follows it is told again by the node that it names.
 */
import type { LeaderHint } from "../common/errors.js";
import { ProglogError } from "../common/errors.js";
import type { Replica } from "../replica/replica.js";

/** The leader's addresses; undefined if there is no leader, or it is not a known member. */
export function leaderHint(replica: Replica): LeaderHint | undefined {
  const { leaderId, configuration } = replica.status();
  const members = [...configuration.voters, ...configuration.learners];
  const member = members.find((candidate) => candidate.id === leaderId);
  if (member === undefined) return undefined;
  const { id, name, rpcAddr, httpAddr } = replica.addresses.current(member);
  return { id, name, rpcAddr, httpAddr };
}

/** There is no leader to ask: because of an election, or because there is no quorum. */
export function noLeaderError(replica: Replica): ProglogError {
  if (replica.contact().hasQuorum) {
    const detail = "There is no leader at the moment; an election is under way. Retry.";
    return new ProglogError("no-leader", detail, { retryAfterMs: 1000 });
  }
  return new ProglogError(
    "no-quorum",
    "Too few voters can be reached to elect a leader; reads of what is here go on. Retry later.",
    { retryAfterMs: 1000 },
  );
}

export function notLeaderError(leader: LeaderHint): ProglogError {
  const where = `${leader.name} at ${leader.rpcAddr} (HTTP ${leader.httpAddr})`;
  return new ProglogError("not-leader", `Another node leads: ${where}.`, { fields: { leader } });
}
