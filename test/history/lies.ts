/**
 * One change for each kind of lie, to be made to a true history.
 *
 * A lie names the kind of violation that must be found. It returns undefined where the history
 * offers no place for it. `pick` decides among several places.
 */
import type { AppendAttempt, FinalLog, History, ReadOperation } from "./history.js";
import type { ViolationKind } from "./violations.js";

export interface Lie {
  readonly name: string;
  readonly kind: ViolationKind;
  readonly tell: (history: History, pick: Pick) => History | undefined;
}

export type Pick = <T>(items: readonly T[]) => T | undefined;

function valuesOf(history: History): string[] {
  return (history.logs[0]?.records ?? []).map((record) => record.value);
}

function withLog(history: History, values: readonly string[]): History {
  const records = values.map((value, offset) => ({ offset, value }));
  return { ...history, logs: history.logs.map(({ node }) => ({ node, records })) };
}

function withNode(history: History, change: (log: FinalLog) => FinalLog): History {
  return { ...history, logs: history.logs.map((log, at) => (at === 1 ? change(log) : log)) };
}

function withAppend(history: History, change: AppendAttempt): History {
  const appends = history.appends.map((append) =>
    append.attempt === change.attempt ? change : append,
  );
  return { ...history, appends };
}

function withRead(history: History, old: ReadOperation, change: Partial<ReadOperation>): History {
  const reads = history.reads.map((read) => (read === old ? { ...read, ...change } : read));
  return { ...history, reads };
}

function acknowledged(history: History): { append: AppendAttempt; offset: number }[] {
  return history.appends.flatMap((append) =>
    append.outcome.type === "ok" ? [{ append, offset: append.outcome.offset }] : [],
  );
}

/** Whether a value of the attempt is in the log. */
function isHeld(history: History, { values }: AppendAttempt): boolean {
  return valuesOf(history).some((value) => values.includes(value));
}

/** Those of which there is no other attempt. */
function lonely(history: History, type: "ok" | "unknown" | "rejected"): AppendAttempt[] {
  return history.appends.filter(
    ({ outcome, producer }) => outcome.type === type && producer === undefined,
  );
}

/** How far the log was known to reach before a time. */
function knownBefore(history: History, at: number): number {
  let end = 0;
  for (const { append, offset } of acknowledged(history)) {
    if (append.returnedAt < at) end = Math.max(end, offset + append.values.length);
  }
  for (const { result, returnedAt } of history.reads) {
    if (returnedAt >= at) continue;
    end = Math.max(
      end,
      result.type === "hit" ? result.offset + result.values.length : result.endOffset,
    );
  }
  return end;
}

const liesAboutLogs: Lie[] = [
  {
    name: "an acknowledged record is lost with all after it",
    kind: "lost",
    tell: (history, pick) => {
      const found = pick(acknowledged(history));
      return found && withLog(history, valuesOf(history).slice(0, found.offset));
    },
  },
  {
    name: "an acknowledged record is changed on every node",
    kind: "lost",
    tell: (history, pick) => {
      const found = pick(acknowledged(history));
      return found && withLog(history, valuesOf(history).with(found.offset, "changed"));
    },
  },
  {
    name: "an acknowledgement names another offset",
    kind: "lost",
    tell: (history, pick) => {
      const found = pick(acknowledged(history));
      if (found === undefined) return undefined;
      const outcome = { type: "ok", offset: found.offset + 1 } as const;
      return withAppend(history, { ...found.append, outcome });
    },
  },
  {
    name: "one node holds another value",
    kind: "divergence",
    tell: (history, pick) => {
      const at = pick([...valuesOf(history).keys()]);
      if (at === undefined) return undefined;
      return withNode(history, (log) => ({
        ...log,
        records: log.records.with(at, { offset: at, value: "other" }),
      }));
    },
  },
  {
    name: "one node lacks its last record and claims to be level",
    kind: "behind",
    tell: (history) => withNode(history, (log) => ({ ...log, records: log.records.slice(0, -1) })),
  },
  {
    name: "one node skips an offset",
    kind: "gap",
    tell: (history, pick) => {
      const at = pick([...valuesOf(history).keys()].slice(0, -1));
      if (at === undefined) return undefined;
      return withNode(history, (log) => ({ ...log, records: log.records.toSpliced(at, 1) }));
    },
  },
  {
    name: "the log holds what nobody sent",
    kind: "stranger",
    tell: (history) => withLog(history, [...valuesOf(history), "of nobody"]),
  },
];

