/**
 * /cluster and below: who is in the cluster, and changes to it.
 *
 * It must never let a web page from elsewhere change the cluster through its visitor's browser.
 */
import type { ClusterService } from "../service/api.js";
import { readBody } from "./body.js";
import type { Exchange } from "./exchange.js";
import { invalid, parseJsonObject, refuseUnknownMembers } from "./json-body.js";
import { refuseQuery } from "./append-body.js";
import { refuseOtherOrigin } from "./same-origin.js";

const bodyBytesMax = 64 * 1024;
const otherOrigin = "A page from another origin may not change the cluster.";
const memberNames: ReadonlySet<string> = new Set(["rpcAddr"]);
const leaderNames: ReadonlySet<string> = new Set(["id"]);
/** A name or IPv4 address, or an IPv6 address in brackets, and a port. */
const addressPattern = /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(\d{1,5})$/;

export class ClusterRoutes {
  readonly #cluster: ClusterService;

  constructor(cluster: ClusterService) {
    this.#cluster = cluster;
  }

  /** GET /cluster. */
  async status(exchange: Exchange): Promise<void> {
    refuseQuery(exchange.query);
    exchange.sendJson(200, JSON.stringify(await this.#cluster.status()));
  }

  /** POST /cluster/members. */
  async addMember(exchange: Exchange): Promise<void> {
    refuseOtherOrigin(exchange, otherOrigin);
    refuseQuery(exchange.query);
    const { rpcAddr } = await readMembers(exchange, memberNames);
    const port = typeof rpcAddr === "string" ? addressPattern.exec(rpcAddr)?.[1] : undefined;
    if (typeof rpcAddr !== "string" || !(Number(port) >= 1 && Number(port) <= 65_535)) {
      throw invalid("The field rpcAddr must be host:port.", "rpcAddr");
    }
    exchange.sendJson(201, JSON.stringify(await this.#cluster.addMember(rpcAddr)));
  }

  /** DELETE /cluster/members/{id}. */
  async removeMember(exchange: Exchange, id: string): Promise<void> {
    refuseOtherOrigin(exchange, otherOrigin);
    refuseQuery(exchange.query);
    await this.#cluster.removeMember(id);
    exchange.send(204, { "Cache-Control": "no-store" }, "");
  }

  /** POST /cluster/leader. */
  async transferLeader(exchange: Exchange): Promise<void> {
    refuseOtherOrigin(exchange, otherOrigin);
    refuseQuery(exchange.query);
    const { id } = await readMembers(exchange, leaderNames);
    if (id !== undefined && (typeof id !== "string" || id === "" || id.length > 100)) {
      throw invalid("The field id must be a member's id.", "id");
    }
    await this.#cluster.transferLeader(id);
    const { term, leader } = this.#cluster.localStatus();
    exchange.sendJson(202, JSON.stringify({ term, leader }));
  }
}

/** A JSON object, whatever its content type; no body is the empty object. */
async function readMembers(
  exchange: Exchange,
  known: ReadonlySet<string>,
): Promise<Readonly<Record<string, unknown>>> {
  const body = await readBody(exchange, bodyBytesMax);
  try {
    if (body.bytes.length === 0) return {};
    const { members } = parseJsonObject(body.bytes);
    refuseUnknownMembers(members, known);
    return members;
  } finally {
    body.release();
  }
}
