/**
 * Why a node could not start, in the words that the person who typed the command sees. The agent
 * turns what its parts throw into this; the command line prints it without a stack trace.
 */

/**
 * A node that cannot start here and now: a port in use, a directory locked or damaged, another
 * cluster's data. The message is one line that names the cause and the remedy, such as
 * "127.0.0.1:5000 is in use; choose another --http-addr".
 */
export class StartError extends Error {
  override readonly name = "StartError";
}
