import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { WatchFilter } from "../../server/watch-filter.ts";
import type { Command, TransactionOperation } from "../../storage/commands.ts";
import { Random } from "../storage/random.ts";
import { seed } from "../storage/seed.ts";
import { bytes, make } from "../storage/shard-harness.ts";
import { WatchClient } from "./watch-client.ts";
import { WatchNodes } from "./watch-nodes.ts";

const liveMs = 60_000;

interface Totals {
  changes: number;
  resets: number;
  lags: number;
  connections: number;
}

interface World {
  readonly all: WatchNodes;
  readonly random: Random;
  readonly totals: Totals;
  isOver: boolean;
  /** Connections that are open. */
  readonly open: Set<AbortController>;
}

function randomKey(random: Random): string {
  const length = random.between(1, 4);
  return Array.from({ length }, () => "abc"[random.between(0, 3)]).join("");
}

function randomFilter(random: Random): WatchFilter {
  const key = bytes(randomKey(random));
  if (random.chance(0.3)) {
    return { type: "key", key };
  }
  return { type: "prefix", prefix: key.subarray(0, random.between(0, 3)) };
}

function randomCommand(random: Random, key: string): Command {
  const put = make.put(key, `${random.between(0, 1000)}`.repeat(random.between(1, 20)));
  if (random.chance(0.3)) {
    return make.delete(key);
  }
  if (random.chance(0.2)) {
    return make.append(key, "x", { valueBytesMax: 50 });
  }
  if (random.chance(0.3)) {
    const success: TransactionOperation[] = [put, make.delete(`${key}`), put];
    return { type: "transaction", compares: [], success, failure: [] };
  }
  return put;
}

/** Commits entries of one to five commands, a shard at a time; nodes follow at their own pace. */
async function write({ all, random }: World, entries: number): Promise<void> {
  for (let i = 0; i < entries; i++) {
    const shard = all.shardOf(bytes(randomKey(random)));
    const keys = Array.from({ length: 30 }, () => randomKey(random)).filter(
      (key) => all.shardOf(bytes(key)) === shard,
    );
    const commands = keys.slice(0, random.between(1, 6)).map((key) => randomCommand(random, key));
    all.commit(shard, commands);
    for (const node of all.nodes) {
      node.apply(random.between(0, 4));
    }
    for (let pause = random.between(0, 6); pause > 0; pause--) {
      await turn();
    }
    await disturb(all, random);
  }
}

async function disturb(all: WatchNodes, random: Random): Promise<void> {
  const node = all.node(random.between(0, all.nodes.length));
  if (random.chance(0.01)) {
    await node.restart();
  }
  if (random.chance(0.02)) {
    node.isIsolated = !node.isIsolated;
  }
  if (random.chance(0.02)) {
    const shard = node.replicas[random.between(0, node.replicas.length)];
    const other = all.nodes.find((each) => each !== node && shard && each.source(shard) !== null);
    if (shard !== undefined && other !== undefined) {
      await node.installSnapshotOf(other, shard);
    }
  }
}

/** Watches through one random node after the other until everything was told. */
async function watch(world: World, client: WatchClient): Promise<void> {
  const { all, random, totals } = world;
  while (!(world.isOver && client.isComplete)) {
    const abort = new AbortController();
    world.open.add(abort);
    const node = all.node(random.between(0, all.nodes.length));
    let items = world.isOver ? Infinity : random.between(1, 60);
    client.connected();
    totals.connections += 1;
    const pause = random.between(0, 4);
    for await (const item of node.watch({ ...client.request, signal: abort.signal })) {
      client.take(item);
      items -= 1;
      if (items <= 0 || (world.isOver && client.isComplete)) {
        break;
      }
      for (let i = 0; i < pause; i++) {
        await turn();
      }
    }
    abort.abort();
    world.open.delete(abort);
    await turn();
  }
  totals.changes += client.changes;
  totals.resets += client.resets;
  totals.lags += client.lags;
}

async function run(seedOfRun: number, historyEventsMax: number): Promise<Totals> {
  const random = new Random(seedOfRun);
  const all = await WatchNodes.create({
    nodes: 5,
    shards: 3,
    holders: (shard) => [0, 1, 2].map((i) => (shard + i) % 5),
    historyEventsMax,
    bufferBytes: 20_000,
    progressMs: 5,
  });
  const totals = { changes: 0, resets: 0, lags: 0, connections: 0 };
  const world: World = { all, random, totals, isOver: false, open: new Set() };
  const clients = Array.from({ length: 12 }, () => {
    const options = { wantPrevious: random.chance(0.5), initial: random.chance(0.4) };
    return new WatchClient(all, randomFilter(random), options);
  });
  const watching = Promise.all(clients.map((client) => watch(world, client)));
  await Promise.race([write(world, 500), watching]);
  all.nodes.forEach((node) => (node.isIsolated = false));
  all.applyAll();
  world.isOver = true;
  // Who has been told everything would wait for ever.
  world.open.forEach((abort) => abort.abort());
  await watching;
  all.stop();
  for (const node of all.nodes) {
    assert.equal(node.hub.sinkCount, 0, "something still listens");
  }
  return totals;
}

test(
  "every watcher is told what its filter lets through: once, in order, across nodes, restarts, lags and snapshots",
  {
    timeout: liveMs,
  },
  async (t) => {
    t.diagnostic(`SEED=${seed}`);
    const totals = await run(seed, 5000);
    t.diagnostic(JSON.stringify(totals));
    assert.ok(totals.changes > 1000, "too little was told to mean anything");
    assert.ok(totals.connections > 30, "too few disconnects");
  },
);

test(
  "when histories are short, watchers are reset to a state that is true as of its positions, and go on from there",
  {
    timeout: liveMs,
  },
  async (t) => {
    t.diagnostic(`SEED=${seed}`);
    const totals = await run(seed + 1, 15);
    t.diagnostic(JSON.stringify(totals));
    assert.ok(totals.resets > 10, "nobody was reset");
  },
);
