import assert from "node:assert/strict";
import { test } from "node:test";
import { NodeId, ShardId } from "../../cluster/types.ts";
import {
  liveness,
  readiness,
  type HealthReport,
  type HealthSnapshot,
  type ReplicaHealth,
} from "../../server/health.ts";

const limits = { tickSilenceMaxMs: 5000, applyLagMaxEntries: 100 };

const replica: ReplicaHealth = {
  shard: ShardId(1),
  leader: NodeId("n2"),
  isLearner: false,
  isQuarantined: false,
  isReceivingSnapshot: false,
  commitIndex: 500,
  appliedIndex: 500,
};

const node: HealthSnapshot = {
  nodeId: NodeId("n1"),
  storeFailure: null,
  tickSilenceMs: 90,
  isStopping: false,
  epoch: 3,
  replicas: [replica, { ...replica, shard: ShardId(2) }],
};

/** Names of the checks that fail. */
function failing(report: HealthReport): string[] {
  const names = report.checks.filter(({ ok }) => !ok).map(({ name }) => name);
  assert.equal(report.ok, names.length === 0);
  return names;
}

test("a node that works is alive and ready", () => {
  assert.deepEqual(failing(liveness(node, limits)), []);
  assert.deepEqual(failing(readiness(node, limits)), []);
});

test("a hanging loop and a failed store are no life", () => {
  assert.deepEqual(failing(liveness({ ...node, tickSilenceMs: 5001 }, limits)), ["event-loop"]);
  const failed = liveness({ ...node, storeFailure: "write failed: ENOSPC" }, limits);
  assert.deepEqual(failing(failed), ["store"]);
  assert.match(JSON.stringify(failed), /ENOSPC/);
});

test("a node without a quorum, a map or anybody to talk to is alive all the same", () => {
  const alone = {
    ...node,
    epoch: null,
    replicas: [{ ...replica, leader: null }],
    isStopping: true,
  };
  assert.deepEqual(failing(liveness(alone, limits)), []);
  assert.deepEqual(failing(liveness({ ...alone, tickSilenceMs: null }, limits)), []);
});

test("a node is ready with a map and while it does not stop", () => {
  assert.deepEqual(failing(readiness({ ...node, epoch: null, replicas: [] }, limits)), ["map"]);
  assert.deepEqual(failing(readiness({ ...node, isStopping: true }, limits)), ["serving"]);
  assert.deepEqual(failing(readiness({ ...node, storeFailure: "poisoned" }, limits)), ["store"]);
});

test("readiness names the shard that is not ready, and why", () => {
  const cases: [Partial<ReplicaHealth>, RegExp][] = [
    [{ leader: null }, /no leader/],
    [{ commitIndex: 601 }, /catching up: 101 entries/],
    [{ isQuarantined: true }, /quarantined/],
    [{ isReceivingSnapshot: true }, /snapshot/],
  ];
  for (const [change, reason] of cases) {
    const report = readiness(
      { ...node, replicas: [replica, { ...replica, shard: ShardId(2), ...change }] },
      limits,
    );
    assert.deepEqual(failing(report), ["shard-2"]);
    const check = report.checks.find(({ ok }) => !ok);
    assert.equal(check?.shard, 2);
    assert.match(check?.detail ?? "", reason);
  }
});

test("a replica may be behind by exactly the limit", () => {
  const behind = { ...node, replicas: [{ ...replica, commitIndex: 600 }] };
  assert.deepEqual(failing(readiness(behind, limits)), []);
});
