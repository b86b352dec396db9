import assert from "node:assert/strict";
import { test } from "node:test";
import { Ring } from "../../cluster/sharding/ring.ts";
import { LogIndex, ShardId, Term } from "../../cluster/types.ts";
import { encodeCommandEnvelope } from "../../storage/command-codec.ts";
import { Forwarder, idsOfStart } from "../../server/forwarder.ts";
import type { RequestContext } from "../../server/http/service.ts";
import { LeaderWatch } from "../../server/leader-watch.ts";
import { LocalReads } from "../../server/local-reads.ts";
import { RequestServer } from "../../server/request-server.ts";
import { RequestWindow } from "../../server/request-window.ts";
import { Router } from "../../server/router.ts";
import { systemTimers } from "../../server/timers.ts";
import { StoreFailure } from "../../storage/failure.ts";
import { DatabaseLogStore } from "../../storage/log-store.ts";
import { MemoryDatabase } from "../../storage/memory-database.ts";
import { change, found } from "../sharding/maps.ts";
import { make, plain } from "../storage/shard-harness.ts";
import { snapshotMetadata } from "../transport/frames.ts";
import { FragileDatabase, LoneGroups, n1, n2, n3, noAnswer, votersOf } from "./lone-groups.ts";

// Each of these is a bug that whole nodes in simulation have found; the seeds are in test/node-sim/regressions.ts.

const shard = ShardId(1);
const moved = new Map([[shard, { voters: [n2], learners: [] }]]);
const back = new Map([[shard, { voters: [n1], learners: [] }]]);

/** More ticks than lie between two looks at what the map wants. */
const look = 10;

function readsOf({ groups }: LoneGroups): LocalReads {
  return new LocalReads({
    multiRaft: groups.multiRaft,
    machine: (id) => groups.machine(id),
    clock: () => performance.now(),
    timers: systemTimers,
    stalenessMs: () => 0,
    work: null,
  });
}

/** The router of n1, which does not hold the shard unless its groups do; n2 and n3 should. */
function routerOf(lone: LoneGroups, leaders: LeaderWatch, forwarder: Forwarder): Router {
  const router = new Router({
    nodeId: n1,
    multiRaft: lone.groups.multiRaft,
    forwarder,
    leaders,
    window: new RequestWindow("n1/1"),
    localReads: readsOf(lone),
    clock: () => performance.now(),
    timers: systemTimers,
    isConnected: () => true,
    work: null,
    tracing: null,
  });
  const map = change(found({ shardCount: 1, tokensPerShard: 1 }));
  router.setTable({
    epoch: 1,
    ring: new Ring(map),
    shards: [shard],
    members: new Map([[shard, [n2, n3]]]),
  });
  return router;
}

function contextOf(timeoutMs: number): RequestContext {
  return {
    requestId: "r",
    deadlineMs: performance.now() + timeoutMs,
    signal: null,
    trace: "",
    timings: new Map(),
  };
}

test("a store that failed beside the turns ends the node at the next tick", async () => {
  const database = new FragileDatabase();
  const lone = await LoneGroups.open(shard, votersOf(n1), database);
  await lone.tick(1);
  assert.deepEqual(lone.fatal, []);
  database.broken = new StoreFailure("disk_full", "no space for a snapshot");
  await lone.tick(1);
  assert.deepEqual(lone.fatal, [database.broken]);
});

test("a replica that has left its group stays until a voter of the group does without it", async () => {
  const lone = await LoneGroups.open(shard, votersOf(n2));
  const { multiRaft } = lone.groups;
  multiRaft.setDesired(moved, 2);
  await lone.tick(3 * look);
  assert.ok(multiRaft.replica(shard) !== null);
  const asked = lone.sent.flatMap(({ frame }) => frame.messages.map(({ message }) => message));
  assert.ok(asked.some(({ type, to }) => type === "RequestPreVote" && to === n2));
  lone.hearRefusal(shard, n3);
  await lone.tick(look);
  assert.ok(multiRaft.replica(shard) !== null, "n3 decides nothing");
  lone.hearRefusal(shard, n2);
  await lone.tick(look);
  assert.equal(multiRaft.replica(shard), null);
  assert.deepEqual(lone.fatal, []);
});

test("a replica that has left its group is kept when the map wants it back", async () => {
  const lone = await LoneGroups.open(shard, votersOf(n2));
  const { multiRaft } = lone.groups;
  multiRaft.setDesired(back, 2);
  lone.hearRefusal(shard, n2);
  await lone.tick(2 * look);
  assert.ok(multiRaft.replica(shard) !== null);
});