const liesAboutWrites: Lie[] = [
  {
    name: "a record is there twice",
    kind: "duplicate",
    tell: (history, pick) => {
      const value = pick(valuesOf(history));
      return value === undefined ? undefined : withLog(history, [...valuesOf(history), value]);
    },
  },
  {
    name: "a retry of a producer is applied again",
    kind: "duplicate",
    tell: (history, pick) => {
      const made = acknowledged(history).filter(({ append }) => append.producer !== undefined);
      const found = pick(made);
      return found && withLog(history, [...valuesOf(history), ...found.append.values]);
    },
  },
  {
    name: "a rejected write is applied",
    kind: "rejected-applied",
    tell: (history, pick) => {
      const found = pick(lonely(history, "rejected"));
      return found && withLog(history, [...valuesOf(history), ...found.values]);
    },
  },
  {
    name: "a batch is applied in part",
    kind: "torn-batch",
    tell: (history, pick) => {
      const open = lonely(history, "unknown").filter((append) => !isHeld(history, append));
      const found = pick(open.filter((append) => append.values.length > 1));
      return found && withLog(history, [...valuesOf(history), ...found.values.slice(0, 1)]);
    },
  },
  {
    name: "a conditional append is applied elsewhere",
    kind: "condition",
    tell: (history, pick) => {
      const found = pick(acknowledged(history));
      if (found === undefined) return undefined;
      const { producer } = found.append;
      if (producer !== undefined) return undefined;
      return withAppend(history, { ...found.append, expectedOffset: found.offset + 1 });
    },
  },
  {
    name: "a retry is answered with another offset",
    kind: "unequal-answers",
    tell: (history, pick) => {
      const found = pick(acknowledged(history).filter(({ append }) => append.producer));
      if (found === undefined) return undefined;
      const again: AppendAttempt = {
        ...found.append,
        attempt: history.appends.length,
        invokedAt: found.append.returnedAt,
        returnedAt: found.append.returnedAt + 1,
        outcome: { type: "ok", offset: found.offset + 1 },
      };
      return { ...history, appends: [...history.appends, again] };
    },
  },
  {
    name: "a producer's writes change places",
    kind: "producer-order",
    tell: (history, pick) => {
      const found = pick(acknowledged(history).filter(({ append }) => append.producer));
      const producer = found?.append.producer;
      if (producer === undefined) return undefined;
      const isOther = ({ append }: { append: AppendAttempt }): boolean =>
        append.producer?.id === producer.id && append.producer.sequence !== producer.sequence;
      const other = pick(acknowledged(history).filter(isOther))?.append.producer;
      if (other === undefined) return undefined;
      const appends = history.appends.map((append) => {
        if (append.producer?.id !== producer.id) return append;
        const { sequence } = append.producer;
        if (sequence === producer.sequence) return { ...append, producer: other };
        return sequence === other.sequence ? { ...append, producer } : append;
      });
      return { ...history, appends };
    },
  },
];

const liesAboutTime: Lie[] = [
  {
    name: "an earlier record was sent after a later one was acknowledged",
    kind: "real-time",
    tell: (history, pick) => {
      const last = acknowledged(history).reduce((a, b) => (a.offset > b.offset ? a : b));
      const earlier = lonely(history, "ok").filter(
        (append) => append.outcome.type === "ok" && append.outcome.offset < last.offset,
      );
      const found = pick(earlier);
      const invokedAt = last.append.returnedAt + 1;
      return found && withAppend(history, { ...found, invokedAt, returnedAt: invokedAt + 1 });
    },
  },
  {
    name: "a record is read before it was sent",
    kind: "real-time",
    tell: (history, pick) => {
      const found = pick(lonely(history, "ok"));
      if (found?.outcome.type !== "ok") return undefined;
      const { offset } = found.outcome;
      const times = { invokedAt: found.invokedAt - 2, returnedAt: found.invokedAt - 1 };
      const result = { type: "hit", offset, values: found.values } as const;
      const base = { client: "r", node: "n1", consistency: "local" } as const;
      const read: ReadOperation = { ...base, ...times, from: offset, result };
      return { ...history, reads: [...history.reads, read] };
    },
  },
  {
    name: "a linearizable miss overlooks what was known before it",
    kind: "stale-read",
    tell: (history, pick) => {
      const known = history.reads
        .filter((read) => read.result.type === "miss" && read.consistency === "linearizable")
        .map((read) => ({ read, end: knownBefore(history, read.invokedAt) }));
      const found = pick(known.filter(({ end }) => end > 0));
      if (found === undefined) return undefined;
      return withRead(history, found.read, { result: { type: "miss", endOffset: found.end - 1 } });
    },
  },
  {
    name: "a read sees an end that was taken back",
    kind: "wrong-read",
    tell: (history, pick) => {
      const found = pick(history.reads.filter((read) => read.result.type === "miss"));
      const endOffset = valuesOf(history).length + 1;
      return found && withRead(history, found, { from: 1e6, result: { type: "miss", endOffset } });
    },
  },
  {
    name: "a read gives another value",
    kind: "wrong-read",
    tell: (history, pick) => {
      const found = pick(history.reads.filter((read) => read.result.type === "hit"));
      if (found?.result.type !== "hit") return undefined;
      const values = found.result.values.with(-1, "another");
      return withRead(history, found, { result: { ...found.result, values } });
    },
  },
  {
    name: "a read misses what lies below the end that it gives",
    kind: "wrong-read",
    tell: (history, pick) => {
      const found = pick(
        history.reads.filter(({ result }) => result.type === "miss" && result.endOffset > 0),
      );
      return found && withRead(history, found, { from: 0 });
    },
  },
];

export const lies: readonly Lie[] = [...liesAboutLogs, ...liesAboutWrites, ...liesAboutTime];
