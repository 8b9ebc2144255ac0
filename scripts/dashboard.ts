/**
 * Writes src/http/dashboard-assets.ts, which holds the dashboard's files as text.
 *
 * The build only compiles, so what a browser is sent has to be in a module. The files themselves
 * stay files, which editors, the linter, the formatter and the type checker know how to read; what
 * is sent has no comments and short names: a third of the bytes. Run it after a change in
 * src/http/dashboard (`npx tsx scripts/dashboard.ts`); a test fails until then.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { extname, join, resolve } from "node:path";

import { transformSync } from "esbuild";

const root = resolve(import.meta.dirname, "..");
const sources = join(root, "src/http/dashboard");
const target = join(root, "src/http/dashboard-assets.ts");

const lineLimit = 76;
/** So that the first line, which begins with a name, is within a hundred columns too. */
const lineLengthMax = 76;

const head = `/**
 * The dashboard's files as a browser is sent them, by name. Generated from src/http/dashboard by
 * scripts/dashboard.ts: change the files there, and run it.
 */

export const dashboardAssets: Readonly<Record<string, string>> = {
`;

/** How a file becomes short. Only files with a name that ends like one of these are served. */
const shortened: Readonly<Record<string, (text: string) => string>> = {
  ".css": (text) => transformSync(text, { loader: "css", minify: true, lineLimit }).code,
  ".html": withoutIndentation,
  ".js": (text) => transformSync(text, { loader: "js", minify: true, lineLimit }).code,
  ".svg": withoutIndentation,
};

/** The page has no text over several lines in which the space at a line's start would count. */
function withoutIndentation(text: string): string {
  return text.replace(/^[ \t]+/gm, "");
}

/** The text as a template literal; a backslash at a line's end goes on below. */
function literal(text: string): string {
  const escaped = text.trim().replace(/[\\`]|\$(?=\{)/g, "\\$&");
  let written = "";
  let length = 0;
  for (const [unit] of escaped.matchAll(/\\?[\s\S]/gu)) {
    if (length >= lineLengthMax && unit !== "\n") {
      written += "\\\n";
      length = 0;
    }
    written += unit;
    length = unit === "\n" ? 0 : length + unit.length;
  }
  return `\`${written}\n\``;
}

/** The module as the files in src/http/dashboard make it. */
export function assetsModule(): string {
  const entries = readdirSync(sources)
    .sort()
    .flatMap((name) => {
      const shorten = shortened[extname(name)];
      if (shorten === undefined) return [];
      return [`  "${name}": ${literal(shorten(readFileSync(join(sources, name), "utf8")))},\n`];
    });
  return `${head}${entries.join("")}};\n`;
}

if (process.argv[1] === import.meta.filename) writeFileSync(target, assetsModule());
