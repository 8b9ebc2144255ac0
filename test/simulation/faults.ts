/**
 * The faults of a run: which, when and where follows from the seed; each is counted, noted, and
 * ends by itself or when the run heals.
 *
 * Faults stay within what the promises cover: a directory is wiped or damaged only as long as a
 * quorum of the others has every record (the atlas), for a log that lost a majority of its disks
 * owes nobody anything.
 */
import { StartError } from "../../src/agent/start-error.js";
import { DiskError } from "../../src/storage/disk.js";
import { raftFileHeaderBytes } from "../../src/storage/raft-file.js";
import { SeededRandom } from "../../src/testing/seeded-random.js";
import type { CrashMode, DiskCall, DiskVerdict } from "../../src/testing/simulated-disk.js";
import { SimulatedDirectory } from "../../src/testing/simulated-file-system.js";
import type { SimulatedNode } from "../../src/testing/simulated-node.js";
import type { FaultClass } from "./plan.js";
import { durableImage, provenBytes, sealedSegments } from "./durable-image.js";
import type { World } from "./world.js";

type Fault = (node: SimulatedNode) => void;

export class Faults {
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #flipRandom: SeededRandom;
  readonly #isOver: () => boolean;
  #isHealed = false;
  /** The one node whose disk may rot or be replaced in this run: the others keep good copies. */
  readonly #victim: SimulatedNode;
  /** Nodes that are being removed, wiped and taken in again: one at a time. */
  #churned: SimulatedNode | undefined;

  constructor(world: World, isOver: () => boolean) {
    this.#world = world;
    this.#isOver = isOver;
    this.#random = new SeededRandom(world.plan.seed, "faults");
    this.#victim = this.#random.pick(world.nodes);
    this.#flipRandom = new SeededRandom(world.plan.seed, "flips");
  }

  start(): void {
    const { plan } = this.#world;
    if (plan.flipsBits) this.#nextFlip();
    if (plan.faults.has("usurpers")) this.#startOnceFormed(200);
    else if (plan.faults.size > 0) this.#next();
  }

