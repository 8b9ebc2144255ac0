/**
 * Appends relayed to one leader: all of a node's over one ProduceBatch stream.
 *
 * A unary call costs ten times a message, so what comes in one turn of the event loop goes in one
 * message, where the terms of the appends allow it; each append gets its offsets back. One with an
 * expected offset, a producer or a write concern goes alone. Nothing is written before the leader
 * has accepted the stream, nor faster than its connection takes it.
 *
 * Invariants: what was not written fails as `not_applied`; what was written and has no answer when
 * the stream breaks is `outcome-unknown`, unless the leader said that it took nothing more; each
 * append ends, by its answer, by the stream's end, or by its deadline. A producer's id crosses as
 * it is in the log, as the mark of a relayed call says.
 */
import { Metadata } from "@grpc/grpc-js";
import type { ChannelCredentials, ClientDuplexStream } from "@grpc/grpc-js";

import type { Clock, Timer } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import { countRecords } from "../common/record.js";
import { producerIdBytesMax } from "../machine/command.js";
import type { AppendAnswer, AppendRequest } from "../service/api.js";
import type { Address } from "./addresses.js";
import { forwardedKey } from "./call-gate.js";
import { describedError, fromProduceError, fromServiceError } from "./grpc-errors.js";
import type { HeldChannel } from "./held-channel.js";
import { holdChannel } from "./held-channel.js";
import { clientChannelOptions } from "./http2-window.js";
import type { BatchRequest, BatchResponse } from "./log-codec.js";
import { copyFields } from "./log-messages.js";
import { produceBatchMethod } from "./log-service.js";

export interface RelayLimits {
  /** Appends of one relay that wait for their answers. */
  readonly relayCountMax: number;
  /** Their bytes. */
  readonly relayBytesMax: number;
  /** How long the leader may take to accept the stream. */
  readonly relayConnectMsMax: number;
  /** How long an append without a timeout of its own waits for its answer. */
  readonly relayTimeoutMs: number;
  readonly messageBytesMax: number;
}

export interface RelayParts {
  readonly clock: Clock;
  readonly credentials: () => ChannelCredentials;
  readonly limits: RelayLimits;
}

/** Beyond the leader's own timeout: its answer must have time to come. */
const answerMarginMs = 1000;
/** Largest message that several appends are put into. */
const mergedBytesMax = 1024 * 1024;
/** What a message holds beside records: a few numbers, and the producer's id. */
const framingBytesMax = 64 + producerIdBytesMax;
/** Refusals that may be owed to one of several appends in a message. */
const ownFaults: ReadonlySet<string> = new Set(["record-too-large", "invalid-request"]);

/** One append, from `produce` to its end. */
interface Append {
  readonly request: AppendRequest;
  readonly count: number;
  /** It was in a message that was refused for what may be another's fault. */
  isAlone: boolean;
  readonly resolve: (answer: AppendAnswer) => void;
  readonly reject: (error: ProglogError) => void;
}

/** A message of one or more appends. */
interface Letter {
  readonly id: number;
  readonly appends: readonly Append[];
  readonly request: BatchRequest;
  isWritten: boolean;
  timer: Timer | undefined;
}

type RelayCall = ClientDuplexStream<BatchRequest, BatchResponse>;

/** A stream and its connection; both are dropped together. */
interface Connection {
  readonly channel: HeldChannel;
  readonly call: RelayCall;
  readonly timer: Timer;
  isAccepted: boolean;
  /** Set while grpc-js holds as much as it should. */
  isFull: boolean;
}

export class RelayStream {
  readonly #address: Address;
  readonly #parts: RelayParts;
  #turn: Append[] = [];
  /** To be written, in order. */
  #outbox: Letter[] = [];
  /** Without an answer, written or not, by id. */
  readonly #letters = new Map<number, Letter>();
  #connection: Connection | undefined;
  readonly #dropped = new Set<Promise<void>>();
  #nextId = 1;
  #count = 0;
  #bytes = 0;
  #isClosed = false;

  constructor(address: Address, parts: RelayParts) {
    this.#address = address;
    this.#parts = parts;
  }

  /** True if nothing waits for an answer. */
  get isIdle(): boolean {
    return this.#count === 0;
  }

