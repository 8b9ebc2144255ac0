/**
 * One append in all the forms in which it may be sent, and what an answer says of it.
 *
 * Nothing is guessed: an append is placed, void for ever, surely not applied by this copy, or its
 * outcome is unknown. An answer that is none of these is a fault, and thrown.
 */
import type { ServiceError } from "@grpc/grpc-js";

import type { Producer } from "../../history/history.js";
import { ask, problemOf } from "../http-client.js";
import type { Answer, AskOptions } from "../http-client.js";
import { detailsOf } from "../rpc-client.js";
import type { Message } from "../rpc-client.js";
import type { Front } from "./fronts.js";

/** How long a node may take to say that it does not know. */
const commitTimeoutMs = 2_000;
/** How long an answer is waited for. */
const answerTimeoutMs = 4_000;

/** Who appends: a producer with a sequence, or whoever has the key. */
export type Identity =
  | { readonly kind: "producer"; readonly id: string; readonly sequence: number }
  | { readonly kind: "key"; readonly key: string };

/** Values are unique to an append; several are a batch. */
export interface Append {
  readonly identity: Identity;
  readonly values: readonly string[];
}

/** JSON or bare bytes over HTTP, or a call of gRPC. */
export type Form = "json" | "bytes" | "rpc";

/** Where an append is. */
export interface Place {
  readonly offset: number;
  readonly count: number;
  readonly timestampMs: number;
}

/** What is told of an append: where it is; that it never will be; that it was too long ago. */
export type Outcome =
  | { readonly type: "placed"; readonly place: Place }
  | { readonly type: "never" }
  | { readonly type: "forgotten" };

/** What a copy is told. `refused`: it adds nothing, and no later one does. */
export type Told =
  | { readonly type: "placed"; readonly place: Place; readonly isDuplicate: boolean }
  | { readonly type: "refused" }
  | { readonly type: "unknown"; readonly why: string }
  | { readonly type: "again"; readonly why: string };

/** The forms that can carry the append. */
export function formsOf({ identity, values }: Append): readonly Form[] {
  if (values.length > 1) return ["json"];
  return identity.kind === "key" ? ["json", "bytes"] : ["json", "bytes", "rpc"];
}

/** Attempts with an equal producer are one write to the checker; ids and keys never meet. */
export function historyProducer(identity: Identity): Producer {
  if (identity.kind === "key") return { id: `k/${identity.key}`, sequence: 0 };
  return { id: `p/${identity.id}`, sequence: identity.sequence };
}

export function nameOf({ identity }: Append): string {
  const { id, sequence } = historyProducer(identity);
  return `${id}/${sequence}`;
}

/** Sends one copy. */
export async function send(front: Front, append: Append, form: Form): Promise<Told> {
  if (form === "rpc") return sendCall(front, append);
  const { path, ...options } = requestOf(append, form);
  let answer: Answer;
  try {
    answer = await ask(`${front.httpUrl}${path}`, { ...options, timeoutMs: answerTimeoutMs });
  } catch (error) {
    return { type: "unknown", why: whyOf(error) };
  }
  return toldBy(answer, append.values.length);
}

/** The name of what ended a request without an answer. */
function whyOf(error: unknown): string {
  const { cause, name } = error as Error;
  const { code } = (cause ?? {}) as { readonly code?: unknown };
  return typeof code === "string" ? code : name;
}

function requestOf({ identity, values }: Append, form: Form): AskOptions & { path: string } {
  const [value = ""] = values;
  const isKeyed = identity.kind === "key";
  const key = isKeyed ? { "idempotency-key": identity.key } : undefined;
  const producer = isKeyed ? {} : { producerId: identity.id, sequence: identity.sequence };
  const terms = { ...producer, timeoutMs: commitTimeoutMs };
  if (form === "bytes") {
    const query = new URLSearchParams();
    for (const [name, term] of Object.entries(terms)) query.set(name, String(term));
    const headers = { "content-type": "text/plain", ...key };
    return { path: `/Data?${query.toString()}`, method: "POST", headers, body: value };
  }
  const what = values.length > 1 ? { messages: values } : { message: value };
  const headers = { "content-type": "application/json", ...key };
  return { path: "/Data", method: "POST", headers, body: JSON.stringify({ ...what, ...terms }) };
}

