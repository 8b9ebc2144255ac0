/**
 * `log.v1.Log` on a gRPC server: each method to the node's log service.
 *
 * The definition is the generated one, but for the batched messages, which have a codec of their
 * own (log-codec.ts). Paths and messages stay those of proto/log/v1: a client generated from the
 * book's messages works unchanged.
 */
import type { Server, ServiceDefinition } from "@grpc/grpc-js";

import { Turns } from "../common/turns.js";
import { LogService as logDefinition } from "../gen/log/v1/log.js";
import type {
  ConsumeRequest,
  ConsumeResponse,
  GetOutcomeRequest,
  GetOutcomeResponse,
  GetServersResponse,
  ProduceRequest,
  ProduceResponse,
} from "../gen/log/v1/log.js";
import type { ClusterService, LogService } from "../service/api.js";
import { isPatient } from "../service/api.js";
import { namedProducer, relayedProducer } from "../service/producer.js";
import type { CallContext } from "./call-gate.js";
import { tolerant } from "./call-gate.js";
import type { ConsumeParts } from "./consume-streams.js";
import { consumeBatches, consumeStream } from "./consume-streams.js";
import {
  decodeBatchRequest,
  decodeBatchResponse,
  decodeProduceRequest,
  encodeBatchRequest,
  encodeBatchResponse,
  encodeConsumedBatch,
} from "./log-codec.js";
import {
  appendRequestFrom,
  consistencyFrom,
  offsetFrom,
  outcomeToWire,
  produceResponseFrom,
  recordToWire,
  serversFrom,
  singleAppendFrom,
  tooFewCopiesFrom,
} from "./log-messages.js";
import type { ProduceBatchCall } from "./produce-batch.js";
import { ProduceBatchStream } from "./produce-batch.js";
import type { ProduceParts, ProduceStreamCall } from "./produce-stream.js";
import { ProduceStream } from "./produce-stream.js";

const identity = (wire: Buffer): Buffer => wire;

/** ProduceBatch as a client of ours calls it. */
export const produceBatchMethod = {
  path: logDefinition.produceBatch.path,
  requestSerialize: encodeBatchRequest,
  requestDeserialize: decodeBatchRequest,
  responseSerialize: encodeBatchResponse,
  responseDeserialize: decodeBatchResponse,
} as const;

/** `log.v1.Log` as the server decodes it: the requests of ProduceBatch are left as bytes. */
const serverDefinition: ServiceDefinition = {
  ...tolerant({
    ...logDefinition,
    produce: { ...logDefinition.produce, requestDeserialize: decodeProduceRequest },
    produceStream: { ...logDefinition.produceStream, requestDeserialize: decodeProduceRequest },
  }),
  produceBatch: {
    ...logDefinition.produceBatch,
    requestDeserialize: identity,
    responseSerialize: encodeBatchResponse,
  },
  consumeBatches: {
    ...tolerant({ consumeBatches: logDefinition.consumeBatches })["consumeBatches"],
    responseSerialize: encodeConsumedBatch,
  } as ServiceDefinition[string],
};

export interface LogServiceParts extends ProduceParts {
  readonly cluster: ClusterService;
}

async function produce(
  parts: LogServiceParts,
  request: ProduceRequest,
  { isForwarded }: CallContext,
): Promise<ProduceResponse> {
  const { log, gate, options } = parts;
  const append = singleAppendFrom(request, options.recordBytesMax);
  const patient = isPatient(append.writeConcern);
  gate.enter(append.bytes, patient);
  try {
    const appendRequest = appendRequestFrom([append], isForwarded);
    return produceResponseFrom(await log.produce(appendRequest, { relay: !isForwarded }));
  } catch (error) {
    return tooFewCopiesFrom(error);
  } finally {
    gate.leave(append.bytes, patient);
  }
}

async function consume(
  log: LogService,
  request: ConsumeRequest,
  { signal }: CallContext,
): Promise<ConsumeResponse> {
  const offset = offsetFrom(request.offset, "offset");
  const consistency = consistencyFrom(request.consistency);
  return { record: recordToWire(await log.read(offset, { consistency, signal })) };
}

/** A node that relays names the producer as in the log; a client by its own id. */
async function getOutcome(
  log: LogService,
  request: GetOutcomeRequest,
  { isForwarded }: CallContext,
): Promise<GetOutcomeResponse> {
  const sequence = offsetFrom(request.sequence, "sequence");
  const named = isForwarded ? relayedProducer : namedProducer;
  const producer = named(request.producerId, sequence);
  return outcomeToWire(await log.outcome(producer, { forwarded: isForwarded }));
}

/** Adds `log.v1.Log` to a server. */
export function addLogService(server: Server, parts: LogServiceParts): void {
  const { log, cluster, clock, gate, options } = parts;
  const { readerBytesMax } = options;
  const consumeParts: ConsumeParts = { log, clock, turns: new Turns(clock), readerBytesMax };
  server.addService(serverDefinition, {
    produce: gate.unary("Produce", (request: ProduceRequest, context) =>
      produce(parts, request, context),
    ),
    consume: gate.unary("Consume", (request: ConsumeRequest, context) =>
      consume(log, request, context),
    ),
    getOutcome: gate.unary("GetOutcome", (request: GetOutcomeRequest, context) =>
      getOutcome(log, request, context),
    ),
    getServers: gate.unary("GetServers", async (): Promise<GetServersResponse> => ({
      servers: serversFrom(await cluster.status()),
    })),
    consumeStream: gate.stream("ConsumeStream", consumeStream(consumeParts)),
    consumeBatches: gate.stream("ConsumeBatches", consumeBatches(consumeParts)),
    produceStream: gate.stream("ProduceStream", (call: ProduceStreamCall, context) =>
      new ProduceStream(call, context, parts).run(),
    ),
    produceBatch: gate.stream("ProduceBatch", (call: ProduceBatchCall, context) =>
      new ProduceBatchStream(call, context, parts).run(),
    ),
  });
}
