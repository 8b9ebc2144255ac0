/**
 * The REST gateway: sockets in, answers out. It wires the routes and owns the server's limits.
 *
 * It must never let a client stop the node: an error of one exchange ends that exchange, a broken
 * connection ends that connection. It speaks to the node only through its two services.
 */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";

import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { ClusterService, LogService } from "../service/api.js";
import { Budget } from "./budget.js";
import { ClusterRoutes } from "./cluster-routes.js";
import { dashboardAppendsMax, DashboardRoutes, relayingLog } from "./dashboard-routes.js";
import { DataRoutes } from "./data-routes.js";
import { ClientGoneError, Exchange } from "./exchange.js";
import type { ExchangeHost } from "./exchange.js";
import type { MetricsSource } from "./health-routes.js";
import { HealthRoutes } from "./health-routes.js";
import type { HttpLogger } from "./logger.js";
import { resolveHttpOptions } from "./options.js";
import type { HttpOptions } from "./options.js";
import { problemAnswer } from "./problem.js";
import { MethodNotAllowedError, RouteTable } from "./route-table.js";
import { StreamRoutes } from "./stream-routes.js";

export interface HttpGatewaySettings {
  readonly log: LogService;
  readonly cluster: ClusterService;
  readonly clock: Clock;
  readonly logger: HttpLogger;
  /** For /metrics; without it that path is not found. */
  readonly metrics?: MetricsSource;
  readonly options?: Partial<HttpOptions>;
}

/** Where a server listens. */
export interface BoundAddress {
  readonly host: string;
  readonly port: number;
}

const headerBytesMax = 16 * 1024;

export class HttpGateway {
  readonly #log: LogService;
  readonly #cluster: ClusterService;
  readonly #clock: Clock;
  readonly #logger: HttpLogger;
  readonly #options: HttpOptions;
  readonly #server: Server;
  readonly #routes: RouteTable;
  readonly #streams: StreamRoutes;
  readonly #host: ExchangeHost;
  /** Open connections, each with the exchanges that are under way on it. */
  readonly #sockets = new Map<Duplex, Set<Exchange>>();
  #closed: Promise<void> | undefined;

