import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { syncFile, writeAll } from "../../src/storage/disk.js";
import { NodeDisk, unwritten } from "../../src/storage/node-disk.js";
import { diskContract, faultOf } from "./disk-contract.js";

async function temporaryDirectory(): Promise<string> {
  return await mkdtemp(join(tmpdir(), "proglog-disk-"));
}

diskContract("a NodeDisk", async () => {
  const directory = await temporaryDirectory();
  return {
    disk: new NodeDisk(join(directory, "root")),
    dispose: async () => {
      await rm(directory, { recursive: true });
    },
  };
});

describe("a NodeDisk", () => {
  let directory: string;
  let root: string;
  let disk: NodeDisk;
  const children: ChildProcess[] = [];

  beforeEach(async () => {
    directory = await temporaryDirectory();
    root = join(directory, "some", "root");
    disk = new NodeDisk(root);
  });

  afterEach(async () => {
    for (const child of children.splice(0)) await killed(child);
    await rm(directory, { recursive: true });
  });

  async function killed(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = new Promise<void>((resolve) => {
      child.once("exit", () => {
        resolve();
      });
    });
    child.kill("SIGKILL");
    await exit;
  }

  /** Starts a process that takes the lock and keeps it; resolves with the first thing it says. */
  async function spawnOwner(): Promise<{ child: ChildProcess; said: string }> {
    const source = pathToFileURL(join(process.cwd(), "src/storage/node-disk.ts")).href;
    const script = `
      const { NodeDisk } = await import(${JSON.stringify(source)});
      try {
        await new NodeDisk(${JSON.stringify(root)}).lock();
        console.log("held");
        setInterval(() => {}, 1000);
      } catch (error) {
        console.log(error.fault);
      }
    `;
    const options = ["--import", "tsx", "--input-type=module", "--eval", script];
    const child = spawn(process.execPath, options, { stdio: ["ignore", "pipe", "inherit"] });
    children.push(child);
    const said = await new Promise<string>((resolve, reject) => {
      child.stdout.once("data", (data: Buffer) => {
        resolve(data.toString().trim());
      });
      child.once("exit", (code) => {
        reject(new Error(`the process ended with ${String(code)} and said nothing`));
      });
    });
    return { child, said };
  }

  test("keeps files and directories from other users", async () => {
    const lock = await disk.lock();
    await disk.makeDirectory("a/b");
    const file = await disk.create("a/b/c");
    await file.close();
    await lock.release();
    const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;
    expect(await modeOf(root)).toBe(0o700);
    expect(await modeOf(join(root, "lock"))).toBe(0o700);
    expect(await modeOf(join(root, "a"))).toBe(0o700);
    expect(await modeOf(join(root, "a/b"))).toBe(0o700);
    expect(await modeOf(join(root, "a/b/c"))).toBe(0o600);
  });

  test("makes nothing before it is asked to", async () => {
    expect(await disk.list("")).toEqual([]);
    expect(await faultOf(disk.freeBytes())).toBe("not-found");
    expect(existsSync(root)).toBe(false);
  });

  test("keeps out a second process, and lets it in after the release", async () => {
    const lock = await disk.lock();
    expect((await spawnOwner()).said).toBe("locked");
    await lock.release();
    expect((await spawnOwner()).said).toBe("held");
    expect(await faultOf(disk.lock())).toBe("locked");
  }, 30_000);

  test("is free as soon as a killed owner is gone", async () => {
    const { child, said } = await spawnOwner();
    expect(said).toBe("held");
    await expect(disk.lock()).rejects.toThrow(`lock ${root}: locked`);
    await killed(child);
    await (await disk.lock()).release();
  }, 30_000);

  test("keeps its lock when this process tries to lock the same place again", async () => {
    const lock = await disk.lock();
    await symlink(root, join(directory, "other-name"));
    expect(await faultOf(new NodeDisk(root).lock())).toBe("locked");
    expect(await faultOf(new NodeDisk(join(directory, "other-name")).lock())).toBe("locked");
    // Closing any descriptor of the locked file would have dropped the kernel's lock.
    expect((await spawnOwner()).said).toBe("locked");
    await lock.release();
  }, 30_000);

  test("locks although a power cut has damaged what lies beside the lock", async () => {
    await (await disk.lock()).release();
    const names = (await readdir(join(root, "lock"))).filter((name) => name !== "LOCK");
    for (const name of names) await writeFile(join(root, "lock", name), "garbage");
    const lock = await disk.lock();
    expect((await spawnOwner()).said).toBe("locked");
    await lock.release();
  }, 30_000);

  test("does not follow symbolic links to files", async () => {
    await disk.makeDirectory("");
    await writeFile(join(directory, "outside"), "x");
    await symlink(join(directory, "outside"), join(root, "inside"));
    expect(await faultOf(disk.open("inside"))).toBe("denied");
    expect(await faultOf(disk.create("inside"))).toBe("exists");
  });

  test("says denied where the system denies", async (context) => {
    // Read-only even for root, who may write to any ordinary file.
    context.skip(!existsSync("/proc/sys/kernel/ostype"), "this system has no /proc/sys");
    expect(await faultOf(new NodeDisk("/proc/sys/kernel").open("ostype"))).toBe("denied");
  });

  test("says full where the system has no space", async (context) => {
    context.skip(!existsSync("/dev/full"), "this system has no /dev/full");
    const file = await new NodeDisk("/dev").open("full");
    expect(await faultOf(writeAll(file, 0, Buffer.from("x")))).toBe("full");
    await file.close();
  });

  test("takes a failed sync for final", async (context) => {
    // A device that cannot be synced: the only failed sync to be had without a broken disk.
    context.skip(!existsSync("/dev/full"), "this system has no /dev/full");
    const file = await new NodeDisk("/dev").open("full");
    expect(await faultOf(syncFile(file))).toBe("io");
    expect(await faultOf(syncFile(file))).toBe("io");
    await expect(writeAll(file, 0, Buffer.from("x"))).rejects.toThrow("sync full: io");
    await expect(file.truncate(0)).rejects.toThrow("sync full: io");
    await file.close();
  });
});

describe("what a short write leaves", () => {
  const buffers = ["abc", "de", "f"].map((text) => Buffer.from(text));
  const textAfter = (bytes: number): string[] =>
    unwritten(buffers, bytes).map((buffer) => buffer.toString());

  test("starts in the middle of a buffer or at the next one", () => {
    expect(textAfter(0)).toEqual(["abc", "de", "f"]);
    expect(textAfter(1)).toEqual(["bc", "de", "f"]);
    expect(textAfter(3)).toEqual(["de", "f"]);
    expect(textAfter(4)).toEqual(["e", "f"]);
    expect(textAfter(6)).toEqual([]);
  });

  test("is never asked for after more than there was", () => {
    expect(() => textAfter(7)).toThrow("never longer");
  });
});
