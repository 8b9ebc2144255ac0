/**
 * `proglog-node start`: runs one node until it is told to stop, or has to.
 *
 * Invariants: standard output carries the log and nothing else; whatever ends the node, the
 * process ends within the shutdown timeout, and its exit code says whether that was asked for.
 */
import type { ResolvedOptions } from "../agent/option-sources.js";
import type { NodeOptions } from "../agent/options.js";
import { sleep } from "../common/clock.js";
import { createLogger } from "../observability/logger.js";
import type { ProcessLogger } from "../observability/logger.js";
import { settleCollector } from "./collector.js";
import type { StopRequest } from "./stop-request.js";
import { exitCodes } from "./surroundings.js";
import type { Surroundings } from "./surroundings.js";

/** Runs the node; resolves with the exit code once all that can be released is. */
export async function start(
  resolved: ResolvedOptions,
  surroundings: Surroundings,
): Promise<number> {
  const options = resolved.values;
  const logger = createLogger({
    level: options.logLevel,
    clock: surroundings.clock,
    pretty: surroundings.isTerminal,
    colors: (surroundings.env["NO_COLOR"] ?? "") === "",
    fields: { node: options.nodeName },
  });
  for (const warning of resolved.warnings) logger.warn({ warning }, "option ignored");
  surroundings.onUncaught((error) => {
    logger.fatal({ error }, "node crashed");
    surroundings.complain(`The node crashed: ${messageOf(error)}`);
    surroundings.exit(exitCodes.couldNotRun);
  });
  settleCollector();
  const stop = surroundings.listenForStop();
  const ending = new Ending(options, logger, surroundings, stop);
  const code = await ending.run();
  logger.flush();
  return code;
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, " ");
}

/** One node's life and the several ways in which it may end. */
class Ending {
  readonly #options: NodeOptions;
  readonly #logger: ProcessLogger;
  readonly #surroundings: Surroundings;
  readonly #stop: StopRequest;
  /** Resolves when the node has to end, for whatever reason: the shutdown timeout starts there. */
  readonly #due: Promise<void>;
  #setDue: () => void = () => undefined;

  constructor(
    options: NodeOptions,
    logger: ProcessLogger,
    surroundings: Surroundings,
    stop: StopRequest,
  ) {
    this.#options = options;
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
    const { startNode, complain } = this.#surroundings;
    let node;
    try {
      node = await startNode(this.#options, this.#logger);
    } catch (error) {
      complain(messageOf(error));
      return exitCodes.couldNotRun;
    }
    const { id, clusterId, name, httpAddr, rpcAddr, dataDirectory } = node;
    this.#logger.info(
      { nodeId: id, clusterId, name, httpAddr, rpcAddr, dataDirectory },
      "node started",
    );
    const end = await Promise.race([this.#stop.asked, node.failed]);
    this.#setDue();
    if (typeof end === "string") this.#logger.info({ reason: end }, "node stopping");
    else {
      this.#logger.fatal({ error: end }, "node failed");
      complain(`The node had to stop: ${messageOf(end)}`);
    }
    await node.close();
    this.#logger.info({}, "node stopped");
    return typeof end === "string" ? exitCodes.asAsked : exitCodes.couldNotRun;
  }

  async #force(): Promise<number> {
    await this.#stop.forced;
    this.#logger.warn({}, "stop forced");
    return exitCodes.couldNotRun;
  }

  async #overrun(): Promise<number> {
    await this.#due;
    const { shutdownTimeoutMs } = this.#options;
    await sleep(this.#surroundings.clock, shutdownTimeoutMs);
    this.#logger.error({ shutdownTimeoutMs }, "stop timed out");
    this.#surroundings.complain(
      `The node did not stop in ${String(shutdownTimeoutMs)} ms (--shutdown-timeout-ms); ` +
        "nothing acknowledged is lost.",
    );
    return exitCodes.couldNotRun;
  }
}
