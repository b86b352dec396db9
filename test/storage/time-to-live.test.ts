import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { Command } from "../../storage/commands.ts";
import { DeadlineHeap } from "../../storage/deadline-heap.ts";
import { bytes, make, ShardHarness } from "./shard-harness.ts";
import { fuzzParameters } from "./seed.ts";

function exists(harness: ShardHarness, key: string): boolean {
  return harness.machine.get(bytes(key)) !== null;
}

function remaining(harness: ShardHarness, key: string): number | null | undefined {
  return harness.machine.get(bytes(key))?.expiresInMs;
}

function types(commands: readonly Command[]): readonly string[] {
  return commands.map((command) => command.type);
}

describe("a key with a time to live", () => {
  it("is there until the time is over, then goes with an event", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.put("k", "1", { ttlMs: 5000 }), make.put("stays", "2"));
    harness.lead(4900);
    assert.ok(exists(harness, "k"));
    assert.equal(remaining(harness, "k"), 100);
    assert.equal(remaining(harness, "stays"), null);
    assert.equal(harness.expiredCount, 0);
    harness.lead(5000);
    assert.equal(harness.expiredCount, 1);
    assert.ok(!exists(harness, "k"));
    assert.ok(exists(harness, "stays"));
    const event = harness.changes.at(-1)?.events[0];
    assert.equal(event?.kind, "expire");
    assert.equal(event.previous?.ttlMs, 5000);
    assert.equal(harness.machine.deadlineCount, 0);
  });

  it("lives as long as its last put, touch or keep says", async () => {
    const harness = await ShardHarness.create();
    const put = (key: string) => make.put(key, "1", { ttlMs: 2000 });
    harness.run(put("touched"), put("kept"), put("renewed"), put("freed"), put("forever"));
    harness.lead(1000);
    harness.run(
      make.touch("touched", 5000),
      make.put("kept", "2", { ttlMs: "keep" }),
      make.increment("kept", 1n),
      make.put("renewed", "2", { ttlMs: 3000 }),
      make.touch("freed", null),
      make.put("forever", "2"),
    );
    assert.equal(harness.machine.get(bytes("kept"))?.ttlMs, 2000);
    harness.lead(1900);
    assert.ok(exists(harness, "kept"));
    harness.lead(2000);
    assert.ok(!exists(harness, "kept"));
    harness.lead(3900);
    assert.ok(exists(harness, "renewed"));
    harness.lead(4000);
    assert.ok(!exists(harness, "renewed"));
    harness.lead(5900);
    assert.ok(exists(harness, "touched"));
    harness.lead(6000);
    assert.ok(!exists(harness, "touched"));
    harness.lead(60_000);
    assert.ok(exists(harness, "freed"));
    assert.ok(exists(harness, "forever"));
  });

  it("that is touched keeps its revision, version and value", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.put("k", "1", { ttlMs: 2000 }));
    const result = harness.run(make.touch("k", 9000));
    assert.deepEqual(result, { type: "touch", revision: 1, ttlMs: 9000 });
    const record = harness.machine.get(bytes("k"));
    assert.equal(record?.modRevision, 1);
    assert.equal(record?.version, 1);
    assert.equal(record?.ttlMs, 9000);
    assert.deepEqual(harness.run(make.touch("missing", 1)), { type: "not_found" });
  });

  it("does not go when it was renewed while its expiration was on its way", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.put("k", "1", { ttlMs: 1000 }));
    harness.lead(900);
    for (const renew of [make.touch("k", 1000), make.put("k", "2", { ttlMs: 1000 })]) {
      harness.nowMs += 1000;
      const due = harness.machine.dueCommands(10);
      assert.ok(due.length > 0);
      harness.run(renew);
      harness.applyDue(due);
      assert.ok(exists(harness, "k"));
    }
  });

  it("is offered again when its expiration got lost", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.put("k", "1", { ttlMs: 1000 }));
    harness.lead(900);
    harness.nowMs = 1000;
    assert.equal(harness.machine.dueCommands(10).length, 1);
    for (const now of [2000, 3000, 3900]) {
      harness.nowMs = now;
      assert.equal(harness.machine.dueCommands(10).length, 0);
    }
    harness.nowMs = 4000;
    assert.deepEqual(types(harness.runDue()), ["expire"]);
    assert.ok(!exists(harness, "k"));
  });

  it("of 0 ms is over at once, but only by a command", async () => {
    const harness = await ShardHarness.create();
    harness.lead(1000);
    harness.run(make.put("k", "1", { ttlMs: 0 }));
    assert.ok(exists(harness, "k"));
    harness.runDue();
    assert.ok(!exists(harness, "k"));
  });
});

