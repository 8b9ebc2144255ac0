/**
 * ProduceStream: one record a message, answered in the order of the requests.
 *
 * Requests are pipelined. Those that arrive in one turn of the event loop, ask for no particular
 * offset, have no producer, no write concern, and wait equally long are appended together; their
 * answers are the consecutive offsets. A request with an expected offset goes alone: it may be
 * refused without its neighbours. So does one with a producer: it may have been appended before,
 * elsewhere; and one with a write concern, whose answer may take long.
 *
 * Invariants: answers keep the order of requests; the stream ends with the first error, after the
 * answers before it, and nothing received after a refused request is appended. Appends under way
 * when it ends may still be applied: only the first request without an answer has that error.
 */
import type { ServerDuplexStream } from "@grpc/grpc-js";

import type { Clock } from "../common/clock.js";
import type { ProduceRequest, ProduceResponse } from "../gen/log/v1/log.js";
import type { AppendAnswer, LogService } from "../service/api.js";
import { isPatient } from "../service/api.js";
import type { CallContext, CallGate, Decoded } from "./call-gate.js";
import { requireDecoded } from "./call-gate.js";
import type { SingleAppend } from "./log-messages.js";
import {
  appendRequestFrom,
  produceResponseFrom,
  singleAppendFrom,
  tooFewCopiesFrom,
} from "./log-messages.js";
import type { RpcOptions } from "./options.js";
import { StreamLedger } from "./stream-ledger.js";

export type ProduceStreamCall = ServerDuplexStream<Decoded<ProduceRequest>, ProduceResponse>;

export interface ProduceParts {
  readonly log: LogService;
  readonly clock: Clock;
  readonly gate: CallGate;
  readonly options: RpcOptions;
}

/** Largest group of records that is appended as one. */
const groupCountMax = 4096;
const groupBytesMax = 1024 * 1024;

type GroupResult =
  | { readonly answer: AppendAnswer }
  | { readonly tooFew: ProduceResponse }
  | { readonly error: unknown };

/** Requests appended together, in the order of requests. */
interface Group {
  readonly appends: SingleAppend[];
  bytes: number;
  /** Undefined as long as it is under way. */
  result: GroupResult | undefined;
}

export class ProduceStream {
  readonly #call: ProduceStreamCall;
  readonly #parts: ProduceParts;
  readonly #context: CallContext;
  readonly #ledger: StreamLedger;
  /** Received in this turn. */
  #turn: Group[] = [];
  /** Under way, or waiting for the answers before theirs. */
  readonly #groups: Group[] = [];
  /** Set once no request is taken any more; `error` if the stream is to end with one. */
  #stopped: { readonly error?: unknown } | undefined;
  #finish: { resolve(): void; reject(error: unknown): void } | undefined;

  constructor(call: ProduceStreamCall, context: CallContext, parts: ProduceParts) {
    this.#call = call;
    this.#context = context;
    this.#parts = parts;
    this.#ledger = new StreamLedger(call, parts.options);
  }

  /** Serves the stream to its end. Rejects with what ends it, if it is an error. */
  async run(): Promise<void> {
    const { signal } = this.#context;
    await new Promise<void>((resolve, reject) => {
      this.#finish = { resolve, reject };
      const abort = (): void => this.#stop({ error: signal.reason as Error });
      signal.addEventListener("abort", abort, { once: true });
      if (signal.aborted) abort();
      this.#call.on("data", (message: Decoded<ProduceRequest>) => this.#receive(message));
      this.#call.once("end", () => this.#stop({}));
    });
  }

  #receive(message: Decoded<ProduceRequest>): void {
    if (this.#stopped !== undefined) return;
    let append: SingleAppend;
    try {
      append = singleAppendFrom(requireDecoded(message), this.#parts.options.recordBytesMax);
      this.#parts.gate.enter(append.bytes, isPatient(append.writeConcern));
    } catch (error) {
      this.#turn.push({ appends: [], bytes: 0, result: { error } });
      this.#scheduleFlush();
      this.#stop({});
      return;
    }
    this.#ledger.hold(1, append.bytes);
    const group = this.#turn.at(-1);
    if (group !== undefined && canJoin(group, append)) {
      group.appends.push(append);
      group.bytes += append.bytes;
      return;
    }
    this.#turn.push({ appends: [append], bytes: append.bytes, result: undefined });
    this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    if (this.#turn.length === 1) this.#parts.clock.defer(() => this.#flush());
  }

  #flush(): void {
    const groups = this.#turn;
    this.#turn = [];
    for (const group of groups) {
      this.#groups.push(group);
      if (group.result === undefined) void this.#append(group);
    }
    this.#answer();
  }

  async #append(group: Group): Promise<void> {
    const { isForwarded } = this.#context;
    try {
      const request = appendRequestFrom(group.appends, isForwarded);
      const answer = await this.#parts.log.produce(request, { relay: !isForwarded });
      group.result = { answer };
    } catch (error) {
      group.result = failureOf(error);
    } finally {
      this.#parts.gate.leave(group.bytes, isPatient(group.appends[0]?.writeConcern));
    }
    this.#answer();
  }

  /** Answers what can be answered in order; ends the stream if that was the last of it. */
  #answer(): void {
    if (this.#finish === undefined) return;
    for (let head = this.#groups[0]; head?.result !== undefined; head = this.#groups[0]) {
      this.#groups.shift();
      if ("error" in head.result) {
        this.#stopped = {};
        this.#end(head.result.error);
        return;
      }
      this.#write(head, head.result);
    }
    const isIdle = this.#groups.length === 0 && this.#turn.length === 0;
    if (this.#stopped !== undefined && isIdle) this.#end(this.#stopped.error);
  }

  #write(group: Group, result: Exclude<GroupResult, { readonly error: unknown }>): void {
    const { appends, bytes } = group;
    const last = appends.length - 1;
    const responseOf = (ordinal: number): ProduceResponse =>
      "tooFew" in result ? result.tooFew : produceResponseFrom(result.answer, ordinal);
    for (let ordinal = 0; ordinal < last; ordinal += 1) this.#call.write(responseOf(ordinal));
    this.#call.write(responseOf(last), () => {
      this.#ledger.release(appends.length, bytes);
    });
  }

  /** Takes no request any more, and ends once those taken are answered. */
  #stop(reason: { readonly error?: unknown }): void {
    const isGone = this.#call.cancelled;
    if (this.#stopped === undefined || isGone) this.#stopped = reason;
    if (isGone) this.#end(reason.error);
    else this.#answer();
  }

  #end(error: unknown): void {
    const finish = this.#finish;
    this.#finish = undefined;
    if (error === undefined) finish?.resolve();
    else finish?.reject(error);
  }
}

/** Too few copies are no failure of the stream: the record is in the log, where its answer says. */
function failureOf(error: unknown): GroupResult {
  try {
    return { tooFew: tooFewCopiesFrom(error) };
  } catch {
    return { error };
  }
}

function canJoin(group: Group, append: SingleAppend): boolean {
  const [first] = group.appends;
  return (
    first !== undefined &&
    first.expectedOffset === undefined &&
    append.expectedOffset === undefined &&
    first.producer === undefined &&
    append.producer === undefined &&
    first.writeConcern === undefined &&
    append.writeConcern === undefined &&
    first.timeoutMs === append.timeoutMs &&
    group.appends.length < groupCountMax &&
    group.bytes + append.bytes <= groupBytesMax
  );
}
