/**
 * The arithmetic of majorities (Raft §5.2, §5.3).
 *
 * Invariant: any two sets that `hasQuorum` accepts for the same voters share a voter.
 */
import type { Member, NodeId } from "./message.js";

/** How many of `count` voters make a quorum; 1 for an empty set, which therefore never has one. */
export function quorumCount(count: number): number {
  return Math.floor(count / 2) + 1;
}

/** True if the voters for which `holds` is true are a quorum. */
export function hasQuorum(voters: readonly Member[], holds: (id: NodeId) => boolean): boolean {
  let count = 0;
  for (const voter of voters) if (holds(voter.id)) count += 1;
  return count >= quorumCount(voters.length);
}

/** The highest value that a quorum of voters has reached; 0 without voters. */
export function quorumValue(voters: readonly Member[], valueOf: (id: NodeId) => number): number {
  if (voters.length === 0) return 0;
  const values = voters.map((voter) => valueOf(voter.id)).sort((a, b) => b - a);
  return values[quorumCount(voters.length) - 1] ?? 0;
}
