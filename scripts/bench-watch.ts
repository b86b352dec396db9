import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Watchers } from "./bench/watchers.ts";
import { LocalCluster } from "./lib/local-cluster.ts";
import { usageOf } from "./lib/process-usage.ts";

const { values } = parseArgs({
  options: {
    watchers: { type: "string", default: "1000" },
    writes: { type: "string", default: "20" },
    "idle-seconds": { type: "string", default: "10" },
    port: { type: "string", default: "19300" },
  },
});
const watcherCount = Number(values.watchers);
const writeCount = Number(values.writes);
const idleMs = Number(values["idle-seconds"]) * 1000;
const port = Number(values.port);

/**
 * What watchers cost on a cluster of three local nodes: memory and processor time of one node with idle watchers, and how long one write
 * takes until all of them have been told.
 */
async function main(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flotilla-bench-"));
  const cluster = new LocalCluster({
    nodes: 3,
    shards: 8,
    replicationFactor: 3,
    basePort: port,
    peerBasePort: port + 10,
    dataDirectory: directory,
    fresh: true,
    flags: ["--log-level=warn", `--watchers-max=${watcherCount + 10}`],
  });
  try {
    await cluster.start();
    await cluster.ready(60_000);
    const node = cluster.nodes[0];
    if (node === undefined || node.pid === null) {
      throw new Error("there is no first node");
    }
    await delay(2000);
    const before = usageOf(node.pid);
    await delay(idleMs);
    const withoutWatchers = usageOf(node.pid);
    const watchers = new Watchers();
    await watchers.open(`${node.url}/v1/watch?prefix=bench-`, watcherCount);
    await delay(2000);
    const opened = usageOf(node.pid);
    await delay(idleMs);
    const idle = usageOf(node.pid);
    print("memory without watchers", `${withoutWatchers.rssMiB.toFixed(0)} MiB`);
    print(`memory with ${watcherCount} idle watchers`, `${idle.rssMiB.toFixed(0)} MiB`);
    print(
      "processor without watchers",
      percent(withoutWatchers.cpuSeconds - before.cpuSeconds, idleMs),
    );
    print("processor with idle watchers", percent(idle.cpuSeconds - opened.cpuSeconds, idleMs));
    const times: number[] = [];
    for (let write = 0; write < writeCount; write++) {
      const startMs = performance.now();
      const told = watchers.told(watcherCount);
      const response = await fetch(`${node.url}/v1/kv/bench-${write}`, {
        method: "PUT",
        body: "x".repeat(100),
      });
      await response.arrayBuffer();
      times.push((await told) - startMs);
      await delay(100);
    }
    times.sort((a, b) => a - b);
    const at = (part: number): string =>
      `${(times[Math.min(times.length - 1, Math.floor(part * times.length))] ?? 0).toFixed(1)} ms`;
    print(`one write told to ${watcherCount} watchers, median of ${writeCount}`, at(0.5));
    print("the slowest", at(1));
    watchers.close();
  } finally {
    await cluster.stopAll();
    await rm(directory, { recursive: true, force: true });
  }
}

function percent(cpuSeconds: number, ms: number): string {
  return `${((100_000 * cpuSeconds) / ms).toFixed(1)} % of a core`;
}

function print(what: string, value: string): void {
  console.log(`${what.padEnd(56)} ${value}`);
}

await main();
