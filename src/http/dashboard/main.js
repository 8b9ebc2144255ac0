/**
 * The dashboard's loop: asks the node once a second how it is, and hands the answer to the views.
 *
 * A node that does not answer is asked less and less often, at least every ten seconds; what is
 * shown then stays, marked as of when it is. A hidden page asks every ten seconds.
 */
import { announce, byId, clockTime, count, duration, make, setText, short } from "./elements.js";
import { ClusterView, dashboardOf } from "./cluster.js";
import { Forms } from "./forms.js";
import { Plot } from "./plots.js";
import { NewestRecords } from "./records.js";
import { latencyOf, Samples, stepsOf } from "./samples.js";

const askedEveryMs = 1000;
const askedHiddenMs = 10_000;
const retryMsMax = 10_000;
const answerMsMax = 4000;
/** How often those who hear the page are told of new records, and images are described anew. */
const toldEveryMs = 20_000;
const stepMs = 10_000;

const samples = new Samples();
const view = new ClusterView();
const forms = new Forms();
const records = new NewestRecords((offset) => {
  byId("read-card").scrollIntoView({ block: "nearest" });
  void forms.read(offset);
});
const rate = new Plot(byId("rate-plot"), {
  lines: [{ name: "rate", value: (point) => point.rate }],
  format: short,
  max: 10,
});
const latency = new Plot(byId("latency-plot"), {
  lines: [
    { name: "p50", value: (point) => point.p50 },
    { name: "p99", value: (point) => point.p99 },
  ],
  format: duration,
  max: 0.01,
});

let failures = 0;
let answeredAtMs = 0;
let toldAt = 0;
let toldOffset = 0;
/** Sentences of the images. */
let described = ["", ""];
/** @type {number | undefined} */
let timer;
let isAsking = false;

/**
 * @param {string} path
 * @returns {Promise<Response>}
 */
async function get(path) {
  return await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(answerMsMax) });
}

async function ask() {
  clearTimeout(timer);
  if (isAsking) return;
  isAsking = true;
  try {
    const [cluster, metrics] = await Promise.all([get("cluster"), get("metrics")]);
    const status = await cluster.json();
    if (!cluster.ok) throw new Error(status.detail);
    const text = metrics.ok ? await metrics.text() : undefined;
    answered(status, text);
  } catch (error) {
    failed(error);
  } finally {
    isAsking = false;
  }
  const backoff = Math.min(retryMsMax, askedEveryMs * 2 ** Math.min(failures - 1, 10));
  const wait = failures > 0 ? backoff : document.hidden ? askedHiddenMs : askedEveryMs;
  timer = setTimeout(() => void ask(), wait);
  if (failures > 0) tellFailure(wait);
}

/**
 * @param {import("./cluster.js").Status} status
 * @param {string | undefined} metrics
 */
function answered(status, metrics) {
  if (failures > 0) announce("The connection is back.");
  failures = 0;
  answeredAtMs = Date.now();
  document.documentElement.classList.remove("stale");
  byId("banner").hidden = true;
  setText(byId("freshness"), "Live");
  view.show(status);
  records.follow(status.endOffset);
  forms.follow(status.endOffset);
  const histogram = metrics === undefined ? undefined : latencyOf(metrics);
  samples.add({ atMs: answeredAtMs, endOffset: status.endOffset, latency: histogram });
  showPlots();
  showLatencyNote(status, metrics !== undefined);
  tell(status.endOffset);
}

/** @param {unknown} error */
function failed(error) {
  failures += 1;
  // An answer that cannot be understood is a fault of this page; the console is to name it.
  if (!(error instanceof TypeError || error instanceof DOMException)) console.warn(error);
}

/** @param {number} waitMs */
function tellFailure(waitMs) {
  const since = answeredAtMs === 0 ? "" : ` What is shown is from ${clockTime(answeredAtMs)}.`;
  const text = `The node does not answer; it is asked again every ${duration(waitMs / 1000)}.`;
  document.documentElement.classList.add("stale");
  document.title = "No answer · proglog";
  setText(byId("freshness"), answeredAtMs === 0 ? "No answer" : `As of ${clockTime(answeredAtMs)}`);
  setText(byId("banner-text"), `${text}${since}`);
  setText(byId("banner-title"), answeredAtMs === 0 ? "No answer." : "Connection lost.");
  byId("banner").hidden = false;
}

