/**
 * Runs that once failed, each with the bug that it found. They are run with every `npm test`.
 *
 * What a seed does changes when the simulator does, so each bug also has a mutant that brings it
 * back (test/mutants): the runs here are the ones that were there first.
 */
export interface KeptSeed {
  readonly seed: number;
  readonly steps: number;
  /** What was wrong. */
  readonly bug: string;
}

export const keptSeeds: readonly KeptSeed[] = [
  {
    seed: 39,
    steps: 6000,
    bug: "a snapshot's install waited for a checkpoint that waited for the install, for ever",
  },
  {
    seed: 92,
    steps: 8000,
    bug: "a node that had applied ahead of its own disk refused to start after a power cut",
  },
  {
    seed: 91,
    steps: 8000,
    bug: "a snapshot whose sender's segment is damaged was asked of the same sender for ever",
  },
  {
    seed: 90_062,
    steps: 20_000,
    bug: "a snapshot was fetched into the files of one that was being put in force",
  },
  {
    seed: 90_068,
    steps: 20_000,
    bug: "the same, at another place",
  },
  {
    seed: 61,
    steps: 8000,
    bug: "two members that came back with each other's address each waited for the other to go",
  },
  {
    seed: 4055,
    steps: 5000,
    bug: "a member that had moved twice was dialled where it had been between",
  },
  {
    seed: 593,
    steps: 5000,
    bug: "an old configuration that came late had a member dialled where it was before",
  },
  {
    seed: 816,
    steps: 5000,
    bug: "members that had all moved, and had no leader, did not find each other",
  },
];
