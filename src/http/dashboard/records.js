/**
 * The newest records as they arrive: an event source, and a table of at most a hundred rows.
 *
 * Bounds: what arrives faster than it can be shown is dropped unparsed but for the newest hundred,
 * and a source that falls behind the log is opened anew near its end. While the page is hidden or
 * paused no source is open: a browser has six connections to a node, for all of its tabs together.
 */
import { byId, clockTime, count, make, setText } from "./elements.js";
import { recordOf, visible } from "./record-text.js";

const rowsMax = 100;
const firstRows = 20;
const shownEveryMs = 250;
/** Records that a source may be behind before it is opened anew. */
const behindMax = 5000;
const reopenMs = 2000;
/** Characters of a message in a row; all of it is a click away. */
const messageMax = 600;

/** @typedef {{ offset: number, text: string }} Arrival */

export class NewestRecords {
  #rows = byId("records");
  #note = byId("records-note");
  #pause = byId("pause");
  /** @type {(offset: number) => void} */
  #onChosen;
  /** @type {EventSource | undefined} */
  #source;
  #openedAt = -Infinity;
  /** Arrived and not shown yet, oldest first; at most as many as there are rows. @type {Arrival[]} */
  #arrivals = [];
  /** The newest that is shown. */
  #shownOffset = -1;
  #arrivedOffset = -1;
  #isPaused = false;
  #trouble = "";
  /** @type {number | undefined} */
  #timer;

  /** @param {(offset: number) => void} onChosen Called when a record is asked for in full. */
  constructor(onChosen) {
    this.#onChosen = onChosen;
    this.#pause.addEventListener("click", () => {
      this.#isPaused = !this.#isPaused;
      setText(this.#pause, this.#isPaused ? "Resume" : "Pause");
      this.#arrivals = [];
      this.#arrivedOffset = this.#shownOffset;
      this.#sync();
    });
    document.addEventListener("visibilitychange", () => {
      this.#sync();
    });
    this.#sync();
  }

  /**
   * Follows the log's end as the node tells it: a source that failed or fell behind is replaced.
   *
   * @param {number} endOffset
   */
  follow(endOffset) {
    const mayOpen = performance.now() - this.#openedAt > reopenMs;
    const hasFailed = this.#source?.readyState === EventSource.CLOSED;
    const isBehind = endOffset - this.#arrivedOffset > behindMax && this.#arrivedOffset >= 0;
    if (mayOpen && this.#source !== undefined && (hasFailed || isBehind)) this.#open(endOffset);
    this.#say();
  }

  #sync() {
    if (this.#isPaused || document.hidden) this.#close();
    else if (this.#source === undefined) this.#open();
    this.#say();
  }

  #close() {
    this.#source?.close();
    this.#source = undefined;
  }

  /** @param {number} [endOffset] */
  #open(endOffset) {
    this.#close();
    const next = this.#arrivedOffset + 1;
    const isNear = next > 0 && endOffset !== undefined && endOffset - next < rowsMax;
    const from = isNear ? String(next) : `-${next > 0 ? rowsMax : firstRows}`;
    const source = new EventSource(`Data?from=${from}&consistency=local`);
    this.#source = source;
    this.#openedAt = performance.now();
    source.addEventListener("message", ({ lastEventId, data }) => {
      this.#take({ offset: Number(lastEventId), text: data });
    });
    source.addEventListener("problem", (event) => {
      const { title, detail } = JSON.parse(/** @type {MessageEvent} */ (event).data);
      this.#trouble = `${title}. ${detail}`;
    });
    source.addEventListener("open", () => {
      this.#trouble = "";
      this.#say();
    });
    source.addEventListener("error", () => {
      this.#say();
    });
  }

  /** @param {Arrival} arrival */
  #take(arrival) {
    if (arrival.offset <= this.#arrivedOffset) return;
    this.#arrivedOffset = arrival.offset;
    this.#arrivals.push(arrival);
    if (this.#arrivals.length > rowsMax) this.#arrivals.shift();
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#show();
    }, shownEveryMs);
  }

  #show() {
    const arrivals = this.#arrivals.splice(0);
    for (const { offset, text } of arrivals) {
      const skipped = offset - this.#shownOffset - 1;
      if (this.#shownOffset >= 0 && skipped > 0) this.#rows.prepend(gapRow(skipped));
      this.#rows.prepend(this.#rowOf(recordOf(text)));
      this.#shownOffset = offset;
    }
    while (this.#rows.childElementCount > rowsMax) this.#rows.lastElementChild?.remove();
    this.#say();
  }

  /** @param {import("./record-text.js").ShownRecord} record */
  #rowOf({ offset, timestampMs, key, message, form }) {
    const choose = make("button", { type: "button", class: "link" }, count(offset));
    choose.setAttribute("aria-label", `Read offset ${offset}`);
    choose.addEventListener("click", () => {
      this.#onChosen(offset);
    });
    const iso = new Date(timestampMs).toISOString();
    const shownTime = clockTime(timestampMs, { milliseconds: true });
    const time = make("time", { datetime: iso, title: iso }, shownTime);
    const shown = visible(message, messageMax);
    const text = make("span", { class: "message", dir: "ltr" }, shown === "" ? "empty" : shown);
    text.classList.toggle("none", shown === "");
    const cell = make("td", {}, text);
    if (key !== undefined) {
      cell.prepend(make("span", { class: "chip mono", title: "Key" }, visible(key, 80)), " ");
    }
    const rest = message.length - messageMax;
    if (rest > 0) cell.append(make("span", { class: "note" }, ` … ${count(rest)} more characters`));
    if (form === "base64") cell.append(make("span", { class: "note" }, " base64"));
    return make("tr", {}, make("th", { scope: "row" }, choose, " ", time), cell);
  }

  #say() {
    const rows = this.#rows.childElementCount;
    const held =
      rows === 0 ? "There is no record yet." : `Newest at offset ${count(this.#shownOffset)}.`;
    const isLive = this.#source?.readyState === EventSource.OPEN;
    if (this.#isPaused) setText(this.#note, `Paused. ${held}`);
    else if (this.#trouble !== "") setText(this.#note, visible(this.#trouble, 300));
    else setText(this.#note, isLive ? `Live. ${held}` : `Connecting. ${held}`);
    byId("records-card").classList.toggle("live", isLive && !this.#isPaused);
  }
}

/** @param {number} skipped */
function gapRow(skipped) {
  const text = `${count(skipped)} not shown`;
  return make("tr", { class: "gap" }, make("td", { colspan: "2" }, text));
}
