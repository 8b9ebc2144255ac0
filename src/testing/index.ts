/**
 * `proglog/testing`: a cluster on simulated network, disks and clock, in one process, for the tests
 * of programs that use proglog. docs/testing-your-program.md says how.
 *
 * What is not exported here is not part of the package's contract. It needs no test runner.
 */
export { TestCluster, TestClusterError } from "./test-cluster.js";
export type { NetworkConditions, TestClusterOptions, UntilOptions } from "./test-cluster.js";
export type { TestClient, TestClientOptions } from "./test-client.js";
export type { CrashOptions, TestNode, TestNodeState, TestNodeStatus } from "./test-node.js";
