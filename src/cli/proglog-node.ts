/**
 * The program behind `bin/proglog-node.js`: lends the command line its process, and ends it.
 *
 * It runs when it is imported. The agent is loaded only when something is started, so that help
 * and wrong usage are answered at once.
 */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { isatty } from "node:tty";
import { fileURLToPath } from "node:url";

import { systemClock } from "../common/system.js";
import { runCommandLine } from "./command-line.js";
import { listenForStop } from "./stop-request.js";
import type { Surroundings } from "./surroundings.js";

const root = new URL("../../", import.meta.url);

function version(): string {
  const text = readFileSync(new URL("package.json", root), "utf8");
  return (JSON.parse(text) as { readonly version: string }).version;
}

function exit(code: number): void {
  process.exitCode = code;
  process.stdout.write("", () => {
    process.exit();
  });
}

const surroundings: Surroundings = {
  env: process.env,
  hostname: hostname(),
  version: version(),
  clock: systemClock,
  isTerminal: isatty(1),
  readFile: (path) => readFileSync(path, "utf8"),
  print: (line) => {
    process.stdout.write(`${line}\n`);
  },
  complain: (line) => {
    process.stderr.write(`proglog-node: ${line}\n`);
  },
  listenForStop: () => listenForStop(process),
  onUncaught: (handle) => {
    process.on("uncaughtException", handle);
  },
  exit,
  nodeProgram: [process.execPath, fileURLToPath(new URL("bin/proglog-node.js", root))],
  startNode: async (options, logger) => {
    const { startNode } = await import("../agent/node.js");
    return startNode(options, logger);
  },
  startGateway: async (options, logger) => {
    const { startGateway } = await import("../agent/gateway.js");
    return startGateway(options, logger);
  },
};

// A reader that goes away early, such as `head`, is no fault.
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);

// What stands here if the process ends before the command does.
process.exitCode = 1;
void runCommandLine(process.argv.slice(2), surroundings).then(exit);