  /** @throws ProglogError what the leader says, `overloaded`, `unavailable`, `outcome-unknown`. */
  async produce(request: AppendRequest): Promise<AppendAnswer> {
    if (this.#isClosed) throw unavailable("The node is stopping.");
    const { relayCountMax, relayBytesMax, messageBytesMax } = this.#parts.limits;
    const bytes = request.records.length;
    if (bytes + framingBytesMax > messageBytesMax) {
      throw new ProglogError(
        "record-too-large",
        `The batch has ${bytes} bytes, too many to relay.`,
      );
    }
    const count = countRecords(request.records, Number.MAX_SAFE_INTEGER);
    if (this.#count >= relayCountMax || this.#bytes + bytes > relayBytesMax) {
      throw new ProglogError(
        "overloaded",
        "As many appends wait for the leader as this node holds.",
      );
    }
    this.#count += 1;
    this.#bytes += bytes;
    try {
      return await new Promise<AppendAnswer>((resolve, reject) => {
        this.#turn.push({ request, count, isAlone: false, resolve, reject });
        if (this.#turn.length === 1) this.#parts.clock.defer(() => this.#flush());
      });
    } finally {
      this.#count -= 1;
      this.#bytes -= bytes;
    }
  }

  /** Drops the stream; what waits fails as if it had broken. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const append of this.#turn.splice(0)) append.reject(unavailable("The node is stopping."));
    this.#drop(unavailable("The node is stopping."), "unknown");
    await Promise.all(this.#dropped);
  }

  #flush(): void {
    const turn = this.#turn;
    this.#turn = [];
    let together: Append[] = [];
    for (const append of turn) {
      if (together.length > 0 && !canJoin(together, append)) {
        this.#post(together);
        together = [];
      }
      together.push(append);
    }
    if (together.length > 0) this.#post(together);
    this.#write();
  }

  /** Puts appends into one message, to be written when the stream takes it. */
  #post(appends: readonly Append[]): void {
    const [first] = appends;
    if (first === undefined || this.#isClosed) return;
    const id = this.#nextId++;
    const { expectedOffset, timeoutMs, producer, writeConcern } = first.request;
    const records =
      appends.length === 1
        ? first.request.records
        : Buffer.concat(appends.map((append) => append.request.records));
    const count = appends.reduce((sum, append) => sum + append.count, 0);
    const request: BatchRequest = {
      id,
      records,
      count,
      ...(expectedOffset === undefined ? {} : { expectedOffset }),
      timeoutMs: timeoutMs ?? 0,
      ...(producer === undefined ? {} : { producerId: producer.id, sequence: producer.sequence }),
      ...copyFields(writeConcern),
    };
    const waitMs = (timeoutMs ?? this.#parts.limits.relayTimeoutMs) + answerMarginMs;
    const letter: Letter = { id, appends, request, isWritten: false, timer: undefined };
    letter.timer = this.#parts.clock.setTimer(waitMs, () => this.#expire(letter));
    this.#letters.set(id, letter);
    this.#outbox.push(letter);
  }

  #write(): void {
    if (this.#outbox.length === 0) return;
    const connection = (this.#connection ??= this.#connect());
    if (!connection.isAccepted || connection.isFull) return;
    const { call } = connection;
    let written = 0;
    for (const letter of this.#outbox) {
      written += 1;
      letter.isWritten = true;
      if (call.write(letter.request)) continue;
      connection.isFull = true;
      break;
    }
    this.#outbox.splice(0, written);
  }

  #connect(): Connection {
    const { clock, credentials, limits } = this.#parts;
    const channel = holdChannel(this.#address, credentials(), clientChannelOptions(limits));
    const metadata = new Metadata();
    metadata.set(forwardedKey, "1");
    const { path, requestSerialize, responseDeserialize } = produceBatchMethod;
    const call: RelayCall = channel.client.makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadata,
    );
    const timer = clock.setTimer(limits.relayConnectMsMax, () => {
      if (this.#connection === connection) this.#drop(unavailable("The leader does not answer."));
    });
    const connection = { channel, call, timer, isAccepted: false, isFull: false };
    call.on("metadata", () => {
      timer.cancel();
      connection.isAccepted = true;
      if (this.#connection === connection) this.#write();
    });
    call.on("drain", () => {
      connection.isFull = false;
      if (this.#connection === connection) this.#write();
    });
    call.on("data", (response: BatchResponse) => this.#receive(response));
    // Answers may still be buffered when the status is known: they come before the end.
    let failure: Error | undefined;
    const settle = (): void => {
      if (this.#connection === connection) this.#break(failure);
    };
    call.on("error", (error) => {
      failure = error;
    });
    call.on("status", () => {
      connection.isFull = true;
      if (call.readableEnded) settle();
      else call.once("end", settle);
    });
    return connection;
  }

  #receive(response: BatchResponse): void {
    const letter = this.#letters.get(Number(response.id));
    if (letter === undefined) return;
    this.#forget(letter);
    if ("error" in response) {
      this.#refuse(letter, fromProduceError(response.error));
      return;
    }
    if ("isCommitted" in response) {
      for (const { resolve } of letter.appends) resolve({ isCommitted: false });
      return;
    }
    const { timestampMs, isDuplicate } = response;
    let { offset } = response;
    if (isDuplicate === true) {
      // The answer is about the original, which need not be like what was sent now.
      const original = { offset, count: response.count, timestampMs, isDuplicate };
      for (const { resolve } of letter.appends) resolve(original);
      return;
    }
    for (const { count, resolve } of letter.appends) {
      resolve({ offset, count, timestampMs });
      offset += count;
    }
  }

  #refuse(letter: Letter, error: ProglogError): void {
    const isOthers = letter.appends.length > 1 && ownFaults.has(error.code);
    if (!isOthers || error.outcome !== "not_applied") {
      for (const append of letter.appends) append.reject(error);
      return;
    }
    for (const append of letter.appends) {
      append.isAlone = true;
      this.#post([append]);
    }
    this.#write();
  }

  #expire(letter: Letter): void {
    this.#forget(letter);
    this.#outbox = this.#outbox.filter((other) => other !== letter);
    for (const append of letter.appends) {
      const error = letter.isWritten
        ? unknownOutcome(append, "The leader did not answer in time.")
        : unavailable("The leader could not be reached in time.");
      append.reject(error);
    }
  }

  #break(thrown: Error | undefined): void {
    if (thrown === undefined) {
      this.#drop(unavailable("The leader ended the stream."));
      return;
    }
    const described = describedError(thrown);
    // A leader that ends a stream has answered all it took; what is open was not applied.
    if (described !== undefined) this.#drop(described, described.outcome ?? "unknown");
    else this.#drop(unavailable(fromServiceError(thrown, "read").message));
  }

  /**
   * Gives the stream up: what was written fails with an unknown outcome, unless it is known, and
   * what was not written with the error.
   */
  #drop(error: ProglogError, written: ProglogError["outcome"] = "unknown"): void {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#outbox = [];
    for (const letter of [...this.#letters.values()]) {
      this.#forget(letter);
      const isUnknown = letter.isWritten && written !== "not_applied";
      const broken = "The stream to the leader broke after the request was sent.";
      for (const append of letter.appends) {
        append.reject(isUnknown ? unknownOutcome(append, broken, error) : notApplied(error));
      }
    }
    if (connection === undefined) return;
    connection.timer.cancel();
    connection.call.cancel();
    const dropped = connection.channel.drop().finally(() => this.#dropped.delete(dropped));
    this.#dropped.add(dropped);
  }

  #forget(letter: Letter): void {
    letter.timer?.cancel();
    this.#letters.delete(letter.id);
  }
}

function canJoin(together: readonly Append[], append: Append): boolean {
  const [first] = together;
  let bytes = append.request.records.length;
  for (const other of together) bytes += other.request.records.length;
  return (
    first?.request.expectedOffset === undefined &&
    append.request.expectedOffset === undefined &&
    first?.request.producer === undefined &&
    append.request.producer === undefined &&
    first?.request.writeConcern === undefined &&
    append.request.writeConcern === undefined &&
    first?.request.timeoutMs === append.request.timeoutMs &&
    bytes <= mergedBytesMax
  );
}

function unavailable(detail: string): ProglogError {
  return new ProglogError("unavailable", detail);
}

/** With a producer it may be sent again: it is applied once at most. */
function unknownOutcome({ request }: Append, detail: string, cause?: ProglogError): ProglogError {
  const retryable = request.producer !== undefined;
  return new ProglogError("outcome-unknown", detail, { retryable, cause });
}

/** The same error, for an append that was not written. */
function notApplied(error: ProglogError): ProglogError {
  if (error.outcome === "not_applied") return error;
  return new ProglogError("unavailable", error.message, { cause: error });
}
