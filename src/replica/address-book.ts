/**
 * Where members can be reached: what the configuration says, corrected by what they say themselves
 * when they connect. Addresses are hints; identity is the id.
 */
import type { Member, NodeId } from "../raft/index.js";

export class AddressBook {
  readonly #heard = new Map<NodeId, Member>();

  /** A member said so itself, in a handshake. Bounded: only ids of the configuration are looked up. */
  hear(member: Member): boolean {
    const known = this.#heard.get(member.id);
    const isNews = known?.rpcAddr !== member.rpcAddr || known.httpAddr !== member.httpAddr;
    if (isNews) this.#heard.set(member.id, member);
    return isNews;
  }

  /** The member with the addresses it was last heard at. */
  current(member: Member): Member {
    return this.#heard.get(member.id) ?? member;
  }

  /** Forgets those that are no members. */
  keepOnly(members: readonly Member[]): void {
    const ids = new Set(members.map((member) => member.id));
    for (const id of this.#heard.keys()) if (!ids.has(id)) this.#heard.delete(id);
  }
}
