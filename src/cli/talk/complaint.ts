/**
 * One line for people about what went wrong: the cause, the error's code, the remedy.
 * Never a stack trace, and never more than one line.
 */
import type { ErrorCode } from "../../common/errors.js";
import { ProglogError } from "../../common/errors.js";

/** What a person can do. Codes whose own sentence says it are not here. */
const remedies: Readonly<Partial<Record<ErrorCode, string>>> = {
  unavailable: "Check that a node runs there, and name its rpc address with --server.",
  "no-leader": "Most voters must run and reach each other; see proglog status.",
  "no-quorum": "Most voters must run and reach each other; see proglog status.",
  "cannot-confirm": "Without a leader, consume --local reads what one node has.",
  "outcome-unknown": "Look before you send it again.",
  "unknown-member": "See proglog members.",
  "disk-full": "Make room on the nodes' disks.",
  overloaded: "Try again later, or with less at once.",
};

/** The line for whatever was thrown. */
export function complaintOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const message = text.replace(/\s*\n\s*/g, " ").replace(/\.*$/, "");
  if (!(error instanceof ProglogError)) return `${message}.`;
  const remedy = remedies[error.code];
  return `${message} (${error.code}).${remedy === undefined ? "" : ` ${remedy}`}`;
}
