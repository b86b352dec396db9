import assert from "node:assert/strict";
import { test } from "node:test";
import type { ForwardRequest } from "../../cluster/multiraft/transport.ts";
import { NodeId, Revision, ShardId } from "../../cluster/types.ts";
import { Forwarder, type ForwardCall } from "../../server/forwarder.ts";

const n2 = NodeId("n2");
const n3 = NodeId("n3");
const shard = ShardId(4);

const call: ForwardCall = {
  shard,
  kind: "write",
  epoch: 1,
  payload: new Uint8Array(0),
  timeoutMs: 10_000,
  trace: "",
};

/** A forwarder whose deadlines never come, and what it sent. */
function quietForwarder(): { forwarder: Forwarder; sent: [NodeId, ForwardRequest][] } {
  const sent: [NodeId, ForwardRequest][] = [];
  const timers = { after: () => ({ cancel: () => {} }) };
  const forwarder = new Forwarder(timers, (to, request) => sent.push([to, request]));
  return { forwarder, sent };
}

test("a request to a node that no longer leads the shard ends when another does", async () => {
  const { forwarder } = quietForwarder();
  const outcome = forwarder.call(n2, call);
  forwarder.onLeaderChange(shard, n3);
  assert.deepEqual(await outcome, { type: "lost", reason: "superseded" });
  assert.equal(forwarder.pendingCount, 0);
});

test("requests that the news does not concern go on", async () => {
  const { forwarder, sent } = quietForwarder();
  const outcomes = [
    forwarder.call(n3, call),
    forwarder.call(n2, { ...call, shard: ShardId(5) }),
    forwarder.call(n2, { ...call, kind: "watch" }),
  ];
  forwarder.onLeaderChange(shard, n3);
  forwarder.onLeaderChange(shard, null);
  assert.equal(forwarder.pendingCount, 3);
  for (const [, { id }] of sent) {
    forwarder.onResponse({
      id,
      status: "ok",
      payload: new Uint8Array(0),
      leader: null,
      revision: Revision(1),
    });
  }
  for (const outcome of await Promise.all(outcomes)) {
    assert.equal(outcome.type, "answered");
  }
});
