/**
 * What the gateway asks of a logger: an event name and its fields. A pino logger fits as it is.
 *
 * It must never be handed a record's bytes, a key or a query string.
 */

type LogLine = (fields: object, event: string) => void;

/** The part of a logger that the gateway uses. */
export interface HttpLogger {
  readonly debug: LogLine;
  readonly info: LogLine;
  readonly warn: LogLine;
  readonly error: LogLine;
}
