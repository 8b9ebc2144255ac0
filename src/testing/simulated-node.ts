/**
 * A whole node in virtual time: the production code from the disk's port up to the services, over
 * a simulated disk, network and clock. It can be killed, cut from power, paused, stopped as asked
 * and wiped; what it is started with never changes.
 */
import type { NodeObserver } from "../agent/node-core.js";
import { NodeCore } from "../agent/node-core.js";
import { NodeDirectory } from "../agent/node-directory.js";
import type { NodeOptions } from "../agent/options.js";
import type { Logger } from "../observability/logger.js";
import { silentLogger } from "../observability/logger.js";
import type { Member } from "../raft/index.js";
import type { Checkpoint } from "../storage/checkpoint.js";
import type { SeededRandom } from "./seeded-random.js";
import { SimulatedCalls, simulatedSegments, simulatedSnapshots } from "./simulated-calls.js";
import type { CallEndpoint } from "./simulated-calls.js";
import { SimulatedCheckpoints } from "./simulated-checkpoints.js";
import type { CrashMode, SimulatedDisk } from "./simulated-disk.js";
import type { SimulatedNetwork } from "./simulated-network.js";
import { SimulatedTransport, hostOf } from "./simulated-network.js";
import { SimulatedProcess } from "./simulated-process.js";
import type { Simulation } from "./simulation.js";

export interface SimulatedNodeParts {
  readonly simulation: Simulation;
  readonly network: SimulatedNetwork;
  readonly random: SeededRandom;
  readonly disk: SimulatedDisk;
  readonly options: NodeOptions;
  readonly logger?: Logger;
  readonly observer?: NodeObserver;
  /** The node's clock against virtual time; asked at each start. */
  readonly clockRate?: () => number;
  /** Told of each checkpoint, and its bytes, before it is written. */
  readonly onCheckpoint?: (node: SimulatedNode, checkpoint: Checkpoint, bytes: Buffer) => void;
  /** The node has ended by itself: its disk, an invariant, or what it found at its start. */
  readonly onFailed: (node: SimulatedNode, error: Error) => void;
}

const nothing = (): void => undefined;
const silentObserver: NodeObserver = {
  damageFound: nothing,
  segmentDamaged: nothing,
  segmentRepaired: nothing,
  segmentsDiffer: nothing,
  appended: nothing,
};

/** One life of a node's process. */
export interface NodeLife {
  readonly process: SimulatedProcess;
  readonly self: Member;
  readonly core: NodeCore;
}

export class SimulatedNode {
  readonly name: string;
  readonly host: string;
  /** Id of the member that the disk belongs to, as of the last start; empty before the first. */
  id = "";
  disk: SimulatedDisk;
  readonly #parts: SimulatedNodeParts;
  #options: NodeOptions;
  #process: SimulatedProcess | undefined;
  #life: NodeLife | undefined;

  constructor(parts: SimulatedNodeParts) {
    this.#parts = parts;
    this.#options = parts.options;
    this.name = parts.options.nodeName;
    this.host = hostOf(parts.options.rpcAddr);
    this.disk = parts.disk;
  }

  /** True while there is a process, also one that is still starting, or paused. */
  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  get isPaused(): boolean {
    return this.#process?.isPaused === true;
  }

  /** The node as it runs now; undefined while it is down or still starting. */
  get life(): NodeLife | undefined {
    return this.#life;
  }

  get process(): SimulatedProcess | undefined {
    return this.#process;
  }

  start(): void {
    if (this.#process !== undefined) return;
    const { simulation, clockRate } = this.#parts;
    const process = new SimulatedProcess(simulation, clockRate?.() ?? 1);
    this.#process = process;
    this.#open(process).catch((error: unknown) => {
      this.#ended(process, error as Error);
    });
  }

  async #open(process: SimulatedProcess): Promise<void> {
    const { network, random, logger = silentLogger, onCheckpoint } = this.#parts;
    const { disk, host } = this;
    const options = this.#options;
    const directory = await NodeDirectory.open({
      disk,
      openCheckpoints: async () =>
        Promise.resolve(
          new SimulatedCheckpoints(disk, (checkpoint, bytes) => {
            onCheckpoint?.(this, checkpoint, bytes);
          }),
        ),
      random,
      isFounding: options.bootstrap,
    });
    const { nodeName: name, rpcAddr, httpAddr } = options;
    this.id = directory.identity.nodeId;
    const self = { id: this.id, name, rpcAddr, httpAddr };
    const transport = new SimulatedTransport(network, () => endpoint);
    const core = await NodeCore.open({
      ...{ directory, self, transport, random, logger, options },
      peers: new SimulatedCalls({ network, host, process }),
      snapshots: simulatedSnapshots({ network, host, process }),
      segments: simulatedSegments({ network, host, process }),
      resolve: async (address) => Promise.resolve([address]),
      clock: process,
      observer: this.#parts.observer ?? silentObserver,
    });
    const endpoint: CallEndpoint = {
      ...{ process, self, transport },
      clusterId: () => core.clusterId,
      core: () => core,
    };
    if (process.isGone) return;
    transport.onPeerAddress((member) => {
      core.replica.hearAddress(member);
    });
    network.attach(host, endpoint);
    this.#life = { process, self, core };
    void core.failed.then((error) => {
      this.#ended(process, error);
    });
    core.start();
  }

  #ended(process: SimulatedProcess, error: Error): void {
    if (this.#process !== process) return;
    this.crash("kill");
    this.#parts.onFailed(this, error);
  }

  /** Ends the process at once, in the midst of whatever it does; the disk as the mode says. */
  crash(mode: CrashMode): void {
    this.#process?.end();
    this.#process = undefined;
    this.#life = undefined;
    this.disk = this.disk.crash(mode);
  }

  /** SIGTERM: hands over, takes a last checkpoint, closes; resolves when the process has ended. */
  async stop(): Promise<void> {
    const life = this.#life;
    if (life === undefined) return;
    const { core, process } = life;
    core.stopMembership();
    await core.handOver();
    // A disk that fails now fails a step of the stop, and the process ends all the same.
    await core.replica.close().catch(() => undefined);
    if (this.#process === process) this.crash("kill");
  }

  pause(): void {
    this.#process?.pause();
  }

  resume(): void {
    this.#process?.resume();
  }

  /** Puts each one's disk into the other's place, while both are down. */
  exchangeDisks(other: SimulatedNode): void {
    this.crash("kill");
    other.crash("kill");
    const { disk, id } = this;
    this.disk = other.disk;
    this.id = other.id;
    other.disk = disk;
    other.id = id;
  }

  /** Another disk in place of the old one, which is gone: with an empty one it is a new node. */
  renew(disk: SimulatedDisk, options: NodeOptions): void {
    this.crash("kill");
    this.disk = disk;
    this.id = "";
    this.#options = options;
  }
}
