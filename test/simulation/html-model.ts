/**
 * A run as its page holds it: all events in one order, as columns of numbers and texts, so that a
 * hundred thousand of them stay small and need no work to be read.
 *
 * What is too much is cut away from the side that is far from the failing step; what is left says
 * how much there was.
 */
import type { AppendAttempt, ReadOperation } from "../history/history.js";
import type { StateChange } from "./recording.js";
import type { RunReport } from "./run.js";
import type { TraceEvent } from "./trace.js";

/** Events in columns; times are whole microseconds. */
export interface EventColumns {
  readonly step: number[];
  readonly at: number[];
  /** Where it happened: a place in `names`, -1 for the world. */
  readonly node: number[];
  /** Where a message came from: a place in `names`, -1 for none. */
  readonly from: number[];
  /** A place in `kinds`. */
  readonly kind: number[];
  /** Steps and microseconds since a message left or an operation began; else 0. */
  readonly stepsSince: number[];
  readonly timeSince: number[];
  readonly text: string[];
}

export interface StateColumns {
  readonly step: number[];
  readonly at: number[];
  readonly node: number[];
  /** A place in `roles`. */
  readonly role: number[];
  readonly term: number[];
  readonly commit: number[];
  readonly last: number[];
  readonly end: number[];
}

export interface PageData {
  readonly seed: number;
  /** The step at which a promise was broken; null if none was. */
  readonly failingStep: number | null;
  readonly failure: string;
  /** The nodes, and after them the clients. */
  readonly names: readonly string[];
  readonly nodeCount: number;
  readonly kinds: readonly string[];
  readonly roles: readonly string[];
  readonly events: EventColumns;
  readonly states: StateColumns;
  /** Links that are cut, from a step and time on. */
  readonly cuts: readonly (readonly [number, number, string])[];
  readonly total: number;
}

/** One event of the page, before it is put into columns. */
export type PageEvent = TraceEvent;

const textLengthMax = 400;

/**
 * @param countMax Events and states that are kept, each: the last ones, for a run ends where it
 *   fails.
 */
export function pageDataOf(report: RunReport, countMax: number): PageData {
  const { plan, violation, steps, recording } = report;
  const all = eventsOf(report);
  const kept = all.slice(-countMax);
  const fromStep = kept.length < all.length ? (kept[0]?.step ?? 0) : 0;
  const nodes = Array.from({ length: plan.nodeCount }, (_, at) => `n${String(at + 1)}`);
  const clients = new Set(all.filter(isOfClient).map((event) => event.node));
  const names = [...nodes, ...[...clients].sort((one, other) => one.localeCompare(other))];
  const kinds = [...new Set(kept.map(kindOf))];
  const states = keptStates(recording?.states ?? [], fromStep, countMax);
  const roles = [...new Set(states.map((state) => state.role))];
  return {
    seed: plan.seed,
    failingStep: violation === undefined ? null : steps,
    failure: violation === undefined ? "" : `${violation.invariant}: ${violation.message}`,
    names,
    nodeCount: plan.nodeCount,
    kinds,
    roles,
    events: eventColumns(kept, names, kinds, idReplacer(recording?.names ?? new Map())),
    states: stateColumns(states, names, roles),
    cuts: (recording?.cuts ?? [])
      .slice(-countMax)
      .map(({ step, atMs, cuts }) => [step, micros(atMs), cuts.join(" ")] as const),
    total: all.length,
  };
}

function micros(ms: number): number {
  return Math.round(ms * 1000);
}

/** Events of the trace, lost messages, what clients did, and the failure, in the order of steps. */
function eventsOf(report: RunReport): PageEvent[] {
  const { events, recording, history, violation, steps: step, virtualMs: atMs } = report;
  const lost = recording?.lost ?? [];
  const before = merged(events, lost);
  const stepAt = stepsByTime(recording?.steps ?? before, report.steps);
  const operations = [
    ...history.appends.map((append) => appendEvent(append, stepAt, report)),
    ...history.reads.map((read) => readEvent(read, stepAt)),
  ];
  const all = merged(before, operations);
  if (violation !== undefined && !all.some((event) => event.kind === "violation")) {
    const text = `${violation.invariant}: ${violation.message}`;
    all.push({ step, atMs, node: "", kind: "violation", text });
  }
  // The failure comes last, also after what it left unanswered.
  const isFailure = ({ kind }: PageEvent): boolean => kind === "violation";
  return [...all.filter((event) => !isFailure(event)), ...all.filter(isFailure)];
}

/** Two lists as one, in the order of steps; at one step what is of the first comes first. */
function merged(first: readonly PageEvent[], second: readonly PageEvent[]): PageEvent[] {
  return [...first, ...second].sort((one, other) => one.step - other.step || one.atMs - other.atMs);
}

/** The step of a time: exactly with a recording, else that of the next event. */
function stepsByTime(
  known: readonly { readonly step: number; readonly atMs: number }[],
  lastStep: number,
): (ms: number) => number {
  return (ms) => {
    let [low, high] = [0, known.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((known[middle]?.atMs ?? Infinity) < ms) low = middle + 1;
      else high = middle;
    }
    return known[low]?.step ?? lastStep;
  };
}

function isOfClient(event: PageEvent): boolean {
  return event.kind.startsWith("client-");
}

