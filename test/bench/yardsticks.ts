/**
 * What this machine can do at best, measured in the same run as the log: a durable write without a
 * network, and a network round trip without a disk. Figures mean little without them.
 */
import { fork } from "node:child_process";
import { closeSync, fdatasync, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

import { Client, credentials } from "@grpc/grpc-js";

import { clientChannelOptions } from "../../src/rpc/http2-window.js";
import { echoPath } from "./echo-server.js";
import { Samples } from "./samples.js";

const blockBytes = 4096;
const fileBytes = 1024 * 1024;

/**
 * Times write + fdatasync of 4 KiB over blocks that exist already, one at a time, in ms. The sync
 * goes through the thread pool, as it must in a program whose event loop has other work.
 */
export async function timeFdatasync(
  directory: string,
  count: number,
  samples = new Samples(),
): Promise<Samples> {
  const path = join(directory, "fdatasync.dat");
  const file = openSync(path, "w");
  try {
    writeSync(file, Buffer.alloc(fileBytes));
    fsyncSync(file);
    const block = Buffer.alloc(blockBytes, 0x5a);
    for (let at = 0; at < count; at += 1) {
      const start = performance.now();
      writeSync(file, block, 0, blockBytes, (at * blockBytes) % fileBytes);
      await new Promise<void>((resolve, reject) => {
        fdatasync(file, (error) => {
          if (error === null) resolve();
          else reject(error);
        });
      });
      samples.add(performance.now() - start);
    }
  } finally {
    closeSync(file);
    rmSync(path);
  }
  return samples;
}

/** Times 128 B there and back over a grpc-js bidirectional stream to another process, in ms. */
export async function timeRoundTrip(count: number): Promise<Samples> {
  const server = fork(join(import.meta.dirname, "echo-server.ts"), ["--serve"]);
  try {
    const port = await new Promise<number>((resolve, reject) => {
      server.once("message", (message) => {
        resolve(Number(message));
      });
      server.once("exit", () => {
        reject(new Error("the echo server ended"));
      });
    });
    const client = new Client(
      `127.0.0.1:${port}`,
      credentials.createInsecure(),
      clientChannelOptions(),
    );
    const same = (bytes: Buffer): Buffer => bytes;
    const stream = client.makeBidiStreamRequest(echoPath, same, same);
    const payload = Buffer.alloc(128, 0x5a);
    const samples = new Samples();
    const warmUp = Math.ceil(count / 4);
    for (let at = 0; at < warmUp + count; at += 1) {
      const start = performance.now();
      await new Promise<void>((resolve, reject) => {
        stream.once("data", () => {
          stream.removeListener("error", reject);
          resolve();
        });
        stream.once("error", reject);
        stream.write(payload);
      });
      if (at >= warmUp) samples.add(performance.now() - start);
    }
    stream.on("error", () => {
      // Closing the client cancels the stream.
    });
    client.close();
    return samples;
  } finally {
    server.kill();
  }
}
