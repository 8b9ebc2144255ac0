/**
 * Holds a whole cluster to Raft's safety properties after every step (Raft figure 3; rules I1 to
 * I11 of docs/testing.md).
 *
 * It sees everything at once, which no node can: who led which term over the whole history, what
 * was ever committed, what is durable where. It throws on the first breach, naming the rule.
 */
import type { Configuration, Entry, HardState, Message } from "../../src/raft/index.js";
import type { LogMirror } from "./log-mirror.js";

/** A node as the checker sees it. */
export interface Observed {
  readonly id: string;
  readonly memory: LogMirror;
  readonly disk: LogMirror;
  readonly diskHardState: HardState;
}

export class SafetyError extends Error {
  override readonly name = "SafetyError";
}

function holds(condition: boolean, rule: string, detail: () => string): void {
  if (!condition) throw new SafetyError(`${rule}: ${detail()}`);
}

export class Checker {
  /** Who led each term. */
  readonly leaders = new Map<number, string>();
  /** By index and term: the chain every log that has this entry must have here. */
  readonly #chains = new Map<string, number>();
  /** By index: the chain that was committed. */
  readonly #committed: number[] = [0];
  /** By index: the newest term that had a leader when it was first called committed. */
  readonly #committedBy: number[] = [0];
  /** By node and term: the vote that became durable. */
  readonly #durableVotes = new Map<string, string>();
  /** By node: the highest durable term. */
  readonly #durableTerms = new Map<string, number>();
  /** By node: the term and vote it was last seen with in memory. */
  readonly #votes = new Map<string, string>();

  /** Highest index known committed by anyone, ever. */
  get commitIndex(): number {
    return this.#committed.length - 1;
  }

  /** I2: the same index and term mean the same prefix. */
  appended(id: string, entry: Entry, chain: number, before: Configuration | undefined): void {
    const key = `${entry.index}/${entry.term}`;
    const known = this.#chains.get(key) ?? chain;
    this.#chains.set(key, known);
    holds(known === chain, "I2 log matching", () => `node ${id} holds another log up to ${key}`);
    if (entry.configuration !== undefined && before !== undefined && before.voters.length > 0) {
      this.#overlaps(before, entry.configuration);
    }
  }

