/**
 * What a program that started a gateway holds in its hands: the agent's promise to the command
 * line. It says nothing of how a gateway is built.
 */

/** A gateway that has started. */
export interface RunningGateway {
  readonly name: string;
  /** The address really bound: where port 0 was asked for, the port that was free. */
  readonly httpAddr: string;
  /** Ends what is under way and releases everything; once, however often it is called. */
  close(): Promise<void>;
}
