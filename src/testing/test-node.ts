/**
 * A node of a simulated cluster, in the hands of a test: it can be crashed, stopped, paused and
 * started again, and its disk and its clock can go wrong.
 *
 * What a fault asks of a node that can't have it (a crash of one that is down) is an error at once:
 * a test that believes in a fault that never happened proves nothing.
 */
import type { NodeOptions } from "../agent/options.js";
import { sleep } from "../common/clock.js";
import { silentLogger } from "../observability/logger.js";
import type { Logger } from "../observability/logger.js";
import type { MemberRole } from "../service/api.js";
import type { SeededRandom } from "./seeded-random.js";
import { SimulatedDisk } from "./simulated-disk.js";
import type { DiskCall, DiskVerdict } from "./simulated-disk.js";
import type { SimulatedNetwork } from "./simulated-network.js";
import { SimulatedNode } from "./simulated-node.js";
import type { NodeLife } from "./simulated-node.js";
import type { EventOwner, SimulatedEvent } from "./simulation.js";
import type { VirtualTime } from "./virtual-time.js";

/** How a node is: `starting` until it answers. */
export type TestNodeState = "starting" | "running" | "paused" | "down";

/** What a node knows of itself and the cluster. */
export interface TestNodeStatus {
  readonly name: string;
  readonly state: TestNodeState;
  /** undefined while it does not run, or is no member. */
  readonly role: MemberRole | undefined;
  /** False for a learner: it has all records, and counts in no quorum. */
  readonly isVoter: boolean;
  readonly term: number;
  /** Name of the leader, as this node knows it. */
  readonly leader: string | undefined;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly startOffset: number;
  /** Offset after the last committed record here. */
  readonly endOffset: number;
  /** Why it ended by itself, if it did. */
  readonly failure: Error | undefined;
}

export interface CrashOptions {
  /**
   * True: a power cut that takes all that was not synced. Default false: the process is killed, and
   * what it had written stays.
   */
  readonly loseUnsynced?: boolean;
}

export interface TestNodeParts {
  readonly time: VirtualTime;
  readonly network: SimulatedNetwork;
  readonly options: NodeOptions;
  readonly random: SeededRandom;
  readonly diskRandom: SeededRandom;
  readonly diskLatencyMs: number;
  readonly note: (node: string, what: string) => void;
  /** Makes an error that names the run. */
  readonly error: (what: string, cause?: unknown) => Error;
}

/** How long a stop as asked may take before the process is killed. */
const stopMsMax = 12_000;
/** How long a start may take. */
const startMsMax = 60_000;
const pollMs = 5;

/** Events of a disk: they are not lost with a process, but a paused one hears them later. */
class DiskOwner implements EventOwner {
  node: SimulatedNode | undefined;
  readonly isGone = false;

  get isPaused(): boolean {
    return this.node?.isPaused === true;
  }

  withhold(event: SimulatedEvent): void {
    this.node?.process?.withhold(event);
  }
}

export class TestNode {
  readonly name: string;
  /** Its place on the network. */
  readonly host: string;
  /** Address for a client's `servers`. */
  readonly rpcAddr: string;
  readonly #parts: TestNodeParts;
  readonly #node: SimulatedNode;
  #clockRate = 1;
  #clockStepMs = 0;
  #failure: Error | undefined;

