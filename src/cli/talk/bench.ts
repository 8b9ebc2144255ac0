/**
 * `proglog bench`: appends records to the log and says how fast they were acknowledged.
 *
 * What it appends stays in the log: there is no log beside it to write to, so it says so first.
 */
import type { Argv } from "yargs";

import type { SplitArguments } from "../node-flags.js";
import type { Session, TalkCommand } from "./command.js";
import { exitCodes } from "./exit-codes.js";
import { integerOf, isOn, textFlag } from "./flags.js";
import { Progress } from "./progress.js";

interface BenchPlan {
  readonly records: number;
  readonly size: number;
  readonly inFlight: number;
  readonly isJsonPrinted: boolean;
}

/** Each record's latency is kept: 80 MB at most. */
const recordsMax = 10_000_000;
const defaults = { records: 100_000, size: 100, inFlight: 1000 } as const;

export const benchCommand: TalkCommand = {
  usage: "bench",
  summary: "Append records and measure: they stay in the log",
  examples: [
    ["proglog bench", "100 000 records of 100 bytes, 1000 in flight"],
    ["proglog bench --records 1000 --in-flight 1", "one after the other: the latency of one"],
    ["proglog bench --json", "for programs"],
  ],
  addFlags: (yargs: Argv) =>
    yargs
      .option("records", {
        ...textFlag,
        describe: "How many records to append (1 to 10000000)",
        defaultDescription: String(defaults.records),
      })
      .option("size", {
        ...textFlag,
        describe: "Bytes of each (1 to 1048576)",
        defaultDescription: String(defaults.size),
      })
      .option("in-flight", {
        ...textFlag,
        describe: "Records without an answer at once (1 to 16384)",
        defaultDescription: String(defaults.inFlight),
      })
      .option("json", { boolean: true, describe: "Print one JSON object" }),
  plan: (split) => {
    const plan = planOf(split);
    return async (session) => bench(plan, session);
  },
};

/** @throws UsageError */
function planOf(split: SplitArguments): BenchPlan {
  const range = { min: 1, max: recordsMax };
  return {
    records: integerOf(split, "records", range) ?? defaults.records,
    size: integerOf(split, "size", { min: 1, max: 1024 * 1024 }) ?? defaults.size,
    inFlight: integerOf(split, "in-flight", { min: 1, max: 16_384 }) ?? defaults.inFlight,
    isJsonPrinted: isOn(split, "json"),
  };
}

async function bench(plan: BenchPlan, session: Session): Promise<number> {
  const { records, size, isJsonPrinted } = plan;
  const { client, output, stopping, clock, surroundings, timeoutMs } = session;
  // Connecting is no part of what is measured.
  await client.status({ timeoutMs, signal: stopping });
  const bytes = `${String(records)} records of ${String(size)} bytes`;
  surroundings.complain(`Appending ${bytes} to the log; they stay in it.`);
  const latencies = new Float64Array(records);
  let acknowledged = 0;
  const progress = new Progress(surroundings, () => `${String(acknowledged)} records acknowledged`);
  progress.start();
  let next = 0;
  let failure: { readonly error: unknown } | undefined;
  const value = Buffer.alloc(size, "x");
  const work = async (): Promise<void> => {
    while (next < records && failure === undefined && !stopping.aborted) {
      next += 1;
      const sinceMs = clock.now();
      try {
        await client.produce(value);
        latencies[acknowledged] = clock.now() - sinceMs;
        acknowledged += 1;
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  const startMs = clock.now();
  const workers = Math.min(plan.inFlight, records);
  await Promise.all(Array.from({ length: workers }, work)).finally(() => progress.stop());
  const seconds = (clock.now() - startMs) / 1000;
  if (failure !== undefined) throw failure.error;
  if (acknowledged < records) {
    surroundings.complain(`Stopped by a signal: ${String(acknowledged)} records are in the log.`);
    return exitCodes.interrupted;
  }
  const result = resultOf(plan, seconds, latencies.sort());
  const lines = isJsonPrinted ? [JSON.stringify(result)] : resultLines(result);
  for (const line of lines) await output.line(line);
  return exitCodes.done;
}

interface BenchResult {
  readonly records: number;
  readonly size: number;
  readonly inFlight: number;
  readonly seconds: number;
  readonly recordsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** @param latencies Sorted, at least one. */
function resultOf(plan: BenchPlan, seconds: number, latencies: Float64Array): BenchResult {
  const { records, size, inFlight } = plan;
  const quantile = (share: number): number =>
    rounded(latencies[Math.min(records - 1, Math.floor(records * share))] ?? 0);
  return {
    ...{ records, size, inFlight, seconds: rounded(seconds) },
    recordsPerSecond: Math.round(records / Math.max(seconds, 1e-9)),
    p50Ms: quantile(0.5),
    p99Ms: quantile(0.99),
  };
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function resultLines(result: BenchResult): string[] {
  return [
    `records/s  ${String(result.recordsPerSecond)}`,
    `p50        ${String(result.p50Ms)} ms`,
    `p99        ${String(result.p99Ms)} ms`,
  ];
}
