/**
 * The command line of `proglog-node`: which commands there are, and how a line that makes no
 * sense is answered.
 *
 * yargs splits the line and prints the help; it runs nothing. Wrong usage is one line and a hint
 * on standard error and exit code 2, whatever could not run one line and exit code 1: a stack
 * trace is for neither.
 */
import yargs from "yargs";
import type { Argv } from "yargs";

import { gatewayOptionKeys, gatewayOptions } from "../agent/gateway-options.js";
import { UsageError } from "../agent/option-table.js";
import { clusterOptions, runCluster } from "./cluster.js";
import { printOptions } from "./config.js";
import { runGateway } from "./gateway.js";
import { inspect } from "./inspect.js";
import { addNodeFlags, optionsFrom } from "./node-flags.js";
import { start } from "./start.js";
import { exitCodes } from "./surroundings.js";
import type { Run, Surroundings } from "./surroundings.js";

const columns = 100;

const usage = `proglog-node: a replicated commit log

Examples:
$ proglog-node                            one node, a cluster of its own, in ./proglog-data
$ proglog-node cluster --nodes 3          three nodes on this machine
$ proglog-node --rpc-addr 10.0.0.2:8400 --http-addr 10.0.0.2:5000 --join 10.0.0.1:8400
$ PROGLOG_LOG_LEVEL=debug proglog-node    any option may come from the environment
$ proglog-node gateway --join 10.0.0.1:8400   one address for all nodes, without data
$ proglog-node config --config node.yaml  what is set, and where each value came from

Usage: proglog-node [command] [options]`;

const epilogue = `Each option is an environment name (--http-addr: PROGLOG_HTTP_ADDR) and a key of
the options file (httpAddr) too. Flags come before the environment, then the file, then defaults.
Bytes may be written with KiB, MiB, GiB. Exit codes: 0 stopped as asked,
1 could not run, 2 wrong usage.`;

/** Runs the command that the arguments name; resolves with the process's exit code. */
export async function runCommandLine(
  args: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  try {
    const run = await decide(args, surroundings);
    return await run();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const message = text.replace(/\s*\n\s*/g, " ");
    if (!(error instanceof UsageError)) {
      surroundings.complain(message);
      return exitCodes.couldNotRun;
    }
    surroundings.complain(`${message} See proglog-node --help.`);
    return exitCodes.usage;
  }
}

async function decide(args: readonly string[], surroundings: Surroundings): Promise<Run> {
  // Help and version are printed by yargs; there is nothing to run then.
  let run: Run = async () => exitCodes.asAsked;
  const choose = (chosen: Run): void => {
    run = chosen;
  };
  const parser = addCommands(yargs([...args]), surroundings, choose)
    .scriptName("proglog-node")
    .locale("en")
    .updateStrings({ string: "value" })
    .parserConfiguration({
      "camel-case-expansion": false,
      "dot-notation": false,
      "parse-numbers": false,
      "parse-positional-numbers": false,
    })
    .usage(usage)
    .epilogue(epilogue.replaceAll("\n", " "))
    .version(surroundings.version)
    .help()
    .alias("help", "h")
    .wrap(columns)
    .strict()
    .exitProcess(false)
    .showHelpOnFail(false)
    .fail((message: string | null, error: Error | undefined) => {
      // What yargs itself throws is about the line too; all else comes from a command.
      if (error !== undefined && error.name !== "YError") throw error;
      throw new UsageError(usageMessage(message ?? error?.message ?? ""));
    });
  await parser.parseAsync();
  return run;
}

/** yargs's complaint in the words of the other ones. */
function usageMessage(message: string): string {
  const [, flag] = /^Not enough arguments following: (.+)$/.exec(message) ?? [];
  if (flag !== undefined) return `--${flag} needs a value.`;
  if (message.startsWith("Not enough non-option arguments")) return "inspect needs a directory.";
  return `${message.replace(/\.$/, "")}.`;
}

function addCommands(parser: Argv, surroundings: Surroundings, choose: (run: Run) => void): Argv {
  return parser
    .command(
      ["start", "$0"],
      "Run a node (the default)",
      (command) => addNodeFlags(command),
      (split) => {
        const resolved = optionsFrom(split, surroundings);
        choose(async () => start(resolved, surroundings));
      },
    )
    .command(
      "config",
      "Print each option's value and where it came from",
      (command) =>
        addNodeFlags(command).option("json", { boolean: true, describe: "Print one JSON object" }),
      (split) => {
        const resolved = optionsFrom(split, surroundings);
        choose(async () => printOptions(resolved, split.json === true, surroundings));
      },
    )
    .command(
      "gateway",
      "Run a REST gateway to a cluster, without data",
      (command) => addNodeFlags(command, gatewayOptionKeys),
      (split) => {
        const resolved = optionsFrom(split, surroundings);
        const options = gatewayOptions(resolved);
        choose(async () => runGateway(options, resolved.warnings, surroundings));
      },
    )
    .command("cluster", "Run a cluster on this machine", addClusterFlags, (split) => {
      const options = clusterOptions(split);
      choose(async () => runCluster(options, surroundings));
    })
    .command(
      "inspect <directory>",
      "Read a stopped node's directory and verify every checksum",
      (command) => command.positional("directory", { type: "string", demandOption: true }),
      (split) => {
        choose(async () => inspect(split.directory, surroundings));
      },
    );
}

function addClusterFlags(command: Argv): Argv {
  const flag = { string: true, nargs: 1 } as const;
  return command
    .option("nodes", {
      ...flag,
      default: "3",
      defaultDescription: "3",
      describe: "How many nodes (1 to 9)",
    })
    .option("data-dir", {
      ...flag,
      default: "./proglog-data/cluster",
      defaultDescription: "./proglog-data/cluster",
      describe: "Directory of all nodes: <node>/data, and the log <node>/node.log",
    })
    .option("base-http-port", {
      ...flag,
      default: "5000",
      defaultDescription: "5000",
      describe: "HTTP port of the first node; the others follow",
    })
    .option("base-rpc-port", {
      ...flag,
      default: "8400",
      defaultDescription: "8400",
      describe: "gRPC port of the first node; the others follow",
    });
}
