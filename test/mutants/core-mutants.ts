/**
 * Planted bugs in the core: elections, replication, commitment, members, reads (src/raft).
 */
import type { Edit, Mutant } from "./mutant.js";

/** Appends of one entry: what a leader of a newer term has sent last is then its own alone. */
const oneEntryAMessage: Edit = {
  file: "src/raft/state.ts",
  find: "appendBytesMax: 1024 * 1024,",
  replace: "appendBytesMax: 1,",
};

/** Election timeouts that lie close together: candidates of one term are the rule. */
const closeTimeouts: Edit = {
  file: "src/raft/state.ts",
  find: "electionTicks + Math.floor(this.random.next() * electionTicks);",
  replace: "electionTicks + Math.floor(this.random.next() * 4);",
};

export const coreMutants: readonly Mutant[] = [
  {
    name: "old-leader-obeyed",
    rule: "R-E1",
    why: "a leader of an older term goes on to write into logs that a newer one leads",
    file: "src/raft/raft.ts",
    find: "if (message.term < state.term) {",
    replace: 'if (message.term < state.term && message.type !== "appendRequest") {',
    also: [
      {
        file: "src/raft/replication.ts",
        find: '  assert(request.term === state.term, "an append is handled in its own term");\n',
        replace: "",
      },
      {
        file: "src/raft/replication.ts",
        find: '  assert(state.role !== "leader", "a term has one leader");\n',
        replace: '  if (state.role === "leader") return;\n',
      },
    ],
    tuning: [closeTimeouts],
  },
  {
    name: "second-vote-in-a-term",
    rule: "R-E2",
    why: "two candidates of one term can both win",
    file: "src/raft/election.ts",
    find: "const isFree = state.vote === request.from || (state.vote === null && state.leaderId === null);",
    replace: "const isFree = state.vote !== state.id && state.leaderId === null;",
    also: [
      {
        file: "src/raft/state.ts",
        find: "term > this.term || this.vote === null || this.vote === vote,",
        replace: "true,",
      },
      {
        file: "src/raft/invariants.ts",
        find: 'assert(state.vote === before.vote, "a vote is not changed within its term");',
        replace: "",
      },
    ],
    tuning: [closeTimeouts],
  },
  {
    name: "vote-without-looking-at-the-log",
    rule: "R-E3",
    why: "a node that lacks committed entries can lead, and overwrite them",
    file: "src/raft/log.ts",
    find: "return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.#lastIndex);",
    replace: "return true;",
  },
  {
    name: "vote-by-length-alone",
    rule: "R-E3",
    why: "a long log of an old term is taken for newer than a short one of a new term",
    file: "src/raft/log.ts",
    find: "return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.#lastIndex);",
    replace: "return lastIndex >= this.#lastIndex;",
  },
  {
    name: "votes-of-an-older-term-counted",
    rule: "R-E4",
    why: "a candidate wins a term with votes that were given in the one before",
    file: "src/raft/raft.ts",
    find: "if (message.term < state.term) {",
    replace: 'if (message.term < state.term && message.type !== "voteResponse") {',
    also: [
      {
        file: "src/raft/election.ts",
        find: "if (!isAwaited || (response.granted && response.term !== askedTerm)) return;",
        replace: "if (!isAwaited) return;",
      },
    ],
    tuning: [closeTimeouts],
  },
  {
    name: "own-vote-counted-before-durable",
    rule: "R-P1",
    why: "a candidate that crashes votes for another in the term that it has won",
    file: "src/raft/election.ts",
    find: "state.ownVoteToken = state.stepToken;",
    replace: "state.ownVoteToken = 0;",
    also: [
      {
        file: "src/raft/election.ts",
        find: "  requestVotes(state, false);\n",
        replace:
          "  requestVotes(state, false);\n  state.votes.set(state.id, true);\n  maybeWin(state);\n",
      },
    ],
  },
  {
    name: "append-taken-without-its-predecessor",
    rule: "R-R1",
    why: "entries are put after others than those that the leader has before them",
    file: "src/raft/replication.ts",
    find: "if (!isCovered && state.log.termAt(prevIndex) !== prevTerm) {",
    replace: "if (!isCovered && state.log.termAt(prevIndex) === undefined) {",
  },
  {
    name: "cut-on-every-append",
    rule: "R-R2",
    why: "a late or doubled append cuts what a newer one brought and was acknowledged",
    file: "src/raft/replication.ts",
    find: "const isHeld = entry.index <= state.log.snapshotIndex || held === entry.term;",
    replace: "const isHeld = entry.index <= state.commitIndex;",
  },
  {
    name: "new-leader-cuts-what-it-does-not-know-committed",
    rule: "R-R4",
    why: "what the old leader committed and this one has not heard of yet is gone",
    file: "src/raft/election.ts",
    find: "  state.termStartIndex = state.log.lastIndex + 1;\n",
    replace:
      "  if (state.log.lastIndex > state.commitIndex) state.truncateSuffix(state.commitIndex + 1);\n" +
      "  state.termStartIndex = state.log.lastIndex + 1;\n",
  },
  {
    name: "match-index-guessed",
    rule: "R-R6",
    why: "a new leader counts followers for entries that they do not have",
    file: "src/raft/progress.ts",
    find: "    this.nextIndex = nextIndex;\n    this.heardTick = heardTick;",
    replace:
      "    this.nextIndex = nextIndex;\n    this.matchIndex = nextIndex - 1;\n    this.heardTick = heardTick;",
  },
  {
    name: "lost-append-not-sent-again",
    rule: "R-R9",
    why: "one lost message, and a follower never gets on",
    file: "src/raft/replication.ts",
    find: "    reviveStream(state, id, progress);\n",
    replace: "",
  },
  {
    name: "entries-of-an-older-term-counted",
    rule: "R-C1",
    why: "figure 8: what is called committed can still be overwritten by a newer leader",
    file: "src/raft/commit.ts",
    find: "if (index <= state.commitIndex || state.log.termAt(index) !== state.term) return false;",
    replace: "if (index <= state.commitIndex) return false;",
    tuning: [oneEntryAMessage],
  },
  {
    name: "commit-what-the-leader-says",
    rule: "R-C3",
    why: "a follower commits entries of its own that the leader has not verified",
    file: "src/raft/replication.ts",
    find: "commitTo(state, Math.min(request.commitIndex, verified, state.log.lastIndex));",
    replace: "commitTo(state, Math.min(request.commitIndex, state.log.lastIndex));",
  },
  {
    name: "heartbeat-commits-unverified",
    rule: "R-C3",
    why: "a heartbeat, which verifies little, commits all that a follower happens to hold",
    file: "src/raft/replication.ts",
    find: "  const verified = prevIndex + request.entries.length;\n  commitTo(state, Math.min(request.commitIndex, verified, state.log.lastIndex));",
    replace:
      "  const verified = prevIndex + request.entries.length;\n" +
      "  const commits = request.entries.length === 0 ? state.log.lastIndex : verified;\n" +
      "  commitTo(state, Math.min(request.commitIndex, commits, state.log.lastIndex));",
  },
  {
    name: "leader-counts-what-it-has-not-synced",
    rule: "R-C5",
    why: "an append is acknowledged that fewer than a quorum would hold after a power cut",
    file: "src/raft/commit.ts",
    find: "id === state.id ? state.durableIndex : (state.progress.get(id)?.matchIndex ?? 0),",
    replace: "id === state.id ? state.log.lastIndex : (state.progress.get(id)?.matchIndex ?? 0),",
  },
  {
    name: "follower-acknowledges-before-its-sync",
    rule: "R-P1",
    why: "an acknowledged entry is gone after the follower's power cut",
    file: "src/raft/replication.ts",
    find: "const durable = result.rejected ? 0 : state.tokenFor(result.index);",
    replace: "const durable = 0;",
  },
  {
    name: "vote-sent-before-it-is-durable",
    rule: "R-P1",
    why: "a node that loses its power votes a second time in the term",
    file: "src/raft/election.ts",
    find: "respond(state, request, granted, state.term, state.hardStateToken);",
    replace: "respond(state, request, granted, state.term, 0);",
  },
  {
    name: "durability-matched-by-index",
    rule: "R-P4",
    why: "the end of a write that was since cut makes the entry in its place durable (ABA)",
    file: "src/raft/state.ts",
    find: "pending.lastIndex = Math.min(pending.lastIndex, from - 1);",
    replace: "void pending;",
  },
  {
    name: "snapshot-keeps-a-conflicting-suffix",
    rule: "R-S2",
    why: "entries that no leader ever committed stay behind a snapshot",
    file: "src/raft/state.ts",
    find: "const keepsSuffix = this.log.termAt(index) === term;",
    replace: "const keepsSuffix = this.log.lastIndex >= index;",
  },
  {
    name: "snapshot-drops-a-matching-suffix",
    rule: "R-S2",
    why: "entries behind the snapshot that were acknowledged are thrown away",
    file: "src/raft/state.ts",
    find: "const keepsSuffix = this.log.termAt(index) === term;",
    replace: "const keepsSuffix = false;",
  },
  {
    name: "snapshot-below-what-is-committed",
    rule: "R-S2",
    why: "a late snapshot takes back what was applied",
    file: "src/raft/snapshot.ts",
    find: "  if (snapshot.index <= state.commitIndex) return;\n",
    replace: "",
  },
  {
    name: "snapshot-offered-once",
    rule: "R-S5",
    why: "a lost offer, and a follower is never brought up to date",
    file: "src/raft/replication.ts",
    find: 'if (progress.state === "snapshot" && isOfferOld) {',
    replace: "if (isOfferOld && !isOfferOld) {",
  },
  {
    name: "second-change-in-flight",
    rule: "R-M1",
    why: "two configurations in force that share no quorum",
    file: "src/raft/configuration.ts",
    find: 'if (state.configurationIndex > state.commitIndex) return "change-pending";',
    replace: "",
  },
  {
    name: "change-before-a-commit-of-the-own-term",
    rule: "R-M1",
    why: "two leaders change the same configuration, each its own way (erratum to thesis §4.1)",
    file: "src/raft/configuration.ts",
    find: 'if (!hasCommittedInTerm(state)) return "no-commit-in-term";',
    replace: "",
  },
  {
    name: "configuration-not-reverted",
    rule: "R-M2",
    why: "a node goes by members that were cut from its log",
    file: "src/raft/state.ts",
    find: "while (this.configurationIndex >= from && this.configurations.length > 0) {",
    replace: "while (false) {",
  },
  {
    name: "learner-counted",
    rule: "R-M5",
    why: "an append is acknowledged on the word of a node that has no vote",
    file: "src/raft/commit.ts",
    find: "const index = quorumValue(state.configuration.voters, (id) =>",
    replace:
      "const { voters, learners } = state.configuration;\n" +
      "  const index = quorumValue([...voters, ...learners], (id) =>",
  },
  {
    name: "removed-leader-counts-itself",
    rule: "R-M6",
    why: "a change is committed by fewer than a quorum of those who stay",
    file: "src/raft/commit.ts",
    find: "const index = quorumValue(state.configuration.voters, (id) =>",
    replace:
      "const { voters } = state.configuration;\n" +
      "  const self = { id: state.id, name: '', rpcAddr: '', httpAddr: '' };\n" +
      "  const index = quorumValue(state.isVoter ? voters : [...voters, self], (id) =>",
  },
  {
    name: "read-without-a-round",
    rule: "R-Q1",
    why: "a leader that was deposed and does not know it answers with an old end",
    file: "src/raft/read-index.ts",
    find: "    addRead(state, readId, null);\n",
    replace: '    state.emit({ type: "readReady", readId, index: state.commitIndex });\n',
  },
  {
    name: "read-before-a-commit-of-the-own-term",
    rule: "R-Q1",
    why: "a new leader does not know yet how far the log is committed",
    file: "src/raft/read-index.ts",
    find: "if (!hasCommittedInTerm(state) || state.readRound > state.confirmedRound) return;",
    replace: "if (state.readRound > state.confirmedRound) return;",
  },
  {
    name: "any-answer-confirms-a-read",
    rule: "R-Q2",
    why: "an answer that left before the read came vouches for it",
    file: "src/raft/replication.ts",
    find: "progress.round = Math.max(progress.round, response.round);",
    replace: "progress.round = state.readRound;",
  },
  {
    name: "follower-reads-at-its-own-commit-index",
    rule: "R-Q3",
    why: "a follower that is behind answers for the end of the log",
    file: "src/raft/read-index.ts",
    find: '  else state.emit({ type: "readReady", readId, index });',
    replace: '  else state.emit({ type: "readReady", readId, index: state.commitIndex });',
  },
  {
    name: "transfer-never-ends",
    rule: "R-T1",
    why: "a target that does not take over stops all writes for ever",
    file: "src/raft/transfer.ts",
    find: "  if (!isLate && isIn(state.configuration.voters, transfer.target)) return;\n",
    replace: "  if (isLate || !isLate) return;\n",
  },
];
