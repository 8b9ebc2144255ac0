/**
 * Holds what a node answered, over HTTP or gRPC, against the error table's row of a code.
 *
 * A test that expects a code names nothing else of its row: status, retryable and outcome come
 * from the table, so that a case which differs from its row must say so.
 */
import { join } from "node:path";

import type { ServiceError } from "@grpc/grpc-js";
import { expect } from "vitest";

import { errorTable } from "../../src/common/errors.js";
import type { ErrorCode, Outcome } from "../../src/common/errors.js";
import { problemOf } from "./http-client.js";
import type { Answer, Problem } from "./http-client.js";
import { detailsOf, ownProto, StubClient } from "./rpc-client.js";
import type { Details, Message } from "./rpc-client.js";

const clusterProto = join(
  import.meta.dirname,
  ...["..", "..", "proto", "cluster", "v1", "cluster.proto"],
);

/** Where a case differs from its code's row. */
export interface Differs {
  readonly retryable?: boolean;
  readonly outcome?: Outcome | null;
}

/** Expects the answer to be a problem of the code; gives it back. */
export function expectProblem(answer: Answer, code: ErrorCode, differs: Differs = {}): Problem {
  const row = errorTable[code];
  const problem = problemOf(answer);
  expect(problem.code, problem.detail).toBe(code);
  expect(answer.status).toBe(row.http);
  expect(problem).toMatchObject({
    status: row.http,
    title: row.title,
    retryable: row.retryable,
    outcome: row.outcome,
    ...differs,
  });
  expect(problem.type).not.toBe("");
  expect(problem.detail).toMatch(/^[A-Z].*[.?]$/s);
  expect(answer.text).not.toMatch(/node_modules|\.js:\d+|proglog-cluster-/);
  return problem;
}

/** Expects a call that failed to say the code; gives its details back. */
export function expectFailure(
  error: ServiceError,
  code: ErrorCode,
  differs: Differs = {},
): Details {
  const { grpc, retryable, outcome } = { ...errorTable[code], ...differs };
  expect(error.code, error.message).toBe(grpc);
  const details = detailsOf(error);
  expect(details.reason).toBe(code);
  expect(details.metadata["retryable"]).toBe(String(retryable));
  expect(details.metadata["outcome"]).toBe(outcome === null ? undefined : outcome);
  expect(details.hasRetryInfo).toBe(retryable);
  return details;
}

/** Makes a call that must fail with the code; gives its details back. */
export async function expectRpcError(
  client: StubClient,
  call: { readonly name: string; readonly request: Message; readonly differs?: Differs },
  code: ErrorCode,
): Promise<Details> {
  return expectFailure(await client.failure(call.name, call.request), code, call.differs);
}

/** A client of log.v1.Log. */
export function logClient(address: string): StubClient {
  return new StubClient(ownProto, "log.v1.Log", address);
}

/** A client of cluster.v1.ClusterService. */
export function clusterClient(address: string): StubClient {
  return new StubClient(clusterProto, "cluster.v1.ClusterService", address);
}
