/**
 * The table of mutants and what saw them, for docs/testing.md. Pure.
 */
import type { Mutant } from "./mutant.js";
import type { Trial } from "./workshop.js";

/** How the hunt for a mutant ended. */
export interface Kill {
  readonly mutant: Mutant;
  readonly runs: number;
  readonly seconds: number;
  /** The run that saw it; undefined if none did. */
  readonly trial?: Trial;
  readonly invariant?: string;
  /** The step at which it was seen. */
  readonly stepCount?: number;
  readonly message?: string;
}

const begin = "<!-- mutants: written by npm run test:mutants -- --write -->";
const end = "<!-- /mutants -->";

export function tableOf(kills: readonly Kill[]): string {
  const rows = kills.map(({ mutant, trial, stepCount, invariant }) => {
    const cells =
      trial === undefined
        ? ["–", "–", "–", "survives"]
        : [trial.arena, trial.seed, stepCount, invariant];
    return `| ${[mutant.name, mutant.rule, ...cells, mutant.why].join(" | ")} |`;
  });
  const head = ["| Mutant | Rule | On | Seed | Step | Seen by | What it would do |"];
  return [...head, "| --- | --- | --- | --- | --- | --- | --- |", ...rows].join("\n");
}

/** The text with the table between its markers. */
export function withTable(text: string, table: string): string {
  const [before, rest] = text.split(begin);
  const after = rest?.split(end)[1];
  if (before === undefined || after === undefined) throw new Error("the markers are missing");
  return `${before}${begin}\n\n${table}\n\n${end}${after}`;
}
