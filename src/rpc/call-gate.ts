/**
 * The one way into a handler, for unary calls and streams alike: counts them, bounds them, ends
 * them, and turns whatever a handler throws into a status.
 *
 * grpc-js leaves all of this to its user: a rejected handler is an unhandled rejection and a
 * client that waits for ever, a message that can't be decoded is INTERNAL, streams are never
 * counted, and an open one keeps the server from stopping.
 *
 * Invariants: each call ends with exactly one status; what is not a ProglogError is logged once,
 * with its stack, and never sent.
 */
import type {
  Metadata,
  sendUnaryData,
  ServerDuplexStream,
  ServerUnaryCall,
  ServiceDefinition,
  StatusObject,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";

import { ProglogError } from "../common/errors.js";
import { isUnexpected, statusFrom } from "./grpc-errors.js";
import type { RpcOptions } from "./options.js";

/** What the server asks of a logger: an event's name, and its fields. pino fits. */
export interface RpcLogger {
  info(fields: object, event: string): void;
  warn(fields: object, event: string): void;
  error(fields: object, event: string): void;
}

/** Stands for a message that could not be decoded, so that the handler's side can say so. */
const undecodable: unique symbol = Symbol("undecodable");

/** A message as the gate's definitions decode it. */
export type Decoded<Request> = Request | typeof undecodable;

/** @throws ProglogError `invalid-request` if the message could not be decoded. */
export function requireDecoded<Request>(message: Decoded<Request>): Request {
  if (message === undecodable) {
    throw new ProglogError("invalid-request", "The message is not what the protocol says.");
  }
  return message;
}

/** The same service, with messages that can't be decoded left to the handlers. */
export function tolerant(definition: ServiceDefinition): ServiceDefinition {
  const methods = Object.entries(definition).map(([name, method]) => {
    const requestDeserialize = (wire: Buffer): unknown => {
      try {
        return method.requestDeserialize(wire);
      } catch {
        return undecodable;
      }
    };
    return [name, { ...method, requestDeserialize }] as const;
  });
  return Object.fromEntries(methods);
}

/** What a handler is told beside its request. */
export interface CallContext {
  /** Aborts when the client has gone or the server stops; the reason is a ProglogError. */
  readonly signal: AbortSignal;
  /** True if another node relayed the call. */
  readonly isForwarded: boolean;
  /** True if the node is asked for what it knows itself. */
  readonly isLocal: boolean;
}

/** Metadata of a call that another node relayed: it is never relayed again. */
export const forwardedKey = "proglog-forwarded";
/** Metadata of a call that asks for what the node knows itself. */
export const localKey = "proglog-local";

/** A call of any kind, with what all of them have. */
interface AnyCall {
  readonly cancelled: boolean;
  readonly metadata: Metadata;
  once(event: "cancelled", listener: () => void): unknown;
}

/** A call whose end is up to the handler: a stream of answers. */
interface StreamCall extends AnyCall {
  end(): unknown;
  /** grpc-js ends a stream with a status that is emitted as an error. */
  emit(event: "error", status: StatusObject): unknown;
}

export class CallGate {
  readonly #options: RpcOptions;
  readonly #logger: RpcLogger;
  readonly #streams = new Set<AbortController>();
  #callsInFlight = 0;
  #appendBytes = 0;
  /** Of those, the ones of appends that may wait for more than their commit. */
  #patientBytes = 0;
  #isClosing = false;

  constructor(options: RpcOptions, logger: RpcLogger) {
    this.#options = options;
    this.#logger = logger;
  }

  /** Streams open now. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Bytes of appends under way. */
  get appendBytes(): number {
    return this.#appendBytes;
  }

  /** Ends the streams: each with what it has under way, then `unavailable`. */
  close(): void {
    this.#isClosing = true;
    for (const controller of this.#streams) controller.abort(stopping());
  }

  /**
   * Takes bytes of an append into account until `leave`.
   *
   * @param patient True if it may wait for more than its commit: half is kept from those.
   * @throws ProglogError `overloaded`.
   */
  enter(bytes: number, patient: boolean): void {
    const max = this.#options.appendBytesInFlightMax;
    const isFull = this.#appendBytes + bytes > max;
    const isPatientFull = patient && this.#patientBytes > 0 && this.#patientBytes + bytes > max / 2;
    if (isFull || isPatientFull) {
      throw new ProglogError("overloaded", "The node has as many bytes to append as it can hold.");
    }
    this.#appendBytes += bytes;
    if (patient) this.#patientBytes += bytes;
  }

  leave(bytes: number, patient: boolean): void {
    this.#appendBytes -= bytes;
    if (patient) this.#patientBytes -= bytes;
  }

  unary<Request, Response>(
    method: string,
    handle: (request: Request, context: CallContext) => Promise<Response>,
  ): (call: ServerUnaryCall<Decoded<Request>, Response>, answer: sendUnaryData<Response>) => void {
    return (call, answer) => {
      const controller = this.#controller(call);
      const run = async (): Promise<Response> => {
        if (this.#callsInFlight > this.#options.callsInFlightMax) {
          throw new ProglogError("overloaded", "The node has as many calls under way as it takes.");
        }
        return await handle(requireDecoded(call.request), contextOf(call, controller.signal));
      };
      this.#callsInFlight += 1;
      void run()
        .then(
          (response) => answer(null, response),
          (thrown: unknown) => answer(this.#statusOf(method, thrown, controller.signal)),
        )
        .finally(() => {
          this.#callsInFlight -= 1;
        });
    };
  }

  stream<Call extends StreamCall>(
    method: string,
    handle: (call: Call, context: CallContext) => Promise<void>,
  ): (call: Call) => void {
    return (call) => {
      const controller = this.#controller(call);
      const run = async (): Promise<void> => {
        if (this.#isClosing) throw stopping();
        if (this.#streams.size >= this.#options.streamsMax) {
          throw new ProglogError("overloaded", "The node has as many streams open as it takes.");
        }
        this.#streams.add(controller);
        await handle(call, contextOf(call, controller.signal));
      };
      void run()
        .then(
          () => call.end(),
          (thrown: unknown) => {
            if (call.cancelled) return;
            call.emit("error", this.#statusOf(method, thrown, controller.signal));
          },
        )
        .finally(() => this.#streams.delete(controller));
    };
  }

  /**
   * Wraps a service of somebody else's, so that its streams are counted and ended like ours.
   * Its unary methods are left as they are.
   */
  guard(
    definition: ServiceDefinition,
    implementation: UntypedServiceImplementation,
  ): UntypedServiceImplementation {
    const guarded = Object.entries(implementation).map(([name, handle]) => {
      // A loaded definition names its methods as the proto does, and as JavaScript would.
      const method =
        definition[name] ??
        Object.values(definition).find(({ originalName }) => originalName === name);
      const isStream = method?.responseStream === true;
      return [name, isStream ? this.#guardStream(name, handle) : handle] as const;
    });
    return Object.fromEntries(guarded);
  }

  #guardStream(method: string, handle: UntypedHandleCall): UntypedHandleCall {
    const serve = handle as (call: ServerDuplexStream<unknown, unknown>) => void;
    const guarded = this.stream(
      method,
      async (call: ServerDuplexStream<unknown, unknown>, context) => {
        const { signal } = context;
        serve(call);
        await new Promise<void>((resolve, reject) => {
          call.once("finish", resolve);
          signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        });
      },
    );
    return guarded as UntypedHandleCall;
  }

  #controller(call: AnyCall): AbortController {
    const controller = new AbortController();
    call.once("cancelled", () => controller.abort(clientGone()));
    if (call.cancelled) controller.abort(clientGone());
    return controller;
  }

  /** Whatever an aborted handler throws, its call ends with the reason of the abort. */
  #statusOf(method: string, thrown: unknown, signal: AbortSignal): StatusObject {
    const isOurs = thrown instanceof ProglogError;
    const cause: unknown = signal.aborted && !isOurs ? signal.reason : thrown;
    return statusFrom(this.describe(method, cause));
  }

  /** What a client may be told of what was thrown; the rest is logged. */
  describe(method: string, thrown: unknown): ProglogError {
    if (isUnexpected(thrown)) this.#logger.error({ error: thrown, method }, "rpc_call_failed");
    return ProglogError.from(thrown);
  }
}

function contextOf(call: AnyCall, signal: AbortSignal): CallContext {
  return {
    signal,
    isForwarded: call.metadata.get(forwardedKey).length > 0,
    isLocal: call.metadata.get(localKey).length > 0,
  };
}

function clientGone(): ProglogError {
  return new ProglogError("unavailable", "The client has gone.");
}

function stopping(): ProglogError {
  return new ProglogError("unavailable", "The node is stopping.");
}
