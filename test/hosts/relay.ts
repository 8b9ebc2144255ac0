/**
 * Carries connections from 127.0.0.1 of this machine to nodes in a network namespace.
 *
 * A program: it runs inside the namespace and is sent listening sockets that were made outside.
 * A socket belongs to the namespace in which it was made, so what it accepts comes from outside
 * and what it dials is inside. It changes no byte.
 */
import { connect } from "node:net";
import type { Server, Socket } from "node:net";

export interface RelayOrder {
  readonly host: string;
  readonly port: number;
}

process.on("message", (order: RelayOrder, server: Server) => {
  server.on("connection", (client: Socket) => {
    const node = connect(order);
    for (const [from, to] of [
      [client, node],
      [node, client],
    ] as const) {
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
  });
  process.send?.("relaying");
});
// Without the test there is nobody to relay for.
process.on("disconnect", () => {
  process.exit(0);
});
