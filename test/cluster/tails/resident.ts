/**
 * What Linux shows of a process: the memory that it holds, the time it has computed, its sockets.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Memory in use now, in MiB. */
export function residentMebibytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const [, kibibytes = "0"] = /^VmRSS:\s+(\d+) kB$/m.exec(status) ?? [];
  return Number(kibibytes) / 1024;
}

/** Processor time that it has used so far, in ms. */
export function processorMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  // The name of the process, in brackets, may hold spaces; these are the 14th and 15th columns.
  const [, ...columns] = stat.slice(stat.lastIndexOf(")")).split(" ");
  return (Number(columns[11]) + Number(columns[12])) * clockTickMs;
}

/** A hundred ticks a second: what Linux shows to programs, whatever the kernel counts in. */
const clockTickMs = 10;

export function socketCount(pid: number): number {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory).filter((name) => {
    try {
      return readlinkSync(`${directory}/${name}`).startsWith("socket:");
    } catch {
      return false;
    }
  }).length;
}

/** Looks at a process again and again, and keeps the most it has held. */
export class ResidentPeak {
  readonly #timer: NodeJS.Timeout;
  #mebibytes: number;

  constructor(pid: number) {
    this.#mebibytes = residentMebibytes(pid);
    this.#timer = setInterval(() => {
      this.#mebibytes = Math.max(this.#mebibytes, residentMebibytes(pid));
    }, 50);
  }

  /** The most until now, in MiB. */
  get mebibytes(): number {
    return this.#mebibytes;
  }

  end(): number {
    clearInterval(this.#timer);
    return this.#mebibytes;
  }
}
