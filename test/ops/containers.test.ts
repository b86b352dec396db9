import assert from "node:assert/strict";
import { availableParallelism, loadavg } from "node:os";
import { after, before, describe, test } from "node:test";
import { busiestLeader, clusterSeenBy, isReady, keyOfEachShard } from "./support/cluster-client.ts";
import { ComposeCluster, leaveEngine, whyNoContainers } from "./support/compose-cluster.ts";
import { eventually } from "./support/run.ts";
import { Writers } from "./support/writers.ts";

/** What the image may add to its base. */
const imageBytesMax = 90 * 1000 * 1000;
/** Writes must succeed on all shards this soon after a container was killed. */
const failoverMaxMs = 1000;
/** With more processes than this per core waiting for their turn, what is measured is the machine; then only this much is asked. */
const overloadFactor = 4;
const livenessMaxMs = 10_000;
const killRounds = 3;
const catchUpTimeoutMs = 60_000;
/** Long enough for the others to notice a silent node: election timeout, and as long again. */
const isolationTimeoutMs = 20_000;

const reason = await whyNoContainers();
if (reason !== null) {
  console.log(`container tests are skipped: ${reason}`);
}

describe("a cluster in containers", { skip: reason ?? false, timeout: 900_000 }, () => {
  let cluster: ComposeCluster;
  let keys: ReadonlyMap<number, string>;

  before(async () => {
    cluster = await ComposeCluster.create();
    const added = await cluster.build();
    console.log(`image: ${(added / 1e6).toFixed(1)} MB added to its base`);
    assert.ok(added <= imageBytesMax, `the image adds ${added} bytes`);
    await cluster.up();
    keys = await keyOfEachShard(cluster.url("n1"));
  });

  after(async () => {
    await cluster.down();
    await leaveEngine();
  });

  /** Everything that was acknowledged is there, through every node. */
  async function assertKept(values: ReadonlyMap<string, number>): Promise<void> {
    for (const id of cluster.ids) {
      for (const [key, value] of values) {
        const response = await fetch(`${cluster.url(id)}/v1/kv/${key}`);
        const found = Number(await response.text());
        assert.ok(found >= value, `${id}: ${key} is ${found}, ${value} was acknowledged`);
      }
    }
  }

  /** Resolves when the node has applied, in every shard, what the other one had. */
  async function caughtUp(id: string, other: string): Promise<void> {
    const goal = await clusterSeenBy(cluster.url(other));
    await eventually(`${id} catching up`, catchUpTimeoutMs, async () => {
      const now = await clusterSeenBy(cluster.url(id));
      const isBehind = goal.shards.some(({ id: shard, local }) => {
        const own = now.shards.find((each) => each.id === shard)?.local;
        return (own?.applied_index ?? 0) < (local?.applied_index ?? 0);
      });
      return isBehind ? null : true;
    });
  }

  test("what one node takes, all others give, through published ports", async () => {
    for (const [at, id] of cluster.ids.entries()) {
      const value = `written through ${id}`;
      const put = await fetch(`${cluster.url(id)}/v1/kv/container-${at}`, {
        method: "PUT",
        headers: { "content-type": "text/plain" },
        body: value,
      });
      assert.equal(put.status, 201);
      for (const reader of cluster.ids) {
        const got = await fetch(`${cluster.url(reader)}/v1/kv/container-${at}`);
        assert.equal(got.status, 200);
        assert.equal(got.headers.get("content-type"), "text/plain");
        assert.equal(await got.text(), value);
      }
    }
  });

  test("nodes are healthy, run without rights, and can write to nothing but their volume", async () => {
    for (const id of cluster.ids) {
      await eventually(`${id} healthy`, 30_000, async () =>
        (await cluster.health(id)) === "healthy" ? true : null,
      );
    }
    assert.match(await cluster.exec("n1", "id"), /uid=1000\(node\)/);
    assert.match(await cluster.exec("n1", "sh", "-c", "touch /opt/flotilla/x"), /Read-only/);
    assert.match(await cluster.exec("n1", "sh", "-c", "grep CapEff /proc/self/status"), /0{16}/);
  });

  /** Kills the busiest leader under load and starts it again; resolves to the longest time without an acknowledged write. */
  async function killBusiest(): Promise<number> {
    const victim = busiestLeader(await clusterSeenBy(cluster.url("n1")));
    const survivors = cluster.ids.filter((id) => id !== victim);
    const writers = new Writers(
      survivors.map((id) => cluster.url(id)),
      keys.values(),
    );
    await eventually("every shard written", 20_000, async () => writers.allWrittenSince(0));
    const killedMs = performance.now();
    await cluster.kill(victim);
    const deadMs = performance.now();
    await eventually("every shard written again", 30_000, async () =>
      writers.allWrittenSince(deadMs),
    );
    const outageMs = writers.longestGapMs(killedMs);
    const values = await writers.stop();
    const restartedMs = performance.now();
    await cluster.start(victim);
    await cluster.ready(victim);
    await caughtUp(victim, survivors[0] ?? "");
    console.log(
      `docker kill ${victim}: longest time without an acknowledged write on any of ${keys.size} shards ` +
        `${outageMs.toFixed(0)} ms; ${writers.count} writes, ${writers.failures.length} failed; ` +
        `back and caught up after ${(performance.now() - restartedMs).toFixed(0)} ms`,
    );
    assert.deepEqual(writers.failures, []);
    await assertKept(values);
    return outageMs;
  }

  test("after docker kill of the busiest leader, every shard takes writes within a second", async () => {
    const outagesMs: number[] = [];
    for (let round = 0; round < killRounds; round += 1) {
      outagesMs.push(await killBusiest());
    }
    // The median: whatever else this machine does at the time may slow down one round.
    const median = outagesMs.toSorted((a, b) => a - b)[Math.floor(killRounds / 2)] ?? Infinity;
    const runnable = loadavg()[0] ?? 0;
    const isOverloaded = runnable > overloadFactor * availableParallelism();
    if (isOverloaded) {
      console.log(
        `failover is not held against ${failoverMaxMs} ms: this machine's load is ${runnable}`,
      );
    }
    const limitMs = isOverloaded ? livenessMaxMs : failoverMaxMs;
    assert.ok(median <= limitMs, `outages of ${outagesMs.join(", ")} ms`);
  });

  test("a node that is cut off says so, the others go on, and it comes back by itself", async () => {
    const victim = busiestLeader(await clusterSeenBy(cluster.url("n1")));
    const others = cluster.ids.filter((id) => id !== victim);
    const writers = new Writers(
      others.map((id) => cluster.url(id)),
      keys.values(),
    );
    await eventually("every shard written", 20_000, async () => writers.allWrittenSince(0));
    const cutMs = performance.now();
    await cluster.disconnect(victim);
    await eventually(`${victim} no longer ready`, isolationTimeoutMs, async () =>
      (await isReady(cluster.url(victim))) ? null : true,
    );
    const noticedMs = performance.now();
    await eventually("every shard written without it", isolationTimeoutMs, async () =>
      writers.allWrittenSince(noticedMs),
    );
    const live = await fetch(`${cluster.url(victim)}/livez`);
    assert.equal(live.status, 200, "a node without a quorum is alive");
    const outageMs = writers.longestGapMs(cutMs);
    await cluster.reconnect(victim);
    await cluster.ready(victim);
    const values = await writers.stop();
    await caughtUp(victim, others[0] ?? "");
    console.log(
      `network disconnect ${victim}: longest time without a write ${outageMs.toFixed(0)} ms; ` +
        `${writers.count} writes, ${writers.failures.length} failed`,
    );
    assert.deepEqual(writers.failures, []);
    await assertKept(values);
  });

  test("a rolling restart of all nodes fails no request", async () => {
    const writers = new Writers(
      cluster.ids.map((id) => cluster.url(id)),
      keys.values(),
    );
    await eventually("every shard written", 20_000, async () => writers.allWrittenSince(0));
    for (const id of cluster.ids) {
      await cluster.stop(id);
      await cluster.start(id);
      await cluster.ready(id);
    }
    const values = await writers.stop();
    console.log(
      `rolling restart: ${writers.count} writes, ${writers.failures.length} failed, ` +
        `longest time without a write ${writers.longestGapMs(0).toFixed(0)} ms`,
    );
    assert.deepEqual(writers.failures, []);
    await assertKept(values);
  });
});
