/**
 * Where nodes can be reached: what the configuration says, corrected by what they say themselves
 * when they connect; whichever came last. Addresses are hints; identity is the id.
 *
 * A node that connects and is no member in this node's configuration is kept too, the latest few:
 * it may be the leader that brings a configuration which this node does not know yet, and has to
 * be answered.
 */
import type { Member, NodeId } from "../raft/index.js";

const strangerCountMax = 8;

export class AddressBook {
  /** In the order in which they were last heard. */
  readonly #heard = new Map<NodeId, Member>();
  /** Members as the configuration had them when it was last looked at. */
  #listed = new Map<NodeId, Member>();

  /** A node said so itself, in a handshake. @returns True if that is news. */
  hear(member: Member): boolean {
    const known = this.#heard.get(member.id);
    this.#heard.delete(member.id);
    this.#heard.set(member.id, member);
    return known?.rpcAddr !== member.rpcAddr || known.httpAddr !== member.httpAddr;
  }

  /** The member with the addresses it was last heard at. */
  current(member: Member): Member {
    return this.#heard.get(member.id) ?? member;
  }

  /** Where a node said it is. */
  heard(id: NodeId): Member | undefined {
    return this.#heard.get(id);
  }

  /** A member whose entry has changed was found at its new address; what it said before is old. */
  #follow(members: readonly Member[]): void {
    for (const member of members) {
      const before = this.#listed.get(member.id);
      const isSame = before?.rpcAddr === member.rpcAddr && before.httpAddr === member.httpAddr;
      if (before !== undefined && !isSame && this.#heard.has(member.id)) this.hear(member);
    }
    this.#listed = new Map(members.map((member) => [member.id, member]));
  }

  /** Whom to stay connected to: the members, and the strangers heard last. Forgets the others. */
  peers(members: readonly Member[]): Member[] {
    const ids = new Set(members.map((member) => member.id));
    this.#follow(members);
    const strangers = [...this.#heard.values()].filter((member) => !ids.has(member.id));
    const dropped = strangers.slice(0, -strangerCountMax);
    for (const { id } of dropped) this.#heard.delete(id);
    const kept = strangers.slice(-strangerCountMax);
    return [...members.map((member) => this.current(member)), ...kept];
  }
}
