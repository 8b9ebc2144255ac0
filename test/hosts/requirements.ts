/**
 * What a test of this directory needs of its host, and what happens if it is not there.
 *
 * A test without root or without a tool is skipped and says what is missing. With
 * PROGLOG_REQUIRE_HOSTS=1 it fails instead: where everything was installed, a skip hides a fault.
 */
import { accessSync, constants, existsSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";

import { test } from "vitest";

import { run } from "./namespace.js";

/** Things that a host has or lacks. */
export type Need = "network" | "mount" | "strace" | "faketime";

const tools: Readonly<Record<Need, readonly string[]>> = {
  network: ["unshare", "nsenter", "ip", "tc", "nft"],
  mount: ["unshare", "nsenter", "mount", "umount", "mkfs.ext4", "python3"],
  strace: ["strace"],
  faketime: [],
};

/** A try of each, because a container may have the tool and lack the right. */
const tries: Readonly<Record<Need, readonly string[] | undefined>> = {
  network: ["unshare", "--net", "ip", "link", "set", "lo", "up"],
  mount: ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],
  strace: ["strace", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "true"],
  faketime: undefined,
};

function isInstalled(tool: string): boolean {
  const places = (process.env["PATH"] ?? "").split(delimiter);
  return [...places, "/usr/sbin", "/sbin"].some((place) => {
    try {
      accessSync(join(place, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The library that shows a process another wall clock; undefined if it is not installed. */
export function faketimeLibrary(): string | undefined {
  const places = ["/usr/lib", "/usr/local/lib"].filter((place) => existsSync(place));
  const directories = places.flatMap((place) => [
    place,
    ...readdirSync(place).map((name) => join(place, name)),
  ]);
  return directories
    .map((directory) => join(directory, "faketime", "libfaketimeMT.so.1"))
    .find((path) => existsSync(path));
}

async function lack(need: Need): Promise<string | undefined> {
  if (need === "faketime") {
    return faketimeLibrary() === undefined ? "libfaketimeMT.so.1 is not installed" : undefined;
  }
  const missing = tools[need].filter((tool) => !isInstalled(tool));
  if (missing.length > 0) return `${missing.join(", ")}: not installed`;
  if (process.getuid?.() !== 0) return "it needs root";
  try {
    await run(tries[need] ?? []);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.trim() : String(error);
  }
}

/** A test that is skipped, with the reason, on a host that lacks what it needs. */
export function hostTest(
  name: string,
  needs: readonly Need[],
  body: () => Promise<void>,
  timeoutMs = 180_000,
): void {
  test(name, { timeout: timeoutMs }, async (context) => {
    for (const need of needs) {
      const reason = await lack(need);
      if (reason === undefined) continue;
      const sentence = `this host cannot run it: ${reason}`;
      if (process.env["PROGLOG_REQUIRE_HOSTS"] === "1") throw new Error(sentence);
      context.skip(sentence);
    }
    await body();
  });
}
