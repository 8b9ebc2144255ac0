/**
 * Copies one log into another, each record once and in order, however often it is killed.
 *
 * The sequence of each copy is the offset of its original. So the other log itself knows how far
 * the pipe has come: a copy that is there already is not appended again, and nothing else has to be
 * kept anywhere.
 *
 *     node docs/examples/exactly-once-pipe.mjs 127.0.0.1:8400 127.0.0.1:9400 [--follow]
 */
import { Client } from "proglog";

const [from = "127.0.0.1:8400", to = "127.0.0.1:9400", flag] = process.argv.slice(2);
const source = await Client.connect({ servers: from.split(",") });
const target = await Client.connect({ servers: to.split(",") });
// The name is the pipe's: two programs with this name are one pipe, and do no harm.
const pipe = target.producer({ id: "pipe from the first log" });

/** Where to go on: after the original of the last copy. Nobody else writes to the other log. */
async function nextOffset() {
  for await (const copy of target.consume({ from: -1 })) {
    return Number(copy.headers["source-offset"]) + 1;
  }
  return 0;
}

try {
  let copied = 0;
  const options = { from: await nextOffset(), follow: flag === "--follow" };
  for await (const { offset, value, key, headers } of source.consume(options)) {
    const kept = { ...headers, "source-offset": String(offset) };
    try {
      const { duplicate } = await pipe.produce(value, { key, headers: kept, sequence: offset });
      if (!duplicate) copied += 1;
    } catch (error) {
      // A later copy is there, so this one is too: the same pipe runs twice.
      if (error.code !== "sequence-too-old") throw error;
    }
  }
  console.log(`copied ${copied} records`);
} finally {
  await source.close();
  await target.close();
}
