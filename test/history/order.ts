/**
 * Holds the order of the log against the order in time, in one sweep.
 *
 * Whoever is told that the log reaches to an end, by an acknowledgement, a record read or an end
 * read, has proof of it from that moment on. What begins later must not contradict: an append
 * lies at or beyond the end, and a linearizable miss names no lower one. docs/checker.md says
 * why nothing more is needed. Cost: two sorts and one pass.
 */
import type { AppendAttempt, History, ReadOperation } from "./history.js";
import { nameOf, nameOfRead } from "./violations.js";
import type { Violations } from "./violations.js";
import type { LogicalWrite } from "./writes.js";

/** Somebody knew at a time that the log reaches to `endOffset`, exclusive. */
interface Proof {
  readonly at: number;
  readonly endOffset: number;
  readonly by: { readonly append: AppendAttempt } | { readonly read: ReadOperation };
}

/** What began at a time, and contradicts a proof of more than `endOffset` from before. */
interface Claim {
  readonly at: number;
  readonly endOffset: number;
  readonly by: { readonly write: LogicalWrite } | { readonly read: ReadOperation };
}

/** @param places Offset of the first value of each write that is in the log. */
export function checkOrder(
  history: History,
  places: ReadonlyMap<LogicalWrite, number>,
  violations: Violations,
): void {
  const proofs = proofsOf(history).sort((a, b) => a.at - b.at);
  const claims = claimsOf(history, places).sort((a, b) => a.at - b.at);
  let next = 0;
  let best: Proof | undefined;
  for (const claim of claims) {
    for (; next < proofs.length; next += 1) {
      const proof = proofs[next];
      if (proof === undefined || proof.at >= claim.at) break;
      if (best === undefined || proof.endOffset > best.endOffset) best = proof;
    }
    if (best !== undefined && best.endOffset > claim.endOffset) report(claim, best, violations);
  }
}

function proofsOf({ appends, reads }: History): Proof[] {
  const proofs: Proof[] = [];
  for (const append of appends) {
    const { outcome, values, returnedAt } = append;
    if (outcome.type !== "ok") continue;
    proofs.push({ at: returnedAt, endOffset: outcome.offset + values.length, by: { append } });
  }
  for (const read of reads) {
    const { result, returnedAt } = read;
    // A local miss counts too: a node knows of no record that is not committed.
    const endOffset =
      result.type === "hit" ? result.offset + result.values.length : result.endOffset;
    proofs.push({ at: returnedAt, endOffset, by: { read } });
  }
  return proofs;
}

function claimsOf({ reads }: History, places: ReadonlyMap<LogicalWrite, number>): Claim[] {
  const claims: Claim[] = [];
  for (const [write, offset] of places) {
    // A write whose every attempt was rejected is a lie of another kind.
    if (write.invokedAt === Infinity) continue;
    claims.push({ at: write.invokedAt, endOffset: offset, by: { write } });
  }
  for (const read of reads) {
    if (read.result.type === "hit" || read.consistency === "local") continue;
    claims.push({ at: read.invokedAt, endOffset: read.result.endOffset, by: { read } });
  }
  return claims;
}

function report(claim: Claim, proof: Proof, violations: Violations): void {
  const known =
    "append" in proof.by
      ? `${nameOf(proof.by.append)} had been acknowledged up to offset ${proof.endOffset - 1}`
      : `${nameOfRead(proof.by.read)} had seen the log reach offset ${proof.endOffset - 1}`;
  if ("write" in claim.by) {
    const name = nameOf(claim.by.write.first);
    violations.add("real-time", `${known} before ${name} began, which lies at ${claim.endOffset}`);
  } else {
    const name = nameOfRead(claim.by.read);
    violations.add("stale-read", `${name} saw the end at ${claim.endOffset} after ${known}`);
  }
}
