/**
 * A switch with hosts on it, each a network namespace, whose links a test cuts, loses and slows.
 *
 * Each host has two cables: one to the network of the peers, which is what gets broken, and one
 * to the network of the clients, which always works. So a client reaches a node that no peer
 * reaches, which is when a node might lie.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";

import { endOf, Namespace } from "./namespace.js";
import type { RelayOrder } from "./relay.js";

const httpPort = 5000;
const rpcPort = 8400;
/** Counted, so that a test can prove that its fault has happened. */
const drop = "counter drop";

/** Hosts are counted from 0. */
export class PeerNetwork {
  readonly #hub: Namespace;
  readonly #hosts: readonly Namespace[];
  readonly #relay: ChildProcess;

  private constructor(hub: Namespace, hosts: readonly Namespace[], relay: ChildProcess) {
    this.#hub = hub;
    this.#hosts = hosts;
    this.#relay = relay;
  }

  static async open(hostCount: number): Promise<PeerNetwork> {
    const hub = await Namespace.open("net");
    const hosts: Namespace[] = [];
    for (let at = 0; at < hostCount; at += 1) hosts.push(await Namespace.open("net"));
    const switches = [
      "link set lo up",
      "link add peers type bridge",
      "link set peers up",
      "link add clients type bridge",
      "addr add 10.78.0.254/24 dev clients",
      "link set clients up",
      ...hosts.flatMap(({ pid }, at) => [
        `link add peer${at} type veth peer name eth0 netns ${pid}`,
        `link set peer${at} master peers up`,
        `link add client${at} type veth peer name eth1 netns ${pid}`,
        `link set client${at} master clients up`,
      ]),
    ];
    await hub.run(["ip", "-batch", "-"], switches.join("\n"));
    for (const [at, host] of hosts.entries()) {
      const cables = [
        "link set lo up",
        `addr add 10.77.0.${at + 1}/24 dev eth0`,
        "link set eth0 up",
        `addr add 10.78.0.${at + 1}/24 dev eth1`,
        "link set eth1 up",
      ];
      await host.run(["ip", "-batch", "-"], cables.join("\n"));
    }
    return new PeerNetwork(hub, hosts, startRelay(hub));
  }

  /** Where the node of a host listens, and the command that starts it there. */
  place(at: number): {
    listen: { httpAddr: string; rpcAddr: string };
    launch: { command: readonly string[] };
  } {
    return {
      listen: {
        httpAddr: `10.78.0.${at + 1}:${httpPort}`,
        rpcAddr: `10.77.0.${at + 1}:${rpcPort}`,
      },
      launch: { command: this.#host(at).enter },
    };
  }

  /** Carries what comes to an address of 127.0.0.1 to the gateway of a host's node. */
  async relay(at: number, httpAddr: string): Promise<void> {
    const server = createServer();
    server.listen(Number(httpAddr.split(":")[1]), "127.0.0.1");
    await once(server, "listening");
    const order: RelayOrder = { host: `10.78.0.${at + 1}`, port: httpPort };
    const taken = once(this.#relay, "message");
    this.#relay.send(order, server);
    await taken;
    server.close();
  }

  /** Drops all that hosts of `from` send to hosts of `to`; earlier rules are forgotten. */
  async cutOneWay(from: readonly number[], to: readonly number[]): Promise<void> {
    await this.#rule(from.flatMap((sender) => to.map((taker) => `${way(sender, taker)} ${drop}`)));
  }

  /** Drops all between hosts of `some` and hosts of `others`; earlier rules are forgotten. */
  async cut(some: readonly number[], others: readonly number[]): Promise<void> {
    const pairs = some.flatMap((one) => others.map((other) => [one, other] as const));
    await this.#rule(
      pairs.flatMap(([one, other]) => [`${way(one, other)} ${drop}`, `${way(other, one)} ${drop}`]),
    );
  }

  /** Drops that share of all packets between peers; earlier rules are forgotten. */
  async lose(percent: number): Promise<void> {
    await this.#rule([`meta protocol ip numgen random mod 100 < ${percent} ${drop}`]);
  }

  /** Packets dropped by the rules in force. */
  async droppedCount(): Promise<number> {
    const text = await this.#hub.run(["nft", "list", "table", "bridge", "faults"]);
    return sumOf(text, /counter packets (\d+)/g);
  }

  /** Packets that had to wait for a slow link, on any host. */
  async delayedCount(): Promise<number> {
    return sumOf(await this.#hub.run(["tc", "-s", "qdisc", "show"]), /overlimits (\d+)/g);
  }

  /** Ends what `cut`, `cutOneWay` and `lose` have begun. */
  async heal(): Promise<void> {
    await this.#rule([]);
  }

  /** Pulls a host's cable to its peers out, or puts it in; open connections are told nothing. */
  async link(at: number, state: "up" | "down"): Promise<void> {
    await this.#hub.run(["ip", "link", "set", `peer${at}`, state]);
  }

  /** Lets what a host is sent wait in a queue of that rate; undefined ends it. */
  async slow(at: number, kilobitsPerSecond: number | undefined): Promise<void> {
    const port = ["dev", `peer${at}`, "root"];
    if (kilobitsPerSecond === undefined) {
      await this.#hub.run(["tc", "qdisc", "del", ...port]);
      return;
    }
    const rate = ["rate", `${kilobitsPerSecond}kbit`, "burst", "8kb", "latency", "400ms"];
    await this.#hub.run(["tc", "qdisc", "add", ...port, "tbf", ...rate]);
  }

  async close(): Promise<void> {
    this.#relay.disconnect();
    await endOf(this.#relay);
    for (const host of this.#hosts) await host.close();
    await this.#hub.close();
  }

  async #rule(rules: readonly string[]): Promise<void> {
    // Made before it is deleted: nft refuses to delete what is not there.
    const text = `table bridge faults
      delete table bridge faults
      table bridge faults {
        chain passing {
          type filter hook forward priority 0
          ${rules.map((rule) => `iifname "peer*" ${rule}`).join("\n          ")}
        }
      }
    `;
    await this.#hub.run(["nft", "-f", "-"], text);
  }

  #host(at: number): Namespace {
    const host = this.#hosts[at];
    if (host === undefined) throw new Error(`there is no host ${at}`);
    return host;
  }
}

function sumOf(text: string, pattern: RegExp): number {
  return [...text.matchAll(pattern)].reduce((sum, found) => sum + Number(found[1]), 0);
}

function way(sender: number, taker: number): string {
  return `iifname "peer${sender}" oifname "peer${taker}"`;
}

function startRelay(hub: Namespace): ChildProcess {
  const [command, ...words] = [
    ...hub.enter,
    process.execPath,
    "--import",
    // Entering a namespace may change the directory from which a bare name is looked up.
    import.meta.resolve("tsx"),
    join(import.meta.dirname, "relay.ts"),
  ];
  return spawn(command, words, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
}
