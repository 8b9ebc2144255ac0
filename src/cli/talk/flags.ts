/**
 * Values of flags as text, read and checked: each refusal names the flag, the value and what would
 * do. yargs only splits the line; it converts nothing but switches.
 */
import type { Argv } from "yargs";

import { UsageError } from "../../agent/option-table.js";
import { isAddress } from "../../client/address.js";
import type { SplitArguments } from "../node-flags.js";

/** A flag with one value. */
export const textFlag = { string: true, nargs: 1 } as const;

export interface Connection {
  readonly servers: readonly string[];
  readonly discovery: boolean;
  readonly timeoutMs: number;
}

const serverDefault = "127.0.0.1:8400";
const timeoutDefault = "10s";
const timeoutMsMax = 24 * 3600 * 1000;

/** Adds the flags of every command. */
export function addConnectionFlags<T>(yargs: Argv<T>): Argv<T> {
  yargs
    .option("server", {
      ...textFlag,
      describe: "rpc addresses of some nodes, host:port, comma-separated or repeated",
      defaultDescription: `$PROGLOG_SERVER, or ${serverDefault}`,
      group: "Connection:",
    })
    .option("discovery", {
      boolean: true,
      describe: "Dial the members that the servers name, too; --no-discovery behind a proxy",
      defaultDescription: "true",
      group: "Connection:",
    })
    .option("timeout", {
      ...textFlag,
      describe: "How long the cluster is given to answer: 500ms, 10s, 2m",
      defaultDescription: timeoutDefault,
      group: "Connection:",
    });
  return yargs;
}

/** Reads the flags of every command. @throws UsageError */
export function connectionOf(
  split: SplitArguments,
  env: Readonly<Record<string, string | undefined>>,
): Connection {
  const typed = textsOf(split, "server");
  const fromEnv = env["PROGLOG_SERVER"] ?? "";
  const name = typed.length > 0 ? "--server" : "PROGLOG_SERVER";
  const given = typed.length > 0 ? typed : [fromEnv === "" ? serverDefault : fromEnv];
  const servers = given.flatMap((list) => list.split(",").map((address) => address.trim()));
  const wrong = servers.find((address) => !isAddress(address));
  if (wrong !== undefined) {
    throw new UsageError(`${name} can't be ${JSON.stringify(wrong)}; it takes host:port.`);
  }
  return {
    servers,
    discovery: split["discovery"] === undefined || isOn(split, "discovery"),
    timeoutMs: durationOf(split, "timeout", timeoutDefault),
  };
}

/** The values of a flag that may be repeated. */
export function textsOf(split: SplitArguments, flag: string): readonly string[] {
  const given = split[flag];
  if (given === undefined) return [];
  return (Array.isArray(given) ? given : [given]).map(String);
}

/** @throws UsageError if the flag is given more than once. */
export function textOf(split: SplitArguments, flag: string): string | undefined {
  const given = textsOf(split, flag);
  if (given.length <= 1) return given[0];
  throw new UsageError(`--${flag} is given ${String(given.length)} times; give it once.`);
}

export function isOn(split: SplitArguments, flag: string): boolean {
  const given = split[flag];
  return Array.isArray(given) ? given.at(-1) === true : given === true;
}

/** @throws UsageError if it is not an integer of the range. */
export function integerOf(
  split: SplitArguments,
  flag: string,
  { min, max }: { readonly min: number; readonly max: number },
): number | undefined {
  const given = textOf(split, flag);
  if (given === undefined) return undefined;
  const value = /^\d{1,16}$/.test(given) ? Number(given) : NaN;
  if (value >= min && value <= max) return value;
  const range = `an integer from ${String(min)} to ${String(max)}`;
  throw new UsageError(`--${flag} can't be ${JSON.stringify(given)}; it takes ${range}.`);
}

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

function durationOf(split: SplitArguments, flag: string, defaultText: string): number {
  const given = textOf(split, flag) ?? defaultText;
  const [, number, unit = ""] = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)$/.exec(given) ?? [];
  const value = Math.round(Number(number) * (unitsMs[unit] ?? NaN));
  if (value >= 1 && value <= timeoutMsMax) return value;
  const range = "a time from 1ms to 24h, with its unit: 500ms, 10s, 2m";
  throw new UsageError(`--${flag} can't be ${JSON.stringify(given)}; it takes ${range}.`);
}

/** `name=value`, repeated, as a record. @throws UsageError */
export function pairsOf(split: SplitArguments, flag: string): Readonly<Record<string, string>> {
  const pairs = new Map<string, string>();
  for (const given of textsOf(split, flag)) {
    const at = given.indexOf("=");
    const name = given.slice(0, Math.max(0, at));
    if (name === "") {
      throw new UsageError(`--${flag} can't be ${JSON.stringify(given)}; it takes name=value.`);
    }
    if (pairs.has(name)) throw new UsageError(`--${flag} names ${JSON.stringify(name)} twice.`);
    pairs.set(name, given.slice(at + 1));
  }
  // A name such as __proto__ is a name like any other.
  return Object.fromEntries(pairs);
}
