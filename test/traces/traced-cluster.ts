/**
 * The commands that a trace may give to a cluster of Raft cores, and what each prints.
 *
 * A command prints what happened because of it, in order; `ok` if nothing did. Persists and
 * messages wait until a command moves them.
 */
import type { Random } from "../../src/common/random.js";
import type { ConfigurationChange } from "../../src/raft/index.js";
import { configurationOf, describeMessage, member, Network } from "../raft/network.js";
import type { Command } from "./datadriven.js";

/** The same numbers over and over, so that a trace can say who times out first. */
function fixedRandom(numbers: readonly number[]): Random {
  let at = 0;
  return {
    next: () => {
      const number = numbers[at % numbers.length] ?? 0;
      at += 1;
      return number;
    },
    uuid: () => "00000000-0000-4000-8000-000000000000",
  };
}

export class TracedCluster {
  #network: Network | null = null;
  #lines: string[] = [];
  #nextId = 1;

  get #cluster(): Network {
    if (this.#network === null) throw new Error("a trace begins with `cluster`");
    return this.#network;
  }

  run(command: Command): readonly string[] {
    this.#lines = [];
    try {
      this.#dispatch(command);
    } catch (error) {
      if (!(error instanceof Error) || error.name === "Error") throw error;
      this.#lines.push(`${error.name}: ${error.message}`);
    }
    return this.#lines;
  }