function appendEvent(
  append: AppendAttempt,
  stepAt: (ms: number) => number,
  report: RunReport,
): PageEvent {
  const { client, values, invokedAt, returnedAt, outcome, expectedOffset } = append;
  const hasEnded = returnedAt !== Infinity;
  const first = values[0]?.replace(/\.+$/, "").slice(0, 20) ?? "";
  const what = `appends ${counted(values.length)} from ${first}`;
  const only = expectedOffset === undefined ? "" : `, only at offset ${String(expectedOffset)}`;
  const end = outcome.type === "ok" ? `acknowledged at offset ${String(outcome.offset)}` : "";
  return {
    step: hasEnded ? stepAt(returnedAt) : report.steps,
    atMs: hasEnded ? returnedAt : report.virtualMs,
    node: client,
    kind: `client-${outcome.type}`,
    text: `${what}${only}: ${hasEnded ? end || outcome.type : "never answered"}`,
    sentStep: stepAt(invokedAt),
    sentAtMs: invokedAt,
  };
}

function counted(records: number): string {
  return records === 1 ? "1 record" : `${String(records)} records`;
}

function readEvent(read: ReadOperation, stepAt: (ms: number) => number): PageEvent {
  const { client, node, invokedAt, returnedAt, from, consistency, result } = read;
  const got =
    result.type === "hit"
      ? `${counted(result.values.length)} at offset ${String(result.offset)}`
      : `nothing yet, the log ends at ${String(result.endOffset)}`;
  return {
    step: stepAt(returnedAt),
    atMs: returnedAt,
    node: client,
    kind: "client-read",
    text: `reads from offset ${String(from)} at ${node}, ${consistency}: ${got}`,
    sentStep: stepAt(invokedAt),
    sentAtMs: invokedAt,
  };
}

/** What the page tells apart: of messages their types, of log lines the changes of role. */
function kindOf({ kind, type, text }: PageEvent): string {
  if (kind === "info" && text.startsWith("raft-state ")) return "raft-state";
  if (kind !== "message") return kind;
  // Without entries it is a heartbeat or a probe.
  return type === "appendRequest" && / 0 entries,/.test(text) ? "heartbeat" : (type ?? kind);
}

/** The text without what the page says in other columns. */
function textOf({ kind, type, from, text }: PageEvent): string {
  const start = `${type ?? ""} from ${from ?? ""} `;
  if (text.startsWith("raft-state ")) return text.slice("raft-state ".length);
  // A lost message is of kind `lost`: its type is news.
  return kind === "message" && text.startsWith(start) ? text.slice(start.length) : text;
}

/** Puts the names of nodes where their ids are, or the first eight digits of them. */
function idReplacer(names: ReadonlyMap<string, string>): (text: string) => string {
  const byStart = new Map([...names].map(([id, name]) => [id.slice(0, 8), name]));
  const id = /\b([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g;
  return (text) => {
    if (/^[0-9a-f]{8}$/.test(text)) return byStart.get(text) ?? text;
    return text.replace(id, (whole, start: string) => {
      const name = byStart.get(start);
      return name === undefined ? whole : `${name} (${start})`;
    });
  };
}

function eventColumns(
  events: readonly PageEvent[],
  names: readonly string[],
  kinds: readonly string[],
  withNames: (text: string) => string,
): EventColumns {
  const nameAt = new Map(names.map((name, at) => [name, at]));
  const kindAt = new Map(kinds.map((kind, at) => [kind, at]));
  const columns: EventColumns = {
    ...{ step: [], at: [], node: [], from: [], kind: [] },
    ...{ stepsSince: [], timeSince: [], text: [] },
  };
  for (const event of events) {
    const { step, atMs, node, from = "", sentStep = step, sentAtMs = atMs } = event;
    columns.step.push(step);
    columns.at.push(micros(atMs));
    columns.node.push(nameAt.get(withNames(node)) ?? -1);
    columns.from.push(nameAt.get(withNames(from)) ?? -1);
    columns.kind.push(kindAt.get(kindOf(event)) ?? 0);
    columns.stepsSince.push(Math.max(0, step - sentStep));
    columns.timeSince.push(micros(Math.max(0, atMs - sentAtMs)));
    columns.text.push(clipped(withNames(textOf(event))));
  }
  return columns;
}

function clipped(text: string): string {
  return text.length <= textLengthMax ? text : `${text.slice(0, textLengthMax)}…`;
}

/** States from a step on, with the last one of each node before it, which still holds there. */
function keptStates(
  states: readonly StateChange[],
  fromStep: number,
  countMax: number,
): StateChange[] {
  const first = states.findIndex((state) => state.step >= fromStep);
  const start = Math.max(first < 0 ? states.length : first, states.length - countMax);
  const before = new Map(states.slice(0, start).map((state) => [state.node, state]));
  return [...before.values(), ...states.slice(start)];
}

function stateColumns(
  states: readonly StateChange[],
  names: readonly string[],
  roles: readonly string[],
): StateColumns {
  return {
    step: states.map((state) => state.step),
    at: states.map((state) => micros(state.atMs)),
    node: states.map((state) => names.indexOf(state.node)),
    role: states.map((state) => roles.indexOf(state.role)),
    term: states.map((state) => state.term),
    commit: states.map((state) => state.commitIndex),
    last: states.map((state) => state.lastIndex),
    end: states.map((state) => state.endOffset),
  };
}
