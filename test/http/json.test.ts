/** The JSON helpers: depth, faults with their place, spans that keep a value's text. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { tooDeepPosition } from "../../src/http/json-depth.js";
import { jsonFaultPosition, placeOf } from "../../src/http/json-fault.js";
import { compactJson, elementTexts, memberText } from "../../src/http/json-span.js";

describe("depth", () => {
  test("64 levels pass and 65 do not", () => {
    expect(tooDeepPosition(Buffer.from("[".repeat(64) + "]".repeat(64)))).toBe(-1);
    expect(tooDeepPosition(Buffer.from("[".repeat(65) + "]".repeat(65)))).toBe(64);
    expect(tooDeepPosition(Buffer.from('{"a":'.repeat(65)))).toBe(5 * 64);
  });

  test("brackets inside strings do not count, also after an escaped quote", () => {
    expect(tooDeepPosition(Buffer.from(JSON.stringify("[".repeat(1000))))).toBe(-1);
    expect(tooDeepPosition(Buffer.from(JSON.stringify('\\"' + "[".repeat(1000))))).toBe(-1);
  });

  test("siblings do not add up", () => {
    expect(tooDeepPosition(Buffer.from(`[${"[],".repeat(1000)}[]]`))).toBe(-1);
  });
});

describe("faults", () => {
  test.each([
    ["", 0],
    ['{"a":}', 5],
    ['{"a":1,}', 7],
    ["{'a':1}", 1],
    ["[1,2", 4],
    ["[01]", 2],
    ["[1] x", 4],
    ['"\u0001"', 1],
    ['"\\x"', 1],
    ["nul", 0],
    ["[1.]", 2],
    ['{"a" 1}', 5],
  ])("%j is wrong at %d", (text, position) => {
    expect(() => JSON.parse(text) as unknown).toThrow();
    expect(jsonFaultPosition(text)).toBe(position);
  });

  test("a place counts lines and columns from 1", () => {
    expect(placeOf("{\n  x", 4)).toEqual({ line: 2, column: 3 });
    expect(placeOf("x", 0)).toEqual({ line: 1, column: 1 });
  });

  test("text that JSON.parse takes has no fault, and cut text has one at its end or before", () => {
    fc.assert(
      fc.property(fc.json(), fc.nat(), (text, cut) => {
        expect(jsonFaultPosition(text)).toBe(text.length);
        const short = `[${text}`.slice(0, 1 + (cut % (text.length + 1)));
        expect(jsonFaultPosition(short)).toBeLessThanOrEqual(short.length);
      }),
    );
  });
});

describe("spans", () => {
  test("a member's text is as it was written", () => {
    const text = ' { "key" : "}" , "mess\\u0061ge" : 9007199254740993.10 , "x":[{"message":1}] } ';
    expect(memberText(text, "message")).toBe("9007199254740993.10");
    expect(memberText('{"message":1,"message":[2]}', "message")).toBe("[2]");
  });

  test("elements are found between any spaces", () => {
    expect([...elementTexts(' [ 1.0 , "a,]" ,[1,{"b":"}"}], null ] ')]).toEqual([
      "1.0",
      '"a,]"',
      '[1,{"b":"}"}]',
      "null",
    ]);
    expect([...elementTexts("[ ]")]).toEqual([]);
  });

  test("any value is found again and keeps its meaning when compacted", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 2), (value, indent) => {
        const text = JSON.stringify(
          { before: [value], message: value, after: value },
          null,
          indent,
        );
        const found = memberText(text, "message");
        expect(JSON.parse(found)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(compactJson(found)).toBe(JSON.stringify(value));
      }),
    );
  });

  test("space inside strings stays", () => {
    expect(compactJson('{ "a b" : [ "c  d", " \\" " ] }')).toBe('{"a b":["c  d"," \\" "]}');
  });
});
