import assert from "node:assert/strict";
import { test } from "node:test";
import { NodeId, ShardId } from "../../cluster/types.ts";
import { ShardObserver } from "../../server/shard-observer.ts";
import { replicaSnapshot } from "./support/snapshots.ts";

const shard = ShardId(7);
const n1 = NodeId("n1");
const n2 = NodeId("n2");

function observed(): { observer: ShardObserver; recoveries: number[] } {
  const recoveries: number[] = [];
  const observer = new ShardObserver((_shard, leaderlessMs) => recoveries.push(leaderlessMs));
  observer.opened(shard, 0);
  return { observer, recoveries };
}

test("the time to the first leader is unavailable but no recovery", () => {
  const { observer, recoveries } = observed();
  observer.leaderChanged(shard, n1, 250, () => 0);
  assert.deepEqual(recoveries, []);
  assert.deepEqual(observer.facts(shard, 1000), {
    availability: 0.75,
    unavailableSeconds: 0.25,
    leaderChanges: 1,
  });
});

test("an outage lasts from the old leader's last word to the new leader's first", () => {
  const { observer, recoveries } = observed();
  observer.leaderChanged(shard, n1, 0, () => 0);
  observer.leaderChanged(shard, null, 5000, () => 200);
  observer.leaderChanged(shard, n2, 5100, () => 0);
  assert.deepEqual(recoveries, [300]);
  assert.equal(observer.facts(shard, 10_000).unavailableSeconds, 0.3);
  assert.equal(observer.facts(shard, 10_000).availability, 0.97);
});

test("an outage that has not ended counts already", () => {
  const { observer, recoveries } = observed();
  observer.leaderChanged(shard, n1, 0, () => 0);
  observer.leaderChanged(shard, null, 5000, () => 0);
  assert.equal(observer.facts(shard, 10_000).availability, 0.5);
  assert.deepEqual(recoveries, []);
});

test("a handover from leader to leader is a change and an outage of the silence before it", () => {
  const { observer, recoveries } = observed();
  observer.leaderChanged(shard, n1, 0, () => 0);
  observer.leaderChanged(shard, n2, 1000, () => 40);
  observer.leaderChanged(shard, n2, 1500, () => 40);
  assert.deepEqual(recoveries, [40]);
  assert.equal(observer.facts(shard, 2000).leaderChanges, 2);
});

test("a replica that has left is forgotten, and may come back", () => {
  const { observer } = observed();
  observer.closed(shard);
  assert.equal(observer.facts(shard, 100).unavailableSeconds, 0);
  observer.opened(shard, 100);
  assert.equal(observer.facts(shard, 1100).unavailableSeconds, 1);
});

test("lag in time runs from the moment at which the leader had what the member lacks", () => {
  const { observer } = observed();
  const sample = (lastIndex: number, match: number, nowMs: number): number | undefined =>
    observer
      .sampleLag(replicaSnapshot({ shard, lastIndex, matchIndexes: new Map([[n2, match]]) }), nowMs)
      .get(n2);
  assert.equal(sample(10, 10, 0), 0);
  assert.equal(sample(20, 15, 1000), 0, "it has what the leader had at the sample before");
  assert.equal(sample(30, 15, 2000), 1000, "it lacks entry 20, which is 1 s old");
  assert.equal(sample(40, 19, 5000), 4000);
  assert.equal(sample(40, 20, 6000), 0);
  assert.equal(sample(40, 40, 7000), 0);
  assert.equal(sample(40, 40, 8000), 0);
});

test("a member that is removed and comes back begins without lag", () => {
  const { observer } = observed();
  const sample = (matches: [NodeId, number][], nowMs: number): ReadonlyMap<NodeId, number> =>
    observer.sampleLag(
      replicaSnapshot({ shard, lastIndex: 50, matchIndexes: new Map(matches) }),
      nowMs,
    );
  sample([[n2, 1]], 0);
  assert.equal(sample([[n2, 1]], 1000).get(n2), 1000);
  assert.deepEqual([...sample([], 2000)], []);
  assert.equal(sample([[n2, 1]], 3000).get(n2), 0);
});
