/**
 * `proglog status`: who leads, who is there and how far each is, as the leader sees it, or, while
 * there is none, as one node does.
 */
import type { Argv } from "yargs";

import type { ClusterStatus } from "../../client/cluster-admin.js";
import type { Session, TalkCommand } from "./command.js";
import { exitCodes } from "./exit-codes.js";
import { isOn } from "./flags.js";
import { memberLines } from "./member-lines.js";

export const statusCommand: TalkCommand = {
  usage: "status",
  summary: "Show who leads, who is there, and how far each is",
  examples: [
    ["proglog status", "for people"],
    ["proglog status --json", "for programs: the body of GET /cluster"],
  ],
  addFlags: (yargs: Argv) =>
    yargs.option("json", { boolean: true, describe: "Print the body of GET /cluster" }),
  plan: (split) => async (session) => showStatus(isOn(split, "json"), session),
};

async function showStatus(isJsonPrinted: boolean, session: Session): Promise<number> {
  const { client, output, stopping, timeoutMs } = session;
  const status = await client.cluster.status({ timeoutMs, signal: stopping });
  const lines = isJsonPrinted
    ? [JSON.stringify(status)]
    : [...summaryLines(status), "", ...memberLines(status.members)];
  for (const line of lines) await output.line(line);
  return exitCodes.done;
}

function summaryLines(status: ClusterStatus): string[] {
  const { clusterId, term, leader, quorum, readOnly, startOffset, endOffset, source } = status;
  const count = endOffset - startOffset;
  const records = count === 1 ? "1 record" : `${String(count)} records`;
  const place = count === 0 ? "" : `, offsets ${String(startOffset)} to ${String(endOffset - 1)}`;
  const lines = [
    `cluster  ${clusterId ?? "none yet"}`,
    `leader   ${leader?.name ?? "none"}, in term ${String(term)}`,
    `quorum   ${quorum ? "yes" : "no"}${readOnly ? "; writes are refused" : ""}`,
    `log      ${records}${place}`,
  ];
  if (source === "local" && leader?.id !== status.node.id) {
    lines.push(`source   ${status.node.name} alone: it has no answer from a leader`);
  }
  return lines;
}