  constructor(parts: TestNodeParts) {
    this.#parts = parts;
    const { time, network, options, random } = parts;
    const owner = new DiskOwner();
    const disk = new SimulatedDisk({
      random: parts.diskRandom,
      schedule: (delayMs, run) => {
        time.simulation.schedule(delayMs, run, owner);
      },
      latencyMsMax: parts.diskLatencyMs,
    });
    this.#node = new SimulatedNode({
      ...{ simulation: time.simulation, network, random, disk, options },
      logger: this.#logger(),
      clockRate: () => this.#clockRate,
      onFailed: (_node, error) => {
        this.#failure = error;
        parts.note(this.name, `ended by itself: ${error.message}`);
      },
    });
    owner.node = this.#node;
    this.name = this.#node.name;
    this.host = this.#node.host;
    this.rpcAddr = options.rpcAddr;
  }

  /** The node as it runs now, for the cluster; undefined while it does not. */
  get life(): NodeLife | undefined {
    return this.#node.life;
  }

  get state(): TestNodeState {
    if (!this.#node.isRunning) return "down";
    if (this.#node.isPaused) return "paused";
    return this.#node.life === undefined ? "starting" : "running";
  }

  /** What the node knows, right now. Looked at from outside: it takes no time, and never fails. */
  status(): TestNodeStatus {
    const { name, state } = this;
    const status = this.life?.core.cluster.localStatus();
    const self = status?.members.find((member) => member.id === this.life?.self.id);
    return {
      ...{ name, state, failure: this.#failure },
      role: self?.role,
      isVoter: self?.voter === true,
      term: status?.term ?? 0,
      leader: status?.leader?.name,
      commitIndex: status?.commitIndex ?? 0,
      appliedIndex: status?.appliedIndex ?? 0,
      startOffset: status?.startOffset ?? 0,
      endOffset: status?.endOffset ?? 0,
    };
  }

  /** Starts the process, and returns at once: `restart()` waits until it answers. */
  launch(): void {
    this.#mustBe("launch()", ["down"]);
    this.#failure = undefined;
    this.#note("start");
    this.#node.start();
    if (this.#clockStepMs !== 0) this.#node.process?.stepWall(this.#clockStepMs);
  }

  /** Ends the process at once, in the midst of whatever it does. @throws if it is down. */
  crash({ loseUnsynced = false }: CrashOptions = {}): void {
    this.#mustBe("crash()", ["starting", "running", "paused"]);
    this.#note(loseUnsynced ? "crash, what was not synced is lost" : "crash");
    this.#node.crash(loseUnsynced ? "lose-unsynced" : "kill");
  }

  /** Ends it at once, whether it runs or not: the cluster closes. */
  end(): void {
    if (this.#node.isRunning) this.#node.crash("kill");
  }

  /**
   * Stops it as SIGTERM does: it hands over, takes a checkpoint, and ends.
   *
   * @throws if it does not run.
   */
  async stop(): Promise<void> {
    this.#mustBe("stop()", ["running"]);
    this.#note("stop");
    const { process } = this.#node;
    const { clock } = this.#parts.time;
    const late = clock.setTimer(stopMsMax, () => {
      if (this.#node.process === process) this.#node.crash("kill");
    });
    void this.#node.stop();
    await this.#until(stopMsMax + pollMs, () => this.state === "down");
    late.cancel();
  }

  /**
   * Starts it again on its disk, after a stop if it runs; resolves when it answers.
   *
   * @throws if it is paused, or if it ends by itself instead, as on a disk that is full or fails.
   */
  async restart(): Promise<void> {
    this.#mustBe("restart()", ["running", "down"]);
    if (this.state === "running") await this.stop();
    this.launch();
    const isOver = await this.#until(startMsMax, () => this.state !== "starting");
    if (this.state === "running") return;
    const why = this.#failure?.message ?? (isOver ? "it was ended" : "its disk does not answer");
    throw this.#parts.error(`${this.name} did not start: ${why}`, this.#failure);
  }

  /** Holds the process still, as SIGSTOP does. Its clock goes on. @throws unless it runs. */
  pause(): void {
    this.#mustBe("pause()", ["starting", "running"]);
    this.#note("pause");
    this.#node.pause();
  }

  /** Lets a paused process go on. @throws unless it is paused. */
  resume(): void {
    this.#mustBe("resume()", ["paused"]);
    this.#note("resume");
    this.#node.resume();
  }

  /** Every write and sync takes so much longer, until `healDisk()`. */
  slowDisk({ ms }: { readonly ms: number }): void {
    if (!(ms >= 0 && ms < 2 ** 31)) throw this.#parts.error(`slowDisk({ ms: ${String(ms)} })`);
    this.#note(`disk slow by ${String(ms)} ms`);
    this.#onWrites(() => ({ delayMs: ms }));
  }

  /** Every write and sync fails, until `healDisk()`: the node stops by itself at the first. */
  failDisk(): void {
    this.#note("disk fails");
    this.#onWrites(() => "io");
  }

  /** The disk has room for so many bytes more, until `healDisk()`; default 0. */
  fillDisk({ leaveBytes = 0 }: { readonly leaveBytes?: number } = {}): void {
    this.#note(`disk full but for ${String(leaveBytes)} bytes`);
    const { disk } = this.#node;
    disk.capacityBytes = disk.fileSystem.usedBytes() + leaveBytes;
  }

  /** The disk is in order, and has room. A node that has ended is not started by that. */
  healDisk(): void {
    this.#note("disk in order");
    const { disk } = this.#node;
    disk.onCall = undefined;
    disk.capacityBytes = Number.MAX_SAFE_INTEGER;
  }

  /**
   * Makes its clock wrong, also across restarts.
   *
   * @param skew `rate`: how fast its timers run, 1 is right; `stepMs`: how far its calendar is off.
   */
  skewClock({ rate = 1, stepMs = 0 }: { readonly rate?: number; readonly stepMs?: number }): void {
    if (!(rate >= 0.01 && rate <= 100)) {
      throw this.#parts.error(`skewClock(): rate is from 0.01 to 100, not ${String(rate)}`);
    }
    this.#note(`clock at rate ${String(rate)}, off by ${String(stepMs)} ms`);
    this.#clockRate = rate;
    this.#node.process?.setRate(rate);
    this.#node.process?.stepWall(stepMs - this.#clockStepMs);
    this.#clockStepMs = stepMs;
  }

  #onWrites(verdictOf: (call: DiskCall) => DiskVerdict): void {
    this.#node.disk.onCall = (call) => {
      const isWrite = ["write", "sync", "syncDirectory", "truncate"].includes(call.operation);
      return isWrite ? verdictOf(call) : "ok";
    };
  }

  /** @returns False if time ran out first. */
  async #until(timeoutMs: number, isDone: () => boolean): Promise<boolean> {
    const { time } = this.#parts;
    const deadlineMs = time.nowMs + timeoutMs;
    while (!isDone() && time.nowMs < deadlineMs) await time.wait(sleep(time.clock, pollMs));
    return isDone();
  }

  #mustBe(what: string, states: readonly TestNodeState[]): void {
    if (states.includes(this.state)) return;
    const fit = states.join(" or ");
    throw this.#parts.error(`${this.name} is ${this.state}; ${what} takes a node that is ${fit}`);
  }

  #note(what: string): void {
    this.#parts.note(this.name, what);
  }

  #logger(): Logger {
    const say = (fields: object, event: string): void => {
      this.#note(`${event} ${JSON.stringify(fields)}`);
    };
    const logger: Logger = {
      ...silentLogger,
      info: say,
      warn: say,
      error: say,
      child: () => logger,
    };
    return logger;
  }
}
