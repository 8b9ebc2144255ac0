/**
 * A gRPC server that sends back what it gets: the round trip without a log. It runs in a process of
 * its own, as a node does, started with `--serve`, and tells its port to its parent.
 */
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { ServerDuplexStream } from "@grpc/grpc-js";

import { enlargeServerWindow, serverChannelOptions } from "../../src/rpc/http2-window.js";

export const echoPath = "/bench.Echo/Echo";

function serve(): void {
  const server = new Server(serverChannelOptions());
  const same = (bytes: Buffer): Buffer => bytes;
  const method = {
    path: echoPath,
    requestStream: true,
    responseStream: true,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  } as const;
  server.addService(
    { echo: method },
    {
      echo(stream: ServerDuplexStream<Buffer, Buffer>): void {
        stream.on("data", (bytes: Buffer) => {
          stream.write(bytes);
        });
        stream.on("end", () => {
          stream.end();
        });
      },
    },
  );
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
    if (error !== null) throw error;
    enlargeServerWindow(server, (reason) => {
      process.stderr.write(`${reason}\n`);
    });
    process.send?.(port);
  });
  process.once("disconnect", () => {
    process.exit();
  });
}

if (process.argv.includes("--serve")) serve();
