/**
 * What is said when data that was durable can no longer be read: the file, the place, the fault.
 *
 * Damage is never cut away and never served: the caller refuses to start, or to answer for that
 * place, until the data has come back from a peer.
 */
export class DamageError extends Error {
  override readonly name = "DamageError";
  readonly file: string;
  /** Byte position in the file. */
  readonly position: number;
  readonly what: string;

  constructor(file: string, position: number, what: string, cause?: unknown) {
    super(`${file} at ${String(position)}: ${what}`, { cause });
    this.file = file;
    this.position = position;
    this.what = what;
  }
}
