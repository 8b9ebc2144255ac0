/**
 * What a seed decides before anything runs: how many nodes, with which options, on what network
 * and disks, under which classes of faults, for which clients.
 *
 * Each seed turns whole classes on or off (swarm testing): bugs that need one fault often hide
 * where another keeps the cluster from ever getting that far.
 */
import type { NodeOptions } from "../../src/agent/options.js";
import type { LinkFaults } from "../../src/testing/simulated-network.js";
import { SeededRandom } from "../../src/testing/seeded-random.js";

/** The classes of faults, in the words of the reports. */
export const faultClasses = [
  "links",
  "partitions",
  "kills",
  "power-cuts",
  "pauses",
  "clocks",
  "failed-syncs",
  "stalls",
  "full-disks",
  "rot",
  "membership",
  "transfers",
  "wipes",
  "stops",
] as const;

/** Faults of disks that seeds have on top of those above: some lie, and some are mixed up. */
const diskClasses = ["lost-writes", "misdirected-writes", "swaps"] as const;

/** Faults that aim at the change of leaders and at snapshots being taken; only in storms. */
export const stormClasses = ["usurpers", "slow-links", "install-crashes"] as const;
export type FaultClass =
  (typeof faultClasses)[number] | (typeof diskClasses)[number] | (typeof stormClasses)[number];

/** Share of the seeds that are storms. */
const stormRate = 0.3;

/** Share of the seeds in which clients send copies of their appends. */
const copiesSeedRate = 0.25;

export interface Plan {
  readonly seed: number;
  readonly nodeCount: number;
  readonly faults: ReadonlySet<FaultClass>;
  /** Bits of sealed segments flip on all nodes, each segment whole on one of them. */
  readonly flipsBits: boolean;
  /** Mean virtual time between two faults. */
  readonly faultMeanMs: number;
  readonly link: LinkFaults;
  readonly diskLatencyMsMax: number;
  /** In the end only a quorum is healed at first, and must serve beside what is broken. */
  readonly healsQuorumFirst: boolean;
  readonly options: PlannedOptions;
  readonly clients: {
    readonly writers: number;
    readonly readers: number;
    /** Mean pause between two operations of one client. */
    readonly thinkMs: number;
    readonly batchMax: number;
    readonly valueBytesMax: number;
    readonly timeoutMs: number;
    /** Share of time, in stretches of a second, in which no client does anything. */
    readonly quietRate: number;
    /** Share of appends that carry a producer, so that they can be sent again. */
    readonly idempotentRate: number;
    /** Share of appends that name the offset that they must get. */
    readonly conditionalRate: number;
    /** Share of appends that are sent as up to four copies at once, to different nodes. */
    readonly copiesRate: number;
  };
}

/** Options that are the same on all nodes. */
export type PlannedOptions = Omit<
  NodeOptions,
  "nodeName" | "httpAddr" | "rpcAddr" | "join" | "bootstrap"
>;

const kibibyte = 1024;

export function planOf(seed: number, nodeCount?: number): Plan {
  const random = new SeededRandom(seed, "storm");
  const plan = withScrub(withCopies(withMore(swarmPlan(seed, nodeCount))));
  return random.chance(stormRate) ? stormPlan(plan, random, nodeCount) : plan;
}

/**
 * A storm: few nodes and much to write, while one leader after the other is cut off with entries
 * that only it has, and messages of old terms come late. Most bugs of consensus live there, and a
 * swarm of all classes seldom has a cluster that gets so far.
 */
function stormPlan(plan: Plan, random: SeededRandom, nodeCount: number | undefined): Plan {
  const others = ["kills", "power-cuts", "pauses", "transfers", "stalls", "failed-syncs"] as const;
  const electionTimeoutMs = random.pick([200, 300]);
  const { options, clients, link } = plan;
  return {
    ...plan,
    nodeCount: nodeCount ?? random.pick([3, 3, 4, 5]),
    faults: new Set([
      "usurpers",
      ...stormClasses.filter(() => random.chance(0.5)),
      ...others.filter(() => random.chance(0.35)),
      ...(random.chance(0.6) ? (["membership"] as const) : []),
      ...(random.chance(0.2) ? (["rot"] as const) : []),
      ...diskClasses.filter((kind) => plan.faults.has(kind)),
    ]),
    faultMeanMs: electionTimeoutMs * random.pick([1.5, 3]),
    link: {
      ...link,
      delayMsMin: 0.5,
      delayMsMax: random.pick([2, 10, 25]),
      lossRate: random.pick([0, 0.02, 0.1]),
      duplicateRate: random.pick([0, 0.1, 0.5]),
      reorders: random.chance(0.5),
    },
    options: {
      ...options,
      electionTimeoutMs,
      heartbeatMs: electionTimeoutMs / 10,
      raftLogKeepBytes: random.pick([0, 8 * kibibyte, 64 * kibibyte]),
      checkpointBytes: kibibyte * random.pick([1, 4, 64]),
    },
    clients: {
      ...clients,
      writers: random.integer(3, 5),
      readers: random.integer(1, 2),
      thinkMs: random.pick([20, 60]),
      valueBytesMax: random.pick([20, 300]),
      timeoutMs: electionTimeoutMs * random.pick([1.5, 5, 12]),
      quietRate: 0,
    },
  };
}

