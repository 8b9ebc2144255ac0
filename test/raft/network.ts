/**
 * A cluster of Raft cores in memory, with a host that does only what it is told: persists wait in
 * queues, messages wait on a wire, and each moves on command, so a test can choose every order
 * that a real cluster might meet.
 *
 * The host keeps the contract of `src/raft/effects.ts` and the checker looks at every step.
 * Nothing here reads a clock or a random source: the same commands give the same run.
 */
import type { Random } from "../../src/common/random.js";
import { Raft, raftDefaults } from "../../src/raft/index.js";
import type {
  Configuration,
  Effect,
  Event,
  HardState,
  Member,
  Message,
  Persist,
  RaftOptions,
} from "../../src/raft/index.js";
import { Checker } from "./checker.js";
import { Chains, describeConfiguration, describeEntry, LogMirror } from "./log-mirror.js";
import type { MirrorBase } from "./log-mirror.js";

export function member(id: string): Member {
  return { id, name: `node-${id}`, rpcAddr: `127.0.0.1:70${id}`, httpAddr: `127.0.0.1:80${id}` };
}

export function configurationOf(voters: readonly string[], learners: readonly string[] = []) {
  return { voters: voters.map(member), learners: learners.map(member) };
}

/** Small numbers, so that windows fill and timeouts pass within a short script. */
export const testOptions: RaftOptions = {
  ...raftDefaults,
  electionTicks: 10,
  heartbeatTicks: 2,
  inflight: { countMax: 4, bytesMax: 4096 },
  uncommittedBytesMax: 16_384,
  promotionLagMax: 4,
};

export interface NetworkOptions {
  readonly ids: readonly string[];
  readonly configuration: Configuration;
  readonly raft?: Partial<RaftOptions>;
  readonly random: (id: string) => Random;
  /** Receives a line for each thing that happens. */
  readonly log?: (line: string) => void;
  /** Answers `load` and `apply` at once; otherwise they wait for a command. */
  readonly manual?: { readonly load?: boolean; readonly apply?: boolean };
}

type HeldMessage = Extract<Effect, { type: "send" }>;

/** One node: its core if it runs, what it was told to write, and what of that is durable. */
export class Node {
  readonly id: string;
  core: Raft | null = null;
  readonly memory: LogMirror;
  readonly disk: LogMirror;
  diskHardState: HardState = { term: 0, vote: null };
  readonly queue: { readonly persist: Persist; readonly base: MirrorBase | undefined }[] = [];
  readonly held: HeldMessage[] = [];
  durableToken = 0;
  /** What the state machine holds. */
  applied = 0;
  /** What it was told it may hold. */
  applyTo = 0;
  /** Where its durable checkpoint stands: what a restart begins from, and a snapshot's index. */
  checkpoint: MirrorBase;
  /** A snapshot that lies ready, by index. */
  readonly fetched = new Map<number, MirrorBase>();
  fetching: { readonly from: string; readonly index: number } | null = null;
  readonly loads: Extract<Effect, { type: "load" }>[] = [];
  /** How far the checker has followed its commits. */
  commitSeen = 0;

  constructor(id: string, chains: Chains, configuration: Configuration | undefined) {
    this.id = id;
    this.memory = new LogMirror(chains, configuration);
    this.disk = new LogMirror(chains, configuration);
    this.checkpoint = this.disk.base;
  }
}

export interface DeliveryFilter {
  readonly from?: string;
  readonly to?: string;
  readonly type?: string;
  readonly count?: number;
}

export class Network {
  readonly nodes = new Map<string, Node>();
  readonly checker = new Checker();
  /** Sent and not yet delivered, oldest first. */
  wire: Message[] = [];
  /** Effects addressed to a client, in order. */
  readonly answers: Effect[] = [];
  readonly #options: NetworkOptions;
  readonly #chains = new Chains();
  readonly #reads = new Map<number, number>();
  readonly #followUps: { readonly node: Node; readonly event: Event }[] = [];
  #isStepping = false;
  #groups: readonly (readonly string[])[] = [];

  constructor(options: NetworkOptions) {
    this.#options = options;
    for (const id of options.ids) this.add(id);
  }

  get ids(): string[] {
    return [...this.nodes.keys()];
  }

