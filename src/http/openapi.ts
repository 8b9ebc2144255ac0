/**
 * The gateway's description (OpenAPI 3.1), served at /openapi.json.
 *
 * Invariant: each route and each status that the gateway answers with is in here; the tests hold
 * every answer they get against it.
 */
import { errorTable } from "../common/errors.js";
import type { ErrorCode } from "../common/errors.js";
import { producerNameBytesMax } from "../service/producer.js";

const schema = (name: string): object => ({ $ref: `#/components/schemas/${name}` });
const integer = { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER } as const;
const text = { type: "string" } as const;
const timestamp = { type: "string", format: "date-time" } as const;
/** The limit is one of bytes: of text beyond ASCII fewer characters fit. */
/** A number of members; the leader refuses more than there are. */
const writeConcern = {
  oneOf: [{ enum: ["majority", "all"] }, { type: "integer", minimum: 1 }],
  default: "majority",
} as const;
const producerId = { type: "string", minLength: 1, maxLength: producerNameBytesMax } as const;

const positionHeaders = {
  "X-Proglog-Node": { description: "Name of the node that answers", schema: text },
  "X-Proglog-Term": { description: "Its Raft term", schema: integer },
  "X-Proglog-Commit-Offset": {
    description: "The offset after the last record committed there",
    schema: integer,
  },
} as const;

const json = (body: object): object => ({ "application/json": { schema: body } });

function answer(description: string, content?: object, headers: object = {}): object {
  const all = { ...positionHeaders, ...headers };
  return content === undefined
    ? { description, headers: all }
    : { description, headers: all, content };
}

/** The answers of these error codes, joined where codes share a status. */
function problems(...codes: readonly ErrorCode[]): Record<string, object> {
  const answers: Record<string, object> = {};
  for (const status of new Set(codes.map((code) => errorTable[code].http))) {
    const names = codes.filter((code) => errorTable[code].http === status);
    const headers: Record<string, object> = {};
    if (status === 307) {
      headers["Location"] = { description: "The same path and query on the leader", schema: text };
    }
    if (status === 503 || status === 429) {
      headers["Retry-After"] = { description: "Seconds", schema: integer };
    }
    const description = names.map((name) => `${name}: ${errorTable[name].title}`).join("; ");
    const content = { "application/problem+json": { schema: schema("Problem") } };
    answers[String(status)] = answer(description, content, headers);
  }
  return answers;
}

const query = (name: string, description: string, body: object): object => ({
  name,
  in: "query",
  description,
  schema: body,
});

const consistency = query("consistency", "Whether a miss is confirmed with the leader", {
  type: "string",
  enum: ["linearizable", "local"],
  default: "linearizable",
});

const idempotencyKey = {
  name: "Idempotency-Key",
  in: "header",
  description: "Stands for one append: repeated with it, nothing is added",
  schema: producerId,
};

const append = {
  operationId: "append",
  summary: "Append one record, or several as one",
  description:
    "A JSON body is an Append. With any other content type the body's bytes are one record, and " +
    "the options are query parameters. Answered when the records are committed.",
  parameters: [
    query("key", "Of a body that is not JSON: its key", text),
    query("expectedOffset", "Of a body that is not JSON: append only at this offset", integer),
    query("producerId", "Of a body that is not JSON: who appends; needs sequence", producerId),
    query("sequence", "Of a body that is not JSON: the number of the append", integer),
    query("timeoutMs", "Of a body that is not JSON: how long to wait", {
      type: "integer",
      minimum: 1,
      maximum: 600_000,
    }),
    {
      name: "header",
      in: "query",
      description: "Of a body that is not JSON: headers, each as `header.NAME=value`",
      schema: { type: "object", additionalProperties: text },
    },
    query("w", "Of a body that is not JSON: how many copies to wait for", writeConcern),
    query("writeConcern", "Another name of w", writeConcern),
    idempotencyKey,
  ],
  requestBody: {
    required: true,
    content: {
      "application/json": { schema: schema("Append") },
      "*/*": { schema: { type: "string", format: "binary" } },
    },
  },
  responses: {
    "200": answer("In the log before: where it is", json(schema("DuplicateReceipt")), {
      Location: { description: "Where the first record is", schema: text },
    }),
    "201": answer("Committed", json(schema("AppendReceipt")), {
      Location: { description: "Where the first record is", schema: text },
    }),
    "202": answer("On the leader's disk alone, as w = 1 asks for", json(schema("Uncommitted"))),
    ...problems(
      "not-leader",
      "invalid-request",
      "unauthenticated",
      "permission-denied",
      "sequence-too-old",
      "expected-offset-mismatch",
      "record-too-large",
      "unsupported-media-type",
      "write-concern-unsatisfiable",
      "overloaded",
      "internal",
      "no-leader",
      "no-quorum",
      "unavailable",
      "outcome-unknown",
      "write-concern-timeout",
      "disk-full",
    ),
  },
};

