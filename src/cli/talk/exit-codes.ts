/**
 * How `proglog` exits. A program that runs it may decide by these alone, without reading a word:
 * docs/cli.md has the same table, and a test holds the two together.
 */
import { UsageError } from "../../agent/option-table.js";
import { ProglogError } from "../../common/errors.js";

export const exitCodes = {
  done: 0,
  couldNot: 1,
  usage: 2,
  outcomeUnknown: 3,
  offsetDiffers: 4,
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** What each code says. */
export const exitCodeMeanings: Readonly<Record<ExitCode, string>> = {
  [exitCodes.done]: "done as asked",
  [exitCodes.couldNot]: "refused, or no node could be reached; the message has the error's code",
  [exitCodes.usage]: "wrong usage; nothing was done",
  [exitCodes.outcomeUnknown]: "sent, but not known whether it was applied",
  [exitCodes.offsetDiffers]: "the log was not at --expected-offset",
  [exitCodes.interrupted]: "stopped by a signal before it was done",
};

/** The code of what a command failed with. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof UsageError) return exitCodes.usage;
  if (!(error instanceof ProglogError)) return exitCodes.couldNot;
  if (error.code === "outcome-unknown" || error.outcome === "unknown") {
    return exitCodes.outcomeUnknown;
  }
  return error.code === "expected-offset-mismatch" ? exitCodes.offsetDiffers : exitCodes.couldNot;
}