  #log(line: string): void {
    this.#options.log?.(line);
  }

  node(id: string): Node {
    const node = this.nodes.get(id);
    if (node === undefined) throw new Error(`there is no node ${id}`);
    return node;
  }

  core(id: string): Raft {
    const { core } = this.node(id);
    if (core === null) throw new Error(`node ${id} is down`);
    return core;
  }

  /** Adds a node: a member of the first configuration knows it, any other starts blank. */
  add(id: string): void {
    const { voters, learners } = this.#options.configuration;
    const isMember = [...voters, ...learners].some((known) => known.id === id);
    const node = new Node(id, this.#chains, isMember ? this.#options.configuration : undefined);
    this.nodes.set(id, node);
    this.start(id);
  }

  /** Starts a node from its durable image. */
  start(id: string): void {
    const node = this.node(id);
    const { disk, checkpoint } = node;
    const configurations = disk.configurations();
    const initial = {
      id,
      hardState: node.diskHardState,
      log: disk.image(),
      configurations,
      appliedIndex: checkpoint.index,
    };
    node.memory.install(disk.base, false);
    for (let index = disk.base.index + 1; index <= disk.lastIndex; index += 1) {
      const entry = disk.entry(index);
      if (entry !== undefined) node.memory.append(entry);
    }
    node.applied = checkpoint.index;
    node.applyTo = checkpoint.index;
    node.commitSeen = checkpoint.index;
    node.core = new Raft(
      initial,
      { ...testOptions, ...this.#options.raft },
      this.#options.random(id),
    );
  }

  /**
   * Stops a node at once: of its unfinished persists, the oldest `keptCount` reached the disk, and
   * of the next one its first `partCount` parts.
   */
  crash(id: string, keptCount = 0, partCount = 0): void {
    const node = this.node(id);
    for (let kept = 0; kept < keptCount && node.queue.length > 0; kept += 1)
      this.#writeOldest(node);
    if (partCount > 0) this.#writeOldest(node, partCount);
    node.core = null;
    node.queue.length = 0;
    node.held.length = 0;
    node.durableToken = 0;
    node.fetching = null;
    node.fetched.clear();
    node.loads.length = 0;
  }

  /** Feeds one event, carries out what follows at once, and checks the cluster. */
  step(id: string, event: Event): void {
    const node = this.node(id);
    if (node.core === null) return;
    this.#followUps.push({ node, event });
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      for (let next = this.#followUps.shift(); next !== undefined; next = this.#followUps.shift()) {
        this.#stepOne(next.node, next.event);
      }
    } finally {
      this.#isStepping = false;
      this.#followUps.length = 0;
    }
  }

  #stepOne(node: Node, event: Event): void {
    const { core } = node;
    if (core === null) return;
    const effects = core.step(event);
    // Memory first: the checks of this step look at what the node now holds.
    for (const effect of effects) if (effect.type === "persist") this.#queue(node, effect);
    for (const effect of effects) this.#carryOut(node, effect);
    this.#check(node, core);
    if (effects.some(({ type }) => type === "persist" || type === "configured")) {
      this.checker.configured(node, core.status().configuration);
    }
  }

  #check(node: Node, core: Raft): void {
    if (core.commitIndex > node.commitSeen) {
      if (core.role === "leader") this.checker.isDurable(core.commitIndex, node, this.nodes);
      this.checker.commits(node, node.commitSeen + 1, core.commitIndex);
      node.commitSeen = core.commitIndex;
    }
    if (core.role === "leader" && this.checker.leaders.get(core.term) !== node.id) {
      this.checker.leads(node, core.term);
    }
  }

  #queue(node: Node, persist: Persist): void {
    const { hardState, truncateFrom, entries, snapshot } = persist;
    const base = snapshot === undefined ? undefined : node.fetched.get(snapshot.index);
    node.queue.push({ persist, base });
    if (snapshot !== undefined && base !== undefined) {
      node.memory.install(base, snapshot.keepsSuffix);
      node.applied = Math.max(node.applied, base.index);
      node.applyTo = Math.max(node.applyTo, base.index);
    }
    if (truncateFrom !== undefined) node.memory.truncateSuffix(truncateFrom);
    if (hardState !== undefined) this.checker.sees(node.id, hardState.term, hardState.vote);
    for (const entry of entries) {
      const before = node.memory.configurationAt()?.configuration;
      this.checker.appended(node.id, entry, node.memory.append(entry), before);
    }
    this.#log(`${node.id} persist #${persist.token}${describePersist(persist)}`);
  }

  #carryOut(node: Node, effect: Effect): void {
    switch (effect.type) {
      case "persist":
        return;
      case "send":
        if (effect.after <= node.durableToken) this.#leave(node, effect.message);
        else node.held.push(effect);
        return;
      case "apply":
        node.applyTo = Math.max(node.applyTo, effect.to);
        this.#log(`${node.id} commit ${effect.to}`);
        if (this.#options.manual?.apply !== true) this.apply(node.id);
        return;
      case "load":
        this.#log(`${node.id} load for ${effect.peer} from ${effect.from}`);
        node.loads.push(effect);
        if (this.#options.manual?.load !== true) this.load(node.id);
        return;
      case "fetchSnapshot":
        this.#log(`${node.id} fetch snapshot ${effect.index} from ${effect.from}`);
        node.fetching = { from: effect.from, index: effect.index };
        return;
      case "stateChanged":
        this.#log(`${node.id} is ${this.describeState(node.id)}`);
        return;
      default:
        this.#answer(node, effect);
    }
  }

  #answer(
    node: Node,
    effect: Exclude<
      Effect,
      { type: "persist" | "send" | "apply" | "load" | "fetchSnapshot" | "stateChanged" }
    >,
  ): void {
    this.answers.push(effect);
    switch (effect.type) {
      case "readReady":
        this.#log(`${node.id} read ${effect.readId} ready at ${effect.index}`);
        this.checker.read(effect.readId, effect.index, this.#reads.get(effect.readId) ?? 0);
        return;
      case "readRejected":
        this.#log(`${node.id} read ${effect.readId} rejected`);
        return;
      case "accepted":
        this.#log(`${node.id} accepted #${effect.id} as ${effect.index}/${effect.term}`);
        return;
      case "rejected":
        this.#log(`${node.id} rejected #${effect.id}: ${effect.reason}`);
        return;
      case "transferred":
        this.#log(`${node.id} transferred #${effect.id}`);
        return;
      case "configured": {
        const { configuration, index } = effect;
        this.#log(`${node.id} configuration ${index}: {${describeConfiguration(configuration)}}`);
        return;
      }
    }
  }

  #leave(node: Node, message: Message): void {
    const leader = this.checker.leaders.get(message.term);
    const leading = leader === undefined ? undefined : this.node(leader);
    const isStill = leading?.core?.role === "leader" && leading.core.term === message.term;
    this.checker.leaves(node, message, isStill ? leading.memory : undefined);
    this.wire.push(message);
  }

  tick(id: string, count = 1): void {
    for (let done = 0; done < count; done += 1) this.step(id, { type: "tick" });
  }

  /** Ticks a node until it campaigns. */
  campaign(id: string): void {
    const { electionTicks } = { ...testOptions, ...this.#options.raft };
    const before = this.describeState(id);
    const { length } = this.wire;
    for (let tick = 0; tick < 2 * electionTicks + 1; tick += 1) {
      this.tick(id);
      const isPolling = this.wire.slice(length).some(({ type }) => type === "voteRequest");
      if (isPolling || this.describeState(id) !== before) return;
    }
  }

  /** Writes the parts of the oldest persist in the order the contract names, or the first few. */
  #writeOldest(node: Node, partCount = Infinity): Persist | undefined {
    const oldest = node.queue.shift();
    if (oldest === undefined) return undefined;
    const { snapshot, truncateFrom, hardState, entries } = oldest.persist;
    if (hardState !== undefined) {
      this.checker.persisted(node.id, hardState);
      node.diskHardState = hardState;
    }
    if (partCount > 1 && snapshot !== undefined && oldest.base !== undefined) {
      node.disk.install(oldest.base, snapshot.keepsSuffix);
      node.checkpoint = oldest.base;
    }
    if (partCount > 2 && truncateFrom !== undefined) node.disk.truncateSuffix(truncateFrom);
    if (partCount > 3) {
      for (const entry of entries.slice(0, partCount - 3)) node.disk.append(entry);
    }
    return oldest.persist;
  }

  /** Makes the oldest `count` persists durable, with one sync. */
  persist(id: string, count = Infinity): number {
    const node = this.node(id);
    let token = 0;
    let done = 0;
    while (done < count) {
      const persist = this.#writeOldest(node);
      if (persist === undefined) break;
      token = persist.token;
      done += 1;
    }
    if (done === 0) return 0;
    node.durableToken = token;
    this.#log(`${id} synced to #${token}`);
    const ready = node.held.filter(({ after }) => after <= token);
    const later = node.held.filter(({ after }) => after > token);
    node.held.splice(0, node.held.length, ...later);
    for (const { message } of ready) this.#leave(node, message);
    this.step(id, { type: "persisted", token });
    return done;
  }

  /** Lets the state machine catch up, or go up to an index. */
  apply(id: string, to = Infinity): void {
    const node = this.node(id);
    const end = Math.min(to, node.applyTo);
    if (end <= node.applied) return;
    node.applied = end;
    this.step(id, { type: "applied", index: end });
  }

  /** Answers the oldest request to read entries back; with none if `fails`. */
  load(id: string, fails = false): boolean {
    const node = this.node(id);
    const request = node.loads.shift();
    if (request === undefined) return false;
    const entries = [];
    let bytes = 0;
    for (let index = request.from; !fails && index <= node.memory.lastIndex; index += 1) {
      const entry = node.memory.entry(index);
      if (entry === undefined) break;
      bytes += entry.data.length;
      if (entries.length > 0 && bytes > request.bytesMax) break;
      entries.push(entry);
    }
    this.step(id, { type: "loaded", peer: request.peer, entries });
    return true;
  }

  /** Ends a running fetch: with the checkpoint of the node it names, if that reaches far enough. */
  fetch(id: string, from?: string): boolean {
    const node = this.node(id);
    const { fetching } = node;
    if (fetching === null) return false;
    node.fetching = null;
    const source = this.nodes.get(from ?? fetching.from);
    const base = source?.checkpoint;
    if (base === undefined || base.index < fetching.index || source?.core === null) {
      this.step(id, { type: "snapshotFailed" });
      return true;
    }
    this.offer(id, base);
    return true;
  }

  /** Puts a snapshot ready on a node and says so. */
  offer(id: string, base: MirrorBase): void {
    const node = this.node(id);
    node.fetched.set(base.index, base);
    const configuration = base.configuration?.configuration ?? configurationOf([]);
    this.step(id, { type: "snapshotFetched", index: base.index, term: base.term, configuration });
  }

  /** Takes a checkpoint of all that is applied and durable, and forgets entries up to an index. */
  compact(id: string, index: number): void {
    const node = this.node(id);
    const isInstalling = node.queue.some(({ persist }) => persist.snapshot !== undefined);
    const durable = Math.min(this.core(id).durableIndex, node.disk.lastIndex);
    const end = Math.min(node.applied, durable);
    const chain = node.memory.chainAt(end);
    const term = node.memory.termAt(end);
    if (isInstalling || end <= node.checkpoint.index || chain === undefined || term === undefined) {
      if (isInstalling || end < node.checkpoint.index) return;
    } else {
      node.checkpoint = {
        index: end,
        term,
        chain,
        configuration: node.memory.configurationAt(end),
      };
    }
    const upTo = Math.min(index, end);
    this.step(id, { type: "compact", index: upTo });
    node.memory.truncatePrefix(upTo);
    node.disk.truncatePrefix(upTo);
  }

  read(id: string, readId: number): void {
    this.#reads.set(readId, this.checker.commitIndex);
    this.step(id, { type: "read", readId });
  }

  propose(id: string, proposalId: number, text: string): void {
    const data = Buffer.from(text);
    this.step(id, { type: "propose", proposals: [{ id: proposalId, data }] });
  }

  partition(groups: readonly (readonly string[])[]): void {
    this.#groups = groups;
  }

  isConnected(from: string, to: string): boolean {
    if (this.#groups.length === 0) return true;
    return this.#groups.some((group) => group.includes(from) && group.includes(to));
  }

  /** Takes the matching messages off the wire, oldest first. */
  take(filter: DeliveryFilter): Message[] {
    const taken: Message[] = [];
    const rest: Message[] = [];
    for (const message of this.wire) {
      const isWanted =
        taken.length < (filter.count ?? Infinity) &&
        (filter.from === undefined || filter.from === message.from) &&
        (filter.to === undefined || filter.to === message.to) &&
        (filter.type === undefined || message.type.startsWith(filter.type));
      (isWanted ? taken : rest).push(message);
    }
    this.wire = rest;
    return taken;
  }

  /** Hands a message to its receiver, unless a partition or a crash swallows it. */
  deliver(message: Message): void {
    const isLost = !this.isConnected(message.from, message.to);
    const isDown = this.nodes.get(message.to)?.core == null;
    const fate = isLost ? " (cut off)" : isDown ? " (down)" : "";
    this.#log(`${describeMessage(message)}${fate}`);
    if (!isLost && !isDown) this.step(message.to, { type: "receive", message });
  }

  /** Syncs, fetches and delivers until nothing moves. */
  stabilize(ids: readonly string[] = this.ids): void {
    for (let round = 0; round < 1000; round += 1) {
      let moved = 0;
      for (const id of ids) {
        if (this.node(id).core === null) continue;
        moved += this.persist(id);
        while (this.load(id)) moved += 1;
        this.apply(id);
        if (this.fetch(id)) moved += 1;
      }
      for (const message of this.take({})) {
        if (!ids.includes(message.from) || !ids.includes(message.to)) {
          this.wire.push(message);
          continue;
        }
        this.deliver(message);
        moved += 1;
      }
      if (moved === 0) return;
    }
    throw new Error("the cluster does not come to rest");
  }

  /** `leader term=2 vote=1 leader=1`. */
  describeState(id: string): string {
    const { role, term, vote, leaderId } = this.core(id).status();
    return `${role} term=${term} vote=${vote ?? "-"} leader=${leaderId ?? "-"}`;
  }

  /** The one leader of the highest term, if there is one. */
  leader(): string | undefined {
    let best: string | undefined;
    let bestTerm = -1;
    for (const [id, { core }] of this.nodes) {
      if (core?.role !== "leader" || core.term <= bestTerm) continue;
      best = id;
      bestTerm = core.term;
    }
    return best;
  }
}

