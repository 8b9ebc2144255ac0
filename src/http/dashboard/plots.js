/**
 * Draws the plots: lines over the last five minutes as SVG, in the size that they are shown in.
 *
 * A plot is an image with a sentence for those who do not see it; its values are also in a table.
 */
import { clockTime, make, setText } from "./elements.js";
import { niceAbove, spanMs } from "./samples.js";

const svgName = "http://www.w3.org/2000/svg";
const height = 132;
/** What stands in a plot of which nothing is known. */
const nothing = "Nothing measured yet";
const margin = { top: 10, right: 2, bottom: 20, left: 2 };

/**
 * @typedef {import("./samples.js").Point} Point
 * @typedef {{ name: string, value: (point: Point) => number | null }} Line
 * @typedef {{ lines: readonly Line[], format: (value: number) => string, max: number }} Options
 */

export class Plot {
  /** @type {HTMLElement} */
  #place;
  #svg = svg("svg", { role: "img", height: String(height) });
  #tip = make("p", { class: "tip", "aria-hidden": "true" });
  /** @type {readonly Line[]} */
  #lines;
  /** @type {(value: number) => string} */
  #format;
  /** @type {readonly Point[]} */
  #points = [];
  #max = 0;
  #nowMs = 0;
  #width = 0;
  /** Where the pointer is, from 0 to 1. @type {number | undefined} */
  #pointed;

  /**
   * @param {HTMLElement} place
   * @param {Options} options `max` is the least that the scale reaches to.
   */
  constructor(place, { lines, format, max }) {
    this.#place = place;
    this.#lines = lines;
    this.#format = format;
    this.#max = max;
    this.#tip.hidden = true;
    place.append(this.#svg, this.#tip);
    new ResizeObserver(() => {
      this.#draw();
    }).observe(place);
    place.addEventListener("pointermove", (event) => {
      const { left, width } = place.getBoundingClientRect();
      this.#pointed = Math.min(1, Math.max(0, (event.clientX - left) / width));
      this.#draw();
    });
    place.addEventListener("pointerleave", () => {
      this.#pointed = undefined;
      this.#draw();
    });
  }

  /**
   * @param {readonly Point[]} points
   * @param {number} nowMs
   * @param {string} sentence What there is to see.
   */
  show(points, nowMs, sentence) {
    this.#points = points;
    this.#nowMs = nowMs;
    this.#svg.setAttribute("aria-label", sentence);
    this.#draw();
  }

  #draw() {
    this.#width = this.#place.clientWidth;
    if (this.#width === 0) return;
    const values = this.#lines.flatMap(({ value }) => this.#points.map((point) => value(point)));
    const max = niceAbove(Math.max(this.#max, ...values.map((value) => value ?? 0)));
    const isEmpty = values.every((value) => value === null);
    this.#svg.setAttribute("width", String(this.#width));
    this.#svg.replaceChildren(...this.#grid(max), ...this.#marks(), ...this.#paths(max));
    if (isEmpty) this.#svg.append(this.#emptyMark());
    this.#point(max);
  }

  /** @param {number} max */
  #grid(max) {
    return [0, 0.5, 1].flatMap((share) => {
      const y = String(Math.round(this.#y(share * max, max)) + 0.5);
      const line = svg("line", { class: "grid", x1: "0", x2: String(this.#width), y1: y, y2: y });
      if (share === 0) return [line];
      const label = svg("text", { x: "0", y: String(Number(y) + 12) }, this.#format(share * max));
      return [line, label];
    });
  }

  #emptyMark() {
    const place = { x: String(this.#width / 2), y: String(height * 0.3), "text-anchor": "middle" };
    return svg("text", place, nothing);
  }

  #marks() {
    const y = String(height - 4);
    const width = String(this.#width);
    return [
      svg("text", { x: "0", y }, "5 min ago"),
      svg("text", { x: width, y, "text-anchor": "end" }, "now"),
    ];
  }

  /** @param {number} max */
  #paths(max) {
    return this.#lines.flatMap((line, at) => {
      const runs = this.#runs(line);
      const stroke = runs.map((run) => this.#pathOf(run, max)).join("");
      const path = svg("path", { class: `line ${line.name}`, d: stroke });
      if (at > 0 || this.#lines.length > 1) return [path];
      const floor = this.#y(0, max);
      const area = runs.map((run) => {
        const [first = 0, last = 0] = [run[0]?.x, run.at(-1)?.x];
        return `${this.#pathOf(run, max)}L${last} ${floor}L${first} ${floor}Z`;
      });
      return [svg("path", { class: `area ${line.name}`, d: area.join("") }), path];
    });
  }

  /**
   * Neighbours that are both known make a run; nothing is drawn in between runs.
   *
   * @param {Line} line
   */
  #runs({ value }) {
    /** @type {{ x: number, value: number }[][]} */
    const runs = [[]];
    for (const point of this.#points) {
      const known = value(point);
      if (known === null) runs.push([]);
      else runs.at(-1)?.push({ x: this.#x(point.atMs), value: known });
    }
    return runs.filter((run) => run.length > 0);
  }

  /**
   * @param {{ x: number, value: number }[]} run
   * @param {number} max
   */
  #pathOf(run, max) {
    const places = run.map(({ x, value }) => `${x} ${this.#y(value, max).toFixed(1)}`);
    // A point alone is a line of no length, which round caps make a dot.
    return `M${places.join("L")}${places.length === 1 ? "h0" : ""}`;
  }

  /** Shows the values at the pointer. @param {number} max */
  #point(max) {
    const at = this.#pointed;
    const wantedMs = this.#nowMs - spanMs * (1 - (at ?? 0));
    const nearest = this.#points.reduce(
      (best, point) =>
        best === undefined || Math.abs(point.atMs - wantedMs) < Math.abs(best.atMs - wantedMs)
          ? point
          : best,
      /** @type {Point | undefined} */ (undefined),
    );
    this.#tip.hidden = at === undefined || nearest === undefined;
    if (at === undefined || nearest === undefined) return;
    const x = String(this.#x(nearest.atMs));
    const bottom = String(this.#y(0, max));
    this.#svg.append(svg("line", { class: "cross", x1: x, x2: x, y1: "0", y2: bottom }));
    const values = this.#lines.map(({ name, value }) => {
      const known = value(nearest);
      const text = known === null ? "–" : this.#format(known);
      if (known !== null) {
        const y = String(this.#y(known, max));
        this.#svg.append(svg("circle", { class: `dot ${name}`, cx: x, cy: y, r: "3.5" }));
      }
      return this.#lines.length > 1 ? `${name} ${text}` : text;
    });
    setText(this.#tip, `${clockTime(nearest.atMs)}  ${values.join("  ")}`);
    this.#tip.classList.toggle("left", Number(x) > this.#width / 2);
  }

  /** @param {number} atMs */
  #x(atMs) {
    const width = this.#width - margin.left - margin.right;
    const share = 1 - (this.#nowMs - atMs) / spanMs;
    return Math.round((margin.left + Math.max(0, share) * width) * 10) / 10;
  }

  /**
   * @param {number} value
   * @param {number} max
   */
  #y(value, max) {
    const inner = height - margin.top - margin.bottom;
    return margin.top + inner * (1 - Math.min(1, value / max));
  }
}

/**
 * @param {string} tag
 * @param {Record<string, string>} attributes
 * @param {...string} children
 */
function svg(tag, attributes, ...children) {
  const made = /** @type {SVGElement} */ (document.createElementNS(svgName, tag));
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
