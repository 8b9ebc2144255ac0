/**
 * What a planted bug is: an edit of the production code that breaks one rule of docs/testing.md.
 *
 * `find` is in its file exactly once (mutants.test.ts holds that), so that an edit never lands in
 * another place than the one it was thought out for.
 */

/** One place of the code, and what is put there instead. */
export interface Edit {
  /** Path from the root of the project. */
  readonly file: string;
  /** Exact text, there once. */
  readonly find: string;
  readonly replace: string;
}

export interface Mutant extends Edit {
  /** Kebab-case, unique. */
  readonly name: string;
  /** The rule that it breaks, as in the table of docs/testing.md. */
  readonly rule: string;
  /** What goes wrong with it, in the world. */
  readonly why: string;
  /** More edits, where one alone is caught by an assertion, or does nothing. */
  readonly also?: readonly Edit[];
  /**
   * Other limits, as right as those that ship, under which it shows sooner. The code as it is runs
   * the seed that saw the mutant under them too.
   */
  readonly tuning?: readonly Edit[];
}

/** All edits of a mutant, its tuning included. */
export function editsOf(mutant: Mutant): readonly Edit[] {
  return [mutant, ...(mutant.also ?? []), ...(mutant.tuning ?? [])];
}
