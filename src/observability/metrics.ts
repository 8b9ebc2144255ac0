/**
 * What the node tells Prometheus: one table of names, read when it is asked for.
 *
 * Gauges are read from the node at each scrape, so that nothing on the data path pays for them;
 * only appends are counted as they end. Names end in their unit; docs/metrics.md is checked
 * against this table.
 */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";

/** The node as it is now. */
export interface NodeReading {
  readonly term: number;
  readonly isLeader: boolean;
  readonly hasLeader: boolean;
  readonly hasQuorum: boolean;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly lastIndex: number;
  readonly startOffset: number;
  readonly endOffset: number;
  readonly raftLogBytes: number;
  readonly pendingAppendBytes: number;
  readonly isDiskLow: boolean;
}

interface GaugeRow {
  readonly help: string;
  readonly read: (node: NodeReading) => number;
}

/** Every gauge: its name, what it means, and how it is read. */
export const gaugeTable: Readonly<Record<string, GaugeRow>> = {
  proglog_raft_term: { help: "Current term.", read: (node) => node.term },
  proglog_raft_is_leader: { help: "1 if this node leads.", read: (node) => Number(node.isLeader) },
  proglog_raft_has_leader: {
    help: "1 if this node knows a leader.",
    read: (node) => Number(node.hasLeader),
  },
  proglog_raft_has_quorum: {
    help: "1 if a quorum is in reach, as far as this node knows.",
    read: (node) => Number(node.hasQuorum),
  },
  proglog_raft_commit_index: {
    help: "Highest index known committed.",
    read: (node) => node.commitIndex,
  },
  proglog_raft_applied_index: {
    help: "Highest index applied to the commit log.",
    read: (node) => node.appliedIndex,
  },
  proglog_raft_last_index: { help: "Highest index held.", read: (node) => node.lastIndex },
  proglog_raft_log_bytes: {
    help: "Bytes of the Raft log's files.",
    read: (node) => node.raftLogBytes,
  },
  proglog_log_start_offset: {
    help: "First offset of the log.",
    read: (node) => node.startOffset,
  },
  proglog_log_end_offset: {
    help: "Offset after the last committed record here.",
    read: (node) => node.endOffset,
  },
  proglog_pending_append_bytes: {
    help: "Bytes of appends taken in and not answered.",
    read: (node) => node.pendingAppendBytes,
  },
  proglog_disk_is_low: {
    help: "1 if writes are refused because the disk is nearly full.",
    read: (node) => Number(node.isDiskLow),
  },
};

/** The metrics that are counted as things happen. */
export const eventMetrics = {
  proglog_append_seconds: "Time from taking an append in to its answer, by what became of it.",
  proglog_append_records_total: "Records acknowledged by this node.",
  proglog_damage_total: "Reads that found damaged data.",
  proglog_segments_damaged_total: "Sealed segments found damaged, by reads or by the scrub.",
  proglog_segments_repaired_total: "Damaged segments made whole from other members.",
  proglog_scrub_mismatches_total: "Segments found sound, but not the same on all members.",
} as const;

const secondsBuckets = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

export class Metrics {
  readonly #registry = new Registry();
  readonly #appends: Histogram<"outcome">;
  readonly #records: Counter;
  readonly #damage: Counter;
  readonly #segmentsDamaged: Counter;
  readonly #segmentsRepaired: Counter;
  readonly #scrubMismatches: Counter;

  /** @param read How the node is, asked at each scrape. */
  constructor(read: () => NodeReading) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    for (const [name, row] of Object.entries(gaugeTable)) {
      const collect = function (this: Gauge): void {
        this.set(row.read(read()));
      };
      this.#registry.registerMetric(new Gauge({ name, help: row.help, registers: [], collect }));
    }
    this.#appends = new Histogram({
      name: "proglog_append_seconds",
      help: eventMetrics.proglog_append_seconds,
      labelNames: ["outcome"],
      buckets: secondsBuckets,
      registers,
    });
    const counter = (name: keyof typeof eventMetrics): Counter =>
      new Counter({ name, help: eventMetrics[name], registers });
    this.#records = counter("proglog_append_records_total");
    this.#damage = counter("proglog_damage_total");
    this.#segmentsDamaged = counter("proglog_segments_damaged_total");
    this.#segmentsRepaired = counter("proglog_segments_repaired_total");
    this.#scrubMismatches = counter("proglog_scrub_mismatches_total");
  }

  /** An append was answered. @param outcome `applied`, or the code of its error. */
  appended(seconds: number, outcome: string, count: number): void {
    this.#appends.observe({ outcome }, seconds);
    this.#records.inc(count);
  }

  damageFound(): void {
    this.#damage.inc();
  }

  segmentDamaged(): void {
    this.#segmentsDamaged.inc();
  }

  segmentRepaired(): void {
    this.#segmentsRepaired.inc();
  }

  segmentsDiffer(): void {
    this.#scrubMismatches.inc();
  }

  /** All metrics in Prometheus's text form. */
  async text(): Promise<{ readonly contentType: string; readonly body: string }> {
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() };
  }
}
