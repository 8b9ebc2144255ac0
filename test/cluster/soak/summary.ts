/**
 * What a soak comes down to, in figures that can be compared from run to run.
 */
import type { HistoryRecorder } from "../../history/history.js";

export interface Availability {
  /** Share of the seconds in which there was an acknowledgement, 0 to 1. */
  readonly share: number;
  /** The longest time without one. */
  readonly gap: Span;
}

export interface Span {
  readonly startMs: number;
  readonly endMs: number;
}

/** @param ackTimesMs In the order in which they came. */
export function availabilityOf(ackTimesMs: readonly number[], span: Span): Availability {
  const { startMs, endMs } = span;
  const within = ackTimesMs.filter((atMs) => atMs >= startMs && atMs < endMs);
  const seconds = new Set(within.map((atMs) => Math.floor((atMs - startMs) / 1000)));
  let gap: Span = { startMs, endMs: startMs };
  let lastMs = startMs;
  for (const atMs of [...within, endMs]) {
    if (atMs - lastMs > gap.endMs - gap.startMs) gap = { startMs: lastMs, endMs: atMs };
    lastMs = atMs;
  }
  return { share: seconds.size / Math.max(1, Math.ceil((endMs - startMs) / 1000)), gap };
}

/** Counts of what became of appends and reads. */
export function outcomesOf({ appends, reads }: HistoryRecorder): Record<string, number> {
  const counts = { ok: 0, unknown: 0, rejected: 0, hit: 0, miss: 0, local: 0 };
  for (const { outcome } of appends) counts[outcome.type] += 1;
  for (const { result, consistency } of reads) {
    if (consistency === "local") counts.local += 1;
    else counts[result.type] += 1;
  }
  return counts;
}

/** Counts as words: the most frequent first. */
export function listOf(counts: ReadonlyMap<string, number>): string {
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  return sorted.map(([name, count]) => `${name} ${count}`).join(", ");
}
