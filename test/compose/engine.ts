/**
 * A real Docker engine for a test, in namespaces of its own (engine.sh), and a way into its network.
 *
 * Without root or without the tools there is none: tests are then skipped and say what is missing.
 * With PROGLOG_REQUIRE_HOSTS=1 that is a failure instead. The engine reaches no registry: images
 * are made here, of this machine's own Node.
 */
import { spawn } from "node:child_process";
import type { ChildProcess, ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";

import { endOf } from "../hosts/namespace.js";
import type { RelayOrder } from "../hosts/relay.js";

/** Where distributions put them; another `docker` in the path may be of another engine. */
const toolPath = `/usr/bin:/usr/sbin:/bin:/sbin:${process.env["PATH"] ?? ""}`;
const tools = [
  "dockerd",
  "docker",
  "docker-compose",
  "iptables",
  "ip",
  "unshare",
  "nsenter",
  "busybox",
];
const repository = join(import.meta.dirname, "..", "..");

/** Why there can be no engine on this host; undefined if there can. */
export function whyNoEngine(): string | undefined {
  if (process.getuid?.() !== 0) return "it needs root";
  const missing = tools.filter((tool) => findTool(tool) === undefined);
  return missing.length === 0 ? undefined : `${missing.join(", ")}: not installed`;
}

/** Where a program of the host is. */
export function findTool(tool: string): string | undefined {
  return toolPath
    .split(":")
    .map((place) => join(place, tool))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Runs a program to its end; throws with all it said if it fails. */
export async function tell(
  words: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly input?: Readable } = {},
): Promise<string> {
  const [command = "", ...rest] = words;
  const child = spawn(command, rest, {
    cwd: repository,
    env: { ...process.env, PATH: toolPath, ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let output = "";
  let complaint = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
  child.stdin.on("error", () => undefined);
  if (options.input === undefined) child.stdin.end();
  else options.input.pipe(child.stdin);
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${words.join(" ")}: ${String(code)}: ${complaint}${output}`);
  return output;
}

export class Engine {
  readonly #directory: string;
  readonly #holder: ChildProcessByStdio<Writable, Readable, null>;
  readonly #relay: ChildProcess;

  private constructor(
    directory: string,
    holder: ChildProcessByStdio<Writable, Readable, null>,
    relay: ChildProcess,
  ) {
    this.#directory = directory;
    this.#holder = holder;
    this.#relay = relay;
  }

  /** Starts the engine; ends it again if it does not come up. */
  static async start(): Promise<Engine> {
    const directory = mkdtempSync(join(tmpdir(), "proglog-engine-"));
    const holder = spawn(join(import.meta.dirname, "engine.sh"), [], {
      env: { ...process.env, PATH: toolPath, ENGINE_DIR: directory },
      stdio: ["pipe", "pipe", "inherit"],
    });
    const [how] = (await Promise.race([once(holder.stdout, "data"), once(holder, "exit")])) as [
      unknown,
    ];
    if (!Buffer.isBuffer(how)) throw new Error(`the engine did not start: ${String(how)}`);
    const daemon = readFileSync(`/proc/${String(holder.pid)}/task/${String(holder.pid)}/children`);
    const inside = daemon.toString().trim().split(" ")[0] ?? "";
    const relay = startRelay(inside);
    return new Engine(directory, holder, relay);
  }

  /** What `docker` and `docker-compose` need to talk to this engine. */
  get env(): NodeJS.ProcessEnv {
    return { DOCKER_HOST: `unix://${this.#directory}/docker.sock`, DOCKER_BUILDKIT: "1" };
  }

  async docker(words: readonly string[], input?: Readable): Promise<string> {
    const options = input === undefined ? {} : { input };
    return (await tell(["docker", ...words], { env: this.env, ...options })).trim();
  }

  /** A port of 127.0.0.1 of this machine that leads to an address in the engine's network. */
  async reach(host: string, port: number): Promise<string> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port: outside } = server.address() as AddressInfo;
    const order: RelayOrder = { host, port };
    const taken = once(this.#relay, "message");
    this.#relay.send(order, server);
    await taken;
    server.close();
    return `http://127.0.0.1:${outside}`;
  }

  async close(): Promise<void> {
    this.#relay.disconnect();
    await endOf(this.#relay);
    this.#holder.stdin.end();
    await endOf(this.#holder);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** @param pid A process in the engine's network. */
function startRelay(pid: string): ChildProcess {
  const program = join(import.meta.dirname, "..", "hosts", "relay.ts");
  const node = [process.execPath, "--import", import.meta.resolve("tsx"), program];
  return spawn("nsenter", [`--net=/proc/${pid}/ns/net`, "--", ...node], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
}
