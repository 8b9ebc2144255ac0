/**
 * Why a node could not start, in the words that the person who typed the command sees.
 */

/**
 * A node that cannot start here and now: a port in use, a directory locked or damaged, another
 * cluster's data. The message is one line that names the cause and the remedy, such as "port 5000 is
 * in use; choose another with --http-addr".
 */
export class StartError extends Error {
  override readonly name = "StartError";
}
