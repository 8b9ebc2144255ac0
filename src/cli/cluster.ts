/**
 * `proglog-node cluster`: a whole cluster on this machine, one process a node.
 *
 * Invariants: the same command line starts it first and starts it again; a node that ends unasked
 * is reported and the rest go on; when the command ends, so do all its nodes.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { UsageError, integer } from "../agent/option-table.js";
import { sleep } from "../common/clock.js";
import { ChildNode, dataDirectoryIn } from "./child-node.js";
import { formedCluster } from "./cluster-poll.js";
import type { Formed } from "./cluster-poll.js";
import type { SplitArguments } from "./node-flags.js";
import { exitCodes } from "./surroundings.js";
import type { Surroundings } from "./surroundings.js";

export interface ClusterOptions {
  readonly nodes: number;
  readonly dataDir: string;
  readonly baseHttpPort: number;
  readonly baseRpcPort: number;
}

const host = "127.0.0.1";
const pollIntervalMs = 100;
/** After so long a cluster that has not formed is worth a word. */
const patienceMs = 60_000;
/** How long nodes may take to stop before they are killed. */
const stopTimeoutMs = 15_000;
/** Voters of a cluster if it does not say. */
const votersDefault = 5;

/** Reads the command's own flags. @throws UsageError */
export function clusterOptions(split: SplitArguments): ClusterOptions {
  const options = {
    nodes: wholeNumber(split, "nodes", { min: 1, max: 9 }),
    dataDir: String(split["data-dir"]),
    baseHttpPort: wholeNumber(split, "base-http-port", { min: 1, max: 65_527 }),
    baseRpcPort: wholeNumber(split, "base-rpc-port", { min: 1, max: 65_527 }),
  };
  if (Math.abs(options.baseHttpPort - options.baseRpcPort) < options.nodes) {
    throw new UsageError(
      `--base-http-port (${String(options.baseHttpPort)}) and --base-rpc-port ` +
        `(${String(options.baseRpcPort)}) must be at least --nodes ` +
        `(${String(options.nodes)}) apart.`,
    );
  }
  return options;
}

function wholeNumber(
  split: SplitArguments,
  flag: string,
  range: { readonly min: number; readonly max: number },
): number {
  const row = integer({ group: "Running", doc: "", defaultText: "" }, "count", range);
  const given = split[flag];
  const value = row.parse(given);
  if (value !== undefined) return value;
  throw new UsageError(`--${flag} can't be ${JSON.stringify(given)}; it takes ${row.range}.`);
}

/** Runs the cluster until it is told to stop, or no node is left. */
export async function runCluster(
  options: ClusterOptions,
  surroundings: Surroundings,
): Promise<number> {
  const stop = surroundings.listenForStop();
  const nodes = startNodes(options, surroundings);
  let isStopping = false;
  for (const node of nodes) {
    void node.ended.then((how) => {
      if (isStopping) return;
      const where = `its log is ${node.logPath}; its last line:`;
      surroundings.complain(`${node.name} stopped unasked (${how}); ${where} ${node.lastWords()}`);
    });
  }
  void stop.forced.then(() => {
    for (const node of nodes) node.kill("SIGKILL");
    surroundings.exit(exitCodes.couldNotRun);
  });
  const stopping = new AbortController();
  announceWhenFormed(options, nodes, surroundings, stopping.signal).catch((error: unknown) => {
    if (!stopping.signal.aborted) throw error;
  });
  const allEnded = Promise.all(nodes.map(async (node) => node.ended)).then(() => "all ended");
  const end = await Promise.race([stop.asked, allEnded]);
  isStopping = true;
  stopping.abort(new Error("The cluster is stopping."));
  if (end === "all ended") {
    surroundings.complain("No node is left.");
    return exitCodes.couldNotRun;
  }
  await stopAll(nodes, surroundings);
  return exitCodes.asAsked;
}

