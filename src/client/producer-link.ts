/**
 * A producer's way to the leader: makes frames of its backlog, sends them, and sends them again
 * until each has an answer.
 *
 * Invariants: the oldest frame without an answer and the newest sent are at most five appends
 * apart; a frame that is sent again has the sequence it had, unless the log itself said that this
 * sequence was never applied; no new frame is sent while one has to be sent again.
 */
import type { Clock, Timer } from "../common/clock.js";
import { ProglogError } from "../common/errors.js";
import type { Random } from "../common/random.js";
import { backoffMs } from "../common/random.js";
import type { ProduceBatchResponse } from "../gen/log/v1/log.js";
import type { Backlog } from "./backlog.js";
import { BatchStream } from "./batch-stream.js";
import type { Channels } from "./channel.js";
import type { Frame, Settle } from "./frame.js";
import { frameOf, refusalOf, requestOf, settleApplied } from "./frame.js";
import type { ProducerLimits } from "./options.js";
import { rememberedAppends } from "./options.js";
import type { Servers } from "./servers.js";
import { fromProduceError } from "./wire-errors.js";

export interface LinkParts {
  readonly id: string;
  /** True if the id is the caller's: its sequences are too. */
  readonly isNamed: boolean;
  readonly limits: ProducerLimits;
  /** How long a node waits for the commit of one try. */
  readonly requestTimeoutMs: number;
  readonly servers: Servers;
  readonly channels: Channels;
  readonly clock: Clock;
  readonly random: Random;
}

/** How long a node may take to accept a stream, and an answer may take before others are asked. */
const acceptMs = { baseMs: 1000, maxMs: 8000 };
const silenceMs = { baseMs: 400, maxMs: 1000 };
/** While there is no leader: short, for it is about to be there. */
const electionBackoff = { baseMs: 25, maxMs: 400 };
/** While the log takes nothing, as on a full disk. */
const pressureBackoff = { baseMs: 100, maxMs: 2000 };
/** Left of an append's time for the answer that says that its copies did not come in time. */
const answerMsMax = 500;
/** Times that the others are asked in quick succession: an election is under way. */
const promptSilences = 6;
/** Tries without a pause between them, when a node names another leader. */
const promptTries = 3;

/** Refusals that may be owed to one of several entries in a frame. */
const ownFaults: ReadonlySet<string> = new Set(["record-too-large", "invalid-request"]);
/** The node is there, and takes nothing now. */
const pressure: ReadonlySet<string> = new Set(["overloaded", "disk-full"]);

export class ProducerLink {
  readonly #parts: LinkParts;
  readonly #backlog: Backlog;
  readonly #settle: Settle;
  /** Without an answer, by ordinal. */
  #frames: Frame[] = [];
  /** Those that are sent, by the id of their message. */
  readonly #sent = new Map<number, Frame>();
  #stream: BatchStream | undefined;
  #isConnecting = false;
  #isWoken = false;
  #isClosed = false;
  #pause: Timer | undefined;
  #linger: Timer | undefined;
  #watch: Timer | undefined;
  #heardMs = 0;
  /** Who led, as far as was known, when a frame was sent last. */
  #leaderAtSend: string | undefined;
  #silences = 0;
  /** Tries since the last success. */
  #failures = 0;
  #nextId = 1;
  #nextOrdinal = 0;
  #nextSequence = 0;
  #lastError: ProglogError | undefined;

  /** @param settle Ends an entry. */
  constructor(parts: LinkParts, backlog: Backlog, settle: Settle) {
    this.#parts = parts;
    this.#backlog = backlog;
    this.#settle = settle;
  }

  /** Why the last try failed, if nothing has succeeded since. */
  get lastError(): ProglogError | undefined {
    return this.#lastError;
  }

