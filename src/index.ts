/**
 * proglog as a library: a client of a cluster, and a node inside a program.
 *
 * The node is the same as `proglog-node start` runs. The program owns the life of both and must
 * close them. What is not exported here is not part of the package's contract.
 */
import { hostname } from "node:os";

import { startNode as startResolved } from "./agent/node.js";
import type { NodeOptions } from "./agent/options.js";
import { nodeOptions } from "./agent/options.js";
import type { RunningNode } from "./agent/running-node.js";
import { Client } from "./client/client.js";
import { ProglogError, errorTable } from "./common/errors.js";
import type { Logger } from "./observability/logger.js";
import { silentLogger } from "./observability/logger.js";

export type { NodeOptions } from "./agent/options.js";
export type { RunningNode } from "./agent/running-node.js";
export { Client };
export type { ClientStatus, ConsumeOptions, ReadOptions } from "./client/client.js";
export type {
  AddedMember,
  AdminOptions,
  ClusterAdmin,
  ClusterStatus,
  MemberStatus,
} from "./client/cluster-admin.js";
export type { Consistency, From } from "./client/consumer.js";
export type { BatchReceipt } from "./client/frame.js";
export type { ClientOptions, ProducerLimits } from "./client/options.js";
export { Producer } from "./client/producer.js";
export type { AppendOptions, ProduceOptions, ProducerOptions, Receipt } from "./client/producer.js";
export { ConsumedRecord, JsonValue, json } from "./client/record.js";
export type { RecordInput, RecordValue } from "./client/record.js";
export type { ServerInfo } from "./client/servers.js";
export { StartError } from "./agent/start-error.js";
export { UsageError } from "./agent/option-table.js";
export { ProglogError, errorTable };
export type { ErrorCode, ErrorFields, LeaderHint, Outcome } from "./common/errors.js";
export type { Logger } from "./observability/logger.js";

/** A node inside a program. */
export interface EmbeddedNode extends RunningNode {
  /** A client of the cluster that starts from this node; made when first asked for. */
  readonly client: Client;
}

/** The node as it is, with a client that is closed before it. */
class NodeWithClient implements EmbeddedNode {
  readonly #node: RunningNode;
  #client: Client | undefined;
  #isClosed = false;

  constructor(node: RunningNode) {
    this.#node = node;
  }

  get id(): string {
    return this.#node.id;
  }

  get name(): string {
    return this.#node.name;
  }

  get clusterId(): string | null {
    return this.#node.clusterId;
  }

  get httpAddr(): string {
    return this.#node.httpAddr;
  }

  get rpcAddr(): string {
    return this.#node.rpcAddr;
  }

  get dataDirectory(): string {
    return this.#node.dataDirectory;
  }

  get failed(): Promise<Error> {
    return this.#node.failed;
  }

  get client(): Client {
    if (this.#isClosed) throw new ProglogError("unavailable", "The node is closed.");
    this.#client ??= new Client({ servers: [this.rpcAddr] });
    return this.#client;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#client?.close();
    await this.#node.close();
  }
}

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
): Promise<EmbeddedNode> {
  return new NodeWithClient(await startResolved(nodeOptions(given, hostname()), logger));
}
