import assert from "node:assert/strict";
import { test } from "node:test";
import { LogIndex, type NodeId, ShardId, Term } from "../../cluster/types.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import { emptyFrame } from "../transport/frames.ts";
import { LoneGroups, n1, n2, n3, votersOf } from "./lone-groups.ts";

const shard = ShardId(1);
const group = votersOf(n1, n2, n3);

/** What the others hold, and n1 does not. */
const otherState = "0123456789abcdef";

function tellDigest(lone: LoneGroups, from: NodeId, index: number, digest: string): void {
  const word = { shard, index: LogIndex(index), digest, isQuestion: false };
  lone.groups.multiRaft.onFrame(from, { ...emptyFrame, digests: [word] });
}

function digestsSentTo(lone: LoneGroups, peer: NodeId): readonly string[] {
  return lone.sent
    .filter(({ to }) => to === peer)
    .flatMap(({ frame }) => frame.digests.map(({ index, digest }) => `${index} ${digest}`.trim()));
}

function refusalsOf({ groups: { multiRaft } }: LoneGroups): readonly unknown[] {
  const read = multiRaft.read(shard, () => {});
  return [read, multiRaft.propose(shard, new Uint8Array(0), () => {})];
}

/** n1 follows n2 in term 2 and has applied one entry. */
async function follow(database = new MemoryDatabase()): Promise<LoneGroups> {
  const lone = await LoneGroups.open(shard, group, database);
  const from = { type: "AppendEntries", from: n2, to: n1, term: Term(2) } as const;
  const payload = new Uint8Array(0);
  const entry = { index: LogIndex(1), term: Term(2), type: "noop", payload } as const;
  const before = { prevIndex: LogIndex(0), prevTerm: Term(0) };
  lone.hear(shard, { ...from, ...before, entries: [entry], commit: LogIndex(1) });
  await lone.settle();
  assert.equal(lone.groups.multiRaft.replica(shard)?.machine.appliedIndex, 1);
  return lone;
}

/** One tick in which both others answer the leader's heartbeats. */
async function tickHeard(lone: LoneGroups): Promise<void> {
  for (const from of [n2, n3]) {
    lone.hear(shard, { type: "HeartbeatResponse", from, to: n1, term: Term(2), round: 0 });
  }
  await lone.tick(1);
}

/** n1 leads, the others have everything, and the group sleeps. */
async function fallAsleep(): Promise<LoneGroups> {
  const lone = await LoneGroups.open(shard, group);
  await lone.lead(shard);
  const { raft } = lone.groups.multiRaft.replica(shard) ?? {};
  assert.ok(raft?.isLeader);
  for (const from of [n2, n3]) {
    const result = { type: "accepted", matchIndex: raft.lastIndex } as const;
    lone.hear(shard, { type: "AppendEntriesResponse", from, to: n1, term: Term(2), result });
  }
  for (let ticks = 0; ticks < 200 && !raft.isQuiesced; ticks++) {
    // Often enough to go on leading, and not after the last count.
    await (ticks % 20 === 17 ? tickHeard(lone) : lone.tick(1));
  }
  assert.ok(raft.isQuiesced);
  return lone;
}

test("an odd follower serves nobody from then on, and begins anew in quarantine and in its term", async () => {
  const database = new MemoryDatabase();
  const lone = await follow(database);
  const { multiRaft } = lone.groups;
  const own = multiRaft.replica(shard)?.machine.digest;
  tellDigest(lone, n2, 1, otherState);
  assert.equal(multiRaft.replica(shard)?.takesPart, true, "one against one says nothing");
  tellDigest(lone, n3, 1, otherState);
  assert.equal(multiRaft.replica(shard)?.takesPart, false);
  assert.deepEqual(refusalsOf(lone), ["no_replica", "not_leader"]);
  await lone.settle();
  assert.deepEqual(digestsSentTo(lone, n3), [`1 ${own}`], "the others are told what was found");
  await lone.tick(1);
  const raft = multiRaft.replica(shard)?.raft;
  assert.deepEqual([raft?.isQuarantined, raft?.term, raft?.lastIndex], [true, 2, 0]);
  assert.deepEqual(lone.fatal, []);
  const [recovered] = await new DatabaseLogStore(database, null).recover();
  assert.deepEqual([recovered?.isQuarantined, recovered?.hardState.term], [true, 2]);
});

