/**
 * Other limits than those that ship, as right as they are, under which some bugs show sooner.
 */
import type { Edit } from "./mutant.js";

/** Appends of one entry: what a leader of a newer term has sent last is then its own alone. */
export const oneEntryAMessage: Edit = {
  file: "src/raft/state.ts",
  find: "appendBytesMax: 1024 * 1024,",
  replace: "appendBytesMax: 1,",
};

/** Election timeouts that lie close together: candidates of one term are the rule. */
export const closeTimeouts: Edit = {
  file: "src/raft/state.ts",
  find: "electionTicks + Math.floor(this.random.next() * electionTicks);",
  replace: "electionTicks + Math.floor(this.random.next() * 4);",
};

/** A checkpoint at nearly every entry, and nothing kept behind it: whoever lags gets a snapshot. */
export const keepNothing: readonly Edit[] = [
  {
    file: "src/replica/checkpointer.ts",
    find: "if (this.#bytes < this.#parts.options.checkpointBytes) return;",
    replace: "if (this.#bytes < 200) return;",
  },
  {
    file: "src/replica/checkpointer.ts",
    find: "Math.min(checkpoint.appliedIndex, raftLog.indexBehind(options.keepBytes));",
    replace: "checkpoint.appliedIndex;",
  },
];