  #dispatch(command: Command): void {
    const { name, words, options } = command;
    const [first = "", second = ""] = words;
    const ids = first === "" ? undefined : first.split(",");
    switch (name) {
      case "cluster":
        this.#create(options);
        return;
      case "tick":
        for (const id of ids ?? []) this.#cluster.tick(id, Number(second || "1"));
        return;
      case "campaign":
        this.#cluster.campaign(first);
        return;
      case "elect":
        this.#quietly(() => {
          this.#cluster.campaign(first);
          this.#cluster.stabilize();
        });
        this.#lines.push(`${first} is ${this.#cluster.describeState(first)}`);
        return;
      case "win":
        this.#quietly(() => {
          this.#win(first, second === "" ? this.#cluster.ids : second.split(","));
        });
        this.#lines.push(`${first} is ${this.#cluster.describeState(first)}`);
        return;
      case "deliver":
        this.#deliver(words, options);
        return;
      case "persist":
        for (const id of ids ?? []) this.#cluster.persist(id, Number(second || "Infinity"));
        return;
      case "stabilize":
        this.#stabilize(words);
        return;
      case "propose":
        for (const text of this.#texts(words.slice(1), options)) {
          this.#cluster.propose(first, this.#takeId(), text);
        }
        return;
      case "read":
        this.#cluster.read(first, this.#takeId());
        return;
      case "change":
        this.#change(first, words.slice(1));
        return;
      case "transfer": {
        const target = second === "" ? {} : { target: second };
        this.#cluster.step(first, { type: "transfer", id: this.#takeId(), ...target });
        return;
      }
      case "partition":
        this.#cluster.partition(first.split("|").map((group) => group.split(",")));
        this.#loseCutOff();
        return;
      case "heal":
        this.#loseCutOff();
        this.#cluster.partition([]);
        return;
      default:
        this.#dispatchHost(command);
    }
  }

  #dispatchHost({ name, words, options }: Command): void {
    const [first = "", second = ""] = words;
    const network = this.#cluster;
    switch (name) {
      case "crash":
        network.crash(first, Number(options.get("keep") ?? "0"));
        return;
      case "start":
        network.start(first);
        this.#lines.push(`${first} is ${network.describeState(first)}`);
        return;
      case "restart":
        network.crash(first, second === "lose-unsynced" ? 0 : Infinity);
        network.start(first);
        this.#lines.push(`${first} is ${network.describeState(first)}`);
        return;
      case "add":
        network.add(first);
        return;
      case "compact":
        network.compact(first, Number(second));
        this.#lines.push(`${first} keeps ${network.node(first).memory.toString()}`);
        return;
      case "apply":
        network.apply(first, Number(options.get("to") ?? "Infinity"));
        return;
      case "applied":
        network.step(first, { type: "applied", index: Number(second) });
        return;
      case "load":
        network.load(first, second === "fails");
        return;
      case "fetch":
        network.fetch(first, options.get("from"));
        return;
      case "snapshot":
        network.offer(first, network.node(options.get("from") ?? "1").checkpoint);
        return;
      case "unreachable":
        network.step(first, { type: "unreachable", peer: second });
        return;
      case "fail":
        network.step(first, { type: "ioFailed" });
        return;
      default:
        this.#show(name, words);
    }
  }

  #show(name: string, words: readonly string[]): void {
    const network = this.#cluster;
    const ids = words[0]?.split(",") ?? network.ids;
    for (const id of name === "wire" ? [] : ids) {
      const { core, memory } = network.node(id);
      if (core === null) {
        this.#lines.push(`${id} is down`);
      } else if (name === "status") {
        const { commitIndex, durableIndex, lastIndex } = core.status();
        const indexes = `commit=${commitIndex} durable=${durableIndex} last=${lastIndex}`;
        this.#lines.push(`${id} is ${network.describeState(id)} ${indexes}`);
      } else if (name === "log") {
        this.#lines.push(`${id}: ${memory.toString()}`);
      } else if (name === "progress") {
        for (const { id: peer, state, matchIndex } of core.status().followers) {
          this.#lines.push(`${id} sees ${peer}: ${state} match=${matchIndex}`);
        }
      } else throw new Error(`no command ${name}`);
    }
    if (name === "wire") this.#lines.push(...network.wire.map(describeMessage));
  }

  #create(options: ReadonlyMap<string, string>): void {
    const names = (count: number, from: number): string[] =>
      Array.from({ length: count }, (_, at) => String(from + at));
    const number = (key: string, normal: number): number => Number(options.get(key) ?? normal);
    const voters = names(number("n", 3), 1);
    const learners = names(number("learners", 0), voters.length + 1);
    const spare = names(number("spare", 0), voters.length + learners.length + 1);
    const random = options.get("random")?.split(",").map(Number);
    this.#network = new Network({
      ids: [...voters, ...learners, ...spare],
      configuration: configurationOf(voters, learners),
      random: (id) => fixedRandom(random ?? [Number(id) / 10]),
      log: (line) => this.#lines.push(line),
      manual: { load: options.get("load") === "manual", apply: options.get("apply") === "manual" },
      raft: {
        appendBytesMax: number("append", 1000),
        cacheBytesMax: number("cache", 1_000_000),
        inflight: { countMax: number("inflight", 4), bytesMax: number("inflightBytes", 4096) },
        uncommittedBytesMax: number("uncommitted", 16_384),
        promotionLagMax: number("lag", 4),
      },
    });
  }

  #takeId(): number {
    const id = this.#nextId;
    this.#nextId += 1;
    return id;
  }

  #texts(words: readonly string[], options: ReadonlyMap<string, string>): string[] {
    const bytes = options.get("bytes");
    return bytes === undefined ? [...words] : ["b".repeat(Number(bytes))];
  }

  /** Campaigns and moves only votes, among some nodes, until the node leads; it has sent nothing. */
  #win(id: string, among: readonly string[]): void {
    const network = this.#cluster;
    network.campaign(id);
    for (let round = 0; round < 4; round += 1) {
      for (const other of among) if (network.node(other).core !== null) network.persist(other);
      for (const from of among) {
        for (const to of among) {
          for (const vote of network.take({ from, to, type: "vote" })) network.deliver(vote);
        }
      }
    }
  }

  /** What a cut has swallowed does not arrive once it is healed. */
  #loseCutOff(): void {
    const network = this.#cluster;
    network.wire = network.wire.filter(({ from, to }) => network.isConnected(from, to));
  }

  /** Runs without printing. */
  #quietly(run: () => void): void {
    const { length } = this.#lines;
    run();
    this.#lines.length = length;
  }

  #stabilize(words: readonly string[]): void {
    const ids = words.find((word) => word !== "quiet")?.split(",");
    const run = (): void => {
      this.#cluster.stabilize(ids);
    };
    if (words.includes("quiet")) this.#quietly(run);
    else run();
  }

  #deliver(words: readonly string[], options: ReadonlyMap<string, string>): void {
    const text = (key: "from" | "to" | "type"): Record<string, string> => {
      const value = options.get(key);
      return value === undefined ? {} : { [key]: value };
    };
    const count = Number(options.get("count") ?? "Infinity");
    const filter = { ...text("from"), ...text("to"), ...text("type"), count };
    const skipped = this.#cluster.take({ ...filter, count: Number(options.get("skip") ?? "0") });
    const messages = this.#cluster.take(filter);
    this.#cluster.wire.unshift(...skipped);
    if (words.includes("reversed")) messages.reverse();
    for (const message of messages) {
      if (words.includes("drop")) {
        this.#lines.push(`${describeMessage(message)} (dropped)`);
        continue;
      }
      this.#cluster.deliver(message);
      if (words.includes("twice")) this.#cluster.deliver(message);
      if (words.includes("keep")) this.#cluster.wire.push(message);
    }
  }

  #change(id: string, [type = "", target = ""]: readonly string[]): void {
    const change = { type, id: target, member: member(target) } as ConfigurationChange;
    this.#cluster.step(id, { type: "changeConfiguration", id: this.#takeId(), change });
  }
}
