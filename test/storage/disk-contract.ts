/**
 * What every implementation of the disk port must do: run alike on the real and the simulated one,
 * so that what is proven on the simulated disk holds on the real one.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { readWholeFile, replaceFile, syncFile, writeAll } from "../../src/storage/disk.js";
import type { Disk, DiskError, DiskFault, DiskFile } from "../../src/storage/disk.js";

/** A fresh, empty disk, and what takes it away again. */
export interface DiskUnderTest {
  readonly disk: Disk;
  dispose(): Promise<void>;
}

/** Settles with the fault of a call that must fail. */
export async function faultOf(call: Promise<unknown>): Promise<DiskFault | "none"> {
  return await call.then(
    () => "none" as const,
    (error: unknown) => (error as DiskError).fault,
  );
}

async function write(file: DiskFile, position: number, buffers: Buffer[]): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    file.write(position, buffers, (error) => {
      if (error === undefined) resolve();
      else reject(error);
    });
  });
}

/** Declares the tests of the contract. */
export function diskContract(name: string, makeDisk: () => Promise<DiskUnderTest>): void {
  describe(`${name} as a disk`, () => {
    let subject: DiskUnderTest;
    let disk: Disk;
    const files: DiskFile[] = [];

    async function create(path: string, text = ""): Promise<DiskFile> {
      const file = await disk.create(path);
      files.push(file);
      await writeAll(file, 0, Buffer.from(text));
      return file;
    }

    async function contents(path: string): Promise<string> {
      return (await readWholeFile(disk, path)).toString();
    }

    beforeEach(async () => {
      subject = await makeDisk();
      disk = subject.disk;
      await disk.makeDirectory("");
    });

    afterEach(async () => {
      for (const file of files.splice(0)) await file.close();
      await subject.dispose();
    });

    contractOfFiles(create, contents, () => disk);
    contractOfNames(create, contents, () => disk);
  });
}

type Create = (path: string, text?: string) => Promise<DiskFile>;
type Contents = (path: string) => Promise<string>;

