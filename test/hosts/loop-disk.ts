/**
 * Real file systems that a test fills, breaks and cuts from power: ext4 on loop devices.
 *
 * They are mounted only inside a namespace, so a mount and its loop device end with the test.
 * The journal is written every 300 s unless somebody syncs, and ext4's own guess that a renamed file
 * should be flushed is off, so what was not synced is really lost in a power cut.
 */
import { statfs, truncate, writeFile } from "node:fs/promises";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { until } from "../cluster/poll.js";
import { run } from "./namespace.js";
import type { Namespace } from "./namespace.js";

export interface LoopDiskOptions {
  /** Where its image and its mount point lie. */
  readonly directory: string;
  readonly name: string;
  readonly bytes: number;
}

/** Tells ext4, on each directory named, to write nothing more: FS_IOC_GOINGDOWN, no log flush. */
const cutProgram = `
import fcntl, os, struct, sys
disks = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
for disk in disks:
    fcntl.ioctl(disk, 0x8004587d, struct.pack("I", 2))
`;

export class LoopDisk {
  /** Where it is mounted, for processes in the namespace. */
  readonly path: string;
  readonly #space: Namespace;
  readonly #image: string;

  private constructor(space: Namespace, { directory, name }: LoopDiskOptions) {
    this.#space = space;
    this.#image = join(directory, `${name}.img`);
    this.path = join(directory, `${name}-disk`);
  }

  static async make(space: Namespace, options: LoopDiskOptions): Promise<LoopDisk> {
    const disk = new LoopDisk(space, options);
    await writeFile(disk.#image, "");
    await truncate(disk.#image, options.bytes);
    await run(["mkfs.ext4", "-q", "-F", "-m", "0", disk.#image]);
    mkdirSync(disk.path);
    await disk.mount();
    return disk;
  }

  /** Cuts the power of all the disks, one right after the other. */
  static async cutPower(space: Namespace, disks: readonly LoopDisk[]): Promise<void> {
    await space.run(["python3", "-c", cutProgram, ...disks.map((disk) => disk.path)]);
  }

  async mount(): Promise<void> {
    const options = "loop,commit=300,noauto_da_alloc,errors=remount-ro";
    await this.#space.run(["mount", "-o", options, this.#image, this.path]);
  }

  /** Unmounts it; what a power cut has kept from it stays lost. */
  async unmount(): Promise<void> {
    await until(`${this.path} to be unmounted`, async () => {
      await this.#space.run(["umount", this.path]);
      return true;
    });
  }

  async remount(): Promise<void> {
    await this.unmount();
    await this.mount();
  }

  /** Lets the kernel find the file system damaged, upon which it makes it read-only. */
  async turnReadOnly(): Promise<void> {
    const source = await this.#space.run(["findmnt", "-n", "-o", "SOURCE", this.path]);
    const device = source.trim().replace("/dev/", "");
    await writeFile(`/sys/fs/ext4/${device}/trigger_fs_error`, "a test");
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#space.seen(this.path));
    return bavail * bsize;
  }

  /** Takes all but so many bytes of what is free; with 0 really all. */
  async fill(bytesLeft: number): Promise<void> {
    // The file system needs some blocks to note which ones the filler has.
    const bytes = (await this.freeBytes()) - Math.max(bytesLeft, 2 * 1024 * 1024);
    await this.#space.run(["fallocate", "-l", String(bytes), join(this.path, "filler")]);
    if (bytesLeft > 0) return;
    const rest = ["if=/dev/zero", `of=${join(this.path, "filler-rest")}`, "bs=4k", "conv=fsync"];
    const ended = await this.#space.run(["dd", ...rest]).catch((error: unknown) => error);
    if (!String(ended).includes("No space left")) throw new Error(`dd ended: ${String(ended)}`);
  }

  /** Gives back what `fill` has taken. */
  async makeRoom(): Promise<void> {
    const fillers = ["filler", "filler-rest"].map((name) => join(this.path, name));
    await this.#space.run(["rm", "-f", ...fillers]);
  }
}
