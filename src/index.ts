/**
 * proglog as a library: a node inside a program.
 *
 * The same node as `proglog-node start` runs; the program owns its life and must close it. What is
 * not exported here is not part of the package's contract.
 */
import { hostname } from "node:os";

import { startNode as startResolved } from "./agent/node.js";
import type { NodeOptions } from "./agent/options.js";
import { nodeOptions } from "./agent/options.js";
import type { RunningNode } from "./agent/running-node.js";
import type { Logger } from "./observability/logger.js";
import { silentLogger } from "./observability/logger.js";

export type { NodeOptions } from "./agent/options.js";
export type { RunningNode } from "./agent/running-node.js";
export { StartError } from "./agent/start-error.js";
export { UsageError } from "./agent/option-table.js";
export { ProglogError, errorTable } from "./common/errors.js";
export type { ErrorCode, Outcome } from "./common/errors.js";
export type { Logger } from "./observability/logger.js";

/**
 * Starts a node; resolves when it answers, which is before it has a leader.
 *
 * @param given Options as in docs/options.md; the defaults stand for the rest.
 * @param logger Told what happens; silent by default.
 * @throws UsageError for a wrong option, StartError if it can't run: each says what to do.
 */
export async function startNode(
  given: Partial<NodeOptions> = {},
  logger: Logger = silentLogger,
): Promise<RunningNode> {
  return startResolved(nodeOptions(given, hostname()), logger);
}
