import { crc32 } from "node:zlib";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  allocateFrame,
  controlFrame,
  frameAlignmentBytes,
  frameBody,
  frameBytes,
  frameBytesOf,
  frameHeaderBytes,
  frameKinds,
  framePreamble,
  framePreambleBytesMax,
  isBodyValid,
  readHeader,
  sealFrame,
  stampPlace,
  stampSlot,
} from "../../src/storage/frame.js";
import type { FrameHeader } from "../../src/storage/frame.js";

const fields = {
  kind: frameKinds.records,
  key: 0x0102030405,
  term: 0x1112131415,
  fileId: 0x2122232425,
  barrier: 0x3132333435,
  timestampMs: 0x018bcfe56800,
  count: 2,
};

function build(
  header: Partial<Omit<FrameHeader, "bodyCrc">>,
  preamble: Buffer,
  body: Buffer,
): Buffer {
  const frame = allocateFrame(preamble.length, body.length);
  preamble.copy(frame, frameHeaderBytes);
  body.copy(frame, frameHeaderBytes + preamble.length);
  const lengths = { preambleBytes: preamble.length, bodyBytes: body.length };
  sealFrame(frame, { ...fields, ...header, ...lengths });
  return frame;
}

/** True if a reader takes the frame at the position for whole. */
function isWhole(buffer: Buffer, position = 0): boolean {
  const header = readHeader(buffer, position);
  return header !== undefined && isBodyValid(buffer, position, header);
}

describe("a frame", () => {
  test("has the bytes that docs/formats.md draws", () => {
    const frame = build({}, Buffer.from("pre"), Buffer.from("body"));
    const golden = [
      "9d0d683a", // CRC-32 of bytes 4..64 and of the preamble
      "01", // version
      "03", // kind: records
      "0003", // preamble bytes
      "00000004", // body bytes
      "dba80bb2", // CRC-32 of the body
      "0000000102030405", // key
      "0000001112131415", // term
      "0000002122232425", // file id
      "0000003132333435", // barrier
      "0000018bcfe56800", // timestamp
      "00000002", // count
      "00000000",
      "707265", // "pre"
      "626f6479", // "body"
      "00", // padding
    ];
    expect(frame.toString("hex")).toBe(golden.join(""));
    expect(frame.readUInt32BE(0)).toBe(crc32(frame.subarray(4, frameHeaderBytes + 3)));
    expect(frame.readUInt32BE(12)).toBe(crc32(Buffer.from("body")));
  });

  test("reads back as it was written, wherever it lies", () => {
    const text = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
    const u53 = fc.maxSafeNat();
    const header = fc.record({
      kind: fc.constantFrom(...Object.values(frameKinds)),
      key: u53,
      term: u53,
      fileId: u53,
      barrier: u53,
      timestampMs: u53,
      count: fc.nat(0xffffffff),
    });
    fc.assert(
      fc.property(header, text, text, fc.nat(20), (wanted, preamble, body, units) => {
        const frame = build(wanted, preamble, body);
        const position = units * frameAlignmentBytes;
        const buffer = Buffer.concat([Buffer.alloc(position, 0xa5), frame, Buffer.from("more")]);
        const found = readHeader(buffer, position);
        if (found === undefined) throw new Error("no header was found");
        expect(found).toEqual({
          ...wanted,
          preambleBytes: preamble.length,
          bodyBytes: body.length,
          bodyCrc: crc32(body),
        });
        expect(isBodyValid(buffer, position, found)).toBe(true);
        expect(framePreamble(buffer, position, found).equals(preamble)).toBe(true);
        expect(frameBody(buffer, position, found).equals(body)).toBe(true);
        expect(frameBytesOf(found)).toBe(frame.length);
        expect(frame.length % frameAlignmentBytes).toBe(0);
      }),
    );
  });

  test("is refused after any single bit of it has flipped", () => {
    const frame = build({}, Buffer.from("preamble"), Buffer.from("the body of the frame"));
    const end = frameHeaderBytes + 8 + 21;
    const survivors: string[] = [];
    for (let bit = 0; bit < frame.length * 8; bit += 1) {
      const flipped = Buffer.from(frame);
      const at = bit >> 3;
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (bit & 7));
      if (at < end && isWhole(flipped)) survivors.push(`byte ${String(at)} bit ${String(bit & 7)}`);
    }
    expect(survivors).toEqual([]);
  });

  test("is refused at every length that cuts it short", () => {
    const frame = build({}, Buffer.from("pre"), Buffer.from("a body"));
    for (let bytes = 0; bytes < frame.length; bytes += 1) {
      expect(isWhole(frame.subarray(0, bytes))).toBe(false);
    }
    expect(isWhole(frame)).toBe(true);
  });

  test("is never found in zeros or in noise", () => {
    expect(readHeader(Buffer.alloc(4096), 0)).toBeUndefined();
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 64, maxLength: 256 }), (noise) => {
        const bytes = Buffer.from(noise);
        bytes[4] = 1;
        bytes[5] = frameKinds.records;
        expect(readHeader(bytes, 0)).toBeUndefined();
      }),
    );
  });

  test("keeps its body's checksum when it is numbered and placed", () => {
    const body = Buffer.from("never read again");
    const frame = build({}, Buffer.from("condition"), body);
    stampSlot(frame, 77, 8);
    stampPlace(frame, 5, 4096);
    expect(isWhole(frame)).toBe(true);
    expect(readHeader(frame, 0)).toMatchObject({
      key: 77,
      term: 8,
      fileId: 5,
      barrier: 4096,
      bodyCrc: crc32(body),
      count: fields.count,
    });
  });

  test("is refused at birth if a field does not fit", () => {
    const none = Buffer.alloc(0);
    expect(() => build({ key: 2 ** 53 }, none, none)).toThrow("64-bit field");
    expect(() => build({ term: -1 }, none, none)).toThrow("64-bit field");
    expect(() => build({ barrier: 1.5 }, none, none)).toThrow("64-bit field");
    expect(() => allocateFrame(framePreambleBytesMax + 1, 0)).toThrow("preamble");
    expect(() => allocateFrame(0, 2 ** 27)).toThrow("body");
  });

  test("without preamble and body is a header alone", () => {
    const frame = controlFrame(frameKinds.barrier, { key: 0, term: 0 }, Buffer.alloc(0));
    expect(frame.length).toBe(frameHeaderBytes);
    expect(frameBytes(0, 0)).toBe(frameHeaderBytes);
    expect(frameBytes(0, 1)).toBe(frameHeaderBytes + 8);
    expect(isWhole(frame)).toBe(true);
  });
});