describe("a change of leader", () => {
  it("gives those who could not reach a leader a moment to renew", async () => {
    const harness = await ShardHarness.create({ deadlines: { graceMs: 500 } });
    harness.run(make.put("k", "1", { ttlMs: 1000 }));
    harness.nowMs = 5000;
    assert.deepEqual(harness.runDue(), []);
    harness.lead(5400);
    assert.ok(exists(harness, "k"));
    harness.lead(5500);
    assert.ok(!exists(harness, "k"));
  });

  it("does not begin the time anew: every replica keeps its own", async () => {
    const leader = await ShardHarness.create();
    const follower = await ShardHarness.create();
    for (const harness of [leader, follower]) {
      harness.run(make.put("k", "1", { ttlMs: 10_000 }));
    }
    leader.lead(6000);
    follower.nowMs = 6000;
    follower.lead(9900);
    assert.ok(exists(follower, "k"));
    follower.lead(10_000);
    assert.ok(!exists(follower, "k"));
  });
});

describe("a restart", () => {
  it("costs a long life at most a quarter and the checkpoint interval, and is never early", async () => {
    const harness = await ShardHarness.create({ deadlines: { checkpointIntervalMs: 4000 } });
    harness.run(make.put("long", "1", { ttlMs: 100_000 }), make.put("short", "1", { ttlMs: 8000 }));
    harness.lead(7000);
    await harness.persist();
    await harness.restart();
    assert.ok((remaining(harness, "long") ?? 0) >= 93_000);
    assert.ok((remaining(harness, "long") ?? 0) <= 93_000 + 4000);
    assert.ok((remaining(harness, "short") ?? 0) >= 1000);
    assert.ok((remaining(harness, "short") ?? 0) <= 1000 + 2000);
  });

  it("does not shorten the life of what is replayed from the log", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.put("k", "1", { ttlMs: 5000 }));
    await harness.persist({ logOnly: true });
    harness.nowMs = 3000;
    await harness.restart();
    assert.equal(remaining(harness, "k"), 5000);
  });

  it("keeps the time of locks and their queues", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.acquire("l", "a", { ttlMs: 8000 }), make.acquire("l", "b", { ttlMs: 60_000 }));
    harness.lead(7000);
    await harness.persist();
    await harness.restart();
    assert.equal(harness.machine.deadlineCount, 2);
    harness.lead(7900);
    assert.equal(await lockHolder(harness), "a");
    harness.lead(7000 + 1000 + 2000);
    assert.equal(await lockHolder(harness), "b");
  });
});

async function lockHolder(harness: ShardHarness): Promise<string | null> {
  const result = await harness.machine.query({ type: "lock", lock: bytes("l") });
  return result.type === "lock" ? (result.lock.holder?.owner ?? null) : null;
}

