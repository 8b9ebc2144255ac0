/**
 * Sums up runs: steps, virtual time, what clients got, and how many faults of each kind.
 */
import type { RunReport } from "./run.js";

/** What is told of one run, as it can be sent between processes. */
export interface SeedResult {
  readonly seed: number;
  readonly steps: number;
  readonly nodeHours: number;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly rejected: number;
  readonly reads: number;
  readonly leaders: number;
  readonly repaired: number;
  readonly injected: readonly (readonly [string, number])[];
  readonly hash: string;
  /** The report of the failure; undefined if all went well. */
  readonly failure?: string | undefined;
}

const msPerHour = 3_600_000;

export function resultOf(report: RunReport): SeedResult {
  const { plan, steps, virtualMs, injected, violation, hash } = report;
  const { acknowledged, unknown, rejected, reads, leaders, repaired } = report;
  return {
    seed: plan.seed,
    steps,
    nodeHours: (virtualMs * plan.nodeCount) / msPerHour,
    ...{ acknowledged, unknown, rejected, reads, leaders, repaired, hash },
    injected: [...injected],
    failure: violation?.message,
  };
}

export class Summary {
  #runs: SeedResult[] = [];

  add(result: SeedResult): void {
    this.#runs.push(result);
  }

  get steps(): number {
    return this.#sum((run) => run.steps);
  }

  get failureCount(): number {
    return this.#runs.filter((run) => run.failure !== undefined).length;
  }

  #sum(of: (run: SeedResult) => number): number {
    return this.#runs.reduce((sum, run) => sum + of(run), 0);
  }

  text(): string {
    const injected = new Map<string, number>();
    for (const [kind, count] of this.#runs.flatMap((run) => run.injected)) {
      injected.set(kind, (injected.get(kind) ?? 0) + count);
    }
    const faults = [...injected].sort(([one], [other]) => one.localeCompare(other));
    const failed = this.#runs.filter((run) => run.failure !== undefined).map((run) => run.seed);
    return [
      `${this.#runs.length} seeds, ${failed.length} failed${failed.length > 0 ? `: ${failed.join(", ")}` : ""}`,
      `${this.steps} steps, ${this.#sum((run) => run.nodeHours).toFixed(2)} node-hours of virtual time`,
      `${this.#sum((run) => run.acknowledged)} appends acknowledged, ` +
        `${this.#sum((run) => run.unknown)} unknown, ${this.#sum((run) => run.rejected)} rejected; ` +
        `${this.#sum((run) => run.reads)} reads; ${this.#sum((run) => run.leaders)} leaders; ` +
        `${this.#sum((run) => run.repaired)} segments repaired`,
      `faults: ${faults.map(([kind, count]) => `${kind} ${count}`).join(", ")}`,
    ].join("\n");
  }
}
