/**
 * Turns a body into a JSON object, and says where it is none.
 *
 * It must never parse what nests too deep, nor repair bytes that are not UTF-8.
 */
import { isUtf8 } from "node:buffer";

import { ProglogError } from "../common/errors.js";
import { jsonDepthMax, tooDeepPosition } from "./json-depth.js";
import { jsonFaultPosition, placeOf } from "./json-fault.js";

/** A JSON object and the text that it was parsed from. */
export interface JsonObject {
  readonly text: string;
  /** Own properties only are to be looked at: the client chose the names. */
  readonly members: Readonly<Record<string, unknown>>;
}

/** @throws ProglogError `invalid-request` with `line` and `column` where the fault has a place. */
export function parseJsonObject(bytes: Buffer): JsonObject {
  if (!isUtf8(bytes)) throw invalid("The body is not UTF-8.");
  const deep = tooDeepPosition(bytes);
  if (deep >= 0) {
    const what = `The JSON nests deeper than ${String(jsonDepthMax)} levels`;
    throw invalidAt(what, bytes.toString("utf8", 0, deep), deep);
  }
  const text = bytes.toString("utf8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    const position = jsonFaultPosition(text);
    const what = position < text.length ? "The body is not JSON" : "The JSON ends too early";
    throw invalidAt(what, text, position);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid("The body must be a JSON object.");
  }
  return { text, members: value as Record<string, unknown> };
}

/** @throws ProglogError that names the first member which is not known. */
export function refuseUnknownMembers(
  members: Readonly<Record<string, unknown>>,
  known: ReadonlySet<string>,
): void {
  for (const name of Object.keys(members)) {
    if (!known.has(name)) {
      const shown = JSON.stringify(name.slice(0, 100));
      throw invalid(`The field ${shown} is not known; known are ${[...known].join(", ")}.`, name);
    }
  }
}

/** An invalid-request; `field` names the field at fault. */
export function invalid(detail: string, field?: string): ProglogError {
  const fields = field === undefined ? {} : { field: field.slice(0, 100) };
  return new ProglogError("invalid-request", detail, { fields });
}

function invalidAt(what: string, text: string, position: number): ProglogError {
  const { line, column } = placeOf(text, Math.min(position, text.length));
  const place = `line ${String(line)}, column ${String(column)}`;
  return new ProglogError("invalid-request", `${what}: ${place}.`, { fields: { line, column } });
}
