import fc from "fast-check";
import { expect, test } from "vitest";

import { ProglogError } from "../../src/common/errors.js";
import {
  dialTarget,
  formatAddress,
  parseAddress,
  requireAddress,
} from "../../src/rpc/addresses.js";

test("reads names, IPv4 and bracketed IPv6", () => {
  expect(parseAddress("localhost:8400")).toEqual({ host: "localhost", port: 8400 });
  expect(parseAddress("my_svc-0.ns.svc.:1")).toEqual({ host: "my_svc-0.ns.svc.", port: 1 });
  expect(parseAddress("10.0.0.1:0")).toEqual({ host: "10.0.0.1", port: 0 });
  expect(parseAddress("[::1]:65535")).toEqual({ host: "::1", port: 65535 });
});

test("refuses anything else", () => {
  const texts = ["", ":1", "a", "a:", "a:b", "a:65536", "a:-1", "a:1:2", "::1", "::1:80", "[::1]"];
  const more = [
    "[a]:1",
    "[]:1",
    "http://a:1",
    "a/b:1",
    "a b:1",
    "-a:1",
    "é:1",
    `${"a".repeat(400)}:1`,
  ];
  for (const text of [...texts, ...more]) expect(parseAddress(text), text).toBeUndefined();
});

test("writes what it reads", () => {
  const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain());
  fc.assert(
    fc.property(host, fc.integer({ min: 0, max: 65535 }), (name, port) => {
      const address = { host: name, port };
      expect(parseAddress(formatAddress(address))).toEqual(address);
    }),
  );
});

test("names the field whose address can't be dialled", () => {
  expect(requireAddress("a:1", "join")).toEqual({ host: "a", port: 1 });
  for (const text of ["a:0", "nonsense"]) {
    expect(() => requireAddress(text, "join")).toThrow(ProglogError);
    expect(() => requireAddress(text, "join")).toThrow(/^join is not an address: "/);
  }
});

test("a host that is called like a scheme stays a host", () => {
  expect(dialTarget({ host: "unix", port: 8400 })).toBe("dns:unix:8400");
  expect(dialTarget({ host: "::1", port: 8400 })).toBe("dns:[::1]:8400");
});
