/**
 * Which handler serves which path and method.
 *
 * Paths match exactly, but for one parameter at the end. HEAD is served by GET's handler; the
 * exchange leaves out the body.
 */
import { ProglogError } from "../common/errors.js";
import type { Exchange } from "./exchange.js";

export type Method = "GET" | "POST" | "DELETE";

/** Handles one request; `parameter` is the decoded end of the path, or empty. */
export type Handler = (exchange: Exchange, parameter: string) => Promise<void> | void;

export type Handlers = Readonly<Partial<Record<Method, Handler>>>;

/** The path takes other methods; `allow` lists them. */
export class MethodNotAllowedError extends ProglogError {
  readonly allow: string;

  constructor(allow: string) {
    super("method-not-allowed", `This path takes ${allow}.`, { outcome: null });
    this.allow = allow;
  }
}

/** The routes of a gateway. A path that ends in `/*` takes one segment more as its parameter. */
export class RouteTable {
  readonly #exact = new Map<string, Handlers>();
  readonly #prefixes: { readonly prefix: string; readonly handlers: Handlers }[] = [];

  constructor(routes: Readonly<Record<string, Handlers>>) {
    for (const [path, handlers] of Object.entries(routes)) {
      if (path.endsWith("/*")) this.#prefixes.push({ prefix: path.slice(0, -1), handlers });
      else this.#exact.set(path, handlers);
    }
  }

  /** @throws ProglogError `not-found`, `method-not-allowed`. */
  async dispatch(exchange: Exchange): Promise<void> {
    const exact = this.#exact.get(exchange.path);
    if (exact !== undefined) {
      await handlerOf(exact, exchange)(exchange, "");
      return;
    }
    for (const { prefix, handlers } of this.#prefixes) {
      if (!exchange.path.startsWith(prefix)) continue;
      const parameter = decodeSegment(exchange.path.slice(prefix.length));
      await handlerOf(handlers, exchange)(exchange, parameter);
      return;
    }
    throw notFound();
  }
}

function handlerOf(handlers: Handlers, exchange: Exchange): Handler {
  const method = exchange.isHead ? "GET" : (exchange.request.method ?? "GET");
  const handler = Object.hasOwn(handlers, method) ? handlers[method as Method] : undefined;
  if (handler !== undefined) return handler;
  const allowed = Object.keys(handlers).flatMap((name) =>
    name === "GET" ? [name, "HEAD"] : [name],
  );
  throw new MethodNotAllowedError(allowed.join(", "));
}

function decodeSegment(segment: string): string {
  if (segment === "" || segment.includes("/") || segment.length > 300) throw notFound();
  try {
    return decodeURIComponent(segment);
  } catch {
    throw notFound();
  }
}

function notFound(): ProglogError {
  return new ProglogError("not-found", "There is nothing at this path; see /openapi.json.");
}
