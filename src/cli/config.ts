/**
 * `proglog-node config`: prints each option's value and where it came from. It starts nothing,
 * and prints every option, so that what a node would do can be read before it does it.
 */
import { describeSource } from "../agent/option-sources.js";
import type { ResolvedOptions } from "../agent/option-sources.js";
import { formatBytes } from "../agent/option-table.js";
import { flagOf, optionKeys, optionTable } from "../agent/options.js";
import type { OptionKey } from "../agent/options.js";
import { exitCodes } from "./surroundings.js";
import type { Surroundings } from "./surroundings.js";

/** Prints the options: a table, or one JSON object of `{value, source, name, path}` by key. */
export function printOptions(
  resolved: ResolvedOptions,
  asJson: boolean,
  { print, complain }: Surroundings,
): number {
  for (const warning of resolved.warnings) complain(warning);
  const rows = optionKeys.map((key) => ({
    name: flagOf(key),
    value: shown(key, resolved),
    source: describeSource(resolved.sources[key]),
  }));
  if (asJson) {
    const entries = optionKeys.map((key) => {
      const source = resolved.sources[key];
      return [key, { value: resolved.values[key] ?? null, ...sourceFields(source) }];
    });
    print(JSON.stringify(Object.fromEntries(entries), null, 2));
    return exitCodes.asAsked;
  }
  const nameWidth = Math.max(...rows.map(({ name }) => name.length));
  const valueWidth = Math.min(60, Math.max(...rows.map(({ value }) => value.length)));
  for (const { name, value, source } of rows) {
    print(`${name.padEnd(nameWidth)}  ${value.padEnd(valueWidth)}  ${source}`);
  }
  return exitCodes.asAsked;
}

function sourceFields(source: ResolvedOptions["sources"][OptionKey]): object {
  const { kind, ...where } = source;
  return { source: kind, ...where };
}

function shown(key: OptionKey, { values }: ResolvedOptions): string {
  const value = values[key];
  if (value === undefined) return `(${optionTable[key].defaultText})`;
  if (typeof value === "object") return value.length === 0 ? "(none)" : value.join(",");
  const { unit } = optionTable[key];
  const isBytes = unit === "bytes" || unit === "bytes per second";
  return typeof value === "number" && isBytes ? formatBytes(value) : String(value);
}