test("a shard that leaves a node and comes back within one turn begins anew", async () => {
  const database = new MemoryDatabase();
  const lone = await LoneGroups.open(shard, votersOf(n2), database);
  const { multiRaft } = lone.groups;
  multiRaft.setDesired(moved, 2);
  await lone.settle();
  lone.hearRefusal(shard, n2);
  // The ticks of one turn: nothing is written between the end of the old replica and the beginning of the new one.
  for (let ticks = 0; ticks < look && multiRaft.replica(shard) !== null; ticks++) {
    multiRaft.tick(1);
  }
  assert.equal(multiRaft.replica(shard), null);
  multiRaft.setDesired(back, 3);
  multiRaft.create({ shard, configuration: votersOf(n1), isQuarantined: true });
  await lone.settle();
  assert.deepEqual(lone.fatal, []);
  assert.equal(multiRaft.replica(shard)?.raft.isQuarantined, true);
  const recovered = await new DatabaseLogStore(database, null).recover();
  assert.deepEqual(
    recovered.map(({ shard: id, isQuarantined }) => [id, isQuarantined]),
    [[shard, true]],
  );
});

test("a replica that has left its group is asked for nothing", async () => {
  const member = await LoneGroups.open(shard, votersOf(n1, n2));
  const leaver = await LoneGroups.open(shard, votersOf(n2));
  assert.equal(readsOf(member).hosts(shard), true);
  assert.equal(readsOf(leaver).hosts(shard), false);
});

test("a router does not go on asking a node that has left the shard's group", async () => {
  const lone = await LoneGroups.open(ShardId(9), votersOf(n1));
  const asked: string[] = [];
  const leaders = new LeaderWatch(systemTimers);
  const forwarder = new Forwarder(systemTimers, (to, { id }) => {
    asked.push(to);
    setImmediate(() => forwarder.onResponse({ id, status: "not_leader", ...noAnswer }));
  });
  const router = routerOf(lone, leaders, forwarder);
  leaders.set(shard, n2);
  await assert.rejects(router.execute(Buffer.from("k"), make.put("k", "v"), contextOf(400), null), {
    code: "no_leader",
  });
  assert.equal(asked[0], n2);
  assert.ok(asked.includes(n3), asked.join());
});

test("a write that went to another node is not told as refused when this node has too much to do", async () => {
  const lone = await LoneGroups.open(shard, votersOf(n1, n2));
  await lone.lead(shard);
  const leaders = new LeaderWatch(systemTimers);
  const forwarder = new Forwarder(systemTimers, () => {});
  const router = routerOf(lone, leaders, forwarder);
  leaders.set(shard, n2);
  const answer = router.execute(Buffer.from("k"), make.put("k", "v"), contextOf(200), null);
  while (lone.groups.multiRaft.propose(shard, Buffer.of(), () => {}) === null) {
    // Until the shard's queue is full.
  }
  leaders.set(shard, n1);
  forwarder.onPeerDisconnected(n2);
  await assert.rejects(answer, { code: "outcome_unknown" });
});

test("an answer to a request of the process before is not taken for another", async () => {
  const identity = { nodeId: n1, instanceId: "i", clusterId: "c", founders: new Map() };
  const [before, now] = [3, 4].map((incarnation) => idsOfStart({ ...identity, incarnation }));
  assert.ok(before !== undefined && now !== undefined && Number.isSafeInteger(now + 2 ** 32));
  const ids: number[] = [];
  const quiet = { after: () => ({ cancel: () => {} }) };
  const call = {
    shard,
    kind: "write",
    epoch: 1,
    payload: Buffer.of(),
    timeoutMs: 1,
    trace: "",
  } as const;
  const [old, fresh] = [before, now].map(
    (start) => new Forwarder(quiet, (_to, { id }) => ids.push(id), start),
  );
  void old?.call(n2, call);
  void fresh?.call(n2, call);
  const [late] = ids;
  assert.ok(late !== undefined && fresh !== undefined);
  fresh.onResponse({ id: late, status: "ok", ...noAnswer });
  assert.equal(fresh.pendingCount, 1);
});

test("a forwarded write that a snapshot has overtaken is told as unknown, not as refused", async () => {
  const lone = await LoneGroups.open(shard, votersOf(n1, n2));
  const { multiRaft } = lone.groups;
  await lone.lead(shard);
  assert.equal(multiRaft.replica(shard)?.raft.isLeader, true);
  requestsOf(lone).onRequest(n2, {
    id: 7,
    shard,
    kind: "write",
    epoch: 1,
    timeoutMs: 1000,
    payload: encodeCommandEnvelope(plain(make.put("k", "v"))),
    trace: "",
  });
  await lone.settle();
  const waitsAt = multiRaft.replica(shard)?.raft.lastIndex ?? 0;
  const header = { shard, term: Term(3), snapshot: snapshotMetadata };
  let bytes = 0;
  const chunks = snapshotBeyond(waitsAt, (chunk) => (bytes += chunk.length));
  await multiRaft.onSnapshot(n2, header, chunks);
  await lone.settle();
  assert.ok(bytes > 0);
  assert.deepEqual(lone.snapshots, [
    { operation: "receive", bytes },
    { operation: "install", bytes: null },
  ]);
  assert.ok((multiRaft.replica(shard)?.machine.appliedIndex ?? 0) > waitsAt);
  const answers = lone.sent.flatMap(({ frame }) => frame.responses);
  assert.deepEqual(
    answers.map(({ id, status }) => [id, status]),
    [[7, "unknown"]],
  );
});

