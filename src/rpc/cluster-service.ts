/**
 * `cluster.v1.ClusterService` on a gRPC server: membership and status, for nodes and tools.
 *
 * Addresses are checked here, before anybody dials them. Empty text in a message means that there
 * is nothing: proto3 has no other word for it.
 */
import type { Server } from "@grpc/grpc-js";

import { ProglogError } from "../common/errors.js";
import { ClusterServiceService } from "../gen/cluster/v1/cluster.js";
import type {
  AddMemberRequest,
  AddMemberResponse,
  GetStatusRequest,
  GetStatusResponse,
  IdentifyRequest,
  IdentifyResponse,
  JoinRequest,
  JoinResponse,
  Member as WireMember,
  PromoteMemberRequest,
  PromoteMemberResponse,
  RemoveMemberRequest,
  RemoveMemberResponse,
  TransferLeaderRequest,
  TransferLeaderResponse,
} from "../gen/cluster/v1/cluster.js";
import type { Member } from "../raft/message.js";
import type { ClusterService } from "../service/api.js";
import { requireAddress } from "./addresses.js";
import type { CallGate } from "./call-gate.js";
import { tolerant } from "./call-gate.js";

/** Longest text of a member's field. */
const textLengthMax = 512;

export function memberToWire({ id, name, rpcAddr, httpAddr }: Member): WireMember {
  return { id, name, rpcAddr, httpAddr };
}

/**
 * Reads a member.
 *
 * @throws ProglogError `invalid-request` if it is missing or lacks its id or rpc address.
 */
export function memberFromWire(wire: WireMember | undefined): Member {
  if (wire === undefined) throw new ProglogError("invalid-request", "The member is missing.");
  const { id, name, rpcAddr, httpAddr } = wire;
  if (id === "") throw new ProglogError("invalid-request", "member.id is missing.");
  for (const [field, text] of Object.entries({ id, name, rpcAddr, httpAddr })) {
    if (text.length <= textLengthMax) continue;
    throw new ProglogError(
      "invalid-request",
      `member.${field} is over ${textLengthMax} characters.`,
    );
  }
  requireAddress(rpcAddr, "member.rpc_addr");
  return { id, name, rpcAddr, httpAddr };
}

function requireId(id: string): string {
  if (id === "") throw new ProglogError("invalid-request", "id is missing.");
  return id;
}

/** Adds `cluster.v1.ClusterService` to a server. */
export function addClusterService(server: Server, cluster: ClusterService, gate: CallGate): void {
  server.addService(tolerant(ClusterServiceService), {
    identify: gate.unary("Identify", async (_: IdentifyRequest): Promise<IdentifyResponse> => {
      const { clusterId, member } = cluster.identify();
      return { clusterId: clusterId ?? "", member: memberToWire(member) };
    }),
    join: gate.unary("Join", async (request: JoinRequest): Promise<JoinResponse> => {
      const { clusterId, members } = await cluster.join({
        clusterId: request.clusterId === "" ? null : request.clusterId,
        member: memberFromWire(request.member),
      });
      return { clusterId, members: members.map(memberToWire) };
    }),
    addMember: gate.unary(
      "AddMember",
      async ({ rpcAddr }: AddMemberRequest): Promise<AddMemberResponse> => {
        requireAddress(rpcAddr, "rpc_addr");
        return { member: memberToWire(await cluster.addMember(rpcAddr)) };
      },
    ),
    removeMember: gate.unary(
      "RemoveMember",
      async ({ id }: RemoveMemberRequest): Promise<RemoveMemberResponse> => {
        await cluster.removeMember(requireId(id));
        return {};
      },
    ),
    promoteMember: gate.unary(
      "PromoteMember",
      async ({ id }: PromoteMemberRequest): Promise<PromoteMemberResponse> => {
        await cluster.promoteMember(requireId(id));
        return {};
      },
    ),
    transferLeader: gate.unary(
      "TransferLeader",
      async ({ id }: TransferLeaderRequest): Promise<TransferLeaderResponse> => {
        await cluster.transferLeader(id === "" ? undefined : id);
        return {};
      },
    ),
    getStatus: gate.unary(
      "GetStatus",
      async (_: GetStatusRequest, { isLocal }): Promise<GetStatusResponse> => {
        const status = isLocal ? cluster.localStatus() : await cluster.status();
        return { json: JSON.stringify(status) };
      },
    ),
  });
}
