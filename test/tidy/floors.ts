/**
 * The floors of the house: which room may import what. Pure: files in, findings out.
 *
 * A room imports only rooms on lower floors, never a room beside it; type imports count. Some
 * rooms are kept from parts of Node as well, so that the core stays pure and the disk, the
 * network and the clock each stay behind one door.
 */
import { posix } from "node:path";

import ts from "typescript";

/** Floor of each room under src. Files straight under src stand on the roof. */
export const floors: Readonly<Record<string, number>> = {
  gen: 0,
  common: 0,
  raft: 1,
  storage: 1,
  security: 1,
  observability: 1,
  machine: 2,
  replica: 3,
  service: 4,
  membership: 4,
  http: 5,
  rpc: 5,
  client: 5,
  agent: 6,
  cli: 7,
  testing: 7,
};

const roof = "the roof";

/** Rooms whose imports are fewer than their floor allows. */
const wings: Readonly<Record<string, readonly string[]>> = {
  client: ["gen", "security", "common"],
};

/** A door: the only places that may import the modules it guards. */
interface Door {
  readonly guards: RegExp;
  readonly opensTo: (path: string) => boolean;
  readonly reason: string;
}

function within(...prefixes: readonly string[]): (path: string) => boolean {
  return (path) => prefixes.some((prefix) => path.startsWith(prefix));
}

const doors: readonly Door[] = [
  {
    guards: /^[^.]/,
    opensTo: (path) => !within("src/raft/")(path),
    reason: "the core imports nothing from outside src",
  },
  {
    // zlib's crc32 is a pure function, so the state machine may have it.
    guards: /^(?!node:zlib$)[^.]/,
    opensTo: (path) => !within("src/machine/")(path),
    reason: "the state machine imports nothing from outside src but a checksum",
  },
  {
    guards: /^node:fs(\/|$)/,
    opensTo: within("src/storage/node-disk.ts", "src/cli/", "src/agent/"),
    reason: "files are reached through the disk port",
  },
  {
    guards: /^node:(net|tls|http|https|http2|dgram)$/,
    opensTo: within(
      "src/security/",
      "src/http/",
      "src/rpc/",
      "src/client/",
      "src/agent/",
      "src/cli/",
    ),
    reason: "sockets belong to the rooms that speak a protocol",
  },
  {
    guards: /^node:(child_process|worker_threads|cluster|vm)$/,
    opensTo: within("src/cli/"),
    reason: "only a command starts processes",
  },
  {
    guards: /^(@grpc\/|grpc-health-check$)/,
    opensTo: within("src/rpc/", "src/client/", "src/security/", "src/cli/"),
    reason: "gRPC stays at the border",
  },
  {
    guards: /^@bufbuild\//,
    opensTo: within("src/rpc/", "src/client/"),
    reason: "protobuf stays at the border",
  },
  { guards: /^level$/, opensTo: within("src/storage/"), reason: "level is storage's business" },
  {
    guards: /^pino(-pretty)?$/,
    opensTo: within("src/observability/"),
    reason: "logs are written through observability",
  },
  { guards: /^yargs(\/|$)/, opensTo: within("src/cli/"), reason: "flags are read by commands" },
  {
    guards: /(^|\/)common\/system\.js$/,
    opensTo: (path) =>
      within("src/agent/", "src/cli/", "src/client/", "src/testing/test-cluster.ts")(path) ||
      roomOf(path) === roof,
    reason: "the real clock and random source are handed in",
  },
];

/** What imports what: a file's path and its text. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** The room of a file under src. */
export function roomOf(path: string): string {
  const parts = path.split("/");
  return parts.length > 2 ? (parts[1] ?? roof) : roof;
}

/** Every module a file names: imports, type imports, re-exports and import() alike. */
export function importsOf(file: SourceFile): string[] {
  return ts.preProcessFile(file.text, true, true).importedFiles.map((found) => found.fileName);
}

function targetOf(path: string, specifier: string): string {
  return posix.join(posix.dirname(path), specifier).replace(/\.js$/, ".ts");
}

function floorOf(room: string): number {
  if (room === roof) return Number.POSITIVE_INFINITY;
  const floor = floors[room];
  if (floor === undefined) throw new Error(`src/${room} stands on no floor: name it in floors.ts`);
  return floor;
}

function checkRooms(path: string, specifier: string): string[] {
  const target = targetOf(path, specifier);
  if (!target.startsWith("src/")) return [`${path} imports ${specifier}, which is not in src`];
  const from = roomOf(path);
  const to = roomOf(target);
  if (from === to) return [];
  if (floorOf(to) >= floorOf(from)) {
    return [`${path} imports ${specifier}: ${from} does not stand above ${to}`];
  }
  if (wings[from]?.includes(to) === false) {
    return [`${path} imports ${specifier}: ${from} imports only ${wings[from].join(", ")}`];
  }
  return [];
}

/** Every import that breaks a rule, as a sentence. */
export function findBrokenFloors(files: readonly SourceFile[]): string[] {
  const findings: string[] = [];
  for (const file of files) {
    if (file.path.startsWith("src/gen/")) continue;
    for (const specifier of importsOf(file)) {
      if (specifier.startsWith(".")) findings.push(...checkRooms(file.path, specifier));
      for (const door of doors) {
        if (door.guards.test(specifier) && !door.opensTo(file.path)) {
          findings.push(`${file.path} imports ${specifier}: ${door.reason}`);
        }
      }
    }
  }
  return findings;
}

/** Every import cycle between files, type imports included, as `a -> b -> a`. */
export function findCycles(files: readonly SourceFile[]): string[] {
  const edges = new Map(
    files.map((file) => [
      file.path,
      importsOf(file)
        .filter((specifier) => specifier.startsWith("."))
        .map((specifier) => targetOf(file.path, specifier)),
    ]),
  );
  const cycles: string[] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string): void => {
    const start = trail.indexOf(path);
    if (start >= 0) {
      cycles.push([...trail.slice(start), path].join(" -> "));
      return;
    }
    if (done.has(path)) return;
    trail.push(path);
    for (const target of edges.get(path) ?? []) visit(target);
    trail.pop();
    done.add(path);
  };
  for (const path of edges.keys()) visit(path);
  return cycles;
}
