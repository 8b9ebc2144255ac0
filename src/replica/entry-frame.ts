/**
 * Entry ⇄ frame: how the core's entries look on disk and on the wire.
 *
 * A command's `data` is its whole frame, built where the request came in and never copied again;
 * no-ops and configurations are encoded here, being small and rare.
 * Invariant: decodeEntry(frameOf(entry)) equals the entry.
 */
import { assert } from "../common/assert.js";
import type { Configuration, Entry, Member } from "../raft/message.js";
import {
  controlFrame,
  frameBody,
  frameBytesOf,
  frameKinds,
  isBodyValid,
  readHeader,
  stampSlot,
} from "../storage/frame.js";

const noData = Buffer.alloc(0);

/** The sealed frame of an entry, with its index and term in the header. */
export function frameOf(entry: Entry): Buffer {
  switch (entry.kind) {
    case "noop":
      return controlFrame(frameKinds.noop, { key: entry.index, term: entry.term }, noData);
    case "configuration": {
      const body = Buffer.from(JSON.stringify(entry.configuration));
      return controlFrame(frameKinds.configuration, { key: entry.index, term: entry.term }, body);
    }
    case "command":
      return entry.data;
  }
}

/** Numbers a command that the core has just given its place in the log. */
export function numberCommand(entry: Entry): void {
  if (entry.kind === "command") stampSlot(entry.data, entry.index, entry.term);
}

/**
 * The entry in the frame at a position; its data is a view of the buffer.
 *
 * @returns undefined if there is no whole, undamaged entry frame there.
 */
export function decodeEntry(
  buffer: Buffer,
  position: number,
): { readonly entry: Entry; readonly end: number } | undefined {
  const header = readHeader(buffer, position);
  if (header === undefined || !isBodyValid(buffer, position, header)) return undefined;
  const end = position + frameBytesOf(header);
  const slot = { index: header.key, term: header.term };
  switch (header.kind) {
    case frameKinds.noop:
      return { entry: { ...slot, kind: "noop", data: noData }, end };
    case frameKinds.configuration: {
      const text = frameBody(buffer, position, header).toString();
      const configuration = parseConfiguration(text);
      if (configuration === undefined) return undefined;
      return { entry: { ...slot, kind: "configuration", configuration, data: noData }, end };
    }
    case frameKinds.records:
    case frameKinds.settings:
      return { entry: { ...slot, kind: "command", data: buffer.subarray(position, end) }, end };
    default:
      return undefined;
  }
}

/**
 * The entries of an append request, in order.
 *
 * @returns undefined if any byte is damaged or does not belong: the whole message is refused.
 */
export function decodeEntries(frames: Buffer): Entry[] | undefined {
  const entries: Entry[] = [];
  let position = 0;
  while (position < frames.length) {
    const decoded = decodeEntry(frames, position);
    if (decoded === undefined) return undefined;
    entries.push(decoded.entry);
    position = decoded.end;
  }
  return entries;
}

/** The frames of entries, one after the other, as they go on the wire. */
export function encodeEntries(entries: readonly Entry[]): Buffer[] {
  return entries.map(frameOf);
}

/** Checks the shape of a configuration that comes from outside the process. */
export function parseConfiguration(text: string): Configuration | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { voters, learners } = value as Record<string, unknown>;
  if (!isMembers(voters) || !isMembers(learners)) return undefined;
  return { voters, learners };
}

function isMembers(value: unknown): value is Member[] {
  return Array.isArray(value) && value.every(isMember);
}

function isMember(value: unknown): value is Member {
  if (typeof value !== "object" || value === null) return false;
  const member = value as Record<string, unknown>;
  return ["id", "name", "rpcAddr", "httpAddr"].every((key) => typeof member[key] === "string");
}

/** Bytes an entry takes on disk and on the wire. */
export function entryBytes(entry: Entry): number {
  if (entry.kind !== "command") return frameOf(entry).length;
  assert(entry.data.length > 0, "a command has a frame");
  return entry.data.length;
}
