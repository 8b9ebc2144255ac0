/**
 * What must hold after every step of a run, whatever the faults (docs/testing.md has the list).
 *
 * It sees what nodes say of themselves, what leaves them on the wire, and what is durable on their
 * disks; it remembers what was ever true: who led each term, who voted for whom, what was
 * committed. Each check names the invariant it is of; the first that fails ends the run.
 */
import { crc32 } from "node:zlib";

import type { Message, NodeId } from "../../src/raft/index.js";
import { SeededRandom } from "../../src/testing/seeded-random.js";
import type { NodeLife, SimulatedNode } from "../../src/testing/simulated-node.js";
import { durableImage } from "./durable-image.js";
import { usurperOf } from "./usurper.js";
import type { World } from "./world.js";

/** What a node was seen to be, within one life of its process. */
interface Seen {
  readonly life: NodeLife;
  term: number;
  commitIndex: number;
  appliedIndex: number;
  endOffset: number;
  lastIndex: number;
  configurationIndex: number;
  wasLeader: boolean;
  leaderTerm: number;
}

/** One in so many acknowledgements is held against the disk: reading it back costs a while. */
const durableCheckRate = 0.1;

export class Invariants {
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #seen = new Map<SimulatedNode, Seen>();
  readonly #leaders = new Map<number, NodeId>();
  readonly #votes = new Map<string, NodeId>();
  /** Last entry that a node acknowledged in the newest term in which it did, by node id. */
  readonly #acks = new Map<NodeId, { readonly term: number; readonly index: number }>();
  /** Highest term in which a node promised something, by node id. */
  readonly #promisedTerms = new Map<NodeId, number>();
  /** Terms of committed entries, by index. */
  readonly #committed: (number | undefined)[] = [];
  /** End of the log once an index is applied. */
  readonly #endOffsets = new Map<number, number>();
  /** Checksum and predecessor's term of each entry ever sent, by index and term. */
  readonly #entries = new Map<string, string>();
  #leaderTermMax = 0;

  constructor(world: World) {
    this.#world = world;
    this.#random = new SeededRandom(world.plan.seed, "invariants");
  }

  get committedIndex(): number {
    return this.#committed.length - 1;
  }

  /** Leaders that there were. */
  get leaderCount(): number {
    return this.#leaders.size;
  }

  /** After each step: looks at the node that it was a step of. */
  check(node: SimulatedNode): void {
    const { life } = node;
    if (life === undefined) return;
    const { replica } = life.core;
    let seen = this.#seen.get(node);
    if (seen?.life !== life) {
      const applied = { appliedIndex: replica.appliedIndex, endOffset: 0 };
      const role = { wasLeader: false, leaderTerm: 0, lastIndex: 0, configurationIndex: 0 };
      seen = { life, term: 0, commitIndex: replica.appliedIndex, ...applied, ...role };
      this.#seen.set(node, seen);
      this.#checkStart(node, replica.status());
    }
    const status = replica.status();
    const { term, commitIndex, lastIndex, snapshotIndex, role } = status;
    if (term < seen.term) this.#broken("I8", node, `term fell from ${seen.term} to ${term}`);
    if (commitIndex < seen.commitIndex) {
      this.#broken("I8", node, `commit index fell from ${seen.commitIndex} to ${commitIndex}`);
    }
    const isOrdered = snapshotIndex <= commitIndex && commitIndex <= lastIndex;
    if (!isOrdered || replica.appliedIndex > commitIndex) {
      const indexes = [snapshotIndex, replica.appliedIndex, commitIndex, lastIndex].join(" ≤ ");
      this.#broken("I9", node, `not in order: ${indexes} (snapshot, applied, commit, last)`);
    }
    if (role === "leader") this.#checkLeader(node, seen, status);
    if (commitIndex > seen.commitIndex) this.#noteCommitted(node, seen.commitIndex, commitIndex);
    if (replica.appliedIndex !== seen.appliedIndex) this.#checkApplied(node, seen);
    seen.term = term;
    seen.commitIndex = commitIndex;
    seen.appliedIndex = replica.appliedIndex;
    seen.lastIndex = lastIndex;
    seen.configurationIndex = status.configurationIndex;
    seen.wasLeader = role === "leader";
    seen.leaderTerm = role === "leader" ? term : 0;
    if (replica.pendingAppendBytes > this.#world.plan.options.pendingBytesMax + 8192) {
      this.#broken("I12", node, `${replica.pendingAppendBytes} bytes of appends are pending`);
    }
  }

