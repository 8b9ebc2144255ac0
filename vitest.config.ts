/**
 * How the tests run. `npm test` is `unit`, the simulation alone, then `cluster`: a cluster of real
 * processes that keeps its word. `npm run test:all` goes on with `surfaces`, what stands on such a
 * cluster, and, as root, with `hosts` and `compose`.
 *
 * Of `unit` and `cluster` two files run at a time: their tests do not depend on how fast nodes are
 * that compete for processors. The others measure, or change the host, and run alone.
 */
import { defineConfig } from "vitest/config";

/** What clients, commands and pages make of a cluster. */
const surfaceTests = [
  "backup",
  "client",
  "client-close",
  "client-docs",
  "client-history",
  "dashboard",
  "docs-snippets",
  "exactly-once",
  "gateway",
  "long-streams",
  "many-tails",
  "package",
  "proglog",
  "stopped-readers",
  "tail",
].map((name) => `test/cluster/${name}.test.ts`);

/** The simulator's seeds take all processors for some minutes. */
const seedsTest = "test/simulation/seeds.test.ts";

export default defineConfig({
  test: {
    pool: "forks",
    maxWorkers: 2,
    reporters: ["default", "./scripts/ci-reporter.ts"],
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: [
            "test/bench/**",
            "test/cluster/**",
            "test/compose/**",
            "test/hosts/**",
            seedsTest,
          ],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "simulation",
          include: [seedsTest],
          testTimeout: 900_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "cluster",
          include: ["test/cluster/**/*.test.ts"],
          exclude: surfaceTests,
          testTimeout: 180_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        test: {
          name: "surfaces",
          include: surfaceTests,
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 3 },
        },
      },
      {
        extends: true,
        test: {
          name: "hosts",
          include: ["test/hosts/**/*.test.ts"],
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 4 },
        },
      },
      {
        extends: true,
        test: {
          name: "compose",
          include: ["test/compose/**/*.test.ts"],
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 5 },
        },
      },
    ],
  },
});
