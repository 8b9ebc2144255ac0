/**
 * A host's own copy of one node's Raft log, kept apart from the core to check the core against.
 *
 * A node has two: what it was told to write, and what of it is durable. Each entry carries its
 * chain: a number that stands for the whole log up to it, so that two prefixes are equal if and
 * only if their chains are. It must share no code with `src/raft/log.ts`.
 */
import type { Configuration, Entry, LogImage, TermRun } from "../../src/raft/index.js";
import type { ConfigurationAt } from "../../src/raft/index.js";

/** Gives every distinct log prefix a number. */
export class Chains {
  readonly #numbers = new Map<string, number>();

  next(before: number, entry: Entry): number {
    const data = entry.kind === "command" ? entry.data.toString() : "";
    const key = `${before}|${entry.index}|${entry.term}|${entry.kind}|${data}`;
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const number = this.#numbers.size + 1;
    this.#numbers.set(key, number);
    return number;
  }
}

/** What a log forgot: where it starts, and what held there. */
export interface MirrorBase {
  readonly index: number;
  readonly term: number;
  readonly chain: number;
  /** The configuration as of the index, and the index of the entry that brought it. */
  readonly configuration: ConfigurationAt | undefined;
}

export class LogMirror {
  base: MirrorBase;
  readonly #chains: Chains;
  #entries: { readonly entry: Entry; readonly chain: number }[] = [];

  constructor(chains: Chains, configuration: Configuration | undefined) {
    this.#chains = chains;
    const at = configuration === undefined ? undefined : { index: 0, configuration };
    this.base = { index: 0, term: 0, chain: 0, configuration: at };
  }

  get lastIndex(): number {
    return this.base.index + this.#entries.length;
  }

  entry(index: number): Entry | undefined {
    return this.#entries[index - this.base.index - 1]?.entry;
  }

  termAt(index: number): number | undefined {
    return index === this.base.index ? this.base.term : this.entry(index)?.term;
  }

  chainAt(index: number): number | undefined {
    if (index === this.base.index) return this.base.chain;
    return this.#entries[index - this.base.index - 1]?.chain;
  }

  append(entry: Entry): number {
    if (entry.index !== this.lastIndex + 1) throw new Error(`entry ${entry.index} leaves a gap`);
    const chain = this.#chains.next(this.chainAt(this.lastIndex) ?? 0, entry);
    this.#entries.push({ entry, chain });
    return chain;
  }

  truncateSuffix(from: number): void {
    this.#entries.length = Math.min(this.#entries.length, Math.max(0, from - this.base.index - 1));
  }

  truncatePrefix(upTo: number): void {
    if (upTo <= this.base.index) return;
    const term = this.termAt(upTo);
    const chain = this.chainAt(upTo);
    if (term === undefined || chain === undefined) throw new Error(`no entry ${upTo} to cut at`);
    const configuration = this.configurationAt(upTo);
    this.#entries.splice(0, upTo - this.base.index);
    this.base = { index: upTo, term, chain, configuration };
  }

  /** Takes a snapshot; a suffix that goes on from it stays if asked. */
  install(base: MirrorBase, keepsSuffix: boolean): void {
    if (keepsSuffix) this.#entries.splice(0, Math.max(0, base.index - this.base.index));
    else this.#entries = [];
    this.base = base;
  }

  /** The configuration in force at an index. */
  configurationAt(upTo = this.lastIndex): ConfigurationAt | undefined {
    for (let index = upTo; index > this.base.index; index -= 1) {
      const configuration = this.entry(index)?.configuration;
      if (configuration !== undefined) return { index, configuration };
    }
    return this.base.configuration;
  }

  /** All configurations a restarting node needs, oldest first. */
  configurations(): ConfigurationAt[] {
    const all = this.base.configuration === undefined ? [] : [this.base.configuration];
    for (const { entry } of this.#entries) {
      const { index, configuration } = entry;
      if (configuration !== undefined) all.push({ index, configuration });
    }
    return all;
  }

  image(): LogImage {
    const termRuns: TermRun[] = [];
    for (const { entry } of this.#entries) {
      if (termRuns.at(-1)?.term !== entry.term) {
        termRuns.push({ index: entry.index, term: entry.term });
      }
    }
    const { index: snapshotIndex, term: snapshotTerm } = this.base;
    return { snapshotIndex, snapshotTerm, lastIndex: this.lastIndex, termRuns };
  }

  toString(): string {
    const { index, term } = this.base;
    const base = index > 0 ? [`(${index}/${term})`] : [];
    return [...base, ...this.#entries.map(({ entry }) => describeEntry(entry))].join(" ");
  }
}

/** `3/2 x`: index, term and what it holds. */
export function describeEntry(entry: Entry): string {
  const { index, term, kind, data, configuration } = entry;
  const at = `${index}/${term}`;
  if (kind === "noop") return `${at}:noop`;
  if (configuration !== undefined) return `${at}:{${describeConfiguration(configuration)}}`;
  const text = data.toString();
  return `${at}:${text.length > 12 ? `${data.length}B` : text}`;
}

/** `1,2,3+4`: voters, then learners. */
export function describeConfiguration({ voters, learners }: Configuration): string {
  const learning = learners.length > 0 ? `+${learners.map(({ id }) => id).join(",")}` : "";
  return voters.map(({ id }) => id).join(",") + learning;
}
