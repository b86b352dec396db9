import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { LocalCluster, type LocalNode } from "./lib/local-cluster.ts";

const usage = `npm run bench:failover -- [--kills 20] [--pause] [--base-port 18081]

Kills (or pauses) the node that leads most shards, under load, and measures the time from there to the first acknowledged write on
each of its shards, through the nodes that are left.`;

interface ClusterBody {
  readonly shards: readonly { readonly id: number; readonly leader: string | null }[];
}

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "20" },
    pause: { type: "boolean", default: false },
    "base-port": { type: "string", default: "18081" },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}

const directory = await mkdtemp(join(tmpdir(), "flotilla-failover-"));
const basePort = Number(values["base-port"]);
const cluster = new LocalCluster({
  nodes: 3,
  shards: 8,
  replicationFactor: 3,
  basePort,
  peerBasePort: basePort - 1000,
  dataDirectory: directory,
  fresh: false,
});
let down: string | null = null;
let isOver = false;

try {
  await cluster.start();
  await cluster.ready(30_000);
  const keys = await keysByShard();
  const load = Array.from({ length: 4 }, (_, writer) => background(writer));
  const times: number[] = [];
  for (let round = 1; round <= Number(values.kills); round += 1) {
    times.push(...(await oneRound(round, keys)));
  }
  isOver = true;
  await Promise.all(load);
  times.sort((a, b) => a - b);
  const at = (share: number): number =>
    Math.round(times[Math.floor(share * (times.length - 1))] ?? 0);
  console.log(
    `${times.length} outages of a shard: median ${at(0.5)} ms, p90 ${at(0.9)} ms, worst ${at(1)} ms`,
  );
} finally {
  isOver = true;
  await cluster.stopAll();
  await rm(directory, { recursive: true, force: true });
}

/** Takes the busiest leader away, waits for every one of its shards, brings it back. */
async function oneRound(round: number, keys: ReadonlyMap<number, string>): Promise<number[]> {
  const { victim, shards } = await busiestLeader();
  const others = cluster.nodes.filter((node) => node.id !== victim);
  down = victim;
  const startMs = performance.now();
  if (values.pause) {
    cluster.pause(victim);
  } else {
    void cluster.kill(victim);
  }
  const times = await Promise.all(
    shards.map(async (shard, at) => {
      await firstWrite(others[at % others.length], keys.get(shard) ?? "");
      return performance.now() - startMs;
    }),
  );
  const shown = times.map((time) => Math.round(time)).join(" ");
  console.log(
    `${round}: ${victim} led ${shards.length} shards; ms until each took a write: ${shown}`,
  );
  if (values.pause) {
    cluster.resume(victim);
  } else {
    await cluster.restart(victim);
  }
  await cluster.ready(30_000);
  down = null;
  await delay(1000);
  return times;
}

async function firstWrite(node: LocalNode | undefined, key: string): Promise<void> {
  for (;;) {
    if (await put(node?.url ?? "", key)) {
      return;
    }
  }
}

async function put(url: string, key: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/v1/kv/${key}`, { method: "PUT", body: "x".repeat(256) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    await delay(2);
    return false;
  }
}

/** Load from a client that uses whichever node is up. */
async function background(writer: number): Promise<void> {
  for (let count = 0; !isOver; count += 1) {
    const up = cluster.nodes.filter((node) => node.id !== down);
    await put(up[count % up.length]?.url ?? "", `load-${writer}-${count % 1000}`);
  }
}

async function busiestLeader(): Promise<{ victim: string; shards: number[] }> {
  const led = new Map<string, number[]>();
  for (const { id, leader } of (await clusterBody()).shards) {
    if (leader !== null) {
      led.set(leader, [...(led.get(leader) ?? []), id]);
    }
  }
  const [busiest] = [...led].sort((a, b) => b[1].length - a[1].length);
  if (busiest === undefined) {
    throw new Error("no shard has a leader");
  }
  return { victim: busiest[0], shards: busiest[1].filter((shard) => shard !== 0) };
}

async function clusterBody(): Promise<ClusterBody> {
  const response = await fetch(`${cluster.nodes[0]?.url}/v1/cluster`);
  return (await response.json()) as ClusterBody;
}

/** One key of every shard, found by asking. */
async function keysByShard(): Promise<ReadonlyMap<number, string>> {
  const keys = new Map<number, string>();
  for (let count = 0; keys.size < 8; count += 1) {
    const key = `probe-${count}`;
    const response = await fetch(`${cluster.nodes[0]?.url}/v1/cluster/ring/${key}`);
    const { shard } = (await response.json()) as { shard: number };
    if (!keys.has(Number(shard))) {
      keys.set(Number(shard), key);
    }
  }
  return keys;
}
