/**
 * `npm run bench`: how fast three real nodes on this machine acknowledge records, beside what the
 * machine could do at best, measured in the same run. docs/performance.md says how to read it.
 *
 * It prints what it measured and judges nothing: a figure belongs to the machine it names.
 */
import { execFileSync } from "node:child_process";
import { rmSync, statfsSync } from "node:fs";
import { cpus, loadavg, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";

import { TestCluster } from "../cluster/harness.js";
import type { NodeProcess } from "../cluster/harness.js";
import { HttpLoad } from "./http-load.js";
import { Meter } from "./load.js";
import type { Load } from "./load.js";
import { settleCollector } from "../../src/cli/collector.js";
import { RpcLoad } from "./rpc-load.js";
import type { Samples } from "./samples.js";
import { usageOf } from "./usage.js";
import { timeFdatasync, timeRoundTrip } from "./yardsticks.js";

const root = join(import.meta.dirname, "..", "..");
const mebibyte = 1024 * 1024;

const { values: options } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    "no-build": { type: "boolean", default: false },
    records: { type: "string" },
    seconds: { type: "string" },
    window: { type: "string" },
    only: { type: "string" },
    within: { type: "string", default: tmpdir() },
    help: { type: "boolean", default: false },
  },
});

const help = `npm run bench -- [options]
  --json           print one JSON document instead of tables
  --quick          fewer points, 2 s each
  --records N      only this: append N records of 128 B, 1024 in flight, and watch the memory
  --seconds N      measure each point so long (default 5)
  --window N       batches that what is in flight is divided into (default 2)
  --only TEXT      only the point of that name, or those that contain TEXT ("128 B", "http")
  --within DIR     where the nodes keep their data (default the temporary directory)
  --no-build       use dist as it is
`;

const warmUpMs = 1_500;
/** Samples of the disk's yardstick, before and again after each point. */
const syncCount = 300;
/**
 * All points are of nodes that have run for a while: their code is compiled, and the files of their
 * Raft logs go round (`raft-log-keep-bytes` and a checkpoint have passed).
 */
const runInMs = 8_000;
const measureMs = 1000 * Number(options.seconds ?? (options.quick ? 2 : 5));

interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly node: string;
  readonly kernel: string;
  /** Magic number of the file system, as statfs gives it: ef53 is ext4, 1021994 tmpfs. */
  readonly fileSystem: string;
  /** What else ran in the minute before the start. */
  readonly loadAverage: number;
}

interface Yardstick {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

interface PointResult {
  readonly name: string;
  readonly recordsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly leaderCpuMicrosecondsPerRecord: number;
  /** The mean of both followers. */
  readonly followerCpuMicrosecondsPerRecord: number;
  readonly clientCpuMicrosecondsPerRecord: number;
  readonly leaderResidentBytes: number;
  /** Measured just before and just after this point: the machine is not the same for long. */
  readonly fdatasyncMs: number;
  readonly p50OverFdatasync: number;
  readonly p50OverFloor: number;
}

interface Point {
  readonly name: string;
  readonly load: (leader: NodeProcess) => Load;
}

function points(): Point[] {
  const window = options.window === undefined ? {} : { window: Number(options.window) };
  const sizes = [128, 1024];
  const depths = options.quick ? [1, 1024] : [1, 64, 1024, 16_384];
  const all: Point[] = sizes.flatMap((valueBytes) =>
    depths.map((inFlight) => ({
      name: `gRPC ${valueBytes === 1024 ? "1 KiB" : `${valueBytes} B`} × ${inFlight}`,
      load: ({ rpcAddr }: NodeProcess) => new RpcLoad({ rpcAddr, inFlight, valueBytes, ...window }),
    })),
  );
  const connections = 64;
  all.push({
    name: `HTTP 128 B × ${connections} connections`,
    load: ({ httpAddr }) => new HttpLoad({ httpAddr, connections, valueBytes: 128 }),
  });
  const wanted = options.only?.toLowerCase();
  const exact = all.filter(({ name }) => name.toLowerCase() === wanted);
  if (exact.length > 0) return exact;
  return all.filter(({ name }) => wanted === undefined || name.toLowerCase().includes(wanted));
}

function machine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryBytes: totalmem(),
    node: process.version,
    kernel: `${process.platform} ${release()}`,
    fileSystem: statfsSync(options.within).type.toString(16),
    loadAverage: loadavg()[0] ?? Number.NaN,
  };
}

