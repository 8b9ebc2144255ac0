#!/usr/bin/env node
/**
 * The command `proglog`: nothing but a way into dist, which `npm run build` makes. The check is
 * there for a fresh clone, where the import's own error would not say what to do.
 */
import { existsSync } from "node:fs";

const program = new URL("../dist/cli/proglog.js", import.meta.url);
if (existsSync(program)) await import(program.href);
else {
  process.stderr.write("proglog: it is not built yet; run `npm run build` first.\n");
  process.exitCode = 1;
}
