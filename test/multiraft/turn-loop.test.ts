import assert from "node:assert/strict";
import { test } from "node:test";
import { ShardId } from "../../cluster/types.ts";
import { LoneGroups, n1, n2, votersOf } from "../server/lone-groups.ts";

const shard = ShardId(1);

/** Sends requests to n2, one before each look, until a turn sends a frame; returns how many requests the frame has. */
async function requestsOfFrame(requestsMax: number, lookMs = 0): Promise<number> {
  const lone = await LoneGroups.open(shard, votersOf(n1));
  let requests = 0;
  for (let looks = 0; looks < 100 && lone.sent.length === 0; looks++) {
    if (requests < requestsMax) {
      requests += 1;
      const call = { shard, kind: "read", epoch: 1, timeoutMs: 1000, trace: "" } as const;
      lone.groups.multiRaft.request(n2, { id: requests, ...call, payload: new Uint8Array(0) });
    }
    lone.nowMs += lookMs;
    lone.step();
  }
  return lone.sent[0]?.frame.requests.length ?? 0;
}

test("a turn takes what has come in, as soon as a look brings nothing new", async () => {
  assert.equal(await requestsOfFrame(1), 1);
  assert.equal(await requestsOfFrame(5), 5);
});

test("a turn waits for ten looks at most, however much comes in", async () => {
  assert.equal(await requestsOfFrame(Infinity), 11);
});

test("a turn waits for 10 ms at most, however long a look takes", async () => {
  assert.equal(await requestsOfFrame(Infinity, 4), 3);
  assert.equal(await requestsOfFrame(Infinity, 17), 1);
});