function swarmPlan(seed: number, nodeCount: number | undefined): Plan {
  const random = new SeededRandom(seed, "plan");
  const faults = new Set(faultClasses.filter(() => random.chance(0.4)));
  const electionTimeoutMs = random.pick([300, 600, 1000]);
  return {
    seed,
    nodeCount: nodeCount ?? random.pick([3, 3, 3, 5, 5, 7]),
    faults,
    faultMeanMs: random.pick([150, 400, 1000, 3000]),
    link: planLink(random, faults.has("links"), electionTimeoutMs),
    diskLatencyMsMax: random.pick([0.2, 2, 8]),
    options: planOptions(random, electionTimeoutMs),
    clients: {
      writers: random.integer(2, 5),
      readers: random.integer(1, 3),
      thinkMs: random.pick([10, 40, 150]),
      batchMax: random.pick([1, 3, 10]),
      valueBytesMax: random.pick([20, 100, 600]),
      timeoutMs: random.pick([400, 1500, 5000]),
      quietRate: random.pick([0, 0, 0.3]),
      idempotentRate: random.pick([0, 0.5, 1]),
      conditionalRate: 0,
      copiesRate: 0,
    },
    healsQuorumFirst: false,
    flipsBits: false,
  };
}

/** What came to the plan later, by chance of its own: it leaves all that was before as it was. */
function withMore(plan: Plan): Plan {
  const random = new SeededRandom(plan.seed, "more");
  const more = diskClasses.filter(() => random.chance(0.2));
  return {
    ...plan,
    faults: new Set([...plan.faults, ...more]),
    healsQuorumFirst: random.chance(0.4),
    link: { ...plan.link, gridMs: random.pick([0, 0, 5, 40]) },
    clients: { ...plan.clients, conditionalRate: random.pick([0.15, 0.15, 0.15, 0.7]) },
  };
}

/** How damage is looked for and repaired; by chance of its own, too. */
function withScrub(plan: Plan): Plan {
  const random = new SeededRandom(plan.seed, "scrub");
  const options = {
    ...plan.options,
    scrubBytesPerSecond: kibibyte * random.pick([0, 4, 64]),
    scrubRestMs: random.pick([1000, 5000]),
    repairBytesPerSecond: kibibyte * random.pick([8, 1024]),
  };
  return { ...plan, options, flipsBits: random.chance(0.3) };
}

/**
 * Copies of appends came later still, again by chance of their own. The stream's number was chosen
 * so that the kept seeds, and those that killed mutants, have none: they do what they did.
 */
function withCopies(plan: Plan): Plan {
  const random = new SeededRandom(plan.seed, "copies 658");
  const copiesRate = random.chance(copiesSeedRate) ? random.pick([0.3, 1]) : 0;
  return { ...plan, clients: { ...plan.clients, copiesRate } };
}

function planLink(random: SeededRandom, isBad: boolean, electionTimeoutMs: number): LinkFaults {
  const delayMsMin = random.pick([0.05, 0.5, 5]);
  return {
    lossRate: isBad ? random.pick([0, 0.01, 0.1, 0.3]) : 0,
    duplicateRate: isBad ? random.pick([0, 0.05, 0.5]) : 0,
    delayMsMin,
    delayMsMax: delayMsMin * random.pick([1.1, 3, 10]),
    longDelayRate: isBad ? random.pick([0, 0.002, 0.02]) : 0,
    longDelayMs: electionTimeoutMs * random.pick([1, 5, 20]),
    reorders: isBad && random.chance(0.5),
  };
}

function planOptions(random: SeededRandom, electionTimeoutMs: number): PlannedOptions {
  return {
    dataDir: "simulated",
    advertiseHttpAddr: undefined,
    advertiseRpcAddr: undefined,
    voters: 9,
    followerWrites: random.pick(["redirect", "forward"]),
    electionTimeoutMs,
    heartbeatMs: electionTimeoutMs / 10,
    requestTimeoutMs: random.pick([1000, 5000]),
    maxRecordBytes: 4 * kibibyte,
    segmentBytes: kibibyte * random.pick([1, 4, 32]),
    raftLogFileBytes: kibibyte * random.pick([8, 16, 64]),
    raftLogKeepBytes: random.pick([0, 8 * kibibyte, 64 * kibibyte]),
    checkpointBytes: kibibyte * random.pick([1, 4, 16, 64]),
    tailCacheBytes: kibibyte * random.pick([1, 8, 64]),
    pendingBytesMax: 64 * kibibyte,
    diskFreeBytesMin: 64 * kibibyte,
    scrubBytesPerSecond: 0,
    scrubRestMs: 1000,
    repairBytesPerSecond: kibibyte,
    httpConnectionsMax: 1,
    streamsMax: 1,
    logLevel: "silent",
    shutdownTimeoutMs: 10_000,
  };
}
