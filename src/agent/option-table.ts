/**
 * How one option is described and read: the kinds of values, and what each refuses.
 *
 * It must never guess: a value of the wrong form, or out of its range, is refused with the
 * option's name, the value and what would do. Zero is a value, never "use the default".
 */
import { parseAddress } from "../rpc/addresses.js";

/** Wrong usage: one line that names the option, the value and what would do. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What an option is in: nothing for text, else the unit of its number. */
export type OptionUnit = "bytes" | "bytes per second" | "milliseconds" | "count" | null;

/** Headings under which options are listed, in this order. */
export const optionGroups = [
  "Identity and addresses",
  "Cluster",
  "Log and limits",
  "Running",
] as const;

export type OptionGroup = (typeof optionGroups)[number];

/** What every option has, whatever its kind. */
export interface OptionRow<T> {
  readonly group: OptionGroup;
  /** One line. */
  readonly doc: string;
  /** What kind of value, for people: "host:port", "integer". */
  readonly type: string;
  readonly unit: OptionUnit;
  /** Which values will do, for people; empty if the type says it all. */
  readonly range: string;
  readonly defaultText: string;
  /** True for a flag that needs no value. */
  readonly isSwitch?: boolean;
  /** True if the option can't be set in the options file. */
  readonly isNotInFile?: boolean;
  /**
   * Makes the value from what was given: text from a flag or the environment, any JSON value from
   * a file or a program.
   *
   * @returns undefined if it will not do.
   */
  readonly parse: (given: unknown) => T | undefined;
}

/** The part of a row that its kind does not decide. */
export interface RowText {
  readonly group: OptionGroup;
  readonly doc: string;
  readonly defaultText: string;
}

const bytesUnits = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 } as const;

export const kibibyte = bytesUnits.KiB;
export const mebibyte = bytesUnits.MiB;
export const gibibyte = bytesUnits.GiB;

/** Bytes for people: `64 MiB` where the number is whole in a unit, else the number. */
export function formatBytes(bytes: number): string {
  for (const name of ["GiB", "MiB", "KiB"] as const) {
    const unit = bytesUnits[name];
    if (bytes >= unit && bytes % unit === 0) return `${String(bytes / unit)} ${name}`;
  }
  return String(bytes);
}

/** The same as one word, as it can be typed. */
export function formatBytesWord(bytes: number): string {
  return formatBytes(bytes).replace(" ", "");
}

interface Range {
  readonly min: number;
  readonly max: number;
  readonly isOdd?: boolean;
}

function inRange(value: number, range: Range): number | undefined {
  if (!Number.isSafeInteger(value) || value < range.min || value > range.max) return undefined;
  return range.isOdd === true && value % 2 === 0 ? undefined : value;
}

/** A whole number. Text must be digits: `1e3`, `0x10` and `5.0` are refused. */
export function integer(text: RowText, unit: OptionUnit, range: Range): OptionRow<number> {
  const odd = range.isOdd === true ? "odd, " : "";
  return {
    ...text,
    type: "integer",
    unit,
    range: `${odd}${String(range.min)} to ${String(range.max)}`,
    parse: (given) => {
      if (typeof given === "number") return inRange(given, range);
      if (typeof given !== "string" || !/^\d{1,15}$/.test(given)) return undefined;
      return inRange(Number(given), range);
    },
  };
}

/** A number of bytes, as such or with KiB, MiB or GiB. */
export function bytes(text: RowText, range: Range): OptionRow<number> {
  return {
    ...text,
    type: "bytes, or with KiB, MiB, GiB",
    unit: "bytes",
    range: `${formatBytes(range.min)} to ${formatBytes(range.max)}`,
    parse: (given) => {
      if (typeof given === "number") return inRange(given, range);
      if (typeof given !== "string") return undefined;
      const [, digits, unit] = /^(\d{1,15}) ?([KMG]iB)?$/.exec(given) ?? [];
      if (digits === undefined) return undefined;
      const factor = unit === undefined ? 1 : bytesUnits[unit as keyof typeof bytesUnits];
      return inRange(Number(digits) * factor, range);
    },
  };
}

/** The same, each second. */
export function bytesPerSecond(text: RowText, range: Range): OptionRow<number> {
  return { ...bytes(text, range), unit: "bytes per second" };
}

/** Yes or no. The bare flag means yes, `--no-…` means no. */
export function yesOrNo(text: RowText): OptionRow<boolean> {
  return {
    ...text,
    type: "true or false",
    unit: null,
    range: "",
    isSwitch: true,
    parse: (given) => {
      if (typeof given === "boolean") return given;
      if (given === "true" || given === "") return true;
      return given === "false" ? false : undefined;
    },
  };
}

/** One word of a few. */
export function choice<const T extends string>(text: RowText, words: readonly T[]): OptionRow<T> {
  return {
    ...text,
    type: "word",
    unit: null,
    range: words.join(", "),
    parse: (given) => words.find((word) => word === given),
  };
}

/** Text that a pattern fits. */
export function text(rowText: RowText, pattern: RegExp, range: string): OptionRow<string> {
  return {
    ...rowText,
    type: "text",
    unit: null,
    range,
    parse: (given) => (typeof given === "string" && pattern.test(given) ? given : undefined),
  };
}

/** `host:port`. Port 0, any free port, only where a node listens. */
export function address(rowText: RowText, portMin: 0 | 1): OptionRow<string> {
  return {
    ...rowText,
    type: "host:port",
    unit: null,
    range: `port ${String(portMin)} to 65535`,
    parse: (given) => checkedAddress(given, portMin),
  };
}

/** Addresses with commas between, or a list of them in a file. Empty is none. */
export function addresses(rowText: RowText, countMax: number): OptionRow<readonly string[]> {
  return {
    ...rowText,
    type: "host:port,…",
    unit: null,
    range: `at most ${String(countMax)}, port 1 to 65535`,
    parse: (given) => {
      const list: unknown = typeof given === "string" ? splitList(given) : given;
      if (!Array.isArray(list) || list.length > countMax) return undefined;
      const checked = list.map((item) => checkedAddress(item, 1));
      return checked.every((item) => item !== undefined) ? [...new Set(checked)] : undefined;
    },
  };
}

function splitList(given: string): string[] {
  return given.trim() === "" ? [] : given.split(",").map((item) => item.trim());
}

function checkedAddress(given: unknown, portMin: number): string | undefined {
  if (typeof given !== "string") return undefined;
  const parsed = parseAddress(given);
  return parsed === undefined || parsed.port < portMin ? undefined : given;
}
