/**
 * Waits for entries to be durable on this node's own disk: a checkpoint names none that is not.
 *
 * Invariant: every wait ends: when its entry is durable, or when the log takes no more.
 */

interface Wait {
  readonly index: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class DurableWaits {
  readonly #durableIndex: () => number;
  #waits: Wait[] = [];
  #isAllDurable = false;
  #isClosed = false;

  /** @param durableIndex The last entry that is durable, as the core knows it. */
  constructor(durableIndex: () => number) {
    this.#durableIndex = durableIndex;
  }

  /** Resolves when the entry is durable; rejects if it never will be. */
  async until(index: number): Promise<void> {
    if (this.#isDurable(index)) return;
    if (this.#isClosed) throw new Error("the node stops");
    await new Promise<void>((resolve, reject) => {
      this.#waits.push({ index, resolve, reject });
    });
  }

  #isDurable(index: number): boolean {
    return this.#isAllDurable || index <= this.#durableIndex();
  }

  /** The durable index may have grown. */
  wake(): void {
    const left: Wait[] = [];
    for (const wait of this.#waits) {
      if (this.#isDurable(wait.index)) wait.resolve();
      else left.push(wait);
    }
    this.#waits = left;
  }

  /**
   * Says that all that anybody can wait for is durable, or no more. A core that holds a snapshot's
   * log already tells nothing of the log before it.
   */
  setAllDurable(isAllDurable: boolean): void {
    this.#isAllDurable = isAllDurable;
    this.wake();
  }

  /** The Raft log takes no more: what is not durable now never will be. */
  close(): void {
    this.#isClosed = true;
    for (const { reject } of this.#waits) reject(new Error("the node stops"));
    this.#waits = [];
  }
}
