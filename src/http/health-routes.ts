/**
 * /livez, /readyz, /metrics and /openapi.json: what orchestrators and tools ask.
 *
 * Liveness must never depend on the cluster: a node that restarts because others are away helps
 * nobody.
 */
import { ProglogError } from "../common/errors.js";
import type { ClusterService } from "../service/api.js";
import type { Exchange } from "./exchange.js";
import { openApi } from "./openapi.js";
import { problemAnswer } from "./problem.js";

/** The node's metrics, as text. */
export type MetricsSource = () => Promise<{
  readonly contentType: string;
  readonly body: string;
}>;

export class HealthRoutes {
  readonly #cluster: ClusterService;
  readonly #metrics: MetricsSource | undefined;
  readonly #openApiText = JSON.stringify(openApi);

  constructor(cluster: ClusterService, metrics: MetricsSource | undefined) {
    this.#cluster = cluster;
    this.#metrics = metrics;
  }

  /** GET /metrics: Prometheus's text form. */
  async metrics(exchange: Exchange): Promise<void> {
    if (this.#metrics === undefined) {
      throw new ProglogError("not-found", "This server keeps no metrics.");
    }
    const { contentType, body } = await this.#metrics();
    const headers = { "Content-Type": contentType, "Cache-Control": "no-store" };
    exchange.send(200, headers, Buffer.from(body));
  }

  /** GET /livez: the process answers. */
  live(exchange: Exchange): void {
    exchange.sendJson(200, '{"live":true}');
  }

  /** GET /readyz: the node knows a leader and has caught up. */
  ready(exchange: Exchange): void {
    const { ready, checks } = this.#cluster.readiness();
    const isVerbose = /(?:^|&)verbose(?:=(?!false)|&|$)/.test(exchange.query);
    const members = isVerbose ? { ready, checks } : { ready };
    if (ready) {
      exchange.sendJson(200, JSON.stringify(members));
      return;
    }
    const failed = checks.filter((check) => !check.ok).map((check) => check.detail);
    const error = new ProglogError(
      "unavailable",
      `The node is not ready: ${failed.join("; ") || "its checks have not passed"}.`,
      { outcome: null },
    );
    const answer = problemAnswer(error, { isRead: true, members });
    exchange.send(answer.status, answer.headers, answer.body);
  }

  /** GET /openapi.json. */
  openApi(exchange: Exchange): void {
    exchange.sendJson(200, this.#openApiText, { "Cache-Control": "no-cache" });
  }
}
