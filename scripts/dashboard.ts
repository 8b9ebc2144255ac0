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

const lineLimit = 80;
/** Characters, or escapes of two, in one line of the module. */
const pieceMax = 90;

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

/** The text as the inside of a template literal; a backslash at a line's end goes on below. */
function literal(text: string): string {
  const escaped = text.trim().replace(/[\\`]|\$(?=\{)/g, "\\$&");
  const lines = escaped.split("\n").map((line) => {
    const pieces = line.match(new RegExp(`(?:\\\\.|[^\\\\]){1,${String(pieceMax)}}`, "gu"));
    return (pieces ?? []).join("\\\n");
  });
  return `\`${lines.join("\n")}\n\``;
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
