/**
 * A program with one client, for the tests that watch it end: it brings the client into a state,
 * closes it, and must then end by itself. It prints one line of JSON.
 *
 *     tsx program.ts <state> <address,…>
 */
import { performance } from "node:perf_hooks";

import { Client } from "../../src/client/client.js";
import { ProglogError } from "../../src/common/errors.js";

const [state = "", servers = ""] = process.argv.slice(2);

/** What was left pending ended so. */
const endings: string[] = [];

function note(pending: Promise<unknown>): void {
  pending.then(
    () => endings.push("fulfilled"),
    (error: unknown) => {
      endings.push(error instanceof ProglogError ? `${error.code} ${error.outcome}` : "untyped");
    },
  );
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

async function drain(client: Client): Promise<void> {
  for await (const record of client.consume({ follow: true })) if (record.offset < 0) return;
}

async function appendForEver(client: Client): Promise<void> {
  for (;;) await client.produce("again");
}

/** Brings a client into a state; the promises that are pending then are noted. */
const states: Readonly<Record<string, (client: Client) => Promise<void>>> = {
  unused: async () => {},
  idle: async (client) => {
    await client.produce("a");
    await client.read(0);
  },
  "in-flight": async (client) => {
    note(client.produce("a"));
    await pause(300);
    note(client.produce("b"));
  },
  connecting: async (client) => {
    note(client.produce("a"));
    note(client.read(0));
    note(client.status());
  },
  "back-off": async (client) => {
    note(client.produce("a"));
    note(client.read(0));
    note(drain(client));
    await pause(700);
  },
  streaming: async (client) => {
    await client.produce("a");
    note(drain(client));
    await pause(300);
  },
  producing: async (client) => {
    await client.produce("a");
    note(appendForEver(client));
    await pause(300);
  },
  consuming: async (client) => {
    await client.produceBatch(Array.from({ length: 5000 }, (_, nth) => `record ${nth}`));
    const records = client.consume();
    await records.next();
    note(drain(client));
    note(records.next().then(async () => records.next()));
  },
  told: async (client) => {
    await client.produce("a");
    note(drain(client));
    note(appendForEver(client));
    await pause(300);
    process.stdout.write("stop\n");
    await new Promise((resolve) => process.stdin.once("data", resolve));
    process.stdin.destroy();
    note(client.read(7));
    await pause(700);
  },
  stopped: async (client) => {
    await client.produce("a");
    note(drain(client));
    await pause(300);
    process.stdout.write("stop\n");
    await new Promise((resolve) => process.stdin.once("data", resolve));
    process.stdin.destroy();
    note(client.produce("b"));
    note(client.read(7));
    await pause(700);
  },
};

process.on("unhandledRejection", () => {
  endings.push("unhandled");
});
const client = new Client({ servers: servers.split(",") });
await states[state]?.(client);
const beginMs = performance.now();
await client.close();
const closeMs = Math.round(performance.now() - beginMs);
// A port that is closed is gone some turns of the event loop later.
const held = (): string[] =>
  process.getActiveResourcesInfo().filter((name) => /TCP|Timeout|Message/.test(name));
for (let turn = 0; turn < 50 && held().length > 0; turn += 1) await pause(turn);
const left = held();
process.stdout.write(`${JSON.stringify({ closeMs, endings, left })}\n`);