const read = {
  operationId: "read",
  summary: "Read one record, a page, or a stream",
  description:
    "With `offset`: one record, as JSON or (application/octet-stream) as its bare bytes. " +
    "Without: a page; or, as application/x-ndjson or text/event-stream, the range from `from` on.",
  parameters: [
    query("offset", "The one record to read", integer),
    query("wait", "With offset: wait so long for the record, such as 30s or 500ms", text),
    query("from", "Without offset: an offset, earliest, latest, -N or timestamp:<RFC 3339>", {
      type: "string",
      default: "earliest",
    }),
    query("limit", "Without offset: most records; at most 10 000 in a page, default 1000", {
      type: "integer",
      minimum: 1,
    }),
    query("follow", "In a stream: stay for new records; the default of text/event-stream", {
      type: "boolean",
    }),
    consistency,
    {
      name: "Last-Event-ID",
      in: "header",
      description: "With text/event-stream: resume after this offset",
      schema: integer,
    },
    {
      name: "If-None-Match",
      in: "header",
      description: "With offset: tags that the client holds",
      schema: text,
    },
  ],
  responses: {
    "200": answer(
      "The record, the page or the stream",
      {
        "application/json": { schema: { oneOf: [schema("Record"), schema("Page")] } },
        "application/octet-stream": { schema: { type: "string", format: "binary" } },
        "application/x-ndjson": { schema: schema("Record") },
        "text/event-stream": { schema: text },
      },
      {
        ETag: { description: "With offset: the record's strong tag", schema: text },
        "X-Proglog-Offset": { description: "With the bare bytes", schema: integer },
        "X-Proglog-Timestamp": { description: "With the bare bytes", schema: timestamp },
        "X-Proglog-Key": { description: "With the bare bytes; percent-encoded", schema: text },
        "X-Proglog-Headers": {
          description: "With the bare bytes; name=value&..., percent-encoded",
          schema: text,
        },
        "X-Proglog-Headers-Omitted": {
          description: "true if key and headers are too long for HTTP headers",
          schema: text,
        },
      },
    ),
    "304": answer("The client holds the record"),
    ...problems(
      "not-leader",
      "invalid-request",
      "unauthenticated",
      "permission-denied",
      "offset-out-of-range",
      "offset-trimmed",
      "overloaded",
      "data-damaged",
      "internal",
      "cannot-confirm",
      "unavailable",
    ),
  },
};

/** GET, and HEAD, which answers the same without a body. */
function readable(operation: { readonly operationId: string; readonly responses: object }): object {
  const responses: Record<string, object> = {};
  for (const [status, described] of Object.entries(operation.responses) as [string, object][]) {
    responses[status] = Object.fromEntries(
      Object.entries(described).filter(([name]) => name !== "content"),
    );
  }
  const head = { ...operation, operationId: `${operation.operationId}Head`, responses };
  return { get: operation, head };
}

const status = {
  operationId: "clusterStatus",
  summary: "Who is in the cluster, as the leader knows it, or else this node",
  responses: {
    "200": answer("The cluster", json(schema("ClusterStatus"))),
    ...problems("invalid-request", "internal", "unavailable"),
  },
};

const outcome = {
  operationId: "appendOutcome",
  summary: "What became of an append whose answer was lost; decides it if nothing else has",
  parameters: [
    query("producerId", "Who appended; needs sequence", producerId),
    query("sequence", "Number of the append", integer),
    idempotencyKey,
  ],
  responses: {
    "200": answer("Applied, never, or too long ago to be known", json(schema("AppendOutcome"))),
    ...problems(
      "invalid-request",
      "overloaded",
      "internal",
      "no-leader",
      "no-quorum",
      "cannot-confirm",
      "unavailable",
      "disk-full",
    ),
  },
};

/** The same operation at its second path. */
const lowerCaseOutcome = { ...outcome, operationId: `${outcome.operationId}LowerCase` };

const changeProblems = problems(
  "not-leader",
  "invalid-request",
  "unauthenticated",
  "permission-denied",
  "unknown-member",
  "unsafe-change",
  "wrong-cluster",
  "record-too-large",
  "unsupported-media-type",
  "member-unreachable",
  "overloaded",
  "internal",
  "no-leader",
  "no-quorum",
  "unavailable",
  "outcome-unknown",
  "disk-full",
);

