/**
 * The Raft core's public face. See raft.ts for what it is, effects.ts for the contract with the
 * host, docs/raft.md for the rules and where each is kept.
 */
export * from "./effects.js";
export { emptyLogImage } from "./log.js";
export type { LogImage, TermRun } from "./log.js";
export * from "./message.js";
export { hasQuorum, quorumCount } from "./quorum.js";
export { Raft } from "./raft.js";
export type { FollowerStatus, RaftStatus } from "./raft.js";
export { noConfiguration, raftDefaults } from "./state.js";
export type { ConfigurationAt, InitialState, RaftOptions, Role } from "./state.js";
