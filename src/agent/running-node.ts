/**
 * What a program that started a node holds in its hands: the agent's promise to the command line
 * and to embedding programs. It says nothing of how a node is built.
 */
/** A node that has started. */
export interface RunningNode {
  /** The node's UUID, kept in its data directory. */
  readonly id: string;
  readonly name: string;
  /** null while the node belongs to no cluster yet. */
  readonly clusterId: string | null;
  /** The address really bound: where port 0 was asked for, the port that was free. */
  readonly httpAddr: string;
  /** The address really bound: where port 0 was asked for, the port that was free. */
  readonly rpcAddr: string;
  readonly dataDirectory: string;
  /** Hands leadership over, drains, releases everything; once, however often it is called. */
  close(): Promise<void>;
  /** Resolves, with the reason, if the node has to stop by itself, as after a failed fsync. */
  readonly failed: Promise<Error>;
}
