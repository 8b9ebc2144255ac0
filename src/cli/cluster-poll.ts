/**
 * Asks the nodes of a local cluster over HTTP whether they have become one cluster.
 *
 * What they answer is read with care: in their first moments they know little, and another program
 * may hold the port.
 */
import type { Clock } from "../common/clock.js";
import type { ChildNode } from "./child-node.js";

/** A cluster that is whole. */
export interface Formed {
  /** Name of the node that leads. */
  readonly leader: string;
  readonly voters: number;
}

interface Status {
  readonly leader: string | undefined;
  readonly names: readonly string[];
  readonly voters: number;
}

/** The fields of GET /cluster that matter here, unchecked. */
interface Body {
  readonly leader?: unknown;
  readonly quorum?: unknown;
  readonly members?: unknown;
}

const answerTimeoutMs = 1000;

/**
 * Looks once.
 *
 * @param votersMin Fewest voters of a cluster that counts as whole.
 * @returns What is still missing, as a sentence, if something is.
 */
export async function formedCluster(
  nodes: readonly ChildNode[],
  votersMin: number,
  clock: Clock,
): Promise<Formed | string> {
  const running = nodes.filter((node) => node.isRunning);
  const answers = await Promise.all(running.map(async (node) => ask(node.httpAddr, clock)));
  const silent = running.filter((_, at) => answers[at] === undefined);
  if (silent.length > 0) return `${silent.map(({ name }) => name).join(", ")} do not answer yet.`;
  const [first] = answers;
  const leader = first?.leader;
  if (first === undefined || leader === undefined) return "There is no leader yet.";
  if (answers.some((answer) => answer?.leader !== leader)) return "They know different leaders.";
  const missing = running.filter(({ name }) => !first.names.includes(name));
  if (missing.length > 0) return `${missing.map(({ name }) => name).join(", ")} are not members.`;
  if (first.voters < votersMin) return `${String(first.voters)} of ${String(votersMin)} vote.`;
  return { leader, voters: first.voters };
}

async function ask(httpAddr: string, clock: Clock): Promise<Status | undefined> {
  const late = new AbortController();
  const timer = clock.setTimer(answerTimeoutMs, () => {
    late.abort(new Error("no answer in time"));
  });
  try {
    const answer = await fetch(`http://${httpAddr}/cluster`, { signal: late.signal });
    return answer.ok ? statusOf(await answer.json()) : undefined;
  } catch {
    // Not listening yet, or not one of ours: the same to us, and asked again soon.
    return undefined;
  } finally {
    timer.cancel();
  }
}

function statusOf(body: unknown): Status | undefined {
  const { leader, quorum, members } = fieldsOf(body) as Body;
  if (!Array.isArray(members)) return undefined;
  const fields = members.map(fieldsOf);
  const { name } = fieldsOf(leader) as { readonly name?: unknown };
  return {
    leader: quorum === true && typeof name === "string" ? name : undefined,
    names: fields.map((member) => String(member["name"])),
    voters: fields.filter((member) => member["voter"] === true).length,
  };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}
