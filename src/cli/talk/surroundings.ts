/**
 * What a command of `proglog` needs of the process around it, so that no command reaches for it by
 * itself. Only src/cli/proglog.ts makes one from the real process; tests make their own.
 */
import type { Readable, Writable } from "node:stream";

import type { Client } from "../../client/client.js";
import type { ClientOptions } from "../../client/options.js";
import type { Clock } from "../../common/clock.js";
import type { Random } from "../../common/random.js";
import type { StopRequest } from "../stop-request.js";

export interface TalkSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly hostname: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly stdin: Readable;
  readonly stdout: Writable;
  /** True for each that is a terminal. */
  readonly terminals: { readonly stdin: boolean; readonly stderr: boolean };
  /** Prints a line on standard error, after the program's name. */
  readonly complain: (line: string) => void;
  /** Writes to standard error as it is: for progress on a terminal. */
  readonly writeError: (text: string) => void;
  /** From its first call on, signals ask the command to stop instead of ending the process. */
  readonly listenForStop: () => StopRequest;
  readonly exit: (code: number) => void;
  /** Makes a client. The client is loaded only then: help and wrong usage are answered at once. */
  readonly connect: (options: ClientOptions) => Promise<Client>;
}