function startNodes(options: ClusterOptions, surroundings: Surroundings): ChildNode[] {
  const numbers = Array.from({ length: options.nodes }, (_, at) => at + 1);
  const directoryOf = (number: number): string => join(options.dataDir, `node-${String(number)}`);
  const rpcAddrOf = (number: number): string =>
    `${host}:${String(options.baseRpcPort + number - 1)}`;
  // The first node forms the cluster, but never a second one beside what other nodes still hold.
  const isNew = numbers.every((number) => isEmpty(dataDirectoryIn(directoryOf(number))));
  const voters = options.nodes > votersDefault ? ["--voters", String(oddBelow(options.nodes))] : [];
  return numbers.map((number) => {
    const others = numbers.filter((other) => other !== number).map(rpcAddrOf);
    const forms =
      number === 1 && (isNew || others.length === 0 || !isEmpty(dataDirectoryIn(directoryOf(1))));
    const how = forms ? ["--bootstrap"] : ["--no-bootstrap", "--join", others.join(",")];
    return new ChildNode({
      name: `node-${String(number)}`,
      directory: directoryOf(number),
      httpAddr: `${host}:${String(options.baseHttpPort + number - 1)}`,
      rpcAddr: rpcAddrOf(number),
      flags: [...how, ...voters],
      env: surroundings.env,
      program: surroundings.nodeProgram,
    });
  });
}

function isEmpty(directory: string): boolean {
  return !existsSync(directory) || readdirSync(directory).length === 0;
}

/** A cluster keeps an odd number of voters. */
function oddBelow(count: number): number {
  return count % 2 === 1 ? count : count - 1;
}

async function announceWhenFormed(
  options: ClusterOptions,
  nodes: readonly ChildNode[],
  surroundings: Surroundings,
  signal: AbortSignal,
): Promise<void> {
  const { clock, print, complain } = surroundings;
  print(`Starting ${String(nodes.length)} nodes in ${options.dataDir} …`);
  const wordAtMs = clock.now() + patienceMs;
  let isWordGiven = false;
  for (;;) {
    const found = await formedCluster(nodes, oddBelow(options.nodes), clock);
    signal.throwIfAborted();
    if (typeof found !== "string") {
      announce(found, nodes, surroundings);
      return;
    }
    if (!isWordGiven && clock.now() >= wordAtMs) {
      complain(`Not formed after ${String(patienceMs / 1000)} s, still waiting: ${found}`);
      isWordGiven = true;
    }
    await sleep(clock, pollIntervalMs, signal);
  }
}

function announce(formed: Formed, nodes: readonly ChildNode[], { print }: Surroundings): void {
  const other = nodes.find((node) => node.isRunning && node.name !== formed.leader) ?? nodes[0];
  print(`${formed.leader} leads; ${String(formed.voters)} of ${String(nodes.length)} nodes vote.`);
  for (const node of nodes) {
    const state = node.isRunning ? `pid ${String(node.pid)}` : "stopped";
    print(
      `  ${node.name}  http://${node.httpAddr}  rpc ${node.rpcAddr}  ${state}  ${node.logPath}`,
    );
  }
  print(`Dashboard: http://${other?.httpAddr ?? host}/ (every node has one)`);
  print("Append a record, read it back, see who leads:");
  print(
    `  curl -L -H 'content-type: application/json' -d '{"message":"hello"}' ` +
      `http://${other?.httpAddr ?? host}/Data`,
  );
  print(`  curl 'http://${other?.httpAddr ?? host}/Data?offset=0'`);
  print(`  curl http://${other?.httpAddr ?? host}/cluster`);
  print("Ctrl-C stops all nodes; the same command starts them again.");
}

async function stopAll(
  nodes: readonly ChildNode[],
  { clock, print, complain }: Surroundings,
): Promise<void> {
  print("Stopping …");
  for (const node of nodes) node.kill("SIGTERM");
  const overdue = clock.setTimer(stopTimeoutMs, () => {
    for (const node of nodes) {
      if (!node.isRunning) continue;
      complain(`${node.name} did not stop in ${String(stopTimeoutMs / 1000)} s and is killed.`);
      node.kill("SIGKILL");
    }
  });
  await Promise.all(nodes.map(async (node) => node.ended));
  overdue.cancel();
  print("All nodes have stopped.");
}