  /** @throws ProglogError `invalid-request` if an option is out of its range. */
  constructor(settings: HttpGatewaySettings) {
    this.#log = settings.log;
    this.#cluster = settings.cluster;
    this.#clock = settings.clock;
    this.#logger = settings.logger;
    const options = resolveHttpOptions(settings.options);
    this.#options = options;
    this.#streams = new StreamRoutes(settings.log, settings.clock, {
      logger: settings.logger,
      options,
    });
    const relayed = new DataRoutes(relayingLog(settings.log), this.#streams, {
      ...options,
      appendsInFlightMax: dashboardAppendsMax,
    });
    this.#routes = routesOf({
      data: new DataRoutes(settings.log, this.#streams, options),
      cluster: new ClusterRoutes(settings.cluster),
      health: new HealthRoutes(settings.cluster, settings.metrics),
      dashboard: new DashboardRoutes(relayed),
    });
    this.#host = {
      log: settings.log,
      clock: settings.clock,
      options,
      answerBytes: new Budget(options.answerBytesInFlightMax),
      bodyBytes: new Budget(options.bodyBytesInFlightMax),
      isClosing: () => this.#closed !== undefined,
    };
    this.#server = this.#createServer();
  }

  #createServer(): Server {
    const options = this.#options;
    const server = createServer({
      headersTimeout: options.headersTimeoutMs,
      requestTimeout: options.requestTimeoutMs,
      keepAliveTimeout: options.keepAliveTimeoutMs,
      maxHeaderSize: headerBytesMax,
      connectionsCheckingInterval: Math.min(1000, options.headersTimeoutMs),
      // Finds peers that vanished without a word while a stream to them was quiet.
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      noDelay: true,
    });
    server.maxConnections = options.connectionsMax;
    server.on("connection", (socket: Socket) => {
      const exchanges = new Set<Exchange>();
      this.#sockets.set(socket, exchanges);
      socket.once("close", () => {
        this.#sockets.delete(socket);
        for (const exchange of exchanges) exchange.markClosed();
      });
    });
    server.on("request", (request, response) => {
      this.#handle(request, response, false);
    });
    server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
      this.#handle(request, response, true);
    });
    server.on("checkExpectation", (request: IncomingMessage, response: ServerResponse) => {
      this.#handle(request, response, false);
    });
    server.on("clientError", (error, socket) => {
      this.#refuseBroken(error, socket);
    });
    // An upgrade or CONNECT is answered by nobody else; without this its socket would stay.
    server.on("connect", (_request, socket: Duplex) => socket.destroy());
    return server;
  }

  /**
   * Starts to listen; port 0 takes any free one.
   *
   * @throws ProglogError `unavailable` that names the address, if it cannot be bound.
   */
  async listen(host: string, port: number): Promise<BoundAddress> {
    await new Promise<void>((resolve, reject) => {
      const fail = (error: Error): void => {
        reject(
          new ProglogError("unavailable", bindFailure(error, `${host}:${String(port)}`), {
            cause: error,
          }),
        );
      };
      this.#server.once("error", fail);
      this.#server.listen({ host, port, backlog: 1024 }, () => {
        this.#server.off("error", fail);
        this.#server.on("error", (error) => {
          this.#logger.error({ error }, "http_server_error");
        });
        resolve();
      });
    });
    const bound = this.#server.address() as AddressInfo;
    this.#logger.info({ host: bound.address, port: bound.port }, "http_listening");
    return { host: bound.address, port: bound.port };
  }

  /**
   * Stops: takes no connection more, lets answers under way finish, ends streams and cuts idle
   * connections. Ends within `closeTimeoutMs`; may be called again.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    // The next line of close() marks the gateway as closing; what follows relies on it.
    await Promise.resolve();
    const ended = new Promise<void>((resolve) => {
      if (!this.#server.listening) resolve();
      else this.#server.close(() => resolve());
    });
    this.#streams.close();
    for (const [socket, exchanges] of this.#sockets) {
      if (exchanges.size === 0) socket.destroy();
    }
    const timer = this.#clock.setTimer(this.#options.closeTimeoutMs, () => {
      this.#logger.warn({ connections: this.#sockets.size }, "http_close_cut_connections");
      for (const socket of this.#sockets.keys()) socket.destroy();
    });
    await ended;
    timer.cancel();
  }

  #handle(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    const exchange = new Exchange(this.#host, { request, response, expectsContinue });
    this.#track(request.socket, exchange);
    this.#routes.dispatch(exchange).catch((error: unknown) => {
      this.#fail(exchange, error);
    });
  }

  #track(socket: Socket, exchange: Exchange): void {
    const exchanges = this.#sockets.get(socket);
    exchanges?.add(exchange);
    exchange.response.once("close", () => {
      exchanges?.delete(exchange);
      exchange.markClosed();
      // Its headers may have promised to keep the connection before the gateway began to close.
      if (this.#closed !== undefined && exchanges?.size === 0) socket.destroySoon();
    });
  }

  /** Answers with what went wrong, if there is still somebody and something to answer. */
  #fail(exchange: Exchange, thrown: unknown): void {
    if (thrown instanceof ClientGoneError || exchange.isClosed) return;
    const error = this.#redirectable(ProglogError.from(thrown), exchange);
    if (error.code === "internal") {
      const { method } = exchange.request;
      this.#logger.error({ error: thrown, method, path: exchange.path }, "http_request_failed");
    }
    if (exchange.response.headersSent) {
      exchange.cut();
      return;
    }
    const answer = problemAnswer(error, {
      isRead: exchange.isRead,
      location:
        error.code === "not-leader" && error.leader !== undefined
          ? `http://${error.leader.httpAddr}${exchange.target}`
          : undefined,
      ...(thrown instanceof MethodNotAllowedError ? { headers: { Allow: thrown.allow } } : {}),
    });
    try {
      exchange.send(answer.status, answer.headers, answer.body);
    } catch (error) {
      this.#logger.error({ error }, "http_answer_failed");
      exchange.cut();
    }
  }

  /** A redirect that leads nowhere, or back here, would make the client turn in circles. */
  #redirectable(error: ProglogError, exchange: Exchange): ProglogError {
    if (error.code !== "not-leader") return error;
    const { leader } = error;
    const isElsewhere =
      leader !== undefined &&
      leader.httpAddr !== "" &&
      leader.id !== this.#cluster.identify().member.id &&
      leader.httpAddr !== exchange.request.headers.host;
    if (isElsewhere) return error;
    return new ProglogError("no-leader", "The leader is not known here yet; try again.", {
      cause: error,
    });
  }

  /** What is not HTTP, or did not arrive in time: answered if no answer has begun, then closed. */
  #refuseBroken(error: Error & { code?: string }, socket: Duplex): void {
    const exchanges = this.#sockets.get(socket) ?? [];
    const hasBegun = [...exchanges].some(({ response }) => response.headersSent);
    if (!socket.writable || hasBegun || error.code === "ECONNRESET") {
      socket.destroy();
      return;
    }
    const answer = problemAnswer(new ProglogError("invalid-request", brokenDetail(error.code)), {
      isRead: false,
    });
    const position = this.#log.position();
    const headers = {
      ...answer.headers,
      "X-Proglog-Node": position.nodeName,
      "X-Proglog-Term": position.term,
      "X-Proglog-Commit-Offset": position.endOffset,
      "Content-Length": Buffer.byteLength(answer.body),
      Connection: "close",
    };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${String(value)}\r\n`);
    socket.end(`HTTP/1.1 400 Bad Request\r\n${lines.join("")}\r\n${answer.body}`, () => {
      socket.destroy();
    });
  }
}

interface Rooms {
  readonly data: DataRoutes;
  readonly cluster: ClusterRoutes;
  readonly health: HealthRoutes;
  readonly dashboard: DashboardRoutes;
}

function routesOf({ data, cluster, health, dashboard }: Rooms): RouteTable {
  const dataHandlers = {
    GET: (exchange: Exchange) => data.read(exchange),
    POST: (exchange: Exchange) => data.append(exchange),
  };
  const outcomeHandlers = { GET: (exchange: Exchange) => data.outcome(exchange) };
  return new RouteTable({
    "/": {
      GET: (exchange) => {
        dashboard.page(exchange);
      },
    },
    "/dashboard/append": { POST: (exchange) => dashboard.append(exchange) },
    "/dashboard/*": {
      GET: (exchange, name) => {
        dashboard.file(exchange, name);
      },
    },
    "/Data": dataHandlers,
    "/data": dataHandlers,
    "/Data/outcome": outcomeHandlers,
    "/data/outcome": outcomeHandlers,
    "/cluster": { GET: (exchange) => cluster.status(exchange) },
    "/cluster/members": { POST: (exchange) => cluster.addMember(exchange) },
    "/cluster/members/*": { DELETE: (exchange, id) => cluster.removeMember(exchange, id) },
    "/cluster/leader": { POST: (exchange) => cluster.transferLeader(exchange) },
    "/livez": {
      GET: (exchange) => {
        health.live(exchange);
      },
    },
    "/readyz": {
      GET: (exchange) => {
        health.ready(exchange);
      },
    },
    "/metrics": { GET: (exchange) => health.metrics(exchange) },
    "/openapi.json": {
      GET: (exchange) => {
        health.openApi(exchange);
      },
    },
  });
}

function brokenDetail(code: string | undefined): string {
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") {
    return "The request did not arrive in time; nothing of it was applied.";
  }
  if (code === "HPE_HEADER_OVERFLOW") {
    return `The request's headers are over ${String(headerBytesMax)} bytes.`;
  }
  return "What arrived is not an HTTP/1.1 request.";
}

function bindFailure(error: Error & { code?: string }, address: string): string {
  switch (error.code) {
    case "EADDRINUSE":
      return `The HTTP address ${address} is in use; stop the other program or choose another.`;
    case "EACCES":
      return `The HTTP address ${address} may not be bound by this user; choose a port from 1024.`;
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return `The HTTP address ${address} is not an address of this host.`;
    default:
      return `The HTTP address ${address} cannot be bound (${error.code ?? "unknown cause"}).`;
  }
}
