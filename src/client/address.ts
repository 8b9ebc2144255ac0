/**
 * Addresses of nodes as people write them, and as grpc-js dials them.
 *
 * Never resolves a name: that is grpc-js's business, on each try, so that a node that moved is
 * found again under its name.
 */
import { isIPv6 } from "node:net";

import { ProglogError } from "../common/errors.js";

/** Longest text that is looked at: 253 of a DNS name, brackets, a zone, a port. */
const addressLengthMax = 320;
const bracketedPattern = /^\[([^\]]+)\]:(\d{1,5})$/;
const plainPattern = /^([A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?):(\d{1,5})$/;

/** True for `host:port`, an IPv6 host in brackets, a port from 1 to 65 535. */
export function isAddress(text: unknown): boolean {
  if (typeof text !== "string" || text.length > addressLengthMax) return false;
  const bracketed = bracketedPattern.exec(text);
  const [, host, port] = bracketed ?? plainPattern.exec(text) ?? [];
  if (host === undefined || port === undefined) return false;
  if (bracketed !== null && !isIPv6(host)) return false;
  return Number(port) >= 1 && Number(port) <= 0xffff;
}

/**
 * Checks the addresses that a client starts from.
 *
 * @throws ProglogError `invalid-request` if there is none, or one is not an address.
 */
export function checkAddresses(addresses: readonly string[]): void {
  if (addresses.length === 0) {
    throw new ProglogError("invalid-request", "Option servers must name at least one address.");
  }
  for (const address of addresses) {
    if (isAddress(address)) continue;
    const shown = JSON.stringify(address).slice(0, addressLengthMax);
    throw new ProglogError(
      "invalid-request",
      `Option servers: ${shown} is not host:port (an rpc address, such as 127.0.0.1:8400).`,
    );
  }
}

/** The scheme is spelled out, so that no host name can be taken for one. */
export function dialTarget(address: string): string {
  return `dns:${address}`;
}

/** Of an address that was checked; an IPv6 host without its brackets. */
export function hostAndPort(address: string): { readonly host: string; readonly port: number } {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  return { host, port: Number(address.slice(colon + 1)) };
}
