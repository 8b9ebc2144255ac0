/**
 * The cluster's own affairs, as a client asks for them: who is in it, who comes, goes and leads.
 *
 * Any node answers and asks the leader where it must; the leader is asked first all the same, and
 * a node that names another one is believed. A change is sent again only while it is certain that
 * none was made: whoever hears `outcome-unknown` looks at the members before asking again.
 */
import type { Clock } from "../common/clock.js";
import { sleep } from "../common/clock.js";
import type { LeaderHint } from "../common/errors.js";
import { ProglogError } from "../common/errors.js";
import type { Random } from "../common/random.js";
import { backoffMs } from "../common/random.js";
import type {
  AddMemberResponse,
  GetStatusResponse,
  PromoteMemberResponse,
  RemoveMemberResponse,
  TransferLeaderResponse,
} from "../gen/cluster/v1/cluster.js";
import { isAddress } from "./address.js";
import type { CallLimits, Channels, NodeChannel } from "./channel.js";
import type { Operation, Operations } from "./operations.js";
import { unlessAborted } from "./operations.js";
import type { Servers } from "./servers.js";

/** A member of the cluster, as GET /cluster shows it. */
export interface MemberStatus {
  readonly id: string;
  readonly name: string;
  readonly role: "leader" | "follower" | "learner";
  readonly voter: boolean;
  readonly rpcAddr: string;
  readonly httpAddr: string;
  readonly alive: boolean;
  /** null where only the leader knows and it was not asked. */
  readonly matchIndex: number | null;
  /** Entries behind the leader's commit index. */
  readonly lag: number | null;
  readonly lastContactMs: number | null;
}

/** The body of GET /cluster. */
export interface ClusterStatus {
  readonly clusterId: string | null;
  /** Who answered. */
  readonly node: { readonly id: string; readonly name: string };
  readonly term: number;
  readonly leader: LeaderHint | null;
  readonly quorum: boolean;
  readonly readOnly: boolean;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly startOffset: number;
  readonly endOffset: number;
  /** `local`: the node that answered knows no leader and tells what it knows itself. */
  readonly source: "leader" | "local";
  readonly members: readonly MemberStatus[];
}

/** A node that was taken in. */
export type AddedMember = Pick<MemberStatus, "id" | "name" | "rpcAddr" | "httpAddr">;

export interface AdminOptions {
  readonly signal?: AbortSignal | undefined;
  /** How long this is tried; default `readTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
}

export interface AdminParts {
  readonly servers: Servers;
  readonly channels: Channels;
  readonly operations: Operations;
  readonly clock: Clock;
  readonly random: Random;
  readonly timeoutMs: number;
}

type Ask<T> = (channel: NodeChannel, limits: CallLimits) => Promise<T>;

const backoff = { baseMs: 25, maxMs: 1000 };
/** One try of a question: the first is short, in case the node hangs. */
const tryMs = { baseMs: 1000, maxMs: 8000 };

/** Refusals that another node, or a later time, may turn. */
const passing: ReadonlySet<string> = new Set([
  "not-leader",
  "no-leader",
  "no-quorum",
  "unavailable",
  "overloaded",
]);

export class ClusterAdmin {
  readonly #parts: AdminParts;

  constructor(parts: AdminParts) {
    this.#parts = parts;
  }

