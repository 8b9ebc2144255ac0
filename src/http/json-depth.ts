/**
 * Measures how deep JSON nests, before it is parsed.
 *
 * JSON.parse recurses: a mebibyte of `[` stalls the event loop, and with it heartbeats, for
 * a third of a second. This scan stops at the first bracket too many.
 * It must never accept what nests deeper than the limit; whether the text is JSON is not its
 * question.
 */

/** Most levels of arrays and objects, the outermost included. */
export const jsonDepthMax = 64;

const quote = 0x22;
const backslash = 0x5c;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** Position of the bracket that nests too deep, or -1. */
export function tooDeepPosition(bytes: Uint8Array, depthMax: number = jsonDepthMax): number {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (inString) {
      if (byte === backslash) at += 1;
      else if (byte === quote) inString = false;
    } else if (byte === quote) {
      inString = true;
    } else if (byte === openBracket || byte === openBrace) {
      depth += 1;
      if (depth > depthMax) return at;
    } else if (byte === closeBracket || byte === closeBrace) {
      depth -= 1;
    }
  }
  return -1;
}
