/**
 * The dashboard: a page on every node, its files, and the appends of its form.
 *
 * It must never let the page reach for anything but its own node, nor run what is not served from
 * here: records and names are anybody's text. Files are the same bytes for as long as the node
 * runs, so each has a strong tag and is sent again only after an upgrade.
 */
import { createHash } from "node:crypto";
import { extname } from "node:path";

import { ProglogError } from "../common/errors.js";
import type {
  AppendAnswer,
  AppendReceipt,
  AppendRequest,
  CommittedAppend,
  LogService,
} from "../service/api.js";
import { dashboardAssets } from "./dashboard-assets.js";
import type { DataRoutes } from "./data-routes.js";
import type { Exchange } from "./exchange.js";

const pageName = "index.html";

const contentTypes: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Scripts, styles and answers come from this node alone; no script can turn text into markup. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

interface Asset {
  readonly body: Buffer;
  readonly type: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly tag: string;
}

/** Appends of the page that wait at once: people type them. */
export const dashboardAppendsMax = 64;

/**
 * The log as the page appends to it: a node that does not lead relays, whatever its own option
 * says. A browser does not follow a redirect to the leader, which is another origin.
 */
export function relayingLog(log: LogService): LogService {
  async function produce(request: CommittedAppend): Promise<AppendReceipt>;
  async function produce(request: AppendRequest): Promise<AppendAnswer>;
  async function produce(request: AppendRequest): Promise<AppendAnswer> {
    return log.produce(request, { relay: true });
  }
  return {
    produce,
    outcome: async (producer) => log.outcome(producer),
    read: (offset, options) => log.read(offset, options),
    list: (request) => log.list(request),
    stream: (request) => log.stream(request),
    bounds: () => log.bounds(),
    position: () => log.position(),
  };
}

export class DashboardRoutes {
  readonly #appends: DataRoutes;
  readonly #assets = new Map<string, Asset>();

  /** @param appends Routes over a log that relays. */
  constructor(appends: DataRoutes) {
    this.#appends = appends;
    for (const [name, text] of Object.entries(dashboardAssets)) {
      this.#assets.set(name, assetOf(name, text));
    }
  }

  /** GET /. */
  page(exchange: Exchange): void {
    this.#send(exchange, pageName);
  }

  /** GET /dashboard/{file}. */
  file(exchange: Exchange, name: string): void {
    this.#send(exchange, name === pageName ? "" : name);
  }

  /** POST /dashboard/append: POST /Data, relayed to the leader where this node does not lead. */
  async append(exchange: Exchange): Promise<void> {
    await this.#appends.append(exchange);
  }

  #send(exchange: Exchange, name: string): void {
    const asset = this.#assets.get(name);
    if (asset === undefined) {
      throw new ProglogError("not-found", "The dashboard has no such file.", { outcome: null });
    }
    const known = exchange.request.headers["if-none-match"] ?? "";
    const tags = known.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
    const isKnown = tags.includes(asset.tag) || tags.includes("*");
    if (isKnown) exchange.send(304, { ...asset.headers }, "");
    else exchange.send(200, { ...asset.headers, "Content-Type": asset.type }, asset.body);
  }
}

function assetOf(name: string, text: string): Asset {
  const body = Buffer.from(text);
  const tag = `"${createHash("sha256").update(body).digest("base64url")}"`;
  const headers = {
    "Cache-Control": "no-cache",
    ETag: tag,
    "Content-Security-Policy": contentSecurityPolicy,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
  };
  return { body, type: contentTypes[extname(name)] ?? "application/octet-stream", tag, headers };
}
