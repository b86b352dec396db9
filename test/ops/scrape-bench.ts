// Run: node test/ops/scrape-bench.ts. Prints what a scrape and a recording cost the event loop.
import { performance } from "node:perf_hooks";
import { ShardId } from "../../cluster/types.ts";
import { MetricsCollector } from "../../server/metrics-collector.ts";
import { Metrics } from "../../server/metrics.ts";
import { ShardObserver } from "../../server/shard-observer.ts";
import { nodeSnapshot } from "./support/snapshots.ts";

const shards = 64;
const rounds = 200;
const recordings = 200_000;

const metrics = new Metrics();
metrics.observeProcess();
const observer = new ShardObserver(() => {});
for (let shard = 0; shard < shards; shard += 1) {
  observer.opened(ShardId(shard), 0);
}
const snapshot = nodeSnapshot(shards);
const collector = new MetricsCollector(metrics, { snapshot: () => snapshot }, observer);

const started = performance.now();
for (let i = 0; i < recordings; i += 1) {
  metrics.httpRequest("PUT", "/v1/kv/*", 200, 0.002);
}
const perRequestUs = ((performance.now() - started) * 1000) / recordings;

// Time on the event loop is what stops the node; the process' CPU time is an upper bound of it.
const costsMs: number[] = [];
let bytes = 0;
for (let round = 0; round < rounds; round += 1) {
  const cpuBefore = process.cpuUsage();
  bytes = (await collector.scrape(round * 1000)).length;
  const cpu = process.cpuUsage(cpuBefore);
  costsMs.push((cpu.user + cpu.system) / 1000);
}
costsMs.sort((a, b) => a - b);
const quantile = (q: number): string =>
  (costsMs[Math.min(costsMs.length - 1, Math.floor(q * costsMs.length))] ?? 0).toFixed(2);
console.log(
  `scrape of ${shards} shards: p50 ${quantile(0.5)} ms, p99 ${quantile(0.99)} ms CPU, ${bytes} bytes; ` +
    `recording a request: ${perRequestUs.toFixed(2)} us`,
);
process.exit(0);
