import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { NodeId, ShardId } from "../../cluster/types.ts";
import { metricsPage, renderMetricsPage } from "../../scripts/metrics-docs.ts";
import { GroupMetrics } from "../../server/group-metrics.ts";
import { MetricsCollector } from "../../server/metrics-collector.ts";
import type { NodeSnapshot } from "../../server/metrics-source.ts";
import { Metrics } from "../../server/metrics.ts";
import { ShardObserver } from "../../server/shard-observer.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { nodeSnapshot, peerSnapshot, replicaSnapshot } from "./support/snapshots.ts";

/** A collector over a snapshot that the test can replace. */
function collectorOver(initial: NodeSnapshot): {
  metrics: Metrics;
  collector: MetricsCollector;
  observer: ShardObserver;
  show(next: NodeSnapshot): void;
} {
  let current = initial;
  const metrics = new Metrics();
  const observer = new ShardObserver(() => {});
  const collector = new MetricsCollector(metrics, { snapshot: () => current }, observer);
  return { metrics, collector, observer, show: (next) => (current = next) };
}

/** Lines of a metric, without comments. */
function samples(text: string, name: string): string[] {
  return text
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
}

test("the page of metrics lists exactly the metrics that exist", () => {
  const page = readFileSync(metricsPage, "utf8");
  assert.equal(page, renderMetricsPage(page), "run: node scripts/metrics-docs.ts");
});

test("names and labels keep the rules of the page", () => {
  const names = new Set<string>();
  for (const { name, type, labels, help } of new Metrics().definitions) {
    assert.match(name, /^flotilla_[a-z_]+$/);
    assert.ok(!names.has(name), `${name} is declared twice`);
    names.add(name);
    assert.equal(name.endsWith("_total"), type === "counter", `${name} is a ${type}`);
    assert.ok(type !== "histogram" || !labels.includes("shard"), `${name} has a shard label`);
    assert.ok(!labels.some((label) => ["key", "url", "value"].includes(label)), name);
    assert.match(help, /^[A-Z0-9].*\.$/, `${name}: the help text is a sentence`);
  }
});

test("a scrape shows each shard's role, indexes and the lag of its followers", async () => {
  const { collector } = collectorOver({
    ...nodeSnapshot(0),
    shards: [
      replicaSnapshot({
        shard: ShardId(5),
        role: "leader",
        lastIndex: 120,
        matchIndexes: new Map([[NodeId("n3"), 100]]),
      }),
      replicaSnapshot({ shard: ShardId(6), leader: null, leaderSilenceMs: null }),
    ],
  });
  const text = await collector.scrape(0);
  assert.deepEqual(samples(text, "flotilla_raft_is_leader"), [
    'flotilla_raft_is_leader{shard="5"} 1',
    'flotilla_raft_is_leader{shard="6"} 0',
  ]);
  assert.deepEqual(samples(text, "flotilla_raft_has_leader"), [
    'flotilla_raft_has_leader{shard="5"} 1',
    'flotilla_raft_has_leader{shard="6"} 0',
  ]);
  assert.deepEqual(samples(text, "flotilla_raft_follower_lag_entries"), [
    'flotilla_raft_follower_lag_entries{shard="5",peer="n3"} 20',
  ]);
  assert.deepEqual(samples(text, "flotilla_shards"), [
    'flotilla_shards{role="leader"} 1',
    'flotilla_shards{role="follower"} 1',
  ]);
});

test("what has left the node has left the next scrape", async () => {
  const { collector, show } = collectorOver(nodeSnapshot(3));
  await collector.scrape(0);
  show({ ...nodeSnapshot(1), peers: [] });
  const text = await collector.scrape(1000);
  assert.equal(samples(text, "flotilla_raft_term").length, 1);
  assert.equal(samples(text, "flotilla_peer_up").length, 0);
  assert.deepEqual(samples(text, "flotilla_cluster_members"), [
    'flotilla_cluster_members{state="connected"} 1',
    'flotilla_cluster_members{state="disconnected"} 0',
  ]);
});

test("counters that mirror the transport's own counts do not add up over scrapes", async () => {
  const { collector, show } = collectorOver(nodeSnapshot(1));
  await collector.scrape(0);
  show({ ...nodeSnapshot(1), peers: [peerSnapshot({ sentBytes: 2500 })] });
  assert.deepEqual(samples(await collector.scrape(1000), "flotilla_peer_bytes_total").slice(0, 1), [
    'flotilla_peer_bytes_total{peer="n2",direction="sent"} 2500',
  ]);
});

