/**
 * Addresses as people write them: `host:port`, with an IPv6 host in brackets.
 *
 * Never resolves a name: that is the dialler's business, on each try.
 * Invariant: formatAddress(parseAddress(text)) names the same host and port as text.
 */
import { isIPv6 } from "node:net";

import { ProglogError } from "../common/errors.js";

export interface Address {
  /** A name, an IPv4 address, or an IPv6 address without its brackets. */
  readonly host: string;
  /** 0 to 65 535; 0 asks for any free port and can't be dialled. */
  readonly port: number;
}

/** Longest text that is looked at: 253 of a DNS name, brackets, a zone, a port. */
const addressLengthMax = 320;
const hostPattern = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?$/;
const bracketedPattern = /^\[([^\]]+)\]:(\d{1,5})$/;
const plainPattern = /^([^:[\]]+):(\d{1,5})$/;

/**
 * Reads `host:port`.
 *
 * @returns undefined if the text is anything else: a bare IPv6 address, a URL, a port above 65 535.
 */
export function parseAddress(text: string): Address | undefined {
  if (text.length > addressLengthMax) return undefined;
  const bracketed = bracketedPattern.exec(text);
  const [, host, port] = bracketed ?? plainPattern.exec(text) ?? [];
  if (host === undefined || port === undefined) return undefined;
  const isHost = bracketed === null ? hostPattern.test(host) : isIPv6(host);
  const address = { host, port: Number(port) };
  return isHost && address.port <= 0xffff ? address : undefined;
}

/**
 * Reads an address that must be there and be one that can be dialled.
 *
 * @param name What the address is, for the error: an option or a field.
 * @throws ProglogError `invalid-request` that names the field and shows the form.
 */
export function requireAddress(text: string, name: string): Address {
  const address = parseAddress(text);
  if (address === undefined || address.port === 0) {
    throw new ProglogError(
      "invalid-request",
      `${name} is not an address: ${JSON.stringify(text.slice(0, addressLengthMax))}. ` +
        "Write host:port, an IPv6 host in brackets, a port from 1 to 65535.",
    );
  }
  return address;
}

/** `host:port`, with brackets where the host is an IPv6 address. */
export function formatAddress(address: Address): string {
  const host = isIPv6(address.host) ? `[${address.host}]` : address.host;
  return `${host}:${String(address.port)}`;
}

/**
 * The gRPC target of an address. The scheme is spelled out, so that no host name can be taken for
 * one (`unix:8400` is a host called unix, not a socket).
 */
export function dialTarget(address: Address): string {
  return `dns:${formatAddress(address)}`;
}
