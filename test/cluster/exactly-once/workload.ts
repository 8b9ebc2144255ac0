/**
 * Writers that send each append as four copies at once, to different nodes and in different forms,
 * and go on with each copy until it has an answer that nothing can change.
 *
 * Wherever an outcome is unknown a random node is asked for it, before the copy is sent again or
 * after. Invariants: a writer begins an append when all copies of the one before are settled, so
 * the newest five of a producer are those that nodes remember; all that was sent is in the history.
 */
import { performance } from "node:perf_hooks";

import { HistoryRecorder } from "../../history/history.js";
import type { Chance } from "../../history/random.js";
import { briefly, until } from "../poll.js";
import { askOutcome, formsOf, historyProducer, nameOf, send } from "./append.js";
import type { Append, Form, Identity, Outcome, Place, Told } from "./append.js";
import type { Front } from "./fronts.js";

const copyCount = 4;
/** Sequences of one producer that nodes remember. */
export const rememberedCount = 5;
/** Longest wait for an answer that counts: longer than any fault, with the elections after it. */
const settledWithinMs = 60_000;

/** What all copies were told in the end: where it is, or that it never will be. */
type Settled = Exclude<Outcome, { readonly type: "forgotten" }>;

/** An append that is over. */
export interface SettledAppend {
  readonly append: Append;
  readonly outcome: Settled;
  /** How many of its copies were told that their outcome is unknown. */
  readonly unknownCount: number;
  /** True if the answer of the copy that was applied reached nobody: all others are repeats. */
  readonly isUnheard: boolean;
}

/** An append whose copies are under way. */
interface Underway {
  readonly append: Append;
  readonly client: string;
  /** Its attempts in the history that have said nothing sure. */
  readonly unsure: { readonly attempt: number; readonly returnedAt: number }[];
  unknownCount: number;
  firstCount: number;
}

/** What a writer sends: how its appends are named, and what they hold. */
interface Habit {
  readonly identity: (nth: number) => Identity;
  readonly values: (nth: number) => readonly string[];
}

export class CopiesWorkload {
  readonly recorder = new HistoryRecorder();
  /** In the order in which they were settled. */
  readonly settled: SettledAppend[] = [];
  /** Why copies had to be sent again. */
  readonly reasons = new Map<string, number>();
  copyCount = 0;
  outcomeCount = 0;
  readonly #fronts: readonly Front[];
  readonly #chance: Chance;
  #isOver = false;
  #loops: Promise<void>[] = [];

  constructor(fronts: readonly Front[], chance: Chance) {
    this.#fronts = fronts;
    this.#chance = chance;
  }

  start(): void {
    const long = (id: string): Habit => ({
      identity: (nth) => ({ kind: "producer", id, sequence: nth * 2 }),
      values: (nth) => [`${id} ${nth} `.padEnd(this.#chance.below(6_000), ".")],
    });
    const short = (id: string, batch = 1): Habit => ({
      identity: (nth) => {
        // None has more appends than are remembered: each can be repeated for ever.
        const name = `${id}-${Math.floor(nth / rememberedCount)}`;
        return { kind: "producer", id: name, sequence: nth % rememberedCount };
      },
      values: (nth) => Array.from({ length: batch }, (_, at) => `${id} ${nth} ${at}`),
    });
    const keyed = (id: string): Habit => ({
      identity: (nth) => ({ kind: "key", key: `${id} ${nth}` }),
      values: (nth) => [`${id} ${nth}`],
    });
    const habits = [
      ...[long("long-0"), long("long-1"), short("short-0"), short("short-1")],
      ...[short("batch-0", 3), keyed("keyed-0"), keyed("keyed-1"), keyed("keyed-2")],
    ];
    this.#loops = habits.map(async (habit, at) => this.#write(`writer-${at}`, habit));
    // Who waits for the end hears of it; until then a failure is nobody's.
    for (const loop of this.#loops) loop.catch(() => undefined);
  }

  /** Waits until so many more appends are settled. */
  async untilMore(count: number): Promise<void> {
    const goal = this.settled.length + count;
    await until(`${count} more settled appends`, async () => {
      if (this.settled.length >= goal) return true;
      throw new Error(`${this.settled.length} of ${goal}`);
    });
  }

  /** Lets the writers finish what they have begun. @throws what a writer failed with. */
  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#loops);
  }

  async #write(client: string, { identity, values }: Habit): Promise<void> {
    for (let nth = 0; !this.#isOver; nth += 1) {
      await this.settle(client, { identity: identity(nth), values: values(nth) });
      await briefly(this.#chance.below(30));
    }
  }

  /**
   * Sends four copies of an append, each until it has its answer.
   *
   * @throws Error if the copies are not told the same.
   */
  async settle(client: string, append: Append): Promise<SettledAppend> {
    const underway = { append, client, unsure: [], unknownCount: 0, firstCount: 0 };
    const fronts = this.#chance.shuffled(this.#fronts);
    const told = await Promise.all(
      Array.from({ length: copyCount }, async (_, at) => {
        return this.#insist(underway, fronts[at % fronts.length] ?? this.#anyFront());
      }),
    );
    if (underway.unknownCount > 0) told.push(await this.#ask(underway));
    const [outcome] = told;
    if (outcome === undefined) throw new Error("there are copies");
    expectEqual(append, told);
    if (underway.firstCount > 1)
      throw new Error(`${nameOf(append)} was twice told to be the first`);
    this.#endUnsure(underway, outcome);
    const { unknownCount, firstCount } = underway;
    const isUnheard = outcome.type === "placed" && firstCount === 0;
    const settled = { append, outcome, unknownCount, isUnheard };
    this.settled.push(settled);
    return settled;
  }

  /** What never was applied was rejected, whatever its attempts could tell. */
  #endUnsure({ unsure }: Underway, { type }: Settled): void {
    if (type !== "never") return;
    for (const { attempt, returnedAt } of unsure) {
      this.recorder.endAppend(attempt, { returnedAt, outcome: { type: "rejected" } });
    }
  }

  #anyFront(): Front {
    return this.#chance.of(this.#fronts);
  }

  #anyForm(append: Append): Form {
    return this.#chance.of(formsOf(append));
  }

