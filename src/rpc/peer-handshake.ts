/**
 * The handshake of a stream between two nodes: call metadata that says who calls, and whom.
 *
 * A receiver takes nothing from a stream before the handshake holds: same cluster, meant for this
 * very node. A swapped address or a node of another cluster is told so by name, and can't change
 * a term, a timer or a vote.
 */
import { Metadata, status } from "@grpc/grpc-js";

import type { Member, NodeId } from "../raft/message.js";
import { parseAddress } from "./addresses.js";

/** Streams of a peer: `bulk` carries entries, `control` all that must not wait behind them. */
export type Lane = "bulk" | "control";

export const lanes: readonly Lane[] = ["bulk", "control"];

export interface Handshake {
  readonly clusterId: string;
  readonly from: Member;
  readonly to: NodeId;
  /** Undefined for a call that is no message stream. */
  readonly lane: Lane | undefined;
}

/** Why a call is not taken: its gRPC status. */
export interface Refusal {
  readonly code: status;
  readonly details: string;
}

/** Who the receiver is. */
export interface Local {
  readonly self: Member;
  readonly clusterId: string | undefined;
}

const keys = {
  clusterId: "proglog-cluster-id",
  from: "proglog-from",
  fromName: "proglog-from-name",
  fromRpcAddr: "proglog-from-rpc-addr",
  fromHttpAddr: "proglog-from-http-addr",
  to: "proglog-to",
  lane: "proglog-lane",
} as const;

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

export function handshakeMetadata(handshake: Handshake): Metadata {
  const { clusterId, from, to, lane } = handshake;
  const metadata = new Metadata();
  metadata.set(keys.clusterId, clusterId);
  metadata.set(keys.from, from.id);
  metadata.set(keys.fromName, from.name);
  metadata.set(keys.fromRpcAddr, from.rpcAddr);
  metadata.set(keys.fromHttpAddr, from.httpAddr);
  metadata.set(keys.to, to);
  if (lane !== undefined) metadata.set(keys.lane, lane);
  return metadata;
}

function textOf(metadata: Metadata, key: string): string {
  const [value] = metadata.get(key);
  return typeof value === "string" ? value : "";
}

/** Quotes what a stranger sent, cut to a length that can go into a sentence. */
function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 64));
}

/** Checks the metadata of a call: the handshake if it may go on, else why not. */
export function readHandshake(metadata: Metadata, local: Local): Handshake | Refusal {
  const clusterId = textOf(metadata, keys.clusterId);
  const to = textOf(metadata, keys.to);
  const lane = textOf(metadata, keys.lane);
  const from = {
    id: textOf(metadata, keys.from),
    name: textOf(metadata, keys.fromName),
    rpcAddr: textOf(metadata, keys.fromRpcAddr),
    httpAddr: textOf(metadata, keys.fromHttpAddr),
  };
  const precondition = (details: string): Refusal => ({
    code: status.FAILED_PRECONDITION,
    details,
  });
  if (local.clusterId === undefined) {
    return precondition(`Node ${local.self.id} is not a member of a cluster yet.`);
  }
  if (clusterId !== local.clusterId) {
    return precondition(
      `Node ${local.self.id} is of cluster ${local.clusterId}, the caller of ${quoted(clusterId)}.`,
    );
  }
  if (to !== local.self.id) {
    return precondition(
      `The caller wants node ${quoted(to)}, but node ${local.self.id} answers at this address.`,
    );
  }
  const fault = faultOf(from, lane);
  if (fault !== undefined) return { code: status.INVALID_ARGUMENT, details: fault };
  if (from.id === local.self.id) return precondition(`Node ${from.id} dialled itself.`);
  return { clusterId, from, to, lane: lanes.find((known) => known === lane) };
}

function faultOf(from: Member, lane: string): string | undefined {
  if (!uuidPattern.test(from.id)) return `${keys.from} is not a node's id: ${quoted(from.id)}.`;
  if (!namePattern.test(from.name)) return `${keys.fromName} is not a name: ${quoted(from.name)}.`;
  if (parseAddress(from.rpcAddr) === undefined) return `${keys.fromRpcAddr} is not an address.`;
  if (from.httpAddr !== "" && parseAddress(from.httpAddr) === undefined) {
    return `${keys.fromHttpAddr} is not an address.`;
  }
  if (lane !== "" && lane !== "bulk" && lane !== "control") {
    return `${keys.lane} is not a lane: ${quoted(lane)}.`;
  }
  return undefined;
}

export function isRefusal(outcome: Handshake | Refusal): outcome is Refusal {
  return "code" in outcome;
}