const addMember = {
  operationId: "addMember",
  summary: "Take in the node that answers at an address",
  requestBody: {
    required: true,
    content: json({
      type: "object",
      required: ["rpcAddr"],
      additionalProperties: false,
      properties: { rpcAddr: { type: "string", examples: ["10.0.0.4:8400"] } },
    }),
  },
  responses: { "201": answer("Taken in", json(schema("Member"))), ...changeProblems },
};

const removeMember = {
  operationId: "removeMember",
  summary: "Remove a member",
  parameters: [{ name: "id", in: "path", required: true, schema: text }],
  responses: { "204": answer("Removed"), ...changeProblems },
};

const transferLeader = {
  operationId: "transferLeader",
  summary: "Hand leadership to a member, or to the one that fits best",
  requestBody: {
    required: false,
    content: json({
      type: "object",
      additionalProperties: false,
      properties: { id: { type: "string", description: "The member's id" } },
    }),
  },
  responses: {
    "202": answer(
      "Handed over, as far as this node has seen yet",
      json({
        type: "object",
        required: ["term", "leader"],
        properties: { term: integer, leader: { oneOf: [schema("Leader"), { type: "null" }] } },
      }),
    ),
    ...changeProblems,
  },
};

const live = {
  operationId: "live",
  summary: "The process answers",
  responses: {
    "200": answer(
      "Alive",
      json({ type: "object", required: ["live"], properties: { live: { const: true } } }),
    ),
    ...problems("internal"),
  },
};

const ready = {
  operationId: "ready",
  summary: "The node knows a leader and has caught up",
  parameters: [
    { ...query("verbose", "List the checks", { type: "boolean" }), allowEmptyValue: true },
  ],
  responses: {
    "200": answer("Ready", json(schema("Readiness"))),
    ...problems("internal", "unavailable"),
  },
};

const metrics = {
  operationId: "metrics",
  summary: "Metrics in Prometheus's text form",
  responses: {
    "200": answer("Metrics", { "text/plain": { schema: text } }),
    ...problems("internal", "not-found"),
  },
};

const dashboardHeaders = {
  ETag: { description: "The file's strong tag", schema: text },
  "Content-Security-Policy": { description: "Nothing but this node", schema: text },
} as const;

const dashboardPage = {
  operationId: "dashboard",
  summary: "The dashboard, a page for people",
  responses: {
    "200": answer("The page", { "text/html": { schema: text } }, dashboardHeaders),
    "304": answer("The client holds the page"),
    ...problems("overloaded", "internal"),
  },
};

const dashboardFile = {
  operationId: "dashboardFile",
  summary: "A script, style or image of the dashboard",
  parameters: [{ name: "file", in: "path", required: true, schema: text }],
  responses: {
    "200": answer(
      "The file",
      {
        "text/javascript": { schema: text },
        "text/css": { schema: text },
        "image/svg+xml": { schema: text },
      },
      dashboardHeaders,
    ),
    "304": answer("The client holds the file"),
    ...problems("not-found", "overloaded", "internal"),
  },
};

/** A browser cannot follow a redirect to the leader: that is another origin. */
const dashboardAppend = {
  ...append,
  operationId: "dashboardAppend",
  summary: "Append as POST /Data does; a node that does not lead relays to the leader",
};

const self = {
  operationId: "openApi",
  summary: "This description",
  responses: {
    "200": answer("OpenAPI 3.1", json({ type: "object" })),
    ...problems("internal"),
  },
};

const receiptProperties = {
  offset: { ...integer, description: "Of the first record" },
  count: { ...integer, description: "Of a batch: how many records" },
  timestamp,
} as const;

