/**
 * The lines of an HTTP answer as they come, on a connection of its own.
 *
 * A line that was not ended is not given: the stream broke within it. Invariant: it ends without
 * an error however the connection ends, for a reader of a stream can only go on elsewhere.
 */
import { Agent, get } from "node:http";
import type { IncomingMessage } from "node:http";

/** @throws Error if the answer is not 200. */
export async function* linesOf(
  url: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): AsyncGenerator<string, void> {
  const agent = new Agent();
  try {
    const response = await answerOf(url, headers, { agent, signal });
    if (response === undefined) return;
    if (response.statusCode !== 200) throw new Error(`answered with ${response.statusCode}`);
    response.setEncoding("utf8");
    let rest = "";
    for await (const chunk of response as AsyncIterable<string>) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
  } catch (error) {
    if (error instanceof Error && error.message.startsWith("answered")) throw error;
  } finally {
    agent.destroy();
  }
}

/** Undefined if there was none. */
async function answerOf(
  url: string,
  headers: Readonly<Record<string, string>>,
  options: { readonly agent: Agent; readonly signal: AbortSignal },
): Promise<IncomingMessage | undefined> {
  return new Promise((resolve) => {
    const request = get(url, { ...options, headers }, resolve);
    request.once("error", () => {
      resolve(undefined);
    });
  });
}
