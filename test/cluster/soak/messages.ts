/**
 * Messages of a soak: a name that is unique, and a filling that follows from it.
 *
 * Only the name goes into the history. What comes back with another filling keeps its whole text,
 * so that the checker finds a stranger. Nodes fill files and take checkpoints by the filling.
 */
const fillingMax = 1_200;

/** The message of a name, up to about a kilobyte. The name has no space. */
export function messageOf(name: string): string {
  let hash = 0;
  for (const letter of name) hash = (Math.imul(hash, 31) + letter.charCodeAt(0)) >>> 0;
  return `${name} ${String(hash).repeat(Math.ceil((hash % fillingMax) / 10))}`;
}

/** The name of a message, or the message as it is if no name makes it. */
export function nameOfMessage(message: unknown): string {
  if (typeof message !== "string") return `not a text: ${JSON.stringify(message)}`;
  const [name = ""] = message.split(" ", 1);
  return messageOf(name) === message ? name : message;
}
