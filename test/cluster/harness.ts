/**
 * A cluster of real processes on 127.0.0.1: start, kill, stop, continue, restart, ask, clean up.
 *
 * Invariants: a node restarts with the very command line of its first start; every process that
 * was started here is ended here, by its id, also when a test fails or the test process ends;
 * the nodes' own words go to a file each and are shown when a test fails.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { clusterStatus } from "./http-client.js";
import type { Status } from "./http-client.js";
import { until } from "./poll.js";
import { freePort } from "./ports.js";

const root = join(import.meta.dirname, "..", "..");
const nodeBin = join(root, "bin", "proglog-node.js");

/** How a node's process is started, where it is not simply run on this host. */
export interface Launch {
  /** A command that becomes its last arguments, such as one that enters a namespace. */
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const running = new Set<ChildProcess>();

function killAll(): void {
  for (const child of running) {
    if (child.pid === undefined) continue;
    try {
      process.kill(child.pid, "SIGKILL");
    } catch {
      // It ended between the check and the signal.
    }
  }
}
process.once("exit", killAll);

/** One run of `proglog-node` with its output in a file. */
export class Run {
  readonly #child: ChildProcess;
  readonly #exit: Promise<Exit>;
  #ended: Exit | undefined;

  /** @param logPath Output is added to this file. */
  constructor(args: readonly string[], logPath: string, launch: Launch = {}) {
    if (!existsSync(join(root, "dist"))) throw new Error("run `npm run build` first");
    const log = openSync(logPath, "a");
    const node = [process.execPath, nodeBin, ...args];
    const [command = process.execPath, ...words] = [...(launch.command ?? []), ...node];
    this.#child = spawn(command, words, {
      stdio: ["ignore", log, log],
      env: { ...cleanEnvironment(), ...launch.env },
    });
    closeSync(log);
    running.add(this.#child);
    this.#exit = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null): void => {
        running.delete(this.#child);
        this.#ended = { code, signal };
        resolve(this.#ended);
      };
      this.#child.once("exit", end);
      this.#child.once("error", () => {
        end(null, null);
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** How it ended, or undefined while it runs. */
  get ended(): Exit | undefined {
    return this.#ended;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async exit(): Promise<Exit> {
    return this.#exit;
  }
}

/** The test's environment without what would set options of a node. */
function cleanEnvironment(): Record<string, string | undefined> {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("PROGLOG_"));
  return { ...Object.fromEntries(kept), FORCE_COLOR: "0" };
}

export interface NodeOptions {
  readonly name: string;
  readonly directory: string;
  readonly httpPort: number;
  readonly rpcPort: number;
  /** rpc addresses of members; empty to form a new cluster. */
  readonly join: readonly string[];
  /** Further flags. */
  readonly flags: readonly string[];
  readonly launch?: Launch;
  /** Where it listens, if that is not at the ports of 127.0.0.1. */
  readonly listen?: { readonly httpAddr: string; readonly rpcAddr: string };
  /** Default: a directory of its name, beside its log. */
  readonly dataDir?: string;
}

/** A node with its ports and directory; what runs changes, its command line never does. */
export class NodeProcess {
  readonly name: string;
  readonly httpUrl: string;
  readonly httpAddr: string;
  readonly rpcAddr: string;
  readonly dataDir: string;
  readonly logPath: string;
  readonly args: readonly string[];
  readonly #launch: Launch;
  #run: Run | undefined;
  #isStopped = false;

  constructor(options: NodeOptions) {
    this.name = options.name;
    this.httpAddr = `127.0.0.1:${options.httpPort}`;
    this.httpUrl = `http://${this.httpAddr}`;
    this.rpcAddr = options.listen?.rpcAddr ?? `127.0.0.1:${options.rpcPort}`;
    this.dataDir = options.dataDir ?? join(options.directory, options.name);
    this.#launch = options.launch ?? {};
    this.logPath = join(options.directory, `${options.name}.log`);
    this.args = [
      "start",
      ...["--node-name", options.name],
      ...["--data-dir", this.dataDir],
      ...["--http-addr", options.listen?.httpAddr ?? this.httpAddr],
      // Clients of a node that listens elsewhere come through a relay at its port here.
      ...(options.listen === undefined ? [] : ["--advertise-http-addr", this.httpAddr]),
      ...["--rpc-addr", this.rpcAddr],
      ...(options.join.length === 0 ? [] : ["--join", options.join.join(",")]),
      ...options.flags,
    ];
  }

  get pid(): number {
    return this.#run?.pid ?? 0;
  }

  /** True while there is a process, also one that is stopped with SIGSTOP. */
  get isRunning(): boolean {
    return this.#run !== undefined && this.#run.ended === undefined;
  }

  /** True while it can answer. */
  get isAwake(): boolean {
    return this.isRunning && !this.#isStopped;
  }

  start(): void {
    if (this.isRunning) throw new Error(`${this.name} runs already`);
    this.#isStopped = false;
    this.#run = new Run(this.args, this.logPath, this.#launch);
  }

  async kill9(): Promise<Exit> {
    return this.#end("SIGKILL");
  }

  /** SIGTERM, and how it ended. */
  async terminate(): Promise<Exit> {
    return this.#end("SIGTERM");
  }

  /** SIGSTOP: the process hangs, its sockets stay open. */
  stop(): void {
    this.#run?.signal("SIGSTOP");
    this.#isStopped = true;
  }

  /** SIGCONT. */
  cont(): void {
    this.#run?.signal("SIGCONT");
    this.#isStopped = false;
  }

  /** Starts it again, with the same command line, after it has ended. */
  restart(): void {
    this.start();
  }

