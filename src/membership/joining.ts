/**
 * Asks members to take this node in, until one does.
 *
 * The addresses are asked in turn, looked up anew each time: a name may stand for many, and they
 * may change. A refusal that no retry can change (another cluster) ends it.
 */
import type { Clock } from "../common/clock.js";
import { sleep } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { Random } from "../common/random.js";
import { backoffMs } from "../common/random.js";
import type { Member } from "../raft/index.js";

export interface JoinParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly self: Member;
  readonly clusterId: string | null;
  /** Addresses as given; a name may stand for many nodes. */
  readonly addresses: () => readonly string[];
  /** All addresses that a given one stands for. */
  readonly resolve: (address: string) => Promise<readonly string[]>;
  readonly ask: (
    rpcAddr: string,
    request: { readonly clusterId: string | null; readonly member: Member },
  ) => Promise<Joined>;
  readonly logger: {
    info(fields: object, event: string): void;
    warn(fields: object, event: string): void;
  };
  readonly signal: AbortSignal;
}

const retry = Object.freeze({ baseMs: 100, maxMs: 2000 });

/** What a cluster says to a node that it has taken in. */
export interface Joined {
  readonly clusterId: string;
  readonly members: readonly Member[];
}

/**
 * Joins; resolves with the cluster's id and its members.
 *
 * @throws ProglogError wrong-cluster; the signal's reason if it aborts.
 */
export async function join(parts: JoinParts): Promise<Joined> {
  const { self, clusterId, logger, signal } = parts;
  for (let attempt = 0; ; attempt += 1) {
    for (const address of await allAddresses(parts)) {
      if (address === self.rpcAddr) continue;
      try {
        const receipt = await parts.ask(address, { clusterId, member: self });
        logger.info({ address, clusterId: receipt.clusterId }, "joined");
        return receipt;
      } catch (error) {
        const { code, message } = ProglogError.from(error);
        if (code === "wrong-cluster") throw error;
        // The first tries often come before the others have started: said once, not each time.
        if (attempt % 10 === 3) logger.warn({ address, code, error: message }, "join-refused");
      }
      signal.throwIfAborted();
    }
    await sleep(parts.clock, 20 + backoffMs(parts.random, attempt, retry), signal);
  }
}

async function allAddresses(parts: JoinParts): Promise<string[]> {
  const all = new Set<string>();
  for (const address of parts.addresses()) {
    for (const resolved of await parts.resolve(address)) all.add(resolved);
  }
  return [...all];
}