function contractOfFiles(create: Create, contents: Contents, disk: () => Disk): void {
  test("reads back what was written", async () => {
    const file = await create("a", "hello");
    expect((await file.read(0, 5)).toString()).toBe("hello");
    expect((await file.read(1, 3)).toString()).toBe("ell");
    expect(await file.size()).toBe(5);
    expect(file.path).toBe("a");
  });

  test("overwrites in place", async () => {
    const file = await create("a", "hello world");
    await writeAll(file, 6, Buffer.from("there"));
    expect(await contents("a")).toBe("hello there");
  });

  test("fills the hole before a write past the end with zeros", async () => {
    const file = await create("a", "ab");
    await writeAll(file, 10_000, Buffer.from("z"));
    const bytes = await file.read(0, 20_000);
    expect(bytes.length).toBe(10_001);
    expect(bytes.subarray(2, 10_000).every((byte) => byte === 0)).toBe(true);
    expect(bytes[10_000]).toBe(0x7a);
  });

  test("writes many buffers one after the other", async () => {
    const file = await create("a");
    const buffers = Array.from({ length: 3000 }, (_, n) => Buffer.from(`${String(n)},`));
    buffers.splice(1500, 0, Buffer.alloc(0));
    await write(file, 7, buffers);
    expect((await file.read(7, 100_000)).equals(Buffer.concat(buffers))).toBe(true);
  });

  test("writes nothing without growing the file", async () => {
    const file = await create("a", "ab");
    await write(file, 100, []);
    await write(file, 100, [Buffer.alloc(0)]);
    expect(await file.size()).toBe(2);
  });

  test("reads short only at the end of the file", async () => {
    const file = await create("a", "0123456789");
    expect((await file.read(8, 10)).toString()).toBe("89");
    expect((await file.read(10, 10)).length).toBe(0);
    expect((await file.read(1000, 10)).length).toBe(0);
    expect((await file.read(3, 0)).length).toBe(0);
  });

  test("serves several reads at once, also during a write", async () => {
    const bytes = Buffer.from(Array.from({ length: 40_000 }, (_, n) => n % 251));
    const file = await create("a");
    await writeAll(file, 0, bytes);
    const writing = writeAll(file, 40_000, bytes);
    const positions = Array.from({ length: 32 }, (_, n) => n * 1000);
    const reads = await Promise.all(positions.map(async (at) => await file.read(at, 1000)));
    await writing;
    expect(Buffer.concat(reads).equals(bytes.subarray(0, 32_000))).toBe(true);
  });

  test("cuts a file and extends it with zeros", async () => {
    const file = await create("a", "0123456789");
    await file.truncate(4);
    expect(await file.size()).toBe(4);
    await file.truncate(6);
    await syncFile(file);
    expect(await contents("a")).toBe("0123\0\0");
  });

  test("calls back after the call has returned", async () => {
    const file = await create("a");
    const events: string[] = [];
    await new Promise<void>((resolve) => {
      file.write(0, [Buffer.from("x")], (error) => {
        events.push(`written ${String(error)}`);
        resolve();
      });
      events.push("returned");
    });
    await new Promise<void>((resolve) => {
      file.sync((error) => {
        events.push(`synced ${String(error)}`);
        resolve();
      });
      events.push("returned");
    });
    await new Promise<void>((resolve) => {
      file.write(0, [], () => {
        events.push("written nothing");
        resolve();
      });
      events.push("returned");
    });
    expect(events).toEqual([
      "returned",
      "written undefined",
      "returned",
      "synced undefined",
      "returned",
      "written nothing",
    ]);
  });

  test("refuses every call on a closed file, and closes twice", async () => {
    const file = await create("a", "x");
    await file.close();
    await file.close();
    expect(await faultOf(writeAll(file, 0, Buffer.from("y")))).toBe("io");
    expect(await faultOf(syncFile(file))).toBe("io");
    expect(await faultOf(file.read(0, 1))).toBe("io");
    expect(await faultOf(file.size())).toBe("io");
    expect(await faultOf(file.truncate(0))).toBe("io");
    const events: string[] = [];
    const refused = new Promise<void>((resolve) => {
      file.sync(() => {
        events.push("refused");
        resolve();
      });
    });
    events.push("returned");
    await refused;
    expect(events).toEqual(["returned", "refused"]);
    expect(await contents("a")).toBe("x");
  });

  test("finishes the calls in flight before it closes", async () => {
    const file = await create("a");
    const bytes = Buffer.alloc(300_000, 7);
    const events: string[] = [];
    const writing = writeAll(file, 0, bytes).then(() => events.push("written"));
    const reading = file.read(0, 10).then(() => events.push("read"));
    await file.close();
    events.push("closed");
    await Promise.all([writing, reading]);
    expect(events.at(-1)).toBe("closed");
    expect((await readWholeFile(disk(), "a")).equals(bytes)).toBe(true);
  });
}

