/**
 * The program behind `bin/proglog.js`: lends the command line its process, and ends it.
 *
 * It runs when it is imported. The client is loaded only when there is something to ask a cluster,
 * so that help, wrong usage and completions are answered at once.
 */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { isatty } from "node:tty";

import { systemClock, systemRandom } from "../common/system.js";
import { listenForStop } from "./stop-request.js";
import { runTalk } from "./talk/command-line.js";
import { complaintOf } from "./talk/complaint.js";
import { exitCodes } from "./talk/exit-codes.js";
import type { TalkSurroundings } from "./talk/surroundings.js";

const root = new URL("../../", import.meta.url);

function version(): string {
  const text = readFileSync(new URL("package.json", root), "utf8");
  return (JSON.parse(text) as { readonly version: string }).version;
}

function complain(line: string): void {
  process.stderr.write(`proglog: ${line}\n`);
}

const surroundings: TalkSurroundings = {
  env: process.env,
  version: version(),
  hostname: hostname(),
  clock: systemClock,
  random: systemRandom,
  // Reading either of them may open it: only who needs it does.
  get stdin() {
    return process.stdin;
  },
  stdout: process.stdout,
  terminals: { stdin: isatty(0), stderr: isatty(2) },
  complain,
  writeError: (text) => {
    process.stderr.write(text);
  },
  listenForStop: () => listenForStop(process),
  exit: (code) => {
    process.exit(code);
  },
  connect: async (options) => {
    const { Client } = await import("../client/client.js");
    return new Client(options);
  },
};

// A reader that goes away early, such as `head`, is no fault; Output looks closer.
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);
process.on("uncaughtException", (error) => {
  complain(`This is a fault of proglog's own: ${complaintOf(error)}`);
  process.exit(exitCodes.couldNot);
});

// The clock's timers do not keep a process alive; this does, until the command has ended.
const { port1: hold } = new MessageChannel();
hold.start();
hold.ref();

// What stands here if the process ends before the command does.
process.exitCode = exitCodes.couldNot;
void runTalk(process.argv.slice(2), surroundings).then((code) => {
  process.exitCode = code;
  process.stdout.write("", () => {
    process.exit();
  });
});
