/**
 * The bugs that the simulator or a review once found here, planted again, and bugs in what is
 * remembered of producers (src/machine/producers.ts).
 */
import type { Mutant } from "./mutant.js";
import { keepNothing } from "./tunings.js";

export const foundMutants: readonly Mutant[] = [
  {
    name: "two-transfers-in-one-place",
    rule: "R-S4",
    why: "a snapshot is fetched into the files of one that is being put in force",
    file: "src/replica/replica.ts",
    find: "if (this.#installing !== undefined) {\n      this.#dispatch",
    replace: "if (false) {\n      this.#dispatch",
    tuning: keepNothing,
  },
  {
    name: "producers-left-out-of-the-checkpoint",
    rule: "R-S1",
    why: "a retry after a restart, or on a node built from a snapshot, is appended again",
    file: "src/machine/state-machine.ts",
    find: "producers: this.#producers.states(),",
    replace: "producers: [],",
  },
  {
    name: "duplicate-answered-with-the-end",
    rule: "R-P1",
    why: "a retry is told where it would have gone, not where the first went",
    file: "src/replica/proposals.ts",
    find: "const { offset, count, timestampMs } = why.original;",
    replace: "const { count, timestampMs } = why.original;\n      const offset = 0;",
  },
  {
    name: "moved-member-waits-for-another",
    rule: "R-M7",
    why: "two members that have changed places are never found again",
    file: "src/raft/configuration.ts",
    find: "      // An address is a hint. Who is recorded there too has moved away and says so in its turn:\n",
    replace:
      '      if (isAddressTaken([...voters, ...learners], member)) return "address-taken";\n' +
      "      // An address is a hint. Who is recorded there too has moved away and says so in its turn:\n",
  },
  {
    name: "old-word-outlives-the-configuration",
    rule: "R-M7",
    why: "a member that has moved twice is dialled where it was between, for ever",
    file: "src/replica/address-book.ts",
    find: "    this.#follow(members);\n",
    replace: "",
  },
  {
    name: "late-configuration-believed",
    rule: "R-M7",
    why: "a node that was away dials a member where it was before, and never answers it again",
    file: "src/replica/address-book.ts",
    find: "this.#doubted.set(id, this.#isInContact(id));",
    replace: "this.#doubted.set(id, false);",
  },
];
