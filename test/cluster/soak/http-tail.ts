/**
 * Follows a node's log over HTTP, as newline-delimited JSON or as server-sent events.
 */
import { nameOfMessage } from "./messages.js";
import type { NamedRecord } from "./log-stub.js";

/** Follows from an offset on until the signal, or until the stream breaks. */
export async function tail(
  base: string,
  options: { readonly from: number; readonly type: "ndjson" | "sse"; readonly signal: AbortSignal },
  onRecord: (record: NamedRecord) => void,
): Promise<void> {
  const { from, type, signal } = options;
  const accept = type === "sse" ? "text/event-stream" : "application/x-ndjson";
  try {
    const url = `${base}/Data?from=${from}&follow=true`;
    const response = await fetch(url, { headers: { accept }, signal });
    if (response.status !== 200 || response.body === null) return;
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of response.body) {
      const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const text = type === "sse" ? dataOf(line) : line;
        if (text !== "") take(text, onRecord);
      }
    }
  } catch {
    // The stream broke, or was ended here: the caller goes on elsewhere.
  }
}

/** Of a line of an event stream, its data; of other lines nothing. */
function dataOf(line: string): string {
  return line.startsWith("data:") ? line.slice("data:".length).trim() : "";
}

/** What cannot be read is given as a record that nobody sent, for the checker to find. */
function take(text: string, onRecord: (record: NamedRecord) => void): void {
  let parsed: { offset?: unknown; message?: unknown };
  try {
    parsed = JSON.parse(text) as typeof parsed;
  } catch {
    onRecord({ offset: -1, value: text });
    return;
  }
  // A problem that ends an event stream has no offset.
  const { offset, message } = parsed;
  if (typeof offset === "number") onRecord({ offset, value: nameOfMessage(message) });
}
