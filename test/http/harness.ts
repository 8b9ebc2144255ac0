/**
 * A gateway on a loopback socket, and calls that hold each answer against the OpenAPI document.
 */
import { connect } from "node:net";
import type { Socket } from "node:net";
import { afterEach, expect } from "vitest";

import { systemClock } from "../../src/common/system.js";
import { HttpGateway } from "../../src/http/gateway.js";
import { openApi } from "../../src/http/openapi.js";
import type { HttpOptions } from "../../src/http/options.js";
import { MemoryCluster, MemoryLog, MemoryNode } from "./memory-services.js";

export interface Gateway {
  readonly node: MemoryNode;
  readonly gateway: HttpGateway;
  readonly url: string;
  readonly port: number;
  /** Events that the gateway logged at `error`. */
  readonly errors: string[];
}

const running = new Set<HttpGateway>();
const sockets = new Set<Socket>();

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await Promise.all([...running].map((gateway) => gateway.close()));
  running.clear();
});

export async function startGateway(
  options: Partial<HttpOptions> = {},
  node = new MemoryNode(),
): Promise<Gateway> {
  const errors: string[] = [];
  const ignore = (): void => undefined;
  const gateway = new HttpGateway({
    log: new MemoryLog(node),
    cluster: new MemoryCluster(node),
    clock: systemClock,
    logger: { debug: ignore, info: ignore, warn: ignore, error: (_, event) => errors.push(event) },
    options: { closeTimeoutMs: 2000, ...options },
  });
  running.add(gateway);
  const { port } = await gateway.listen("127.0.0.1", 0);
  node.httpAddr = `127.0.0.1:${String(port)}`;
  node.lead();
  return { node, gateway, port, url: `http://127.0.0.1:${String(port)}`, errors };
}

/** Fetches, without following redirects, and checks what holds for every answer. */
export async function call(
  { url }: Gateway,
  target: string,
  init: RequestInit = {},
): Promise<Response> {
  const response = await fetch(`${url}${target}`, { redirect: "manual", ...init });
  expect(response.headers.get("x-proglog-node")).toBeTruthy();
  expect(response.headers.get("x-proglog-term")).toMatch(/^\d+$/);
  expect(response.headers.get("x-proglog-commit-offset")).toMatch(/^\d+$/);
  expectDescribed(target, (init.method ?? "GET").toLowerCase(), response);
  return response;
}

/** Each status of a served route stands in the OpenAPI document. */
function expectDescribed(target: string, method: string, response: Response): void {
  const path = target
    .replace(/\?.*$/, "")
    .replace(/^(\/cluster\/members)\/.+$/, "$1/{id}")
    .replace(/^(\/dashboard)\/(?!append$).+$/, "$1/{file}");
  const paths = openApi.paths as Record<string, Record<string, { responses: object }>>;
  const operation = paths[path]?.[method];
  if (operation === undefined) {
    expect([404, 405], `${method} ${path} is served, so it is described`).toContain(
      response.status,
    );
    return;
  }
  const described = (operation.responses as Record<string, { content?: object }>)[response.status];
  expect(described, `${method} ${path} ${String(response.status)} is described`).toBeDefined();
  const type = response.headers.get("content-type")?.replace(/;.*$/, "");
  if (type === undefined || method === "head") return;
  expect(Object.keys(described?.content ?? {})).toContain(type);
}

export async function post(
  gateway: Gateway,
  body: unknown,
  init: RequestInit = {},
): Promise<Response> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const headers = { "content-type": "application/json" };
  return await call(gateway, "/Data", { method: "POST", headers, body: text, ...init });
}

/** The JSON of an answer. */
export async function jsonOf(response: Response): Promise<Record<string, unknown>> {
  return (await response.json()) as Record<string, unknown>;
}

/** Checks a problem answer whole, and returns it. */
export async function expectProblem(
  response: Response,
  status: number,
  code: string,
): Promise<Record<string, unknown>> {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  expect(response.headers.get("cache-control")).toBe("no-store");
  const problem = await jsonOf(response);
  expect(problem).toMatchObject({ status, code });
  expect(response.status).toBe(status);
  expect(problem["type"]).toBe(`urn:proglog:error:${code}`);
  expect(problem["title"]).toMatch(/\w/);
  expect(problem["detail"]).toMatch(/\w.*\.$/);
  expect(String(problem["detail"])).not.toMatch(/\n|\.[jt]s:\d|node_modules/);
  expect(problem["retryable"]).toBeTypeOf("boolean");
  expect(problem).toHaveProperty("outcome");
  return problem;
}

/** A bare connection that gathers what it is sent. */
export class RawClient {
  readonly socket: Socket;
  received = "";
  isClosed = false;
  readonly #closed: Promise<void>;

  constructor(port: number) {
    this.socket = connect(port, "127.0.0.1");
    sockets.add(this.socket);
    this.socket.on("data", (chunk) => (this.received += chunk.toString("latin1")));
    this.socket.on("error", () => undefined);
    this.#closed = new Promise((resolve) => {
      this.socket.once("close", () => {
        this.isClosed = true;
        resolve();
      });
    });
  }

  send(text: string): this {
    this.socket.write(text);
    return this;
  }

  /** What was received until the other side closed. */
  async closed(): Promise<string> {
    await this.#closed;
    return this.received;
  }
}

/** Polls until the condition holds. */
export async function eventually(holds: () => boolean, what: string): Promise<void> {
  await expect.poll(holds, { timeout: 10_000, interval: 5, message: what }).toBe(true);
}

/** Reads text from a body until it holds `wanted`; returns all that was read. */
export async function readUntil(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  wanted: string,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  while (!text.includes(wanted)) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
  }
  expect(text).toContain(wanted);
  return text;
}

/** The reader of an answer's body. */
export function readerOf(response: Response): ReadableStreamDefaultReader<Uint8Array> {
  const { body } = response;
  if (body === null) throw new Error("The answer has no body.");
  return body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
}
