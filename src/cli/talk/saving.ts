/**
 * `proglog backup` and `proglog restore` as they are typed. What they do is loaded only when one of
 * them runs: it brings storage with it, which no other command needs.
 */
import type { Options } from "yargs";

import type { BackupSurroundings } from "./backup.js";
import type { Session, TalkCommand } from "./command.js";
import { exitCodes } from "./exit-codes.js";

/** Clears the line it stands on. */
const clearLine = "\r\u001b[K";

const backupFlags = {
  from: { string: true, nargs: 1, describe: "First offset to copy (default: the log's first)" },
  json: { boolean: true, describe: "Print one JSON object" },
} as const satisfies Readonly<Record<string, Options>>;

const text = { string: true, nargs: 1 } as const;

/** Its flags; what they take is as in a node's options. */
const restoreFlags = {
  "data-dir": { ...text, demandOption: true, describe: "Directory to make; empty, or not there" },
  "node-name": { ...text, describe: "The node's name (default: the host's)" },
  "segment-bytes": { ...text, describe: "Segment size of the new cluster (default: 64 MiB)" },
  "advertise-rpc-addr": { ...text, describe: "gRPC address that the node will have, if known" },
  "advertise-http-addr": { ...text, describe: "HTTP address that the node will have, if known" },
  json: { boolean: true, describe: "Print one JSON object" },
} as const satisfies Readonly<Record<string, Options>>;

export const backupCommand: TalkCommand = {
  usage: "backup <file>",
  summary: "Copy the log of a running cluster into a file",
  examples: [
    ["proglog backup monday.backup", "all that is committed when it begins"],
    ["proglog backup monday.backup --from 5000", "from an offset on"],
  ],
  addFlags: (yargs) => yargs.options(backupFlags),
  plan: (split) => async (session) => {
    const { backup, backupOptions } = await import("./backup.js");
    const { servers, discovery, timeoutMs } = session;
    const options = { ...backupOptions(split, servers), discovery, timeoutMs };
    await backup(options, surroundingsOf(session));
    return exitCodes.done;
  },
};

export const restoreCommand: TalkCommand = {
  usage: "restore <file>",
  summary: "Make a new cluster's data directory from a backup",
  examples: [
    ["proglog restore monday.backup --data-dir ./restored", "no node has to run"],
    ["proglog-node start --data-dir ./restored", "leads the new cluster"],
  ],
  addFlags: (yargs) => yargs.options(restoreFlags),
  plan: (split) => async (session) => {
    const { restore, restoreOptions } = await import("./restore.js");
    const { hostname } = session.surroundings;
    await restore(restoreOptions(split), { ...surroundingsOf(session), hostname });
    return exitCodes.done;
  },
};

function surroundingsOf({ clock, output, stopping, surroundings }: Session): BackupSurroundings {
  const { random, terminals, writeError } = surroundings;
  return {
    ...{ clock, random, signal: stopping },
    print: (line) => void output.line(line),
    showProgress: terminals.stderr ? (line) => writeError(`${clearLine}${line}`) : undefined,
  };
}
