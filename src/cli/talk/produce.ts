/**
 * `proglog produce`: appends values, or the lines of standard input, each once and in order.
 *
 * Input is read no faster than it is acknowledged. After the first record that fails nothing more
 * is read, and what is under way is awaited, so that the last line can say what became of all of
 * it. Invariant: at most `inFlightMax` records have no answer.
 */
import type { Argv } from "yargs";

import { UsageError } from "../../agent/option-table.js";
import type { ProduceOptions, Receipt } from "../../client/producer.js";
import { JsonValue } from "../../client/record.js";
import type { RecordValue } from "../../client/record.js";
import { ProglogError } from "../../common/errors.js";
import { timestampText } from "../../http/representation.js";
import type { SplitArguments } from "../node-flags.js";
import type { Session, TalkCommand } from "./command.js";
import { complaintOf } from "./complaint.js";
import { exitCodeOf, exitCodes } from "./exit-codes.js";
import { integerOf, isOn, pairsOf, textFlag, textOf } from "./flags.js";
import { linesOf } from "./lines.js";
import { Progress } from "./progress.js";
import { Tally } from "./tally.js";

/** Records without an answer. */
const inFlightMax = 16_384;
/** Longest line that is looked at: what one append holds. */
const lineBytesMax = 4 * 1024 * 1024;

interface ProducePlan {
  /** Empty: the lines of standard input. */
  readonly values: readonly string[];
  readonly key: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly expectedOffset: number | undefined;
  readonly areJson: boolean;
  readonly isJsonPrinted: boolean;
}

export const produceCommand: TalkCommand = {
  usage: "produce [value..]",
  summary: "Append values, or standard input, a record a line",
  examples: [
    ["proglog produce hello world", "two records; prints the offset of each"],
    ["proglog produce < events.txt", "a record a line"],
    ["proglog produce --key k --header source=till x", "with a key and a header"],
    ["proglog produce --json hello", "prints offset and timestamp as JSON"],
    [`proglog produce --value-json '{"order": 7}'`, "kept as JSON, and shown as such over HTTP"],
    ["proglog produce --expected-offset 41 mine", "if nobody was faster; else exit code 4"],
    ["proglog produce -- -1", "a value that starts with a dash"],
  ],
  addFlags: (yargs: Argv) =>
    yargs
      .positional("value", { type: "string", array: true, describe: "Values; none: read lines" })
      .option("key", { ...textFlag, describe: "Key of each record" })
      .option("header", { ...textFlag, describe: "name=value, kept with each record; repeatable" })
      .option("value-json", { boolean: true, describe: "Values are JSON, and kept as such" })
      .option("expected-offset", {
        ...textFlag,
        describe: "Append only if the first record gets this offset; the others follow it",
      })
      .option("json", { boolean: true, describe: "Print a line of JSON for each record" }),
  plan: (split) => {
    const plan = planOf(split);
    return async (session) => new Production(plan, session).run();
  },
};

