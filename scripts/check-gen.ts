/**
 * Checks that src/gen and proto/descriptors.binpb are what proto/ generates now.
 *
 * Generates into a temporary directory and compares byte for byte; never writes into the tree.
 * Exit 0 if fresh, 1 with the list of stale files if not (`npm run gen` makes them fresh).
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const descriptors = "proto/descriptors.binpb";

function filesUnder(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
}

function sameBytes(left: string, right: string): boolean {
  return existsSync(left) && existsSync(right) && readFileSync(left).equals(readFileSync(right));
}

function buf(...args: string[]): void {
  execFileSync("node_modules/.bin/buf", args, { stdio: ["ignore", "inherit", "inherit"] });
}

const fresh = mkdtempSync(join(tmpdir(), "proglog-gen-"));
try {
  const freshDescriptors = join(fresh, "descriptors.binpb");
  buf("generate", "--output", fresh);
  buf("build", "--as-file-descriptor-set", "--exclude-source-info", "--output", freshDescriptors);
  const freshGen = join(fresh, "src/gen");
  const names = new Set([...filesUnder(freshGen), ...filesUnder("src/gen")]);
  const stale = [...names]
    .filter((name) => !sameBytes(join(freshGen, name), join("src/gen", name)))
    .map((name) => join("src/gen", name));
  if (!sameBytes(freshDescriptors, descriptors)) stale.push(descriptors);
  for (const name of stale) process.stderr.write(`stale: ${name}\n`);
  if (stale.length > 0) {
    process.stderr.write("Run `npm run gen` and commit what it writes.\n");
    process.exitCode = 1;
  }
} finally {
  rmSync(fresh, { recursive: true, force: true });
}