  async exit(): Promise<Exit> {
    if (this.#run === undefined) throw new Error(`${this.name} was never started`);
    return this.#run.exit();
  }

  async status(timeoutMs?: number): Promise<Status> {
    return clusterStatus(this.httpUrl, timeoutMs);
  }

  /** Waits until it answers over HTTP. */
  async untilAnswering(): Promise<void> {
    await until(`${this.name} to answer over HTTP`, async () => {
      const ended = this.#run?.ended;
      if (ended !== undefined) throw new Error(`${this.name} ended with ${JSON.stringify(ended)}`);
      return this.status(1_000);
    });
  }

  /** The last of what it wrote. */
  log(bytesMax = 6_000): string {
    const text = existsSync(this.logPath) ? readFileSync(this.logPath, "utf8") : "";
    return `--- ${this.name}: ${this.args.join(" ")}\n${text.slice(-bytesMax)}`;
  }

  async #end(signal: NodeJS.Signals): Promise<Exit> {
    const run = this.#run;
    if (run === undefined) throw new Error(`${this.name} was never started`);
    run.signal(signal);
    if (this.#isStopped && signal !== "SIGKILL") this.cont();
    return run.exit();
  }
}

export interface ClusterOptions {
  readonly nodeCount?: number;
  /** Further flags of every node. */
  readonly flags?: readonly string[];
  /** Where the nodes' directories are made; default the system's temporary directory. */
  readonly within?: string;
}

/** Nodes that form one cluster. */
export class TestCluster {
  readonly directory: string;
  readonly nodes: NodeProcess[] = [];
  readonly #flags: readonly string[];

  constructor(options: ClusterOptions = {}) {
    this.directory = mkdtempSync(join(options.within ?? tmpdir(), "proglog-cluster-"));
    this.#flags = options.flags ?? [];
  }

  /** Starts nodes n1, n2, …; n1 forms the cluster, the others join; all are voters. */
  static async start(options: ClusterOptions = {}): Promise<TestCluster> {
    const cluster = new TestCluster(options);
    try {
      const { nodeCount = 3 } = options;
      for (let at = 0; at < nodeCount; at += 1) (await cluster.prepare()).start();
      await cluster.untilVoters(nodeCount);
    } catch (error) {
      process.stderr.write(`${cluster.logs()}\n`);
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  /** Makes the next node, without starting it: the first forms the cluster, later ones join. */
  async prepare(
    flags: readonly string[] = this.#flags,
    place: Pick<NodeOptions, "launch" | "listen" | "dataDir"> = {},
  ): Promise<NodeProcess> {
    const node = new NodeProcess({
      ...place,
      name: `n${this.nodes.length + 1}`,
      directory: this.directory,
      httpPort: await freePort(),
      rpcPort: await freePort(),
      join: this.nodes.slice(0, 3).map((known) => known.rpcAddr),
      flags,
    });
    this.nodes.push(node);
    return node;
  }

  get awake(): NodeProcess[] {
    return this.nodes.filter((node) => node.isAwake);
  }

  node(at: number): NodeProcess {
    const node = this.nodes[at];
    if (node === undefined) throw new Error(`there is no node ${at}`);
    return node;
  }

  /** Waits until all nodes that run agree on a leader that runs, and on who votes. */
  async untilVoters(voterCount: number): Promise<Status> {
    return until(`${voterCount} voters that agree on a leader`, async () => {
      const all = await Promise.all(this.awake.map(async (node) => node.status(1_000)));
      const [first] = all;
      if (first?.leader == null) throw new Error(`no leader: ${JSON.stringify(first)}`);
      const agreed = all.every(
        (status) =>
          status.leader?.name === first.leader?.name &&
          status.term === first.term &&
          status.quorum &&
          status.members.filter((member) => member.voter).length === voterCount,
      );
      if (!agreed) throw new Error(JSON.stringify(all));
      return this.awake.some((node) => node.name === first.leader?.name) ? first : undefined;
    });
  }

  /** The node that leads, as a node that can answer and leads itself says. */
  async leader(): Promise<NodeProcess> {
    return until("a leader", async () => {
      let best: { term: number; node: NodeProcess } | undefined;
      for (const node of this.awake) {
        const status = await node.status(1_000).catch(() => undefined);
        if (status?.leader?.name !== node.name) continue;
        if (best === undefined || status.term > best.term) best = { term: status.term, node };
      }
      return best?.node;
    });
  }

  async followers(): Promise<NodeProcess[]> {
    const leader = await this.leader();
    return this.nodes.filter((node) => node !== leader);
  }

  /** Waits until every node that can answer has applied as much as the leader has committed. */
  async untilLevel(): Promise<number> {
    return until("all nodes to hold the same", async () => {
      const ends = await Promise.all(
        this.awake.map(async (node) => {
          const answer = await fetch(`${node.httpUrl}/Data?from=latest&consistency=local`, {
            signal: AbortSignal.timeout(2_000),
          });
          const body = (await answer.json()) as { endOffset: number };
          return body.endOffset;
        }),
      );
      const [first] = ends;
      if (first === undefined || ends.some((end) => end !== first)) {
        throw new Error(`ends are ${ends.join(", ")}`);
      }
      return first;
    });
  }

  /** The ends of all logs. */
  logs(): string {
    return this.nodes.map((node) => node.log()).join("\n");
  }

  /** Ends every process of the cluster and removes its directory. */
  async close(): Promise<void> {
    await Promise.all(
      this.nodes.filter((node) => node.isRunning).map(async (node) => node.kill9()),
    );
    rmSync(this.directory, { recursive: true, force: true });
  }
}