function toldBy(answer: Answer, count: number): Told {
  if (answer.status === 201 || answer.status === 200) {
    const body = answer.body as { offset: number; timestamp: string; duplicate?: boolean };
    const isDuplicate = body.duplicate === true;
    if (isDuplicate !== (answer.status === 200)) throw new Error(`odd answer: ${answer.text}`);
    const place = { offset: body.offset, count, timestampMs: Date.parse(body.timestamp) };
    return { type: "placed", place, isDuplicate };
  }
  return toldByError(problemOf(answer));
}

function toldByError(error: {
  readonly code: string;
  readonly outcome: string | null;
  readonly retryable: boolean;
}): Told {
  const { code, outcome, retryable } = error;
  if (code === "sequence-too-old") return { type: "refused" };
  // With a producer an unknown outcome may be retried, and the error has to say so.
  if (outcome === "unknown" && retryable) return { type: "unknown", why: code };
  if (outcome === "not_applied" && retryable) return { type: "again", why: code };
  throw new Error(`an append was answered with ${JSON.stringify(error)}`);
}

async function sendCall(front: Front, { identity, values }: Append): Promise<Told> {
  if (identity.kind === "key") throw new Error("gRPC has no keys");
  const request = {
    record: { value: Buffer.from(values[0] ?? "") },
    producer_id: identity.id,
    sequence: identity.sequence,
    timeout_ms: commitTimeoutMs,
  };
  try {
    const answer = await front.log.call("Produce", request, answerTimeoutMs);
    const place = { ...placeOf(answer), count: 1 };
    return { type: "placed", place, isDuplicate: answer["duplicate"] === true };
  } catch (error) {
    return toldByCall(error as ServiceError);
  }
}

function placeOf(answer: Message): { offset: number; timestampMs: number } {
  return { offset: Number(answer["offset"]), timestampMs: Number(answer["timestamp_ms"]) };
}

function toldByCall(error: ServiceError): Told {
  // Without details it is the stream that broke, or our own deadline.
  if (error.metadata?.get("grpc-status-details-bin").length !== 1) {
    return { type: "unknown", why: `gRPC status ${error.code}` };
  }
  const { reason: code, metadata } = detailsOf(error);
  const { outcome = null, retryable } = metadata;
  return toldByError({ code, outcome, retryable: retryable === "true" });
}

/** Asks a node what became of an append. @throws Error if it can't tell now. */
export async function askOutcome(front: Front, append: Append, form: Form): Promise<Outcome> {
  const { identity } = append;
  if (form === "rpc" && identity.kind === "producer") {
    const request = { producer_id: identity.id, sequence: identity.sequence };
    const answer = await front.log.call("GetOutcome", request, answerTimeoutMs);
    if (answer["outcome"] === "OUTCOME_NEVER") return { type: "never" };
    if (answer["outcome"] !== "OUTCOME_APPLIED") return { type: "forgotten" };
    return { type: "placed", place: { ...placeOf(answer), count: Number(answer["count"]) } };
  }
  const { path, headers } = questionOf(identity);
  const options = { headers, timeoutMs: answerTimeoutMs };
  const answer = await ask(`${front.httpUrl}${path}`, options);
  if (answer.status !== 200) throw new Error(`the outcome: ${answer.text}`);
  const body = answer.body as { outcome: string; offset: number; count: number; timestamp: string };
  if (body.outcome === "never") return { type: "never" };
  if (body.outcome !== "applied") return { type: "forgotten" };
  const { offset, count, timestamp } = body;
  return { type: "placed", place: { offset, count, timestampMs: Date.parse(timestamp) } };
}

function questionOf(identity: Identity): { path: string; headers: Record<string, string> } {
  const path = "/Data/outcome";
  if (identity.kind === "key") return { path, headers: { "idempotency-key": identity.key } };
  const { id, sequence } = identity;
  const query = new URLSearchParams({ producerId: id, sequence: String(sequence) });
  return { path: `${path}?${query.toString()}`, headers: {} };
}
