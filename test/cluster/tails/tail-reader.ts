/**
 * A reader of one surface that keeps all it was given, and goes from node to node for ever.
 */
import type { NodeProcess } from "../harness.js";
import { briefly } from "../poll.js";
import { clients, surfaces } from "./surfaces.js";
import type { Follow, Following, Seen } from "./surfaces.js";

export interface TailReader {
  readonly name: string;
  readonly seen: readonly Seen[];
  /** Streams that broke, if that can be told. */
  readonly breaks: number;
  /** Ends it, and says whether anything but a broken stream ended it before. */
  end(): Promise<void>;
}

/** One reader of each client, and `perSurface` of each surface, each first on another node. */
export function readersOf(
  nodes: readonly NodeProcess[],
  from: number,
  perSurface: number,
): TailReader[] {
  const readers: TailReader[] = [];
  for (const [name, follow] of Object.entries(surfaces)) {
    for (let at = 0; at < perSurface; at += 1) {
      readers.push(new RawReader(`${name} ${at}`, follow, { nodes, from, at }));
    }
  }
  for (const [name, make] of Object.entries(clients)) {
    readers.push(new ClientReader(name, make(nodes), from));
  }
  return readers;
}

interface Place {
  readonly nodes: readonly NodeProcess[];
  readonly from: number;
  /** The number of the node that is asked first. */
  readonly at: number;
}

class RawReader implements TailReader {
  readonly name: string;
  readonly seen: Seen[] = [];
  breaks = 0;
  readonly #over = new AbortController();
  readonly #loop: Promise<void>;

  constructor(name: string, follow: Follow, place: Place) {
    this.name = name;
    this.#loop = this.#run(follow, place);
    // Heard at the end; until then a reader that stands still is seen by what it lacks.
    this.#loop.catch(() => undefined);
  }

  async end(): Promise<void> {
    this.#over.abort();
    await this.#loop;
  }

  async #run(follow: Follow, { nodes, from, at }: Place): Promise<void> {
    const { signal } = this.#over;
    for (let visit = at; !signal.aborted; visit += 1) {
      const node = nodes[visit % nodes.length];
      if (node === undefined) throw new Error("there are no nodes");
      const last = this.seen.at(-1);
      const next = last === undefined ? from : last.offset + 1;
      const take = (record: Seen): void => {
        this.seen.push(record);
      };
      // A node that is not there is no fault: the next one is asked.
      await follow({ node, next, from, signal, take }).catch(() => undefined);
      if (signal.aborted) return;
      this.breaks += 1;
      await briefly(20);
    }
  }
}

class ClientReader implements TailReader {
  readonly name: string;
  readonly seen: Seen[] = [];
  readonly breaks = 0;
  readonly #following: Following;
  readonly #failure: Promise<unknown>;
  #isOver = false;

  constructor(name: string, following: Following, from: number) {
    this.name = name;
    this.#following = following;
    const loop = following.run(from, (record) => {
      this.seen.push(record);
    });
    this.#failure = loop.then(
      () => new Error("the loop ended"),
      (error: unknown) => (this.#isOver ? undefined : error),
    );
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#following.end();
    const failure = await this.#failure;
    if (failure !== undefined) throw new Error(`${this.name} failed`, { cause: failure });
  }
}
