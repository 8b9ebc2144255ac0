/**
 * Turns an error into the body of an answer (RFC 9457).
 *
 * It must never let out a stack, a path or a cause: only what ProglogError was given to say.
 */
import type { ProglogError } from "../common/errors.js";

export const problemContentType = "application/problem+json";

export interface ProblemAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface ProblemOptions {
  /** True for GET and HEAD: there was nothing to be written, so nothing is unknown about it. */
  readonly isRead: boolean;
  /** Where to go instead: the answer is then a redirect. */
  readonly location?: string | undefined;
  /** Headers of this case, such as Allow. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Members of the body that are no field of an error, such as a list. */
  readonly members?: Readonly<Record<string, unknown>>;
}

/** The answer that says what went wrong and what to do. */
export function problemAnswer(error: ProglogError, options: ProblemOptions): ProblemAnswer {
  const headers: Record<string, string> = {
    "Content-Type": problemContentType,
    "Cache-Control": "no-store",
    ...options.headers,
  };
  if (options.location !== undefined) headers["Location"] = options.location;
  const retryAfter = retryAfterSeconds(error);
  if (retryAfter !== undefined) headers["Retry-After"] = String(retryAfter);
  const body = JSON.stringify({
    ...error.fields,
    ...options.members,
    type: `urn:proglog:error:${error.code}`,
    title: error.title,
    status: error.http,
    detail: error.message,
    code: error.code,
    retryable: error.retryable,
    outcome: options.isRead && error.outcome === "unknown" ? null : error.outcome,
  });
  return { status: error.http, headers, body };
}

/** 503 and 429 pass in a moment; other statuses only name a time if the error does. */
function retryAfterSeconds(error: ProglogError): number | undefined {
  if (error.retryAfterMs !== undefined) return Math.max(1, Math.ceil(error.retryAfterMs / 1000));
  return error.http === 503 || error.http === 429 ? 1 : undefined;
}
