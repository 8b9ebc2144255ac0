/**
 * Looks at a cluster while it is broken: who leads, how often that changed, and whether a
 * process ended that nobody ended.
 */
import type { NodeProcess, TestCluster } from "../harness.js";
import { briefly } from "../poll.js";

export class Watch {
  readonly #cluster: TestCluster;
  readonly #leaders = new Map<number, string>();
  readonly #loops: Promise<void>[];
  #isOver = false;

  constructor(cluster: TestCluster) {
    this.#cluster = cluster;
    this.#loops = cluster.nodes.map(async (node) => this.#look(node));
  }

  /** Terms in which a leader was seen. */
  get leaderCount(): number {
    return this.#leaders.size;
  }

  get highestTerm(): number {
    return Math.max(0, ...this.#leaders.keys());
  }

  /** Who led last, as far as was seen. */
  get leader(): NodeProcess | undefined {
    const name = this.#leaders.get(this.highestTerm);
    return this.#cluster.nodes.find((node) => node.name === name);
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#loops);
  }

  async #look(node: NodeProcess): Promise<void> {
    while (!this.#isOver) {
      if (node.isAwake) {
        const status = await node.status(1_000).catch(() => undefined);
        // Only of itself does a node know for sure that it leads in that term.
        if (status?.leader?.name === node.name) this.#leaders.set(status.term, node.name);
      }
      await briefly(200);
    }
  }
}
