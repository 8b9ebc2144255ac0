/**
 * `proglog-node gateway`: a REST gateway in a process of its own, without data and without a vote.
 *
 * It must never print on standard output: that carries the log.
 */
import type { GatewayOptions } from "../agent/gateway-options.js";
import { runService } from "./service-life.js";
import type { Surroundings } from "./surroundings.js";

/** Runs the gateway until it is told to stop; resolves with the exit code. */
export async function runGateway(
  options: GatewayOptions,
  warnings: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  const { nodeName, join, logLevel, shutdownTimeoutMs } = options;
  return runService(
    {
      ...{ what: "gateway", name: nodeName, logLevel, shutdownTimeoutMs, warnings },
      start: async (logger) => {
        const gateway = await surroundings.startGateway(options, logger);
        const { name, httpAddr } = gateway;
        return { fields: { name, httpAddr, join }, close: async () => gateway.close() };
      },
    },
    surroundings,
  );
}
