/**
 * What the page's modules share: finding and making elements, and writing numbers and times.
 *
 * Text is only ever set as text content. There is no way here to set markup, and the page's
 * Content-Security-Policy would refuse it: names and records come from anybody.
 */

/**
 * @param {string} id
 * @returns {HTMLElement} The element of the page with this id.
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * @param {string} id
 * @returns {HTMLInputElement}
 */
export function inputById(id) {
  return /** @type {HTMLInputElement} */ (byId(id));
}

/**
 * Makes an element with attributes and children; text children become text, never markup.
 *
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * Sets an element's text, and touches it only where that differs: selections stay.
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0, useGrouping: true });

/**
 * @param {number} value
 * @returns {string} Digits in groups of three.
 */
export function count(value) {
  // Narrow spaces instead of commas: an offset is to be read, and typed, as one number.
  return whole.format(value).replaceAll(",", "\u202f");
}

/**
 * @param {number} value
 * @returns {string} A rate or a scale's label: short, with a fraction only where that is small.
 */
export function short(value) {
  if (value >= 1e6) return `${trim(value / 1e6)}M`;
  if (value >= 1e4) return `${trim(value / 1e3)}k`;
  return value >= 100 ? count(value) : trim(value);
}

/** @param {number} value */
function trim(value) {
  return String(Number(value.toFixed(value < 10 ? 2 : 1)));
}

/**
 * @param {number} seconds
 * @returns {string}
 */
export function duration(seconds) {
  if (seconds < 0.001) return `${trim(seconds * 1e6)} µs`;
  return seconds < 1 ? `${trim(seconds * 1e3)} ms` : `${trim(seconds)} s`;
}

/**
 * @param {number} milliseconds
 * @returns {string} How long ago, to the nearest unit that matters.
 */
export function ago(milliseconds) {
  if (milliseconds < 1000) return `${count(milliseconds)} ms ago`;
  const seconds = milliseconds / 1000;
  if (seconds < 120) return `${count(seconds)} s ago`;
  return seconds < 7200 ? `${count(seconds / 60)} min ago` : `${count(seconds / 3600)} h ago`;
}

/**
 * @param {number} timeMs
 * @param {{ milliseconds?: boolean }} [options]
 * @returns {string} Time of day at the reader's place.
 */
export function clockTime(timeMs, { milliseconds = false } = {}) {
  const date = new Date(timeMs);
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()];
  const text = parts.map((part) => String(part).padStart(2, "0")).join(":");
  return milliseconds ? `${text}.${String(date.getMilliseconds()).padStart(3, "0")}` : text;
}

/** A screen reader is told at most one thing in this time, the newest. */
const announcedEveryMs = 4000;
let announcedAt = -announcedEveryMs;
let waiting = "";

/**
 * Tells those who do not see the page, at a pace that can be listened to.
 *
 * @param {string} text
 */
export function announce(text) {
  const wait = announcedAt + announcedEveryMs - performance.now();
  const isDue = waiting !== "";
  waiting = text;
  if (isDue) return;
  setTimeout(
    () => {
      announcedAt = performance.now();
      byId("announcer").textContent = waiting;
      waiting = "";
    },
    Math.max(0, wait),
  );
}
