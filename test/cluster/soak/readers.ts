/**
 * Readers of a soak: some follow the log and change nodes, some ask for single offsets, hits and
 * misses, and note what they were told.
 */
import { performance } from "node:perf_hooks";

import type { HistoryRecorder, ReadOperation } from "../../history/history.js";
import type { Chance } from "../../history/random.js";
import type { NodeProcess } from "../harness.js";
import { ask } from "../http-client.js";
import type { Page, Problem } from "../http-client.js";
import { briefly } from "../poll.js";
import { tail } from "./http-tail.js";
import type { LogStub, NamedRecord } from "./log-stub.js";
import { nameOfMessage } from "./messages.js";

export interface ReaderParts {
  readonly client: string;
  readonly nodes: readonly NodeProcess[];
  readonly stubOf: (node: NodeProcess) => LogStub;
  readonly recorder: HistoryRecorder;
  readonly chance: Chance;
  /** Ends the reader. */
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly onFailure: (why: string) => void;
}

/**
 * Follows the log from its start, without a gap, a few seconds on each node.
 *
 * @param onNext Told the offset that is read next.
 */
export async function followLog(
  type: "ndjson" | "sse" | "grpc",
  parts: ReaderParts,
  onNext: (offset: number) => void,
): Promise<void> {
  const { client, nodes, chance, recorder, signal } = parts;
  let next = 0;
  while (!signal.aborted) {
    const node = chance.of(nodes);
    const visitMs = 1_000 + chance.below(5_000);
    const visit = AbortSignal.any([signal, AbortSignal.timeout(visitMs)]);
    const invokedAt = performance.now();
    const take = ({ offset, value }: NamedRecord): void => {
      recorder.read({
        ...{ client, node: node.name, invokedAt, returnedAt: performance.now() },
        ...{ from: next, consistency: "linearizable" },
        result: { type: "hit", offset, values: [value] },
      });
      next = offset + 1;
      onNext(next);
    };
    if (type === "grpc") await parts.stubOf(node).follow(next, visit, take);
    else await tail(node.httpUrl, { from: next, type, signal: visit }, take);
    await briefly(50);
  }
}

/** Asks for single offsets: some that are there, some at the end, some beyond it. */
export async function readOffsets(parts: ReaderParts): Promise<void> {
  const { client, nodes, chance, recorder, signal } = parts;
  let knownEnd = 0;
  while (!signal.aborted) {
    const node = chance.of(nodes);
    const asked = chance.of(["old", "end", "beyond", "page"] as const);
    const from = asked === "old" ? chance.below(knownEnd + 1) : knownEnd;
    const question: Question = {
      from: asked === "beyond" ? from + 1_000_000 : from,
      consistency: chance.is(0.1) ? "local" : "linearizable",
    };
    const invokedAt = performance.now();
    const read = chance.is(0.5) ? overHttp : overRpc;
    const answers = await (asked === "page" ? lastPage : read)(node, question, parts);
    const returnedAt = performance.now();
    for (const answer of answers) {
      recorder.read({ client, node: node.name, invokedAt, returnedAt, ...question, ...answer });
      const { result } = answer;
      const end = result.type === "miss" ? result.endOffset : result.offset + result.values.length;
      knownEnd = Math.max(knownEnd, end);
    }
    await briefly(20);
  }
}

type Question = Pick<ReadOperation, "from" | "consistency">;
/** `from` where the question was not for one offset. */
type Reading = Pick<ReadOperation, "result"> & Partial<Pick<ReadOperation, "from">>;

async function overHttp(
  node: NodeProcess,
  { from, consistency }: Question,
  { timeoutMs, onFailure }: ReaderParts,
): Promise<Reading[]> {
  const url = `${node.httpUrl}/Data?offset=${from}&consistency=${consistency}`;
  const answer = await ask(url, { timeoutMs }).catch(() => undefined);
  if (answer === undefined) {
    onFailure("no answer");
    return [];
  }
  if (answer.status === 200) {
    const { offset, message } = answer.body as { offset: number; message: unknown };
    return [{ result: { type: "hit", offset, values: [nameOfMessage(message)] } }];
  }
  const { code, ...fields } = answer.body as Problem;
  if (code === "offset-out-of-range") {
    return [{ result: { type: "miss", endOffset: Number(fields["endOffset"]) } }];
  }
  onFailure(code);
  return [];
}

async function overRpc(
  node: NodeProcess,
  { from, consistency }: Question,
  { stubOf, timeoutMs, onFailure }: ReaderParts,
): Promise<Reading[]> {
  const answer = await stubOf(node).consume(from, { consistency, timeoutMs });
  switch (answer.type) {
    case "hit": {
      const { offset, value } = answer.record;
      return [{ result: { type: "hit", offset, values: [value] } }];
    }
    case "miss":
      return [{ result: { type: "miss", endOffset: answer.endOffset } }];
    case "failed":
      onFailure(answer.why);
      return [];
  }
}

/** A page says two things: where the log ends, and what lies there. */
async function lastPage(
  node: NodeProcess,
  { consistency }: Question,
  { timeoutMs, onFailure }: ReaderParts,
): Promise<Reading[]> {
  const url = `${node.httpUrl}/Data?from=-3&consistency=${consistency}`;
  const answer = await ask(url, { timeoutMs }).catch(() => undefined);
  if (answer?.status !== 200) {
    onFailure(answer === undefined ? "no answer" : (answer.body as Problem).code);
    return [];
  }
  const { endOffset, messages } = answer.body as Page;
  const end: Reading = { from: endOffset, result: { type: "miss", endOffset } };
  const first = messages[0]?.offset;
  if (first === undefined) return [end];
  const values = messages.map(({ message }) => nameOfMessage(message));
  return [end, { from: first, result: { type: "hit", offset: first, values } }];
}
