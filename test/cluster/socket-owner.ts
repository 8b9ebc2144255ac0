/**
 * Finds which process dialled a connection of this host, from what Linux shows of sockets.
 *
 * So a proxy can cut the link between two nodes and no other, without a word of help from them.
 * Needs no root for processes of the same user.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Which of the processes holds the socket that dialled from a port of 127.0.0.1, if one does. */
export function ownerOf(localPort: number, pids: readonly number[]): number | undefined {
  const inode = inodeOf(localPort);
  if (inode === undefined) return undefined;
  return pids.find((pid) => holds(pid, `socket:[${inode}]`));
}

/** The inode of the socket that dialled from a port of 127.0.0.1. */
function inodeOf(localPort: number): string | undefined {
  const address = `0100007F:${localPort.toString(16).toUpperCase().padStart(4, "0")}`;
  for (const line of readFileSync("/proc/net/tcp", "latin1").split("\n")) {
    // Columns: number, local and remote address, state, …, and the inode as the tenth.
    const columns = line.trim().split(/\s+/);
    const inode = columns[9];
    if (columns[1] === address && inode !== undefined && inode !== "0") return inode;
  }
  return undefined;
}

function holds(pid: number, target: string): boolean {
  const directory = `/proc/${pid}/fd`;
  try {
    return readdirSync(directory).some((name) => linkOf(`${directory}/${name}`) === target);
  } catch {
    return false;
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
