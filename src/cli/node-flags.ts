/**
 * The option table as flags. yargs only splits the command line: values are read, and refused, by
 * the table, so that a flag, the environment and a file obey the same rules.
 */
import type { Argv } from "yargs";

import { resolveOptions } from "../agent/option-sources.js";
import type { ResolvedOptions } from "../agent/option-sources.js";
import { flagOf, optionKeys, optionTable } from "../agent/options.js";
import type { OptionKey } from "../agent/options.js";
import type { Surroundings } from "./surroundings.js";

/** The arguments of a command as yargs split them. */
export type SplitArguments = Readonly<Record<string, unknown>>;

/** Adds options to a command: every one of a node, or those that are named. */
export function addNodeFlags(yargs: Argv, keys: readonly OptionKey[] = optionKeys): Argv {
  for (const key of keys) {
    const row = optionTable[key];
    const range = row.range === "" || row.type === "text" ? "" : ` (${row.range})`;
    yargs.option(flagOf(key), {
      string: true,
      describe: `${row.doc.replace(/\.$/, "")}${range}`,
      defaultDescription: row.defaultText,
      group: `${row.group}:`,
      ...(row.isSwitch === true ? {} : { nargs: 1 }),
    });
  }
  return yargs;
}

/** Decides the options of a node from its flags and surroundings. @throws UsageError */
export function optionsFrom(split: SplitArguments, surroundings: Surroundings): ResolvedOptions {
  const { env, hostname, readFile } = surroundings;
  const flags = optionKeys.map(flagOf).filter((flag) => split[flag] !== undefined);
  const argv = Object.fromEntries(flags.map((flag) => [flag, split[flag]]));
  return resolveOptions({ argv, env, hostname, readFile });
}
