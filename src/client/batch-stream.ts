/**
 * One ProduceBatch stream to one node: frames out, answers in, and one end.
 *
 * Nothing is sent before the node has accepted the stream, so that what was not sent is known not
 * to be applied. It retries nothing: whoever holds the frames knows what is safe.
 */
import type { ClientDuplexStream } from "@grpc/grpc-js";

import type { Clock, Timer } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { ProduceBatchRequest, ProduceBatchResponse } from "../gen/log/v1/log.js";
import type { NodeChannel } from "./channel.js";
import { describedError, fromServiceError } from "./wire-errors.js";

/** Who is told what the stream does; nothing more after `ended`, or once dropped. */
export interface StreamListener {
  accepted(): void;
  answered(response: ProduceBatchResponse): void;
  /**
   * @param isUntaken True if the node said itself that it ends the stream: then it has answered
   *   all it took, and a frame without an answer was not applied.
   */
  ended(error: ProglogError, isUntaken: boolean): void;
}

export class BatchStream {
  readonly address: string;
  readonly #call: ClientDuplexStream<ProduceBatchRequest, ProduceBatchResponse>;
  readonly #timer: Timer;
  #listener: StreamListener | undefined;
  #isAccepted = false;

  /** @param acceptMs How long the node may take to accept the stream. */
  constructor(channel: NodeChannel, clock: Clock, acceptMs: number, listener: StreamListener) {
    this.address = channel.address;
    this.#listener = listener;
    const call = channel.client.produceBatch();
    this.#call = call;
    this.#timer = clock.setTimer(acceptMs, () => {
      const who = `The node at ${this.address}`;
      const detail = `${who} did not take the stream in ${String(acceptMs)} ms.`;
      this.#end(new ProglogError("unavailable", detail), true);
      call.cancel();
    });
    call.on("metadata", () => {
      this.#timer.cancel();
      this.#isAccepted = true;
      this.#listener?.accepted();
    });
    call.on("data", (response: ProduceBatchResponse) => this.#listener?.answered(response));
    // Answers may still be buffered when the status is known: they come before the end.
    let failure: unknown;
    const settle = (): void => this.#fail(failure);
    call.on("error", (error) => {
      failure = error;
    });
    call.on("status", () => {
      if (call.readableEnded) settle();
      else call.once("end", settle);
    });
  }

  get isAccepted(): boolean {
    return this.#isAccepted;
  }

  send(request: ProduceBatchRequest): void {
    this.#call.write(request);
  }

  /** Gives the stream up; its listener hears nothing more. */
  drop(): void {
    this.#timer.cancel();
    this.#listener = undefined;
    this.#call.cancel();
  }

  #fail(thrown: unknown): void {
    const described = describedError(thrown);
    if (described !== undefined) {
      this.#end(described, described.outcome === "not_applied");
      return;
    }
    const detail = `The node at ${this.address} ended the stream.`;
    const plain = new ProglogError("unavailable", detail, { outcome: "unknown" });
    this.#end(thrown === undefined ? plain : fromServiceError(thrown, "write"), false);
  }

  #end(error: ProglogError, isUntaken: boolean): void {
    const listener = this.#listener;
    this.drop();
    listener?.ended(error, isUntaken);
  }
}
