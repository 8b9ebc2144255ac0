/**
 * A run as a page: one file that needs nothing else, with lanes to look at and a table to read.
 *
 * The page asks no other address for anything and says so (Content-Security-Policy). All that comes
 * from the run is escaped: values of records and errors of disks are text, never markup.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { PageData } from "./html-model.js";
import { pageDataOf } from "./html-model.js";
import type { RunReport } from "./run.js";

export interface PageOptions {
  /** The command that runs this again. */
  readonly replay?: string;
  /** Events that are kept at the most: the last ones. */
  readonly eventCountMax?: number;
}

const bytesMax = 9_000_000;
/** Rows of the table that is there without a script. */
const plainRowsMax = 1500;
const plainTailRows = 400;

/** @returns The page's text, below 10 MB whatever the run. */
export function htmlOf(report: RunReport, options: PageOptions = {}): string {
  let countMax = options.eventCountMax ?? 40_000;
  for (;;) {
    const data = pageDataOf(report, countMax);
    const page = pageOf(report, data, options.replay ?? "");
    if (Buffer.byteLength(page) <= bytesMax || countMax < 1000) return page;
    countMax = Math.floor(countMax / 2);
  }
}

export function escapeHtml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? "");
}

/** JSON that may stand in a script element: nothing in it can end the element or open a comment. */
export function scriptJson(value: unknown): string {
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

function part(name: string): string {
  return readFileSync(join(import.meta.dirname, name), "utf8");
}

function pageOf(report: RunReport, data: PageData, replay: string): string {
  const { seed, failingStep } = data;
  const title =
    failingStep === null
      ? `Seed ${seed}: all promises held`
      : `Seed ${seed}: ${report.violation?.invariant ?? ""} broken at step ${failingStep}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>${escapeHtml(title)}</title>
<style>
${part("html-page.css")}</style>
</head>
<body>
<header class="${failingStep === null ? "held" : "broken"}">
<h1>${escapeHtml(title)}</h1>
${failingStep === null ? "" : `<p class="failure">${escapeHtml(data.failure)}</p>`}
${factsOf(report, data, replay)}
</header>
<main>
${viewer()}
${tableOf(data)}
</main>
<script type="application/json" id="run">${scriptJson(data)}</script>
<script>
${part("html-page.js")}</script>
</body>
</html>
`;
}

function factsOf(report: RunReport, data: PageData, replay: string): string {
  const { plan, steps, virtualMs, hash, injected } = report;
  const { acknowledged, unknown, rejected, reads, leaders, committedIndex } = report;
  const shown = data.events.step.length;
  const clip =
    shown === data.total
      ? `all ${shown}`
      : `the last ${shown} of ${data.total}, from step ${data.events.step[0] ?? 0}`;
  const faults = [...injected].map(([kind, count]) => `${kind} ${count}`).join(", ");
  const facts: readonly (readonly [string, string])[] = [
    ["Run", `${plan.nodeCount} nodes, ${steps} steps, ${(virtualMs / 1000).toFixed(3)} s`],
    ["Events here", clip],
    ["Classes of faults", [...plan.faults].join(", ") || "none"],
    ["Faults", faults || "none"],
    ["Appends", `${acknowledged} acknowledged, ${unknown} unknown, ${rejected} rejected`],
    ["Reads", String(reads)],
    ["Leaders", `${leaders}, ${committedIndex} entries committed`],
    ["Trace hash", hash],
    ["Replay", replay],
  ];
  const rows = facts
    .filter(([, text]) => text !== "")
    .map(([name, text]) => `<dt>${name}</dt><dd>${escapeHtml(text)}</dd>`);
  return `<details><summary>About this run</summary><dl>${rows.join("")}</dl></details>`;
}

/** What the script draws into; without one it stays hidden. */
function viewer(): string {
  return `<section id="viewer" aria-label="Diagram" hidden>
<div class="tools" role="toolbar" aria-label="Diagram">
<span class="group"><button type="button" id="failing">Failing step</button></span>
<span class="group"><span>Fault</span><button type="button" id="fault-before"
  aria-label="Fault before">↑</button><button type="button" id="fault-after"
  aria-label="Next fault">↓</button></span>
<span class="group"><span>Leader</span><button type="button" id="leader-before"
  aria-label="Leader change before">↑</button><button type="button" id="leader-after"
  aria-label="Next leader change">↓</button></span>
<span class="group"><span>Zoom</span><button type="button" id="zoom-out"
  aria-label="Zoom out">−</button><button type="button" id="zoom-in"
  aria-label="Zoom in">+</button></span>
<form id="jump" class="group"><label for="step">Step</label><input id="step" inputmode="numeric"
  pattern="[0-9]*" size="6"><button type="submit">Go</button></form>
<span class="group"><label for="axis">Axis</label><select id="axis"><option value="events">events
</option><option value="steps">steps</option><option value="time">time</option></select></span>
<details id="kinds"><summary>Kinds and colours</summary><div id="kind-list"></div></details>
<details id="keys"><summary>Keys</summary><p>With the diagram in focus: <kbd>↑</kbd> <kbd>↓</kbd>
event before and after, <kbd>+</kbd> <kbd>−</kbd> zoom, <kbd>f</kbd> <kbd>F</kbd> next fault and
the one before, <kbd>l</kbd> <kbd>L</kbd> leader changes, <kbd>x</kbd> failing step,
<kbd>Home</kbd> <kbd>End</kbd> <kbd>Page ↑</kbd> <kbd>Page ↓</kbd> move,
<kbd>Esc</kbd> lets go.</p></details>
</div>
<div id="heads" aria-label="Nodes at the middle of the view or the chosen event"></div>
<div class="stage">
<div id="scroller" tabindex="0" role="application"
  aria-label="Lanes of the nodes, time downwards; arrow keys choose events; a table follows">
<div id="extent"><canvas id="lanes"></canvas></div></div>
<canvas id="overview" aria-hidden="true"></canvas>
</div>
<div id="chosen" role="status" aria-live="polite"></div>
<p id="trouble" role="alert" hidden></p>
</section>`;
}

const weighty = new Set([
  ...["fault", "heal", "leads", "violation", "raft-state"],
  ...["start", "resume", "ended", "removed", "removal"],
]);

/** The table as it is without a script: what weighs most, and all that came last. */
function tableOf(data: PageData): string {
  const { events, kinds } = data;
  const count = events.step.length;
  const isNear = (at: number): boolean =>
    data.failingStep === null ? at < plainTailRows : at >= count - plainTailRows;
  const shown: number[] = [];
  for (let at = count - 1; at >= 0 && shown.length < plainRowsMax; at -= 1) {
    if (isNear(at) || weighty.has(kinds[events.kind[at] ?? 0] ?? "")) shown.push(at);
  }
  const rows = shown.reverse().map((at) => rowOf(data, at));
  return `<section aria-labelledby="events-title">
<h2 id="events-title">Events</h2>
<p id="table-note">${shown.length} of ${count} events: faults, changes of nodes, and all that lies
near the ${data.failingStep === null ? "start" : "failing step"}. With scripts allowed the table
holds every event.</p>
<div id="table-tools" hidden><button type="button" id="rows-before">Earlier</button><button
  type="button" id="rows-after">Later</button> <span id="rows-shown" role="status"></span></div>
<div class="table" tabindex="0" role="region" aria-labelledby="events-title"><table>
<thead><tr><th scope="col">Step</th><th scope="col">Seconds</th><th scope="col">Where</th>
<th scope="col">From</th><th scope="col">Kind</th><th scope="col">What</th></tr></thead>
<tbody id="rows">
${rows.join("\n")}
</tbody></table></div>
</section>`;
}

function rowOf({ events, kinds, names, failingStep }: PageData, at: number): string {
  const step = events.step[at] ?? 0;
  const nameOf = (place: number | undefined): string => names[place ?? -1] ?? "";
  const kind = kinds[events.kind[at] ?? 0] ?? "";
  const cells = [
    ((events.at[at] ?? 0) / 1e6).toFixed(4),
    nameOf(events.node[at]),
    nameOf(events.from[at]),
    kind,
    events.text[at] ?? "",
  ].map((text) => `<td>${escapeHtml(text)}</td>`);
  const isFailing = step === failingStep;
  const mark = isFailing ? ' class="failing"' : "";
  return `<tr${mark}><th scope="row">${step}</th>${cells.join("")}</tr>`;
}
