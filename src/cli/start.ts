/**
 * `proglog-node start`: runs one node until it is told to stop, or has to.
 *
 * It must never print on standard output: that carries the log.
 */
import type { ResolvedOptions } from "../agent/option-sources.js";
import { runService } from "./service-life.js";
import type { Surroundings } from "./surroundings.js";

/** Runs the node; resolves with the exit code once all that can be released is. */
export async function start(
  resolved: ResolvedOptions,
  surroundings: Surroundings,
): Promise<number> {
  const { values, warnings } = resolved;
  const { nodeName, logLevel, shutdownTimeoutMs } = values;
  return runService(
    {
      ...{ what: "node", name: nodeName, logLevel, shutdownTimeoutMs, warnings },
      start: async (logger) => {
        const node = await surroundings.startNode(values, logger);
        const { id, clusterId, name, httpAddr, rpcAddr, dataDirectory } = node;
        return {
          fields: { nodeId: id, clusterId, name, httpAddr, rpcAddr, dataDirectory },
          close: async () => node.close(),
          failed: node.failed,
        };
      },
    },
    surroundings,
  );
}
