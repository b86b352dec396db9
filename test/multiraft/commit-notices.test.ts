import assert from "node:assert/strict";
import { test } from "node:test";
import type { Message } from "../../cluster/raft/message.ts";
import { LogIndex, ShardId, Term } from "../../cluster/types.ts";
import { encodeCommandEnvelope } from "../../storage/command-codec.ts";
import { LoneGroups, n1, n2, votersOf } from "../server/lone-groups.ts";
import { make, plain } from "../storage/shard-harness.ts";

const shard = ShardId(1);

/** A node that leads n2, which acknowledges a command: it is committed, and n2 was not told yet. */
async function committed(): Promise<LoneGroups> {
  const lone = await LoneGroups.open(shard, votersOf(n1, n2));
  await lone.lead(shard);
  await acknowledge(lone, 1);
  const command = encodeCommandEnvelope(plain(make.put("k", "v")));
  lone.groups.multiRaft.propose(shard, command, () => {});
  await lone.settle();
  lone.sent.length = 0;
  await acknowledge(lone, 2);
  assert.equal(lone.groups.multiRaft.replica(shard)?.raft.commitIndex, 2);
  assert.equal(lone.sent.length, 0);
  return lone;
}

async function acknowledge(lone: LoneGroups, index: number): Promise<void> {
  const result = { type: "accepted", matchIndex: LogIndex(index) } as const;
  const message = { from: n2, to: n1, term: Term(2), result };
  lone.hear(shard, { type: "AppendEntriesResponse", ...message });
  await lone.settle();
}

function told(lone: LoneGroups): readonly Message[] {
  return lone.sent
    .flatMap(({ frame }) => frame.messages.map(({ message }) => message))
    .filter(({ type }) => type === "CommitNotice");
}

test("what is committed is told in a frame that leaves anyway", async () => {
  const lone = await committed();
  const call = { shard, kind: "read", epoch: 1, timeoutMs: 1000, trace: "" } as const;
  lone.groups.multiRaft.request(n2, { id: 1, ...call, payload: new Uint8Array(0) });
  await lone.settle();
  assert.equal(lone.sent.length, 1);
  assert.deepEqual(told(lone), [
    { type: "CommitNotice", from: n1, to: n2, term: Term(2), commit: LogIndex(2) },
  ]);
});

test("what is committed has a frame of its own when none leaves for a while", async () => {
  const lone = await committed();
  await lone.wait();
  assert.equal(told(lone).length, 1);
  await lone.wait();
  assert.equal(told(lone).length, 1);
});