test("availability and leader changes come from the observer", async () => {
  const { collector, observer } = collectorOver(nodeSnapshot(1));
  observer.opened(ShardId(0), 0);
  observer.leaderChanged(ShardId(0), NodeId("n1"), 1000, () => 0);
  const text = await collector.scrape(10_000);
  assert.deepEqual(samples(text, "flotilla_shard_availability_ratio"), [
    'flotilla_shard_availability_ratio{shard="0"} 0.9',
  ]);
  assert.deepEqual(samples(text, "flotilla_shard_unavailable_seconds_total"), [
    'flotilla_shard_unavailable_seconds_total{shard="0"} 1',
  ]);
  assert.deepEqual(samples(text, "flotilla_raft_leader_changes_total"), [
    'flotilla_raft_leader_changes_total{shard="0"} 1',
  ]);
});

test("one answered request counts once and is timed once", async () => {
  const metrics = new Metrics();
  metrics.httpRequest("PUT", "/v1/kv/*", 200, 0.003);
  const text = await metrics.render();
  assert.deepEqual(samples(text, "flotilla_http_requests_total"), [
    'flotilla_http_requests_total{method="PUT",route="/v1/kv/*",code="200"} 1',
  ]);
  assert.deepEqual(samples(text, "flotilla_http_request_duration_seconds_count"), [
    'flotilla_http_request_duration_seconds_count{method="PUT",route="/v1/kv/*"} 1',
  ]);
});

test("two nodes in one process count apart", async () => {
  const [one, other] = [new Metrics(), new Metrics()];
  one.httpRequest("GET", "/", 200, 0.1);
  assert.equal(samples(await other.render(), "flotilla_http_requests_total").length, 0);
});

test("what watches have done does not add up over scrapes", async () => {
  const { collector, show } = collectorOver(nodeSnapshot(1));
  show({ ...nodeSnapshot(1), watchCounts: { events: 5, lagged: 1, reset: 0 } });
  await collector.scrape(0);
  show({ ...nodeSnapshot(1), watchCounts: { events: 7, lagged: 1, reset: 2 } });
  const text = await collector.scrape(1000);
  assert.deepEqual(samples(text, "flotilla_watch_events_total"), ["flotilla_watch_events_total 7"]);
  assert.deepEqual(samples(text, "flotilla_watch_interruptions_total"), [
    'flotilla_watch_interruptions_total{reason="lagged"} 1',
    'flotilla_watch_interruptions_total{reason="reset"} 2',
  ]);
});

test("elections that this node has won count, and no others", async () => {
  const metrics = new Metrics();
  const groups = new GroupMetrics(metrics, NodeId("n1"));
  for (const leader of [NodeId("n1"), null, NodeId("n2"), NodeId("n1")]) {
    groups.onLeaderChange(leader);
  }
  groups.onHandOver("preferred");
  const text = await metrics.render();
  assert.deepEqual(samples(text, "flotilla_raft_elections_won_total"), [
    "flotilla_raft_elections_won_total 2",
  ]);
  assert.deepEqual(samples(text, "flotilla_raft_leadership_transfers_total"), [
    'flotilla_raft_leadership_transfers_total{reason="preferred"} 1',
  ]);
});

test("a snapshot's bytes count even when it fails, its duration only when it does not", async () => {
  const metrics = new Metrics();
  const groups = new GroupMetrics(metrics, NodeId("n1"));
  groups.onSnapshot("send", null, { durationMs: 1500, bytes: 1000 });
  groups.onSnapshot("send", new Error("gone"), { durationMs: 10, bytes: 24 });
  groups.onSnapshot("install", null, null);
  const text = await metrics.render();
  assert.deepEqual(samples(text, "flotilla_snapshots_total"), [
    'flotilla_snapshots_total{op="send"} 1',
    'flotilla_snapshots_total{op="install"} 1',
  ]);
  assert.deepEqual(samples(text, "flotilla_snapshot_failures_total"), [
    'flotilla_snapshot_failures_total{op="send"} 1',
  ]);
  assert.deepEqual(samples(text, "flotilla_snapshot_bytes_total"), [
    'flotilla_snapshot_bytes_total{op="send"} 1024',
  ]);
  assert.deepEqual(samples(text, "flotilla_snapshot_duration_seconds_sum"), [
    'flotilla_snapshot_duration_seconds_sum{op="send"} 1.5',
  ]);
});

test("failures of the store count by what was wrong, other ends of a node do not", async () => {
  const metrics = new Metrics();
  const groups = new GroupMetrics(metrics, NodeId("n1"));
  groups.onFatal(new StoreFailure("disk_full", "no space"));
  groups.onFatal(new Error("a broken promise"));
  groups.onExpired();
  const text = await metrics.render();
  assert.deepEqual(samples(text, "flotilla_storage_errors_total"), [
    'flotilla_storage_errors_total{code="disk_full"} 1',
  ]);
  assert.deepEqual(samples(text, "flotilla_expired_keys_total"), ["flotilla_expired_keys_total 1"]);
});