function contractOfNames(create: Create, contents: Contents, disk: () => Disk): void {
  test("opens what is there and nothing else", async () => {
    await create("a", "x");
    const file = await disk().open("a");
    await writeAll(file, 1, Buffer.from("y"));
    await file.close();
    expect(await contents("a")).toBe("xy");
    expect(await faultOf(disk().open("b"))).toBe("not-found");
    expect(await faultOf(disk().open("d/b"))).toBe("not-found");
  });

  test("names the operation and the file in an error", async () => {
    await expect(disk().open("b")).rejects.toThrow("open b: not-found");
  });

  test("creates a file once", async () => {
    await create("a", "x");
    expect(await faultOf(disk().create("a"))).toBe("exists");
    expect(await faultOf(disk().create("d/a"))).toBe("not-found");
    expect(await contents("a")).toBe("x");
  });

  test("lists names sorted, and nothing for a missing directory", async () => {
    await disk().makeDirectory("d");
    for (const name of ["d/10", "d/9", "d/b", "d/B"]) await create(name);
    await disk().makeDirectory("d/a");
    expect(await disk().list("d")).toEqual(["10", "9", "B", "a", "b"]);
    expect(await disk().list("")).toEqual(["d"]);
    expect(await disk().list("e")).toEqual([]);
  });

  test("makes a directory with its parents, also again", async () => {
    await disk().makeDirectory("a/b/c");
    await create("a/b/c/file", "x");
    await disk().makeDirectory("a/b/c");
    expect(await disk().list("a/b/c")).toEqual(["file"]);
    expect(await faultOf(disk().makeDirectory("a/b/c/file"))).toBe("exists");
  });

  test("renames a file over another, which stays readable while it is open", async () => {
    await create("a", "new");
    const old = await create("b", "old");
    await disk().rename("a", "b");
    expect(await disk().list("")).toEqual(["b"]);
    expect(await contents("b")).toBe("new");
    expect((await old.read(0, 3)).toString()).toBe("old");
    expect(await faultOf(disk().rename("a", "b"))).toBe("not-found");
  });

  test("renames into another directory, and a directory with all in it", async () => {
    await disk().makeDirectory("d");
    await create("a", "x");
    await disk().rename("a", "d/b");
    await disk().rename("d", "e");
    expect(await disk().list("")).toEqual(["e"]);
    expect(await contents("e/b")).toBe("x");
    expect(await faultOf(disk().rename("e/b", "f/b"))).toBe("not-found");
  });

  test("removes a file, and says so if there is none", async () => {
    await create("a");
    await disk().remove("a");
    expect(await disk().list("")).toEqual([]);
    expect(await faultOf(disk().remove("a"))).toBe("not-found");
  });

  test("removes a directory with all in it, also if there is none", async () => {
    await disk().makeDirectory("a/b");
    await create("a/x");
    await create("a/b/y");
    await disk().removeTree("a");
    await disk().removeTree("a");
    expect(await disk().list("")).toEqual([]);
  });

  test("syncs directories, and says so if there is none", async () => {
    await disk().makeDirectory("d");
    await disk().syncDirectory("");
    await disk().syncDirectory("d");
    expect(await faultOf(disk().syncDirectory("e"))).toBe("not-found");
  });

  test("takes a file for a directory in no call", async () => {
    await create("a", "x");
    await disk().makeDirectory("d");
    expect(await faultOf(disk().list("a"))).toBe("io");
    expect(await faultOf(disk().syncDirectory("a"))).toBe("io");
    expect(await faultOf(disk().rename("d", "a"))).toBe("io");
    expect(await faultOf(disk().open("d"))).toBe("io");
  });

  test("replaces a small file whole, also over the draft of an earlier try", async () => {
    await replaceFile(disk(), "a", Buffer.from("one"));
    await create("a.tmp", "half");
    await replaceFile(disk(), "a", Buffer.from("two"));
    expect(await contents("a")).toBe("two");
    expect(await disk().list("")).toEqual(["a"]);
  });

  test("refuses paths that are not plain and relative", async () => {
    for (const path of ["/a", "../a", "a/../b", "a//b", "a/", ".", "", "a\\b", "a\0b"]) {
      await expect(disk().open(path)).rejects.toThrow("a path on the disk");
      await expect(disk().create(path)).rejects.toThrow("a path on the disk");
      await expect(disk().remove(path)).rejects.toThrow("a path on the disk");
      await expect(disk().removeTree(path)).rejects.toThrow("a path on the disk");
      await expect(disk().rename("a", path)).rejects.toThrow("a path on the disk");
    }
    await expect(disk().list("..")).rejects.toThrow("a path on the disk");
    await expect(disk().makeDirectory("../x")).rejects.toThrow("a path on the disk");
    await expect(disk().syncDirectory("/")).rejects.toThrow("a path on the disk");
  });

  test("tells how many bytes can be written", async () => {
    expect(await disk().freeBytes()).toBeGreaterThan(0);
  });

  test("is locked once at a time", async () => {
    const first = await disk().lock();
    expect(await faultOf(disk().lock())).toBe("locked");
    await first.release();
    await first.release();
    const second = await disk().lock();
    await first.release();
    expect(await faultOf(disk().lock())).toBe("locked");
    await second.release();
  });
}
