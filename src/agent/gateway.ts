/**
 * Builds a gateway and runs it: a node's REST gateway over services that ask the members.
 *
 * It keeps nothing: no directory, no identity, no vote. It starts whether or not a member answers;
 * `/readyz` says when one does. Like a node it stops in reverse of how it started.
 */
import { systemClock } from "../common/system.js";
import { HttpGateway } from "../http/gateway.js";
import { GatewayMetrics } from "../observability/gateway-metrics.js";
import type { Logger } from "../observability/logger.js";
import { formatAddress } from "../rpc/addresses.js";
import { GrpcMemberReads } from "../rpc/member-reads.js";
import { GrpcPeerCalls } from "../rpc/peer-calls.js";
import { RemoteCluster } from "../service/remote-cluster.js";
import { RemoteLog } from "../service/remote-log.js";
import { RemoteMembers } from "../service/remote-members.js";
import { resolveAll, withPort } from "./addressing.js";
import type { GatewayOptions } from "./gateway-options.js";
import { appendBytesMax } from "./node-core.js";
import type { RunningGateway } from "./running-gateway.js";
import { StartError } from "./start-error.js";

const mebibyte = 1024 * 1024;
/** A member that takes longer to say how it is counts as silent. */
const statusMsMax = 1000;

/**
 * Starts a gateway; resolves when it answers, not when it has found a member.
 *
 * @throws StartError with the cause and the remedy in one line.
 */
export async function startGateway(
  options: GatewayOptions,
  logger: Logger,
): Promise<RunningGateway> {
  const clock = systemClock;
  const appendMax = appendBytesMax(options);
  const messageBytesMax = Math.max(8 * mebibyte, appendMax + mebibyte);
  const peers = new GrpcPeerCalls({ clock, options: { callMsMax: statusMsMax, messageBytesMax } });
  const reads = new GrpcMemberReads({ clock, messageBytesMax });
  const members = new RemoteMembers({
    ...{ peers, clock, logger },
    join: options.join,
    resolve: resolveAll,
  });
  const { nodeName, requestTimeoutMs } = options;
  const metrics = new GatewayMetrics(() => {
    const { count, answeringCount, hasQuorum, endOffset, leader } = members;
    return { count, answeringCount, hasQuorum, endOffset, hasLeader: leader !== undefined };
  });
  const http = new HttpGateway({
    log: new RemoteLog({ members, peers, reads, clock, nodeName, requestTimeoutMs }),
    cluster: new RemoteCluster({ members, peers, name: nodeName }),
    metrics: async () => metrics.text(),
    ...{ clock, logger },
    options: {
      recordBytesMax: options.maxRecordBytes,
      bodyBytesMax: Math.max(4 * mebibyte, options.maxRecordBytes) + 64 * 1024,
      connectionsMax: options.httpConnectionsMax,
      streamsMax: options.streamsMax,
    },
  });
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    // What is under way is answered before the members are let go.
    await http.close();
    await members.close();
    await Promise.all([peers.close(), reads.close()]);
  };
  try {
    const bound = await listen(http, options.httpAddr);
    members.start();
    return { name: nodeName, httpAddr: bound, close: async () => (closed ??= close()) };
  } catch (error) {
    await close();
    throw error;
  }
}

async function listen(http: HttpGateway, httpAddr: string): Promise<string> {
  const address = await withPort(httpAddr);
  try {
    return formatAddress(await http.listen(address.host, address.port));
  } catch (error) {
    const why = "it is in use, or not this host's";
    const detail = `${formatAddress(address)} can't be listened on: ${why}; choose another`;
    throw new StartError(`${detail} --http-addr.`, { cause: error });
  }
}
