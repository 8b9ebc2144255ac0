/**
 * The forms: append a record, read one by its offset.
 *
 * An append carries a key of its own (Idempotency-Key) until it is known what became of it, so
 * pressing the button again after a lost answer appends nothing twice.
 */
import { byId, clockTime, count, duration, inputById, make, setText } from "./elements.js";
import { recordOf, visible } from "./record-text.js";

const appendTimeoutMs = 15_000;
/** Characters of a record that are shown; the whole is behind a link. */
const shownMax = 20_000;

const outcomes = /** @type {Record<string, string>} */ ({
  not_applied: "Nothing was appended.",
  unknown: "It may have been appended. To press Append again is safe: it is appended once at most.",
  applied: "It was appended.",
});

export class Forms {
  #message = inputById("message");
  #key = inputById("key");
  #offset = inputById("offset");
  #appendButton = inputById("append-button");
  /** What stands for the append in the form until its outcome is known. @type {string | undefined} */
  #attempt;
  #endOffset = 0;
  /** Counts reads, so that only the newest one's answer is shown. */
  #reads = 0;

  constructor() {
    const append = byId("append");
    append.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#append();
    });
    append.addEventListener("input", () => {
      this.#attempt = undefined;
    });
    this.#message.addEventListener("keydown", (event) => {
      const isSend = event.key === "Enter" && (event.ctrlKey || event.metaKey);
      if (isSend && !event.isComposing) void this.#append();
    });
    byId("read").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#readTyped();
    });
    byId("read-before").addEventListener("click", () => {
      void this.#step(-1);
    });
    byId("read-after").addEventListener("click", () => {
      void this.#step(1);
    });
    byId("read-newest").addEventListener("click", () => {
      void this.read(Math.max(0, this.#endOffset - 1));
    });
  }

  /** @param {number} endOffset */
  follow(endOffset) {
    this.#endOffset = endOffset;
  }

  async #append() {
    if (this.#appendButton.disabled) return;
    const body = this.#body();
    if (body === undefined) return;
    this.#appendButton.disabled = true;
    setText(this.#appendButton, "Appending…");
    this.#attempt ??= newKey();
    const start = performance.now();
    const result = byId("append-result");
    try {
      const response = await fetch("dashboard/append", {
        method: "POST",
        headers: { "Content-Type": "application/json", "Idempotency-Key": this.#attempt },
        body,
        redirect: "manual",
        signal: AbortSignal.timeout(appendTimeoutMs),
      });
      if (response.type === "opaqueredirect") result.replaceChildren(movedNote());
      else this.#showAppended(response.ok, await response.json(), performance.now() - start);
    } catch {
      const title = make("strong", {}, "No answer came.");
      result.replaceChildren(make("p", { class: "bad" }, title, ` ${outcomes["unknown"]}`));
    } finally {
      this.#appendButton.disabled = false;
      setText(this.#appendButton, "Append");
    }
  }

  /** The append's body, or undefined where the form has a fault, which is then told. */
  #body() {
    const text = this.#message.value;
    const isJson = inputById("append").querySelector("input:checked")?.matches("[value=json]");
    const fault = isJson === true ? faultOfJson(text) : undefined;
    tellFault(this.#message, "message-fault", fault);
    if (fault !== undefined) return undefined;
    const key = this.#key.value;
    const keyField = key === "" ? "" : `,"key":${JSON.stringify(key)}`;
    // JSON goes as it was typed: JSON.stringify(JSON.parse(text)) would round its numbers.
    return `{"message":${isJson === true ? text : JSON.stringify(text)}${keyField}}`;
  }

  /**
   * @param {boolean} isAppended
   * @param {any} answer
   * @param {number} elapsedMs
   */
  #showAppended(isAppended, answer, elapsedMs) {
    const result = byId("append-result");
    if (!isAppended) {
      if (answer.outcome !== "unknown") this.#attempt = undefined;
      result.replaceChildren(problemNote(answer));
      return;
    }
    this.#attempt = undefined;
    const offset = make("button", { type: "button", class: "link" }, count(answer.offset));
    offset.setAttribute("aria-label", `Read offset ${answer.offset}`);
    offset.addEventListener("click", () => {
      void this.read(answer.offset);
    });
    const was = answer.duplicate === true ? "Had been appended at offset " : "Appended at offset ";
    const took = ` in ${duration(elapsedMs / 1000)}, on the disks of a majority.`;
    result.replaceChildren(make("p", { class: "good" }, was, offset, took));
  }

  async #readTyped() {
    const typed = this.#offset.value.replace(/[\s\u202f]/g, "");
    const offset = Number(typed);
    const isOffset = /^\d+$/.test(typed) && Number.isSafeInteger(offset);
    const fault = isOffset ? undefined : "An offset is a whole number from 0.";
    tellFault(this.#offset, "read-fault", fault);
    if (isOffset) await this.read(offset);
    else this.#offset.focus();
  }

  /** @param {1 | -1} by */
  async #step(by) {
    const typed = this.#offset.value;
    const start = /^\d+$/.test(typed) ? Number(typed) + by : 0;
    await this.read(Math.max(0, start));
  }

  /**
   * Reads a record and shows it whole.
   *
   * @param {number} offset
   */
  async read(offset) {
    this.#offset.value = String(offset);
    tellFault(this.#offset, "read-fault", undefined);
    this.#reads += 1;
    const read = this.#reads;
    const result = byId("read-result");
    /** @type {Node[]} */
    let shown;
    try {
      const signal = AbortSignal.timeout(appendTimeoutMs);
      const response = await fetch(`Data?offset=${offset}`, { signal });
      const text = await response.text();
      shown = response.ok ? recordNodes(recordOf(text)) : [problemNote(JSON.parse(text))];
    } catch {
      shown = [make("p", { class: "bad" }, "No answer came.")];
    }
    if (read === this.#reads) result.replaceChildren(...shown);
  }
}

/** A new text that nobody else has. Not randomUUID: that is for pages over TLS alone. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `dashboard-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** @param {string} text */
function faultOfJson(text) {
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    return `This is not JSON: ${/** @type {Error} */ (error).message}`;
  }
}

/**
 * @param {HTMLElement} field
 * @param {string} id Of the place for the fault's text.
 * @param {string | undefined} fault
 */
function tellFault(field, id, fault) {
  const place = byId(id);
  place.hidden = fault === undefined;
  setText(place, fault ?? "");
  if (fault === undefined) {
    field.removeAttribute("aria-invalid");
  } else {
    field.setAttribute("aria-invalid", "true");
    field.focus();
  }
}

function movedNote() {
  const title = make("strong", {}, "The leader has just changed.");
  return make("p", { class: "bad" }, title, " Nothing was appended; press Append again.");
}

/** @param {any} problem */
function problemNote({ title, detail, outcome }) {
  const heading = make("strong", {}, visible(String(title)));
  const note = make("p", { class: "bad" }, heading, ` ${visible(String(detail))}`);
  const means = outcomes[outcome];
  if (means !== undefined) note.append(` ${means}`);
  return note;
}

/**
 * @param {import("./record-text.js").ShownRecord} record
 * @returns {Node[]}
 */
function recordNodes({ offset, timestampMs, key, headers, message, form }) {
  const iso = new Date(timestampMs).toISOString();
  const day = iso.slice(0, 10);
  const time = `${day} ${clockTime(timestampMs, { milliseconds: true })}`;
  const list = make("dl", { class: "fields" });
  const field = (/** @type {string} */ name, /** @type {Node | string} */ value) => {
    list.append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  };
  field("Offset", count(offset));
  field("Time", make("time", { datetime: iso, title: iso }, time));
  if (key !== undefined) field("Key", visible(key));
  for (const [name, value] of headers) field(visible(name), visible(value));
  field("Form", form);
  field("Length", `${count(message.length)} characters`);
  const text = make("pre", { tabindex: "0", dir: "ltr" }, visible(message, shownMax));
  text.setAttribute("aria-label", "Message");
  if (message === "") text.append(make("span", { class: "none" }, "empty"));
  if (message.length <= shownMax) return [list, text];
  const link = make("a", { href: `Data?offset=${offset}` }, "All of it");
  const rest = `${count(message.length - shownMax)} more characters. `;
  return [list, text, make("p", { class: "note" }, rest, link)];
}
