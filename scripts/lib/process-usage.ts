import { readdirSync, readFileSync } from "node:fs";

/** What one process used. */
export interface Usage {
  /** Processor time since it began. */
  readonly cpuSeconds: number;
  /** Resident memory. */
  readonly rssMiB: number;
  /** The part of it that is the process's own; the rest is files mapped into it, which the system may drop. */
  readonly ownMiB: number;
  /** File descriptors: files, sockets, and what the event loop needs for itself. */
  readonly openFiles: number;
}

/** Linux counts processor time in hundredths of a second. */
const ticksPerSecond = 100;

/** Reads what Linux counts for a process. Throws when it has ended. */
export function usageOf(pid: number): Usage {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name in brackets may hold spaces; fields are counted from after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const mib = (name: string): number =>
    Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0) / 1024;
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
    rssMiB: mib("VmRSS"),
    ownMiB: mib("RssAnon"),
    openFiles: readdirSync(`/proc/${pid}/fd`).length,
  };
}
