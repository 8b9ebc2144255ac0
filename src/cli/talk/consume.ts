/**
 * `proglog consume`: prints records in the order of the log, as fast as they are read from it.
 *
 * A reader of standard output that is slow slows the log's reading; one that goes away ends the
 * command, as does a signal, quietly. Before it begins, a node must answer in time; one that
 * follows then waits for ever, one that does not gives up when nothing comes for so long.
 */
import type { Argv } from "yargs";

import { UsageError } from "../../agent/option-table.js";
import type { Consistency, From } from "../../client/consumer.js";
import type { ConsumedRecord } from "../../client/record.js";
import type { Clock, Timer } from "../../common/clock.js";
import { ProglogError } from "../../common/errors.js";
import type { LogRecord } from "../../common/record.js";
import { parseTimestamp } from "../../http/query.js";
import { recordJson } from "../../http/representation.js";
import type { SplitArguments } from "../node-flags.js";
import type { Session, TalkCommand } from "./command.js";
import { exitCodes } from "./exit-codes.js";
import { integerOf, isOn, textFlag, textOf } from "./flags.js";

const lineBreak = Buffer.from("\n");

interface ConsumePlan {
  readonly from: From;
  readonly limit: number;
  readonly follow: boolean;
  readonly consistency: Consistency;
  /** How a record is printed: its bytes and a line break, its bytes alone, or JSON. */
  readonly form: "line" | "raw" | "json";
}

export const consumeCommand: TalkCommand = {
  usage: "consume",
  summary: "Print records, a line each",
  examples: [
    ["proglog consume", "the whole log"],
    ["proglog consume --from -10 --follow", "the last ten, then what comes, until Ctrl-C"],
    ["proglog consume --from 42 --limit 1 --json", "record 42, with all that belongs to it"],
    ["proglog consume --from 42 --limit 1 --raw > photo.png", "its bytes, nothing else"],
  ],
  addFlags: (yargs: Argv) =>
    yargs
      .option("from", {
        ...textFlag,
        describe: "An offset, earliest, latest, -N for the last N, or a time: 2026-01-31T12:00:00Z",
        defaultDescription: "earliest",
      })
      .option("limit", { ...textFlag, describe: "Most records; all if it is not given" })
      .option("follow", { boolean: true, alias: "f", describe: "Go on at the end, for ever" })
      .option("local", {
        boolean: true,
        describe: "End where one node sees the end; works without a leader",
      })
      .option("json", { boolean: true, describe: "Print each record as a line of JSON" })
      .option("raw", { boolean: true, describe: "Print bare bytes, without line breaks" }),
  plan: (split) => {
    const plan = planOf(split);
    return async (session) => consume(plan, session);
  },
};

/** @throws UsageError */
function planOf(split: SplitArguments): ConsumePlan {
  const isRaw = isOn(split, "raw");
  if (isRaw && isOn(split, "json")) throw new UsageError("Give --raw or --json, not both.");
  const max = Number.MAX_SAFE_INTEGER;
  return {
    from: fromOf(textOf(split, "from") ?? "earliest"),
    limit: integerOf(split, "limit", { min: 1, max }) ?? Infinity,
    follow: isOn(split, "follow"),
    consistency: isOn(split, "local") ? "local" : "linearizable",
    form: isRaw ? "raw" : isOn(split, "json") ? "json" : "line",
  };
}

function fromOf(text: string): From {
  if (text === "earliest" || text === "latest") return text;
  const value = /^-?\d{1,16}$/.test(text) ? Number(text) : NaN;
  // -0 is the last none: the end.
  if (Object.is(value, -0)) return "latest";
  if (Number.isSafeInteger(value)) return value;
  const timestampMs = parseTimestamp(text);
  if (timestampMs !== undefined) return new Date(timestampMs);
  const range = "an offset, earliest, latest, -N for the last N records, or an RFC 3339 time";
  throw new UsageError(`--from can't be ${JSON.stringify(text)}; it takes ${range}.`);
}

