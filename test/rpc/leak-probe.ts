/**
 * Run as a process of its own by server.test.ts: serves, relays, follows, closes, and says what
 * is left. It ends by itself only if nothing keeps it alive.
 */
import { systemClock } from "../../src/common/system.js";
import { encodeRecords } from "../../src/common/record.js";
import { GrpcPeerCalls } from "../../src/rpc/peer-calls.js";
import { RpcServer } from "../../src/rpc/server.js";
import { MemoryCluster, MemoryLog } from "./memory-node.js";

const log = new MemoryLog();
const cluster = new MemoryCluster(log);
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
const server = new RpcServer({ log, cluster, clock: systemClock, logger: silent });
const { port } = await server.listen("127.0.0.1", 0);
const rpcAddr = `127.0.0.1:${port}`;
const calls = new GrpcPeerCalls({ clock: systemClock });
const { member } = await calls.identify(rpcAddr);
const records = encodeRecords([{ value: Buffer.from("a") }]);
const { offset } = await calls.produce({ ...member, rpcAddr }, { records });
await calls.close();
await server.close();
await new Promise((resolve) => {
  setImmediate(resolve);
});
const kinds = /^(TCP|HTTP2|Timeout)/;
const left = process.getActiveResourcesInfo().filter((kind) => kinds.test(kind));
const said = left.length === 0 ? "none" : left.join(", ");
process.stdout.write(`produced at ${offset}, sockets and timers left: ${said}\n`);