test("a replica that agrees answers who asked, at the entry that it was asked about", async () => {
  const lone = await follow();
  const digest = lone.groups.multiRaft.replica(shard)?.machine.digest ?? "";
  const question = { shard, index: LogIndex(1), digest, isQuestion: true };
  lone.groups.multiRaft.onFrame(n2, { ...emptyFrame, digests: [question] });
  await lone.settle();
  assert.deepEqual(digestsSentTo(lone, n2), [`1 ${digest}`]);
  assert.deepEqual(digestsSentTo(lone, n3), []);
});

test("an odd leader whose group sleeps wakes it, hands over to who answers, and begins anew", async () => {
  const lone = await fallAsleep();
  const { multiRaft } = lone.groups;
  const replica = multiRaft.replica(shard);
  const applied = replica?.machine.appliedIndex ?? 0;
  tellDigest(lone, n2, applied, otherState);
  tellDigest(lone, n3, applied, otherState);
  assert.deepEqual(refusalsOf(lone), ["no_replica", "not_leader"]);
  lone.sent.length = 0;
  const said = () => lone.sent.flatMap(({ frame }) => frame.messages.map(({ message }) => message));
  await lone.tick(3);
  assert.ok(
    said().some(({ type }) => type === "Heartbeat"),
    "it asks who is there",
  );
  await tickHeard(lone);
  await tickHeard(lone);
  const messages = said();
  const successor = messages.find(({ type }) => type === "TimeoutNow")?.to;
  assert.ok(successor !== undefined, messages.map(({ type }) => type).join());
  assert.equal(multiRaft.replica(shard), replica, "it leads until another does");
  lone.hear(shard, {
    type: "RequestVote",
    from: successor,
    to: n1,
    term: Term(3),
    lastIndex: LogIndex(applied),
    lastTerm: Term(2),
    isTransfer: true,
  });
  await lone.tick(1);
  const raft = multiRaft.replica(shard)?.raft;
  assert.deepEqual([raft?.isQuarantined, raft?.term], [true, 3]);
  assert.deepEqual(lone.fatal, []);
});

test("an odd leader that nobody takes over from begins anew all the same", async () => {
  const lone = await fallAsleep();
  const { multiRaft } = lone.groups;
  const applied = multiRaft.replica(shard)?.machine.appliedIndex ?? 0;
  tellDigest(lone, n2, applied, otherState);
  tellDigest(lone, n3, applied, otherState);
  await lone.tick(30);
  assert.equal(multiRaft.replica(shard)?.raft.isQuarantined, true);
});

test("a follower wakes when its leader says that it holds nothing", async () => {
  const lone = await follow();
  const { raft } = lone.groups.multiRaft.replica(shard) ?? {};
  lone.hear(shard, {
    type: "Heartbeat",
    from: n2,
    to: n1,
    term: Term(2),
    commit: LogIndex(1),
    round: 0,
    quiesce: true,
  });
  assert.equal(raft?.isQuiesced, true);
  tellDigest(lone, n3, 0, "");
  assert.equal(raft.isQuiesced, true, "n3 has another leader to wait for");
  tellDigest(lone, n2, 0, "");
  assert.equal(raft.isQuiesced, false);
});

test("a quarantined replica that no leader speaks to says that it holds nothing", async () => {
  const lone = await follow();
  tellDigest(lone, n2, 1, otherState);
  tellDigest(lone, n3, 1, otherState);
  await lone.tick(1);
  lone.sent.length = 0;
  await lone.tick(200);
  assert.deepEqual([...new Set(digestsSentTo(lone, n2))], ["0"]);
});