/** @throws UsageError */
function planOf(split: SplitArguments): ProducePlan {
  const { value: values, _: words } = split;
  // What stands after -- is left among the words, of which the first is the command.
  const late: readonly unknown[] = Array.isArray(words) ? words.slice(1) : [];
  const early: readonly unknown[] = Array.isArray(values) ? values : [];
  const plan: ProducePlan = {
    values: [...early, ...late].map(String),
    key: textOf(split, "key"),
    headers: pairsOf(split, "header"),
    expectedOffset: integerOf(split, "expected-offset", { min: 0, max: Number.MAX_SAFE_INTEGER }),
    areJson: isOn(split, "value-json"),
    isJsonPrinted: isOn(split, "json"),
  };
  const wrong = plan.areJson ? plan.values.find((value) => !isJson(value)) : undefined;
  if (wrong !== undefined) throw new UsageError(`${JSON.stringify(wrong)} is not JSON.`);
  return plan;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

class Production {
  readonly #plan: ProducePlan;
  readonly #session: Session;
  readonly #tally = new Tally();
  readonly #isFromInput: boolean;
  #handedIn = 0;
  #inFlight = 0;
  #wake: (() => void) | undefined;

  constructor(plan: ProducePlan, session: Session) {
    this.#plan = plan;
    this.#session = session;
    this.#isFromInput = plan.values.length === 0;
  }

  async run(): Promise<number> {
    const { surroundings, output } = this.#session;
    const { client, stopping, timeoutMs } = this.#session;
    // Nothing is read before a node has answered: what is not read is not lost.
    await client.status({ timeoutMs, signal: stopping });
    const isInputTyped = this.#isFromInput && surroundings.terminals.stdin;
    if (isInputTyped) surroundings.complain("Type a record a line; Ctrl-D ends.");
    const progress = new Progress(surroundings, () => {
      return `${String(this.#tally.acknowledged)} records acknowledged`;
    });
    if (this.#isFromInput && !isInputTyped) progress.start();
    try {
      await this.#handIn();
      await this.#untilInFlight(0);
    } finally {
      progress.stop();
    }
    await output.flush();
    return this.#conclude();
  }

  /** Hands records in, as fast as they are acknowledged; returns early if one fails. */
  async #handIn(): Promise<void> {
    const { client } = this.#session;
    // The next offset to expect is known only once a record has its own.
    const windowMax = this.#plan.expectedOffset === undefined ? inFlightMax : 1;
    try {
      for await (const values of this.#sources()) {
        for (const value of values) {
          if (this.#inFlight >= windowMax) await this.#untilInFlight(windowMax - 1);
          await client.ready();
          if (this.#isOver) return;
          void this.#send(value);
        }
      }
    } catch (error) {
      // A line that is too long, or input that breaks off: what was read before it goes its way.
      if (!this.#isStopped) this.#tally.fail(this.#handedIn + 1, notSent(error));
    }
  }

  get #isStopped(): boolean {
    return this.#session.stopping.aborted;
  }

  get #isOver(): boolean {
    return this.#isStopped || this.#tally.failure !== undefined;
  }

  async *#sources(): AsyncGenerator<readonly (string | Buffer)[], void, undefined> {
    if (!this.#isFromInput) {
      yield this.#plan.values;
      return;
    }
    const { surroundings, stopping } = this.#session;
    const { stdin } = surroundings;
    const stop = (): void => void stdin.destroy();
    stopping.addEventListener("abort", stop, { once: true });
    if (stopping.aborted) stop();
    yield* linesOf(stdin, lineBytesMax);
  }

  async #send(value: string | Buffer): Promise<void> {
    this.#handedIn += 1;
    const number = this.#handedIn;
    this.#inFlight += 1;
    try {
      const receipt = await this.#append(value, number);
      this.#tally.acknowledge(receipt.offset);
      await this.#print(receipt);
    } catch (error) {
      this.#tally.fail(number, error);
    }
    this.#inFlight -= 1;
    this.#wake?.();
  }

  async #append(value: string | Buffer, number: number): Promise<Receipt> {
    const { key, headers, expectedOffset, areJson } = this.#plan;
    const options: ProduceOptions = {
      ...{ key, headers },
      ...(expectedOffset === undefined ? {} : { expectedOffset: expectedOffset + number - 1 }),
    };
    return this.#session.client.produce(areJson ? jsonValue(value) : value, options);
  }

  async #print({ offset, timestampMs }: Receipt): Promise<void> {
    const { output } = this.#session;
    if (this.#plan.isJsonPrinted) {
      await output.line(JSON.stringify({ offset, timestamp: timestampText(timestampMs) }));
    } else if (!this.#isFromInput) {
      await output.line(String(offset));
    }
  }

  /** Resolves when no more than so many records have no answer. */
  async #untilInFlight(count: number): Promise<void> {
    while (this.#inFlight > count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Says what became of all of it; returns the exit code. */
  #conclude(): number {
    const { complain } = this.#session.surroundings;
    const { failure } = this.#tally;
    const what = this.#isFromInput ? "line" : "value";
    const acknowledged = this.#tally.acknowledgedText();
    if (failure === undefined) {
      if (this.#isStopped) {
        complain(`Stopped by a signal: ${acknowledged}; nothing after it was sent.`);
        return exitCodes.interrupted;
      }
      const isUntold = this.#session.output.failure !== undefined;
      if (this.#isFromInput || isUntold) {
        complain(this.#handedIn === 0 ? "Standard input is empty." : `${capital(acknowledged)}.`);
      }
      // The offsets could not be told, and what is in the log must not be handed in again.
      return isUntold ? exitCodes.outcomeUnknown : exitCodes.done;
    }
    const { number, error } = failure;
    if (this.#plan.values.length === 1) {
      complain(complaintOf(error));
      return exitCodeOf(error);
    }
    const last = Math.max(number, this.#handedIn);
    const parts = [acknowledged, ...this.#tally.failedTexts(what)];
    if (this.#isFromInput || last < this.#plan.values.length) {
      parts.push(`nothing after ${what} ${String(last)} was sent`);
    }
    complain(`${capital(what)} ${String(number)}: ${complaintOf(error)} ${sentence(parts)}`);
    return this.#tally.hasUnknown ? exitCodes.outcomeUnknown : exitCodeOf(error);
  }
}

function capital(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`;
}

function sentence(parts: readonly string[]): string {
  return `${capital(parts.join("; "))}.`;
}

/** What failed before anything of it was sent. */
function notSent(error: unknown): ProglogError {
  if (error instanceof ProglogError) return error;
  const text = error instanceof Error ? error.message : String(error);
  const detail = `Standard input can't be read: ${text}`;
  return new ProglogError("invalid-request", detail, { cause: error });
}

/** @throws ProglogError `invalid-request` if it is not JSON. */
function jsonValue(value: string | Buffer): RecordValue {
  const text = typeof value === "string" ? value : value.toString("utf8");
  if (!isJson(text)) throw new ProglogError("invalid-request", "It is not JSON.");
  return new JsonValue(text);
}
