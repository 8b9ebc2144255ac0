/**
 * Scripts with expected output, in the form that etcd's Raft tests use: a command, a line of four
 * dashes, what it prints, an empty line.
 *
 * Running a script gives its whole text anew with the output that really came, so that a test
 * compares two texts and `vitest -u` writes the new one.
 */

/** One command: its name, its words, and its `key=value` options. */
export interface Command {
  readonly name: string;
  readonly words: readonly string[];
  readonly options: ReadonlyMap<string, string>;
}

const separator = "----";

export function parseCommand(line: string): Command {
  const [name = "", ...parts] = line.trim().split(/\s+/);
  const words: string[] = [];
  const options = new Map<string, string>();
  for (const part of parts) {
    const at = part.indexOf("=");
    if (at > 0) options.set(part.slice(0, at), part.slice(at + 1));
    else words.push(part);
  }
  return { name, words, options };
}

/**
 * Runs a script's commands in order.
 *
 * @returns The script with each command's output in the place of what it expected.
 */
export function runScript(script: string, run: (command: Command) => readonly string[]): string {
  const written: string[] = [];
  let isExpected = false;
  for (const line of script.split("\n")) {
    if (isExpected) {
      isExpected = line !== "";
      continue;
    }
    if (line === separator) {
      isExpected = true;
      continue;
    }
    if (line !== "" || written.at(-1) !== "") written.push(line);
    if (line === "" || line.startsWith("#")) continue;
    const output = run(parseCommand(line));
    written.push(separator, ...(output.length === 0 ? ["ok"] : output), "");
  }
  while (written.at(-1) === "") written.pop();
  return `${written.join("\n")}\n`;
}
