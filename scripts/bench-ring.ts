import { foundingMap } from "../cluster/sharding/cluster-map.ts";
import type { ClusterMap } from "../cluster/sharding/cluster-map.ts";
import { hash32 } from "../cluster/sharding/hash.ts";
import { planPlacement } from "../cluster/sharding/placement.ts";
import { Ring } from "../cluster/sharding/ring.ts";
import { NodeId } from "../cluster/types.ts";

/** Measures what sharding costs: a hash, a lookup, founding and re-placing a cluster. Run: `npm run bench:ring`. */

/** Written to, so that the optimiser cannot drop the measured work. */
let sink = 0;

benchHash(20);
benchHash(300);
benchLookup(3, 64);
benchLookup(16, 256);
benchPlacement(3, 64);
benchPlacement(16, 256);
if (sink === -1) {
  console.log(sink);
}

function benchHash(length: number): void {
  const bytes = new Uint8Array(length);
  report(`hash32 of ${length} bytes`, () => {
    bytes[0] = (bytes[0] ?? 0) + 1;
    sink ^= hash32(bytes);
  });
}

/** Random keys of 20 bytes, so that neither caches nor branch predictors know the answer. */
function benchLookup(nodeCount: number, shardCount: number): void {
  const ring = new Ring(found(nodeCount, shardCount));
  const encoder = new TextEncoder();
  const keys = Array.from({ length: 65536 }, (_, i) => {
    return encoder.encode(`key-${hash32(encoder.encode(String(i)))}`.padEnd(20, "x"));
  });
  let next = 0;
  report(`lookup, ${shardCount} shards x 64 tokens`, () => {
    next = (next + 1) & 65535;
    sink ^= ring.shardOf(keys[next] ?? new Uint8Array());
  });
}

function benchPlacement(nodeCount: number, shardCount: number): void {
  const started = performance.now();
  const map = found(nodeCount, shardCount);
  const founded = performance.now();
  const nodes = map.nodes.map((node, index) => {
    return index === 0 ? { ...node, state: "draining" as const } : node;
  });
  planPlacement({ ...map, nodes });
  const planned = performance.now();
  console.log(
    `${nodeCount} nodes, ${shardCount} shards: founding ${(founded - started).toFixed(1)} ms, ` +
      `plan to drain a node ${(planned - founded).toFixed(1)} ms`,
  );
}

function found(nodeCount: number, shardCount: number): ClusterMap {
  const founded = foundingMap({
    clusterId: "bench",
    nodes: Array.from({ length: nodeCount }, (_, index) => ({
      id: NodeId(`n${index + 1}`),
      peerAddress: `host${index}:7001`,
      httpAddress: `host${index}:8001`,
      zone: `zone${index % 3}`,
      instanceId: `instance${index}`,
    })),
    shardCount,
    replicationFactor: 3,
    tokensPerShard: 64,
  });
  if (founded.type === "refused") {
    throw new Error(founded.reason);
  }
  return founded.map;
}

/** Best of five rounds, in nanoseconds per call: noise of a shared machine only ever adds. */
function report(what: string, run: () => void): void {
  const calls = 2_000_000;
  let best = Infinity;
  for (let round = 0; round < 5; round++) {
    const started = performance.now();
    for (let call = 0; call < calls; call++) {
      run();
    }
    best = Math.min(best, ((performance.now() - started) * 1e6) / calls);
  }
  console.log(`${what}: ${best.toFixed(1)} ns`);
}
