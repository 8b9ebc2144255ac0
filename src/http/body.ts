/**
 * Reads a request's body, and refuses it as soon as it is known to be too large.
 *
 * Invariant: bytes are counted as they arrive, never as they were announced; what the budget
 * lent is given back when the reading fails or the caller is done.
 */
import { ProglogError } from "../common/errors.js";
import { ClientGoneError, type Exchange } from "./exchange.js";

/** A whole body; `release` gives its bytes back to the budget. */
export interface Body {
  readonly bytes: Buffer;
  release(): void;
}

/**
 * Reads the body.
 *
 * @throws ProglogError `record-too-large`, `overloaded`, `unsupported-media-type`.
 * @throws ClientGoneError if the connection closes, or times out, before the body is whole.
 */
export async function readBody(exchange: Exchange, bytesMax: number): Promise<Body> {
  refuseEncoding(exchange);
  const announced = Number(exchange.request.headers["content-length"] ?? 0);
  if (announced > bytesMax) throw tooLarge(bytesMax);
  exchange.inviteBody();
  const budget = exchange.host.bodyBytes;
  let held = 0;
  try {
    const chunks = await collect(exchange, (bytes) => {
      if (held + bytes > bytesMax) throw tooLarge(bytesMax);
      if (!budget.take(bytes)) throw tooManyBodies();
      held += bytes;
    });
    const [first] = chunks;
    const bytes = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks, held);
    return {
      bytes,
      release: () => {
        budget.giveBack(held);
      },
    };
  } catch (error) {
    budget.giveBack(held);
    throw error;
  }
}

/** The chunks, each shown to `admit` first, which may throw to refuse the rest. */
function collect(exchange: Exchange, admit: (bytes: number) => void): Promise<Buffer[]> {
  const { request } = exchange;
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const settle = (error?: Error): void => {
      request.off("data", take).off("end", settle).off("error", gone).off("close", gone);
      // The stream may still fail afterwards; nobody would hear it then but the process.
      request.on("error", ignoreLateError);
      if (error === undefined) resolve(chunks);
      else reject(error);
    };
    const gone = (): void => {
      settle(new ClientGoneError());
    };
    const take = (chunk: Buffer): void => {
      try {
        admit(chunk.length);
        chunks.push(chunk);
      } catch (error) {
        settle(error instanceof Error ? error : new Error("Refused.", { cause: error }));
      }
    };
    request.on("data", take).on("end", settle).on("error", gone).on("close", gone);
  });
}

function ignoreLateError(): void {
  // The exchange has been settled; the socket's closing cleans up.
}

/** Compressed bytes stored as they come would come back without their header, so none are taken. */
function refuseEncoding(exchange: Exchange): void {
  const encoding = exchange.request.headers["content-encoding"];
  if (encoding === undefined || encoding.toLowerCase() === "identity") return;
  throw new ProglogError(
    "unsupported-media-type",
    "A body with a Content-Encoding is not taken; send it uncompressed.",
  );
}

function tooLarge(bytesMax: number): ProglogError {
  return new ProglogError(
    "record-too-large",
    `The body is over the limit of ${String(bytesMax)} bytes.`,
    { fields: { bytesMax } },
  );
}

function tooManyBodies(): ProglogError {
  return new ProglogError("overloaded", "Too many request bodies are on their way at once.");
}
