/**
 * The command line of `proglog`: understands a line, gives the command a session, and says how the
 * process is to exit.
 *
 * yargs splits the line and prints help; it runs nothing. Data goes to standard output, all else to
 * standard error; whatever fails is one line, never a stack trace. However a command ends, its
 * client is closed.
 */
import yargs from "yargs";
import type { Argv } from "yargs";

import { UsageError } from "../../agent/option-table.js";
import type { Client } from "../../client/client.js";
import type { SplitArguments } from "../node-flags.js";
import type { Session, Talk, TalkCommand } from "./command.js";
import { talkCommands } from "./commands.js";
import { complaintOf } from "./complaint.js";
import { exitCodeMeanings, exitCodeOf, exitCodes } from "./exit-codes.js";
import { addConnectionFlags, connectionOf } from "./flags.js";
import type { Connection } from "./flags.js";
import { Output } from "./output.js";
import type { TalkSurroundings } from "./surroundings.js";

const columns = 100;

const usage = `proglog: append to a replicated log, read it, and look after its cluster

Examples:
$ proglog produce hello                   append a record; prints its offset
$ proglog produce < events.txt            append a record a line
$ proglog consume --from -10 --follow     the last ten records, then what comes
$ proglog status                          who leads, who is there
$ proglog --server 10.0.0.1:8400,10.0.0.2:8400 members
$ PROGLOG_SERVER=10.0.0.1:8400 proglog transfer-leader n2
$ proglog completion >> ~/.bashrc         completion of commands and flags

Usage: proglog <command> [options]`;

const epilogue = [
  "Any node will do for --server: the others, and the leader, are found.",
  "Data is on standard output, all else on standard error. Exit codes:",
  ...Object.entries(exitCodeMeanings).map(([code, meaning]) => `  ${code.padEnd(3)}  ${meaning}`),
].join("\n");

interface Chosen {
  readonly talk: Talk;
  readonly connection: Connection;
}

/** Runs the command that the arguments name; resolves with the process's exit code. */
export async function runTalk(
  args: readonly string[],
  surroundings: TalkSurroundings,
): Promise<number> {
  let chosen: Chosen | undefined;
  try {
    chosen = await decide(args, surroundings);
  } catch (error) {
    surroundings.complain(`${complaintOf(error)} See proglog --help.`);
    return exitCodes.usage;
  }
  // Help, the version and completions are printed by yargs; there is nothing to run then.
  return chosen === undefined ? exitCodes.done : talk(chosen, surroundings);
}

/** @throws UsageError */
async function decide(
  args: readonly string[],
  { env, version }: TalkSurroundings,
): Promise<Chosen | undefined> {
  let chosen: Chosen | undefined;
  const parser = addConnectionFlags(yargs([...args]));
  for (const command of talkCommands) {
    addCommand(parser, command, (split) => {
      chosen = { talk: command.plan(split), connection: connectionOf(split, env) };
    });
  }
  await parser
    .scriptName("proglog")
    .locale("en")
    .updateStrings({ string: "value" })
    .parserConfiguration({
      "camel-case-expansion": false,
      "dot-notation": false,
      "parse-numbers": false,
      "parse-positional-numbers": false,
    })
    .usage(usage)
    .epilogue(epilogue)
    .completion("completion", "Print a script that completes commands and flags in the shell")
    .version(version)
    .help()
    .alias("help", "h")
    .wrap(columns)
    .demandCommand(1, "Name a command.")
    .strict()
    .strictCommands()
    .exitProcess(false)
    .showHelpOnFail(false)
    .fail((message: string | null, error: Error | undefined) => {
      // What yargs itself throws is about the line too; all else comes from a command.
      if (error !== undefined && error.name !== "YError") throw error;
      throw new UsageError(usageMessage(message ?? error?.message ?? ""));
    })
    .parseAsync();
  return chosen;
}

function addCommand(
  parser: Argv,
  { usage: words, summary, examples, addFlags, plan: _ }: TalkCommand,
  choose: (split: SplitArguments) => void,
): void {
  const width = Math.max(...examples.map(([line]) => line.length));
  const lines = examples.map(([line, what]) => `$ ${line.padEnd(width)}  ${what}`);
  const text = `${summary}\n\nExamples:\n${lines.join("\n")}\n\nUsage: proglog ${words} [options]`;
  parser.command(words, summary, (yargs) => addFlags(yargs.usage(text)), choose);
}

/** yargs's complaint in the words of the other ones. */
function usageMessage(message: string): string {
  const [, flag] = /^Not enough arguments following: (.+)$/.exec(message) ?? [];
  if (flag !== undefined) return `--${flag} needs a value.`;
  return `${message.replace(/\.$/, "")}.`;
}

async function talk(
  { talk: run, connection }: Chosen,
  surroundings: TalkSurroundings,
): Promise<number> {
  const { servers, discovery, timeoutMs } = connection;
  const { clock, complain, stdout } = surroundings;
  const stop = surroundings.listenForStop();
  const stopping = new AbortController();
  void stop.asked.then((name) => stopping.abort(new Error(`stopped by ${name}`)));
  void stop.forced.then(() => surroundings.exit(exitCodes.interrupted));
  const output = new Output(stdout, clock);
  let client: Client | undefined;
  try {
    client = await surroundings.connect({
      ...{ servers, discovery },
      ...{ readTimeoutMs: timeoutMs, deliveryTimeoutMs: timeoutMs },
    });
    const session: Session = {
      ...{ client, servers, discovery, output, clock, timeoutMs, surroundings },
      stopping: stopping.signal,
    };
    const code = await run(session);
    await output.flush();
    if (output.failure === undefined) return code;
    complain(`Standard output can't be written: ${complaintOf(output.failure)}`);
    return code === exitCodes.done ? exitCodes.couldNot : code;
  } catch (error) {
    await output.flush();
    if (stopping.signal.aborted && error === stopping.signal.reason) return exitCodes.interrupted;
    complain(complaintOf(error));
    return exitCodeOf(error);
  } finally {
    await client?.close();
  }
}