function yardstick(samples: Samples): Yardstick {
  return { p50Ms: samples.percentile(0.5), p99Ms: samples.percentile(0.99) };
}

function ownCpuMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** Runs the cluster in, under a load that is not measured. */
async function runIn(cluster: TestCluster): Promise<void> {
  const leader = await cluster.leader();
  const load = new RpcLoad({ rpcAddr: leader.rpcAddr, inFlight: 1024, valueBytes: 128 });
  const meter = new Meter();
  await load.start(meter);
  await pause(runInMs);
  await load.end();
  if (meter.failure !== undefined) throw meter.failure;
}

async function measure(
  point: Point,
  cluster: TestCluster,
  roundTripMs: number,
): Promise<PointResult> {
  const syncs = await timeFdatasync(cluster.directory, syncCount);
  const leader = await cluster.leader();
  const followers = cluster.nodes.filter((node) => node !== leader);
  const followersCpu = (): number =>
    followers.reduce((sum, node) => sum + usageOf(node.pid).cpuMicroseconds, 0) / followers.length;
  const meter = new Meter();
  const load = point.load(leader);
  await load.start(meter);
  await pause(warmUpMs);
  meter.reset();
  const before = {
    ms: performance.now(),
    leader: usageOf(leader.pid).cpuMicroseconds,
    followers: followersCpu(),
    client: ownCpuMicroseconds(),
  };
  await pause(measureMs);
  const { samples } = meter;
  const { count } = samples;
  const seconds = (performance.now() - before.ms) / 1000;
  const usage = usageOf(leader.pid);
  const followerCpu = followersCpu() - before.followers;
  const clientCpu = ownCpuMicroseconds() - before.client;
  await load.end();
  if (meter.failure !== undefined) throw meter.failure;
  const p50Ms = samples.percentile(0.5);
  await timeFdatasync(cluster.directory, syncCount, syncs);
  const fdatasyncMs = syncs.percentile(0.5);
  return {
    name: point.name,
    recordsPerSecond: count / seconds,
    p50Ms,
    p99Ms: samples.percentile(0.99),
    leaderCpuMicrosecondsPerRecord: (usage.cpuMicroseconds - before.leader) / count,
    followerCpuMicrosecondsPerRecord: followerCpu / count,
    clientCpuMicrosecondsPerRecord: clientCpu / count,
    leaderResidentBytes: usage.residentBytes,
    fdatasyncMs,
    p50OverFdatasync: p50Ms / fdatasyncMs,
    p50OverFloor: p50Ms / (fdatasyncMs + roundTripMs),
  };
}

/** Appends so many records and watches the leader's memory. */
async function watchMemory(cluster: TestCluster, records: number): Promise<object> {
  const leader = await cluster.leader();
  const before = usageOf(leader.pid).residentBytes;
  const start = performance.now();
  const load = new RpcLoad({ rpcAddr: leader.rpcAddr, inFlight: 1024, valueBytes: 128 });
  const over = new Promise<Meter>((resolve) => {
    const meter = new Meter(records, () => {
      resolve(meter);
    });
    void load.start(meter);
  });
  let progress = Promise.race([over, pause(500)]);
  let residentBytesMax = 0;
  for (;;) {
    const meter = await progress;
    residentBytesMax = Math.max(residentBytesMax, usageOf(leader.pid).residentBytes);
    if (meter instanceof Meter) {
      await load.end();
      if (meter.failure !== undefined) throw meter.failure;
      break;
    }
    progress = Promise.race([over, pause(500)]);
  }
  return {
    records,
    seconds: (performance.now() - start) / 1000,
    leaderResidentBytesBefore: before,
    leaderResidentBytesMax: Math.max(residentBytesMax, usageOf(leader.pid).residentBytesMax),
    followerResidentBytesMax: Math.max(
      ...cluster.nodes
        .filter((node) => node !== leader)
        .map((node) => usageOf(node.pid).residentBytesMax),
    ),
  };
}

