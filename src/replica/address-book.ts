/**
 * Where members can be reached: what the configuration says, corrected by what they say themselves
 * when they connect. Addresses are hints; identity is the id.
 */
import type { Member, NodeId } from "../raft/index.js";

/** Before a node knows the configuration it takes any that proved itself; after, only members. */
const heardCountMax = 256;

export class AddressBook {
  readonly #heard = new Map<NodeId, Member>();

  /** A member said so itself, in a handshake. @returns True if that is news. */
  hear(member: Member): boolean {
    const known = this.#heard.get(member.id);
    const isNews = known?.rpcAddr !== member.rpcAddr || known.httpAddr !== member.httpAddr;
    if (isNews && this.#heard.size >= heardCountMax) this.#heard.clear();
    if (isNews) this.#heard.set(member.id, member);
    return isNews;
  }

  /** The member with the addresses it was last heard at. */
  current(member: Member): Member {
    return this.#heard.get(member.id) ?? member;
  }

  /** Where a node said it is, also before this one knows the configuration. */
  heard(id: NodeId): Member | undefined {
    return this.#heard.get(id);
  }

  /** Forgets those that are no members. */
  keepOnly(members: readonly Member[]): void {
    if (members.length === 0) return;
    const ids = new Set(members.map((member) => member.id));
    for (const id of this.#heard.keys()) if (!ids.has(id)) this.#heard.delete(id);
  }
}