  /** A leader that is the only voter can't be deposed: a storm waits until all nodes vote. */
  #startOnceFormed(looks: number): void {
    const { nodes } = this.#world;
    const status = this.#world.leader()?.life?.core.replica.status();
    // Voters are of an odd number, as far as promotion goes.
    const isFormed = (status?.configuration.voters.length ?? 0) >= nodes.length - 1;
    if (isFormed || looks === 0 || this.#isOver()) this.#next();
    else {
      this.#later(50, () => {
        this.#startOnceFormed(looks - 1);
      });
    }
  }

  /** After the last step of the faulty phase: nothing more happens, and all that was ends. */
  heal(): void {
    this.#isHealed = true;
    this.#swapBack();
    const { network, nodes, rates } = this.#world;
    network.heal();
    rates.clear();
    for (const node of nodes) {
      node.disk.onCall = undefined;
      node.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
      node.process?.setRate(1);
      if (node.isPaused) node.resume();
    }
  }

  /**
   * After `heal`: breaks as many nodes again as the cluster can do without, whichever members each
   * node goes by. They are down, cut off, or heard without hearing, or the other way round.
   *
   * @returns The nodes that are whole: a quorum of any configuration that is held.
   */
  breakMinority(): SimulatedNode[] {
    const { nodes } = this.#world;
    const held = nodes.map((node) => durableImage(node.disk).voters);
    const inMemory = nodes.flatMap((node) => {
      const { voters } = node.life?.core.replica.status().configuration ?? { voters: [] };
      return [voters.map(({ id }) => id)];
    });
    const configurations = [...held, ...inMemory].filter((voters) => voters.length > 0);
    if (configurations.length === 0) return [...nodes];
    const whole = new Set(nodes.filter((node) => !this.#damaged.has(node)));
    for (const node of this.#random.shuffled([...whole])) {
      // One that does not vote yet may be made a voter just now, and then had to be heard.
      if (!configurations.every((voters) => voters.includes(node.id))) continue;
      whole.delete(node);
      // A damaged disk may keep its node from starting: it is not counted on.
      const counted = [...whole].filter((other) => other !== this.#world.damaged);
      const ids = new Set(counted.map(({ id }) => id));
      const isQuorum = configurations.every(
        (voters) => 2 * voters.filter((id) => ids.has(id)).length > voters.length,
      );
      if (isQuorum) this.#break(node);
      else whole.add(node);
    }
    return [...whole];
  }

  #break(node: SimulatedNode): void {
    const { network, nodes } = this.#world;
    const kind = this.#random.pick(["down", "cut", "mute", "deaf"]);
    this.#world.inject("left-broken", node.name, kind);
    if (kind === "down") node.crash("kill");
    for (const { host } of nodes.filter((other) => other !== node)) {
      if (kind === "cut" || kind === "mute") network.cut(node.host, host);
      if (kind === "cut" || kind === "deaf") network.cut(host, node.host);
    }
  }

  #later(delayMs: number, run: () => void): void {
    this.#world.simulation.schedule(delayMs, () => {
      if (!this.#isHealed) run();
    });
  }

  #next(): void {
    this.#later(this.#random.exponential(this.#world.plan.faultMeanMs), () => {
      if (this.#isOver()) return;
      const { faults } = this.#world.plan;
      const isUsurped = faults.has("usurpers") && this.#random.chance(0.4);
      const kind = isUsurped ? "usurpers" : this.#random.pick([...faults]);
      const running = this.#world.nodes.filter((node) => node.isRunning);
      const leader = this.#world.leader();
      const isAimed = leader !== undefined && this.#random.chance(0.4);
      const node = isAimed
        ? leader
        : this.#random.pick(running.length > 0 ? running : [this.#victim]);
      this.#faults[kind](node);
      this.#next();
    });
  }

  #nextFlip(): void {
    this.#later(this.#flipRandom.exponential(500), () => {
      if (this.#isOver()) return;
      this.#flip();
      this.#nextFlip();
    });
  }

  /** A bit of a sealed segment flips, on any node, as long as another keeps that segment whole. */
  #flip(): void {
    const { nodes, flipped } = this.#world;
    const random = this.#flipRandom;
    const node = random.pick(nodes);
    const segments = sealedSegments(node.disk);
    if (segments.length === 0 || this.#churned !== undefined) return;
    const { path, bytes } = random.pick(segments);
    const position = random.integer(0, bytes - 1);
    // What else is done to the victim's disk counts it out.
    const others = nodes.filter((other) => other !== node && other !== this.#victim);
    const isKept = others.some((other) =>
      sealedSegments(other.disk).some((segment) => segment.path === path && segment.isWhole),
    );
    if (!isKept || node.disk.durableBytes(path) === undefined) return;
    flipped.add(node.name);
    this.#world.inject("flip", node.name, `${path} at ${String(position)}`);
    node.disk.corrupt(path, position, random.integer(0, 7));
  }

  readonly #faults: Readonly<Record<FaultClass, Fault>> = {
    links: () => {
      // The links are bad all the time (plan.link); here they are good for a while.
      const bad = this.#world.network.faults;
      this.#world.network.faults = { ...bad, lossRate: 0, duplicateRate: 0, longDelayRate: 0 };
      this.#world.inject("good-links", "", "for a while");
      this.#later(this.#random.exponential(1000), () => {
        this.#world.network.faults = this.#world.plan.link;
      });
    },
    partitions: () => {
      this.#partition();
    },
    kills: (node) => {
      this.#crashSoon(node, "kill");
    },
    "power-cuts": (node) => {
      const mode = this.#random.pick<CrashMode>(["lose-unsynced", "keep-some", "tear"]);
      const isTotal = this.#random.chance(0.15);
      for (const each of isTotal ? this.#world.nodes : [node]) this.#crashSoon(each, mode);
    },
    pauses: (node) => {
      this.#pause(node);
    },
    clocks: (node) => {
      this.#skewClock(node);
    },
    "failed-syncs": (node) => {
      this.#failCalls(node, "failed-sync", 1, ({ operation }) =>
        operation === "sync" || operation === "syncDirectory" ? { fault: "io" } : "ok",
      );
    },
    stalls: (node) => {
      const forMs = this.#random.exponential(this.#world.plan.options.electionTimeoutMs * 5);
      this.#failCalls(node, "stall", this.#random.integer(1, 5), ({ operation }) =>
        operation === "sync" || operation === "write" ? { delayMs: forMs } : "ok",
      );
    },
    "full-disks": (node) => {
      this.#fill(node);
    },
    rot: () => {
      this.#rot();
    },
    membership: (node) => {
      this.#churn(node);
    },
    transfers: (node) => {
      this.#transfer(node);
    },
    wipes: () => {
      this.#churn(this.#victim);
    },
    stops: (node) => {
      this.#stop(node);
    },
    usurpers: () => {
      if (this.#random.chance(0.4)) this.#ambush();
      else this.#depose();
    },
    "slow-links": () => {
      this.#slowLinks();
    },
    "lost-writes": () => {
      this.#lie("lost-write", () => ({ isDropped: true }));
    },
    "misdirected-writes": () => {
      this.#lie("misdirected-write", ({ position = 0 }) => ({
        misdirectedTo: this.#random.integer(0, position + 4096),
      }));
    },
    swaps: (node) => {
      this.#swap(node);
    },
    "install-crashes": (node) => {
      this.#crashAtInstall(node);
    },
  };

  #partition(): void {
    const { network, nodes } = this.#world;
    const hosts = this.#random.shuffled(nodes.map((node) => node.host));
    const kind = this.#random.pick(["split", "isolate", "one-way", "bridge", "ring", "swizzle"]);
    const [first = "", second = ""] = hosts;
    const isCutPair = (a: string, b: string): boolean => {
      const [at, to] = [hosts.indexOf(a), hosts.indexOf(b)];
      const half = Math.ceil(hosts.length / 2);
      switch (kind) {
        case "split":
          return at < half !== to < half;
        case "isolate":
          return a === first || b === first;
        case "one-way":
          return a === first && (b === second || this.#random.chance(0.5));
        case "bridge":
          return a !== first && b !== first && at < half !== to < half;
        case "ring":
          return Math.abs(at - to) !== 1 && Math.abs(at - to) !== hosts.length - 1;
        default:
          return this.#random.chance(0.4);
      }
    };
    for (const a of hosts) for (const b of hosts) if (a !== b && isCutPair(a, b)) network.cut(a, b);
    this.#world.inject("partition", first, kind);
    const { electionTimeoutMs } = this.#world.plan.options;
    this.#later(this.#random.exponential(electionTimeoutMs * this.#random.pick([1, 4, 15])), () => {
      this.#world.note("", "heal", "partition");
      network.heal();
    });
  }

  /** True if one disk of this run does not keep what it was given. */
  get #spoilsDisks(): boolean {
    const { faults } = this.#world.plan;
    return (["rot", "lost-writes", "misdirected-writes"] as const).some((kind) => faults.has(kind));
  }

  #cutCount = 0;

  /** A paused leader wakes as one that does not know it: with its clients' appends, and all acks. */
  #depose(): void {
    const leader = this.#world.leader();
    if (leader === undefined) return;
    if (this.#random.chance(0.4)) this.#pause(leader);
    else this.#cutLeader();
  }

  /** The leader alone, or heard by one side only: what it appends is its own until that ends. */
  #cutLeader(): void {
    const { network, nodes, plan } = this.#world;
    const leader = this.#world.leader();
    if (leader === undefined) return;
    const kind = this.#random.pick([
      "alone",
      "mute",
      "mute",
      "one-follower",
      "one-follower",
      "deaf",
    ]);
    const others = nodes.filter((node) => node !== leader);
    const spared = kind === "one-follower" ? this.#random.pick(others) : undefined;
    for (const { host } of others.filter((node) => node !== spared)) {
      if (kind !== "deaf") network.cut(leader.host, host);
      if (kind !== "mute") network.cut(host, leader.host);
    }
    this.#cutCount += 1;
    const cut = this.#cutCount;
    this.#world.inject("leader-cut", leader.name, kind);
    // Its own writes may still be under way when others take their place.
    if (plan.faults.has("stalls") && this.#random.chance(0.5)) {
      const delayMs = plan.options.electionTimeoutMs * this.#random.between(1, 4);
      this.#failCalls(leader, "stall", this.#random.integer(1, 3), ({ operation }) =>
        operation === "sync" ? { delayMs } : "ok",
      );
    }
    // A change of the members that only this leader has is the worst to take back.
    if (plan.faults.has("membership") && this.#random.chance(0.4)) {
      this.#churn(this.#random.pick(nodes));
    }
    this.#later(plan.options.electionTimeoutMs * this.#random.between(1, 5), () => {
      // A cut that came later is not to be healed by the end of an earlier one.
      if (cut !== this.#cutCount) return;
      this.#world.note("", "heal", "leader's links");
      network.heal();
    });
  }

  /** Waits for the next leader and strikes before it has got far (figure 8 is made of this). */
  #ambush(): void {
    const { plan } = this.#world;
    const before = this.#world.leader()?.life?.core.replica.term ?? 0;
    this.#depose();
    let looks = 300;
    const look = (): void => {
      const leader = this.#world.leader();
      looks -= 1;
      if ((leader?.life?.core.replica.term ?? 0) <= before) {
        if (looks > 0) this.#later(plan.options.electionTimeoutMs / 50, look);
        return;
      }
      this.#later(this.#random.exponential(plan.link.delayMsMax), () => {
        if (this.#random.chance(0.6)) this.#depose();
        else if (leader !== undefined) {
          this.#crashSoon(leader, this.#random.pick<CrashMode>(["kill", "keep-some"]));
        }
      });
    };
    look();
  }

  /** Links so slow that what was sent in one term arrives in a later one. */
  #slowLinks(): void {
    const { network, plan } = this.#world;
    const { electionTimeoutMs } = plan.options;
    network.faults = {
      ...plan.link,
      delayMsMax: electionTimeoutMs * this.#random.pick([0.2, 0.6, 1.5]),
      longDelayRate: this.#random.pick([0, 0.1]),
      longDelayMs: electionTimeoutMs * 3,
      reorders: true,
    };
    this.#world.inject("slow-links", "", `up to ${String(network.faults.delayMsMax)} ms`);
    this.#later(this.#random.exponential(electionTimeoutMs * 4), () => {
      network.faults = plan.link;
    });
  }

  /** Between any two disk calls, in the midst of one, or at once. */
  #crashSoon(node: SimulatedNode, mode: CrashMode): void {
    if (!node.isRunning) return;
    const crash = (): void => {
      if (!node.isRunning) return;
      this.#world.inject(mode === "kill" ? "kill" : "power-cut", node.name, mode);
      node.crash(mode);
      this.#restartLater(node);
    };
    if (this.#random.chance(0.4)) {
      crash();
      return;
    }
    let calls = this.#random.integer(1, 8);
    const { process } = node;
    // A write of many sectors is what tears best.
    const isLarge = mode !== "kill" && this.#random.chance(0.5);
    node.disk.onCall = ({ path, operation, bytes = 0 }) => {
      const isCounted = !isLarge || (operation === "write" && bytes > 1024 && /^raft/.test(path));
      if (isCounted) calls -= isLarge ? calls : 1;
      if (calls === 0) {
        this.#later(0, () => {
          if (node.process === process) crash();
        });
      }
      return "ok";
    };
  }

  /** A crash between two calls of a checkpoint being saved, or of a snapshot being put in force. */
  #crashAtInstall(chosen: SimulatedNode): void {
    const { nodes } = this.#world;
    const learners = this.#world.leader()?.life?.core.replica.status().configuration.learners ?? [];
    const learning = nodes.find(({ id }) => learners.some((learner) => learner.id === id));
    const node = learning ?? chosen;
    if (!node.isRunning) return;
    const { process } = node;
    const mode = this.#random.pick<CrashMode>(["kill", "lose-unsynced", "keep-some", "tear"]);
    let calls = this.#random.integer(1, 12);
    node.disk.onCall = ({ path, operation }) => {
      const isPart = /^(incoming|checkpoint)/.test(path) || operation === "removeTree";
      if (isPart) calls -= 1;
      if (isPart && calls === 0) {
        this.#later(0, () => {
          if (node.process !== process) return;
          this.#world.inject("install-crash", node.name, `${mode} at ${operation} of ${path}`);
          node.crash(mode);
          this.#restartLater(node);
        });
      }
      return "ok";
    };
  }

  #restartLater(node: SimulatedNode): void {
    const { electionTimeoutMs } = this.#world.plan.options;
    const delayMs = this.#random.exponential(electionTimeoutMs * this.#random.pick([0.2, 1, 5]));
    this.#later(delayMs, () => {
      this.startNode(node);
    });
  }

  /**
   * What a person would do about a node: starts it if it is down, and replaces it if its disk is
   * damaged, or it was removed and still has the disk of the member that it was.
   */
  look(node: SimulatedNode): void {
    if (node.life === undefined && !this.#damaged.has(node)) {
      if (!node.isRunning) this.startNode(node);
      return;
    }
    const leader = this.#world.leader()?.life;
    const status = leader?.core.replica.status();
    // A change that is not committed may be taken back, and then the node is a member after all.
    const isSettled = status?.isReady === true && status.configurationIndex <= status.commitIndex;
    if (leader === undefined || !isSettled) return;
    const { voters, learners } = status.configuration;
    const members = [...voters, ...learners];
    // A member whose disk is gone, or is damaged, will not come back.
    const isLost = (id: string): boolean =>
      !this.#world.nodes.some((other) => other.id === id && !this.#damaged.has(other));
    const lost = members.find((member) => isLost(member.id));
    if (lost !== undefined) {
      leader.core.cluster.removeMember(lost.id).catch(() => undefined);
      return;
    }
    const wasMember = node.life === undefined || node.life.core.clusterId !== null;
    if (!wasMember || members.some((member) => member.id === node.id)) return;
    this.#damaged.delete(node);
    this.renew(node);
  }

  /** Nodes that do not start because their disks are damaged. */
  readonly #damaged = new Set<SimulatedNode>();

  /** Starts a node that is down; its disk is in order again, as far as it ever was. */
  startNode(node: SimulatedNode): void {
    if (node.isRunning) return;
    node.disk.onCall = undefined;
    this.#world.note(node.name, "start", "");
    node.start();
  }

  #pause(node: SimulatedNode): void {
    if (!node.isRunning || node.isPaused) return;
    const { electionTimeoutMs } = this.#world.plan.options;
    this.#world.inject("pause", node.name, "SIGSTOP");
    const { process } = node;
    node.pause();
    this.#later(
      this.#random.exponential(electionTimeoutMs * this.#random.pick([0.5, 2, 6])),
      () => {
        if (node.process !== process) return;
        this.#world.note(node.name, "resume", "");
        node.resume();
      },
    );
  }

  #skewClock(node: SimulatedNode): void {
    const rate = this.#random.between(0.5, 2);
    const wallStepMs = this.#random.pick([0, -3_600_000, 3_600_000]);
    this.#world.rates.set(node.name, rate);
    this.#world.inject(
      "clock",
      node.name,
      `rate ${rate.toFixed(2)}, wall ${String(wallStepMs)} ms`,
    );
    node.process?.setRate(rate);
    node.process?.stepWall(wallStepMs);
  }

  /** The next so many calls that the verdict is about go wrong. */
  #failCalls(
    node: SimulatedNode,
    kind: string,
    count: number,
    verdictOf: (call: DiskCall) => DiskVerdict,
  ): void {
    if (!node.isRunning) return;
    let left = count;
    node.disk.onCall = (call) => {
      const verdict = left > 0 ? verdictOf(call) : "ok";
      if (verdict !== "ok") {
        left -= 1;
        this.#world.inject(kind, node.name, `${call.operation} of ${call.path}`);
      }
      return verdict;
    };
  }

  #fill(node: SimulatedNode): void {
    const used = node.disk.fileSystem.usedBytes();
    node.disk.capacityBytes = used + this.#random.pick([0, 4096, 40_000, 100_000]);
    this.#world.inject("full-disk", node.name, `${String(node.disk.roomBytes())} bytes left`);
    this.#later(this.#random.exponential(3000), () => {
      node.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
      this.#world.note(node.name, "heal", "disk has room");
    });
  }

  /** Damages what is at rest on the victim's disk: sealed segments, and the Raft log's old files. */
  #rot(): void {
    const node = this.#victim;
    const stores = filesOf(node, "log").filter((path) => path.endsWith(".log"));
    const rafts = filesOf(node, "raft").filter((path) => path.endsWith(".raft"));
    const candidates = [...stores.slice(0, -1), ...rafts];
    const voters = this.#world.leader()?.life?.core.replica.status().configuration.voters ?? [];
    if (candidates.length === 0 || voters.length < 3) return;
    const path = this.#random.pick(candidates);
    const isRaft = path.startsWith("raft");
    const held = node.disk.durableBytes(path) ?? Buffer.alloc(0);
    // The newest Raft file is prepared and the one before it is written to: its last synced write
    // is where damage cannot be told from a torn tail (docs/formats.md).
    const isSealed = !isRaft || rafts.indexOf(path) < rafts.length - 2;
    const bytes = isSealed ? held.length : provenBytes(held);
    const from = isRaft ? raftFileHeaderBytes : 0;
    if (bytes <= from) return;
    const position = this.#random.integer(from, bytes - 1);
    this.#world.damaged = node;
    this.#world.inject("rot", node.name, `${path} at ${String(position)}`);
    node.disk.corrupt(path, position, this.#random.integer(0, 7));
  }

  /**
   * The next write of records on the victim's disk is said to be done, and is not, or elsewhere. Of
   * the Raft log no write is lost: a node that forgets its last promise can't know it, and a quorum
   * that counts it has promised too much.
   */
  #lie(kind: string, troubleOf: (call: DiskCall) => DiskVerdict): void {
    const node = this.#victim;
    const voters = this.#world.leader()?.life?.core.replica.status().configuration.voters ?? [];
    if (voters.length < 3 || node.life === undefined || this.#swapped !== undefined) return;
    this.#failCalls(node, kind, 1, (call) => {
      if (call.operation !== "write" || !/^log\/.*\.log$/.test(call.path)) return "ok";
      this.#world.damaged = node;
      return troubleOf(call);
    });
  }

  /** Two nodes whose disks are in each other's place, until they are put back. */
  #swapped: readonly [SimulatedNode, SimulatedNode] | undefined;

  /** Two disks are mixed up: each node is then the member that the other was, at its own address. */
  #swap(node: SimulatedNode): void {
    const other = this.#random.pick(this.#world.nodes);
    const isFit = (each: SimulatedNode): boolean =>
      each.life !== undefined && !each.isPaused && each !== this.#world.damaged;
    if (this.#swapped !== undefined || other === node || !isFit(node) || !isFit(other)) return;
    const { flipsBits } = this.#world.plan;
    if (this.#churned !== undefined || this.#spoilsDisks || flipsBits) return;
    this.#swapped = [node, other];
    this.#world.inject("swap", node.name, `its disk with that of ${other.name}`);
    this.#exchange(node, other);
    const { electionTimeoutMs } = this.#world.plan.options;
    this.#later(this.#random.exponential(electionTimeoutMs * this.#random.pick([3, 15])), () => {
      this.#swapBack();
    });
  }

  #exchange(one: SimulatedNode, other: SimulatedNode): void {
    this.#world.exchangeDisks(one, other);
    for (const each of [one, other]) this.startNode(each);
  }

  #swapBack(): void {
    if (this.#swapped === undefined) return;
    const [one, other] = this.#swapped;
    this.#swapped = undefined;
    this.#world.note(one.name, "heal", `has its own disk again, as ${other.name} has`);
    this.#exchange(one, other);
  }

  /** Removes a node and takes it in again as a new one, its disk empty. */
  #churn(chosen: SimulatedNode): void {
    // While one disk rots, no other node's copy is thrown away.
    const node = this.#spoilsDisks ? this.#victim : chosen;
    const leader = this.#world.leader();
    const id = node.life?.self.id;
    if (this.#churned !== undefined || id === undefined || leader?.life === undefined) return;
    // A new node in an exchanged place is asked to join by nobody; and what is whole on this one
    // may be whole nowhere else.
    if (this.#swapped !== undefined || !this.#isWholeElsewhere(node)) return;
    this.#churned = node;
    const { core } = leader.life;
    this.#world.inject("removal", node.name, `asked of ${leader.name}`);
    core.cluster.removeMember(id).then(
      () => {
        this.#world.note(node.name, "removed", "");
        this.#later(this.#random.exponential(1000), () => {
          this.renew(node);
          this.#churned = undefined;
        });
      },
      (error: unknown) => {
        this.#world.note(node.name, "removal", `refused: ${(error as Error).message}`);
        this.#churned = undefined;
      },
    );
    // The leader may go before it answers.
    this.#later(20_000, () => {
      this.#churned = undefined;
    });
  }

  #isWholeElsewhere(node: SimulatedNode): boolean {
    const others = this.#world.nodes.filter((other) => other !== node && other !== this.#victim);
    return others.every(({ disk }) => sealedSegments(disk).every(({ isWhole }) => isWhole));
  }

  /** An empty disk in place of the node's own: what starts is a new node under the old name. */
  renew(node: SimulatedNode): void {
    this.#world.inject("wipe", node.name, "comes back as a new node");
    node.renew(
      this.#world.newDisk(this.#world.diskOwnerOf(node)),
      this.#world.optionsOf(node.name, false),
    );
    this.startNode(node);
  }

  #transfer(node: SimulatedNode): void {
    const leader = this.#world.leader();
    if (leader?.life === undefined) return;
    this.#world.inject("transfer", leader.name, `to ${node.name}`);
    leader.life.core.cluster.transferLeader(node.life?.self.id).catch(() => undefined);
  }

  #stop(node: SimulatedNode): void {
    if (node.life === undefined || node.isPaused) return;
    this.#world.inject("stop", node.name, "SIGTERM");
    const { process } = node;
    void node.stop().then(() => {
      this.#restartLater(node);
    });
    // A stop that hangs is ended, as a service manager would.
    this.#later(12_000, () => {
      if (process === undefined || node.process !== process) return;
      node.crash("kill");
      this.#restartLater(node);
    });
  }

  /** Nodes that have ended by themselves are started again, as a service manager would. */
  tend(): void {
    for (const { node, error } of this.#world.failures.splice(0)) {
      const isDamage = error.name === "DamageError";
      if (isDamage && node !== this.#world.damaged) {
        this.#world.violate(
          "damage",
          `${node.name} finds damage where none was done: ${error.message}`,
        );
      }
      if (!isDamage && !isOfTheDisk(error)) {
        this.#world.violate("assertion", `${node.name}: ${error.message}\n${error.stack ?? ""}`);
      }
      if (isDamage) this.#damaged.add(node);
      else this.#restartLater(node);
    }
  }
}

/** True for what a disk that fails, or is full, does to a node: nothing else may end one. */
function isOfTheDisk(error: Error): boolean {
  const found = error instanceof StartError ? error.cause : error;
  return found instanceof DiskError && (found.fault === "io" || found.fault === "full");
}

function filesOf(node: SimulatedNode, directory: string): string[] {
  const found = node.disk.fileSystem.find(directory);
  if (!(found instanceof SimulatedDirectory)) return [];
  return [...found.current.keys()].sort().map((name) => `${directory}/${name}`);
}
