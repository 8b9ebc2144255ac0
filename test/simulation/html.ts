/** A run as a page. */
import type { RunReport } from "./run.js";

export function htmlOf(report: RunReport): string {
  return `<!doctype html><title>seed ${report.plan.seed}</title>`;
}
