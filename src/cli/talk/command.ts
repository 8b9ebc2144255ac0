/**
 * What a command of `proglog` is: how it is typed, and how it runs once it is understood.
 *
 * A command reads its flags before anything is dialled, so that wrong usage costs nothing; what it
 * needs to run comes with the session.
 */
import type { Argv } from "yargs";

import type { Client } from "../../client/client.js";
import type { Clock } from "../../common/clock.js";
import type { SplitArguments } from "../node-flags.js";
import type { Output } from "./output.js";
import type { TalkSurroundings } from "./surroundings.js";

/** A command's life: from the first connection to its exit code. */
export interface Session {
  readonly client: Client;
  /** rpc addresses of some nodes: `--server`. */
  readonly servers: readonly string[];
  /** False: only these are dialled. */
  readonly discovery: boolean;
  readonly output: Output;
  readonly clock: Clock;
  /** How long the cluster is given to answer: `--timeout`. */
  readonly timeoutMs: number;
  /** Aborts at the first signal. */
  readonly stopping: AbortSignal;
  readonly surroundings: TalkSurroundings;
}

/** Runs to its end; resolves with the exit code. @throws ProglogError what it could not do. */
export type Talk = (session: Session) => Promise<number>;

export interface TalkCommand {
  /** As yargs reads it: the name, then what may follow: `produce [value..]`. */
  readonly usage: string;
  /** One line. */
  readonly summary: string;
  /** Command lines, each with what it does: shown first in the command's help. */
  readonly examples: readonly (readonly [line: string, what: string])[];
  readonly addFlags: (yargs: Argv) => Argv;
  /** Reads the flags. @throws UsageError */
  readonly plan: (split: SplitArguments) => Talk;
}