describe("checkpoints", () => {
  it("come about every quarter of a life, and tell a replica that began late what is left", async () => {
    const leader = await ShardHarness.create();
    leader.run(make.put("k", "1", { ttlMs: 40_000 }));
    const late = await ShardHarness.create();
    late.nowMs = 9000;
    late.run(make.put("k", "1", { ttlMs: 40_000 }));
    assert.equal(remaining(late, "k"), 40_000);
    leader.nowMs = 10_000;
    const due = leader.machine.dueCommands(10);
    assert.equal(due.length, 1);
    late.nowMs = 10_000;
    late.applyDue(due);
    assert.equal(remaining(late, "k"), 30_000);
    leader.applyDue(due);
    assert.equal(late.machine.digest, leader.machine.digest);
    assert.deepEqual(types(leader.lead(19_900)), []);
    assert.deepEqual(types(leader.lead(20_000)), ["ttl_checkpoint"]);
  });

  it("that are old or meant for another deadline change nothing", async () => {
    const harness = await ShardHarness.create();
    harness.run(make.put("k", "1", { ttlMs: 40_000 }));
    harness.nowMs = 10_000;
    const old = harness.machine.dueCommands(10);
    harness.run(make.touch("k", 40_000));
    const digest = harness.machine.digest;
    harness.applyDue(old);
    assert.equal(harness.machine.digest, digest);
    assert.equal(remaining(harness, "k"), 40_000);
  });

  it("hold a bounded number of records, and never keep expirations waiting", async () => {
    const harness = await ShardHarness.create({ deadlines: { checkpointRecordsMax: 10 } });
    for (let number = 0; number < 100; number++) {
      harness.run(make.put(`long${number}`, "1", { ttlMs: 20_000 }));
    }
    harness.run(make.put("short", "1", { ttlMs: 5000 }));
    harness.runDue();
    harness.nowMs = 500;
    harness.runDue();
    harness.nowMs = 1900;
    harness.runDue();
    harness.nowMs = 3300;
    harness.runDue();
    harness.nowMs = 4700;
    harness.runDue();
    harness.nowMs = 5000;
    const commands = harness.runDue(5);
    assert.deepEqual(types(commands), ["expire", "ttl_checkpoint"]);
    const [, checkpoint] = commands;
    assert.equal(checkpoint?.type === "ttl_checkpoint" && checkpoint.remaining.length, 10);
  });

  it("and expirations are at most as many as asked for, and none when nothing is due", async () => {
    const harness = await ShardHarness.create();
    harness.runDue();
    for (let number = 0; number < 50; number++) {
      harness.run(make.put(`k${number}`, "1", { ttlMs: 1000 }));
    }
    harness.nowMs = 1000;
    assert.equal(harness.runDue(20).length, 20);
    assert.equal(harness.runDue(20).length, 20);
    assert.equal(harness.runDue(20).length, 10);
    assert.equal(harness.runDue(20).length, 0);
    assert.equal(harness.machine.deadlineCount, 0);
  });
});

it("Deadlines of a replaced state are forgotten, those of the new one restored", async () => {
  const source = await ShardHarness.create();
  source.run(make.put("new", "1", { ttlMs: 5000 }), make.acquire("l", "a", { ttlMs: 9000 }));
  await source.persist();
  const target = await ShardHarness.create();
  target.run(make.put("old", "1", { ttlMs: 5000 }));
  await target.persist();
  await source.sendSnapshot(target);
  assert.equal(target.machine.deadlineCount, 2);
  assert.equal(remaining(target, "new"), 5000);
  target.lead(5000);
  assert.ok(!exists(target, "new"));
});

it("An expiration of something that this replica knows wrongly corrects its knowledge", async () => {
  const harness = await ShardHarness.create();
  harness.run(make.put("k", "1", { ttlMs: 1000 }));
  harness.lead(900);
  harness.nowMs = 1000;
  const due = harness.machine.dueCommands(10);
  harness.applyDue(due);
  harness.applyDue(due);
  assert.equal(harness.machine.deadlineCount, 0);
  assert.equal(await harness.machine.recomputeDigest(), harness.machine.digest);
});

it("The heap gives the earliest first, whatever was added, moved and removed", () => {
  const step = fc.record({
    action: fc.constantFrom("add", "move", "remove"),
    target: fc.nat(),
    wakeMs: fc.integer({ min: 0, max: 50 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const heap = new DeadlineHeap<{ wakeMs: number; place: number }>();
      const items: { wakeMs: number; place: number }[] = [];
      for (const { action, target, wakeMs } of steps) {
        const item = items[target % Math.max(1, items.length)];
        if (action === "add" || item === undefined) {
          const added = { wakeMs, place: -1 };
          items.push(added);
          heap.add(added);
        } else if (action === "move") {
          heap.move(item, wakeMs);
        } else {
          heap.remove(item);
          items.splice(items.indexOf(item), 1);
          assert.equal(item.place, -1);
        }
        assert.equal(heap.size, items.length);
        assert.equal(
          heap.first?.wakeMs,
          items.length === 0 ? undefined : Math.min(...items.map((each) => each.wakeMs)),
        );
      }
    }),
    fuzzParameters(300),
  );
});
