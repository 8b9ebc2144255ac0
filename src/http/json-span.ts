/**
 * Finds the text of values inside JSON text, so that a posted value is stored as it was written:
 * JSON.parse would turn 9007199254740993 into ...992 and 1.0 into 1.
 *
 * Its input has passed JSON.parse; it must never be given anything else. It does not recurse.
 */
import { assert } from "../common/assert.js";

/** Text of the value of member `name`, the last one if the name repeats, as JSON.parse takes it. */
export function memberText(objectText: string, name: string): string {
  let found: string | undefined;
  let at = skipSpace(objectText, skipSpace(objectText, 0) + 1);
  while (objectText[at] === '"') {
    const keyEnd = stringEnd(objectText, at);
    const key = JSON.parse(objectText.slice(at, keyEnd)) as string;
    const start = skipSpace(objectText, skipSpace(objectText, keyEnd) + 1);
    const end = valueEnd(objectText, start);
    if (key === name) found = objectText.slice(start, end);
    at = skipSpace(objectText, skipSpace(objectText, end) + 1);
  }
  assert(found !== undefined, "the member is there");
  return found;
}

/** Texts of an array's elements, in order. */
export function* elementTexts(arrayText: string): Generator<string, void, undefined> {
  let at = skipSpace(arrayText, skipSpace(arrayText, 0) + 1);
  while (at < arrayText.length && arrayText[at] !== "]") {
    const end = valueEnd(arrayText, at);
    yield arrayText.slice(at, end);
    at = skipSpace(arrayText, skipSpace(arrayText, end) + 1);
  }
}

/** The same JSON without space between its tokens: one line, whatever it was. */
export function compactJson(text: string): string {
  if (!/[ \t\n\r]/.test(text)) return text;
  const parts: string[] = [];
  let start = 0;
  let at = 0;
  while (at < text.length) {
    if (text[at] === '"') {
      at = stringEnd(text, at);
    } else if (isSpace(text, at)) {
      parts.push(text.slice(start, at));
      at = skipSpace(text, at);
      start = at;
    } else {
      at += 1;
    }
  }
  parts.push(text.slice(start));
  return parts.join("");
}

function isSpace(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  return unit === 0x20 || unit === 0x0a || unit === 0x0d || unit === 0x09;
}

function skipSpace(text: string, start: number): number {
  let at = start;
  while (isSpace(text, at)) at += 1;
  return at;
}

/** Position after the string that opens at `start`. */
function stringEnd(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}

/** Position after the value that starts at `start`. */
function valueEnd(text: string, start: number): number {
  let at = start;
  let depth = 0;
  do {
    const character = text[at];
    if (character === '"') {
      at = stringEnd(text, at);
    } else {
      if (character === "{" || character === "[") depth += 1;
      else if (character === "}" || character === "]") depth -= 1;
      at += 1;
      if (depth === 0 && character !== "}" && character !== "]") return wordEnd(text, at);
    }
  } while (depth > 0 && at < text.length);
  return at;
}

/** Position after a number, true, false or null. */
function wordEnd(text: string, start: number): number {
  let at = start;
  while (at < text.length && !isSpace(text, at) && !",]}".includes(text[at] ?? ",")) at += 1;
  return at;
}
