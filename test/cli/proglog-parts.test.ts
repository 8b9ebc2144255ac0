/**
 * The parts that `proglog` is made of: lines out of bytes, a slow or absent reader of its output,
 * what became of many records in one sentence.
 */
import { Writable } from "node:stream";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { MemberStatus } from "../../src/client/cluster-admin.js";
import { ProglogError } from "../../src/common/errors.js";
import { systemClock } from "../../src/common/system.js";
import { linesOf } from "../../src/cli/talk/lines.js";
import { memberNamed } from "../../src/cli/talk/member-lines.js";
import { Output } from "../../src/cli/talk/output.js";
import { tableLines } from "../../src/cli/talk/table.js";
import { Tally } from "../../src/cli/talk/tally.js";

async function* chunksOf(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* chunks;
}

async function lines(chunks: readonly string[], bytesMax = 1000): Promise<string[]> {
  const found: string[] = [];
  const source = chunksOf(chunks.map((chunk) => Buffer.from(chunk)));
  for await (const some of linesOf(source, bytesMax)) found.push(...some.map(String));
  return found;
}

describe("lines", () => {
  test("are the same however the bytes are cut", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.stringMatching(/^[ab\r]{0,5}$/)),
        fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }),
        async (texts, cuts) => {
          const whole = texts.map((text) => `${text}\n`).join("");
          const chunks: string[] = [];
          for (let at = 0, nth = 0; at < whole.length; nth += 1) {
            const size = cuts[nth % cuts.length] ?? 1;
            chunks.push(whole.slice(at, at + size));
            at += size;
          }
          expect(await lines(chunks)).toEqual(texts);
        },
      ),
    );
  });

  test("may end without a line feed, and may be empty", async () => {
    expect(await lines(["a\n\nb"])).toEqual(["a", "", "b"]);
    expect(await lines([])).toEqual([]);
    expect(await lines(["\n"])).toEqual([""]);
  });

  test.each([
    ["in one chunk", ["ok\n", "12345\nrest"]],
    ["over several", ["ok\n123", "45", "6\n"]],
    ["without an end", ["ok\n1234", "56"]],
  ])("that are too long are refused by number, after those before: %s", async (_what, chunks) => {
    const found: string[] = [];
    const source = chunksOf(chunks.map((chunk) => Buffer.from(chunk)));
    const reading = (async () => {
      for await (const some of linesOf(source, 4)) found.push(...some.map(String));
    })();
    await expect(reading).rejects.toMatchObject({ code: "record-too-large", fields: { line: 2 } });
    expect(found).toEqual(["ok"]);
  });

  test("of exactly the limit are taken", async () => {
    expect(await lines(["1234\n12", "34"], 4)).toEqual(["1234", "1234"]);
  });
});

describe("output", () => {
  test("holds whoever puts until a slow reader has taken what there is", async () => {
    const taken: Buffer[] = [];
    let release: () => void = () => undefined;
    const slow = new Writable({
      write(chunk: Buffer, _encoding, done) {
        taken.push(chunk);
        release = done;
      },
    });
    const output = new Output(slow, systemClock);
    let isHeld = true;
    const putting = output.put(Buffer.alloc(100_000)).then(() => (isHeld = false));
    await expect.poll(() => taken.length).toBe(1);
    await output.put(Buffer.from("more"));
    expect(isHeld).toBe(true);
    release();
    await expect.poll(() => taken.length).toBe(2);
    release();
    await putting;
    expect(Buffer.concat(taken)).toHaveLength(100_004);
  });

  test("that was flushed with nothing in it goes on", async () => {
    const taken: string[] = [];
    const quick = new Writable({
      write(chunk: Buffer, _encoding, done) {
        taken.push(chunk.toString());
        done();
      },
    });
    const output = new Output(quick, systemClock);
    await output.flush();
    await output.line("one");
    await output.flush();
    await output.flush();
    await output.line("two");
    await expect.poll(() => taken).toEqual(["one\n", "two\n"]);
  });

  test.each([
    ["EPIPE", undefined],
    ["ENOSPC", "ENOSPC"],
  ])(
    "of which the writes fail with %s is gone, and says why if it is a fault",
    async (code, why) => {
      const broken = new Writable({
        write: (_chunk, _encoding, done) => done(Object.assign(new Error(code), { code })),
      });
      const output = new Output(broken, systemClock);
      await output.line("lost");
      await output.flush();
      expect(output.gone.aborted).toBe(true);
      expect(output.failure?.message).toBe(why);
      await output.put(Buffer.alloc(1_000_000));
      await output.flush();
    },
  );
});

describe("a tally", () => {
  test("tells what is in the log, what is not, and what nobody knows", () => {
    const tally = new Tally();
    for (const offset of [7, 8, 20]) tally.acknowledge(offset);
    tally.fail(4, new ProglogError("outcome-unknown", "first"));
    tally.fail(5, new ProglogError("outcome-unknown", "second"));
    tally.fail(6, new ProglogError("no-quorum", "third"));
    tally.fail(8, new ProglogError("no-quorum", "fourth"));
    expect(tally.acknowledgedText()).toBe("3 records are in the log, at offsets 7 to 20");
    expect(tally.failedTexts("line")).toEqual([
      "of 2 it is not known (lines 4-5)",
      "2 are not in it (lines 6, 8)",
    ]);
    expect(tally.failure).toMatchObject({ number: 4, error: { message: "first" } });
    expect(tally.hasUnknown).toBe(true);
  });
});

describe("members", () => {
  const member = (id: string, name: string): MemberStatus => ({
    ...{ id, name, role: "follower", voter: true, rpcAddr: "a:1", httpAddr: "a:2", alive: true },
    ...{ matchIndex: 1, lag: 0, lastContactMs: 0 },
  });
  const members = [member("1", "a"), member("2", "b"), member("3", "b"), member("a", "c")];

  test("are called by id before name, and never by a name that two bear", () => {
    expect(memberNamed(members, "2").id).toBe("2");
    expect(memberNamed(members, "c").id).toBe("a");
    expect(memberNamed(members, "a").id).toBe("a");
    expect(() => memberNamed(members, "b")).toThrow("name one of 2, 3.");
    expect(() => memberNamed(members, "z")).toThrow("there are a, b, b, c.");
  });

  test("stand in columns", () => {
    const rows = [
      ["A", "B"],
      ["long", ""],
    ];
    expect(tableLines(rows)).toEqual(["A     B", "long"]);
  });
});
