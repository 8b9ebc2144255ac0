/**
 * Loaded into a node: its file system takes only a part of every third write, and says how much.
 *
 * A write of one byte is taken whole, for a call that takes nothing is an error and not a short
 * write. Says once on standard error that it has happened.
 */
import fs from "node:fs";

let callCount = 0;
let shortCount = 0;

/** How much of so many bytes is taken by this call. */
function taken(bytes) {
  callCount += 1;
  if (callCount % 3 !== 0 || bytes < 2) return bytes;
  shortCount += 1;
  if (shortCount === 1) process.stderr.write("short writes: the first of many\n");
  return 1 + ((callCount * 7919) % (bytes - 1));
}

/** The first bytes of the buffers, as views of them. */
function head(buffers, bytes) {
  const kept = [];
  let left = bytes;
  for (const buffer of buffers) {
    if (left === 0) break;
    kept.push(buffer.subarray(0, Math.min(left, buffer.length)));
    left -= Math.min(left, buffer.length);
  }
  return kept;
}

function bytesOf(buffers) {
  return buffers.reduce((bytes, buffer) => bytes + buffer.length, 0);
}

const { write, writev, writevSync } = fs;

fs.write = (descriptor, buffer, ...rest) => {
  const [offset, bytes, position, done] = rest;
  if (typeof position !== "number" || typeof done !== "function") {
    write(descriptor, buffer, ...rest);
    return;
  }
  write(descriptor, buffer, offset, taken(bytes), position, done);
};

fs.writev = (descriptor, buffers, position, done) => {
  writev(descriptor, head(buffers, taken(bytesOf(buffers))), position, done);
};

fs.writevSync = (descriptor, buffers, position) =>
  writevSync(descriptor, head(buffers, taken(bytesOf(buffers))), position);
