/**
 * Planted bugs that no seed has shown yet: what the simulator cannot be trusted with. They take a
 * crash or a fault at one moment of a snapshot's install or of a checkpoint, a rare way to lose an
 * entry, or two leaders that change the members in one order only. `npm run test:mutants -- --blind` looks for them; one that is seen moves to the others.
 */
import type { Mutant } from "./mutant.js";
import { keepNothing } from "./tunings.js";

export const blindSpots: readonly Mutant[] = [
  {
    name: "called-not-applied-when-cut",
    rule: "R-C6",
    why: "what is cut here may be held elsewhere, and lead again",
    file: "src/replica/proposals.ts",
    find: "      this.#finish(pending, unknownOutcome(pending));\n    }\n    this.#placed.set(index, group);",
    replace:
      '      this.#finish(pending, refusalError("leadership-lost"));\n    }\n    this.#placed.set(index, group);',
  },
  {
    name: "raft-log-dropped-before-the-checkpoint-is-durable",
    rule: "R-S3",
    why: "after a crash neither the log nor the checkpoint has what was dropped",
    file: "src/replica/checkpointer.ts",
    find: "    await checkpoints.save(checkpoint);\n",
    replace: "    checkpoints.save(checkpoint).catch(() => undefined);\n",
  },
  {
    name: "snapshot-in-force-before-its-records",
    rule: "R-S3",
    why: "a crash between the two leaves a checkpoint whose records are not there",
    file: "src/replica/snapshot-receiving.ts",
    find: "        await commitLog.install(checkpoint, incomingDirectory, fetched);\n        await checkpoints.save(checkpoint);\n",
    replace:
      "        await checkpoints.save(checkpoint);\n        await commitLog.install(checkpoint, incomingDirectory, fetched);\n",
    tuning: keepNothing,
  },
  {
    name: "snapshot-term-before-the-hard-state",
    rule: "R-P3",
    why: "after a crash the node's term is below that of what it holds",
    file: "src/replica/replica.ts",
    find: "    await this.#appendNow({ hardState, frames: [] });\n",
    replace: "    void hardState;\n",
    tuning: keepNothing,
  },
  {
    name: "snapshot-taken-unchecked",
    rule: "R-S2",
    why: "damage on one node's disk spreads to another's",
    file: "src/replica/snapshot-receiving.ts",
    find: "if (isWhole && isSame(ref, fetched)) {",
    replace: "if (isWhole) {",
    tuning: keepNothing,
  },
  {
    name: "failed-sync-of-records-ignored",
    rule: "R-P5",
    why: "a checkpoint names records that a failed sync did not write",
    file: "src/storage/commit-log.ts",
    find:
      "        for (const { reject } of waiters) reject(error as Error);\n" +
      "        this.#fail(error as Error);\n",
    replace:
      "        void error;\n" +
      "        this.#isWriting = false;\n" +
      "        for (const { resolve } of waiters) resolve();\n" +
      "        this.#pump();\n",
  },
  {
    name: "install-waits-for-a-checkpoint-that-waits",
    rule: "R-S6",
    why: "a snapshot waits for a checkpoint, and that for what only the snapshot's end brings",
    file: "src/replica/replica.ts",
    find: "this.#durable.setAllDurable(true);",
    replace: "",
    tuning: keepNothing,
  },
  {
    name: "change-before-a-commit-of-the-own-term",
    rule: "R-M1",
    why: "two leaders change the same configuration, each its own way (erratum to thesis §4.1)",
    file: "src/raft/configuration.ts",
    find: 'if (!hasCommittedInTerm(state)) return "no-commit-in-term";',
    replace: "",
  },
];
