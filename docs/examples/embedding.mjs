/**
 * A node inside a program: its own log, in a directory, without another process.
 *
 *     node docs/examples/embedding.mjs ./my-log
 */
import { startNode } from "proglog";

const [dataDir = "./proglog-data"] = process.argv.slice(2);
const node = await startNode({ dataDir, httpAddr: "127.0.0.1:0", rpcAddr: "127.0.0.1:0" });
const { client } = node;

try {
  const { offset } = await client.produce(`run at ${new Date().toISOString()}`);
  console.log(`this is run ${offset + 1}; the earlier ones:`);
  for await (const record of client.consume()) {
    if (record.offset < offset) console.log(record.text());
  }
} finally {
  // It closes its client first.
  await node.close();
}