/** What serves other nodes' requests, with these groups. */
function requestsOf(lone: LoneGroups): RequestServer {
  return new RequestServer({
    multiRaft: lone.groups.multiRaft,
    localReads: readsOf(lone),
    leaders: new LeaderWatch(systemTimers),
    watches: { answer: () => Promise.resolve(null) },
    clock: () => performance.now(),
    ringEpoch: () => 1,
    work: null,
    tracing: null,
  });
}

test("a leader that leaves tells once that it hands over", async () => {
  const lone = await LoneGroups.open(shard, votersOf(n1, n2));
  await lone.lead(shard);
  const answer = { from: n2, to: n1, term: Term(2) } as const;
  const result = { type: "accepted", matchIndex: LogIndex(0) } as const;
  lone.hear(shard, { type: "AppendEntriesResponse", ...answer, result });
  assert.equal(lone.groups.multiRaft.handOverAll(), 1);
  assert.equal(lone.groups.multiRaft.handOverAll(), 1);
  assert.deepEqual(lone.handOvers, ["leaving"]);
});

/** A snapshot of the shard with more entries than `index`. */
async function* snapshotBeyond(
  index: number,
  onChunk: (chunk: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  const other = await LoneGroups.open(shard, votersOf(n1));
  await other.tick(20);
  const { multiRaft } = other.groups;
  for (let count = 0; count <= index; count++) {
    multiRaft.propose(shard, encodeCommandEnvelope(plain(make.put("k", `${count}`))), () => {});
    await other.tick(1);
  }
  const reader = other.groups.machine(shard)?.snapshot();
  assert.ok(reader !== undefined && reader.metadata.index > index);
  for await (const chunk of reader.chunks(1000)) {
    onChunk(chunk);
    yield chunk;
  }
  await reader.close();
}

test("a sleeping group goes on to what a new map wants", async () => {
  const lone = await LoneGroups.open(shard, votersOf(n1));
  const { multiRaft } = lone.groups;
  multiRaft.setDesired(back, 1);
  await lone.tick(100);
  const raft = multiRaft.replica(shard)?.raft;
  assert.equal(raft?.isQuiesced, true);
  multiRaft.setDesired(new Map([[shard, { voters: [n1, n2], learners: [] }]]), 2);
  await lone.tick(2 * look);
  assert.deepEqual(raft.configuration.learners, [n2]);
});

test("a group does not fall asleep on a learner that has caught up, whenever that is", async () => {
  const learning = { ...votersOf(n1, n2), learners: [n3] };
  const wanted = new Map([[shard, { voters: [n1, n2, n3], learners: [] }]]);
  for (let phase = 0; phase < 2 * look; phase++) {
    const lone = await LoneGroups.open(shard, learning);
    const { multiRaft } = lone.groups;
    multiRaft.setDesired(wanted, 1);
    await lone.lead(shard);
    await lone.answer([n2], 3 * look + phase);
    await lone.answer([n2, n3], 15 * look);
    assert.deepEqual(multiRaft.replica(shard)?.raft.configuration.voters, [n1, n2, n3]);
  }
});

test("a leader that wakes because something falls due keeps time again", async () => {
  const lone = await LoneGroups.open(shard, votersOf(n1, n2));
  const { multiRaft } = lone.groups;
  await lone.lead(shard);
  await lone.answer([n2], 12 * look);
  const replica = multiRaft.replica(shard);
  assert.equal(replica?.raft.isQuiesced, true);
  const due = [encodeCommandEnvelope(plain({ type: "ttl_checkpoint", remaining: [] }))];
  replica.machine.dueCommands = () => due.splice(0);
  await lone.tick(1);
  // What it sent is lost; its next heartbeats find that out.
  lone.sent.splice(0);
  await lone.answer([n2], look);
  assert.equal(replica.raft.commitIndex, replica.raft.lastIndex);
});

test("the log does not grow with restarts", async () => {
  const database = new MemoryDatabase();
  await LoneGroups.open(shard, votersOf(n1), database);
  for (let starts = 1; starts <= 10; starts++) {
    const lone = await LoneGroups.reopen(database, { logRetainedEntries: 8 });
    const { multiRaft } = lone.groups;
    await lone.tick(3 * look);
    const command = encodeCommandEnvelope(plain(make.put("k", "v")));
    for (let commands = 0; commands < 6; commands++) {
      assert.equal(
        multiRaft.propose(shard, command, () => {}),
        null,
      );
      await lone.tick(1);
    }
    await lone.tick(2);
    const { lastIndex = 0, compactedIndex = 0 } = multiRaft.replica(shard)?.raft ?? {};
    assert.ok(lastIndex - compactedIndex <= 3 * 8, `${compactedIndex} to ${lastIndex}`);
    await multiRaft.stop();
  }
});
