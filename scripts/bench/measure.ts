import { setTimeout as delay } from "node:timers/promises";
import { usageOf } from "../lib/process-usage.ts";
import type { Store } from "./store.ts";
import { type Dialect, type LoadOptions, type LoadResult, runLoad, type Workload } from "./wrk.ts";

/** One measurement: what is asked, by how many connections, for how long. Of whom is told beside it. */
export type Load = Omit<LoadOptions, "dialect" | "urls">;

/** What the load saw and what it cost. */
export interface Sample extends LoadResult {
  readonly dialect: Dialect;
  readonly workload: Workload;
  readonly connections: number;
  readonly keys: number;
  readonly valueBytes: number;
  /** Of each node: processor seconds per second. */
  readonly cores: readonly number[];
  /** Of each node, at the end: resident memory. */
  readonly rssMiB: readonly number[];
}

/** Loads the store and prints one line about it. */
export async function measure(store: Store, load: Load): Promise<Sample> {
  const { workload, connections, keys, valueBytes } = load;
  const before = store.pids().map(usageOf);
  const startedMs = performance.now();
  const result = await runLoad({ ...load, dialect: store.dialect, urls: store.urls });
  const seconds = (performance.now() - startedMs) / 1000;
  const after = store.pids().map(usageOf);
  const sample: Sample = {
    ...result,
    dialect: store.dialect,
    workload,
    connections,
    keys,
    valueBytes,
    cores: after.map((usage, at) => (usage.cpuSeconds - (before[at]?.cpuSeconds ?? 0)) / seconds),
    rssMiB: after.map((usage) => usage.rssMiB),
  };
  console.log(line(sample));
  await delay(500);
  return sample;
}

/** Compiled code, filled caches, a heap of its usual size: a store that serves for days has them. Writes, then mostly reads, 64 connections. */
export async function warmUp(store: Store, load: Load, seconds: number): Promise<void> {
  const half = Math.ceil(seconds / 2);
  if (half === 0) {
    return;
  }
  console.log(`${store.dialect}: warming up`);
  await measure(store, { ...load, workload: "write", connections: 64, seconds: half });
  await measure(store, { ...load, workload: "mixed", connections: 64, seconds: half });
}

function line(sample: Sample): string {
  const { dialect, workload, connections, requestsPerSecond, p50Ms, p99Ms } = sample;
  const list = (numbers: readonly number[], digits: number): string =>
    numbers.map((each) => each.toFixed(digits)).join(" ");
  return [
    dialect.padEnd(9),
    workload.padEnd(6),
    `${connections} connections`.padStart(16),
    `${Math.round(requestsPerSecond)}/s`.padStart(9),
    `p50 ${p50Ms.toFixed(2)} ms`.padStart(14),
    `p99 ${p99Ms.toFixed(1)} ms`.padStart(15),
    `${list(sample.cores, 2)} cores`.padStart(21),
    `${list(sample.rssMiB, 0)} MiB`.padStart(16),
    sample.errors > 0 ? `${sample.errors} errors, ${sample.broken} of them no answer` : "",
  ].join(" ");
}
