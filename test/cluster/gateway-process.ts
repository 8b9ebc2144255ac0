/**
 * A gateway as a process of its own, beside the nodes of a test cluster.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

import { Run } from "./harness.js";
import type { Exit } from "./harness.js";
import { ask } from "./http-client.js";
import { until } from "./poll.js";
import { freePort } from "./ports.js";

export class GatewayProcess {
  readonly httpUrl: string;
  readonly #run: Run;
  readonly #logPath: string;

  private constructor(run: Run, httpUrl: string, logPath: string) {
    this.#run = run;
    this.httpUrl = httpUrl;
    this.#logPath = logPath;
  }

  /** @param members rpc addresses, of nodes that need not run yet. */
  static async start(
    directory: string,
    members: readonly string[],
    flags: readonly string[] = [],
  ): Promise<GatewayProcess> {
    const port = await freePort();
    const logPath = join(directory, `gateway-${port}.log`);
    const address = `127.0.0.1:${port}`;
    const options = ["--node-name", "gw", "--http-addr", address, "--join", members.join(",")];
    const run = new Run(["gateway", ...options, ...flags], logPath);
    const gateway = new GatewayProcess(run, `http://${address}`, logPath);
    await until("the gateway to answer", async () => gateway.answers("/livez"));
    return gateway;
  }

  async untilReady(): Promise<void> {
    await until("the gateway to be ready", async () => this.answers("/readyz"));
  }

  /** True if the path is answered with 200; undefined if it is not. */
  async answers(path: string): Promise<true | undefined> {
    const { status } = await ask(`${this.httpUrl}${path}`, { timeoutMs: 2_000 });
    return status === 200 ? true : undefined;
  }

  /** Sockets that the process holds open, of all kinds. */
  socketCount(): number {
    const directory = `/proc/${this.#run.pid}/fd`;
    return readdirSync(directory).filter((name) => {
      try {
        return readlinkSync(`${directory}/${name}`).startsWith("socket:");
      } catch {
        return false;
      }
    }).length;
  }

  log(bytesMax = 6_000): string {
    return `--- gateway\n${readFileSync(this.#logPath, "utf8").slice(-bytesMax)}`;
  }

  async terminate(): Promise<Exit> {
    this.#run.signal("SIGTERM");
    return this.#run.exit();
  }

  async close(): Promise<void> {
    if (this.#run.ended !== undefined) return;
    this.#run.signal("SIGKILL");
    await this.#run.exit();
  }
}
