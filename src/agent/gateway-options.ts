/**
 * Which of a node's options a gateway has, and what it needs of them.
 *
 * Their names, kinds, ranges and defaults are those of the one table (options.ts). What the
 * environment or a file says of a node's other options is not the gateway's business: one image
 * and one file may serve both.
 */
import type { ResolvedOptions } from "./option-sources.js";
import { UsageError } from "./option-table.js";
import type { NodeOptions, OptionKey } from "./options.js";

/** The options of a gateway, in the order of the documents. */
export const gatewayOptionKeys = [
  "nodeName",
  "httpAddr",
  "join",
  "maxRecordBytes",
  "httpConnectionsMax",
  "streamsMax",
  "requestTimeoutMs",
  "config",
  "logLevel",
  "shutdownTimeoutMs",
] as const satisfies readonly OptionKey[];

/** The options of a gateway, all decided. */
export type GatewayOptions = Pick<
  NodeOptions,
  Exclude<(typeof gatewayOptionKeys)[number], "config">
>;

/** @throws UsageError if there is nothing to join. */
export function gatewayOptions({ values }: ResolvedOptions): GatewayOptions {
  if (values.join.length === 0) {
    throw new UsageError("A gateway needs --join: the gRPC address of any member, or a name.");
  }
  return values;
}