function say(line: string): void {
  if (!options.json) process.stdout.write(`${line}\n`);
}

const columns = [
  { title: "point", of: (row: PointResult) => row.name },
  { title: "records/s", of: (row: PointResult) => row.recordsPerSecond.toFixed(0) },
  { title: "p50 ms", of: (row: PointResult) => row.p50Ms.toFixed(2) },
  { title: "p99 ms", of: (row: PointResult) => row.p99Ms.toFixed(2) },
  {
    title: "leader µs/rec",
    of: (row: PointResult) => row.leaderCpuMicrosecondsPerRecord.toFixed(2),
  },
  {
    title: "follower µs/rec",
    of: (row: PointResult) => row.followerCpuMicrosecondsPerRecord.toFixed(2),
  },
  {
    title: "client µs/rec",
    of: (row: PointResult) => row.clientCpuMicrosecondsPerRecord.toFixed(2),
  },
  {
    title: "leader RSS MiB",
    of: (row: PointResult) => (row.leaderResidentBytes / mebibyte).toFixed(0),
  },
  { title: "fdatasync ms", of: (row: PointResult) => row.fdatasyncMs.toFixed(3) },
  { title: "p50 ÷ fdatasync", of: (row: PointResult) => row.p50OverFdatasync.toFixed(1) },
  { title: "p50 ÷ floor", of: (row: PointResult) => row.p50OverFloor.toFixed(1) },
];

function tableRow(cells: readonly string[]): string {
  const padded = cells.map((cell, at) => {
    const width = at === 0 ? 30 : (columns[at]?.title.length ?? 0);
    return at === 0 ? cell.padEnd(width) : cell.padStart(width);
  });
  return `| ${padded.join(" | ")} |`;
}

async function measureAll(cluster: TestCluster): Promise<object> {
  await runIn(cluster);
  const trip = await timeRoundTrip(2_000);
  const show = (name: string, { p50Ms, p99Ms }: Yardstick): void => {
    say(`${name}: p50 ${p50Ms.toFixed(3)} ms, p99 ${p99Ms.toFixed(3)} ms`);
  };
  show("round trip of 128 B, no disk", yardstick(trip));
  say("");
  say(tableRow(columns.map(({ title }) => title)));
  say(`|${columns.map((_, at) => (at === 0 ? "---" : "--:")).join("|")}|`);
  const results: PointResult[] = [];
  for (const point of points()) {
    const result = await measure(point, cluster, trip.percentile(0.5));
    results.push(result);
    say(tableRow(columns.map(({ of }) => of(result))));
  }
  return {
    roundTrip: yardstick(trip),
    points: results,
  };
}

async function main(): Promise<void> {
  settleCollector();
  if (options.help) {
    process.stdout.write(help);
    return;
  }
  if (!options["no-build"]) {
    rmSync(join(root, "dist"), { recursive: true, force: true });
    const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
    execFileSync(process.execPath, [compiler, "-p", "tsconfig.build.json"], { cwd: root });
  }
  const about = machine();
  say(
    `${about.cores} × ${about.cpu}, ${Math.round(about.memoryBytes / mebibyte)} MiB, ` +
      `Node ${about.node}, ${about.kernel}, file system ${about.fileSystem}, ` +
      `load average ${about.loadAverage.toFixed(2)}`,
  );
  say("three nodes and the client share this machine and one disk\n");
  const cluster = await TestCluster.start({
    flags: ["--log-level", "warn"],
    within: options.within,
  });
  try {
    const measured =
      options.records === undefined
        ? await measureAll(cluster)
        : await watchMemory(cluster, Number(options.records));
    if (options.json || options.records !== undefined) {
      process.stdout.write(`${JSON.stringify({ machine: about, ...measured }, undefined, 2)}\n`);
    }
  } catch (error) {
    process.stderr.write(`${cluster.logs()}\n`);
    throw error;
  } finally {
    // Asked to end, not killed: so that a profile asked for by NODE_OPTIONS is written.
    await Promise.all(
      cluster.nodes
        .filter((node) => node.isRunning)
        .map(async (node) => Promise.race([node.terminate(), pause(5_000)])),
    );
    await cluster.close();
  }
}

await main();
