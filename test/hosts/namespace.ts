/**
 * Linux namespaces that live as long as a test: a network or a mount table of its own.
 *
 * The machine's own network and mount table are never changed: every command that changes one
 * runs inside a namespace made here. A namespace is held open by a process that waits for the end
 * of its input, so it ends with the test, also when the test's process is killed.
 */
import { spawn } from "node:child_process";
import type { ChildProcess, ChildProcessByStdio } from "node:child_process";
import type { Readable, Writable } from "node:stream";

export type NamespaceKind = "net" | "mount";

const files: Readonly<Record<NamespaceKind, string>> = { net: "net", mount: "mnt" };

/** Runs a command to its end and gives its output; throws with what it said if it fails. */
export async function run(words: readonly string[], input = ""): Promise<string> {
  const [command = "", ...rest] = words;
  const child = spawn(command, rest, { stdio: ["pipe", "pipe", "pipe"] });
  let output = "";
  let complaint = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
  // A command that fails early does not read its input; its exit code says so.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  if (code !== 0) throw new Error(`${words.join(" ")}: exit code ${String(code)}: ${complaint}`);
  return output;
}

/** Resolves once the process has ended. */
export async function endOf(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => {
    child.once("exit", () => {
      resolve();
    });
  });
}

export class Namespace {
  readonly pid: number;
  readonly #kinds: readonly NamespaceKind[];
  readonly #holder: ChildProcessByStdio<Writable, Readable, null>;

  private constructor(
    kinds: readonly NamespaceKind[],
    holder: ChildProcessByStdio<Writable, Readable, null>,
  ) {
    if (holder.pid === undefined) throw new Error("the namespace's process has not started");
    this.pid = holder.pid;
    this.#kinds = kinds;
    this.#holder = holder;
  }

  static async open(...kinds: readonly NamespaceKind[]): Promise<Namespace> {
    const flags = kinds.map((kind) => `--${kind}`);
    const holder = spawn("unshare", [...flags, "cat"], { stdio: ["pipe", "pipe", "inherit"] });
    // What `cat` gives back proves that the namespaces are there.
    await new Promise<void>((resolve, reject) => {
      holder.once("error", reject);
      holder.once("exit", (code) => {
        reject(new Error(`unshare ${flags.join(" ")}: exit code ${String(code)}`));
      });
      holder.stdout.once("data", () => {
        resolve();
      });
      holder.stdin.write("ready\n");
    });
    return new Namespace(kinds, holder);
  }

  /** The words that put a command into the namespace, process id unchanged. */
  get enter(): readonly string[] {
    const places = this.#kinds.map((kind) => `--${kind}=/proc/${this.pid}/ns/${files[kind]}`);
    return ["nsenter", ...places, "--"];
  }

  /** Where a path of the namespace is seen from outside. */
  seen(path: string): string {
    return `/proc/${this.pid}/root${path}`;
  }

  async run(words: readonly string[], input?: string): Promise<string> {
    return run([...this.enter, ...words], input);
  }

  async close(): Promise<void> {
    this.#holder.stdin.end();
    await endOf(this.#holder);
  }
}
