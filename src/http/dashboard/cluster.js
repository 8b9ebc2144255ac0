/**
 * What the node says of the cluster: the verdict in a sentence, the facts, and the members.
 *
 * Rows stay as long as their member does, so a link keeps the focus while numbers change around it.
 */
import { ago, announce, byId, count, make, setText } from "./elements.js";

/**
 * @typedef {{
 *   id: string, name: string, role: string, voter: boolean, rpcAddr: string, httpAddr: string,
 *   alive: boolean, matchIndex: number | null, lag: number | null, lastContactMs: number | null,
 * }} Member
 * @typedef {{
 *   clusterId: string | null, node: { id: string, name: string }, term: number,
 *   leader: { id: string, name: string, httpAddr: string } | null, quorum: boolean,
 *   readOnly: boolean, commitIndex: number, appliedIndex: number, startOffset: number,
 *   endOffset: number, source: "leader" | "local", members: Member[],
 * }} Status
 * @typedef {{ kind: "good" | "warn" | "bad", title: string, text: string }} Verdict
 */

/** Entries behind the leader from which on a member counts as behind. */
const lagWarned = 1000;
const numeric = { numeric: true };

/**
 * @param {Status} status
 * @returns {Verdict}
 */
export function verdictOf(status) {
  const { leader, members, node, quorum, readOnly } = status;
  const away = members.filter(({ alive }) => !alive);
  if (leader === null) {
    const text = "Writes are refused until one is elected; reads of what is here go on.";
    return { kind: "bad", title: quorum ? "No leader" : "No leader, no quorum", text };
  }
  if (!quorum) {
    const text = "Fewer than half of the voters are in reach: writes are refused, reads go on.";
    return { kind: "bad", title: "No quorum", text };
  }
  if (readOnly) {
    const text = `${leader.name} leads and refuses writes: its disk is full, or nearly.`;
    return { kind: "bad", title: "Read-only", text };
  }
  if (status.source === "local" && leader.id !== node.id) {
    const text = `${node.name} gets no answer from ${leader.name}. What is below, it knows alone.`;
    return { kind: "warn", title: "The leader does not answer", text };
  }
  const leads = `${leader.name} leads`;
  if (away.length > 0) {
    const names = away.map(({ name }) => name).join(", ");
    const text = `${leads}; not in reach: ${names}. The others make a quorum.`;
    return { kind: "warn", title: `${away.length} of ${members.length} not in reach`, text };
  }
  const who = members.length === 1 ? "it is the only member" : `all ${members.length} are in reach`;
  return { kind: "good", title: "Healthy", text: `${leads}, ${who}.` };
}

export class ClusterView {
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  #told = "";

