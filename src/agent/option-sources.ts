/**
 * Where option values come from: flags before the environment before a file before defaults.
 *
 * Nothing here reads the process: arguments, environment and files are handed in. A wrong name or
 * value is refused, but for the environment, which is not the operator's alone: there an unknown
 * name is a warning, and the names that Kubernetes adds for a Service called proglog are nothing.
 */
import { parse as parseYaml } from "yaml";

import { UsageError } from "./option-table.js";
import {
  completeOptions,
  environmentNameOf,
  flagOf,
  isOptionKey,
  optionKeys,
  optionTable,
  parseOption,
} from "./options.js";
import type { OptionKey, OptionValues } from "./options.js";

/** Where one value came from; `name` is what the person wrote it under. */
export type OptionSource =
  | { readonly kind: "flag"; readonly name: string }
  | { readonly kind: "environment"; readonly name: string }
  | { readonly kind: "file"; readonly name: string; readonly path: string }
  | { readonly kind: "default" };

export interface OptionInputs {
  /** What stands behind each flag, by the flag's name without dashes. */
  readonly argv: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads a text file; throws if it can't. */
  readonly readFile: (path: string) => string;
  readonly hostname: string;
}

export interface ResolvedOptions {
  readonly values: OptionValues;
  readonly sources: Readonly<Record<OptionKey, OptionSource>>;
  /** Sentences for the operator, about what was passed over. */
  readonly warnings: readonly string[];
}

const fileBytesMax = 1024 * 1024;
const prefix = "PROGLOG_";

/** Read by `proglog`, which may be used beside a node: no option of one. */
const clientNames: ReadonlySet<string> = new Set(["PROGLOG_SERVER"]);

/**
 * Names that Kubernetes puts in every container beside a Service whose name starts with proglog.
 * One of them must never stop a node.
 */
const serviceLinks = [
  /^PROGLOG_(?:[A-Z0-9_]+_)?PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?$/,
  /^PROGLOG_(?:[A-Z0-9_]+_)?SERVICE_(?:HOST|PORT(?:_[A-Z0-9_]+)?)$/,
];

/**
 * Decides every option.
 *
 * @throws UsageError that names the option, the value and what would do.
 */
export function resolveOptions(inputs: OptionInputs): ResolvedOptions {
  const given: Partial<Record<OptionKey, unknown>> = {};
  const sources: Partial<Record<OptionKey, OptionSource>> = {};
  const take = (key: OptionKey, value: unknown, name: string, source: OptionSource): void => {
    if (sources[key] !== undefined) return;
    given[key] = parseOption(key, value, name);
    sources[key] = source;
  };
  for (const [key, value] of flagValues(inputs.argv)) {
    const name = `--${flagOf(key)}`;
    take(key, value, name, { kind: "flag", name });
  }
  const { known, warnings } = environmentValues(inputs.env);
  for (const [key, value] of known) {
    const name = environmentNameOf(key);
    take(key, value, name, { kind: "environment", name });
  }
  const path = given.config;
  if (typeof path === "string") {
    for (const [key, value] of fileValues(path, inputs.readFile)) {
      take(key, value, `${key} in ${path}`, { kind: "file", name: key, path });
    }
  }
  const values = completeOptions(given as Partial<OptionValues>, inputs.hostname);
  const all = optionKeys.map((key) => [key, sources[key] ?? { kind: "default" }] as const);
  const complete = Object.fromEntries(all) as Record<OptionKey, OptionSource>;
  return { values, sources: complete, warnings };
}

/** A source in the words of `proglog-node config`. */
export function describeSource(source: OptionSource): string {
  switch (source.kind) {
    case "flag":
      return `flag ${source.name}`;
    case "environment":
      return `environment ${source.name}`;
    case "file":
      return `file ${source.path}`;
    case "default":
      return "default";
  }
}

function flagValues(argv: OptionInputs["argv"]): [OptionKey, unknown][] {
  const found: [OptionKey, unknown][] = [];
  const keys = new Map(optionKeys.map((key) => [flagOf(key), key]));
  for (const [flag, value] of Object.entries(argv)) {
    if (value === undefined) continue;
    const key = keys.get(flag);
    if (key === undefined) throw new UsageError(`There is no option --${flag}.`);
    found.push([key, flagValue(key, value)]);
  }
  return found;
}

/** What was typed twice is refused, but for a list, where it adds. */
function flagValue(key: OptionKey, value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  if (key === "join") return value.join(",");
  throw new UsageError(`--${flagOf(key)} is given ${String(value.length)} times; give it once.`);
}

/** An empty variable counts as not set, so that compose files can pass on what may be unset. */
function environmentValues(env: OptionInputs["env"]): {
  readonly known: readonly (readonly [OptionKey, string])[];
  readonly warnings: readonly string[];
} {
  const known: (readonly [OptionKey, string])[] = [];
  const warnings: string[] = [];
  const keys = new Map(optionKeys.map((key) => [environmentNameOf(key), key]));
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(prefix) || value === undefined || value === "") continue;
    const key = keys.get(name);
    if (key !== undefined) known.push([key, value]);
    else if (!clientNames.has(name) && !isServiceLink(name, value)) {
      warnings.push(`There is no option ${name}; it is passed over.`);
    }
  }
  return { known, warnings };
}

function isServiceLink(name: string, value: string): boolean {
  return value.startsWith("tcp://") || serviceLinks.some((pattern) => pattern.test(name));
}

function fileValues(path: string, readFile: OptionInputs["readFile"]): [OptionKey, unknown][] {
  const content = parseFile(path, readFile);
  if (content === null || content === undefined) return [];
  if (typeof content !== "object" || Array.isArray(content)) {
    throw new UsageError(`The options file ${path} must hold keys and values, such as httpAddr.`);
  }
  return Object.entries(content).map(([key, value]) => {
    if (!isOptionKey(key) || optionTable[key].isNotInFile === true) {
      throw new UsageError(`The options file ${path} has a key that is no option: ${key}.`);
    }
    return [key, value];
  });
}

function parseFile(path: string, readFile: OptionInputs["readFile"]): unknown {
  let content: string;
  try {
    content = readFile(path);
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? "it can't be read";
    throw new UsageError(`The options file ${path} can't be read: ${why}.`, { cause: error });
  }
  if (content.length > fileBytesMax) {
    throw new UsageError(`The options file ${path} is over 1 MiB.`);
  }
  try {
    // JSON is YAML too, so one parser reads both.
    return parseYaml(content) as unknown;
  } catch (error) {
    const [what = ""] = (error as Error).message.split("\n");
    throw new UsageError(`The options file ${path} is neither JSON nor YAML: ${what}`, {
      cause: error,
    });
  }
}
