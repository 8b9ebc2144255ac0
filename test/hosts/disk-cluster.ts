/**
 * A cluster whose nodes keep their data each on a disk of its own, which a test may break.
 *
 * Each node has its own file system: on a shared one the sync of one node would make durable what
 * another has forgotten to sync.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { TestCluster } from "../cluster/harness.js";
import type { NodeProcess } from "../cluster/harness.js";
import { LoopDisk } from "./loop-disk.js";
import { Namespace, run } from "./namespace.js";

const mebibyte = 1024 * 1024;

export interface DiskClusterOptions {
  readonly nodeCount: number;
  /** Size of each disk. Default 256 MiB. */
  readonly bytes?: number;
  readonly flags?: readonly string[];
  /** Environment of the nodes, beside the test's own. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What a node has said on standard error: all of its output that is no event. */
export async function complaints(node: NodeProcess): Promise<string[]> {
  const text = await readFile(node.logPath, "utf8");
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("{"));
}

export class DiskCluster extends TestCluster {
  readonly space: Namespace;
  readonly disks: LoopDisk[] = [];

  private constructor(space: Namespace) {
    super();
    this.space = space;
  }

  /** Runs the body with a cluster of voters; shows the nodes' words if it fails; cleans up. */
  static async with(
    options: DiskClusterOptions,
    body: (cluster: DiskCluster) => Promise<void>,
  ): Promise<void> {
    const cluster = new DiskCluster(await Namespace.open("mount"));
    try {
      await cluster.#fill(options);
      await body(cluster);
    } catch (error) {
      process.stderr.write(`${cluster.logs()}\n`);
      throw error;
    } finally {
      await cluster.close();
    }
  }

  diskOf(node: NodeProcess): LoopDisk {
    const disk = this.disks[this.nodes.indexOf(node)];
    if (disk === undefined) throw new Error(`${node.name} has no disk`);
    return disk;
  }

  /** Cuts the power of those nodes: their disks first, so that nothing is saved on the way down. */
  async cutPower(nodes: readonly NodeProcess[] = this.nodes): Promise<void> {
    await LoopDisk.cutPower(
      this.space,
      nodes.map((node) => this.diskOf(node)),
    );
    await Promise.all(nodes.map(async (node) => node.kill9()));
    for (const node of nodes) await this.diskOf(node).remount();
  }

  /** What `proglog-node inspect` says of a stopped node; throws if it finds a fault. */
  async inspect(node: NodeProcess): Promise<string> {
    const program = join(import.meta.dirname, "..", "..", "bin", "proglog-node.js");
    return run([...this.space.enter, process.execPath, program, "inspect", node.dataDir]);
  }

  override async close(): Promise<void> {
    await Promise.all(
      this.nodes.filter((node) => node.isRunning).map(async (node) => node.kill9()),
    );
    for (const disk of this.disks) await disk.unmount();
    await this.space.close();
    await super.close();
  }

  async #fill(options: DiskClusterOptions): Promise<void> {
    const { nodeCount, bytes = 256 * mebibyte, flags = [], env = {} } = options;
    for (let at = 0; at < nodeCount; at += 1) {
      const name = `n${at + 1}`;
      const disk = await LoopDisk.make(this.space, { directory: this.directory, name, bytes });
      this.disks.push(disk);
      const place = {
        launch: { command: this.space.enter, env },
        dataDir: join(disk.path, "data"),
      };
      (await this.prepare(flags, place)).start();
    }
    await this.untilVoters(nodeCount);
  }
}
