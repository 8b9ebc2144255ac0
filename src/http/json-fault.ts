/**
 * Says where JSON text stops being JSON. It runs only after JSON.parse has refused the text,
 * because not every version of Node tells the place.
 *
 * It recurses once a level: the caller has bounded the depth (json-depth.ts).
 */

/** A place in a text, counted from 1 as editors do. */
export interface TextPlace {
  readonly line: number;
  readonly column: number;
}

/** Line and column of a character. */
export function placeOf(text: string, position: number): TextPlace {
  let line = 1;
  let lineStart = 0;
  for (let at = text.indexOf("\n"); at >= 0 && at < position; at = text.indexOf("\n", at + 1)) {
    line += 1;
    lineStart = at + 1;
  }
  return { line, column: position - lineStart + 1 };
}

/**
 * Position of the first character that cannot stand where it stands; the length if the end is
 * early.
 */
export function jsonFaultPosition(text: string): number {
  const walk = new JsonWalk(text);
  if (walk.value()) walk.space();
  return walk.at;
}

const spacePattern = /[ \t\n\r]*/y;
const numberPattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const plainPattern = /[^"\\\u0000-\u001f]*/y;
const escapePattern = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const wordPattern = /true|false|null/y;

/** Walks one text; each step returns false, and stays at the fault, if it cannot go on. */
class JsonWalk {
  at = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  space(): void {
    this.#match(spacePattern);
  }

  value(): boolean {
    this.space();
    switch (this.#text[this.at]) {
      case "{":
        return this.#list("}", () => this.#member());
      case "[":
        return this.#list("]", () => this.value());
      case '"':
        return this.#string();
      default:
        return this.#match(wordPattern) || this.#match(numberPattern);
    }
  }

  #list(close: string, item: () => boolean): boolean {
    this.at += 1;
    this.space();
    if (this.#take(close)) return true;
    for (;;) {
      if (!item()) return false;
      this.space();
      if (this.#take(close)) return true;
      if (!this.#take(",")) return false;
    }
  }

  #member(): boolean {
    this.space();
    if (this.#text[this.at] !== '"' || !this.#string()) return false;
    this.space();
    return this.#take(":") && this.value();
  }

  #string(): boolean {
    this.at += 1;
    for (;;) {
      this.#match(plainPattern);
      if (this.#take('"')) return true;
      if (!this.#match(escapePattern)) return false;
    }
  }

  #take(character: string): boolean {
    if (this.#text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }

  #match(pattern: RegExp): boolean {
    pattern.lastIndex = this.at;
    if (!pattern.test(this.#text)) return false;
    this.at = pattern.lastIndex;
    return true;
  }
}
