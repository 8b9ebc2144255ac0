/**
 * Planted bugs in what carries the core out: proposals, reads, outbox, checkpoints, snapshots, the
 * state machine and the services (src/replica, src/machine, src/service).
 */
import type { Mutant } from "./mutant.js";
import { keepNothing } from "./tunings.js";

export const hostMutants: readonly Mutant[] = [
  {
    name: "outbox-waits-for-nothing",
    rule: "R-P1",
    why: "votes and acknowledgements leave before the disk has what they promise",
    file: "src/replica/outbox.ts",
    find: "if (after <= this.#durableToken) {",
    replace: "if (after >= 0) {",
  },
  {
    name: "vote-not-written",
    rule: "R-P2",
    why: "the disk knows the term and not the vote",
    file: "src/replica/replica.ts",
    find: '{ hardState: { term: hardState.term, vote: hardState.vote ?? "" } }),',
    replace: '{ hardState: { term: hardState.term, vote: "" } }),',
  },
  {
    name: "vote-forgotten-at-the-start",
    rule: "R-E2",
    why: "a node that was restarted votes again in its term",
    file: "src/replica/open-replica.ts",
    find: 'hardState: { term, vote: vote === "" ? null : vote },',
    replace: "hardState: { term, vote: null },",
  },
  {
    name: "apply-before-commit",
    rule: "R-Q5",
    why: "readers see records that are cut again",
    file: "src/replica/replica.ts",
    find: "this.#applyTo = effect.to;",
    replace: "this.#applyTo = this.#raft.status().lastIndex;",
  },
  {
    name: "answered-with-the-place-of-another",
    rule: "R-C6",
    why: "an append whose place went to another leader's entry is called applied",
    file: "src/replica/proposals.ts",
    find: "if (group.term !== term) {",
    replace: "if (group.term > term) {",
  },
  {
    name: "called-not-applied-on-losing-leadership",
    rule: "R-C6",
    why: "the next leader commits what the client was told to send again",
    file: "src/replica/proposals.ts",
    find: "      for (const pending of group.pending) pending.deadline = Math.min(pending.deadline, deadline);",
    replace:
      '      for (const pending of group.pending) this.#finish(pending, refusalError("leadership-lost"));',
  },
  {
    name: "unknown-called-applied",
    rule: "R-C6",
    why: "an append whose time ran out is acknowledged",
    file: "src/replica/proposals.ts",
    find: "for (const pending of group.pending) check(pending, unknownOutcome);",
    replace:
      "for (const pending of group.pending) check(pending, () => ({ offset: 0, count: 1, timestampMs: 0 }) as never);",
  },
  {
    name: "relayed-again-without-an-answer",
    rule: "R-C6",
    why: "an append whose answer was lost is in the log twice",
    file: "src/service/replicated-log.ts",
    find: "return this.#peers.produce(leader, { ...request, timeoutMs, forwarded: true });",
    replace:
      "const again = { ...request, timeoutMs, forwarded: true };\n" +
      "    return this.#peers.produce(leader, again).catch(() => this.#peers.produce(leader, again));",
  },
  {
    name: "condition-looked-at-when-proposed",
    rule: "R-C6",
    why: "what was the end when the append came is not the end when its turn comes",
    file: "src/machine/state-machine.ts",
    find: "if (expectedOffset !== undefined && expectedOffset !== offset) {",
    replace: "if (expectedOffset !== undefined && expectedOffset < 0) {",
    also: [
      {
        file: "src/replica/replica.ts",
        find: "    } else if (this.#proposals.add(append, timeoutMs, done, onDurable)) {",
        replace:
          "    } else if ((append.expectedOffset ?? this.commitLog.endOffset) !== this.commitLog.endOffset) {\n" +
          '      done(new ProglogError("expected-offset-mismatch", "", { fields: { actualOffset: 0 } }));\n' +
          "    } else if (this.#proposals.add(append, timeoutMs, done)) {",
      },
    ],
  },
  {
    name: "never-said-and-not-decided",
    rule: "R-C6",
    why: "a copy of an append comes in after its client was told that it never would",
    file: "src/service/outcome.ts",
    find: "  if (known !== undefined) return known;\n  const result",
    replace:
      '  if (known !== undefined || timeoutMs > 0) return known ?? { type: "never" };\n  const result',
  },
  {
    name: "conditions-count-dropped-records",
    rule: "R-C6",
    why: "a condition holds or not by records that were not kept",
    file: "src/machine/state-machine.ts",
    find: "const actualOffset = offset + condition.firstRecord - droppedCount;",
    replace: "const actualOffset = offset + condition.firstRecord;",
  },
  {
    name: "answers-count-dropped-records",
    rule: "R-C6",
    why: "an append is acknowledged at an offset that is not its own",
    file: "src/replica/proposals.ts",
    find: "const offset = result.offset + pending.firstRecord - droppedCount;",
    replace: "const offset = result.offset + pending.firstRecord;",
  },
  {
    name: "read-not-awaiting-apply",
    rule: "R-Q1",
    why: "a node knows how far the log reaches and answers before it has got there",
    file: "src/replica/reads.ts",
    find: "if (read.index > appliedIndex) left.push(read);",
    replace: "if (read.index < 0) left.push(read);",
  },
  {
    name: "checkpoint-before-the-commit-log-is-synced",
    rule: "R-S3",
    why: "a checkpoint names records that a power cut takes away",
    file: "src/replica/checkpointer.ts",
    find: "    await commitLog.sync();\n",
    replace: "",
  },
  {
    name: "snapshot-not-synced",
    rule: "R-S3",
    why: "a power cut takes records out of the middle of the log",
    file: "src/replica/snapshot-receiving.ts",
    find: "        await syncFile(fetched.file);\n",
    replace: "",
    tuning: keepNothing,
  },
  {
    name: "snapshot-keeps-the-log-on-disk",
    rule: "R-S2",
    why: "what is on disk is not what is in memory: entries of another history come back",
    file: "src/replica/replica.ts",
    find: "const truncateFrom = snapshot.keepsSuffix ? undefined : 1;",
    replace: "const truncateFrom = undefined;",
  },
  {
    name: "damage-noticed-and-not-repaired",
    rule: "R-D9",
    why: "what one disk has lost stays lost on its node, until the last good copy is lost, too",
    file: "src/replica/segment-repair.ts",
    find: "    onDamaged();\n    this.#schedule();\n",
    replace: "    onDamaged();\n",
  },
];
