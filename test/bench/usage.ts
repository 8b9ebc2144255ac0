/**
 * CPU time and memory of a node's process, as Linux's /proc tells them; elsewhere there are none.
 */
import { readFileSync } from "node:fs";

/** Linux reports CPU time in ticks of 10 ms to programs, whatever the kernel's own are. */
const tickMicroseconds = 10_000;

export interface Usage {
  /** User and system time since the process began; NaN where /proc is not. */
  readonly cpuMicroseconds: number;
  readonly residentBytes: number;
  /** The most it was so far. */
  readonly residentBytesMax: number;
}

export function usageOf(pid: number): Usage {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name may hold spaces and brackets; what is counted starts after its last bracket.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const ticks = Number(fields[11]) + Number(fields[12]);
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return {
      cpuMicroseconds: ticks * tickMicroseconds,
      residentBytes: kibibytes(status, "VmRSS") * 1024,
      residentBytesMax: kibibytes(status, "VmHWM") * 1024,
    };
  } catch {
    return {
      cpuMicroseconds: Number.NaN,
      residentBytes: Number.NaN,
      residentBytesMax: Number.NaN,
    };
  }
}

function kibibytes(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? Number.NaN);
}
