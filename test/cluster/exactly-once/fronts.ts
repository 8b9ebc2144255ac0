/**
 * Nodes as clients reach them: over HTTP and gRPC through a proxy each, which can lose or delay
 * what the node answers. Nodes reach each other directly, and the test asks them directly, too.
 *
 * A node's proxy is its advertised HTTP address: who is redirected to the leader passes it as well.
 */
import type { NodeProcess, TestCluster } from "../harness.js";
import { freePort } from "../ports.js";
import { StubClient, ownProto } from "../rpc-client.js";
import { TcpProxy } from "../tcp-proxy.js";

const out = { direction: "out" } as const;

export class Front {
  readonly node: NodeProcess;
  /** Where clients find the node. */
  readonly httpUrl: string;
  readonly log: StubClient;
  readonly #http: TcpProxy;
  readonly #rpc: TcpProxy;

  private constructor(node: NodeProcess, http: TcpProxy, rpc: TcpProxy) {
    this.node = node;
    this.httpUrl = `http://127.0.0.1:${http.port}`;
    this.#http = http;
    this.#rpc = rpc;
    // A node that was killed is back within a second: nobody should wait longer to dial it again.
    this.log = new StubClient(ownProto, "log.v1.Log", `127.0.0.1:${rpc.port}`, {
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 500,
    });
  }

  /** Prepares the cluster's next node with its proxies, and starts it. */
  static async start(cluster: TestCluster, flags: readonly string[]): Promise<Front> {
    const httpPort = await freePort();
    const advertised = ["--advertise-http-addr", `127.0.0.1:${httpPort}`];
    const node = await cluster.prepare([...flags, ...advertised]);
    const http = await TcpProxy.listen(httpPort, portOf(node.httpAddr));
    const rpc = await TcpProxy.listen(await freePort(), portOf(node.rpcAddr));
    node.start();
    return new Front(node, http, rpc);
  }

  /** From now on answers are on their way for as long as it takes; requests arrive. */
  holdAnswers(): void {
    for (const proxy of [this.#http, this.#rpc]) proxy.cut(out);
  }

  /** From now on answers are lost without a word; requests arrive. */
  loseAnswers(): void {
    for (const proxy of [this.#http, this.#rpc]) proxy.swallow(out);
  }

  /** Bytes of answers over HTTP that were held or lost, of connections that are open. */
  get withheldBytes(): number {
    return this.#http.heldBytes.out + this.#http.swallowedBytes;
  }

  /** Ends all connections of clients with RST: what was held is lost. */
  reset(): void {
    for (const proxy of [this.#http, this.#rpc]) proxy.reset();
  }

  /** Answers pass again, those that were held first; connections with lost ones are reset. */
  heal(): void {
    for (const proxy of [this.#http, this.#rpc]) proxy.heal();
  }

  async close(): Promise<void> {
    this.log.close();
    await Promise.all([this.#http.close(), this.#rpc.close()]);
  }
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}
