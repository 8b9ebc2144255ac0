/**
 * The count that CI reads: prints `N passed, N failed, N skipped` as the very last line.
 *
 * In CI (`CI=true`) a skipped test that test/expected-skips.json does not name fails the run: a
 * test that silently stops running is a test lost. Outside CI it is only reported.
 */
import { readFileSync, writeSync } from "node:fs";

import type { Reporter, TestCase, TestModule } from "vitest/node";

interface Counts {
  passed: number;
  failed: number;
  readonly skipped: TestCase[];
}

/** Counts tests; a file that fails outside its tests counts as one failure. */
function count(testModules: readonly TestModule[]): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: [] };
  for (const testModule of testModules) {
    let failedHere = 0;
    for (const test of testModule.children.allTests()) {
      const { state } = test.result();
      if (state === "passed") counts.passed += 1;
      else if (state === "skipped") counts.skipped.push(test);
      else failedHere += 1;
    }
    if (failedHere === 0 && testModule.state() === "failed") failedHere = 1;
    counts.failed += failedHere;
  }
  return counts;
}

/** A test's name as expected-skips.json lists it: `test/x.test.ts > suite > test`. */
function fullName(test: TestCase): string {
  return `${test.module.relativeModuleId} > ${test.fullName}`;
}

function reportSkips(skipped: readonly TestCase[], expected: ReadonlySet<string>): boolean {
  let unexpected = false;
  for (const test of skipped) {
    const result = test.result();
    const why = result.state === "skipped" ? (result.note ?? "no reason given") : "";
    const known = expected.has(fullName(test));
    unexpected ||= !known;
    process.stderr.write(
      `${known ? "skipped as expected" : "skipped"}: ${fullName(test)}: ${why}\n`,
    );
  }
  return unexpected;
}

export default class CiReporter implements Reporter {
  onTestRunEnd(testModules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const { passed, failed, skipped } = count(testModules);
    const listed: unknown = JSON.parse(readFileSync("test/expected-skips.json", "utf8"));
    if (!Array.isArray(listed)) throw new Error("test/expected-skips.json is a list of names");
    const unexpected = reportSkips(skipped, new Set(listed.map(String)));
    const inCi = process.env["CI"] === "true";
    if (unexpected && inCi) {
      process.stderr.write("A test was skipped that test/expected-skips.json does not name.\n");
      process.exitCode = 1;
    }
    const failures = failed + unhandledErrors.length;
    const line = `${passed} passed, ${failures} failed, ${skipped.length} skipped\n`;
    // Written as the process ends, so that no other reporter's line comes after it.
    process.once("exit", () => {
      if (unexpected && inCi) process.exitCode = 1;
      writeSync(1, line);
    });
  }
}