  /** What a node promised in its last life it must still know in this one. */
  #checkStart(node: SimulatedNode, { id, term, vote, lastIndex }: StatusOf): void {
    const promised = this.#promisedTerms.get(id) ?? 0;
    if (term < promised) {
      this.#broken("I8", node, `starts in term ${term}, and has spoken in ${promised}`);
    }
    const known = this.#votes.get(`${id} ${String(term)}`);
    if (known !== undefined && vote !== known) {
      this.#broken("I8", node, `starts with vote ${String(vote)} in term ${term}, not ${known}`);
    }
    // Within a term a follower's log only grows by what its leader has: nothing of it is cut.
    const ack = this.#acks.get(id);
    if (ack?.term === term && lastIndex < ack.index) {
      const what = `acknowledged entry ${ack.index} in term ${term}`;
      this.#broken("I8", node, `${what}, and starts with a log that ends at ${lastIndex}`);
    }
  }

  #checkLeader(node: SimulatedNode, seen: Seen, status: StatusOf): void {
    const { term, id, lastIndex, snapshotIndex } = status;
    this.#noteLeader(term, id);
    if (seen.wasLeader && seen.leaderTerm === term) {
      if (lastIndex < seen.lastIndex) {
        this.#broken("I5", node, `leader's log shrank from ${seen.lastIndex} to ${lastIndex}`);
      }
      const { configurationIndex, commitIndex } = status;
      if (configurationIndex > seen.configurationIndex && seen.configurationIndex > commitIndex) {
        const both = `${seen.configurationIndex} and ${configurationIndex}`;
        this.#broken("I11", node, `two changes of the members are under way, ${both}`);
      }
      this.#checkFollowers(node, status);
      return;
    }
    if (term < this.#leaderTermMax) return;
    this.#world.note(node.name, "leads", `term ${term}`);
    // Raft §5.4: the newest leader's log holds all that was ever committed.
    const last = this.committedIndex;
    const held = seen.life.core.replica.termAt(last);
    const isHeld = last <= snapshotIndex || (last <= lastIndex && held === this.#committed[last]);
    if (!isHeld) {
      const has = `its entry ${last} is of term ${String(held)}`;
      const must = `committed is one of term ${String(this.#committed[last])}`;
      this.#broken("I3", node, `leads term ${term} without what is committed: ${has}, ${must}`);
    }
  }

  /** What a leader counts a follower for, the follower holds, as long as both are in that term. */
  #checkFollowers(node: SimulatedNode, { term, followers }: StatusOf): void {
    const replica = node.life?.core.replica;
    for (const { id, matchIndex } of followers) {
      const follower = matchIndex === 0 ? undefined : this.#senderOf(id)?.life?.core.replica;
      if (follower?.term !== term || follower.appliedIndex >= matchIndex) continue;
      const [here, there] = [replica?.termAt(matchIndex), follower.termAt(matchIndex)];
      if (here === undefined || here === there) continue;
      // A snapshot that is being put in force covers it, and is not applied yet.
      if (follower.status().snapshotIndex >= matchIndex) continue;
      const what = `counts ${id} for entry ${matchIndex} of term ${here}`;
      this.#broken("I7", node, `${what}, which has one of term ${String(there)} there`);
    }
  }

  #noteLeader(term: number, id: NodeId): void {
    const known = this.#leaders.get(term);
    if (known === undefined) {
      this.#leaders.set(term, id);
      this.#leaderTermMax = Math.max(this.#leaderTermMax, term);
    } else if (known !== id) {
      this.#world.violate("I1", `Two leaders in term ${term}: ${known} and ${id}.`);
    }
  }

  #noteCommitted(node: SimulatedNode, from: number, to: number): void {
    const replica = node.life?.core.replica;
    for (let index = from + 1; index <= to; index += 1) {
      const term = replica?.termAt(index);
      const known = this.#committed[index];
      if (term === undefined) continue;
      if (known === undefined) this.#committed[index] = term;
      else if (known !== term) {
        const what = `entry ${index} of term ${term} is committed here, one of term ${known} was`;
        this.#broken("I6", node, what);
      }
    }
    if (replica?.isLeader !== true) return;
    // Where a commit goes wrong: the first of a term, those of older terms, a change of the members.
    const isFirst = replica.termAt(from) !== replica.term;
    const isChange = replica.status().configurationIndex > from;
    if (isFirst || isChange || this.#random.chance(durableCheckRate)) this.#checkQuorum(node, to);
  }

  /** What a leader calls committed is durable on a quorum of its voters, and can't be lost. */
  #checkQuorum(node: SimulatedNode, index: number): void {
    const status = node.life?.core.replica.status();
    if (status === undefined) return;
    const { voters } = status.configuration;
    const term = node.life?.core.replica.termAt(index);
    const holders = voters.filter((voter) => {
      const holder = this.#world.nodes.find((other) => other.life?.self.id === voter.id);
      // One that is down, or was, cannot be looked at by its id: it counts for it.
      if (holder === undefined || holder === this.#world.damaged) return true;
      const image = durableImage(holder.disk);
      return image.checkpointIndex >= index || image.terms.get(index) === term;
    });
    if (2 * holders.length <= voters.length) {
      const on = holders.map((voter) => voter.name).join(", ");
      this.#broken("I7", node, `entry ${index} is called committed, and is durable on ${on} only`);
    }
    // A disk that has rotted looks shorter than it is, and will not start.
    if (term === undefined || this.#world.damaged !== undefined) return;
    const usurper = usurperOf(this.#world.nodes, index, term);
    if (usurper === undefined) return;
    const what = `entry ${index} of term ${term} is called committed`;
    this.#broken("I3", node, `${what}, and ${usurper}, which lacks it, could be elected`);
  }

  #checkApplied(node: SimulatedNode, seen: Seen): void {
    const replica = seen.life.core.replica;
    const { appliedIndex } = replica;
    const { endOffset } = replica.commitLog;
    if (appliedIndex < seen.appliedIndex) {
      this.#broken("I8", node, `applied index fell from ${seen.appliedIndex} to ${appliedIndex}`);
    }
    const known = this.#endOffsets.get(appliedIndex);
    if (known === undefined) this.#endOffsets.set(appliedIndex, endOffset);
    else if (known !== endOffset) {
      const what = `with entry ${appliedIndex} applied the log ends at ${endOffset} here`;
      this.#broken("I4", node, `${what}, and at ${known} elsewhere`);
    }
  }

  /** A message leaves a node: what it promises must be durable there, and never contradict. */
  sent(message: Message): void {
    const { type, from, term } = message;
    if (message.from === message.to) {
      this.#world.violate("I12", `${from} sends to itself: ${type}`);
    }
    if (type === "voteResponse" && message.granted && !message.preVote) {
      this.#noteVote(message, message.to);
    }
    if (type === "voteRequest" && !message.preVote) this.#noteVote(message, from);
    if (type === "appendRequest") {
      this.#noteLeader(term, from);
      this.#checkEntries(message);
    }
    const isAck = type === "appendResponse" && !message.rejected && message.index > 0;
    if (!isAck) return;
    const before = this.#acks.get(from);
    const index = before?.term === term ? Math.max(before.index, message.index) : message.index;
    if (term >= (before?.term ?? 0)) this.#acks.set(from, { term, index });
    // Where syncs fail each one is worth it.
    const rate = this.#world.plan.faults.has("failed-syncs") ? 0.5 : durableCheckRate;
    if (this.#random.chance(rate)) this.#checkAck(message);
  }

  /** A node gives its one vote in a term: to another, or to itself as it asks for others'. */
  #noteVote(message: Message, candidate: NodeId): void {
    const { from, term } = message;
    const key = `${from} ${String(term)}`;
    const known = this.#votes.get(key);
    if (known !== undefined && known !== candidate) {
      const who = `${from} votes for ${known} and for ${candidate}`;
      this.#world.violate("I10", `Two votes in term ${term}: ${who}.`);
    }
    this.#votes.set(key, candidate);
    this.#checkHardState(message, candidate);
  }

  #senderOf(id: NodeId): SimulatedNode | undefined {
    return this.#world.nodes.find((node) => node.life?.self.id === id);
  }

  #checkHardState(message: Message, candidate: NodeId): void {
    const { from, term } = message;
    const promised = this.#promisedTerms.get(from) ?? 0;
    if (term < promised) {
      this.#world.violate("I8", `${from} speaks in term ${term} after one in ${promised}.`);
    }
    this.#promisedTerms.set(from, term);
    const node = this.#senderOf(from);
    if (node === undefined || node === this.#world.damaged) return;
    const image = durableImage(node.disk);
    const isKept = image.term > term || (image.term === term && image.vote === candidate);
    if (isKept) return;
    const durable = `durable is term ${image.term}, vote ${image.vote}`;
    this.#broken("I10", node, `votes for ${candidate} in term ${term}; ${durable}`);
  }

  #checkAck(message: Message & { readonly type: "appendResponse" }): void {
    const node = this.#senderOf(message.from);
    if (node === undefined || node === this.#world.damaged) return;
    const image = durableImage(node.disk);
    const { index, term } = message;
    if (image.checkpointIndex >= index) return;
    const { replica } = node.life?.core ?? {};
    // In the term of its leader the node's own log says which entry it is that it acknowledges.
    const entryTerm = replica?.term === term ? replica.termAt(index) : undefined;
    const held = image.terms.get(index);
    if (held !== undefined && (entryTerm === undefined || held === entryTerm)) return;
    this.#broken("I10", node, `acknowledges entry ${index}, which is not durable`);
  }

  /** Raft §5.3: the same index and term means the same entry, after the same entry. */
  #checkEntries({ prevTerm, entries }: Message & { readonly type: "appendRequest" }): void {
    let before = prevTerm;
    for (const { index, term, data, kind } of entries) {
      const content = `${String(before)} ${kind} ${String(crc32(data.subarray(64)))}`;
      const key = `${String(index)} ${String(term)}`;
      const known = this.#entries.get(key);
      if (known === undefined) this.#entries.set(key, content);
      else if (known !== content) {
        this.#world.violate("I2", `Entry ${index} of term ${term} is two different ones.`);
      }
      before = term;
    }
  }

  #broken(invariant: string, node: SimulatedNode, what: string): never {
    this.#world.note(node.name, "violation", `${invariant}: ${what}`);
    this.#world.violate(invariant, `${node.name}: ${what}`);
  }
}

type StatusOf = ReturnType<NodeLife["core"]["replica"]["status"]>;
