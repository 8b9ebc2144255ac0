/**
 * The node's log: an event's name and its fields, as JSON lines or, on a terminal, for people.
 *
 * It must never print a record's bytes: any buffer among the fields is replaced by its length. It
 * must never stop the node either: lines are written in the background, and if nobody reads them
 * they are dropped once `pendingBytesMax` are waiting.
 */
import { pino } from "pino";
import type { DestinationStream, Logger as PinoLogger } from "pino";
import { prettyFactory } from "pino-pretty";

import type { Clock } from "../common/clock.js";

/** Log levels from most to least talkative. */
export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

export type LogLevel = (typeof logLevels)[number];

/** Bytes of log lines that may wait for a slow reader before lines are dropped. */
const pendingBytesMax = 4 * 1024 * 1024;

/** What a room needs in order to tell what happens in it. Any object of this shape will do. */
export interface Logger {
  debug(fields: object, event: string): void;
  info(fields: object, event: string): void;
  warn(fields: object, event: string): void;
  error(fields: object, event: string): void;
  /** A logger that adds the fields to each of its lines. */
  child(fields: object): Logger;
}

/** The logger that a process owns. */
export interface ProcessLogger extends Logger {
  /** For the line before the end: it is written out before the call returns. */
  fatal(fields: object, event: string): void;
  /** Writes out what is waiting, before the call returns. */
  flush(): void;
}

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly clock: Clock;
  /** For people, with colours unless `colors` is false; else JSON lines. */
  readonly pretty: boolean;
  readonly colors?: boolean;
  /** Fields of every line. */
  readonly fields?: object;
  /** Where lines go; the process's standard output if undefined. */
  readonly destination?: DestinationStream;
}

/** A logger that says nothing. */
export const silentLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLogger,
};

/** Creates the process's logger. */
export function createLogger(options: LoggerOptions): ProcessLogger {
  const output = options.destination ?? standardOutput(options.pretty);
  const stream = options.pretty ? forPeople(output, options.colors ?? true) : output;
  const logger = pino(
    {
      level: options.level,
      base: options.fields ?? {},
      timestamp: () => `,"time":"${new Date(options.clock.wallNow()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }), log: withoutBytes },
      serializers: { err: describeError, error: describeError },
    },
    stream,
  );
  return processLogger(logger, output);
}

interface Flushable {
  flushSync(): void;
}

function processLogger(logger: PinoLogger, output: DestinationStream): ProcessLogger {
  const flush = (): void => {
    (output as Partial<Flushable>).flushSync?.();
  };
  return {
    debug: (fields, event) => {
      logger.debug(fields, event);
    },
    info: (fields, event) => {
      logger.info(fields, event);
    },
    warn: (fields, event) => {
      logger.warn(fields, event);
    },
    error: (fields, event) => {
      logger.error(fields, event);
    },
    fatal: (fields, event) => {
      logger.fatal(fields, event);
      flush();
    },
    child: (fields) => processLogger(logger.child(withoutBytes(fields)), output),
    flush,
  };
}

/** JSON lines leave in the background; a terminal is written at once, to stay in order. */
function standardOutput(synchronous: boolean): DestinationStream {
  return pino.destination({ dest: 1, sync: synchronous, maxLength: pendingBytesMax });
}

/** Turns each line, as it is written, into one that is easy to read. */
function forPeople(output: DestinationStream, colorize: boolean): DestinationStream {
  const prettify = prettyFactory({
    colorize,
    ignore: "node",
    singleLine: true,
    translateTime: "SYS:HH:MM:ss.l",
  });
  return {
    write: (line) => {
      output.write(prettify(line));
    },
  };
}

/** Replaces buffers by their length: a record's bytes do not belong in a log. */
function withoutBytes(fields: object): Record<string, unknown> {
  const kept: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    kept[name] = ArrayBuffer.isView(value) ? { bytes: value.byteLength } : (value as unknown);
  }
  return kept;
}

/** An error as fields: no more than a person needs to find the place. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = "code" in error ? { code: error.code } : {};
  const cause = error.cause === undefined ? {} : { cause: describeError(error.cause) };
  return { type: error.name, message: error.message, ...code, stack: error.stack, ...cause };
}