  /** There is something to send; what is handed in until the end of this turn goes with it. */
  wake(): void {
    if (this.#isWoken || this.#isClosed) return;
    this.#isWoken = true;
    this.#parts.clock.defer(() => {
      this.#isWoken = false;
      this.#pump();
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#stream?.drop();
    this.#stream = undefined;
    for (const timer of [this.#pause, this.#linger, this.#watch]) timer?.cancel();
  }

  #pump(): void {
    if (this.#isClosed || this.#pause !== undefined) return;
    this.#dropSettled();
    if (this.#frames.length === 0 && this.#backlog.isEmpty) return;
    const { servers } = this.#parts;
    if (this.#stream !== undefined && this.#sent.size === 0) {
      // Between two appends is the time to follow a leader that has moved.
      const isElsewhere = servers.leader !== undefined && servers.leader !== this.#stream.address;
      if (isElsewhere && servers.writeTarget() === servers.leader) this.#drop();
    }
    if (this.#stream === undefined) {
      void this.#connect();
      return;
    }
    if (servers.isStale) void servers.refresh();
    if (!this.#stream.isAccepted) return;
    this.#sendAll(this.#stream);
  }

  async #connect(): Promise<void> {
    if (this.#isConnecting) return;
    this.#isConnecting = true;
    const { servers, channels, clock } = this.#parts;
    try {
      if (servers.leader === undefined) await servers.refresh();
    } finally {
      this.#isConnecting = false;
    }
    if (this.#isClosed || this.#stream !== undefined) return;
    const channel = channels.to(servers.writeTarget());
    const isCurrent = (): boolean => this.#stream === stream;
    const waitMs = Math.min(acceptMs.maxMs, acceptMs.baseMs * 2 ** Math.min(this.#failures, 10));
    const stream: BatchStream = new BatchStream(channel, clock, waitMs, {
      accepted: () => {
        if (isCurrent()) this.#pump();
      },
      answered: (response) => {
        if (isCurrent()) this.#receive(response);
      },
      ended: (error, isUntaken) => {
        if (isCurrent()) this.#end(error, isUntaken);
      },
    });
    this.#stream = stream;
  }

  #sendAll(stream: BatchStream): void {
    for (const frame of this.#frames) if (!frame.isSent) this.#send(stream, frame);
    while (this.#mayForm()) {
      const entries = this.#backlog.take(this.#parts.limits);
      if (entries.length === 0) return;
      const ordinal = this.#nextOrdinal++;
      const sequence = entries[0]?.sequence ?? this.#nextSequence++;
      const frame = frameOf(entries, { ordinal, sequence });
      this.#frames.push(frame);
      this.#send(stream, frame);
    }
  }

  /** True if a new frame may be sent now. */
  #mayForm(): boolean {
    const { limits } = this.#parts;
    const [oldest] = this.#frames;
    if (this.#backlog.isEmpty || this.#frames.length >= limits.appendsInFlightMax) return false;
    if (oldest !== undefined && this.#nextOrdinal - oldest.ordinal >= rememberedAppends) {
      return false;
    }
    if (this.#frames.some((frame) => frame.tries > 1)) return false;
    return !this.#lingers();
  }

  /** True if the first in line is to wait for company; sees to it that it waits not too long. */
  #lingers(): boolean {
    const { limits, clock } = this.#parts;
    if (limits.lingerMs === 0 || this.#frames.length > 0 || this.#backlog.fills(limits)) {
      return false;
    }
    const sinceMs = this.#backlog.first?.sinceMs ?? 0;
    const leftMs = sinceMs + limits.lingerMs - clock.now();
    if (leftMs <= 0) return false;
    this.#linger ??= clock.setTimer(Math.ceil(leftMs), () => {
      this.#linger = undefined;
      this.#pump();
    });
    return true;
  }

  #send(stream: BatchStream, frame: Frame): void {
    const { clock, requestTimeoutMs, id: producerId } = this.#parts;
    const nowMs = clock.now();
    const deadlineMs = Math.max(...frame.entries.map((entry) => entry.deadlineMs));
    // A node waits for the commit of one try, but for the copies asked for as long as it takes, so
    // that its word of too few copies still comes in time.
    const leftMs = deadlineMs - nowMs;
    const forCopies = leftMs - Math.min(answerMsMax, leftMs / 4);
    const tryMs =
      frame.entries[0]?.w === undefined ? Math.min(requestTimeoutMs, leftMs) : forCopies;
    const timeoutMs = Math.max(1, Math.ceil(tryMs));
    const id = this.#nextId++;
    if (this.#sent.size === 0) this.#heardMs = nowMs;
    this.#leaderAtSend = this.#parts.servers.leader;
    frame.isSent = true;
    frame.tries += 1;
    this.#sent.set(id, frame);
    stream.send(requestOf(frame, { id, producerId, timeoutMs }));
    this.#watch ??= clock.setTimer(silenceMs.baseMs, () => this.#listen());
  }

  #receive(response: ProduceBatchResponse): void {
    const id = Number(response.id);
    const frame = this.#sent.get(id);
    if (frame === undefined) return;
    this.#sent.delete(id);
    frame.isSent = false;
    this.#heardMs = this.#parts.clock.now();
    this.#silences = 0;
    if (response.error === undefined) this.#applied(frame, response);
    else this.#refused(frame, fromProduceError(response.error));
  }

  #applied(frame: Frame, response: ProduceBatchResponse): void {
    this.#failures = 0;
    this.#lastError = undefined;
    if (this.#stream !== undefined) this.#parts.servers.succeeded(this.#stream.address);
    this.#remove(frame);
    const { count, duplicate } = response;
    const [offset, timestampMs] = [Number(response.offset), Number(response.timestampMs)];
    const { isNamed } = this.#parts;
    if (!isNamed && count !== frame.count) {
      const detail = "The node says that another append has this producer's sequence.";
      this.#fail(frame, new ProglogError("internal", detail));
    } else {
      const receipt = { offset, count, timestampMs, duplicate: isNamed && duplicate };
      settleApplied(frame, receipt, this.#settle);
    }
    this.wake();
  }

  #refused(frame: Frame, error: ProglogError): void {
    this.#lastError = error;
    if (error.leader !== undefined) this.#parts.servers.learnLeader(error.leader);
    if (error.outcome === "unknown") frame.mayBeApplied = true;
    const open = frame.entries.filter((entry) => !entry.isSettled);
    if (open.length === 0) {
      this.#remove(frame);
    } else if (error.code === "sequence-too-old" && !this.#parts.isNamed) {
      this.#renumber(frame);
    } else if (error.retryable || error.code === "outcome-unknown") {
      this.#retry(error);
      return;
    } else if (ownFaults.has(error.code) && frame.entries.length > 1 && !frame.mayBeApplied) {
      this.#split(frame);
    } else {
      this.#remove(frame);
      this.#fail(frame, refusalOf(frame, error));
    }
    this.wake();
  }

  /** The log has taken later appends, and never this one: it is a new append now. */
  #renumber(frame: Frame): void {
    frame.sequence = this.#nextSequence++;
    frame.ordinal = this.#nextOrdinal++;
    frame.mayBeApplied = false;
    this.#frames = [...this.#frames.filter((other) => other !== frame), frame];
  }

  /** One of several records is at fault: each goes alone, and only that one fails. */
  #split(frame: Frame): void {
    this.#frames = this.#frames.filter((other) => other !== frame);
    const open = frame.entries.filter((entry) => !entry.isSettled);
    for (const entry of frame.entries) {
      if (entry.isSettled) this.#backlog.release(entry.bytes);
    }
    for (const entry of open) {
      entry.isAlone = true;
      entry.frame = undefined;
    }
    this.#backlog.putBack(open);
  }

  #remove(frame: Frame): void {
    this.#frames = this.#frames.filter((other) => other !== frame);
    this.#backlog.release(frame.records.length);
  }

  #fail(frame: Frame, error: ProglogError): void {
    for (const entry of frame.entries) this.#settle(entry, error);
  }

  /** A node refused an append that may be sent again. */
  #retry(error: ProglogError): void {
    const { servers, random } = this.#parts;
    this.#failures += 1;
    if (pressure.has(error.code)) {
      const hintMs = Math.min(pressureBackoff.maxMs, error.retryAfterMs ?? 0);
      this.#rest(Math.max(hintMs / 2, backoffMs(random, this.#failures, pressureBackoff)));
      return;
    }
    const address = this.#stream?.address;
    const isNamedElsewhere = error.leader !== undefined && error.leader.rpcAddr !== address;
    if (isNamedElsewhere && this.#failures <= promptTries) {
      this.#drop();
      this.wake();
      return;
    }
    // It knows no leader, or not the one that leads: another may.
    if (address !== undefined && !isNamedElsewhere) servers.passOver(address);
    this.#drop();
    this.#rest(backoffMs(random, this.#failures, electionBackoff));
  }

