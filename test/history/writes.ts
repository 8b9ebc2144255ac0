/**
 * Folds attempts into logical writes and looks up where each lies in the log.
 *
 * Attempts of one producer and sequence are one write. Its fate: ok if any attempt was
 * acknowledged, rejected if all were rejected, else unknown. Invariant: a value belongs to one
 * write only; a history in which two share one is malformed.
 */
import type { AppendAttempt } from "./history.js";
import { nameOf, quote } from "./violations.js";
import type { Violations } from "./violations.js";

export interface LogicalWrite {
  /** In the order in which they began. Never empty. */
  readonly attempts: readonly AppendAttempt[];
  readonly first: AppendAttempt;
  readonly fate: "ok" | "unknown" | "rejected";
  /** Start of the earliest attempt that may have put it in the log; Infinity if none may. */
  readonly invokedAt: number;
}

export interface Writes {
  readonly all: readonly LogicalWrite[];
  readonly byValue: ReadonlyMap<string, LogicalWrite>;
}

export function logicalWrites(appends: readonly AppendAttempt[], violations: Violations): Writes {
  const groups = new Map<string, AppendAttempt[]>();
  for (const append of appends) {
    if (!isWellFormed(append)) {
      violations.add("malformed", `${nameOf(append)} has no value or ends before it begins`);
    }
    const { producer, attempt } = append;
    const key =
      producer === undefined ? `#${attempt}` : JSON.stringify([producer.id, producer.sequence]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [append]);
    else group.push(append);
  }
  const all: LogicalWrite[] = [];
  const byValue = new Map<string, LogicalWrite>();
  for (const group of groups.values()) {
    const write = writeOf(group, violations);
    all.push(write);
    for (const value of new Set(write.first.values)) {
      const other = byValue.get(value);
      if (other !== undefined) {
        const names = `${nameOf(other.first)} and ${nameOf(write.first)}`;
        violations.add("malformed", `${quote(value)} was sent as two writes, ${names}`);
      }
      byValue.set(value, write);
    }
  }
  return { all, byValue };
}

function isWellFormed(append: AppendAttempt): boolean {
  return append.values.length > 0 && append.returnedAt >= append.invokedAt;
}

function writeOf(group: readonly AppendAttempt[], violations: Violations): LogicalWrite {
  const attempts = [...group].sort((a, b) => a.invokedAt - b.invokedAt);
  const [first] = attempts;
  if (first === undefined) throw new Error("a write has an attempt");
  let fate: LogicalWrite["fate"] = "rejected";
  let invokedAt = Infinity;
  for (const attempt of attempts) {
    if (attempt.outcome.type !== "rejected") invokedAt = Math.min(invokedAt, attempt.invokedAt);
    if (attempt.outcome.type === "ok") fate = "ok";
    else if (attempt.outcome.type === "unknown" && fate === "rejected") fate = "unknown";
    const isSame =
      attempt.values.length === first.values.length &&
      attempt.values.every((value, at) => value === first.values[at]);
    if (!isSame) {
      violations.add("malformed", `${nameOf(attempt)} says other than ${nameOf(first)}`);
    }
  }
  return { attempts, first, fate, invokedAt };
}