const schemas = {
  Append: {
    type: "object",
    additionalProperties: false,
    oneOf: [{ required: ["message"] }, { required: ["messages"] }],
    dependentRequired: { producerId: ["sequence"], sequence: ["producerId"] },
    properties: {
      message: { description: "Any JSON value; comes back as it was posted" },
      messages: { type: "array", minItems: 1, maxItems: 10_000, items: {} },
      key: text,
      headers: { type: "object", additionalProperties: text },
      expectedOffset: integer,
      producerId: { ...producerId, description: "Who appends: makes a retry safe" },
      sequence: { ...integer, description: "Number of the append: rises, gaps are allowed" },
      timeoutMs: { type: "integer", minimum: 1, maximum: 600_000, default: 10_000 },
      w: { ...writeConcern, description: "How many members' disks to wait for" },
      writeConcern: { ...writeConcern, description: "Another name of w" },
    },
  },
  Uncommitted: {
    type: "object",
    required: ["committed"],
    properties: { committed: { const: false, description: "It has no offset, and may be lost" } },
  },
  AppendReceipt: {
    type: "object",
    required: ["offset", "timestamp"],
    properties: receiptProperties,
  },
  DuplicateReceipt: {
    type: "object",
    required: ["offset", "timestamp", "duplicate"],
    properties: {
      ...receiptProperties,
      duplicate: { const: true, description: "The first append's offset and time are given" },
    },
  },
  AppendOutcome: {
    type: "object",
    required: ["outcome"],
    properties: {
      outcome: {
        enum: ["applied", "never", "unknown"],
        description: "`never`: nor will a copy that is still on its way be. Final, all three",
      },
      ...receiptProperties,
    },
  },
  Record: {
    type: "object",
    required: ["offset", "message", "timestamp"],
    properties: {
      offset: integer,
      message: { description: "The value as it was posted; base64 if `encoding` says so" },
      timestamp,
      key: text,
      headers: { type: "object", additionalProperties: text },
      encoding: { const: "base64" },
    },
  },
  Page: {
    type: "object",
    required: ["messages", "startOffset", "endOffset", "next"],
    properties: {
      messages: { type: "array", items: schema("Record") },
      startOffset: { ...integer, description: "First offset of the log" },
      endOffset: { ...integer, description: "Offset after the last committed record" },
      next: { ...integer, description: "Offset to ask for next" },
    },
  },
  Leader: {
    type: "object",
    required: ["id", "name", "rpcAddr", "httpAddr"],
    properties: { id: text, name: text, rpcAddr: text, httpAddr: text },
  },
  Member: {
    type: "object",
    required: ["id", "name", "role", "voter", "rpcAddr", "httpAddr", "alive"],
    properties: {
      id: text,
      name: text,
      role: { enum: ["leader", "follower", "learner"] },
      voter: { type: "boolean" },
      rpcAddr: text,
      httpAddr: text,
      alive: { type: "boolean" },
      matchIndex: { type: ["integer", "null"] },
      lag: { type: ["integer", "null"] },
      lastContactMs: { type: ["number", "null"] },
    },
  },
  ClusterStatus: {
    type: "object",
    required: ["clusterId", "node", "term", "leader", "quorum", "readOnly", "source", "members"],
    properties: {
      clusterId: { type: ["string", "null"] },
      node: { type: "object", properties: { id: text, name: text } },
      term: integer,
      leader: { oneOf: [schema("Leader"), { type: "null" }] },
      quorum: { type: "boolean" },
      readOnly: { type: "boolean" },
      commitIndex: integer,
      appliedIndex: integer,
      startOffset: integer,
      endOffset: integer,
      source: { enum: ["leader", "local"] },
      members: { type: "array", items: schema("Member") },
    },
  },
  Readiness: {
    type: "object",
    required: ["ready"],
    properties: {
      ready: { type: "boolean" },
      checks: {
        type: "array",
        items: {
          type: "object",
          properties: { name: text, ok: { type: "boolean" }, detail: text },
        },
      },
    },
  },
  Problem: {
    type: "object",
    required: ["type", "title", "status", "detail", "code", "retryable", "outcome"],
    properties: {
      type: { type: "string", format: "uri" },
      title: text,
      status: { type: "integer" },
      detail: text,
      code: { enum: Object.keys(errorTable) },
      retryable: { type: "boolean" },
      outcome: { enum: ["not_applied", "unknown", "applied", null] },
    },
  },
} as const;

const data = { ...readable(read), post: append };

/** Two paths of one resource: operation ids must differ all the same. */
const lowerCaseData = Object.fromEntries(
  Object.entries(data).map(([method, operation]) => {
    const { operationId } = operation as { readonly operationId: string };
    return [method, { ...operation, operationId: `${operationId}LowerCase` }];
  }),
);

/** The document. */
export const openApi = {
  openapi: "3.1.0",
  info: {
    title: "proglog",
    version: "1",
    description: "The REST gateway of a replicated commit log.",
    license: { name: "MIT", identifier: "MIT" },
  },
  servers: [{ url: "/" }],
  paths: {
    "/": readable(dashboardPage),
    "/dashboard/{file}": readable(dashboardFile),
    "/dashboard/append": { post: dashboardAppend },
    "/Data": data,
    "/data": lowerCaseData,
    "/Data/outcome": readable(outcome),
    "/data/outcome": readable(lowerCaseOutcome),
    "/cluster": readable(status),
    "/cluster/members": { post: addMember },
    "/cluster/members/{id}": { delete: removeMember },
    "/cluster/leader": { post: transferLeader },
    "/livez": readable(live),
    "/readyz": readable(ready),
    "/metrics": readable(metrics),
    "/openapi.json": readable(self),
  },
  components: { schemas },
} as const;