async function consume(plan: ConsumePlan, session: Session): Promise<number> {
  const { client, output, stopping, clock, timeoutMs } = session;
  const { from, follow, consistency, form } = plan;
  const patience = new Patience(clock, timeoutMs);
  const signal = AbortSignal.any([stopping, output.gone, patience.over]);
  let count = 0;
  try {
    await begin(plan, session, signal);
    if (!follow) patience.start();
    for await (const record of client.consume({ from, follow, consistency, signal })) {
      patience.pause();
      await output.put(bytesOf(record, form));
      count += 1;
      if (count >= plan.limit) break;
      patience.resume();
    }
  } catch (error) {
    if (output.gone.aborted) return exitCodes.done;
    if (stopping.aborted) return follow ? exitCodes.done : exitCodes.interrupted;
    throw patience.over.aborted ? await reasonOf(session) : error;
  } finally {
    patience.stop();
    await output.flush();
  }
  return exitCodes.done;
}

/** Resolves when the cluster answers. @throws ProglogError if it does not in time. */
async function begin(plan: ConsumePlan, session: Session, signal: AbortSignal): Promise<void> {
  const { client, clock, timeoutMs } = session;
  const { from, follow, consistency } = plan;
  const deadlineMs = clock.now() + timeoutMs;
  await client.status({ timeoutMs, signal });
  const isFromEnd = from !== "earliest" && !(typeof from === "number" && from >= 0);
  if (follow && !isFromEnd) return;
  const leftMs = Math.max(1, deadlineMs - clock.now());
  try {
    await client.endOffset({ consistency, timeoutMs: leftMs, signal });
  } catch (error) {
    throw unconfirmed(error);
  }
}

/**
 * Why the log's end could not be had though a node has just answered: the node that was tried last
 * may be one that is down, which is not what stands in the way.
 */
function unconfirmed(error: unknown): unknown {
  if (!(error instanceof ProglogError) || error.code !== "unavailable") return error;
  const detail = "A node answers, but none could confirm in time where the log ends";
  return new ProglogError("cannot-confirm", detail, { cause: error });
}

/** Why nothing came for so long, as a node says now. */
async function reasonOf({ client, timeoutMs }: Session): Promise<unknown> {
  const waited = `Nothing came for ${String(timeoutMs)} ms`;
  try {
    await client.status({ timeoutMs: 1000 });
    await client.endOffset({ timeoutMs: 1000 }).catch((error: unknown) => {
      throw unconfirmed(error);
    });
  } catch (error) {
    const { message, code } = ProglogError.from(error);
    return new ProglogError(code, `${waited}: ${message}`, { outcome: null, cause: error });
  }
  return new ProglogError("unavailable", `${waited}.`, { outcome: null });
}

function bytesOf(record: ConsumedRecord, form: ConsumePlan["form"]): Buffer {
  if (form === "json") return Buffer.from(`${recordJson(logRecordOf(record))}\n`);
  return form === "raw" ? record.value : Buffer.concat([record.value, lineBreak]);
}

function logRecordOf({
  offset,
  timestampMs,
  value,
  key,
  headers,
  isJson,
}: ConsumedRecord): LogRecord {
  return {
    ...{ offset, timestampMs, value },
    ...(key === undefined ? {} : { key }),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    ...(isJson ? { json: true } : {}),
  };
}

/** Notices that nothing has come for too long. While it pauses, it does not count. */
class Patience {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #over = new AbortController();
  #sinceMs = Infinity;
  #timer: Timer | undefined;

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  get over(): AbortSignal {
    return this.#over.signal;
  }

  start(): void {
    this.#sinceMs = this.#clock.now();
    this.#arm(this.#timeoutMs);
  }

  pause(): void {
    this.#sinceMs = Infinity;
  }

  resume(): void {
    this.#sinceMs = this.#clock.now();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** One timer for all records: they come far more often than it fires. */
  #arm(delayMs: number): void {
    this.#timer = this.#clock.setTimer(delayMs, () => {
      const leftMs = this.#sinceMs + this.#timeoutMs - this.#clock.now();
      if (leftMs <= 0) this.#over.abort(new Error("nothing came in time"));
      else this.#arm(Math.min(this.#timeoutMs, Math.ceil(leftMs)));
    });
  }
}