  /** @param {Status} status */
  show(status) {
    const { leader, node } = status;
    const verdict = verdictOf(status);
    document.title = `${node.name}: ${verdict.title} · proglog`;
    setText(byId("node-name"), node.name);
    setText(byId("state-title"), verdict.title);
    setText(byId("state-text"), verdict.text);
    byId("state-mark").className = `mark ${verdict.kind}`;
    setText(byId("fact-leader"), leader?.name ?? "none");
    setText(byId("fact-term"), count(status.term));
    setText(byId("fact-end"), count(status.endOffset));
    setText(byId("fact-commit"), count(status.commitIndex));
    const isRefused = status.readOnly || leader === null;
    setText(byId("fact-writes"), isRefused ? "refused" : "accepted");
    setText(byId("fact-cluster"), status.clusterId ?? "none yet");
    this.#showMembers(status);
    const told = `${verdict.title}. ${verdict.text}`;
    if (told !== this.#told) announce(told);
    this.#told = told;
  }

  /** @param {Status} status */
  #showMembers({ members, node, source }) {
    const known = new Set(members.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (known.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    let isNew = false;
    const inOrder = [...members].sort((a, b) => a.name.localeCompare(b.name, "en", numeric));
    for (const member of inOrder) {
      let row = this.#rows.get(member.id);
      if (row === undefined) {
        row = newRow();
        this.#rows.set(member.id, row);
        isNew = true;
      }
      fillRow(row, member, { isSelf: member.id === node.id });
    }
    // Only then: a row that is moved loses the focus.
    const rows = inOrder.flatMap(({ id }) => this.#rows.get(id) ?? []);
    if (isNew) byId("members").replaceChildren(...rows);
    const caption =
      source === "leader"
        ? "As the leader knows it"
        : `As ${node.name} alone knows it: there is no contact with a leader`;
    const isLeader = members.some(({ id, role }) => id === node.id && role === "leader");
    setText(byId("members-caption"), isLeader ? "As this node, the leader, knows it" : caption);
  }
}

function newRow() {
  const name = make("th", { scope: "row" });
  name.append(make("span", { class: "name" }), make("span", { class: "sub mono" }));
  const role = make("td", {}, make("span", { class: "chip" }), make("span", { class: "sub" }));
  const health = make("td", {}, make("span", { class: "health" }), make("span", { class: "sub" }));
  const lag = make("td", { class: "number" });
  const match = make("td", { class: "number spare" });
  return make("tr", {}, name, role, health, lag, match, make("td", { class: "mono spare" }));
}

/**
 * @param {HTMLElement} row
 * @param {Member} member
 * @param {{ isSelf: boolean }} options
 */
function fillRow(row, member, { isSelf }) {
  const [name, role, health, lag, match, rpc] = /** @type {HTMLElement[]} */ ([...row.children]);
  const sub = (/** @type {HTMLElement | undefined} */ cell) => part(cell, 1);
  fillName(part(name, 0), member, isSelf);
  setText(sub(name), member.httpAddr);
  setText(part(role, 0), member.role);
  part(role, 0).className = `chip ${member.role}`;
  setText(sub(role), member.voter ? "voter" : "no vote");
  setText(part(health, 0), member.alive ? "in reach" : "not in reach");
  part(health, 0).className = `health ${member.alive ? "good" : "bad"}`;
  const { lastContactMs } = member;
  // Who answers knows itself at once; of others it has heard so long ago.
  setText(
    sub(health),
    lastContactMs === null ? "" : lastContactMs === 0 ? "now" : ago(lastContactMs),
  );
  setNumber(lag, member.lag);
  lag?.classList.toggle("behind", (member.lag ?? 0) >= lagWarned);
  setNumber(match, member.matchIndex);
  if (rpc !== undefined) setText(rpc, member.rpcAddr);
}

/**
 * @param {HTMLElement | undefined} cell
 * @param {number | null} value
 */
function setNumber(cell, value) {
  if (cell === undefined) return;
  if (value !== null) {
    setText(cell, count(value));
  } else if (cell.childElementCount === 0) {
    const dash = make("span", { "aria-hidden": "true" }, "–");
    cell.replaceChildren(dash, make("span", { class: "hidden" }, "unknown"));
  }
}

/**
 * @param {HTMLElement | undefined} cell
 * @param {number} at
 */
function part(cell, at) {
  return /** @type {HTMLElement} */ (cell?.children[at]);
}

/**
 * The name; of another member as a link to its own dashboard.
 *
 * @param {HTMLElement} place
 * @param {Member} member
 * @param {boolean} isSelf
 */
function fillName(place, { name, httpAddr }, isSelf) {
  const href = isSelf ? undefined : dashboardOf(httpAddr);
  const told = `${name} ${isSelf ? "this node" : (href ?? "")}`;
  if (place.dataset["told"] === told) return;
  place.dataset["told"] = told;
  const shown = href === undefined ? name : make("a", { href }, name);
  place.replaceChildren(shown);
  if (isSelf) place.append(" ", make("span", { class: "note" }, "this node"));
}

/**
 * An address is what a member says of itself, so only what is a host and a port becomes a link.
 *
 * @param {string} httpAddr
 * @returns {string | undefined}
 */
export function dashboardOf(httpAddr) {
  const isAddress = /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):\d{1,5}$/.test(httpAddr);
  return isAddress ? `http://${httpAddr}/` : undefined;
}
