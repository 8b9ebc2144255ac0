/**
 * One node of a local cluster, as a process of its own.
 *
 * It has a process group of its own, so that Ctrl-C reaches only the command, which then stops the
 * nodes in its way; and a channel to the command, whose end stops the node if the command is
 * killed.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { closeSync, fstatSync, mkdirSync, openSync, readSync } from "node:fs";
import { join } from "node:path";

import { environmentNameOf } from "../agent/options.js";
import type { OptionKey } from "../agent/options.js";

export interface ChildNodeOptions {
  readonly name: string;
  /** The node's own directory: holds its log, and its data below. */
  readonly directory: string;
  readonly httpAddr: string;
  readonly rpcAddr: string;
  /** What comes after the addresses on its command line. */
  readonly flags: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly program: readonly [string, ...string[]];
}

/** Options that are each node's own: what the environment says of them is for one node. */
const ownKeys: readonly OptionKey[] = [
  "nodeName",
  "dataDir",
  "httpAddr",
  "rpcAddr",
  "advertiseHttpAddr",
  "advertiseRpcAddr",
  "join",
  "bootstrap",
];

const lastWordsBytesMax = 4096;

export class ChildNode {
  readonly name: string;
  readonly httpAddr: string;
  readonly rpcAddr: string;
  readonly logPath: string;
  /** Resolves when the process has ended, with how: "code 1", "SIGKILL". */
  readonly ended: Promise<string>;
  readonly #child: ChildProcess;
  #isRunning = true;

  /** Starts the process. */
  constructor(options: ChildNodeOptions) {
    const { name, directory, httpAddr, rpcAddr } = options;
    this.name = name;
    this.httpAddr = httpAddr;
    this.rpcAddr = rpcAddr;
    this.logPath = join(directory, "node.log");
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const [program, ...first] = options.program;
    const own = ["--node-name", name, "--data-dir", dataDirectoryIn(directory)];
    const addresses = ["--http-addr", httpAddr, "--rpc-addr", rpcAddr];
    const log = openSync(this.logPath, "a", 0o600);
    this.#child = spawn(program, [...first, "start", ...own, ...addresses, ...options.flags], {
      detached: true,
      stdio: ["ignore", log, log, "ipc"],
      env: childEnvironment(options.env),
    });
    closeSync(log);
    this.ended = new Promise((resolve) => {
      this.#child.once("exit", (code, signal) => {
        this.#isRunning = false;
        resolve(signal ?? `code ${String(code)}`);
      });
      this.#child.once("error", (error) => {
        this.#isRunning = false;
        resolve(error.message);
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  kill(signal: "SIGTERM" | "SIGKILL"): void {
    if (this.#isRunning) this.#child.kill(signal);
  }

  /** The last line of its log: where a node says why it could not go on. */
  lastWords(): string {
    const log = openSync(this.logPath, "r");
    try {
      const position = Math.max(0, fstatSync(log).size - lastWordsBytesMax);
      const buffer = Buffer.alloc(lastWordsBytesMax);
      const text = buffer.toString("utf8", 0, readSync(log, buffer, 0, buffer.length, position));
      return text.trimEnd().split("\n").at(-1) ?? "";
    } finally {
      closeSync(log);
    }
  }
}

/** Where a node whose directory this is keeps its data: beside its log, not around it. */
export function dataDirectoryIn(directory: string): string {
  return join(directory, "data");
}

/** The command's environment, less what is one node's own, plus threads for disk and DNS calls. */
function childEnvironment(env: ChildNodeOptions["env"]): Record<string, string | undefined> {
  const own = new Set(ownKeys.map(environmentNameOf));
  const kept = Object.entries(env).filter(([name]) => !own.has(name));
  // The pool is made when a process starts: only the one who starts it can size it.
  return { UV_THREADPOOL_SIZE: "8", ...Object.fromEntries(kept) };
}
