/**
 * What a command needs of the process around it, so that no command reaches for it by itself.
 * Only src/cli/proglog-node.ts makes one from the real process; tests make their own.
 */
import type { GatewayOptions } from "../agent/gateway-options.js";
import type { NodeOptions } from "../agent/options.js";
import type { RunningGateway } from "../agent/running-gateway.js";
import type { RunningNode } from "../agent/running-node.js";
import type { Clock } from "../common/clock.js";
import type { Logger } from "../observability/logger.js";
import type { StopRequest } from "./stop-request.js";

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly hostname: string;
  readonly version: string;
  readonly clock: Clock;
  /** True if standard output is a terminal. */
  readonly isTerminal: boolean;
  /** Reads a text file; throws if it can't. */
  readonly readFile: (path: string) => string;
  /** Prints a line on standard output. */
  readonly print: (line: string) => void;
  /** Prints a line on standard error. */
  readonly complain: (line: string) => void;
  /** From its first call on, signals ask the command to stop instead of ending the process. */
  readonly listenForStop: () => StopRequest;
  /** Calls back with what nobody caught, instead of the process printing it and ending. */
  readonly onUncaught: (handle: (error: unknown) => void) => void;
  readonly exit: (code: number) => void;
  /** Program and first arguments that run `proglog-node` in a process of its own. */
  readonly nodeProgram: readonly [string, ...string[]];
  readonly startNode: (options: NodeOptions, logger: Logger) => Promise<RunningNode>;
  readonly startGateway: (options: GatewayOptions, logger: Logger) => Promise<RunningGateway>;
}

/** A command that is decided on: runs to its end and says how the process is to exit. */
export type Run = () => Promise<number>;

/** How a process exits. */
export const exitCodes = { asAsked: 0, couldNotRun: 1, usage: 2 } as const;
