/**
 * What a gateway tells Prometheus: how it finds the cluster, read when it is asked for.
 *
 * What becomes of appends and records is counted by the nodes: a gateway must not count it again.
 * docs/metrics.md is checked against this table.
 */
import { Gauge, Registry, collectDefaultMetrics } from "prom-client";

/** The cluster as the gateway finds it now. */
export interface GatewayReading {
  readonly count: number;
  readonly answeringCount: number;
  readonly hasLeader: boolean;
  readonly hasQuorum: boolean;
  readonly endOffset: number;
}

interface GaugeRow {
  readonly help: string;
  readonly read: (gateway: GatewayReading) => number;
}

/** Every gauge: its name, what it means, and how it is read. */
export const gatewayGaugeTable: Readonly<Record<string, GaugeRow>> = {
  proglog_gateway_members_count: {
    help: "Members that the gateway knows.",
    read: ({ count }) => count,
  },
  proglog_gateway_members_answering_count: {
    help: "Those of them that answer it.",
    read: ({ answeringCount }) => answeringCount,
  },
  proglog_gateway_has_leader: {
    help: "1 if the gateway knows a leader that answers.",
    read: ({ hasLeader }) => Number(hasLeader),
  },
  proglog_gateway_has_quorum: {
    help: "1 if a member that answers has a quorum in reach.",
    read: ({ hasQuorum }) => Number(hasQuorum),
  },
  proglog_gateway_end_offset: {
    help: "Offset after the last record that the gateway has heard of.",
    read: ({ endOffset }) => endOffset,
  },
};

export class GatewayMetrics {
  readonly #registry = new Registry();

  /** @param read How the gateway finds the cluster, asked at each scrape. */
  constructor(read: () => GatewayReading) {
    collectDefaultMetrics({ register: this.#registry });
    for (const [name, row] of Object.entries(gatewayGaugeTable)) {
      const collect = function (this: Gauge): void {
        this.set(row.read(read()));
      };
      this.#registry.registerMetric(new Gauge({ name, help: row.help, registers: [], collect }));
    }
  }

  /** All metrics in Prometheus's text form. */
  async text(): Promise<{ readonly contentType: string; readonly body: string }> {
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() };
  }
}
