/**
 * Addresses of this node: free ports, what to tell others, and what a name stands for.
 *
 * It asks the host and its resolver anew each time: names and interfaces change under a node.
 */
import { lookup } from "node:dns/promises";
import { createServer } from "node:net";
import { hostname, networkInterfaces } from "node:os";

import type { Address } from "../rpc/addresses.js";
import { formatAddress, requireAddress } from "../rpc/addresses.js";

const anyHosts = new Set(["0.0.0.0", "::"]);

/**
 * The address with a port that is free now, if it asked for any (port 0).
 *
 * The port is chosen before the servers listen because the first entry of a cluster names it.
 */
export async function withPort(text: string): Promise<Address> {
  const anyPort = /^(.+):0$/.exec(text)?.[1];
  if (anyPort === undefined) return requireAddress(text, "the address to listen on");
  const { host } = requireAddress(`${anyPort}:1`, "the address to listen on");
  const port = await new Promise<number>((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, host, () => {
      const bound = probe.address();
      probe.close(() => {
        resolve(typeof bound === "object" && bound !== null ? bound.port : 0);
      });
    });
  });
  return { host, port };
}

/** What others are told to dial: the bound address, or the host's own where all are bound. */
export async function advertised(bound: Address, given: string | undefined): Promise<string> {
  if (given !== undefined) return formatAddress(requireAddress(given, "the advertised address"));
  if (!anyHosts.has(bound.host)) return formatAddress(bound);
  return formatAddress({ host: await ownHost(), port: bound.port });
}

async function ownHost(): Promise<string> {
  try {
    const { address } = await lookup(hostname(), { family: 4 });
    if (!address.startsWith("127.")) return address;
  } catch {
    // A host without a name of its own: its interfaces know.
  }
  for (const addresses of Object.values(networkInterfaces())) {
    const outer = addresses?.find((found) => found.family === "IPv4" && !found.internal);
    if (outer !== undefined) return outer.address;
  }
  return "127.0.0.1";
}

/** Every address that a given one stands for: a DNS name may have many, none if it is unknown. */
export async function resolveAll(address: string): Promise<string[]> {
  const { host, port } = requireAddress(address, "an address to join");
  try {
    const found = await lookup(host, { all: true });
    return found.map((entry) => formatAddress({ host: entry.address, port }));
  } catch {
    return [];
  }
}
