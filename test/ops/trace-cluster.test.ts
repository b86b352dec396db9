import assert from "node:assert/strict";
import { test } from "node:test";
import { startCluster } from "../e2e/support.ts";
import { clusterSeenBy, keyOfEachShard } from "./support/cluster-client.ts";
import { OtlpReceiver, type ReceivedSpan } from "./support/otlp-receiver.ts";
import { eventually } from "./support/run.ts";

const traceId = "0af7651916cd43dd8448eb211c80319c";
const callerSpanId = "b7ad6b7169203331";

/** `n1 raft.apply`, so that a test can say what it expects. */
function named(span: ReceivedSpan): string {
  return `${span.instance} ${span.name}`;
}

test("one trace of one PUT through a follower shows every node that took part", async (context) => {
  const receiver = new OtlpReceiver();
  const endpoint = await receiver.start();
  context.after(() => receiver.stop());
  const { cluster } = await startCluster(context, {
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_BSP_SCHEDULE_DELAY: "100" },
  });
  const [entry] = cluster.nodes;
  assert.ok(entry !== undefined);
  const keys = await keyOfEachShard(entry.url);
  const led = (await clusterSeenBy(entry.url)).shards.find(
    ({ id, leader }) => id !== 0 && leader !== null && leader !== entry.id,
  );
  assert.ok(led !== undefined, "some shard is led by another node");
  const leader = String(led.leader);
  const [other] = cluster.nodes.filter(({ id }) => id !== entry.id && id !== leader);
  assert.ok(other !== undefined);

  const response = await fetch(`${entry.url}/v1/kv/${keys.get(led.id)}`, {
    method: "PUT",
    body: "followed",
    headers: { traceparent: `00-${traceId}-${callerSpanId}-01` },
  });
  assert.equal(response.status, 201);

  const expected = [
    `${entry.id} HTTP PUT`,
    `${entry.id} forward`,
    `${leader} raft.propose`,
    `${leader} raft.commit`,
    ...[leader, entry.id, other.id].flatMap((id) => [`${id} raft.append`, `${id} raft.apply`]),
  ];
  const spans = await eventually("all spans of the trace", 20_000, () => {
    const found = receiver.spans.filter((span) => span.traceId === traceId);
    const names = new Set(found.map(named));
    return Promise.resolve(expected.every((name) => names.has(name)) ? found : null);
  });
  assert.deepEqual(spans.map(named).toSorted(), expected.toSorted());

  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const parentOf = (name: string): string => {
    const span = spans.find((each) => named(each) === name);
    const parent = byId.get(span?.parentSpanId ?? "");
    return parent === undefined ? String(span?.parentSpanId) : named(parent);
  };
  assert.equal(parentOf(`${entry.id} HTTP PUT`), callerSpanId);
  assert.equal(parentOf(`${entry.id} forward`), `${entry.id} HTTP PUT`);
  assert.equal(parentOf(`${leader} raft.propose`), `${entry.id} forward`);
  assert.equal(parentOf(`${leader} raft.commit`), `${leader} raft.propose`);
  assert.equal(parentOf(`${leader} raft.apply`), `${leader} raft.propose`);
  assert.equal(parentOf(`${other.id} raft.append`), `${leader} raft.commit`);
  assert.equal(parentOf(`${other.id} raft.apply`), `${leader} raft.commit`);
  for (const span of spans) {
    assert.ok(span.endTimeUnixNano >= span.startTimeUnixNano, named(span));
    assert.equal(span.statusCode, 0, named(span));
  }

  const untraced = await fetch(`${entry.url}/v1/kv/${keys.get(led.id)}`, {
    method: "PUT",
    body: "not followed",
    headers: { traceparent: `00-${"1".repeat(32)}-${callerSpanId}-00` },
  });
  assert.equal(untraced.status, 200);
  assert.ok(receiver.spans.every((span) => span.traceId !== "1".repeat(32)));
});
