/**
 * The life of a process that serves until it is told to stop, or has to: a node's or a gateway's.
 *
 * Invariants: standard output carries the log and nothing else; whatever ends it, the process ends
 * within the shutdown timeout, and its exit code says whether that was asked for.
 */
import { sleep } from "../common/clock.js";
import { createLogger } from "../observability/logger.js";
import type { LogLevel, Logger, ProcessLogger } from "../observability/logger.js";
import { settleCollector } from "./collector.js";
import type { StopRequest } from "./stop-request.js";
import { exitCodes } from "./surroundings.js";
import type { Surroundings } from "./surroundings.js";

/** What serves, and how it is started. */
export interface Service {
  readonly what: "node" | "gateway";
  readonly name: string;
  readonly logLevel: LogLevel;
  readonly shutdownTimeoutMs: number;
  /** Sentences for the operator, about options that were passed over. */
  readonly warnings: readonly string[];
  readonly start: (logger: Logger) => Promise<Started>;
}

/** What has started. */
export interface Started {
  /** What the log says of it. */
  readonly fields: object;
  readonly close: () => Promise<void>;
  /** Resolves, with the reason, if it has to stop by itself. */
  readonly failed?: Promise<Error>;
}

/** Runs it; resolves with the exit code once all that can be released is. */
export async function runService(service: Service, surroundings: Surroundings): Promise<number> {
  const { what, name } = service;
  const logger = createLogger({
    level: service.logLevel,
    clock: surroundings.clock,
    pretty: surroundings.isTerminal,
    colors: (surroundings.env["NO_COLOR"] ?? "") === "",
    fields: { [what]: name },
  });
  for (const warning of service.warnings) logger.warn({ warning }, "option ignored");
  surroundings.onUncaught((error) => {
    logger.fatal({ error }, `${what} crashed`);
    surroundings.complain(`The ${what} crashed: ${messageOf(error)}`);
    surroundings.exit(exitCodes.couldNotRun);
  });
  settleCollector();
  const stop = surroundings.listenForStop();
  const ending = new Ending(service, logger, surroundings, stop);
  const code = await ending.run();
  logger.flush();
  return code;
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, " ");
}

/** One life and the several ways in which it may end. */
class Ending {
  readonly #service: Service;
  readonly #logger: ProcessLogger;
  readonly #surroundings: Surroundings;
  readonly #stop: StopRequest;
  /** Resolves when it has to end, for whatever reason: the shutdown timeout starts there. */
  readonly #due: Promise<void>;
  #setDue: () => void = () => undefined;

  constructor(
    service: Service,
    logger: ProcessLogger,
    surroundings: Surroundings,
    stop: StopRequest,
  ) {
    this.#service = service;
    this.#logger = logger;
    this.#surroundings = surroundings;
    this.#stop = stop;
    this.#due = new Promise((resolve) => {
      this.#setDue = resolve;
    });
    void stop.asked.then(this.#setDue);
  }

  async run(): Promise<number> {
    return Promise.race([this.#live(), this.#force(), this.#overrun()]);
  }

  async #live(): Promise<number> {
    const { what } = this.#service;
    const { complain } = this.#surroundings;
    let started;
    try {
      started = await this.#service.start(this.#logger);
    } catch (error) {
      complain(messageOf(error));
      return exitCodes.couldNotRun;
    }
    this.#logger.info(started.fields, `${what} started`);
    const ends: Promise<string | Error>[] = [this.#stop.asked];
    if (started.failed !== undefined) ends.push(started.failed);
    const end = await Promise.race(ends);
    this.#setDue();
    if (typeof end === "string") this.#logger.info({ reason: end }, `${what} stopping`);
    else {
      this.#logger.fatal({ error: end }, `${what} failed`);
      complain(`The ${what} had to stop: ${messageOf(end)}`);
    }
    await started.close();
    this.#logger.info({}, `${what} stopped`);
    return typeof end === "string" ? exitCodes.asAsked : exitCodes.couldNotRun;
  }

  async #force(): Promise<number> {
    await this.#stop.forced;
    this.#logger.warn({}, "stop forced");
    return exitCodes.couldNotRun;
  }

  async #overrun(): Promise<number> {
    await this.#due;
    const { what, shutdownTimeoutMs } = this.#service;
    await sleep(this.#surroundings.clock, shutdownTimeoutMs);
    this.#logger.error({ shutdownTimeoutMs }, "stop timed out");
    this.#surroundings.complain(
      `The ${what} did not stop in ${String(shutdownTimeoutMs)} ms (--shutdown-timeout-ms); ` +
        "nothing acknowledged is lost.",
    );
    return exitCodes.couldNotRun;
  }
}
