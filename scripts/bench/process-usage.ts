import { readFileSync } from "node:fs";

/** What a set of processes used, summed up. */
export interface Usage {
  readonly cpuSeconds: number;
  /** Resident memory of the largest. */
  readonly maxRssMiB: number;
}

/** Linux counts processor time in hundredths of a second. */
const ticksPerSecond = 100;

/** Reads what Linux counts for these processes since they began. Throws when one of them has ended. */
export function usageOf(pids: readonly number[]): Usage {
  let cpuSeconds = 0;
  let maxRssMiB = 0;
  for (const pid of pids) {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in brackets may hold spaces; fields are counted from after it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    cpuSeconds += (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
    const rss = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
    maxRssMiB = Math.max(maxRssMiB, Number(rss?.[1] ?? 0) / 1024);
  }
  return { cpuSeconds, maxRssMiB };
}
