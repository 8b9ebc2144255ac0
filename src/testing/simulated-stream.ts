/**
 * A connection of a client to one life of a node, over the simulated network.
 *
 * It does what TCP and keepalive do for gRPC: what a link loses is sent again, nothing is done
 * twice or out of order, and after some seconds of silence the connection is held to be broken. A
 * node that was restarted is another one: what was asked of the old one never reaches it.
 */
import type { NodeCore } from "../agent/node-core.js";
import type { Clock } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { CallEndpoint } from "./simulated-calls.js";
import type { Endpoint, SimulatedNetwork } from "./simulated-network.js";
import type { SimulatedProcess } from "./simulated-process.js";

const resendMs = { least: 500, most: 2000 };
/** Silence after which a connection is broken. */
const silenceMsMax = 4000;

export interface StreamParts {
  readonly network: SimulatedNetwork;
  /** Where the client is. */
  readonly host: string;
  readonly process: SimulatedProcess;
}

/** The mark of a request or an answer that was lost on its way. */
const lost = new ProglogError("unavailable", "There was no answer.");

export class SimulatedStream {
  readonly #parts: StreamParts;
  readonly #to: string;
  #served: Endpoint | undefined;
  #resendMs = resendMs.least;
  /** Resolves when all that was asked before has begun at the node. */
  #begun: Promise<void> = Promise.resolve();

  /** @param to The node's host. */
  constructor(parts: StreamParts, to: string) {
    this.#parts = parts;
    this.#to = to;
  }

  /**
   * Does some work at the node, once, and after whatever was asked before has begun.
   *
   * @param work Must not reject: what fails at the node is an answer like others.
   * @throws ProglogError `unavailable` if the connection is broken; its cause says why.
   */
  async ask<T>(work: (core: NodeCore) => Promise<T>): Promise<T> {
    const { network, host, process } = this.#parts;
    const before = this.#begun;
    let begin: () => void = () => undefined;
    this.#begun = new Promise((resolve) => {
      begin = resolve;
    });
    let answer: Promise<T> | undefined;
    for (let silentMs = 0; ;) {
      const timeoutMs = this.#resendMs;
      const caller = { host, process, timeoutMs, lost: () => lost };
      try {
        const heard = await network.call(caller, this.#to, async (at) => {
          this.#served ??= at;
          if (this.#served !== at) throw new ProglogError("unavailable", "The node was restarted.");
          answer ??= before.then(() => {
            begin();
            return work((at as CallEndpoint).core());
          });
          return within(at.process, answer, timeoutMs / 2);
        });
        silentMs = 0;
        if (heard !== undefined) return heard.answer;
      } catch (error) {
        if (error !== lost) throw this.#broken(error);
        silentMs += timeoutMs;
        if (silentMs >= silenceMsMax) throw this.#broken(error);
        this.#resendMs = Math.min(2 * timeoutMs, resendMs.most);
      }
    }
  }

  #broken(cause: unknown): ProglogError {
    const why = ProglogError.from(cause).message;
    return new ProglogError("unavailable", `The node at ${this.#to} did not answer: ${why}`, {
      outcome: null,
      cause,
    });
  }
}

/** The answer; undefined if it takes longer: then the node lives, and is asked again. */
async function within<T>(
  clock: Clock,
  answer: Promise<T>,
  patienceMs: number,
): Promise<{ readonly answer: T } | undefined> {
  return new Promise((resolve) => {
    const timer = clock.setTimer(patienceMs, () => {
      resolve(undefined);
    });
    void answer.then((value) => {
      timer.cancel();
      resolve({ answer: value });
    });
  });
}
