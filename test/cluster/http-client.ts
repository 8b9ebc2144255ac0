/**
 * What a test says to a node over HTTP, and how a write's failure is to be read.
 *
 * `produce` never guesses: a write is acknowledged, rejected (surely not in the log) or unknown.
 */
import { performance } from "node:perf_hooks";

import { until } from "./poll.js";

/** The body of a problem+json answer. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly retryable: boolean;
  readonly outcome: "not_applied" | "unknown" | "applied" | null;
  readonly [field: string]: unknown;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: unknown;
  readonly elapsedMs: number;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly timeoutMs?: number;
  /** False to see a redirect instead of following it. */
  readonly follow?: boolean;
}

/** One request, read to its end. Throws if there is no answer. */
export async function ask(url: string, options: AskOptions = {}): Promise<Answer> {
  const start = performance.now();
  const response = await fetch(url, {
    method: options.method ?? "GET",
    headers: options.headers ?? {},
    redirect: options.follow === false ? "manual" : "follow",
    signal: AbortSignal.timeout(options.timeoutMs ?? 30_000),
    ...(options.body === undefined ? {} : { body: options.body }),
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: parsed(text),
    elapsedMs: performance.now() - start,
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The answer's body as a problem; throws if it is none. */
export function problemOf(answer: Answer): Problem {
  const type = answer.headers.get("content-type") ?? "";
  if (!type.startsWith("application/problem+json")) {
    throw new Error(`not a problem: ${answer.status} ${type} ${answer.text.slice(0, 200)}`);
  }
  return answer.body as Problem;
}

/** Posts a JSON body to /Data. */
export async function post(
  base: string,
  body: unknown,
  options: Omit<AskOptions, "body" | "method"> = {},
): Promise<Answer> {
  return ask(`${base}/Data`, {
    ...options,
    method: "POST",
    headers: { "content-type": "application/json", ...options.headers },
    body: JSON.stringify(body),
  });
}

export type ProduceResult =
  | { readonly kind: "acknowledged"; readonly offset: number }
  | { readonly kind: "rejected"; readonly why: string }
  | { readonly kind: "unknown"; readonly why: string };

/** Appends one message, following redirects, and says what became of it. */
export async function produce(
  base: string,
  message: unknown,
  timeoutMs = 15_000,
): Promise<ProduceResult> {
  let answer: Answer;
  try {
    answer = await post(base, { message }, { timeoutMs });
  } catch (error) {
    // Nobody listened, here or at the place that a redirect named: the body reached no leader.
    const code = codeOf(error);
    return { kind: code === "ECONNREFUSED" ? "rejected" : "unknown", why: code };
  }
  if (answer.status === 201) {
    return { kind: "acknowledged", offset: (answer.body as { offset: number }).offset };
  }
  const problem = problemOf(answer);
  const kind = problem.outcome === "not_applied" ? "rejected" : "unknown";
  return { kind, why: problem.code };
}

function codeOf(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  if (typeof cause !== "object" || cause === null) return String(cause);
  const { code, name } = cause as { code?: unknown; name?: unknown };
  // A DOMException, such as a timeout, has a number for a code, which tells nobody anything.
  return typeof code === "string" ? code : String(name);
}

export interface ReadRecord {
  readonly offset: number;
  readonly message: unknown;
}

export interface Page {
  readonly messages: readonly ReadRecord[];
  readonly startOffset: number;
  readonly endOffset: number;
  readonly next: number;
}

/**
 * The whole log as one node gives it, page by page. A page that must be asked for again is: a node
 * that has no leader for a moment cannot confirm where the log ends.
 */
export async function readAll(base: string, from = 0): Promise<ReadRecord[]> {
  const records: ReadRecord[] = [];
  let next = from;
  for (;;) {
    const page = await until(`records from ${next} on`, async () => {
      const answer = await ask(`${base}/Data?from=${next}&limit=10000`);
      if (answer.status === 200) return answer.body as Page;
      throw new Error(`list: ${answer.status} ${answer.text}`);
    });
    for (const record of page.messages) records.push(record);
    if (page.messages.length === 0 || page.next >= page.endOffset) return records;
    next = page.next;
  }
}

export interface StatusMember {
  readonly id: string;
  readonly name: string;
  readonly role: "leader" | "follower" | "learner";
  readonly voter: boolean;
  readonly rpcAddr: string;
  readonly httpAddr: string;
  readonly alive: boolean;
  readonly matchIndex: number | null;
  readonly lag: number | null;
}

/** The body of GET /cluster. */
export interface Status {
  readonly clusterId: string;
  readonly term: number;
  readonly leader: { name: string; httpAddr: string; rpcAddr: string } | null;
  readonly quorum: boolean;
  readonly readOnly: boolean;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly startOffset: number;
  readonly endOffset: number;
  readonly members: readonly StatusMember[];
}

/** The cluster as a node sees it. */
export async function clusterStatus(base: string, timeoutMs = 3_000): Promise<Status> {
  const answer = await ask(`${base}/cluster`, { timeoutMs });
  if (answer.status !== 200) throw new Error(`GET /cluster: ${answer.status} ${answer.text}`);
  return answer.body as Status;
}
