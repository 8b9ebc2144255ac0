/**
 * Bytes into lines: what stands between line feeds, byte for byte.
 *
 * The line feed itself is no part of a line; an empty line is a line; what follows the last line
 * feed is one too, unless it is nothing. Invariant: at most one chunk and `bytesMax` bytes of an
 * unfinished line are held.
 */
import { ProglogError } from "../../common/errors.js";

const lineFeed = 0x0a;

/**
 * Gives the lines of each chunk together: a source is read no faster than they are taken.
 *
 * @throws ProglogError `record-too-large`, once the lines before it are taken, that names the line.
 */
export async function* linesOf(
  source: AsyncIterable<Buffer>,
  bytesMax: number,
): AsyncGenerator<Buffer[], void, undefined> {
  let head: Buffer[] = [];
  let headBytes = 0;
  let count = 0;
  for await (const chunk of source) {
    const lines: Buffer[] = [];
    let at = 0;
    for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, at)) {
      const tail = chunk.subarray(at, end);
      if (headBytes + tail.length > bytesMax) break;
      lines.push(head.length === 0 ? tail : Buffer.concat([...head, tail]));
      head = [];
      headBytes = 0;
      at = end + 1;
    }
    count += lines.length;
    if (lines.length > 0) yield lines;
    // Up to the next line feed or, where the loop above was left early, with it.
    const rest = chunk.subarray(at);
    headBytes += rest.length;
    if (headBytes > bytesMax) throw tooLong(count + 1, bytesMax);
    if (rest.length > 0) head.push(rest);
  }
  if (headBytes > 0) yield [Buffer.concat(head)];
}

function tooLong(number: number, bytesMax: number): ProglogError {
  const detail = `The line has more than ${String(bytesMax)} bytes.`;
  return new ProglogError("record-too-large", detail, { fields: { line: number, bytesMax } });
}
