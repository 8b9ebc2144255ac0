/**
 * Members as people see them and name them: a table, and the search for one by id or name.
 * Ids are unique; names are labels, and one that two members bear names neither.
 */
import type { MemberStatus } from "../../client/cluster-admin.js";
import { ProglogError } from "../../common/errors.js";
import { tableLines } from "./table.js";

/** The table's lines. */
export function memberLines(members: readonly MemberStatus[]): string[] {
  const rows = members.map((member) => [
    member.name,
    member.role,
    member.voter ? "yes" : "no",
    member.alive ? "yes" : "no",
    member.lag === null ? "-" : String(member.lag),
    member.rpcAddr,
    member.httpAddr,
    member.id,
  ]);
  return tableLines([["NAME", "ROLE", "VOTES", "ALIVE", "LAG", "RPC", "HTTP", "ID"], ...rows]);
}

/**
 * The member that a person means.
 *
 * @throws ProglogError `unknown-member` if none, or more than one, is called so.
 */
export function memberNamed(members: readonly MemberStatus[], called: string): MemberStatus {
  const byId = members.find(({ id }) => id === called);
  if (byId !== undefined) return byId;
  const named = members.filter(({ name }) => name === called);
  const [only] = named;
  if (only !== undefined && named.length === 1) return only;
  const shown = JSON.stringify(called);
  if (only !== undefined) {
    const ids = named.map(({ id }) => id).join(", ");
    throw new ProglogError(
      "unknown-member",
      `Several members are called ${shown}: name one of ${ids}.`,
    );
  }
  const names = members.map(({ name }) => name).join(", ");
  throw new ProglogError("unknown-member", `There is no member ${shown}; there are ${names}.`);
}
