/**
 * Shows what the nodes wrote when a test fails: without it a failure of real processes is a riddle.
 * Apart from harness.ts, so that programs outside vitest can start clusters too.
 */
import { afterEach } from "vitest";

import type { TestCluster } from "./harness.js";

/** Prints the nodes' logs after each test of the file that fails. */
export function showLogsOnFailure(cluster: () => TestCluster | undefined): void {
  afterEach((context) => {
    if (context.task.result?.state !== "fail") return;
    process.stderr.write(`${cluster()?.logs() ?? "no cluster was started"}\n`);
  });
}
