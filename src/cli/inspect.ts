/**
 * `proglog-node inspect DIR`: reads a stopped node's directory and verifies every checksum. It
 * writes nothing; what it finds wrong it names by file and position, and exits 1.
 */
import { inspectDirectory } from "../storage/inspect.js";
import { exitCodes } from "./surroundings.js";
import type { Surroundings } from "./surroundings.js";

/** Prints what the directory holds, then its faults on standard error. */
export async function inspect(
  directory: string,
  { print, complain }: Surroundings,
): Promise<number> {
  const { lines, faults } = await inspectDirectory(directory);
  for (const line of lines) print(line);
  for (const { file, position, what } of faults) {
    complain(`${file} at ${String(position)}: ${what}`);
  }
  return faults.length === 0 ? exitCodes.asAsked : exitCodes.couldNotRun;
}
