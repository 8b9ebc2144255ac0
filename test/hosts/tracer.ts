/**
 * Breaks the system calls of a process that runs: strace, attached to all its threads.
 *
 * The kernel's own code is not run for a call that is made to fail, so a failed sync has synced
 * nothing. Detaching leaves the process as it was.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

import { until } from "../cluster/poll.js";
import { endOf } from "./namespace.js";

export class Tracer {
  readonly #strace: ChildProcess;

  private constructor(strace: ChildProcess) {
    this.#strace = strace;
  }

  /**
   * @param calls System calls, as strace names them, with commas.
   * @param fault What is to become of them: `error=EIO`, `delay_enter=1000000`, …
   * @param paths Only calls on these files; default all.
   */
  static async attach(
    pid: number,
    calls: string,
    fault: string,
    paths: readonly string[] = [],
  ): Promise<Tracer> {
    const files = paths.flatMap((path) => ["-P", path]);
    const what = ["-e", `trace=${calls}`, "-e", `inject=${calls}:${fault}`, ...files];
    const strace = spawn("strace", ["-f", "-qq", "-o", "/dev/null", ...what, "-p", String(pid)], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const tracer = new Tracer(strace);
    await until(`strace to attach to ${pid}`, async () => {
      if (strace.exitCode !== null) return true;
      return isTraced(pid) ? true : undefined;
    });
    return tracer;
  }

  /** Lets the process go on undisturbed; fine if it has ended. */
  async detach(): Promise<void> {
    this.#strace.kill("SIGTERM");
    await endOf(this.#strace);
  }
}

/** True if every thread is traced, and if the process has ended meanwhile. */
function isTraced(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).every((thread) => {
      const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
      return !/^TracerPid:\t0$/m.test(status);
    });
  } catch {
    return true;
  }
}