  /**
   * The cluster as the leader sees it, or, while there is none, as some node does.
   *
   * @throws ProglogError `unavailable` if no node answers in time; the signal's reason.
   */
  async status(options: AdminOptions = {}): Promise<ClusterStatus> {
    return this.#try("read", options, async (channel, limits) => {
      const { json } = await channel.askCluster<GetStatusResponse>(
        (cluster, answer) => cluster.getStatus({}, answer),
        limits,
        "read",
      );
      return parseStatus(json);
    });
  }

  /**
   * Takes in the node that answers at an rpc address, as a learner. One that is a member already
   * stays as it is.
   *
   * @throws ProglogError `member-unreachable`, `wrong-cluster`, `unsafe-change`, and what lasts
   *   for `timeoutMs`; the signal's reason.
   */
  async addMember(rpcAddr: string, options: AdminOptions = {}): Promise<AddedMember> {
    if (!isAddress(rpcAddr)) {
      throw new ProglogError("invalid-request", `${JSON.stringify(rpcAddr)} is not host:port.`);
    }
    return this.#try("write", options, async (channel, limits) => {
      const { member } = await channel.askCluster<AddMemberResponse>(
        (cluster, answer) => cluster.addMember({ rpcAddr }, answer),
        limits,
        "write",
      );
      if (member === undefined) {
        throw new ProglogError("outcome-unknown", "The node answered without the member.");
      }
      const { id, name, httpAddr } = member;
      return { id, name, rpcAddr: member.rpcAddr, httpAddr };
    });
  }

  /** Takes a member out. @throws ProglogError `unknown-member`, `unsafe-change`, … */
  async removeMember(id: string, options: AdminOptions = {}): Promise<void> {
    await this.#try("write", options, async (channel, limits) => {
      await channel.askCluster<RemoveMemberResponse>(
        (cluster, answer) => cluster.removeMember({ id }, answer),
        limits,
        "write",
      );
    });
  }

  /** Makes a learner that has caught up a voter. @throws ProglogError `unsafe-change`, … */
  async promoteMember(id: string, options: AdminOptions = {}): Promise<void> {
    await this.#try("write", options, async (channel, limits) => {
      await channel.askCluster<PromoteMemberResponse>(
        (cluster, answer) => cluster.promoteMember({ id }, answer),
        limits,
        "write",
      );
    });
  }

  /**
   * Hands leadership to a voter; resolves when it leads.
   *
   * @param id undefined: to whoever is furthest.
   * @throws ProglogError `unknown-member`, `unsafe-change`, …
   */
  async transferLeader(id: string | undefined, options: AdminOptions = {}): Promise<void> {
    await this.#try("write", options, async (channel, limits) => {
      await channel.askCluster<TransferLeaderResponse>(
        (cluster, answer) => cluster.transferLeader({ id: id ?? "" }, answer),
        limits,
        "write",
      );
    });
  }

  /** Asks one node after the other. @throws ProglogError; the signal's reason. */
  async #try<T>(kind: "read" | "write", options: AdminOptions, ask: Ask<T>): Promise<T> {
    const { operations, clock, random } = this.#parts;
    const { timeoutMs = this.#parts.timeoutMs } = options;
    const operation = operations.begin(options.signal);
    const deadlineMs = clock.now() + timeoutMs;
    let last: ProglogError | undefined;
    try {
      for (let attempt = 0; ; attempt += 1) {
        const leftMs = deadlineMs - clock.now();
        if (leftMs <= 0) throw last ?? this.#noAnswer();
        if (!(await this.#learn(attempt, leftMs, operation))) {
          last = this.#noAnswer();
          await sleep(clock, backoffMs(random, attempt, backoff), operation.signal);
          continue;
        }
        try {
          const mostMs = Math.max(1, deadlineMs - clock.now());
          const shortMs = Math.min(tryMs.maxMs, tryMs.baseMs * 2 ** Math.min(attempt, 10));
          const tryTimeoutMs = kind === "read" ? Math.min(mostMs, shortMs) : mostMs;
          return await this.#ask(ask, { timeoutMs: tryTimeoutMs, signal: operation.signal });
        } catch (error) {
          operation.signal.throwIfAborted();
          if (!(error instanceof ProglogError) || !isPassing(error)) throw error;
          last = error;
        }
        if (attempt > 0) await sleep(clock, backoffMs(random, attempt, backoff), operation.signal);
      }
    } finally {
      operation.end();
    }
  }

  /**
   * Finds out who leads, unless that is known; no longer than there is time.
   *
   * @returns False if no node answered.
   */
  async #learn(attempt: number, leftMs: number, { signal }: Operation): Promise<boolean> {
    const { servers, clock } = this.#parts;
    if (attempt === 0 && servers.leader !== undefined && !servers.isStale) return true;
    const late = new AbortController();
    const timer = clock.setTimer(leftMs, () => late.abort(this.#noAnswer()));
    try {
      return await unlessAborted(servers.refresh(), AbortSignal.any([signal, late.signal]));
    } finally {
      timer.cancel();
    }
  }

  async #ask<T>(ask: Ask<T>, limits: CallLimits): Promise<T> {
    const { servers, channels } = this.#parts;
    const address = servers.writeTarget();
    try {
      const answer = await ask(channels.to(address), limits);
      servers.succeeded(address);
      return answer;
    } catch (error) {
      if (error instanceof ProglogError) {
        if (error.leader !== undefined) servers.learnLeader(error.leader);
        else if (error.code === "unavailable") servers.failed(address);
      }
      throw error;
    }
  }

  #noAnswer(): ProglogError {
    const all = this.#parts.servers.addresses().join(", ");
    return new ProglogError("unavailable", `No node answers at ${all}.`);
  }
}

function isPassing(error: ProglogError): boolean {
  return passing.has(error.code) && error.outcome !== "unknown";
}

/** @throws ProglogError `unavailable` if the text is not a status: the node is not ours. */
function parseStatus(json: string): ClusterStatus {
  let status: unknown;
  try {
    status = JSON.parse(json);
  } catch (error) {
    throw new ProglogError("unavailable", "The node's status is not JSON.", { cause: error });
  }
  if (typeof status !== "object" || status === null || !("members" in status)) {
    throw new ProglogError("unavailable", "The node's status has no members.");
  }
  return status as ClusterStatus;
}
