/**
 * Reads query parameters: each at most once, each known, each in its range.
 *
 * It must never guess: what is not exactly a number, a duration or a time is refused by name.
 */
import type { Consistency, RangeStart } from "../service/api.js";
import { invalid } from "./json-body.js";

/** The parameters of one request. */
export class Query {
  readonly #values = new Map<string, string>();

  /** @param isKnown Which names the route takes. */
  constructor(text: string, isKnown: (name: string) => boolean) {
    if (text === "") return;
    for (const [name, value] of new URLSearchParams(text)) {
      if (!isKnown(name)) {
        const shown = JSON.stringify(name.slice(0, 100));
        throw invalid(`The query parameter ${shown} is not known here.`, name);
      }
      if (this.#values.has(name)) throw invalid(`The parameter ${name} is given twice.`, name);
      this.#values.set(name, value);
    }
  }

  entries(): IterableIterator<[string, string]> {
    return this.#values.entries();
  }

  integer(name: string, range: { readonly min: number; readonly max: number }): number | undefined {
    const text = this.#values.get(name);
    return text === undefined ? undefined : parseInteger(text, name, range);
  }

  text(name: string): string | undefined {
    return this.#values.get(name);
  }

  boolean(name: string): boolean | undefined {
    const text = this.#values.get(name);
    if (text === undefined) return undefined;
    if (text === "true" || text === "") return true;
    if (text === "false") return false;
    throw invalid(`The parameter ${name} must be true or false.`, name);
  }

  /** A duration such as `30s` or `500ms`, in milliseconds. */
  durationMs(name: string, maxMs: number): number | undefined {
    const text = this.#values.get(name);
    if (text === undefined) return undefined;
    const parts = /^(\d{1,9})(ms|s)$/.exec(text);
    const durationMs = Number(parts?.[1]) * (parts?.[2] === "s" ? 1000 : 1);
    if (parts === null || durationMs > maxMs) {
      const most = String(maxMs);
      throw invalid(`The parameter ${name} must be like 30s or 500ms, at most ${most}ms.`, name);
    }
    return durationMs;
  }

  consistency(): Consistency {
    const text = this.#values.get("consistency") ?? "linearizable";
    if (text === "linearizable" || text === "local") return text;
    throw invalid("The parameter consistency must be linearizable or local.", "consistency");
  }

  from(): RangeStart {
    const text = this.#values.get("from");
    return text === undefined ? { kind: "earliest" } : parseRangeStart(text);
  }
}

/** Digits alone: no sign, fraction, exponent or space. */
export function parseInteger(
  text: string,
  name: string,
  range: { readonly min: number; readonly max: number },
): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
  if (!(value >= range.min && value <= range.max)) {
    const bounds = `${String(range.min)} to ${String(range.max)}`;
    throw invalid(`The parameter ${name} must be an integer from ${bounds}.`, name);
  }
  return value;
}

/** Offsets and other safe integers. */
export const offsetRange = { min: 0, max: Number.MAX_SAFE_INTEGER } as const;

function parseRangeStart(text: string): RangeStart {
  if (text === "earliest" || text === "latest") return { kind: text };
  if (/^\d+$/.test(text)) {
    return { kind: "offset", offset: parseInteger(text, "from", offsetRange) };
  }
  if (/^-\d+$/.test(text)) {
    return { kind: "before-end", count: parseInteger(text.slice(1), "from", offsetRange) };
  }
  const timestampMs = text.startsWith("timestamp:") ? parseTimestamp(text.slice(10)) : undefined;
  if (timestampMs !== undefined) return { kind: "timestamp", timestampMs };
  throw invalid(
    "The parameter from must be an offset, earliest, latest, -N or timestamp:<RFC 3339>.",
    "from",
  );
}

const timestampPattern =
  /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)([Zz]|[ +-]\d\d:\d\d)$/;

/** RFC 3339, in milliseconds; a `+` that a client forgot to escape has become a space. */
export function parseTimestamp(text: string): number | undefined {
  const parts = timestampPattern.exec(text);
  if (parts === null) return undefined;
  const [, date = "", time = "", zone = ""] = parts;
  const midnight = new Date(`${date}T00:00:00Z`);
  // Date.parse rolls the 30th of February over into March.
  if (Number.isNaN(midnight.getTime()) || !midnight.toISOString().startsWith(date)) {
    return undefined;
  }
  const timeMs = Date.parse(`${date}T${time}${zone.replace(" ", "+").toUpperCase()}`);
  return Number.isNaN(timeMs) ? undefined : Math.max(0, timeMs);
}
