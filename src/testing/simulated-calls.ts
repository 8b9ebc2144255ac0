/**
 * What nodes ask of each other beside Raft, over the simulated network: the services' calls and
 * snapshots. What is handed over is copied, as a wire would.
 */
import { ProglogError } from "../common/errors.js";
import type { LeaderHint } from "../common/errors.js";
import type { Producer } from "../machine/producers.js";
import type { SegmentSource } from "../replica/segment-exchange.js";
import type { SnapshotPart, SnapshotSource } from "../replica/snapshot-parts.js";
import type {
  AppendAnswer,
  AppendOutcome,
  AppendReceipt,
  AppendRequest,
  ClusterStatus,
  CommittedAppend,
  JoinReceipt,
  JoinRequest,
  MemberStatus,
  NodeIdentity,
} from "../service/api.js";
import type { PeerCalls } from "../service/peer-calls.js";
import type { NodeCore } from "../agent/node-core.js";
import type { Endpoint, SimulatedNetwork } from "./simulated-network.js";
import { hostOf } from "./simulated-network.js";
import type { SimulatedProcess } from "./simulated-process.js";

/** Longest wait for the answer of another node. */
const callTimeoutMs = 2000;

/** A node that can be called. */
export interface CallEndpoint extends Endpoint {
  readonly core: () => NodeCore;
}

interface CallParts {
  readonly network: SimulatedNetwork;
  readonly host: string;
  readonly process: SimulatedProcess;
}

export class SimulatedCalls implements PeerCalls {
  readonly #parts: CallParts;

  constructor(parts: CallParts) {
    this.#parts = parts;
  }

  async #call<T>(
    rpcAddr: string,
    work: (core: NodeCore) => Promise<T> | T,
    limits: { readonly timeoutMs?: number; readonly lost?: () => ProglogError } = {},
  ): Promise<T> {
    const { network, host, process } = this.#parts;
    const lost = (): ProglogError => new ProglogError("unavailable", `${rpcAddr} did not answer.`);
    const caller = { host, process, timeoutMs: callTimeoutMs, lost, ...limits };
    return network.call(caller, hostOf(rpcAddr), async (at) => work((at as CallEndpoint).core()));
  }

  async identify(rpcAddr: string): Promise<NodeIdentity> {
    return this.#call(rpcAddr, ({ cluster }) => cluster.identify());
  }

  async join(rpcAddr: string, request: JoinRequest): Promise<JoinReceipt> {
    const timeoutMs = 10_000;
    return this.#call(rpcAddr, ({ cluster }) => cluster.join(request), { timeoutMs });
  }

  async status(rpcAddr: string): Promise<ClusterStatus> {
    return this.#call(rpcAddr, ({ cluster }) => cluster.localStatus());
  }

  async addMember(rpcAddr: string, memberRpcAddr: string): Promise<MemberStatus> {
    const timeoutMs = 10_000;
    return this.#call(rpcAddr, ({ cluster }) => cluster.addMember(memberRpcAddr), { timeoutMs });
  }

  async removeMember(rpcAddr: string, id: string): Promise<void> {
    const timeoutMs = 10_000;
    return this.#call(rpcAddr, ({ cluster }) => cluster.removeMember(id), { timeoutMs });
  }

  async promoteMember(rpcAddr: string, id: string): Promise<void> {
    const timeoutMs = 10_000;
    return this.#call(rpcAddr, ({ cluster }) => cluster.promoteMember(id), { timeoutMs });
  }

  async transferLeader(rpcAddr: string, id: string | undefined): Promise<void> {
    const timeoutMs = 10_000;
    return this.#call(rpcAddr, ({ cluster }) => cluster.transferLeader(id), { timeoutMs });
  }

  async produce(leader: LeaderHint, request: CommittedAppend): Promise<AppendReceipt>;
  async produce(leader: LeaderHint, request: AppendRequest): Promise<AppendAnswer>;
  async produce(leader: LeaderHint, request: AppendRequest): Promise<AppendAnswer> {
    const copy = { ...request, records: Buffer.from(request.records) };
    const timeoutMs = (request.timeoutMs ?? callTimeoutMs) + 500;
    const lost = (): ProglogError =>
      new ProglogError("outcome-unknown", "The leader did not answer.");
    return this.#call(leader.rpcAddr, ({ log }) => log.produce(copy), { timeoutMs, lost });
  }

  async outcome(leader: LeaderHint, producer: Producer): Promise<AppendOutcome> {
    const timeoutMs = 10_000;
    return this.#call(leader.rpcAddr, ({ log }) => log.outcome(producer, { forwarded: true }), {
      timeoutMs,
    });
  }
}

/** Asks peers for segments. */
export function simulatedSegments(parts: CallParts): SegmentSource {
  const { network, host, process } = parts;
  return async (peer, request, signal) => {
    signal.throwIfAborted();
    const lost = (): ProglogError =>
      new ProglogError("unavailable", `${peer.name} did not answer.`);
    const caller = { host, process, timeoutMs: callTimeoutMs, lost };
    const { ref, data } = await network.call(caller, hostOf(peer.rpcAddr), async (endpoint) => {
      if (endpoint.self.id !== peer.id) throw lost();
      return (endpoint as CallEndpoint).core().replica.segment(request);
    });
    return { ref, data: Buffer.from(data) };
  };
}

/** Fetches snapshots from peers, a part a call. */
export function simulatedSnapshots(parts: CallParts): SnapshotSource {
  const { network, host, process } = parts;
  const lost = (): ProglogError => new ProglogError("unavailable", "The transfer broke.");
  const caller = { host, process, timeoutMs: callTimeoutMs, lost };
  return async function* fetch(peer, request, signal) {
    const at = hostOf(peer.rpcAddr);
    let served: AsyncGenerator<SnapshotPart, void, undefined> | undefined;
    const forget = process.onEnd(() => void served?.return());
    try {
      for (;;) {
        signal.throwIfAborted();
        const next = await network.call(caller, at, async (endpoint) => {
          if (endpoint.self.id !== peer.id) throw lost();
          served ??= (endpoint as CallEndpoint).core().replica.snapshot(request);
          return served.next();
        });
        if (next.done === true) return;
        yield copied(next.value);
      }
    } finally {
      forget();
      void served?.return();
    }
  };
}

function copied(part: SnapshotPart): SnapshotPart {
  if (part.kind === "checkpoint") return structuredClone(part);
  return { kind: "chunk", chunk: { ...part.chunk, data: Buffer.from(part.chunk.data) } };
}
