/**
 * How a record is written out. Pure: an answer's text in, text out.
 *
 * A record is whatever anybody has appended. So it is never markup; what would be invisible, or
 * would turn the direction of what follows, is written as its escape; and JSON stays the text that
 * it was posted as, because JSON.parse would round its numbers.
 */

/**
 * @typedef {{
 *   offset: number, timestampMs: number, key: string | undefined,
 *   headers: [string, string][], message: string, form: "text" | "JSON" | "base64",
 * }} ShownRecord
 */

/**
 * @param {string} text The JSON of one record, as the node writes it.
 * @returns {ShownRecord}
 */
export function recordOf(text) {
  const record = JSON.parse(text);
  const isText = typeof record.message === "string";
  return {
    offset: record.offset,
    timestampMs: Date.parse(record.timestamp),
    key: record.key,
    headers: Object.entries(record.headers ?? {}),
    message: isText ? record.message : jsonMessage(text, record),
    form: record.encoding === "base64" ? "base64" : isText ? "text" : "JSON",
  };
}

/**
 * The message's own digits, cut out of the answer between what stands before and after it.
 *
 * @param {string} text
 * @param {any} record
 */
function jsonMessage(text, record) {
  const { offset, message, timestamp, key, headers } = record;
  const before = `{"offset":${offset},"message":`;
  const after = JSON.stringify({ timestamp, key, headers }).replace("{", ",");
  const isAsWritten = text.startsWith(before) && text.endsWith(after);
  return isAsWritten ? text.slice(before.length, -after.length) : JSON.stringify(message);
}

/** Controls but tab and line break, marks of no width or of direction, and lone surrogates. */
const unseen =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/**
 * @param {string} text
 * @param {number} [lengthMax]
 * @returns {string} The text with what cannot be seen made visible, cut at the length.
 */
export function visible(text, lengthMax = Infinity) {
  const cut = text.length > lengthMax ? text.slice(0, lengthMax) : text;
  return cut.replace(
    unseen,
    (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0").toUpperCase()}`,
  );
}
