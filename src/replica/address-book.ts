/**
 * Where nodes can be reached: what the configuration says, corrected by what they say themselves
 * when they connect. Addresses are hints; identity is the id.
 *
 * Neither is always the newer. A node may move again without being able to connect here, and the
 * configuration then knows better; but a configuration may also come late, from before the move,
 * to a node that was away. So a member is taken at its word as long as it is in contact, and
 * doubted once the configuration has changed what it says of it.
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

  /**
   * Heard, but the configuration has said otherwise since; and whether it was in contact when the
   * peers were looked at last. One that falls silent is looked for where the configuration says;
   * one that goes on over its old connection is where it said after all.
   */
  readonly #doubted = new Map<NodeId, boolean>();
  readonly #isInContact: (id: NodeId) => boolean;

  /** @param isInContact True if messages come from the node: it is where it said. */
  constructor(isInContact: (id: NodeId) => boolean) {
    this.#isInContact = isInContact;
  }

  /** A node said so itself, in a handshake. @returns True if that is news. */
  hear(member: Member): boolean {
    const known = this.#heard.get(member.id);
    this.#doubted.delete(member.id);
    this.#heard.delete(member.id);
    this.#heard.set(member.id, member);
    return known?.rpcAddr !== member.rpcAddr || known.httpAddr !== member.httpAddr;
  }

  /** The member with the addresses it was last heard at. */
  current(member: Member): Member {
    const isDismissed = this.#doubted.get(member.id) === false;
    return (isDismissed ? undefined : this.#heard.get(member.id)) ?? member;
  }

  /** Where a node said it is. */
  heard(id: NodeId): Member | undefined {
    return this.#heard.get(id);
  }

  /** True if what a doubted member said counts otherwise than before: the peers are others then. */
  get isOutdated(): boolean {
    return [...this.#doubted].some(([id, wasInContact]) => this.#isInContact(id) !== wasInContact);
  }

  #follow(members: readonly Member[]): void {
    for (const { id, rpcAddr, httpAddr } of members) {
      const before = this.#listed.get(id);
      const isSame = before?.rpcAddr === rpcAddr && before.httpAddr === httpAddr;
      if (before !== undefined && !isSame && this.#heard.has(id)) this.#doubted.set(id, true);
    }
    this.#listed = new Map(members.map((member) => [member.id, member]));
    for (const id of this.#doubted.keys()) this.#doubted.set(id, this.#isInContact(id));
  }

  /** Whom to stay connected to: the members, and the strangers heard last. Forgets the others. */
  peers(members: readonly Member[]): Member[] {
    const ids = new Set(members.map((member) => member.id));
    this.#follow(members);
    const strangers = [...this.#heard.values()].filter((member) => !ids.has(member.id));
    const dropped = strangers.slice(0, -strangerCountMax);
    for (const { id } of dropped) {
      this.#heard.delete(id);
      this.#doubted.delete(id);
    }
    const kept = strangers.slice(-strangerCountMax);
    return [...members.map((member) => this.current(member)), ...kept];
  }
}
