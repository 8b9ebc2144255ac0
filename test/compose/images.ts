/**
 * The image under test, built without a registry: deploy/Dockerfile as it is shipped, on a base that
 * is made of this machine's own Node and under the name of the real one.
 *
 * The stages that call npm have no network here; in their place comes what they would make: the
 * built package and its production dependencies.
 */
import { spawn } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";

import type { Engine } from "./engine.js";
import { findTool, tell } from "./engine.js";

const repository = join(import.meta.dirname, "..", "..");
const baseImage = "node:20-bookworm-slim";
const packageImage = "proglog-package";

/** Builds the image `proglog`. */
export async function buildImage(engine: Engine): Promise<void> {
  await importBase(engine);
  await importPackage(engine);
  const build = ["build", "--file", "deploy/Dockerfile", "--tag", "proglog"];
  await engine.docker([...build, "--build-arg", `PACKAGE=${packageImage}`, "."]);
}

async function importBase(engine: Engine): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), "proglog-base-"));
  try {
    for (const place of ["tmp", "etc", "bin", "usr/local/bin"]) {
      mkdirSync(join(root, place), { recursive: true });
    }
    const node = realpathSync(process.execPath);
    copy(node, join(root, "usr/local/bin/node"));
    for (const library of await librariesOf(node)) copy(library, join(root, library));
    copy(findTool("busybox") ?? "", join(root, "bin/busybox"));
    for (const applet of ["sh", "mkdir", "chown"])
      symlinkSync("busybox", join(root, "bin", applet));
    writeFileSync(join(root, "etc/passwd"), "root:x:0:0::/:/bin/sh\nnode:x:1000:1000::/:/bin/sh\n");
    writeFileSync(join(root, "etc/group"), "root:x:0:\nnode:x:1000:\n");
    writeFileSync(join(root, "etc/nsswitch.conf"), "hosts: files dns\n");
    const change = ["--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin"];
    await importTar(engine, ["-C", root, "."], [...change, "-", baseImage]);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** Shared libraries of a program, and those with which names are looked up. */
async function librariesOf(program: string): Promise<string[]> {
  const linked = (await tell(["ldd", program])).match(/\/\S+/g) ?? [];
  const folder = dirname(linked.find((path) => path.includes("libc.so")) ?? "/lib");
  const names = ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"];
  return [...new Set([...linked, ...names.map((name) => join(folder, name))])];
}

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(realpathSync(from), to);
}

async function importPackage(engine: Engine): Promise<void> {
  const listed = await tell(["npm", "ls", "--omit=dev", "--all", "--parseable"]);
  const modules = listed
    .split("\n")
    .map((path) => relative(repository, path))
    .filter((path) => path.startsWith("node_modules/"));
  // A package inside another comes with it.
  const outer = modules.filter((path) => !modules.some((other) => path.startsWith(`${other}/`)));
  const files = ["bin", "dist", "proto", "LICENSE", "package.json", ...outer];
  const tar = ["--dereference", "--transform=s,^,app/,S", "-C", repository, ...files];
  await importTar(engine, tar, ["-", packageImage]);
}

async function importTar(
  engine: Engine,
  tar: readonly string[],
  words: readonly string[],
): Promise<void> {
  const archive = spawn("tar", ["-c", ...tar], { stdio: ["ignore", "pipe", "inherit"] });
  await engine.docker(["import", ...words], archive.stdout);
}