  /** I11: configurations that follow each other share a voter in any two quorums. */
  #overlaps(before: Configuration, after: Configuration): void {
    const old = new Set(before.voters.map((voter) => voter.id));
    const fresh = new Set(after.voters.map((voter) => voter.id));
    const gone = [...old].filter((id) => !fresh.has(id)).length;
    const added = [...fresh].filter((id) => !old.has(id)).length;
    holds(gone + added <= 1, "I11 one voter at a time", () => `${gone} gone, ${added} new`);
    holds(fresh.size > 0, "I11 a configuration has a voter", () => "none left");
  }

  /** I11: the configuration in force is the last one in the log or the snapshot. */
  configured(node: Observed, configuration: Configuration): void {
    const last = node.memory.configurationAt()?.configuration;
    const ids = (of: Configuration | undefined): string =>
      JSON.stringify([of?.voters ?? [], of?.learners ?? []]);
    holds(ids(last) === ids(configuration), "I11 configuration in force", () => {
      return `node ${node.id} has ${ids(configuration)}, its log ${ids(last)}`;
    });
  }

  /**
   * I1 and I3: one leader a term, and it holds all that was committed in terms before its own. One
   * that hears late of its election may lead an older term than the newest (Raft §5.4.3).
   */
  leads(node: Observed, term: number): void {
    const other = this.leaders.get(term) ?? node.id;
    this.leaders.set(term, node.id);
    holds(other === node.id, "I1 election safety", () => `${other} and ${node.id} lead ${term}`);
    let last = this.commitIndex;
    while ((this.#committedBy[last] ?? 0) >= term) last -= 1;
    if (last < node.memory.base.index) return;
    holds(
      node.memory.chainAt(last) === this.#committed[last],
      "I3 leader completeness",
      () => `leader ${node.id} of term ${term} lacks the committed entry ${last}`,
    );
  }

  /** I4 and I6: what is committed at an index never changes, whoever says so. */
  commits(node: Observed, from: number, to: number): void {
    for (let index = Math.max(from, node.memory.base.index); index <= to; index += 1) {
      const chain = node.memory.chainAt(index);
      const known = this.#committed[index];
      holds(chain !== undefined, "I6 committed is held", () => `${node.id} lacks ${index}`);
      holds(
        known === undefined || known === chain,
        "I6 committed is immutable",
        () => `node ${node.id} commits another entry at ${index}`,
      );
      if (index !== this.#committed.length || chain === undefined) continue;
      this.#committed.push(chain);
      this.#committedBy.push(Math.max(...this.leaders.keys()));
    }
  }

  /** I7: a leader's commit is in the durable image of a quorum of its configuration. */
  isDurable(index: number, leader: Observed, nodes: ReadonlyMap<string, Observed>): void {
    const voters = leader.memory.configurationAt()?.configuration.voters ?? [];
    const chain = leader.memory.chainAt(index);
    const count = voters.filter(({ id }) => {
      const disk = nodes.get(id)?.disk;
      return disk !== undefined && (disk.base.index >= index || disk.chainAt(index) === chain);
    }).length;
    holds(
      count * 2 > voters.length,
      "I7 commit on a durable quorum",
      () => `leader ${leader.id} commits ${index}, durable on ${count} of ${voters.length}`,
    );
  }

  /** I8: in memory, too, the term never falls and a vote is not changed within its term. */
  sees(id: string, term: number, vote: string | null): void {
    const key = `${id}@${term}`;
    const known = this.#votes.get(key);
    if (vote === null) return;
    // A vote that a crash took back before it was durable may be given anew: none was sent.
    if (known !== undefined && known !== vote) {
      holds(
        !this.#durableVotes.has(key),
        "I8 one vote per term",
        () => `${key}: ${known}, ${vote}`,
      );
    }
    this.#votes.set(key, vote);
  }

  /** I8: the durable term never falls, and a durable vote is never another one. */
  persisted(id: string, { term, vote }: HardState): void {
    const known = this.#durableTerms.get(id) ?? 0;
    holds(term >= known, "I8 durable term", () => `node ${id} falls from ${known} to ${term}`);
    this.#durableTerms.set(id, term);
    if (vote === null) return;
    const key = `${id}@${term}`;
    const other = this.#durableVotes.get(key) ?? vote;
    holds(other === vote, "I8 one vote per term", () => `${key} for ${other} and ${vote}`);
    this.#durableVotes.set(key, vote);
  }

  /** I10: what leaves is implied by what is durable; I12: nobody sends to itself. */
  leaves(node: Observed, message: Message, leaderMemory: LogMirror | undefined): void {
    const { from, to, term } = message;
    const what = (): string => `${message.type} of ${from} to ${to} in term ${term}`;
    holds(from !== to, "I12 no message to self", what);
    const isVote =
      (message.type === "voteResponse" && message.granted) || message.type === "voteRequest";
    if (isVote && !message.preVote) {
      const vote = message.type === "voteResponse" ? to : from;
      const durable = this.#durableVotes.get(`${from}@${term}`);
      holds(durable === vote, "I10 a vote is durable before it leaves", what);
    }
    const isAck = message.type === "appendResponse" || message.type === "snapshotResponse";
    if (!isAck) return;
    holds(node.diskHardState.term >= term, "I10 the term is durable before it leaves", what);
    if (message.rejected || node.diskHardState.term > term) return;
    const { index } = message;
    const isHeld =
      node.disk.base.index >= index ||
      (node.disk.lastIndex >= index &&
        (leaderMemory === undefined ||
          leaderMemory.base.index > index ||
          leaderMemory.chainAt(index) === node.disk.chainAt(index)));
    holds(isHeld, "I10 an entry is durable before it is acknowledged", () => {
      return `${what()} names ${index}, durable is ${node.disk.lastIndex}`;
    });
  }

  /** I13: a read is no older than what anyone knew committed when it began. */
  read(readId: number, index: number, committedBefore: number): void {
    holds(index >= committedBefore, "I13 reads are linearizable", () => {
      return `read ${readId} answers at ${index}, ${committedBefore} was committed before it`;
    });
  }
}
