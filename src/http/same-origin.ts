/**
 * Keeps web pages from elsewhere from acting through their visitor's browser.
 *
 * A browser names the page's origin with each request that could change something; programs name
 * none, and are no concern of this.
 */
import { ProglogError } from "../common/errors.js";
import type { Exchange } from "./exchange.js";

/** @throws ProglogError `permission-denied` if a page of another origin asks. */
export function refuseOtherOrigin(exchange: Exchange, detail: string): void {
  const { origin, host, "sec-fetch-site": site } = exchange.request.headers;
  if (origin === undefined) return;
  // What a browser says of itself holds also behind a proxy that names another host.
  if (site === "same-origin") return;
  const originHost = /^https?:\/\/(.+)$/i.exec(origin)?.[1];
  if (originHost !== undefined && originHost.toLowerCase() === host?.toLowerCase()) return;
  throw new ProglogError("permission-denied", detail);
}