  /** Sends one copy until it is told what cannot change, here and there. */
  async #insist(underway: Underway, first: Front): Promise<Settled> {
    const { append } = underway;
    const deadlineMs = performance.now() + settledWithinMs;
    for (let front = first; ; front = this.#anyFront()) {
      const told = await this.#attempt(underway, front);
      if (told.type === "placed") return { type: "placed", place: told.place };
      if (told.type === "refused") return { type: "never" };
      this.reasons.set(told.why, (this.reasons.get(told.why) ?? 0) + 1);
      if (told.type === "unknown") {
        underway.unknownCount += 1;
        if (this.#chance.is(0.5)) {
          const outcome = await this.#ask(underway);
          // What was said of it has to hold for a copy that comes after.
          if (this.#chance.is(0.5)) return outcome;
        }
      }
      if (performance.now() > deadlineMs) {
        throw new Error(`${nameOf(append)} has no answer; last: ${JSON.stringify(told)}`);
      }
      await briefly(10 + this.#chance.below(90));
    }
  }

  async #attempt(underway: Underway, front: Front): Promise<Told> {
    const { append, client } = underway;
    const { identity, values } = append;
    const invokedAt = performance.now();
    const producer = historyProducer(identity);
    const attempt = this.recorder.beginAppend({ client, values, invokedAt, producer });
    this.copyCount += 1;
    const told = await send(front, append, this.#anyForm(append));
    const returnedAt = performance.now();
    if (told.type === "placed") {
      if (!told.isDuplicate) underway.firstCount += 1;
      const outcome = { type: "ok", offset: told.place.offset } as const;
      this.recorder.endAppend(attempt, { returnedAt, outcome });
    } else if (told.type === "unknown") {
      underway.unsure.push({ attempt, returnedAt });
      this.recorder.endAppend(attempt, { returnedAt, outcome: { type: "unknown" } });
    } else this.recorder.endAppend(attempt, { returnedAt, outcome: { type: "rejected" } });
    return told;
  }

  /** Asks random nodes until one can tell what became of an append, and notes it. */
  async #ask({ append, client }: Underway): Promise<Settled> {
    const { identity, values } = append;
    const producer = historyProducer(identity);
    const invokedAt = performance.now();
    const options = { timeoutMs: settledWithinMs };
    const ask = async (): Promise<Outcome> =>
      askOutcome(this.#anyFront(), append, this.#anyForm(append));
    const outcome = await until(`the outcome of ${nameOf(append)}`, ask, options);
    if (outcome.type === "forgotten") throw new Error(`${nameOf(append)} is forgotten`);
    this.outcomeCount += 1;
    if (outcome.type === "placed") {
      // An answer like any other: the checker holds the log to it.
      const attempt = this.recorder.beginAppend({ client, values, invokedAt, producer });
      const returnedAt = performance.now();
      const { offset } = outcome.place;
      this.recorder.endAppend(attempt, { returnedAt, outcome: { type: "ok", offset } });
    }
    return outcome;
  }
}

function expectEqual(append: Append, told: readonly Settled[]): void {
  const texts = new Set(told.map((outcome) => textOf(outcome)));
  if (texts.size > 1) throw new Error(`${nameOf(append)} was told ${[...texts].join(" and ")}`);
}

/** An outcome as text, for comparing. */
export function textOf(outcome: Outcome): string {
  if (outcome.type !== "placed") return outcome.type;
  const { offset, count, timestampMs }: Place = outcome.place;
  return `${offset} to ${offset + count - 1} at ${timestampMs}`;
}
