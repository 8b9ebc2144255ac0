/**
 * `proglog members`: lists the members, takes a node in, takes one out.
 *
 * Changes are the leader's to make or refuse; nothing is judged here.
 */
import type { Argv } from "yargs";

import { UsageError } from "../../agent/option-table.js";
import { isAddress } from "../../client/address.js";
import type { SplitArguments } from "../node-flags.js";
import type { Session, Talk, TalkCommand } from "./command.js";
import { exitCodes } from "./exit-codes.js";
import { isOn } from "./flags.js";
import { memberLines, memberNamed } from "./member-lines.js";

type Action =
  | { readonly type: "list" }
  | { readonly type: "add"; readonly rpcAddr: string }
  | { readonly type: "remove" | "promote"; readonly called: string };

export const membersCommand: TalkCommand = {
  usage: "members [action] [member]",
  summary: "List the members; add, remove or promote one",
  examples: [
    ["proglog members", "who is in the cluster"],
    ["proglog members add 10.0.0.4:8400", "take in the node that answers there, as a learner"],
    ["proglog members promote n4", "make a learner that has caught up a voter"],
    ["proglog members remove n4", "by name or id; also one that is dead"],
  ],
  addFlags: (yargs: Argv) =>
    yargs
      .positional("action", { type: "string", describe: "add, remove or promote" })
      .positional("member", {
        type: "string",
        describe: "rpc address of a node to add; else a member's id or name",
      })
      .option("json", { boolean: true, describe: "Print JSON: the members, or the one" }),
  plan: (split) => {
    const action = actionOf(split);
    return talkOf(action, isOn(split, "json"));
  },
};

/** @throws UsageError */
function actionOf(split: SplitArguments): Action {
  const { action: type, member } = split;
  if (type === undefined) return { type: "list" };
  if (type !== "add" && type !== "remove" && type !== "promote") {
    const range = "add, remove or promote";
    throw new UsageError(`members can't ${JSON.stringify(type)}; it can ${range}.`);
  }
  if (typeof member !== "string") {
    const what = type === "add" ? "a node's rpc address" : "a member's id or name";
    throw new UsageError(`members ${type} needs ${what}.`);
  }
  if (type !== "add") return { type, called: member };
  if (isAddress(member)) return { type, rpcAddr: member };
  throw new UsageError(`members add can't take ${JSON.stringify(member)}; it takes host:port.`);
}

function talkOf(action: Action, isJsonPrinted: boolean): Talk {
  switch (action.type) {
    case "list":
      return async (session) => list(isJsonPrinted, session);
    case "add":
      return async (session) => add(action.rpcAddr, isJsonPrinted, session);
    case "remove":
    case "promote":
      return async (session) => change(action, isJsonPrinted, session);
  }
}

async function list(isJsonPrinted: boolean, session: Session): Promise<number> {
  const { client, output, stopping, timeoutMs } = session;
  const { members } = await client.cluster.status({ timeoutMs, signal: stopping });
  const lines = isJsonPrinted ? [JSON.stringify(members)] : memberLines(members);
  for (const line of lines) await output.line(line);
  return exitCodes.done;
}

async function add(rpcAddr: string, isJsonPrinted: boolean, session: Session): Promise<number> {
  const { client, output, stopping, timeoutMs } = session;
  const member = await client.cluster.addMember(rpcAddr, { timeoutMs, signal: stopping });
  const { id, name } = member;
  await output.line(isJsonPrinted ? JSON.stringify(member) : `added ${name} (${id})`);
  return exitCodes.done;
}

async function change(
  { type, called }: Extract<Action, { readonly called: string }>,
  isJsonPrinted: boolean,
  session: Session,
): Promise<number> {
  const { client, output, stopping, timeoutMs } = session;
  const options = { timeoutMs, signal: stopping };
  const { members } = await client.cluster.status(options);
  const { id, name, rpcAddr, httpAddr } = memberNamed(members, called);
  if (type === "remove") await client.cluster.removeMember(id, options);
  else await client.cluster.promoteMember(id, options);
  const member = { id, name, rpcAddr, httpAddr };
  const text = `${type === "remove" ? "removed" : "promoted"} ${name} (${id})`;
  await output.line(isJsonPrinted ? JSON.stringify(member) : text);
  return exitCodes.done;
}