function showPlots() {
  const { points } = samples;
  const last = points.at(-1);
  const showOutput = (/** @type {string} */ id, /** @type {string | undefined} */ text) => {
    setText(byId(id), text ?? "–");
  };
  const known = (/** @type {number | null | undefined} */ value) => value ?? undefined;
  const [rateNow, p50, p99] = [known(last?.rate), known(last?.p50), known(last?.p99)];
  showOutput("rate-now", rateNow === undefined ? undefined : short(rateNow));
  showOutput("p50-now", p50 === undefined ? undefined : duration(p50));
  showOutput("p99-now", p99 === undefined ? undefined : duration(p99));
  const highest = Math.max(0, ...points.map((point) => point.rate ?? 0));
  const slowest = Math.max(0, ...points.map((point) => point.p99 ?? 0));
  if (performance.now() - toldAt > toldEveryMs || described[0] === "") {
    described = [
      `Append rate, now ${short(rateNow ?? 0)} records per second, highest ${short(highest)}.`,
      slowest === 0 ? "Append latency: no append yet." : latencySentence(p50, p99, slowest),
    ];
  }
  rate.show(points, answeredAtMs, described[0] ?? "");
  latency.show(points, answeredAtMs, described[1] ?? "");
  showValues();
}

/**
 * Appends are measured where they are decided: the plot of another node stays empty, so it says
 * where to look.
 *
 * @param {import("./cluster.js").Status} status
 * @param {boolean} hasMetrics
 */
function showLatencyNote({ leader, node }, hasMetrics) {
  const note = byId("latency-note");
  const href = leader === null || leader.id === node.id ? undefined : dashboardOf(leader.httpAddr);
  const isLeading = leader?.id === node.id;
  const text = isLeading
    ? "Appends that this node answered; estimated from buckets."
    : "Appends are measured by the node that leads.";
  const full = hasMetrics ? text : "This node serves no metrics.";
  const link = note.querySelector("a");
  if (note.dataset["told"] === full && link?.getAttribute("href") === href) return;
  note.dataset["told"] = full;
  note.replaceChildren(full);
  if (href !== undefined) note.append(" ", make("a", { href }, `See ${leader?.name ?? ""}`), ".");
}

/**
 * @param {number | undefined} p50
 * @param {number | undefined} p99
 * @param {number} slowest
 */
function latencySentence(p50, p99, slowest) {
  const now =
    p50 === undefined || p99 === undefined
      ? "no append now"
      : `now ${duration(p50)} for half of the appends, ${duration(p99)} for 99 of 100`;
  return `Append latency, ${now}; slowest ${duration(slowest)}.`;
}

/** The plots' values as a table, while it is open. */
function showValues() {
  if (!(/** @type {HTMLDetailsElement} */ (byId("values")).open)) return;
  const rows = stepsOf(samples.points, stepMs).map(({ atMs, rate: perSecond, p50, p99 }) => {
    const cell = (
      /** @type {number | null} */ value,
      /** @type {(value: number) => string} */ as,
    ) => make("td", { class: "number" }, value === null ? "–" : as(value));
    const time = make("th", { scope: "row" }, clockTime(atMs));
    return make("tr", {}, time, cell(perSecond, short), cell(p50, duration), cell(p99, duration));
  });
  byId("value-rows").replaceChildren(...rows);
}

/** Tells of new records, at a pace that can be listened to. @param {number} endOffset */
function tell(endOffset) {
  const now = performance.now();
  if (now - toldAt <= toldEveryMs) return;
  const added = endOffset - toldOffset;
  if (toldAt > 0 && added > 0) {
    announce(`${count(added)} new records; the log ends at offset ${count(endOffset)}.`);
  }
  toldAt = now;
  toldOffset = endOffset;
}

byId("retry").addEventListener("click", () => void ask());
byId("values").addEventListener("toggle", showValues);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) void ask();
});
void ask();