  /** The stream has ended by itself. */
  #end(error: ProglogError, isUntaken: boolean): void {
    const { servers, random } = this.#parts;
    const address = this.#stream?.address ?? "";
    this.#lastError = error;
    this.#failures += 1;
    servers.failed(address);
    if (error.leader !== undefined) servers.learnLeader(error.leader);
    const sent = [...this.#sent.values()];
    this.#forget(isUntaken);
    if (error.code === "record-too-large") {
      for (const frame of sent) this.#refused(frame, error);
      return;
    }
    // The first time it is most likely that another node leads now: it is asked for at once.
    if (this.#failures === 1) this.wake();
    else this.#rest(backoffMs(random, this.#failures, electionBackoff));
  }

  /** Sends nothing for a while. */
  #rest(delayMs: number): void {
    if (this.#isClosed) return;
    this.#pause ??= this.#parts.clock.setTimer(Math.max(1, Math.ceil(delayMs)), () => {
      this.#pause = undefined;
      this.#pump();
    });
  }

  /** Gives the stream up; what was sent may be applied, and is sent again. */
  #drop(): void {
    this.#stream?.drop();
    this.#forget(false);
  }

  #forget(isUntaken: boolean): void {
    this.#stream = undefined;
    for (const frame of this.#sent.values()) {
      frame.isSent = false;
      if (!isUntaken) frame.mayBeApplied = true;
    }
    this.#sent.clear();
    this.#dropSettled();
  }

  /** Forgets the frames that would be sent again, and for which nobody waits any more. */
  #dropSettled(): void {
    for (const frame of [...this.#frames]) {
      if (!frame.isSent && frame.entries.every((entry) => entry.isSettled)) this.#remove(frame);
    }
  }

  /** Looks whether the node has fallen silent, and then asks the others who leads. */
  #listen(): void {
    this.#watch = undefined;
    if (this.#isClosed || this.#sent.size === 0) return;
    const { clock } = this.#parts;
    const patience = Math.max(0, this.#silences - promptSilences);
    const waitMs = Math.min(silenceMs.maxMs, silenceMs.baseMs * 2 ** patience);
    if (clock.now() - this.#heardMs >= waitMs) {
      this.#silences = Math.min(this.#silences + 1, promptSilences + 4);
      void this.#suspect();
    }
    this.#watch = clock.setTimer(waitMs, () => this.#listen());
  }

  async #suspect(): Promise<void> {
    const { servers } = this.#parts;
    const stream = this.#stream;
    const heardMs = this.#heardMs;
    if (stream === undefined) return;
    await servers.refresh(stream.address);
    const isSilent = this.#stream === stream && this.#heardMs === heardMs;
    const { leader } = servers;
    if (this.#isClosed || !isSilent || leader === undefined) return;
    if (leader === stream.address) {
      // It leads now, but may have relayed the frame to the leader before it, who is silent.
      if (leader === this.#leaderAtSend) return;
    } else {
      servers.passOver(stream.address);
    }
    this.#drop();
    this.wake();
  }
}
