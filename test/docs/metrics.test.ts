/** docs/metrics.md names every metric of a node and of a gateway, and no other. */
import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { GatewayMetrics, gatewayGaugeTable } from "../../src/observability/gateway-metrics.js";
import { Metrics, eventMetrics, gaugeTable } from "../../src/observability/metrics.js";

const own = [...Object.keys(gaugeTable), ...Object.keys(eventMetrics)].sort();

test("every metric is in docs/metrics.md, and every one there exists", () => {
  const text = readFileSync(new URL("../../docs/metrics.md", import.meta.url), "utf8");
  const named = [...text.matchAll(/^\| `(proglog_\w+)` \|/gm)].map((match) => match[1]).sort();
  expect(named).toEqual([...own, ...Object.keys(gatewayGaugeTable)].sort());
});

test("a scrape shows each metric with its value", async () => {
  const metrics = new Metrics(() => ({
    term: 7,
    isLeader: true,
    hasLeader: true,
    hasQuorum: true,
    commitIndex: 5,
    appliedIndex: 4,
    lastIndex: 6,
    startOffset: 0,
    endOffset: 3,
    raftLogBytes: 1024,
    pendingAppendBytes: 0,
    isDiskLow: false,
  }));
  metrics.appended(0.004, "applied", 12);
  metrics.damageFound();
  const { body } = await metrics.text();
  for (const name of own) expect(body).toContain(`# HELP ${name} `);
  expect(body).toContain("\nproglog_raft_term 7\n");
  expect(body).toContain("\nproglog_append_records_total 12\n");
  expect(body).toContain('proglog_append_seconds_bucket{le="0.005",outcome="applied"} 1');
  expect(body).toContain("\nproglog_damage_total 1\n");
});

test("a gateway's scrape shows how it finds the cluster", async () => {
  const reading = { count: 3, answeringCount: 2, hasLeader: true, hasQuorum: true, endOffset: 7 };
  const { body } = await new GatewayMetrics(() => reading).text();
  for (const name of Object.keys(gatewayGaugeTable)) expect(body).toContain(`# HELP ${name} `);
  expect(body).toContain("\nproglog_gateway_members_answering_count 2\n");
  expect(body).toContain("\nproglog_gateway_end_offset 7\n");
});
