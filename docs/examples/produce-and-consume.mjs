/**
 * Appends some records, reads them back, and follows the log for one more.
 *
 *     node docs/examples/produce-and-consume.mjs 127.0.0.1:8400
 */
import { Client, json } from "proglog";

const servers = process.argv.slice(2);
const client = await Client.connect({ servers: servers.length > 0 ? servers : ["127.0.0.1:8400"] });

try {
  const first = await client.produce("hello");
  console.log(`"hello" is at offset ${first.offset}`);

  // Calls that are not awaited one by one travel together, and keep their order.
  const orders = [1, 2, 3].map((order) =>
    client.produce(json({ order }), { key: `order-${order}`, headers: { source: "example" } }),
  );
  await Promise.all(orders);

  for await (const record of client.consume({ from: first.offset })) {
    console.log(record.offset, record.key ?? "-", record.text());
  }

  // With `follow` the loop goes on for ever; leaving it lets go of the stream.
  const end = await client.endOffset();
  const later = client.produce("one more");
  for await (const record of client.consume({ from: end, follow: true })) {
    console.log(`followed: ${record.text()}`);
    break;
  }
  await later;
} finally {
  await client.close();
}
