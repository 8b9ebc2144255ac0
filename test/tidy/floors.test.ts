/** The floors of the house hold, and the check that says so sees what it should. */
import { describe, expect, test } from "vitest";

import { findBrokenFloors, findCycles } from "./floors.js";
import { filesUnder, read } from "./tree.js";

const files = filesUnder("src")
  .filter((path) => path.endsWith(".ts"))
  .map((path) => ({ path, text: read(path) }));

describe("the house", () => {
  test("imports only downwards", () => {
    expect(findBrokenFloors(files)).toEqual([]);
  });

  test("has no import cycles", () => {
    expect(findCycles(files)).toEqual([]);
  });
});

describe("the check", () => {
  test.each([
    ["a higher room", "src/raft/a.ts", 'import { x } from "../replica/x.js";'],
    ["a room beside", "src/http/a.ts", 'import { x } from "../rpc/x.js";'],
    ["a type of a room beside", "src/raft/a.ts", 'import type { X } from "../storage/x.js";'],
    ["a re-export", "src/common/a.ts", 'export * from "../raft/x.js";'],
    ["an import()", "src/common/a.ts", 'const x = await import("../raft/x.js");'],
    ["an import() type", "src/common/a.ts", 'let x: import("../raft/x.js").X;'],
    ["a wing that looks down too far", "src/client/a.ts", 'import "../service/api.js";'],
    ["Node in the core", "src/raft/a.ts", 'import { Buffer } from "node:buffer";'],
    ["gRPC below the border", "src/service/a.ts", 'import "@grpc/grpc-js";'],
    ["a package in the state machine", "src/machine/a.ts", 'import "fast-check";'],
    ["files outside the disk port", "src/http/a.ts", 'import "node:fs/promises";'],
    ["files elsewhere in storage", "src/storage/a.ts", 'import "node:fs";'],
    ["the real clock", "src/replica/a.ts", 'import "../common/system.js";'],
    ["a file outside src", "src/cli/a.ts", 'import "../../test/x.js";'],
  ])("reports %s", (_what, path, text) => {
    expect(findBrokenFloors([{ path, text }])).toHaveLength(1);
  });

  test.each([
    ["a lower room", "src/replica/a.ts", 'import { x } from "../raft/x.js";'],
    ["the same room", "src/raft/a.ts", 'import { x } from "./x.js";'],
    ["the disk port's own file system", "src/storage/node-disk.ts", 'import "node:fs";'],
    ["the roof", "src/index.ts", 'export { x } from "./agent/x.js";'],
  ])("allows %s", (_what, path, text) => {
    expect(findBrokenFloors([{ path, text }])).toEqual([]);
  });

  test("refuses a room without a floor", () => {
    const file = { path: "src/cli/a.ts", text: 'import "../cellar/x.js";' };
    expect(() => findBrokenFloors([file])).toThrow("stands on no floor");
  });

  test("reports a cycle made of type imports", () => {
    const cycle = [
      { path: "src/raft/a.ts", text: 'import type { B } from "./b.js";' },
      { path: "src/raft/b.ts", text: 'import type { A } from "./a.js";' },
    ];
    expect(findCycles(cycle)).toEqual(["src/raft/a.ts -> src/raft/b.ts -> src/raft/a.ts"]);
  });
});
