/**
 * `proglog transfer-leader`: hands leadership to a voter, and says who leads then.
 * It ends once a node names the new leader: what is asked next finds it.
 */
import type { Argv } from "yargs";

import type { LeaderHint } from "../../common/errors.js";
import { ProglogError } from "../../common/errors.js";
import { sleep } from "../../common/clock.js";
import type { Session, TalkCommand } from "./command.js";
import { exitCodes } from "./exit-codes.js";
import { isOn } from "./flags.js";
import { memberNamed } from "./member-lines.js";

const pollMs = 50;

export const transferLeaderCommand: TalkCommand = {
  usage: "transfer-leader [member]",
  summary: "Hand leadership to another voter",
  examples: [
    ["proglog transfer-leader", "to the voter that is furthest"],
    ["proglog transfer-leader n2", "by name or id"],
  ],
  addFlags: (yargs: Argv) =>
    yargs
      .positional("member", { type: "string", describe: "A voter's id or name" })
      .option("json", { boolean: true, describe: "Print the new leader as JSON" }),
  plan: (split) => {
    const { member } = split;
    const called = typeof member === "string" ? member : undefined;
    return async (session) => transfer(called, isOn(split, "json"), session);
  },
};

async function transfer(
  called: string | undefined,
  isJsonPrinted: boolean,
  session: Session,
): Promise<number> {
  const { client, output, stopping, timeoutMs } = session;
  const options = { timeoutMs, signal: stopping };
  const { members, leader: former } = await client.cluster.status(options);
  const id = called === undefined ? undefined : memberNamed(members, called).id;
  await client.cluster.transferLeader(id, options);
  const leader = await newLeader(session, former?.id);
  const { name, id: leaderId } = leader;
  await output.line(isJsonPrinted ? JSON.stringify({ leader }) : `${name} leads (${leaderId})`);
  return exitCodes.done;
}

/** Who leads now: the cluster hears of it a moment after the transfer. @throws ProglogError */
async function newLeader(session: Session, formerId: string | undefined): Promise<LeaderHint> {
  const { client, clock, stopping, timeoutMs } = session;
  const deadlineMs = clock.now() + timeoutMs;
  while (clock.now() < deadlineMs) {
    const leftMs = Math.max(1, deadlineMs - clock.now());
    const { leader } = await client.cluster.status({ timeoutMs: leftMs, signal: stopping });
    if (leader !== null && leader.id !== formerId) return leader;
    await sleep(clock, pollMs, stopping);
  }
  const detail = "Leadership was handed over, but no node names the new leader.";
  throw new ProglogError("outcome-unknown", detail);
}
