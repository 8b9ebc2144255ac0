/**
 * How a record looks in an answer: the message comes back as it was posted.
 *
 * Stored JSON text is spliced in as it stands, so numbers keep their digits. It is proven to be
 * JSON first: over gRPC a client may mark any bytes as JSON, and those must not break an answer.
 */
import { isUtf8 } from "node:buffer";

import type { LogRecord } from "../common/record.js";
import { tooDeepPosition } from "./json-depth.js";
import { compactJson } from "./json-span.js";

/** RFC 3339 in UTC, with milliseconds. */
export function timestampText(timestampMs: number): string {
  return new Date(timestampMs).toISOString();
}

/** The record as one line of JSON. */
export function recordJson(record: LogRecord): string {
  const message = messageOf(record);
  let text = `{"offset":${String(record.offset)},"message":${message.text}`;
  text += `,"timestamp":"${timestampText(record.timestampMs)}"`;
  if (record.key !== undefined) text += `,"key":${JSON.stringify(record.key)}`;
  if (record.headers !== undefined) text += `,"headers":${JSON.stringify(record.headers)}`;
  if (message.isBase64) text += ',"encoding":"base64"';
  return `${text}}`;
}

function messageOf(record: LogRecord): { readonly text: string; readonly isBase64: boolean } {
  const { value } = record;
  if (!isUtf8(value)) return { text: `"${value.toString("base64")}"`, isBase64: true };
  const text = value.toString("utf8");
  if (record.json === true && tooDeepPosition(value) < 0 && isJson(text)) {
    return { text: compactJson(text), isBase64: false };
  }
  return { text: JSON.stringify(text), isBase64: false };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Longest key and headers that are shown as HTTP headers: clients refuse longer ones. */
const shownHeaderBytesMax = 8 * 1024;

/** Where the record stands and what came with it, for an answer whose body is its bare bytes. */
export function recordHeaders(record: LogRecord): Record<string, string> {
  const shown: Record<string, string> = {
    "X-Proglog-Offset": String(record.offset),
    "X-Proglog-Timestamp": timestampText(record.timestampMs),
  };
  const key = record.key === undefined ? undefined : encodeURIComponent(record.key);
  const headers =
    record.headers === undefined
      ? undefined
      : Object.entries(record.headers)
          .map((header) => header.map(encodeURIComponent).join("="))
          .join("&");
  if ((key?.length ?? 0) + (headers?.length ?? 0) > shownHeaderBytesMax) {
    shown["X-Proglog-Headers-Omitted"] = "true";
    return shown;
  }
  if (key !== undefined) shown["X-Proglog-Key"] = key;
  if (headers !== undefined) shown["X-Proglog-Headers"] = headers;
  return shown;
}
