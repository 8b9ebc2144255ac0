/**
 * One request and its answer: what every route needs to know and the one way to answer.
 *
 * Invariants: an exchange is answered at most once; each answer carries the node's position; an
 * answer to a request whose body has not wholly arrived closes the connection, and lingers so
 * that the client gets to read why.
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";

import { assert } from "../common/assert.js";
import type { Clock, Timer } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { LogService } from "../service/api.js";
import type { Budget } from "./budget.js";
import type { HttpOptions } from "./options.js";

/** What the gateway shares with its exchanges. */
export interface ExchangeHost {
  readonly log: LogService;
  readonly clock: Clock;
  readonly options: HttpOptions;
  /** Bytes of large answers that wait for their readers. */
  readonly answerBytes: Budget;
  /** Bytes of request bodies that are held. */
  readonly bodyBytes: Budget;
  /** True once the gateway stops: answers then close their connection. */
  isClosing(): boolean;
}

/** The client has closed its connection: there is nobody to answer. */
export class ClientGoneError extends Error {
  override readonly name = "ClientGoneError";
}

/** Answers above this size count as large: they are not sure to fit the socket's buffer. */
const largeAnswerBytes = 16 * 1024;
/** What is read and thrown away of a refused body before the connection is cut. */
const lingerBytesMax = 32 * 1024 * 1024;
const lingerMs = 2_000;

export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly host: ExchangeHost;
  readonly path: string;
  /** Path and query as they came, from the slash on. */
  readonly target: string;
  readonly #query: string;
  readonly #expectsContinue: boolean;
  #gone: AbortController | undefined;
  #isClosed = false;
  readonly #whenClosed: (() => void)[] = [];

  constructor(
    host: ExchangeHost,
    message: { request: IncomingMessage; response: ServerResponse; expectsContinue: boolean },
  ) {
    this.host = host;
    this.request = message.request;
    this.response = message.response;
    this.#expectsContinue = message.expectsContinue;
    this.target = originForm(message.request.url ?? "/");
    const mark = this.target.indexOf("?");
    this.path = mark < 0 ? this.target : this.target.slice(0, mark);
    this.#query = mark < 0 ? "" : this.target.slice(mark + 1);
  }

  get isHead(): boolean {
    return this.request.method === "HEAD";
  }

  get isRead(): boolean {
    return this.request.method === "GET" || this.isHead;
  }

  get query(): string {
    return this.#query;
  }

  /** Aborts when the client goes away before its answer is complete. */
  get signal(): AbortSignal {
    if (this.#gone === undefined) {
      const gone = new AbortController();
      this.#gone = gone;
      this.whenClosed(() => {
        if (!this.response.writableFinished) gone.abort(new ClientGoneError());
      });
    }
    return this.#gone.signal;
  }

  /** True once the answer is complete, or its connection gone. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Calls `listener` once, when the answer is complete or its connection gone. */
  whenClosed(listener: () => void): void {
    if (this.#isClosed) listener();
    else this.#whenClosed.push(listener);
  }

  /**
   * Marks the exchange as over. The gateway calls it: a pipelined answer whose turn has not come
   * emits no event of its own when its connection closes.
   */
  markClosed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const listener of this.#whenClosed.splice(0)) listener();
  }

  /** Cuts the connection: the client is broken, or must not take a part for the whole. */
  cut(): void {
    this.request.socket.destroy();
  }

  /** Tells a client that asked (`Expect: 100-continue`) to send its body. */
  inviteBody(): void {
    if (this.#expectsContinue) this.response.writeContinue();
  }

  /** Adds the headers that every answer carries to its own. */
  headers(own: OutgoingHttpHeaders): OutgoingHttpHeaders {
    const position = this.host.log.position();
    // Not a spread: that alone would cost a twentieth of a request.
    const headers = own;
    headers["X-Proglog-Node"] = position.nodeName;
    headers["X-Proglog-Term"] = position.term;
    headers["X-Proglog-Commit-Offset"] = position.endOffset;
    headers["X-Content-Type-Options"] = "nosniff";
    if (this.host.isClosing() || this.#isBodyUnread()) headers["Connection"] = "close";
    return headers;
  }

  /** Answers with JSON text. */
  sendJson(status: number, text: string, headers: OutgoingHttpHeaders = {}): void {
    this.send(
      status,
      { "Content-Type": "application/json", "Cache-Control": "no-store", ...headers },
      text,
    );
  }

  /**
   * Answers.
   *
   * @throws ProglogError `overloaded` if too many large answers wait for their readers.
   */
  send(status: number, headers: OutgoingHttpHeaders, body: string | Buffer): void {
    assert(!this.response.headersSent, "an exchange is answered once");
    if (this.#isClosed) return;
    const bytes = typeof body === "string" ? Buffer.byteLength(body) : body.length;
    if (bytes > largeAnswerBytes && !this.isHead) this.#guardLargeAnswer(bytes);
    const all = this.headers(headers);
    if (status !== 204 && status !== 304) all["Content-Length"] = bytes;
    this.response.writeHead(status, all);
    if (this.#isBodyUnread()) {
      if (!this.isHead) this.response.write(body);
      this.#linger();
    } else if (this.isHead) {
      this.response.end();
    } else {
      this.response.end(body);
    }
  }

  /** Counts a large answer until it is gone, and cuts off a reader that does not take it. */
  #guardLargeAnswer(bytes: number): void {
    const { answerBytes, clock, options } = this.host;
    if (!answerBytes.take(bytes)) {
      throw new ProglogError("overloaded", "Too many large answers wait for slow readers.");
    }
    const timer = clock.setTimer(options.stallTimeoutMs, () => {
      this.cut();
    });
    this.whenClosed(() => {
      timer.cancel();
      answerBytes.giveBack(bytes);
    });
  }

  #isBodyUnread(): boolean {
    const { headers, complete } = this.request;
    if (complete) return false;
    const length = headers["content-length"];
    return headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
  }

  /**
   * Closes only when the client has stopped sending, within bounds: a connection closed over
   * unread bytes is reset, and a reset takes the answer with it.
   */
  #linger(): void {
    const { request, response } = this;
    let bytes = 0;
    let timer: Timer | undefined = undefined;
    const end = (): void => {
      timer?.cancel();
      response.end();
    };
    timer = this.host.clock.setTimer(lingerMs, end);
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > lingerBytesMax) end();
    });
    request.once("end", end);
    request.once("close", end);
    request.resume();
  }
}

/** A request target as path and query, also where a proxy's absolute form came. */
function originForm(url: string): string {
  if (url.startsWith("/")) return url;
  const path = /^https?:\/\/[^/?#]*(.*)$/i.exec(url)?.[1];
  if (path === undefined) return url;
  return path.startsWith("/") ? path : `/${path}`;
}