function describePersist({ hardState, truncateFrom, entries, snapshot }: Persist): string {
  const snapshotPart =
    snapshot === undefined
      ? ""
      : ` snapshot=${snapshot.index}/${snapshot.term}${snapshot.keepsSuffix ? " keeps suffix" : ""}`;
  const cut = truncateFrom === undefined ? "" : ` cut=${truncateFrom}`;
  const hard =
    hardState === undefined ? "" : ` term=${hardState.term} vote=${hardState.vote ?? "-"}`;
  const held = entries.length === 0 ? "" : ` [${entries.map(describeEntry).join(" ")}]`;
  return snapshotPart + cut + hard + held;
}

/** One line for a message: `1->2 appendRequest term=1 prev=3/1 commit=3 [4/1 x]`. */
export function describeMessage(message: Message): string {
  const head = `${message.from}->${message.to} ${message.type} term=${message.term}`;
  switch (message.type) {
    case "voteRequest": {
      const flags = (message.preVote ? " pre" : "") + (message.transfer ? " transfer" : "");
      return `${head} last=${message.lastIndex}/${message.lastTerm}${flags}`;
    }
    case "voteResponse":
      return `${head}${message.preVote ? " pre" : ""} ${message.granted ? "granted" : "refused"}`;
    case "appendRequest": {
      const { prevIndex, prevTerm, commitIndex, entries, round } = message;
      const held = entries.length === 0 ? "" : ` [${entries.map(describeEntry).join(" ")}]`;
      const asked = round === 0 ? "" : ` round=${round}`;
      return `${head} prev=${prevIndex}/${prevTerm} commit=${commitIndex}${asked}${held}`;
    }
    case "appendResponse": {
      const { rejected, index, conflictIndex, conflictTerm, round } = message;
      const asked = round === 0 ? "" : ` round=${round}`;
      if (!rejected) return `${head} index=${index}${asked}`;
      return `${head} refused=${index} conflict=${conflictIndex}/${conflictTerm}${asked}`;
    }
    case "snapshotOffer":
      return `${head} snapshot=${message.index}/${message.snapshotTerm}`;
    case "snapshotResponse":
      return `${head} index=${message.index}${message.rejected ? " rejected" : ""}`;
    case "readIndexRequest":
      return `${head} read=${message.readId}`;
    case "readIndexResponse":
      return `${head} read=${message.readId} ${message.rejected ? "rejected" : `index=${message.index}`}`;
    case "timeoutNow":
      return head;
  }
}
