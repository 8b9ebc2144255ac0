/**
 * The project's own files, for the tests that read the code.
 *
 * Walks the directory instead of asking git, so that it also works on an unpacked archive.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";

/** The top of the project. */
export const root = resolve(import.meta.dirname, "../..");

const foreign = new Set(["node_modules", "dist", "coverage", ".git", "proglog-data"]);

/** Paths of all files under a directory of the project, relative to its top, sorted. */
export function filesUnder(directory: string): string[] {
  const found: string[] = [];
  const pending = [join(root, directory)];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const entry of readdirSync(next, { withFileTypes: true })) {
      if (foreign.has(entry.name)) continue;
      const path = join(next, entry.name);
      if (entry.isDirectory()) pending.push(path);
      else if (entry.isFile()) found.push(relative(root, path));
    }
  }
  return found.sort();
}

/** The text of one of the project's files. */
export function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** Our TypeScript under src, without what is generated. */
export function sourceFiles(): string[] {
  return filesUnder("src").filter((path) => path.endsWith(".ts") && !path.startsWith("src/gen/"));
}
