import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** The process at the other end of a connection on this machine's loopback, as Linux tells in /proc; null when it is none of `pids`. */
export function connectionOwner(
  clientPort: number,
  serverPort: number,
  pids: readonly number[],
): number | null {
  const inode = inodeOf(clientPort, serverPort);
  const link = `socket:[${inode}]`;
  return inode === null ? null : (pids.find((pid) => linksOf(pid).includes(link)) ?? null);
}

/** Columns of /proc/net/tcp: number, local address, remote address, ..., inode as the tenth. */
function inodeOf(localPort: number, remotePort: number): string | null {
  const [local, remote] = [localPort, remotePort].map((port) => `0100007F:${hexOf(port)}`);
  for (const line of readFileSync("/proc/net/tcp", "latin1").split("\n")) {
    const columns = line.trim().split(/\s+/);
    if (columns[1] === local && columns[2] === remote) {
      return columns[9] ?? null;
    }
  }
  return null;
}

function hexOf(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, "0");
}

function linksOf(pid: number): readonly string[] {
  try {
    const directory = `/proc/${pid}/fd`;
    return readdirSync(directory).flatMap((name) => linkOf(`${directory}/${name}`));
  } catch {
    // The process has ended.
    return [];
  }
}

function linkOf(path: string): readonly string[] {
  try {
    return [readlinkSync(path)];
  } catch {
    // Closed since it was listed.
    return [];
  }
}
