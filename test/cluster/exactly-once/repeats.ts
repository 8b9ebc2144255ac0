/**
 * Sends again what is settled, and asks again: whoever is asked, and wherever that node has its
 * state from, the answer is the one of the first time, and the log does not grow.
 */
import { expect } from "vitest";

import { until } from "../poll.js";
import { askOutcome, formsOf, historyProducer, nameOf, send } from "./append.js";
import type { Append, Outcome } from "./append.js";
import type { Front } from "./fronts.js";
import { rememberedCount, textOf } from "./workload.js";
import type { SettledAppend } from "./workload.js";

/** How many are looked at, at once. */
const atOnce = 8;

/** Those that nodes need not remember: a producer has appended five times since. */
function forgottenOf(settled: readonly SettledAppend[]): ReadonlySet<SettledAppend> {
  const counts = new Map<string, number>();
  const forgotten = new Set<SettledAppend>();
  for (const each of [...settled].reverse()) {
    const { id } = historyProducer(each.append.identity);
    const count = counts.get(id) ?? 0;
    if (count >= rememberedCount) forgotten.add(each);
    counts.set(id, count + 1);
  }
  return forgotten;
}

/**
 * Those worth repeating: all that were ever of unknown outcome, and some of the others.
 *
 * @param countMax Of each kind.
 */
export function chosenOf(settled: readonly SettledAppend[], countMax: number): Repeat[] {
  const forgotten = forgottenOf(settled);
  const isOdd = ({ unknownCount, outcome }: SettledAppend): boolean =>
    unknownCount > 0 || outcome.type === "never";
  const newest = [...settled].reverse();
  return [
    ...newest.filter(isOdd).slice(0, countMax),
    ...newest.filter((each) => !isOdd(each)).slice(0, countMax),
  ].map((each) => ({ ...each, isForgotten: forgotten.has(each) }));
}

/** An append to be sent again. */
export interface Repeat extends SettledAppend {
  readonly isForgotten: boolean;
}

/** Sends copies of each to all the nodes, and asks each of them, in all forms. */
export async function expectRepeats(
  fronts: readonly Front[],
  repeats: readonly Repeat[],
): Promise<void> {
  const before = await endOf(fronts);
  const waiting = [...repeats];
  const work = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      await expectRepeat(fronts, next);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  expect(await endOf(fronts)).toBe(before);
}

async function expectRepeat(fronts: readonly Front[], repeat: Repeat): Promise<void> {
  const { append, outcome, isForgotten } = repeat;
  const first = textOf(outcome);
  await Promise.all(
    fronts.map(async (front, at) => {
      const forms = formsOf(append);
      const form = forms[at % forms.length] ?? "json";
      const repeated = await told(front, append, form);
      // What never was is refused like what is forgotten: there is no place to tell.
      const isPlaced = outcome.type === "placed" && !isForgotten;
      expect(repeated, nameOf(append)).toBe(isPlaced ? `again ${first}` : "refused");
      const asked = await until(`the outcome by ${front.node.name}`, async () =>
        askOutcome(front, append, form),
      );
      expect(textOf(asked), nameOf(append)).toBe(isForgotten ? "forgotten" : first);
    }),
  );
}

/** What a repeat is told once it is told something sure. */
async function told(
  front: Front,
  append: Append,
  form: Parameters<typeof send>[2],
): Promise<string> {
  return until(`an answer by ${front.node.name}`, async () => {
    const answer = await send(front, append, form);
    if (answer.type === "refused") return answer.type;
    if (answer.type !== "placed") throw new Error(answer.why);
    const outcome: Outcome = { type: "placed", place: answer.place };
    return `${answer.isDuplicate ? "again" : "first"} ${textOf(outcome)}`;
  });
}

/** Where the log ends, as a node says that has heard the leader. */
async function endOf([front]: readonly Front[]): Promise<number> {
  if (front === undefined) throw new Error("there is no node");
  return until("the log's end", async () => {
    const answer = await fetch(`${front.node.httpUrl}/Data?from=latest`, {
      signal: AbortSignal.timeout(5_000),
    });
    if (answer.status !== 200) throw new Error(await answer.text());
    return ((await answer.json()) as { endOffset: number }).endOffset;
  });
}
