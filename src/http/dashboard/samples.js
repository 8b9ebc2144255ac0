/**
 * What the plots show, as numbers: samples of the last five minutes, rates and percentiles.
 *
 * Pure: answers of the node in, numbers out; nothing of the page. A gap in what is known stays a
 * gap: nothing is ever drawn over a time in which the node did not answer.
 */

/** How far back the plots go. */
export const spanMs = 300_000;
/** Between two samples further apart than this, nothing is known. */
const gapMs = 15_000;
/** Percentiles are those of the appends of this time: of one second there may be too few. */
const windowMs = 5_000;

/**
 * Appends by how long they took: for each bucket, how many took at most so many seconds.
 * @typedef {{ bounds: number[], counts: number[] }} Histogram
 */

/**
 * The node at one time.
 * @typedef {{ atMs: number, endOffset: number, latency: Histogram | undefined }} Sample
 */

/**
 * One point of the plots; null where nothing is known, or nothing was appended.
 * @typedef {{ atMs: number, rate: number | null, p50: number | null, p99: number | null }} Point
 */

/**
 * Reads the latencies of acknowledged appends from Prometheus's text form.
 *
 * @param {string} text
 * @returns {Histogram}
 */
export function latencyOf(text) {
  const bounds = [];
  const counts = [];
  for (const line of text.split("\n")) {
    if (!line.startsWith("proglog_append_seconds_bucket{")) continue;
    const found = /[{,]le="([^"]+)".*\} (\d+)/.exec(line);
    if (found === null || !line.includes('outcome="applied"')) continue;
    bounds.push(found[1] === "+Inf" ? Infinity : Number(found[1]));
    counts.push(Number(found[2]));
  }
  return { bounds, counts };
}

/**
 * @param {Histogram | undefined} before
 * @param {Histogram | undefined} after
 * @param {number} share Such as 0.99.
 * @returns {number | null} Seconds that this share of the appends in between took at most.
 */
export function percentile(before, after, share) {
  if (before === undefined || after === undefined) return null;
  const added = after.counts.map((sum, at) => sum - (before.counts[at] ?? 0));
  const total = added.at(-1) ?? 0;
  // Counters fall when a node has restarted.
  if (total <= 0 || added.some((sum) => sum < 0)) return null;
  const wanted = total * share;
  const at = added.findIndex((sum) => sum >= wanted);
  const below = after.bounds[at - 1] ?? 0;
  const bound = after.bounds[at] ?? Infinity;
  if (bound === Infinity) return below;
  const sumBelow = added[at - 1] ?? 0;
  return below + ((bound - below) * (wanted - sumBelow)) / ((added[at] ?? 0) - sumBelow);
}

/** The samples of the last five minutes, with the point that each one makes. */
export class Samples {
  /** @type {Sample[]} */
  #samples = [];
  /** @type {Point[]} */
  points = [];

  /** @param {Sample} sample */
  add(sample) {
    const before = this.#samples.at(-1);
    const window = this.#samples.find(({ atMs }) => atMs >= sample.atMs - windowMs) ?? before;
    const isGap = before === undefined || sample.atMs - before.atMs > gapMs;
    const rate = isGap ? null : rateBetween(before, sample);
    const ends = isGap ? [undefined, undefined] : [window?.latency, sample.latency];
    const [p50, p99] = [0.5, 0.99].map((share) => percentile(ends[0], ends[1], share));
    this.#samples.push(sample);
    this.points.push({ atMs: sample.atMs, rate, p50: p50 ?? null, p99: p99 ?? null });
    const start = sample.atMs - spanMs;
    while ((this.#samples[0]?.atMs ?? Infinity) < start) {
      this.#samples.shift();
      this.points.shift();
    }
  }
}

/**
 * @param {Sample} before
 * @param {Sample} after
 */
function rateBetween(before, after) {
  const seconds = (after.atMs - before.atMs) / 1000;
  const records = after.endOffset - before.endOffset;
  return seconds <= 0 || records < 0 ? null : records / seconds;
}

/**
 * @param {number} value
 * @returns {number} The least of 1, 2 or 5 times a power of ten that is not below it.
 */
export function niceAbove(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= value * (1 - 1e-9)) ?? 10;
  return factor * power;
}

/**
 * The points in steps, newest first: rates as means, percentiles as the worst of the step.
 *
 * @param {readonly Point[]} points
 * @param {number} stepMs
 * @returns {Point[]}
 */
export function stepsOf(points, stepMs) {
  /** @type {Map<number, Point[]>} */
  const steps = new Map();
  for (const point of points) {
    const start = Math.floor(point.atMs / stepMs) * stepMs;
    const step = steps.get(start);
    if (step === undefined) steps.set(start, [point]);
    else step.push(point);
  }
  return [...steps]
    .map(([atMs, step]) => ({
      atMs,
      rate: mean(known(step.map(({ rate }) => rate))),
      p50: worst(known(step.map(({ p50 }) => p50))),
      p99: worst(known(step.map(({ p99 }) => p99))),
    }))
    .reverse();
}

/** @param {(number | null)[]} values */
function known(values) {
  return values.flatMap((value) => (value === null ? [] : [value]));
}

/** @param {number[]} values */
function mean(values) {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** @param {number[]} values */
function worst(values) {
  return values.length === 0 ? null : Math.max(...values);
}
