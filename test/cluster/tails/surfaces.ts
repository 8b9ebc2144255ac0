/**
 * Every way to follow the log, as a stranger would use it: each goes on at the next offset on the
 * next node when its stream breaks, and hands over whatever it is given.
 *
 * Nothing is left out or put right here: a record that comes twice is taken twice, so that a test
 * sees it. The two clients of the package choose their nodes themselves.
 */
import { Client } from "../../../src/client/client.js";
import { HttpClient } from "../../../src/client/http.js";
import { decodeBatch } from "../../../src/common/record.js";
import type { NodeProcess } from "../harness.js";
import { ask } from "../http-client.js";
import { ownProto, StubClient } from "../rpc-client.js";
import type { Message } from "../rpc-client.js";
import { linesOf } from "./lines.js";

export interface Seen {
  readonly offset: number;
  readonly value: string;
}

export interface Visit {
  readonly node: NodeProcess;
  /** The offset after the last record that was taken. */
  readonly next: number;
  /** Where the reader began, long ago. */
  readonly from: number;
  readonly signal: AbortSignal;
  readonly take: (record: Seen) => void;
}

/** Follows on one node until the stream breaks. */
export type Follow = (visit: Visit) => Promise<void>;

export const surfaces: Readonly<Record<string, Follow>> = {
  "gRPC ConsumeStream": async (visit) =>
    readStream("ConsumeStream", visit, ({ record }) => {
      const { offset, value } = record as { offset: string; value: Buffer };
      visit.take({ offset: Number(offset), value: value.toString() });
    }),
  "gRPC ConsumeBatches": async (visit) =>
    readStream("ConsumeBatches", visit, (message) => {
      for (const record of decodeBatch(batchOf(message))) {
        visit.take({ offset: record.offset, value: Buffer.from(record.value).toString() });
      }
    }),
  NDJSON: async ({ node, next, signal, take }) => {
    const url = `${node.httpUrl}/Data?from=${next}&follow=true`;
    const headers = { accept: "application/x-ndjson" };
    for await (const line of linesOf(url, headers, signal)) take(seenOf(line));
  },
  "server-sent events": async (visit) => followEvents(visit),
  "long poll": async ({ node, next, signal, take }) => {
    for (let offset = next; !signal.aborted;) {
      const answer = await ask(`${node.httpUrl}/Data?offset=${offset}&wait=2s`);
      if (answer.status === 200) {
        take(seenOf(answer.text));
        offset += 1;
      } else if (answer.status !== 404) return;
    }
  },
};

export const clients: Readonly<Record<string, (nodes: readonly NodeProcess[]) => Following>> = {
  "Client.consume": (nodes) => {
    const client = new Client({ servers: nodes.map((node) => node.rpcAddr) });
    return {
      async run(from, take) {
        for await (const record of client.consume({ from, follow: true })) {
          take({ offset: record.offset, value: record.text() });
        }
      },
      end: async () => client.close(),
    };
  },
  "HttpClient.consume": (nodes) => {
    const client = new HttpClient({ servers: nodes.map((node) => node.httpUrl) });
    return {
      async run(from, take) {
        for await (const { offset, message } of client.consume({ from, follow: true })) {
          take({ offset, value: String(message) });
        }
      },
      async end() {
        client.close();
        return Promise.resolve();
      },
    };
  },
};

/** A client's loop, which ends only when it is told to. */
export interface Following {
  readonly run: (from: number, take: (record: Seen) => void) => Promise<void>;
  readonly end: () => Promise<void>;
}

function seenOf(text: string): Seen {
  const { offset, message } = JSON.parse(text) as { offset: number; message: unknown };
  return { offset, value: String(message) };
}

export function batchOf(message: Message): Parameters<typeof decodeBatch>[0] {
  const { offset, timestamp_ms: timestampMs, count, records } = message;
  return {
    offset: Number(offset),
    timestampMs: Number(timestampMs),
    count: Number(count),
    records: records as Buffer,
  };
}

/** Resumes as a browser does: the first address again, and the last id. */
async function followEvents({ node, next, from, signal, take }: Visit): Promise<void> {
  const headers = {
    accept: "text/event-stream",
    ...(next === from ? {} : { "last-event-id": String(next - 1) }),
  };
  let id = "";
  for await (const line of linesOf(`${node.httpUrl}/Data?from=${from}`, headers, signal)) {
    if (line.startsWith("event:")) return;
    if (line.startsWith("id:")) id = line.slice("id:".length).trim();
    if (!line.startsWith("data:")) continue;
    const seen = seenOf(line.slice("data:".length));
    if (id !== String(seen.offset)) throw new Error(`the id of ${seen.offset} is ${id}`);
    take(seen);
  }
}

async function readStream(
  method: "ConsumeStream" | "ConsumeBatches",
  { node, next, signal }: Visit,
  onMessage: (message: Message) => void,
): Promise<void> {
  const stub = new StubClient(ownProto, "log.v1.Log", node.rpcAddr);
  const stream = stub.read(method, { offset: next, follow: true });
  const stop = (): void => {
    stream.cancel();
  };
  signal.addEventListener("abort", stop, { once: true });
  stream.on("data", onMessage);
  await new Promise<void>((resolve) => {
    stream.once("end", resolve);
    stream.on("error", () => {
      resolve();
    });
  });
  signal.removeEventListener("abort", stop);
  stub.close();
}
