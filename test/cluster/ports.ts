/**
 * Picks ports that nothing listens on, and keeps each for one test file.
 *
 * They lie below the range from which the kernel takes ports of outgoing connections: else a
 * restarted node could find its own port taken by a client of another node.
 */
import { createServer } from "node:net";

/** Test files that run at the same time are processes of their own: each has its own range. */
const worker = Number(process.env["VITEST_POOL_ID"] ?? 1) % 4;
const rangeLength = 3000;
const first = 20_000 + worker * rangeLength;
const last = first + rangeLength;
const handedOut = new Set<number>();

/** A port of 127.0.0.1 that was free a moment ago and is given to nobody else here. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const port = first + Math.floor(Math.random() * (last - first));
    if (handedOut.has(port)) continue;
    handedOut.add(port);
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port found between ${first} and ${last}`);
}

/** `count` ports in a row, for a command that takes a base port. */
export async function freePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const base = first + Math.floor(Math.random() * (last - first - count));
    const ports = Array.from({ length: count }, (_, at) => base + at);
    if (ports.some((port) => handedOut.has(port))) continue;
    const free = await Promise.all(ports.map(isFree));
    if (!free.every(Boolean)) continue;
    for (const port of ports) handedOut.add(port);
    return base;
  }
  throw new Error(`no ${count} free ports in a row between ${first} and ${last}`);
}

async function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => {
      resolve(false);
    });
    server.listen(port, "127.0.0.1", () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}
